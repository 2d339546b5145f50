"""An all-gather both ways round where links or payloads are unequal: what to try beside plain halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import median

from orbitune.strategies.ring import Book, Line, byte_seconds, latest, line_without, part_of, split, travel
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule

UNEQUAL = 1.5
"""How many times the mean a payload or a link's seconds per byte must be to be treated apart, our choice."""


def uneven_books(
    schedule: Schedule, ring: tuple[int, ...], held: Mapping[int, Held], own_s: Mapping[int, float]
) -> list[Book]:
    """What to try beside plain halves where a link is slow or a payload large: nothing where all are much alike."""
    sizes = [part.payload.size for part in held.values()]
    mean = sum(sizes) / len(sizes)
    pieces = {owner: _pieces(part, mean) for owner, part in held.items()}
    cut = any(len(parts) > 1 for parts in pieces.values())
    whole = {owner: [part] for owner, part in held.items()}
    byte_s, delay_s = byte_seconds(schedule, ring, min(part.since_s for part in held.values()))
    hops_s = [min(seconds * mean + delay_s, 1e12) for seconds in byte_s]
    slowest = max(range(len(hops_s)), key=lambda number: hops_s[number])
    slow = hops_s[slowest] / median(hops_s) if len(hops_s) > 2 else 1.0
    limits = sorted({0, round((len(ring) - 1) / (slow + 1.0))})
    sets = [whole, pieces] if cut else [whole]
    books = [_spared(own_s, parts, slowest, slow, limit) for parts in sets for limit in limits]
    return (books if slow > UNEQUAL else []) + ([_in_pieces(own_s, pieces)] if cut else [])


def _pieces(held: Held, mean: float) -> list[Held]:
    count = ceil(held.payload.size / mean) if held.payload.size > UNEQUAL * mean else 1
    return [part_of(held, start, stop) for _, start, stop in split(0, held.payload.size, count)]


def _in_pieces(own_s: Mapping[int, float], pieces: Mapping[int, Sequence[Held]]) -> Book:
    """Half way round each, large payloads piece by piece."""

    def book(desk: Schedule, line: Line) -> dict[int, float]:
        cut = [(owner, part) for owner, parts in pieces.items() for part in parts]
        trips = [trip for owner, part in cut for trip in line.tours(owner, part, "bidirectional")]
        return latest(own_s, travel(desk, trips))

    return book


def _spared(
    own_s: Mapping[int, float], pieces: Mapping[int, Sequence[Held]], slowest: int, slow: float, limit: int
) -> Book:
    """Only the `limit` owners next to either end of the slowest link send over it, so that both ways last equally long.

    `slow` is how many usual hops one over the slowest link takes. With no owner allowed, the ring is a line.
    """

    def book(desk: Schedule, line: Line) -> dict[int, float]:
        order = line_without(line, slowest).members if line.closed else line.members
        trips = []
        for place, owner in enumerate(order):
            ahead = _reach(place, len(order), slow, limit)
            trips += [trip for part in pieces.get(owner, ()) for trip in line.split(owner, part, ahead)]
        return latest(own_s, travel(desk, trips))

    return book


def _reach(place: int, count: int, slow: float, limit: int) -> int:
    """How many satellites get a payload forward, from `place` on a line whose ends the slow link joins."""
    before, after = place, count - 1 - place
    if after < limit:
        return after + max(0, min(before, ceil((before - after - slow) / 2)))
    if before < limit:
        return after - max(0, min(after, ceil((after - before - slow) / 2)))
    return after

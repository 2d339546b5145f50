"""Strategy A: share and merge payloads inside one orbital plane, over its ring of inter-satellite links.

Ways, and their times on a ring of n satellites with link rate R, hop delay tau, payloads of B bytes each and weights
of h bytes (for n = 2 both ways round are the same link, so `bidirectional` gains nothing):

relay           Naive: whole messages, one way round; every link serves the owners in turn.
                All-gather (n-1)(3B/R + 2 tau) for n > 2: owner k is held up behind owner k-1 at every link.
                All-reduce 2(n-1)(h/R + tau): partial sums go round, then the total does.
ring            One way round, everybody sends at once; sums and broadcasts in c chunks, c at most n.
                All-gather (n-1)(B/R + tau), all-reduce 2(n-1)(h/(cR) + tau), reduce-scatter (n-1)(h/(nR) + tau).
bidirectional   Both ways round at once.
                All-gather at most ceil((n-1)/2)(B/R + tau), all-reduce 2 ceil((n-1)/2)(h/(cR) + tau), or
                ceil((n-1)/2)(h/R + tau) where whole weights are gathered and everybody sums them up itself.

All-gather and all-reduce one way round are the standard forms of ring collectives (Patarasuk and Yuan, "Bandwidth
optimal all-reduce algorithms for clusters of workstations", J. Parallel Distrib. Comput. 69, 2009); the paper's own
formulas could not be recovered. The relay time of an all-gather and the all-reduce both ways are our own: each chunk is
summed up from both sides towards a root of its own and goes back out, so a link carries each chunk once, as in the
standard form both ways round, over half as many hops one after the other.

Chunks: c is the least number that brings the formula within `CHUNK_SPARE` of its minimum. All times above hold exactly
where payloads are equally large, ready at once and divisible by the number of chunks, nothing else is booked, links are
up, equal and full duplex, and (all-reduce both ways round) n is odd; on an even ring they are upper bounds.

Where links or payloads are unequal, `bidirectional` also tries to spare the slowest link and to cut large payloads, and
books what finishes first: never later than plain halves (`uneven`). Of broken rings, see `ring`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from math import ceil

from orbitune.strategies.ring import (
    BACK,
    FORWARD,
    VALUE_BYTES,
    Book,
    Line,
    Trip,
    byte_seconds,
    latest,
    on_ring,
    part_of,
    split,
    travel,
)
from orbitune.strategies.uneven import uneven_books
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

WAYS = ("relay", "ring", "bidirectional")

CHUNK_SPARE = 0.01
"""What a sum may take longer for having fewer chunks, our choice: a hundredth is not worth thousands of activities."""


def all_gather(schedule: Schedule, ring: Sequence[int], held: Mapping[int, Held], way: str) -> dict[int, float]:
    """Bring every member's payload to every member.

    Args:
        ring: Satellites in ring order; one alone has nothing to do.
        held: What each member starts with. A member may have nothing.

    Returns:
        For each member the second since which it holds all payloads.

    Raises:
        PlanError: Contacts reach some member too late or never.
    """
    own_s = {member: held[member].since_s if member in held else 0.0 for member in ring}
    owned = {member: held[member] for member in ring if member in held and held[member].payload.size}
    if len(ring) == 1:
        return own_s
    require_way(way)

    def halves(desk: Schedule, line: Line) -> dict[int, float]:
        trips = [trip for owner, part in owned.items() for trip in line.tours(owner, part, way)]
        return latest(own_s, travel(desk, trips, in_turn=way == "relay"))

    books: list[Book] = [halves]
    if way == "bidirectional" and owned:
        books += uneven_books(schedule, tuple(ring), owned, own_s)
    return on_ring(schedule, ring, own_s, books)


def all_reduce(schedule: Schedule, ring: Sequence[int], held: Mapping[int, Held], way: str) -> dict[int, Held]:
    """Merge the members' payloads and give the total to every member.

    Args:
        ring: Satellites in ring order.
        held: Payloads of one kind, version and size with disjoint origins. A member without one only receives.

    Returns:
        For each member the merged payload, and the second since which it holds all of it.

    Raises:
        PlanError: Contacts reach some member too late or never.
    """
    total, ready_s = _sum_of(held), _ready_s(ring, held)
    if len(ring) == 1:
        return {ring[0]: Held(total, ready_s[ring[0]])}
    require_way(way)
    if len(held) == 1:
        ((only, part),) = held.items()
        times_s = broadcast(schedule, ring, only, part, way)
        return {member: Held(total, times_s[member]) for member in ring}
    chunks = _chunks(schedule, ring, total.size, ready_s[ring[0]], way)
    if not chunks:
        return _gather_and_sum(schedule, ring, held, total, way)

    def book(desk: Schedule, line: Line) -> dict[int, float]:
        trips = _sums(line, held, total.size, chunks, way, share=True)
        return latest(ready_s, travel(desk, trips, in_turn=way == "relay"))

    since_s = on_ring(schedule, ring, ready_s, [book])
    return {member: Held(total, since_s[member]) for member in ring}


def reduce_scatter(
    schedule: Schedule, ring: Sequence[int], held: Mapping[int, Held], way: str
) -> list[tuple[int, Held]]:
    """Merge the members' payloads; each byte of the total ends at one member, a chunk for each.

    Args:
        ring: Satellites in ring order.
        held: Payloads of one kind, version and size with disjoint origins.

    Returns:
        Where each chunk of the total is, and since when. `broadcast_parts` brings them to everyone.

    Raises:
        PlanError: Contacts reach some member too late or never.
    """
    total, ready_s = _sum_of(held), _ready_s(ring, held)
    if len(ring) == 1:
        return [(ring[0], Held(total, ready_s[ring[0]]))]
    require_way(way)
    ends: list[tuple[int, Held]] = []

    def book(desk: Schedule, line: Line) -> dict[int, float]:
        trips = _sums(line, held, total.size, len(ring), way, share=False)
        landed = travel(desk, trips, in_turn=way == "relay")
        ends[:] = [(member, part) for member, part in landed if part.payload.origins == total.origins]
        return latest({}, ends)

    on_ring(schedule, ring, ready_s, [book])
    places = {part.payload: (member, part) for member, part in ends}
    return sorted(places.values(), key=lambda place: place[1].payload.start_byte)


def broadcast(schedule: Schedule, ring: Sequence[int], root: int, held: Held, way: str) -> dict[int, float]:
    """Bring what `root` holds to every member, in n chunks that follow each other (`relay`: in one piece).

    Returns:
        For each member the second since which it holds all of it.

    Raises:
        PlanError: Contacts reach some member too late or never.
    """
    count = 1 if way == "relay" else _pipeline(schedule, ring, held)
    parts = [(root, part_of(held, start, stop)) for _, start, stop in split(0, held.payload.size, count)]
    return broadcast_parts(schedule, ring, parts, way) if parts else dict.fromkeys(ring, held.since_s)


def broadcast_parts(
    schedule: Schedule, ring: Sequence[int], parts: Sequence[tuple[int, Held]], way: str
) -> dict[int, float]:
    """Bring parts that different members hold to every member, each part as soon as it is there.

    Args:
        ring: Satellites in ring order.
        parts: Where each part is, and what it is. They travel uncut.

    Returns:
        For each member the second since which it holds all parts.

    Raises:
        PlanError: Contacts reach some member too late or never.
    """
    ready_s = dict.fromkeys(ring, max(held.since_s for _, held in parts))
    if len(ring) == 1:
        return ready_s
    require_way(way)

    def book(desk: Schedule, line: Line) -> dict[int, float]:
        trips = [trip for number, (root, held) in enumerate(parts) for trip in line.both_ways(root, held, way, number)]
        return latest(ready_s, travel(desk, trips, in_turn=way == "relay"))

    return on_ring(schedule, ring, ready_s, [book])


def gather_to(
    schedule: Schedule, ring: Sequence[int], held: Mapping[int, Held], goals: Sequence[int], way: str
) -> dict[int, float]:
    """Bring every member's payload to some members only.

    Args:
        ring: Satellites in ring order.
        held: What each member starts with. A member may have nothing.
        goals: Who gets all of it.

    Returns:
        For each goal the second since which it holds all payloads.

    Raises:
        PlanError: Contacts reach some goal too late or never.
    """
    wanted = frozenset(goals)
    base_s = {goal: held[goal].since_s if goal in held else 0.0 for goal in goals}
    owned = {member: held[member] for member in ring if member in held and held[member].payload.size}
    if len(ring) == 1 or not owned:
        return base_s
    require_way(way)

    def book(desk: Schedule, line: Line) -> dict[int, float]:
        trips = [trip for owner, part in owned.items() for trip in line.towards(owner, part, wanted, way)]
        landed = travel(desk, trips, in_turn=way == "relay")
        return latest(base_s, ((member, part) for member, part in landed if member in wanted))

    return on_ring(schedule, ring, {owner: part.since_s for owner, part in owned.items()}, [book])


def scatter_from(
    schedule: Schedule, ring: Sequence[int], parts: Sequence[tuple[int, Held, int]], way: str
) -> dict[int, float]:
    """Bring parts to their owners, the shorter way round (`relay` and `ring`: one fixed way).

    Args:
        ring: Satellites in ring order.
        parts: Where each part is, what it is, and whom it is for.

    Returns:
        For each owner the second since which it holds all its parts.

    Raises:
        PlanError: Contacts reach some owner too late or never.
    """
    there_s = latest({}, ((owner, held) for _, held, owner in parts))
    away = [(where, owner, held) for where, held, owner in parts if where != owner and held.payload.size]
    if len(ring) == 1 or not away:
        return there_s
    require_way(way)

    def book(desk: Schedule, line: Line) -> dict[int, float]:
        trips = [line.straight(*part, way, number) for number, part in enumerate(away)]
        goals = {(owner, held.payload) for _, owner, held in away}
        landed = travel(desk, trips, in_turn=way == "relay")
        return latest(there_s, ((member, held) for member, held in landed if (member, held.payload) in goals))

    return on_ring(schedule, ring, there_s, [book])


def require_way(way: str) -> None:
    """Ways come from scenarios, which know what is allowed."""
    assert way in WAYS, way


# -- sums ------------------------------------------------------------------------------------------------------------


def _sum_of(held: Mapping[int, Held]) -> Payload:
    assert held, "nobody holds anything to merge"
    total = reduce(Payload.merged, (part.payload for part in held.values()))
    assert all(part.payload.size == total.size for part in held.values()), "payloads of unequal size"
    return total


def _ready_s(ring: Sequence[int], held: Mapping[int, Held]) -> dict[int, float]:
    return dict.fromkeys(ring, max(part.since_s for part in held.values()))


def _chunks(schedule: Schedule, ring: Sequence[int], size: int, ready_s: float, way: str) -> int:
    """In how many chunks to sum up; 0 if it is sooner to gather all and sum up everywhere."""
    if way == "relay":
        return 1
    byte_s, delay_s = byte_seconds(schedule, ring, ready_s)
    h_s, n = size * min(max(byte_s), 1e9), len(ring)
    half = ceil((n - 1) / 2)
    hops = 2 * half if way == "bidirectional" else 2 * (n - 1)
    best_s = hops * (h_s / n + delay_s)
    if way == "bidirectional" and half * (h_s + delay_s) < best_s:
        return 0
    return next(c for c in range(1, n + 1) if hops * (h_s / c + delay_s) <= best_s * (1.0 + CHUNK_SPARE))


def _sums(line: Line, held: Mapping[int, Held], size: int, chunks: int, way: str, *, share: bool) -> Iterator[Trip]:
    """Trips that sum up each chunk; with `share` the total goes to everyone."""
    members = line.members
    # A root has something itself: otherwise one side alone could be the total, and come back to who has it already.
    roots = [member for member in members if member in held]
    both = way == "bidirectional" or not (share or line.closed)
    for number, start, stop in split(0, size, chunks, VALUE_BYTES):
        if not both:
            trip = line.collection(held, number * len(members) // chunks, start, stop, FORWARD)
            yield trip if share else replace(trip, then=())
        elif share and not line.closed:
            yield from line.arms(held, roots[len(roots) // 2], start, stop, share=True)
        else:
            root = roots[number * len(roots) // chunks]
            halves = split(start, stop, 2 if share and line.closed and len(members) % 2 == 0 else 1, VALUE_BYTES)
            for half, low, high in halves:
                yield from line.arms(held, root, low, high, share=share, longer=BACK if half else FORWARD)


def _gather_and_sum(
    schedule: Schedule, ring: Sequence[int], held: Mapping[int, Held], total: Payload, way: str
) -> dict[int, Held]:
    """Whole weights go to everybody, and everybody sums them up: for weights so small that hops are all that counts."""
    since_s = all_gather(schedule, ring, held, way)
    parts = [part.payload for part in held.values()]
    if len(parts) == 1:
        return {member: Held(total, since_s[member]) for member in ring}
    return {member: schedule.merge(member, parts, since_s[member]) for member in ring}


def _pipeline(schedule: Schedule, ring: Sequence[int], held: Held) -> int:
    """Into how many chunks to cut a broadcast: at most n, as few as `CHUNK_SPARE` allows."""
    n = len(ring)
    if n < 3:
        return 1
    byte_s, delay_s = byte_seconds(schedule, ring, held.since_s)
    h_s = held.payload.size * min(max(byte_s), 1e9)
    times_s = [(n - 2 + c) * h_s / c + (n - 1) * delay_s for c in range(1, n + 1)]
    return next(c for c, time_s in enumerate(times_s, 1) if time_s <= times_s[-1] * (1.0 + CHUNK_SPARE))

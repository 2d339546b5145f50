"""Whole bytes along a plan of ring pushes and turns: who sends what when, as soon as it is there.

Played forwards it brings bytes down. Up is the same played backwards: owners give their bytes away from the end on,
and what would land at a station begins there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf

from orbitune.links.contacts import Contact
from orbitune.strategies.sky import Part
from orbitune.units import BITS_PER_BYTE

PIECES = 16
"""Our choice: what goes over a ring link is cut into so many pieces at least, so that the next hop need not wait."""

LEAST_BYTES = 1024
"""Our choice: no piece on a ring is cut smaller."""


@dataclass
class Outlet:
    """A way out of a satellite: a contact between two moments, for one piece after the other.

    `openings` says when how many bytes more may go; `station` is whether it leads to the ground.
    """

    satellite: int
    peer: int
    contact: Contact
    start_s: float
    end_s: float
    openings: Sequence[tuple[float, float]]
    grain: int
    station: bool
    free_s: float = -inf
    sent: int = 0

    def size_at(self, time_s: float) -> int:
        """Whole bytes that may go from a moment on."""
        fits = (self.end_s - time_s) * self.contact.rate_bps / BITS_PER_BYTE
        allowed = sum(size for opens_s, size in self.openings if opens_s <= time_s) - self.sent
        return max(0, int(min(fits, allowed, self.grain)))


@dataclass(frozen=True, slots=True)
class Lot:
    """Bytes at a satellite, and where they have been."""

    part: Part
    seen: frozenset[int]


@dataclass(frozen=True, slots=True)
class Move:
    """One send."""

    outlet: Outlet
    part: Part
    start_s: float
    end_s: float


@dataclass
class Relay:
    """The play. `moves` are what was sent, in order of time; `stock` is what is left where."""

    outlets: Sequence[Outlet]
    stock: dict[int, list[Lot]] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)

    def play(self, held: Mapping[int, Iterable[Part]], delay_s: float | None = None) -> None:
        """Send everything that finds an outlet in time. `delay_s` replaces the contacts' own delays."""
        order = count()
        queue: list[tuple[float, int, int, Lot | None]] = []
        outlets_of: dict[int, list[Outlet]] = {}
        for outlet in self.outlets:
            outlets_of.setdefault(outlet.satellite, []).append(outlet)
            for opens_s, _ in outlet.openings:
                heappush(queue, (max(opens_s, outlet.start_s), next(order), outlet.satellite, None))
        for satellite, parts in held.items():
            for part in parts:
                heappush(queue, (part.since_s, next(order), satellite, Lot(part, frozenset((satellite,)))))
        while queue:
            now_s, _, satellite, lot = heappop(queue)
            if lot is not None:
                part = Part(lot.part.whole, lot.part.payload, now_s)  # held here since now
                self.stock.setdefault(satellite, []).append(Lot(part, lot.seen))
            for outlet in outlets_of.get(satellite, ()):
                if outlet.start_s <= now_s < outlet.end_s and outlet.free_s <= now_s:
                    for sent in self._serve(outlet, now_s):
                        if not outlet.station:
                            arrive_s = outlet.free_s + (outlet.contact.delay_s if delay_s is None else delay_s)
                            heappush(queue, (arrive_s, next(order), outlet.peer, sent))
                    if outlet.free_s > now_s:
                        heappush(queue, (outlet.free_s, next(order), satellite, None))
            outlets_of[satellite] = [o for o in outlets_of.get(satellite, ()) if o.end_s > now_s]

    def left(self) -> int:
        """Bytes that have found no way."""
        return sum(lot.part.payload.size for lots in self.stock.values() for lot in lots)

    def _serve(self, outlet: Outlet, now_s: float) -> list[Lot]:
        """One piece over an outlet, of lots that have not been where it leads."""
        wanted = outlet.size_at(now_s)
        lots = self.stock.get(outlet.satellite, [])
        kept: list[Lot] = []
        taken: list[Lot] = []
        for lot in lots:
            size = lot.part.payload.size
            if not wanted or outlet.peer in lot.seen:
                kept.append(lot)
                continue
            if size > wanted:
                kept.append(Lot(_cut(lot.part, wanted, size), lot.seen))
                lot, size = Lot(_cut(lot.part, 0, wanted), lot.seen), wanted
            taken.append(Lot(lot.part, lot.seen | {outlet.peer}))
            wanted -= size
        self.stock[outlet.satellite] = kept
        for lot in taken:
            start_s = max(now_s, outlet.free_s)
            size = lot.part.payload.size
            outlet.free_s = min(outlet.end_s, start_s + size * BITS_PER_BYTE / outlet.contact.rate_bps)
            outlet.sent += size
            self.moves.append(Move(outlet, lot.part, start_s, outlet.free_s))
        return taken


def _cut(part: Part, start: int, end: int) -> Part:
    return Part(part.whole, part.payload.part(start, end), part.since_s)

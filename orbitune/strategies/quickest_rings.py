"""Way `quickest` where every satellite has bytes of its own: rings, air and backhaul in one flow.

Down, all bytes end at the server; up, all begin there. Either way one fluid is enough, whoever's bytes they are: a
satellite's store fills and empties by what it has or wants, by its two ring links and by its passes. Stores are looked
at when something changes for the plane, at most `MOST_STEPS` times; between two such moments bytes may pass through a
satellite at once. That forbids nothing that a schedule can do, so the optimum is a lower bound (rings cost no delay in
it, either).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orbitune.links.contacts import Contact
from orbitune.strategies.fluid import Optimum, Program
from orbitune.strategies.quickest import SPARE_S, add_backhaul, cables_s, turns_of
from orbitune.strategies.quickest_sky import Air, Turn, Window, windows_of
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE

Terms = dict[tuple[int, int], list[tuple[int, float]]]
"""Terms of a balance by satellite and step."""

MOST_STEPS = 24
"""Our choice: moments at which the stores of one plane are looked at."""

MOST_STORES = 4000
"""Our choice: stores times moments of all planes; many planes are looked at less often."""


SPARE = 1e-4
"""Our choice: room for so many more bytes than there are, relative, because pieces never fill every turn."""


@dataclass(frozen=True, slots=True)
class Push:
    """`size` bytes to send over a ring contact from `start_s` on, planned to be through by `end_s`."""

    contact: Contact
    start_s: float
    end_s: float
    size: float


@dataclass(frozen=True)
class RingPlan:
    """Turns (their load is the satellite) and pushes, when the fluid has finished, and before when nothing can."""

    turns: list[Turn]
    pushes: list[Push]
    end_s: float
    bound_s: float


def plan_rings(
    schedule: Schedule,
    rings: Sequence[Sequence[int]],
    held: Mapping[int, Sequence[Held]],
    kind: str,
    last_s: float,
    lead_s: float = 0.0,
) -> RingPlan | None:
    """The quickest flow of every satellite's own bytes; None if it finishes after `last_s`.

    With a lead the stations begin so much later; the bound then is that of the plan, not of the task.
    """
    return _Rings(schedule, rings, held, kind, last_s, lead_s).plan()


class _Rings:
    """The linear program of stores, rings and air."""

    def __init__(
        self, schedule: Schedule, rings: Sequence[Sequence[int]], held: Mapping[int, Sequence[Held]], kind: str,
        last_s: float, lead_s: float,
    ) -> None:  # fmt: skip
        self.schedule, self.rings, self.held, self.kind, self.last_s = schedule, rings, held, kind, last_s
        self.down = kind == "downlink"
        self.first_s = min(part.since_s for parts in held.values() for part in parts if part.payload.size)
        self.total = sum(part.payload.size for parts in held.values() for part in parts)
        cable_s = cables_s(schedule, kind)
        self.before_s = {station: 0.0 if self.down else delay_s + lead_s for station, delay_s in cable_s.items()}
        self.after_s = min(cable_s.values()) if self.down else 0.0
        self.program = Program()
        self.pushes: list[tuple[int, Contact, float, float]] = []

    def plan(self) -> RingPlan | None:
        """Build the program, solve it, and read turns and pushes off."""
        members = [member for ring in self.rings for member in ring]
        since_s = {station: self.first_s + lead_s for station, lead_s in self.before_s.items()}
        windows = windows_of(self.schedule, self.kind, members, since_s, self.last_s)
        steps = max(1, min(MOST_STEPS, MOST_STORES // len(members)))
        moments = [self._moments(ring, windows, steps) for ring in self.rings]
        cuts = [(time_s, m) for ring, times in zip(self.rings, moments, strict=True) for time_s in times for m in ring]
        self.air = Air(self.schedule, windows, {m: (m,) for m in members}, self.first_s, self.last_s, cuts)
        if not self.air.arcs:
            return None
        self.air.add_to(self.program, counts=self.down)
        add_backhaul(self.program, self.schedule, self.air, self.kind, self.first_s)
        spare = sum(self._ring(ring, times) for ring, times in zip(self.rings, moments, strict=True))
        optimum = self.program.earliest(self.total / self.air.fastest, self.first_s, self.last_s, spare)
        if optimum is None:
            return None
        least_s = min(window.contact.delay_s for window in windows) + self.after_s
        turns = turns_of(self.air, optimum, late=not self.down)
        return RingPlan(turns, self._pushes(optimum), optimum.end_s + least_s, optimum.bound_s + least_s)

    def _moments(self, ring: Sequence[int], windows: Sequence[Window], steps: int) -> list[float]:
        """When something changes for a plane, evenly thinned to `steps` steps."""
        members = set(ring)
        edges = {edge for window in windows if window.satellite in members for edge in (window.start_s, window.end_s)}
        edges.update(part.since_s for member in ring for part in self.held.get(member, ()) if self.down)
        inner = sorted(edge for edge in edges if self.first_s < edge < self.last_s)
        if len(inner) > steps - 1:
            inner = [inner[place * len(inner) // steps] for place in range(1, steps)]
        return [self.first_s, *inner, self.last_s]

    def _ring(self, ring: Sequence[int], moments: Sequence[float]) -> float:
        """Stores of one plane; returns the rounding that was added."""
        flows = self._links(ring, moments)
        crossing = self._crossing(ring, moments)
        spare = 0.0
        for member in ring:
            own_bytes = sum(part.payload.size for part in self.held.get(member, ()))
            extra = (
                SPARE_S + 2 * sum(len(crossing.get((member, j), ())) for j in range(len(moments))) / self.air.fastest
            )
            extra *= own_bytes > 0
            spare += extra
            before: int | None = None
            for step in range(len(moments) - 1):
                store = self.program.unknown()
                terms = [(store, 1.0), *flows.get((member, step), ()), *crossing.get((member, step), ())]
                if before is not None:
                    terms.append((before, -1.0))
                if self.down:
                    terms += self._released(member, moments, step, extra)
                elif step == len(moments) - 2 and own_bytes:
                    got = self.program.unknown(1.0)
                    self.program.limit([(got, 1.0)], own_bytes / self.air.fastest, extra)
                    terms.append((got, 1.0))
                self.program.balance(terms, 0.0)
                before = store
        return spare

    def _released(self, member: int, moments: Sequence[float], step: int, extra: float) -> list[tuple[int, float]]:
        """What becomes ready on board in a step."""
        size = sum(
            part.payload.size
            for part in self.held.get(member, ())
            if bisect_right(moments, part.since_s, hi=len(moments) - 1) - 1 == step
        )
        if not size:
            return []
        ready = self.program.unknown()
        self.program.limit([(ready, 1.0)], size / self.air.fastest, extra)
        return [(ready, -1.0)]

    def _crossing(
        self, ring: Sequence[int], moments: Sequence[float]
    ) -> dict[tuple[int, int], list[tuple[int, float]]]:
        """Time shares by satellite and step: down they take in the step in which they end, up they give where they
        begin."""
        found: Terms = {}
        members = set(ring)
        for place, (cell, number, member) in enumerate(self.air.arcs):
            if member in members:
                start_s, end_s = self.air.cells[cell].start_s, self.air.cells[cell].end_s
                step = bisect_left(moments, end_s) - 1 if self.down else bisect_right(moments, start_s) - 1
                step = min(max(step, 0), len(moments) - 2)
                rate = self.air.scaled(number) * (1.0 if self.down else -1.0)
                found.setdefault((member, step), []).append((self.air.column + place, rate))
        return found

    def _links(self, ring: Sequence[int], moments: Sequence[float]) -> Terms:
        """Bytes over ring links by satellite and step, and what links and terminals can do."""
        found: Terms = {}
        busy: dict[tuple[int, int, int], list[tuple[int, float]]] = {}
        for contact, start_s, end_s in ring_windows(self.schedule, ring, self.first_s, self.last_s):
            rate = contact.rate_bps / BITS_PER_BYTE / self.air.fastest
            for step, (low_s, high_s) in enumerate(pairwise(moments)):
                if max(start_s, low_s) >= min(end_s, high_s):
                    continue
                push = self.program.unknown(cost=1.0 + step / len(moments))  # short ways, and early ones
                self.program.clock([(push, 1.0)], rate, max(start_s, low_s), min(end_s, high_s))
                self.pushes.append((push, contact, max(start_s, low_s), min(end_s, high_s)))
                found.setdefault((contact.source, step), []).append((push, 1.0))
                found.setdefault((contact.target, step), []).append((push, -1.0))
                pair = (min(contact.source, contact.target), max(contact.source, contact.target))
                busy.setdefault((step, *pair), []).append((push, 1.0 / rate))
        if not self.schedule.system.terminals.full_duplex:
            for (step, _, _), terms in busy.items():
                self.program.clock(terms, 1.0, moments[step], moments[step + 1])
        return found

    def _pushes(self, optimum: Optimum) -> list[Push]:
        """What goes over ring links, less what only goes back and forth in one step."""
        sizes = {(contact.source, contact.target, start_s): float(optimum.values[push]) * self.air.fastest
                 for push, contact, start_s, _ in self.pushes}  # fmt: skip
        found = []
        for _, contact, start_s, end_s in self.pushes:
            size = sizes[contact.source, contact.target, start_s]
            size -= sizes.get((contact.target, contact.source, start_s), 0.0)
            if size >= 1.0:
                found.append(Push(contact, start_s, min(end_s, optimum.end_s), size))
        return found


def ring_windows(
    schedule: Schedule, ring: Sequence[int], first_s: float, last_s: float
) -> list[tuple[Contact, float, float]]:
    """Contacts between neighbours, both ways, and from when to when they can be used."""
    members = tuple(ring)
    pairs = list(zip(members, members[1:] + members[:1], strict=True))[: len(members) if len(members) > 2 else 1]
    found = []
    for pair in pairs if len(members) > 1 else ():
        for link in (pair, pair[::-1]):
            for contact in schedule.system.contacts.by_link.get(link, ()):
                start_s = max(contact.start_s, first_s, schedule.link_free_s(*link))
                start_s = max(start_s, *(max(schedule.terminals_free_s(node, "intra")) for node in link))
                if contact.kind == "isl_intra" and start_s < min(contact.end_s, last_s):
                    found.append((contact, start_s, min(contact.end_s, last_s)))
    return found

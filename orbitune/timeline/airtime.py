"""Checks of the air: contacts, rates, delays and terminals (rules of `verify`).

Activities come sorted by start, so one pass with the latest end seen so far finds every overlap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orbitune.cost.system import TERMINAL_OF, System
from orbitune.links.contacts import KINDS, ContactPlan
from orbitune.timeline.activity import Activity, Timeline
from orbitune.timeline.rejection import TIME_TOLERANCE_S, node_name, reject
from orbitune.units import BITS_PER_BYTE

SPARE_BYTES = 1
"""A fluid optimum ends between two bytes; the last one is rounded up."""


@dataclass(frozen=True)
class Passes:
    """The contacts of one directed link and kind in time order, as lists (bisection on lists beats small arrays)."""

    start_s: list[float]
    end_s: list[float]
    rate_bps: list[float]
    delay_s: list[float]

    @cached_property
    def until_s(self) -> list[float]:
        """End of the stretch of touching contacts that each contact belongs to."""
        until = list(self.end_s)
        for row in range(len(until) - 2, -1, -1):
            if self.start_s[row + 1] - self.end_s[row] <= TIME_TOLERANCE_S:
                until[row] = max(until[row], until[row + 1])
        return until

    @cached_property
    def bits_before(self) -> list[float]:
        """Bits that the link could carry before each contact."""
        total, before = 0.0, []
        for start_s, end_s, rate_bps in zip(self.start_s, self.end_s, self.rate_bps, strict=True):
            before.append(total)
            total += (end_s - start_s) * rate_bps
        return before

    def row_at(self, time_s: float) -> int:
        """The last contact that has started by then; -1 before the first."""
        return bisect_right(self.start_s, time_s) - 1

    def covers(self, start_s: float, end_s: float) -> bool:
        """Whether an interval lies inside one stretch of contacts."""
        row = self.row_at(start_s + TIME_TOLERANCE_S)
        if row < 0 or start_s > self.end_s[row] + TIME_TOLERANCE_S:
            return False
        return end_s <= self.until_s[row] + TIME_TOLERANCE_S

    def bits_by(self, time_s: float) -> float:
        """Integral of the rate up to a moment."""
        row = self.row_at(time_s)
        if row < 0:
            return 0.0
        return self.bits_before[row] + self.rate_bps[row] * (min(time_s, self.end_s[row]) - self.start_s[row])

    def last_row(self, start_s: float, end_s: float) -> int:
        """The contact in which a send ends: at a seam the earlier one, which carried its last bits."""
        return max(0, self.row_at(max((start_s + end_s) / 2, end_s - TIME_TOLERANCE_S)))

    def row_around(self, start_s: float, end_s: float) -> int:
        """The contact that a send lies in and ends before, the usual case; -1 where it touches an edge."""
        row = bisect_right(self.start_s, start_s) - 1
        inside = row >= 0 and end_s < self.end_s[row]
        last = row + 1 == len(self.start_s)
        return row if inside and (last or end_s + TIME_TOLERANCE_S < self.start_s[row + 1]) else -1


class PassTable:
    """Finds the `Passes` of a link and kind, and builds only those that are asked for."""

    def __init__(self, plan: ContactPlan) -> None:
        self._plan = plan
        keys = (plan.source.astype(np.int64) * len(plan.nodes) + plan.target) * len(KINDS) + plan.kind
        self._order = np.lexsort((plan.start_s, keys))
        self._keys = keys[self._order]
        self._found: dict[tuple[int, int, str], Passes] = {}

    def passes(self, source: int, target: int, kind: str) -> Passes:
        """Contacts of one directed link and kind; empty lists where there are none."""
        found = self._found.get((source, target, kind))
        if found is None:
            found = self._found[source, target, kind] = self._passes(source, target, kind)
        return found

    def _passes(self, source: int, target: int, kind: str) -> Passes:
        key = (source * len(self._plan.nodes) + target) * len(KINDS) + KINDS.index(kind)
        first, last = np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")
        rows = self._order[first:last]
        plan = self._plan
        return Passes(
            plan.start_s[rows].tolist(),
            plan.end_s[rows].tolist(),
            plan.rate_bps[rows].tolist(),
            plan.delay_s[rows].tolist(),
        )


def check_airtime(timeline: Timeline, system: System) -> None:
    """Rules `contact`, `rate`, `delay` and `terminals`."""
    table = PassTable(system.contacts)
    sends = [activity for activity in timeline.activities if activity.kind == "send"]
    loads: dict[tuple[int, int, str], _Load] = {}
    free_s: dict[tuple[int, int], float] = {}
    for send in sends:
        link = (send.node, send.peer, send.link)
        load = loads.get(link)
        if load is None:
            load = loads[link] = _Load(table.passes(*link))
        busy_s = free_s.get(link[:2], 0.0)
        row = load.passes.row_around(send.start_s, send.end_s)
        _check_send(send, load.passes, row, system)
        if send.start_s < busy_s - TIME_TOLERANCE_S:  # two sends at once would share the rate
            reject("rate", send, system.nodes, f"the link still carries another send until {busy_s:.6f} s")
        load.add(send, row, system)
        free_s[link[:2]] = max(busy_s, send.end_s)
    _check_terminals(sends, _crowded(loads, system), system)
    if not system.terminals.full_duplex:
        _check_turns(sends, system)


def _check_send(send: Activity, passes: Passes, row: int, system: System) -> None:
    """`row` is the one contact that the send lies in, -1 if there may be more or none."""
    if row < 0:
        if not passes.covers(send.start_s, send.end_s):
            reject("contact", send, system.nodes, f"not inside the {len(passes.start_s)} contacts of this link")
        row = passes.last_row(send.start_s, send.end_s)
    least_s = send.end_s + passes.delay_s[row]
    if send.arrive_s < least_s - TIME_TOLERANCE_S:
        reject("delay", send, system.nodes, f"arrives at {send.arrive_s:.6f} s, {least_s:.6f} s is the earliest")


@dataclass(slots=True)
class _Load:
    """The sends over contacts of one link and kind: together no more bytes than the rate has allowed since a pause.

    Bytes are added up, so that many short sends cannot each save the tolerance.
    """

    passes: Passes
    carried: float = 0.0  # bytes that the link could have carried by the moment at which it is done, at best

    def add(self, send: Activity, row: int, system: System) -> None:
        assert send.payload is not None, "rule `order` comes first"
        passes, size = self.passes, send.payload.size
        if row >= 0:
            rate_bps, first_s, bits = passes.rate_bps[row], passes.start_s[row], passes.bits_before[row]
            before, after = bits + rate_bps * (send.start_s - first_s), bits + rate_bps * (send.end_s - first_s)
        else:
            rate_bps = passes.rate_bps[passes.row_at(send.end_s)]
            before, after = passes.bits_by(send.start_s), passes.bits_by(send.end_s)
        before, after = max(self.carried, before / BITS_PER_BYTE), after / BITS_PER_BYTE
        spare = SPARE_BYTES + rate_bps * TIME_TOLERANCE_S / BITS_PER_BYTE
        if before + size > after + spare:
            reject("rate", send, system.nodes, f"{size} bytes where the rate allows {max(0.0, after - before):.1f}")
        self.carried = before + size


@dataclass(slots=True)
class _Pointing:
    """What one kind of terminal of one node points at: how many it has, and until when it sends to which peer."""

    limit: int
    until_s: dict[int, float]

    def point(self, peer: int, start_s: float, end_s: float) -> int:
        """Add a send; returns the number of distinct peers at its start."""
        until_s = self.until_s
        for other in [other for other, last_s in until_s.items() if last_s <= start_s + TIME_TOLERANCE_S]:
            del until_s[other]
        until_s[peer] = max(end_s, until_s.get(peer, end_s))
        return len(until_s)


def _crowded(links: Iterable[tuple[int, int, str]], system: System) -> dict[tuple[int, str], _Pointing]:
    """The terminals of nodes that have more peers in all than terminals; the others cannot have too many at once."""
    peers: dict[tuple[int, str], set[int]] = {}
    for source, target, link in links:
        if terminal := TERMINAL_OF[link]:
            peers.setdefault((source, terminal), set()).add(target)
            peers.setdefault((target, terminal), set()).add(source)
    limits = {place: system.num_terminals(*place) for place in peers}
    return {place: _Pointing(limits[place], {}) for place, others in peers.items() if len(others) > limits[place]}


def _check_terminals(sends: list[Activity], crowded: dict[tuple[int, str], _Pointing], system: System) -> None:
    if not crowded:
        return
    for send in sends:
        terminal = TERMINAL_OF[send.link]
        for node, peer in ((send.node, send.peer), (send.peer, send.node)):
            pointing = crowded.get((node, terminal))
            if pointing is None:
                continue
            count = pointing.point(peer, send.start_s, send.end_s)
            if count > pointing.limit:
                limits = f"{pointing.limit} {terminal} terminals"
                problem = f"{node_name(node, system.nodes)} points at {count} peers with {limits}"
                reject("terminals", send, system.nodes, problem)


def _check_turns(sends: list[Activity], system: System) -> None:
    """Half duplex: the two directions of a pair take turns. Backhaul occupies no terminal and is exempt."""
    busy_s: dict[tuple[int, int], float] = {}
    for send in sends:
        if not TERMINAL_OF[send.link]:
            continue
        other_s = busy_s.get((send.peer, send.node), 0.0)
        if send.start_s < other_s - TIME_TOLERANCE_S:
            reject("terminals", send, system.nodes, f"half duplex, and the peer still sends until {other_s:.6f} s")
        busy_s[send.node, send.peer] = max(busy_s.get((send.node, send.peer), 0.0), send.end_s)

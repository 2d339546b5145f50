"""What a contact plan can carry at the very most: the physics under `bounds`.

A `Capacity` is the number of bytes that can have crossed a cut by a moment, whatever is sent and however: a
non-decreasing, piecewise linear function of time. `Reach` is the earliest moment at which news can be anywhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate, combinations, groupby, pairwise
from math import inf
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from orbitune.cost.system import TERMINAL_OF, System
from orbitune.links.contacts import KINDS
from orbitune.units import BITS_PER_BYTE

ROUNDING = 1e-12
"""Relative error of a running sum of some 10^4 doubles (eps 2.2e-16 each). It is taken off, so that a pass filled to
the last byte is never taken for one byte too small."""


class Capacity:
    """Bytes that can have crossed by a moment: straight lines between edges, nothing outside.

    Args:
        edges: Moments in order of time, each with the bytes that can have crossed by it. They are asked for only as
            far as somebody wants to know: a bound of one round does not look at the rest of two days.
    """

    def __init__(self, edges: Iterable[tuple[float, float]]) -> None:
        self._more = iter(edges)
        self._edge_s: list[float] = []
        self._crossed: list[float] = []

    def by(self, time_s: float) -> float:
        """Bytes that can have crossed by a moment."""
        edge_s, crossed = self._edge_s, self._crossed
        while (not edge_s or edge_s[-1] <= time_s) and self._extend():
            pass
        row = bisect_right(edge_s, time_s) - 1
        if row < 0:
            return 0.0
        if row >= len(edge_s) - 1:
            return crossed[-1]
        share = (time_s - edge_s[row]) / (edge_s[row + 1] - edge_s[row])
        return crossed[row] + share * (crossed[row + 1] - crossed[row])

    def sent(self, start_s: float, size: float) -> float:
        """The earliest moment by which `size` bytes can have crossed since `start_s`; infinity if never."""
        if size <= 0.0 or start_s == inf:
            return start_s
        target = self.by(start_s) + size
        target -= min(size / 2, ROUNDING * target)
        edge_s, crossed = self._edge_s, self._crossed
        while (not crossed or crossed[-1] < target) and self._extend():
            pass
        row = bisect_left(crossed, target)
        if row == len(crossed):
            return inf
        if row == 0:
            return max(start_s, edge_s[0])
        low, high = crossed[row - 1], crossed[row]
        share = (target - low) / (high - low)
        return max(start_s, edge_s[row - 1] + share * (edge_s[row] - edge_s[row - 1]))

    def _extend(self) -> bool:
        """Work out one more edge, if there is one."""
        for time_s, crossed in self._more:
            self._edge_s.append(time_s)
            self._crossed.append(crossed)
            return True
        return False


class _Side:
    """One side of a cut: each terminal group serves its fastest open contacts, as many as it has terminals."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], list[float]] = {}
        self._served: dict[tuple[int, str], float] = {}

    def change(self, place: tuple[int, str], limit: int, rate: float, opens: bool) -> None:
        """A contact of this rate opens or closes at a node's terminal group."""
        rates = self._open.setdefault(place, [])
        if opens:
            insort(rates, rate)
        else:
            rates.pop(bisect_left(rates, rate))
        if rates and limit:
            self._served[place] = sum(rates[-limit:])
        else:
            self._served.pop(place, None)

    def rate(self) -> float:
        """Bytes per second that this side can move now."""
        return sum(self._served.values())


def capacity_of(system: System, rows: NDArray[np.int64]) -> Capacity:
    """Capacity of the cut made of these contacts.

    At any moment a node serves at most as many peers as it has terminals, at best its fastest ones. So no more
    crosses than the sum of that over the senders, nor than the sum over the receivers.
    """
    return Capacity(_edges(system, rows))


def _edges(system: System, rows: NDArray[np.int64]) -> Iterator[tuple[float, float]]:
    """When contacts open or close, and the bytes that can have crossed by then."""
    senders, receivers = _Side(), _Side()
    before_s = total = rate = 0.0
    for time_s, changes in groupby(_changes(system, rows), key=itemgetter(0)):
        total += rate * (time_s - before_s)
        for _, _, opens, from_place, from_limit, to_place, to_limit, contact_rate in changes:
            senders.change(from_place, from_limit, contact_rate, opens)
            receivers.change(to_place, to_limit, contact_rate, opens)
        rate, before_s = min(senders.rate(), receivers.rate()), time_s
        yield time_s, total


_Change = tuple[float, int, bool, tuple[int, str], int, tuple[int, str], int, float]


def _changes(system: System, rows: NDArray[np.int64]) -> Iterator[_Change]:
    """Openings and closings of contacts in time order: when, number, which, and where with how many terminals.

    Rows come in order of their openings; a closing waits in a heap until it is its turn.
    """
    limits: dict[tuple[int, str], int] = {}
    closings: list[_Change] = []
    for number, (source, target, kind, start_s, end_s, rate_bps) in enumerate(_rows(system, rows)):
        terminal = TERMINAL_OF[KINDS[kind]]
        places = (source, terminal), (target, terminal)
        for place in places:
            if place not in limits:
                limits[place] = _limit(system, *place)
        ends = (places[0], limits[places[0]], places[1], limits[places[1]], rate_bps / BITS_PER_BYTE)
        while closings and closings[0][0] <= start_s:
            yield heappop(closings)
        yield (start_s, number, True, *ends)
        heappush(closings, (end_s, number, False, *ends))
    yield from sorted(closings)


BLOCK = 512
"""Contacts that are read at once, our choice: enough to be fast, few enough to stop early."""


def _rows(system: System, rows: NDArray[np.int64]) -> Iterator[tuple[int, int, int, float, float, float]]:
    """Source, target, kind, start, end and rate of contacts."""
    plan = system.contacts
    columns = (plan.source, plan.target, plan.kind, plan.start_s, plan.end_s, plan.rate_bps)
    for first in range(0, len(rows), BLOCK):
        yield from zip(*(column[rows[first : first + BLOCK]].tolist() for column in columns), strict=True)


def _limit(system: System, node: int, terminal: str) -> int:
    """Peers at a time; backhaul is cable and has no such limit."""
    return system.num_terminals(node, terminal) if terminal else len(system.nodes)


FEW_GROUPS = 6
"""Our choice: of so many groups all 56 sets are looked at."""

MOST_SETS = 12
"""Our choice: sets of more groups that are looked at."""


TIMES, KEPT = (1, 2, 4, 8, 16, 64), 2
"""Our choice: the last sets to be done with so many times the bytes are kept, so many each."""

MOST_NAMED = 6
"""Planes that are listed one by one, our choice: more are counted."""


def group_name(members: frozenset[int], system: System) -> str:
    """Satellites in words: planes by their numbers (from 0, as in satellites' names), one satellite by its name."""
    nodes = system.nodes
    planes = sorted({nodes.plane_of[satellite] for satellite in members})
    if len(members) == 1:
        return nodes.name(min(members))
    if len(planes) == 1:
        return f"plane {planes[0]}"
    if len(members) == nodes.num_satellites:
        return "all satellites"
    if len(members) < sum(len(nodes.planes[plane]) for plane in planes) or len(planes) > MOST_NAMED:
        return f"{len(members)} satellites in {len(planes)} planes"
    return f"planes {', '.join(map(str, planes[:-1]))} and {planes[-1]}"


@dataclass(frozen=True)
class Cut:
    """A capacity with the least delay before and after it."""

    capacity: Capacity
    before_s: float
    after_s: float


class Cuts:
    """The cuts of one system, each worked out once."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._found: dict[tuple[str, frozenset[int]], Cut] = {}
        self._sets: dict[tuple[str, tuple[frozenset[int], ...]], list[tuple[tuple[int, ...], frozenset[int]]]] = {}
        self._names: dict[frozenset[int], str] = {}

    def air(self, kind: str, satellites: frozenset[int]) -> Cut:
        """Everything that satellites can send to the server (kind "downlink") or get from it ("uplink").

        Stations without backhaul are left out: what they hear goes no further.
        """
        return self._cached(kind, satellites)

    def backhaul(self, kind: str, satellites: frozenset[int]) -> Cut:
        """All backhaul together, towards the server for "downlink" and away from it for "uplink"."""
        return self._cached("backhaul " + kind, satellites)

    def intake(self, satellite: int) -> Cut:
        """Everything that one satellite can receive; `before_s` is minus the longest delay of its links."""
        return self._cached("intake", frozenset((satellite,)))

    def space(self) -> Cut:
        """Everything that satellites can send or receive, all together."""
        return self._cached("space", frozenset())

    def name(self, members: frozenset[int]) -> str:
        """Satellites in words."""
        if members not in self._names:
            self._names[members] = group_name(members, self._system)
        return self._names[members]

    def sets(
        self, kind: str, groups: tuple[tuple[frozenset[int], float], ...], rounds: int
    ) -> list[tuple[tuple[int, ...], frozenset[int]]]:
        """Sets of groups (each given with its bytes), neither one nor all, whose cuts may bind: places, and satellites.

        Groups all whose passes go over the same stations share what these can hear, and are not done before all of
        them have got through. Any choice of sets gives a bound: here those that would be the last to be done with
        these bytes, and with several times as many, up to as many as there are rounds.
        """
        key = (kind, tuple(members for members, _ in groups))
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = self._find_sets(kind, groups, rounds)
        return found

    def _find_sets(
        self, kind: str, groups: tuple[tuple[frozenset[int], float], ...], rounds: int
    ) -> list[tuple[tuple[int, ...], frozenset[int]]]:
        sets = {
            numbers: frozenset[int]().union(*(groups[number][0] for number in numbers))
            for numbers in self._candidates(kind, groups)
        }
        kept: dict[tuple[int, ...], None] = {}
        for times in (times for times in TIMES if times == 1 or times < 2 * rounds):
            done_s = {
                numbers: self.air(kind, members).capacity.sent(
                    0.0, times * sum(groups[number][1] for number in numbers)
                )
                for numbers, members in sets.items()
            }
            kept |= dict.fromkeys(sorted(done_s, key=lambda numbers: -done_s[numbers])[:KEPT])
        return [(numbers, sets[numbers]) for numbers in kept]

    def _candidates(self, kind: str, groups: tuple[tuple[frozenset[int], float], ...]) -> Iterator[tuple[int, ...]]:
        """All sets of few groups; of more the scarcest two, three and so on, by when each could be done alone."""
        numbers = range(len(groups))
        if len(groups) <= FEW_GROUPS:
            for size in range(2, len(groups)):
                yield from combinations(numbers, size)
            return
        alone_s = [self.air(kind, members).capacity.sent(0.0, total) for members, total in groups]
        scarce = sorted(numbers, key=lambda number: (-alone_s[number], number))
        sizes = {len(groups) * step // (MOST_SETS + 1) for step in range(1, MOST_SETS + 1)}
        for size in sorted(sizes - {0, 1}):
            yield tuple(sorted(scarce[:size]))

    def _cached(self, name: str, members: frozenset[int]) -> Cut:
        cut = self._found.get((name, members))
        if cut is None:
            builders = {
                "downlink": self._air, "uplink": self._air, "intake": self._intake, "space": self._space
            }  # fmt: skip
            build = builders.get(name, self._backhaul)
            cut = self._found[name, members] = build(name, members)
        return cut

    def _air(self, kind: str, satellites: frozenset[int]) -> Cut:
        plan, rows = self._system.contacts, self._air_rows(kind, satellites)
        cable_s = self._cable_s(kind)
        stations = (plan.target if kind == "downlink" else plan.source)[rows].tolist()
        cables = [cable_s[station] for station in stations]
        capacity = capacity_of(self._system, rows)
        if kind == "uplink":
            return Cut(capacity, min(cables, default=0.0), _least(plan.delay_s[rows]))
        whole = [air_s + cable for air_s, cable in zip(plan.delay_s[rows].tolist(), cables, strict=True)]
        return Cut(capacity, 0.0, min(whole, default=0.0))

    def _air_rows(self, kind: str, satellites: frozenset[int]) -> NDArray[np.int64]:
        plan, rows = self._system.contacts, self._system.contacts.of_kind(kind)
        ends = (plan.source, plan.target) if kind == "downlink" else (plan.target, plan.source)
        inside = np.isin(ends[0][rows], sorted(satellites)) & np.isin(ends[1][rows], sorted(self._cable_s(kind)))
        return rows[np.flatnonzero(inside)]

    def _backhaul(self, name: str, satellites: frozenset[int]) -> Cut:
        plan, kind = self._system.contacts, name.removeprefix("backhaul ")
        air_s = _least(plan.delay_s[self._air_rows(kind, satellites)])
        rows = self._cable_rows(kind)
        cable_s = _least(plan.delay_s[rows])
        before_s, after_s = (air_s, cable_s) if kind == "downlink" else (0.0, cable_s + air_s)
        return Cut(capacity_of(self._system, rows), before_s, after_s)

    def _cable_rows(self, kind: str) -> NDArray[np.int64]:
        plan, rows = self._system.contacts, self._system.contacts.of_kind("backhaul")
        end = plan.target if kind == "downlink" else plan.source
        return rows[np.flatnonzero(end[rows] == self._system.nodes.server)]

    def _cable_s(self, kind: str) -> dict[int, float]:
        """Least backhaul delay of each station that is joined to the server in this direction."""
        plan = self._system.contacts
        found: dict[int, float] = {}
        for row in self._cable_rows(kind).tolist():
            station = int((plan.source if kind == "downlink" else plan.target)[row])
            found[station] = min(found.get(station, inf), float(plan.delay_s[row]))
        return found

    def _intake(self, name: str, members: frozenset[int]) -> Cut:
        plan = self._system.contacts
        rows = np.flatnonzero(plan.target == min(members))
        delays = plan.delay_s[rows]
        return Cut(capacity_of(self._system, rows), -float(delays.max(initial=0.0)), _least(delays))

    def _space(self, name: str, members: frozenset[int]) -> Cut:
        plan = self._system.contacts
        rows = np.flatnonzero(plan.kind != KINDS.index("backhaul"))
        return Cut(capacity_of(self._system, rows), 0.0, _least(plan.delay_s[rows]))


def _least(values: NDArray[np.float64]) -> float:
    return float(values.min()) if len(values) else 0.0


class Reach:
    """Earliest arrival of news of no size, over contacts of all kinds, through any nodes."""

    def __init__(self, system: System) -> None:
        self._out: list[list[tuple[int, list[float], list[float], float]]] = [[] for _ in range(len(system.nodes))]
        self._satellites = len(system.nodes.satellites)
        for (source, target), start_s, end_s, delay_s in _links(system):
            self._out[source].append((target, start_s, end_s, delay_s))

    def arrivals_s(self, since_s: Mapping[int, float]) -> list[float]:
        """When each satellite can know what these nodes know from these moments on; infinity if never.

        Dijkstra's algorithm over links whose delay is the least that the link ever has: leaving later never means
        arriving earlier, so the first arrival is the earliest (Cooke and Halsey, J. Math. Anal. Appl. 14, 1966).
        """
        best = [inf] * len(self._out)
        for node, time_s in since_s.items():
            best[node] = time_s
        queue = sorted((time_s, node) for node, time_s in since_s.items())
        left = self._satellites
        while queue and left:
            time_s, node = heappop(queue)
            if time_s > best[node]:
                continue
            left -= node < self._satellites
            for target, start_s, end_s, delay_s in self._out[node]:
                if best[target] <= time_s:
                    continue
                row = bisect_right(end_s, time_s)
                if row < len(end_s):
                    arrival_s = max(time_s, start_s[row]) + delay_s
                    if arrival_s < best[target]:
                        best[target] = arrival_s
                        heappush(queue, (arrival_s, target))
        return best[: self._satellites]


def _links(system: System) -> Iterator[tuple[tuple[int, int], list[float], list[float], float]]:
    """Each directed pair with the starts and ends of its contacts in time order, and its least delay."""
    plan = system.contacts
    order = np.lexsort((plan.start_s, plan.target, plan.source))
    source, target = plan.source[order], plan.target[order]
    firsts = np.flatnonzero(np.diff(source, prepend=-1) | np.diff(target, prepend=-1))
    edges = [*firsts.tolist(), len(order)]
    starts_s, ends_s = plan.start_s[order].tolist(), plan.end_s[order].tolist()
    least_s = np.minimum.reduceat(plan.delay_s[order], firsts).tolist() if len(order) else []
    for (first, last), delay_s in zip(pairwise(edges), least_s, strict=True):
        latest_s = list(accumulate(ends_s[first:last], max))  # sorted even where contacts of two kinds overlap
        yield (int(source[first]), int(target[first])), starts_s[first:last], latest_s, delay_s

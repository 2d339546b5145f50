"""Combine over an aggregation tree of earliest arrivals: partial sums meet on their way to a root, the total spreads.

Whole models hop from satellite to satellite. Let a(p, v) be the earliest arrival of plane p's model at satellite v.
No sum can be complete at v before max over p of a(p, v). It can be complete by then: let every satellite send as late
as it may to be in time at v (latest departures, a tree), then whatever a satellite receives comes before it has to
send, so it can be added, and no link is used twice. From v the total spreads along earliest arrivals, again a tree.
So where no terminal is shared, the best root's tree is the optimum over all schemes in which whole models are summed
at one place and spread from there; where terminals are shared, or links are half duplex, that time is a lower bound
of these schemes. Bookings are made as early as possible, not as late.

Ground hops (`ground=True`): stations and the server are nodes like any other, but a station only passes on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf

from orbitune.strategies.hops import Hops
from orbitune.strategies.planes import Found, Task, end_s, rebook, require_joined, too_late
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import HorizonEnd, Schedule

MAX_VISITS = 100_000
"""Links that are looked at to compare roots, our choice: a tenth of a second. With that every satellite of a
constellation of 150 with four links each can be a root, and the best dozen of 1,584."""

MAX_TRIALS = 2
"""Roots that are tried on a copy of the schedule, where the first does not do as well as its estimate, our choice."""

SAME_S = 1e-6
"""Moments this close are the same: estimates and bookings add up the same hops, but round in another order."""


def earliest_tree(schedule: Schedule, task: Task, *, ground: bool = False) -> Found:
    """Book the best tree of the most promising roots.

    Raises:
        PlanError: Contacts never join some planes.
        HorizonEnd: The contact plan ends first.
    """
    if not ground:
        require_joined(schedule, task)
    trees = Trees(schedule, task, ground)
    return book_best(schedule, trees, trees.roots(MAX_VISITS // max(1, len(trees.hops.links))), MAX_TRIALS)


def book_best(schedule: Schedule, trees: Trees, roots: list[tuple[float, int]], trials: int) -> Found:
    """Try roots, each with the end that it could have at best, and book the first to finish.

    Raises:
        HorizonEnd: The contact plan ends before any of them finishes.
    """
    best_s, best = inf, None
    for number, (estimate_s, root) in enumerate(roots):
        if estimate_s >= best_s - SAME_S or (best is not None and number >= trials):
            break
        desk = schedule.trial()
        try:
            found = _Booking(trees, desk, best_s).book(root)
        except (_TooLate, HorizonEnd):
            continue
        best_s, best = end_s(found), (desk, found)
    if best is None:
        raise too_late(schedule, trees.task)
    rebook(schedule, best[0])
    return best[1]


class Trees:
    """The trees of all roots, and how early each could finish."""

    def __init__(self, schedule: Schedule, task: Task, ground: bool) -> None:
        nodes, self.task = schedule.system.nodes, task
        self.satellites = frozenset(member for ring in task.rings for member in ring)
        self.stations = frozenset(nodes.stations)
        beyond = (*nodes.stations, nodes.server) if ground else ()
        self.hops = Hops(schedule, (*self.satellites, *beyond), min(model.since_s for model in task.held))
        self.complete_s = self._complete_s()

    def _complete_s(self) -> dict[int, float]:
        """For each node that all models can reach: when the sum could be complete there."""
        latest_s = dict.fromkeys(self.hops.nodes - self.stations, 0.0)
        for ring, model in zip(self.task.rings, self.task.held, strict=True):
            there_s, _ = self.hops.earliest(self.task.size, dict.fromkeys(ring, model.since_s))
            latest_s = {node: max(time_s, there_s[node]) for node, time_s in latest_s.items() if node in there_s}
        return latest_s

    def end_s(self, root: int, limit_s: float) -> float:
        """When everybody could have the total, if it is formed at the root; infinity where it is past the limit."""
        if self.complete_s[root] >= limit_s:
            return inf
        there_s, _ = self.hops.earliest(self.task.size, {root: self.complete_s[root]})
        return max(there_s.get(satellite, inf) for satellite in self.satellites)

    def roots(self, most: int) -> list[tuple[float, int]]:
        """(end, root) of up to `most` roots that could finish, the earliest first.

        Roots where the sum is complete only after the best end found are left out. The best one of each plane (and the
        server) goes first, so that a few are not all from one corner.
        """
        order = sorted(self.complete_s, key=lambda node: (self.complete_s[node], node))
        plane_of = self.task.plane_of
        first: dict[int, int] = {}
        for node in order:
            first.setdefault(plane_of.get(node, -1), node)
        found: list[tuple[float, int]] = []
        for root in list(dict.fromkeys([*first.values(), *order]))[:most]:
            best_s = min(found)[0] if found else inf
            if (end := self.end_s(root, best_s)) < inf:
                found.append((end, root))
        return sorted(found)

    def inward(self, root: int) -> tuple[dict[int, int], dict[int, int]]:
        """The tree towards a root: where each node on it sends, and at which satellite each plane's model joins in.

        A plane joins in where others pass through in time anyhow; otherwise it sets out where it may do so latest.
        """
        leave_s, onward = self.hops.latest(self.task.size, root, self.complete_s[root] + SAME_S)
        tree: dict[int, int] = {}
        joins: dict[int, int] = {}

        def slack_s(plane: int, member: int) -> float:
            return leave_s.get(member, -inf) - self.task.held[plane].since_s

        best = {
            plane: max(ring, key=lambda member: slack_s(plane, member)) for plane, ring in enumerate(self.task.rings)
        }
        for plane in sorted(best, key=lambda plane: (slack_s(plane, best[plane]), plane)):
            inside = [member for member in self.task.rings[plane] if member in tree or member == root]
            here = max(inside, key=lambda member: slack_s(plane, member), default=best[plane])
            joins[plane] = here = here if slack_s(plane, here) >= 0.0 else best[plane]
            while here != root and here not in tree:
                tree[here] = here = onward[here]
        return tree, joins

    def ways_out(self, root: int) -> dict[int, list[int]]:
        """Neighbours of each node over which the total may spread: every satellite link, and ground hops if useful."""
        ways = {
            here: [there for there, *_ in self.hops.out[here] if there in self.satellites] for here in self.satellites
        }
        if len(self.hops.nodes) > len(self.satellites):
            _, came = self.hops.earliest(self.task.size, {root: self.complete_s[root]})
            for satellite in self.satellites:
                _add_ground(ways, came, satellite, self.satellites)
        return ways


def _add_ground(ways: dict[int, list[int]], came: Mapping[int, int], end: int, satellites: frozenset[int]) -> None:
    """Put the ground hops of one node's earliest path in."""
    while end in came:
        before = came[end]
        if (before not in satellites or end not in satellites) and end not in ways.setdefault(before, []):
            ways[before].append(end)
        end = before


class _TooLate(Exception):
    """This root cannot beat the best one found so far."""


@dataclass
class _Booking:
    """Books one root's tree on a desk; gives up once it is later than `limit_s`."""

    trees: Trees
    desk: Schedule
    limit_s: float

    def book(self, root: int) -> Found:
        total = self._collect(root)
        since_s = self._spread(root, total)
        return {node: Held(total.payload, s) for node, s in since_s.items() if node not in self.trees.stations}

    def _collect(self, root: int) -> Held:
        """Partial sums towards the root, whichever is complete first goes first."""
        tree, joins = self.trees.inward(root)
        parts: dict[int, list[Held]] = defaultdict(list)
        for plane, satellite in joins.items():
            parts[satellite].append(self.trees.task.held[plane])
        waiting = Counter(self._goal(tree, node) for node in tree if node not in self.trees.stations)
        queue = [(parts[node][0].since_s, node) for node in (*tree, root) if node in parts and not waiting[node]]
        heapify(queue)
        while True:
            ready_s, here = heappop(queue)
            partial = self._sum(here, parts[here], ready_s)
            if here == root:
                return partial
            goal = self._goal(tree, here)
            parts[goal].append(self._carry(tree, here, goal, partial))
            waiting[goal] -= 1
            if not waiting[goal]:
                heappush(queue, (max(part.since_s for part in parts[goal]), goal))

    def _goal(self, tree: Mapping[int, int], here: int) -> int:
        """The next node that can add: stations only pass on."""
        here = tree[here]
        while here in self.trees.stations:
            here = tree[here]
        return here

    def _carry(self, tree: Mapping[int, int], here: int, goal: int, held: Held) -> Held:
        now_s = held.since_s
        while here != goal:
            now_s = self._send(here, tree[here], held, now_s)
            here = tree[here]
        return Held(held.payload, now_s)

    def _send(self, here: int, there: int, held: Held, ready_s: float) -> float:
        now_s = self.desk.send(here, there, held.payload, ready_s)
        if now_s > self.limit_s:
            raise _TooLate
        return now_s

    def _sum(self, place: int, parts: list[Held], ready_s: float) -> Held:
        if len(parts) == 1:
            return parts[0]
        return self.desk.merge(place, [part.payload for part in parts], ready_s)

    def _spread(self, root: int, total: Held) -> dict[int, float]:
        """The total goes to everyone, always over the hop that arrives first given the bookings so far."""
        self._ways, since_s = self.trees.ways_out(root), {root: total.since_s}
        queue = list(self._hops(root, since_s, total))
        heapify(queue)
        left = set(self.trees.satellites) - {root}
        while left:
            if not queue:
                raise too_late(self.desk, self.trees.task)
            arrive_s, here, there = heappop(queue)
            if there in since_s:
                continue
            now_s = self.desk.probe(here, there, total.payload.size, since_s[here])
            if now_s > arrive_s:  # a booking made meanwhile holds it up
                heappush(queue, (now_s, here, there))
                continue
            since_s[there] = self._send(here, there, total, since_s[here])
            left.discard(there)
            for hop in self._hops(there, since_s, total):
                heappush(queue, hop)
        return since_s

    def _hops(self, here: int, since_s: Mapping[int, float], total: Held) -> Iterator[tuple[float, int, int]]:
        """(arrival, from, to) towards neighbours that do not have the total yet, where it can still arrive."""
        for there in self._ways.get(here, ()):
            if there not in since_s:
                arrive_s = self.desk.probe(here, there, total.payload.size, since_s[here])
                if arrive_s < inf:
                    yield arrive_s, here, there

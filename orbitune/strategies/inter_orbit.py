"""Strategy C: combine one model per plane into one, and give it to every satellite.

Ways:

via_ground     Naive: each plane's model goes down (strategy B), the server merges, the sum goes up to each plane and
               around its ring (strategy A).
earliest_tree  Over inter-satellite contacts alone: partial sums move along a tree of planes towards a root, each as
               early as the contacts allow, and are merged where they meet; from there the total spreads along a tree of
               earliest arrivals. The most promising roots are tried, the earliest to finish is booked.

The paper's own algorithm (arXiv:2504.10403) could not be recovered. `earliest_tree` is ours; it descends from TAEER
(arXiv:2408.14116, same group), which aggregates along a directed Steiner tree of shortest paths, on snapshots of the
topology and for least energy. Here time is part of the path: links come and go while the sums travel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from heapq import heapify, heappop, heappush
from itertools import pairwise
from math import inf

from orbitune.errors import PlanError
from orbitune.strategies.intra_orbit import broadcast, broadcast_parts
from orbitune.strategies.satellite_ground import Cargo, bring_down, send_up
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule

WAYS = ("via_ground", "earliest_tree")

MAX_ROOTS = 6
"""Root planes that are tried, our choice: planning time grows with them. Six is every plane of a 66-satellite star."""


def combine(
    schedule: Schedule,
    rings: Sequence[Sequence[int]],
    held: Sequence[Held],
    way: str,
    *,
    intra_way: str,
    ground_way: str,
    slot_s: float,
) -> dict[int, Held]:
    """Merge one model per plane and give the total to every satellite.

    Args:
        rings: The satellites of each plane in ring order.
        held: Per plane, the model that all its satellites hold, and since when. Origins are disjoint.
        intra_way, ground_way, slot_s: How `via_ground` uses strategies A and B.

    Returns:
        For each satellite the total and since when it holds all of it. One plane alone keeps what it has.

    Raises:
        PlanError: `earliest_tree` and inter-satellite contacts never join some planes, or `via_ground` and no station
            ever sees some plane.
        HorizonEnd: The contact plan ends first.
    """
    assert way in WAYS, way
    assert len(rings) == len(held), "one model per plane"
    if len(rings) == 1:
        return dict.fromkeys(rings[0], held[0])
    if way == "via_ground":
        return _via_ground(schedule, rings, held, intra_way, ground_way, slot_s)
    return _earliest_tree(schedule, rings, held)


def _via_ground(
    schedule: Schedule,
    rings: Sequence[Sequence[int]],
    held: Sequence[Held],
    intra_way: str,
    ground_way: str,
    slot_s: float,
) -> dict[int, Held]:
    down = [Cargo(tuple(ring), (model,)) for ring, model in zip(rings, held, strict=True)]
    there_s = bring_down(schedule, down, ground_way, slot_s)
    total = schedule.merge(schedule.system.nodes.server, list(there_s), max(there_s.values()))
    up = [Cargo(tuple(ring), (total,)) for ring in rings]
    landed = send_up(schedule, up, ground_way, slot_s)
    found: dict[int, Held] = {}
    for ring in rings:
        parts = [(satellite, part) for satellite, part in landed if satellite in ring]
        if len(parts) == 1:
            since_s = broadcast(schedule, ring, *parts[0], intra_way)
        else:  # the uplink has cut it into pieces already
            since_s = broadcast_parts(schedule, ring, parts, intra_way)
        found.update((member, Held(total.payload, time_s)) for member, time_s in since_s.items())
    return found


# -- earliest tree ---------------------------------------------------------------------------------------------------


class _TooLate(Exception):
    """This root cannot beat the best one found so far."""


def _earliest_tree(schedule: Schedule, rings: Sequence[Sequence[int]], held: Sequence[Held]) -> dict[int, Held]:
    planes = _Planes(schedule, rings, held)
    best_s, best, reason = inf, -1, ""
    for root, parents in planes.trees():
        try:
            end_s = max(_Tree(planes, schedule.trial(), best_s).book(root, parents).values())
        except _TooLate:
            continue
        except HorizonEnd as end:
            reason = reason or str(end)
            continue
        if end_s < best_s:
            best_s, best = end_s, root
    if best < 0:
        raise HorizonEnd(reason or planes.too_late())
    since_s = _Tree(planes, schedule, inf).book(best, planes.parents(best))
    total = reduce(Payload.merged, (model.payload for model in held))
    return {member: Held(total, time_s) for member, time_s in since_s.items()}


class _Planes:
    """The planes as a graph of satellites, and how soon a model could cross from each to its neighbours."""

    def __init__(self, schedule: Schedule, rings: Sequence[Sequence[int]], held: Sequence[Held]) -> None:
        self.schedule, self.rings, self.held = schedule, rings, held
        self.size = held[0].payload.size
        self.start_s = max(model.since_s for model in held)
        self.plane_of = {member: plane for plane, ring in enumerate(rings) for member in ring}
        self.neighbours: dict[int, list[int]] = {member: [] for member in self.plane_of}
        for one, two in schedule.system.contacts.by_link:
            if one in self.plane_of and two in self.plane_of:
                self.neighbours[one].append(two)
        self.crossing_s = self._crossings()

    def _crossings(self) -> dict[int, dict[int, float]]:
        """[to][from]: seconds from the start until the earliest direct arrival; infinite where it comes too late."""
        found: dict[int, dict[int, float]] = {plane: {} for plane in range(len(self.rings))}
        for one, others in self.neighbours.items():
            for two in others:
                source, target = self.plane_of[one], self.plane_of[two]
                if source != target:
                    wait_s = self.schedule.probe(one, two, self.size, self.start_s) - self.start_s
                    found[target][source] = min(wait_s, found[target].get(source, inf))
        return found

    def trees(self) -> list[tuple[int, dict[int, int]]]:
        """The most promising root planes with their trees (parent of each other plane), the shallowest in time first.

        Raises:
            PlanError: No contact of the whole plan joins some planes.
        """
        self._require_joined()
        depths: list[tuple[float, int]] = []
        for root in range(len(self.rings)):
            depth_s = self._depths_s(root)[0]
            depths.append((max(depth_s.get(plane, inf) for plane in range(len(self.rings))), root))
        return [(root, self.parents(root)) for depth, root in sorted(depths)[:MAX_ROOTS] if depth < inf]

    def parents(self, root: int) -> dict[int, int]:
        """The tree of one root."""
        return self._depths_s(root)[1]

    def _depths_s(self, root: int) -> tuple[dict[int, float], dict[int, int]]:
        """Dijkstra over planes towards the root: a plane's distance, and the plane it hands over to.

        Crossing times stand for edge lengths here, as if each began at the start: this only shapes the tree.
        """
        depth_s: dict[int, float] = {}
        parents: dict[int, int] = {}
        queue = [(0.0, root, root)]
        while queue:
            length_s, plane, parent = heappop(queue)
            if plane in depth_s:
                continue
            depth_s[plane], parents[plane] = length_s, parent
            for child, wait_s in self.crossing_s[plane].items():
                if child not in depth_s and wait_s < inf:
                    heappush(queue, (length_s + wait_s, child, plane))
        del parents[root]
        return depth_s, parents

    def _require_joined(self) -> None:
        reached, queue = {0}, [0]
        while queue:
            fresh = set(self.crossing_s[queue.pop()]) - reached
            reached |= fresh
            queue += fresh
        if apart := sorted(set(range(len(self.rings))) - reached):
            name = self.schedule.system.nodes.name
            raise PlanError(
                f"no inter-satellite contact joins the planes of {name(self.rings[0][0])} and "
                f"{name(self.rings[apart[0]][0])} (nor {len(apart) - 1} more), so method.inter_orbit = "
                f'"earliest_tree" cannot combine them; use "via_ground", or links.isl_inter_enabled = true with a '
                f"longer links.isl_inter_max_range_km"
            )

    def too_late(self) -> str:
        """What to say when the rest of the contact plan joins the planes no more."""
        return (
            f"inter-satellite contacts after {self.start_s:.0f} s no longer join all planes for {self.size} bytes: the "
            f"contact plan ends at {self.schedule.system.contacts.horizon_s:.0f} s; lengthen time.duration_h"
        )


class _Tree:
    """Books one aggregation and the spreading of its total; gives up once it is later than `limit_s`."""

    def __init__(self, planes: _Planes, desk: Schedule, limit_s: float) -> None:
        self.planes, self.desk, self.limit_s = planes, desk, limit_s

    def book(self, root: int, parents: Mapping[int, int]) -> dict[int, float]:
        """Returns since when each satellite holds the total."""
        place, total = self._collect(root, parents)
        return self._spread(place, total)

    def _collect(self, root: int, parents: Mapping[int, int]) -> tuple[int, Held]:
        """Partial sums towards the root, whichever plane is complete first goes first; returns where the total is.

        The first contribution to reach a plane fixes the satellite where its sum is formed.
        """
        held = self.planes.held
        waiting = Counter(parents.values())
        arrived: dict[int, list[Held]] = {plane: [model] for plane, model in enumerate(held)}
        places: dict[int, int] = {}
        queue = [(model.since_s, plane) for plane, model in enumerate(held) if not waiting[plane]]
        heapify(queue)
        while True:
            _, plane = heappop(queue)
            partial = self._sum(places.get(plane, -1), arrived[plane])
            if plane == root:
                return places[plane], partial
            parent = parents[plane]
            sources = (places[plane],) if plane in places else self.planes.rings[plane]
            goals = (places[parent],) if parent in places else self.planes.rings[parent]
            places[parent], got = self._carry(partial, sources, goals)
            arrived[parent].append(got)
            waiting[parent] -= 1
            if not waiting[parent]:
                heappush(queue, (max(part.since_s for part in arrived[parent]), parent))

    def _sum(self, place: int, parts: Sequence[Held]) -> Held:
        if len(parts) == 1:
            return parts[0]
        return self.desk.merge(place, [part.payload for part in parts], max(part.since_s for part in parts))

    def _carry(self, held: Held, sources: Sequence[int], goals: Sequence[int]) -> tuple[int, Held]:
        """Send along the earliest path from any source to any goal; returns where it ends and what is there."""
        path = self._earliest_path(held, sources, goals)
        now_s = held.since_s
        for here, there in pairwise(path):
            now_s = self.desk.send(here, there, held.payload, now_s)
        return path[-1], Held(held.payload, now_s)

    def _earliest_path(self, held: Held, sources: Sequence[int], goals: Sequence[int]) -> list[int]:
        """Dijkstra over satellites, each hop as early as contacts and earlier bookings allow.

        Leaving later never means arriving earlier on any hop, so the first path to a goal is the earliest (Cooke and
        Halsey, "The shortest route through a network with time-dependent internodal transit times", 1966).
        """
        since_s = dict.fromkeys(sources, held.since_s)
        came: dict[int, int] = {}
        queue = sorted((held.since_s, source) for source in sources)
        while queue:
            now_s, here = heappop(queue)
            if now_s > self.limit_s:
                raise _TooLate
            if here in goals:
                return _trace(came, here)
            if now_s > since_s[here]:
                continue
            for there in self.planes.neighbours[here]:
                arrive_s = self.desk.probe(here, there, held.payload.size, now_s)
                if arrive_s < since_s.get(there, inf):
                    since_s[there], came[there] = arrive_s, here
                    heappush(queue, (arrive_s, there))
        raise HorizonEnd(self.planes.too_late())

    def _spread(self, root: int, total: Held) -> dict[int, float]:
        """The total goes to everyone, always over the hop that arrives first given the bookings so far."""
        since_s = {root: total.since_s}
        queue = list(self._hops(root, since_s))
        heapify(queue)
        while len(since_s) < len(self.planes.plane_of):
            if not queue:
                raise HorizonEnd(self.planes.too_late())
            arrive_s, here, there = heappop(queue)
            if there in since_s:
                continue
            if arrive_s > self.limit_s:
                raise _TooLate
            now_s = self.desk.probe(here, there, total.payload.size, since_s[here])
            if now_s > arrive_s:  # a booking made meanwhile holds it up
                heappush(queue, (now_s, here, there))
                continue
            since_s[there] = self.desk.send(here, there, total.payload, since_s[here])
            for hop in self._hops(there, since_s):
                heappush(queue, hop)
        return since_s

    def _hops(self, here: int, since_s: Mapping[int, float]) -> Iterator[tuple[float, int, int]]:
        """(arrival, from, to) towards neighbours that do not have the total yet, where it can still arrive."""
        for there in self.planes.neighbours[here]:
            if there not in since_s:
                arrive_s = self.desk.probe(here, there, self.planes.size, since_s[here])
                if arrive_s < inf:
                    yield arrive_s, here, there


def _trace(came: Mapping[int, int], end: int) -> list[int]:
    path = [end]
    while path[-1] in came:
        path.append(came[path[-1]])
    return path[::-1]

"""Combine in shards: each satellite of a plane holds its model, so each can be a port, and all links work at once.

The model is cut into shards. Each shard travels on its own along a tree of planes, but to both sides at once: a plane
sends a neighbour its sum of everything that came from the other neighbours as soon as that is there (as in belief
propagation on a tree), so after as many hops as the tree is wide every plane can form the total, with no root and no
way back. Each shard takes the link that brings it across first, so links that are faster, or up for longer, carry
more, and shards follow each other like the cars of a train. As soon as a plane has the total of a shard, it goes
round its ring.

With enough shards that takes about (model / all parallel links of a seam) instead of (tree depth x model / one link).
Few bytes or few links gain nothing; so a few numbers of shards are tried beside `earliest_tree`, and the first to
finish is booked: never later than `earliest_tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count, pairwise
from math import ceil, inf

from orbitune.strategies.earliest_tree import earliest_tree
from orbitune.strategies.hops import Hops
from orbitune.strategies.planes import Book, Found, Task, first_to_finish, require_joined, too_late
from orbitune.strategies.ring import VALUE_BYTES, Line, Trip, part_of, shapes, split, step
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE

FILL_SPARE = 0.5
"""What filling the pipeline may add to the time with endless shards, our choice: more shards cost planning time."""

MAX_SENDS = 60_000
"""Sends of one combination that shards may lead to, our choice: a few seconds of planning."""

MAX_SHARDS = 4096
"""Shards are whole bytes, and never more than this, our choice."""


def sharded(schedule: Schedule, task: Task) -> Found:
    """Book the first to finish of `earliest_tree` and some numbers of shards.

    Raises:
        PlanError: Contacts never join some planes.
        HorizonEnd: The contact plan ends first.
    """
    require_joined(schedule, task)
    return first_to_finish(schedule, [lambda desk: earliest_tree(desk, task), *shard_books(schedule, task)])


def shard_books(schedule: Schedule, task: Task) -> list[Book]:
    """Bookings with a few numbers of shards, if a tree of planes can be found."""
    seams = _Seams(schedule, task)
    tree = seams.tree()
    if tree is None:
        return []
    return [partial(_book, task=task, tree=tree, shards=shards) for shards in sorted(seams.counts(tree))]


Tree = Mapping[int, tuple[int, ...]]
"""Neighbours of each plane."""


class _Seams:
    """Where planes touch: how long a model takes across, over the best number of links at once."""

    def __init__(self, schedule: Schedule, task: Task) -> None:
        self.task = task
        plane_of = task.plane_of
        hops = Hops(schedule, plane_of, task.start_s)
        links: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for one, two in hops.links:
            if plane_of[one] != plane_of[two]:
                links.setdefault((plane_of[one], plane_of[two]), []).append((one, two))
        self.seam = {pair: self._best(hops, found) for pair, found in links.items() if pair[::-1] in links}
        delays = [link.at_once[3] for link in hops.links.values()]
        self.delay_s = max(delays, default=0.0)

    def _best(self, hops: Hops, links: list[tuple[int, int]]) -> tuple[float, int]:
        """(seconds, links): equal shares over 1, 2, 4 ... of the links, whichever is across first."""
        best = (inf, 1)
        number = 1
        while number <= len(links):
            share = ceil(self.task.size / number)
            across_s = sorted(hops.links[pair].arrival_s(share, self.task.start_s) for pair in links)
            best = min(best, (across_s[number - 1] - self.task.start_s, number))
            number = len(links) if number < len(links) < 2 * number else 2 * number
        return best

    def tree(self) -> Tree | None:
        """The tree of shortest ways over the seams from the most central plane; None if they do not join all planes."""
        count = len(self.task.rings)
        trees = [self._parents(root) for root in range(count)]
        depth_s, parents = min(trees, key=lambda tree: tree[0])
        if depth_s == inf:
            return None
        neighbours: dict[int, list[int]] = {plane: [] for plane in range(count)}
        for child, parent in parents.items():
            neighbours[child].append(parent)
            neighbours[parent].append(child)
        return {plane: tuple(sorted(found)) for plane, found in neighbours.items()}

    def _parents(self, root: int) -> tuple[float, dict[int, int]]:
        """Dijkstra over planes: the greatest distance, infinite where some plane is out of reach, and the tree."""
        depth_s, parents = dict[int, float](), dict[int, int]()
        queue = [(0.0, root, root)]
        while queue:
            length_s, plane, parent = heappop(queue)
            if plane in depth_s:
                continue
            depth_s[plane], parents[plane] = length_s, parent
            for (one, two), (across_s, _) in self._around.get(plane, ()):
                if two not in depth_s and across_s < inf:
                    heappush(queue, (length_s + max(across_s, self.seam[two, one][0]), two, plane))
        del parents[root]
        return (max(depth_s.values()) if len(depth_s) == len(self.task.rings) else inf), parents

    @property
    def _around(self) -> dict[int, list[tuple[tuple[int, int], tuple[float, int]]]]:
        found: dict[int, list[tuple[tuple[int, int], tuple[float, int]]]] = {}
        for pair, seam in self.seam.items():
            found.setdefault(pair[0], []).append((pair, seam))
        return found

    def counts(self, tree: Tree) -> set[int]:
        """Numbers of shards to try: one, one per parallel link, and enough to fill the pipeline.

        c trains of shards over each of L links and d seams one after the other take (d + c - 1) / c times the time w
        across one seam, plus d delays: at least (d - 1) w / (`FILL_SPARE` (w + d delays)) trains keep within it.
        """
        seams = [self.seam[one, two] for one, others in tree.items() for two in others]
        across_s, links = max(seams)
        wide = _diameter(tree)
        least_s = max(across_s + wide * self.delay_s, 1e-9)
        trains = max(1, ceil((wide - 1) * across_s / (FILL_SPARE * least_s)))
        satellites = sum(map(len, self.task.rings))
        most = max(1, min(MAX_SENDS // satellites, MAX_SHARDS, self.task.size))
        return {min(number, most) for number in (1, links, links * trains)}


def _diameter(tree: Tree) -> int:
    """Hops between the two planes farthest apart."""

    def farthest(start: int) -> tuple[int, int]:
        hops, queue = {start: 0}, [start]
        for plane in queue:
            fresh = [other for other in tree[plane] if other not in hops]
            hops.update(dict.fromkeys(fresh, hops[plane] + 1))
            queue += fresh
        return max((number, plane) for plane, number in hops.items())

    return farthest(farthest(0)[1])[0]


# -- booking ---------------------------------------------------------------------------------------------------------


def _book(desk: Schedule, task: Task, tree: Tree, shards: int) -> Found:
    times_s = _Exchange(desk, task, tree, shards).book()
    total = task.total
    return {member: Held(total, time_s) for member, time_s in times_s.items()}


@dataclass
class _Place:
    """One shard in one plane: what came from which neighbour, to which satellite, and to whom something went."""

    hub: int = -1
    got: dict[int, Held] = field(default_factory=dict)


class _Exchange:
    """Books all shards together, whatever is ready first."""

    def __init__(self, desk: Schedule, task: Task, tree: Tree, shards: int) -> None:
        self._desk, self._task, self._tree, self._plane_of = desk, task, tree, task.plane_of
        self._cuts = [(start, stop) for _, start, stop in split(0, task.size, shards, VALUE_BYTES)]
        self._places = [[_Place() for _ in task.rings] for _ in self._cuts]
        self._lines = [_line(desk, ring, task.start_s) for ring in task.rings]
        self._times_s = {member: 0.0 for ring in task.rings for member in ring}
        self._order = count()
        self._queue: list[tuple[float, int, int, Callable[[], None]]] = []
        self._out, self._least_s = _edges(desk, task, tree, max(stop - start for start, stop in self._cuts))

    def book(self) -> dict[int, float]:
        """Returns since when each satellite holds the total of all shards."""
        for shard in range(len(self._cuts)):
            for plane, neighbours in self._tree.items():
                if len(neighbours) == 1:
                    self._pass_on(shard, plane, neighbours[0])
        while self._queue:
            *_, action = heappop(self._queue)
            action()
        return self._times_s

    def _later(self, time_s: float, urgency: int, action: Callable[[], None]) -> None:
        heappush(self._queue, (time_s, urgency, next(self._order), action))

    def _own(self, shard: int, plane: int) -> Held:
        return part_of(self._task.held[plane], *self._cuts[shard])

    def _pass_on(self, shard: int, plane: int, goal: int) -> None:
        """Send a neighbour the sum of all but its own side, once that is there."""
        place = self._places[shard][plane]
        parts = [self._own(shard, plane), *(held for other, held in place.got.items() if other != goal)]
        ready_s = max(part.since_s for part in parts)

        def send() -> None:
            held, sources = parts[0], self._task.rings[plane]
            if len(parts) > 1:
                held, sources = self._desk.merge(place.hub, [part.payload for part in parts], ready_s), (place.hub,)
            end, arrive_s = self._cross(held, sources, plane, goal, self._places[shard][goal].hub)
            self._received(shard, goal, plane, end, Held(held.payload, arrive_s))

        self._later(ready_s, 0, send)

    def _received(self, shard: int, plane: int, source: int, satellite: int, held: Held) -> None:
        place = self._places[shard][plane]
        place.hub = satellite
        place.got[source] = held
        missing = [other for other in self._tree[plane] if other not in place.got]
        if not missing:
            self._complete(shard, plane)
        for other in self._tree[plane]:
            if other != source and not set(missing) - {other}:
                self._pass_on(shard, plane, other)

    def _complete(self, shard: int, plane: int) -> None:
        """All sides are there: form the total and send it round the ring."""
        place = self._places[shard][plane]
        parts = [self._own(shard, plane), *place.got.values()]
        ready_s = max(part.since_s for part in parts)
        total = self._desk.merge(place.hub, [part.payload for part in parts], ready_s)
        for trip in self._lines[plane].both_ways(place.hub, total, "bidirectional", shard):
            self._go(trip)

    def _go(self, trip: Trip) -> None:
        here, since_s = trip.stops[0], trip.held.since_s
        self._times_s[here] = max(self._times_s[here], since_s)
        if len(trip.stops) > 1:
            self._later(since_s, 1, lambda: self._hop(trip))

    def _hop(self, trip: Trip) -> None:
        for onward in step(self._desk, trip):
            self._go(onward)

    def _cross(self, held: Held, sources: tuple[int, ...], plane: int, goal: int, hub: int) -> tuple[int, float]:
        """Send a shard to the next plane along the earliest path (to `hub` if it has one); returns its end and when.

        A* over the satellites of the two planes: from anywhere in the first, the fastest crossing is still to come.
        """
        still_s = {plane: self._least_s[plane, goal] * held.payload.size, goal: 0.0}
        since_s, came = dict.fromkeys(sources, held.since_s), dict[int, int]()
        queue = [(held.since_s + still_s[plane], source) for source in sources]
        while queue:
            bound_s, here = heappop(queue)
            at = self._plane_of[here]
            if here == hub or (at == goal and hub < 0):
                return here, self._send(held, came, here)
            now_s = since_s[here]
            if bound_s > now_s + still_s[at]:
                continue
            for there in self._out[here]:
                side = self._plane_of[there]
                known_s = since_s.get(there, inf)
                if side not in still_s or known_s <= now_s:
                    continue
                arrive_s = self._desk.probe(here, there, held.payload.size, now_s)
                if arrive_s < known_s:
                    since_s[there], came[there] = arrive_s, here
                    heappush(queue, (arrive_s + still_s[side], there))
        raise too_late(self._desk, self._task)

    def _send(self, held: Held, came: Mapping[int, int], end: int) -> float:
        path = [end]
        while path[-1] in came:
            path.append(came[path[-1]])
        now_s = held.since_s
        for here, there in pairwise(path[::-1]):
            now_s = self._desk.send(here, there, held.payload, now_s)
        return now_s


def _edges(
    desk: Schedule, task: Task, tree: Tree, size: int
) -> tuple[dict[int, list[int]], dict[tuple[int, int], float]]:
    """Neighbours of each satellite in its own and neighbouring planes; least seconds per byte across each seam."""
    plane_of = task.plane_of
    out: dict[int, list[int]] = {member: [] for member in plane_of}
    least_s: dict[tuple[int, int], float] = {}
    for (one, two), contacts in desk.system.contacts.by_link.items():
        if one not in out or two not in out:
            continue
        seam = plane_of[one], plane_of[two]
        if seam[0] == seam[1] or seam[1] in tree[seam[0]]:
            out[one].append(two)
            byte_s = BITS_PER_BYTE / max(contact.rate_bps for contact in contacts)
            least_s[seam] = min(byte_s, least_s.get(seam, inf))
    return out, least_s


def _line(desk: Schedule, ring: tuple[int, ...], start_s: float) -> Line:
    """A ring of which a link is lost is a line; one that is down for a while is waited for."""
    return shapes(desk, ring, start_s)[0][0]

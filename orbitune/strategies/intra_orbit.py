"""Strategy A: share and merge payloads inside one orbital plane, over its ring of inter-satellite links.

Ways, and their times on a ring of n satellites with link rate R, hop delay tau, payloads of B bytes each and weights
of h bytes (for n = 2 both ways round are the same link, so `bidirectional` gains nothing):

relay           Naive: whole messages, one way round; every link serves the owners in turn.
                All-gather (n-1)(3B/R + 2 tau) for n > 2: owner k is held up behind owner k-1 at every link.
                All-reduce 2(n-1)(h/R + tau): partial sums go round, then the total does.
ring            One way round, everybody sends at once; sums and broadcasts in n chunks.
                All-gather (n-1)(B/R + tau), all-reduce 2(n-1)(h/(nR) + tau).
bidirectional   Both ways round at once.
                All-gather at most ceil((n-1)/2)(B/R + tau), all-reduce 2(n-1)(h/(2nR) + tau).

The last two are the standard forms of ring collectives (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms
for clusters of workstations", J. Parallel Distrib. Comput. 69, 2009); the paper's own formulas could not be recovered.
The relay time of an all-gather is our own derivation from the order of service.

A ring with one link lost is a line. There every way sends both ways along the line, because it must. Where a link is
only down for a while, waiting for it and doing without it are both tried, and the earlier to finish is booked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf

from orbitune.errors import PlanError
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule

WAYS = ("relay", "ring", "bidirectional")

FORWARD, BACK = 1, -1


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
    owners = [member for member in ring if member in held and held[member].payload.size]

    def book(desk: Schedule, line: _Line) -> dict[int, float]:
        trips = [trip for owner in owners for trip in line.tours(owner, held[owner], way)]
        return _latest(own_s, _travel(desk, trips, way))

    return _on_ring(schedule, ring, own_s, way, book)


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
    assert held, "nobody holds anything to merge"
    total = reduce(Payload.merged, (part.payload for part in held.values()))
    assert all(part.payload.size == total.size for part in held.values()), "payloads of unequal size"
    ready_s = dict.fromkeys(ring, max(part.since_s for part in held.values()))

    def book(desk: Schedule, line: _Line) -> dict[int, float]:
        trips = [line.collection(held, *share) for share in _shares(total.size, len(ring), way)]
        return _latest(ready_s, _travel(desk, trips, way))

    since_s = _on_ring(schedule, ring, ready_s, way, book)
    return {member: Held(total, since_s[member]) for member in ring}


def broadcast(schedule: Schedule, ring: Sequence[int], root: int, held: Held, way: str) -> dict[int, float]:
    """Bring what `root` holds to every member, in n chunks that follow each other (`relay`: in one piece).

    Returns:
        For each member the second since which it holds all of it.

    Raises:
        PlanError: Contacts reach some member too late or never.
    """
    chunks = _split(0, held.payload.size, 1 if way == "relay" else len(ring))
    parts = [(root, _part(held, start, stop)) for _, start, stop in chunks]
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

    def book(desk: Schedule, line: _Line) -> dict[int, float]:
        trips = [trip for number, (root, held) in enumerate(parts) for trip in line.both_ways(root, held, way, number)]
        return _latest(ready_s, _travel(desk, trips, way))

    return _on_ring(schedule, ring, ready_s, way, book)


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
    there_s = _latest({}, ((owner, held) for _, held, owner in parts))
    away = [(where, owner, held) for where, held, owner in parts if where != owner and held.payload.size]

    def book(desk: Schedule, line: _Line) -> dict[int, float]:
        trips = [line.straight(*part, way, number) for number, part in enumerate(away)]
        goals = {(owner, held.payload) for _, owner, held in away}
        landed = _travel(desk, trips, way)
        return _latest(there_s, ((member, held) for member, held in landed if (member, held.payload) in goals))

    return _on_ring(schedule, ring, there_s, way, book) if away else there_s


# -- routes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trip:
    """A payload on its way. The first of `stops` holds it, the others get it in turn.

    Where a stop has something in `adds`, it is merged in and the sum goes on. At the last stop, each (start, stop,
    stops) of `then` is a further trip of those bytes.
    """

    held: Held
    stops: tuple[int, ...]
    adds: Mapping[int, Held] = field(default_factory=dict)
    then: tuple[tuple[int, int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class _Line:
    """The members in the order of their links; `closed` if the last one also has a link to the first."""

    members: tuple[int, ...]
    closed: bool

    def path(self, start: int, heading: int, hops: int) -> tuple[int, ...]:
        """`start` and up to `hops` satellites after it; a line ends at its last member."""
        size = len(self.members)
        at = self.members.index(start)
        steps = range(at, at + heading * (hops + 1), heading)
        return tuple(self.members[step % size] for step in steps if self.closed or 0 <= step < size)

    def tours(self, owner: int, held: Held, way: str) -> Iterator[_Trip]:
        """How a payload reaches everybody. On an even ring both ways bring half of it to the satellite opposite."""
        count = len(self.members)
        if not self.closed or way != "bidirectional" or count % 2:
            yield from self.both_ways(owner, held, way, 0)
            return
        middle = held.payload.size // 2
        for heading, start, stop in ((FORWARD, 0, middle), (BACK, middle, held.payload.size)):
            *near, opposite = self.path(owner, heading, count // 2)
            last = (start, stop, (near[-1], opposite))
            yield _Trip(held, tuple(near), then=(last,) if start < stop else ())

    def both_ways(self, owner: int, held: Held, way: str, number: int) -> Iterator[_Trip]:
        """One way round (`relay`, `ring`) or half way each; by `number`, either side gets the satellite opposite."""
        rest = len(self.members) - 1
        ahead = rest if not self.closed or way != "bidirectional" else (rest + 1 - number % 2) // 2
        yield _Trip(held, self.path(owner, FORWARD, ahead))
        if not self.closed or rest > ahead:
            yield _Trip(held, self.path(owner, BACK, rest - ahead if self.closed else rest))

    def straight(self, start: int, goal: int, held: Held, way: str, number: int) -> _Trip:
        """From one member to another; where both ways are equally long, `number` decides."""
        ways = [self.path(start, heading, len(self.members) - 1) for heading in (FORWARD, BACK)]
        ways = [path[: path.index(goal) + 1] for path in ways if goal in path]
        if way != "bidirectional":
            return _Trip(held, ways[0])
        return _Trip(held, min(ways[number % 2 :] + ways[: number % 2], key=len))

    def collection(self, held: Mapping[int, Held], number: int, start: int, stop: int, heading: int) -> _Trip:
        """Bytes `start` to `stop` are summed up along the members that have any, then go to everyone else.

        On a ring, share after share begins one member further on, so that all links work at once.
        """
        count = len(self.members)
        first = number if self.closed else (0 if heading == FORWARD else count - 1)
        around = self.path(self.members[first], heading, count - 1)
        places = [place for place, member in enumerate(around) if member in held]
        stops = around[places[0] : places[-1] + 1]
        adds = {member: _part(held[member], start, stop) for member in stops if member in held}
        headings = (heading,) if self.closed else (FORWARD, BACK)
        outward = tuple((0, stop - start, self.path(stops[-1], onward, count - 1)) for onward in headings)
        return _Trip(adds.pop(stops[0]), stops, adds, outward)


def _shares(size: int, count: int, way: str) -> Iterator[tuple[int, int, int, int]]:
    """(number, start, stop, heading) of the byte ranges that are summed up separately."""
    if way == "bidirectional":
        yield from ((*chunk, FORWARD) for chunk in _split(0, size // 2, count))
        yield from ((*chunk, BACK) for chunk in _split(size // 2, size, count))
    else:
        yield from ((*chunk, FORWARD) for chunk in _split(0, size, 1 if way == "relay" else count))


def _split(start: int, stop: int, count: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, stop) of `count` nearly equal chunks; there are fewer where there are fewer bytes."""
    size = stop - start
    for number in range(count):
        low, high = start + number * size // count, start + (number + 1) * size // count
        if low < high:
            yield number, low, high


def _part(held: Held, start: int, stop: int) -> Held:
    return Held(held.payload.part(start, stop), held.since_s)


# -- booking ---------------------------------------------------------------------------------------------------------


def _travel(schedule: Schedule, trips: Iterable[_Trip], way: str) -> list[tuple[int, Held]]:
    """Book trips hop by hop, what is ready first goes first (`relay`: trip after trip); returns who held what."""
    order = count()

    def entry(trip: _Trip, turn: int) -> tuple[int, float, int, int, _Trip]:
        # Among equals the farthest goes first: its way is the longest. The order of entry breaks ties for good.
        return turn, trip.held.since_s, -len(trip.stops), next(order), trip

    queue = [entry(trip, number if way == "relay" else 0) for number, trip in enumerate(trips)]
    landed = [(trip.stops[0], trip.held) for *_, trip in queue]
    heapify(queue)
    while queue:
        turn, *_, trip = heappop(queue)
        for onward in _step(schedule, trip):
            landed.append((onward.stops[0], onward.held))
            heappush(queue, entry(onward, turn))
    return landed


def _step(schedule: Schedule, trip: _Trip) -> list[_Trip]:
    """Book the next hop of a trip; returns what goes on from where it leads."""
    here, *rest = trip.stops
    if not rest:
        return [_Trip(_part(trip.held, start, stop), path) for start, stop, path in trip.then]
    got = Held(trip.held.payload, schedule.send(here, rest[0], trip.held.payload, trip.held.since_s))
    if rest[0] in trip.adds:
        own = trip.adds[rest[0]]
        got = schedule.merge(rest[0], (got.payload, own.payload), max(got.since_s, own.since_s))
    return [replace(trip, held=got, stops=tuple(rest))]


def _latest(base_s: Mapping[int, float], landed: Iterable[tuple[int, Held]]) -> dict[int, float]:
    """When each member holds the last of what it gets, not before `base_s`."""
    times = dict(base_s)
    for member, held in landed:
        times[member] = max(times.get(member, held.since_s), held.since_s)
    return times


def _on_ring(
    schedule: Schedule,
    ring: Sequence[int],
    ready_s: Mapping[int, float],
    way: str,
    book: Callable[[Schedule, _Line], dict[int, float]],
) -> dict[int, float]:
    """Book on the whole ring, or as a line where a link is lost or would hold everybody up for longer."""
    if len(ring) == 1:
        return dict(ready_s)
    assert way in WAYS, way
    lines, undisturbed_s = _lines(schedule, ring, min(ready_s.values()))
    best, *others = lines
    if others:
        ends_s = [_end_s(schedule.trial(), line, book) for line in lines]
        best = lines[ends_s.index(min(ends_s))] if ends_s[0] > undisturbed_s else best
    return book(schedule, best)


def _end_s(desk: Schedule, line: _Line, book: Callable[[Schedule, _Line], dict[int, float]]) -> float:
    try:
        return max(book(desk, line).values())
    except HorizonEnd:
        return inf


def _lines(schedule: Schedule, ring: Sequence[int], ready_s: float) -> tuple[list[_Line], float]:
    """The shapes worth trying, and until when every link of the first one is up."""
    members = tuple(ring)
    closed = _Line(members, closed=True)
    pairs = list(zip(members, members[1:] + members[:1], strict=True))[: None if len(members) > 2 else 1]
    up_until_s = [_up_until_s(schedule, pair, ready_s) for pair in pairs]
    first_down_s = min(up_until_s)
    if up_until_s.count(-inf) > (len(members) > 2):
        raise _broken(
            schedule, [pair for pair, until_s in zip(pairs, up_until_s, strict=True) if until_s == -inf], ready_s
        )
    if first_down_s == inf or len(members) == 2:
        return [closed], inf
    cut = up_until_s.index(first_down_s) + 1
    line = _Line(members[cut:] + members[:cut], closed=False)
    return ([line], inf) if first_down_s == -inf else ([closed, line], first_down_s)


def _up_until_s(schedule: Schedule, pair: tuple[int, int], ready_s: float) -> float:
    """When a pair that is linked both ways at `ready_s` no longer is; -infinity if it never will be linked again."""
    contacts = schedule.system.contacts
    until_s = []
    for link in (pair, pair[::-1]):
        ahead = contacts.by_link.get(link, ())
        ahead = ahead[bisect_right(ahead, ready_s, key=lambda contact: contact.end_s) :]
        end_s = ready_s if ahead else -inf
        for contact in ahead:
            if contact.start_s > end_s:
                break
            end_s = contact.end_s
        until_s.append(inf if end_s >= contacts.horizon_s else end_s)
    return min(until_s)


def _broken(schedule: Schedule, lost: Sequence[tuple[int, int]], ready_s: float) -> PlanError:
    """The error for too many lost links: the contact plan is over, or there never was a ring."""
    contacts, name = schedule.system.contacts, schedule.system.nodes.name
    gaps = " and ".join(f"{name(one)} - {name(two)}" for one, two in lost)
    never = sum(pair not in contacts.by_link or pair[::-1] not in contacts.by_link for pair in lost)
    message = f"the satellites of a plane cannot all reach each other: no contact after {ready_s:.0f} s for {gaps}"
    if never <= (len(lost) > 1):
        return HorizonEnd(f"{message}; the contact plan ends at {contacts.horizon_s:.0f} s; lengthen time.duration_h")
    return PlanError(
        f"{message}, nor before. A ring of three or more may lose one link; let every satellite work alone "
        f'(method.intra_orbit = "none") or choose orbits whose neighbours see each other'
    )

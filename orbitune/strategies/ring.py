"""The ring of a plane as strategy A sees it: ways along it, payloads on their way, and what to do where it is broken.

A ring with one link lost is a line. Where a link is only down for a while, waiting for it and doing without it are both
tried, and the earlier to finish is booked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf

from orbitune.errors import PlanError
from orbitune.links.contacts import Contact
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import HorizonEnd, Schedule
from orbitune.units import BITS_PER_BYTE

FORWARD, BACK = 1, -1

VALUE_BYTES = 4
"""Where sums are cut into chunks, they are cut between values: weights travel in binary32, which has four bytes
(IEEE 754-2019, table 3.5), and half a value cannot be added."""


@dataclass
class Meeting:
    """Where several trips end and what they bring is summed up; `parts` collects it until all `expected` are there."""

    expected: int
    parts: list[Held] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trip:
    """A payload on its way. The first of `stops` holds it, the others get it in turn.

    Where a stop has something in `adds`, it is merged in and the sum goes on. At the last stop it joins the `meeting`,
    if there is one; then each (start, stop, stops) of `then` is a further trip of those bytes.
    """

    held: Held
    stops: tuple[int, ...]
    adds: Mapping[int, Held] = field(default_factory=dict)
    then: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    meeting: Meeting | None = None


@dataclass(frozen=True)
class Line:
    """The members in the order of their links; `closed` if the last one also has a link to the first."""

    members: tuple[int, ...]
    closed: bool

    def path(self, start: int, heading: int, hops: int) -> tuple[int, ...]:
        """`start` and up to `hops` satellites after it; a line ends at its last member."""
        size = len(self.members)
        at = self.members.index(start)
        steps = range(at, at + heading * (hops + 1), heading)
        return tuple(self.members[step % size] for step in steps if self.closed or 0 <= step < size)

    def tours(self, owner: int, held: Held, way: str) -> Iterator[Trip]:
        """How a payload reaches everybody. On an even ring both ways bring half of it to the satellite opposite."""
        count = len(self.members)
        if not self.closed or way != "bidirectional" or count % 2:
            yield from self.both_ways(owner, held, way, 0)
            return
        middle = held.payload.size // 2
        for heading, start, stop in ((FORWARD, 0, middle), (BACK, middle, held.payload.size)):
            *near, opposite = self.path(owner, heading, count // 2)
            last = (start, stop, (near[-1], opposite))
            yield Trip(held, tuple(near), then=(last,) if start < stop else ())

    def both_ways(self, owner: int, held: Held, way: str, number: int) -> Iterator[Trip]:
        """One way round (`relay`, `ring`) or half way each; by `number`, either side gets the satellite opposite."""
        rest = len(self.members) - 1
        ahead = rest if not self.closed or way != "bidirectional" else (rest + 1 - number % 2) // 2
        yield from self.split(owner, held, ahead)

    def split(self, owner: int, held: Held, ahead: int) -> Iterator[Trip]:
        """`ahead` satellites get it forward, the others backward; a line leaves no choice."""
        rest = len(self.members) - 1
        yield Trip(held, self.path(owner, FORWARD, ahead))
        if not self.closed or rest > ahead:
            yield Trip(held, self.path(owner, BACK, rest - ahead if self.closed else rest))

    def straight(self, start: int, goal: int, held: Held, way: str, number: int) -> Trip:
        """From one member to another; where both ways are equally long, `number` decides."""
        ways = [self.path(start, heading, len(self.members) - 1) for heading in (FORWARD, BACK)]
        ways = [path[: path.index(goal) + 1] for path in ways if goal in path]
        if way != "bidirectional":
            return Trip(held, ways[0])
        return Trip(held, min(ways[number % 2 :] + ways[: number % 2], key=len))

    def towards(self, owner: int, held: Held, goals: frozenset[int], way: str) -> Iterator[Trip]:
        """To several members, each the way that keeps the longer of the two trips short (or one fixed way)."""
        ahead = self.path(owner, FORWARD, len(self.members) - 1)
        if not self.closed:
            for path in (ahead, self.path(owner, BACK, len(self.members) - 1)):
                yield from self._as_far_as(held, path, goals)
            return
        stops = [0, *(hop for hop, member in enumerate(ahead) if hop and member in goals), len(self.members)]
        turns = range(len(stops) - 1) if way == "bidirectional" else (len(stops) - 2,)
        turn = min(turns, key=lambda turn: max(stops[turn], len(self.members) - stops[turn + 1]))
        yield from self._as_far_as(held, ahead[: stops[turn] + 1], goals)
        yield from self._as_far_as(held, self.path(owner, BACK, len(self.members) - stops[turn + 1]), goals)

    def _as_far_as(self, held: Held, path: tuple[int, ...], goals: frozenset[int]) -> Iterator[Trip]:
        last = max((hop for hop, member in enumerate(path) if hop and member in goals), default=0)
        if last:
            yield Trip(held, path[: last + 1])

    def collection(self, held: Mapping[int, Held], number: int, start: int, stop: int, heading: int) -> Trip:
        """Bytes `start` to `stop` are summed up along the members that have any, then go to everyone else.

        On a ring, share after share begins one member further on, so that all links work at once.
        """
        count = len(self.members)
        first = number if self.closed else (0 if heading == FORWARD else count - 1)
        around = self.path(self.members[first], heading, count - 1)
        places = [place for place, member in enumerate(around) if member in held]
        stops = around[places[0] : places[-1] + 1]
        adds = {member: part_of(held[member], start, stop) for member in stops if member in held}
        headings = (heading,) if self.closed else (FORWARD, BACK)
        outward = tuple((0, stop - start, self.path(stops[-1], onward, count - 1)) for onward in headings)
        return Trip(adds.pop(stops[0]), stops, adds, outward)

    def arms(
        self, held: Mapping[int, Held], root: int, start: int, stop: int, *, share: bool, longer: int = FORWARD
    ) -> Iterator[Trip]:
        """Bytes `start` to `stop` are summed up from both sides towards a root; to `share`, they go back out again.

        On an even ring the arm on the `longer` side takes in the satellite opposite.
        """
        count = len(self.members)
        reach = (count // 2, (count - 1) // 2)[::longer] if self.closed else (count - 1, count - 1)
        paths = [self.path(root, heading, hops) for heading, hops in zip((FORWARD, BACK), reach, strict=True)]
        outward = tuple((0, stop - start, path) for path in paths) if share else ()
        arms = [
            path[: last + 1]
            for path in paths
            if (last := max((h for h, m in enumerate(path) if h and m in held), default=0))
        ]
        meeting = Meeting(len(arms) + (root in held))
        if root in held:
            yield Trip(part_of(held[root], start, stop), (root,), {}, outward, meeting)
        for arm in arms:
            stops = arm[::-1]
            adds = {member: part_of(held[member], start, stop) for member in stops[:-1] if member in held}
            yield Trip(adds.pop(stops[0]), stops, adds, outward, meeting)


def part_of(held: Held, start: int, stop: int) -> Held:
    """Some bytes of what is held, counted within its payload."""
    return Held(held.payload.part(start, stop), held.since_s)


def split(start: int, stop: int, count: int, unit: int = 1) -> Iterator[tuple[int, int, int]]:
    """(number, start, stop) of `count` nearly equal chunks of whole units; there are fewer where there are fewer."""
    size = stop - start
    for number in range(count):
        low = start + number * size // count // unit * unit
        high = stop if number == count - 1 else start + (number + 1) * size // count // unit * unit
        if low < high:
            yield number, low, high


# -- booking ---------------------------------------------------------------------------------------------------------


def travel(schedule: Schedule, trips: Iterable[Trip], *, in_turn: bool = False) -> list[tuple[int, Held]]:
    """Book trips hop by hop, what is ready first goes first (`in_turn`: trip after trip); returns who held what."""
    order = count()

    def entry(trip: Trip, turn: int) -> tuple[int, float, int, int, Trip]:
        # Among equals the farthest goes first: its way is the longest. The order of entry breaks ties for good.
        return turn, trip.held.since_s, -len(trip.stops), next(order), trip

    queue = [entry(trip, number if in_turn else 0) for number, trip in enumerate(trips)]
    landed = [(trip.stops[0], trip.held) for *_, trip in queue]
    heapify(queue)
    while queue:
        turn, *_, trip = heappop(queue)
        for onward in step(schedule, trip):
            landed.append((onward.stops[0], onward.held))
            heappush(queue, entry(onward, turn))
    return landed


def step(schedule: Schedule, trip: Trip) -> list[Trip]:
    """Book the next hop of a trip; returns what goes on from where it leads."""
    stops, held = trip.stops, trip.held
    if len(stops) == 1:
        return _arrive(schedule, trip)
    there = stops[1]
    got = Held(held.payload, schedule.send(stops[0], there, held.payload, held.since_s))
    if there in trip.adds:
        own = trip.adds[there]
        got = schedule.merge(there, (got.payload, own.payload), max(got.since_s, own.since_s))
    return [Trip(got, stops[1:], trip.adds, trip.then, trip.meeting)]


def _arrive(schedule: Schedule, trip: Trip) -> list[Trip]:
    held, meeting = trip.held, trip.meeting
    if meeting is None:
        return [Trip(part_of(held, start, stop), path) for start, stop, path in trip.then]
    meeting.parts.append(held)
    if len(meeting.parts) < meeting.expected:
        return []
    if meeting.expected > 1:
        since_s = max(part.since_s for part in meeting.parts)
        held = schedule.merge(trip.stops[-1], [part.payload for part in meeting.parts], since_s)
    return [Trip(held, trip.stops), *_arrive(schedule, replace(trip, held=held, meeting=None))]


def latest(base_s: Mapping[int, float], landed: Iterable[tuple[int, Held]]) -> dict[int, float]:
    """When each member holds the last of what it gets, not before `base_s`."""
    times = dict(base_s)
    for member, held in landed:
        times[member] = max(times.get(member, held.since_s), held.since_s)
    return times


Book = Callable[[Schedule, Line], dict[int, float]]
"""Books an operation on a ring or line, and returns since when each member has what it gets."""


def on_ring(
    schedule: Schedule, ring: Sequence[int], ready_s: Mapping[int, float], books: Sequence[Book]
) -> dict[int, float]:
    """Book on the whole ring, or as a line where a link is lost or would hold everybody up for longer.

    Where there are several ways to book, or a ring and a line, all are tried, and the first to finish is booked; among
    equals the first in the list, on the ring.
    """
    lines, undisturbed_s = shapes(schedule, ring, min(ready_s.values()))
    options = [(line, book) for line in lines for book in books]
    if len(options) > 1:
        ends_s = [_end_s(schedule.trial(), *option) for option in options[: len(books)]]
        if min(ends_s) > undisturbed_s:
            ends_s += [_end_s(schedule.trial(), *option) for option in options[len(books) :]]
        options = [options[ends_s.index(min(ends_s))]]
    line, book = options[0]
    return book(schedule, line)


def _end_s(desk: Schedule, line: Line, book: Book) -> float:
    try:
        return max(book(desk, line).values())
    except HorizonEnd:
        return inf


# -- shape -----------------------------------------------------------------------------------------------------------


def shapes(schedule: Schedule, ring: Sequence[int], ready_s: float) -> tuple[list[Line], float]:
    """The shapes worth trying, and until when every link of the first one is up.

    Raises:
        PlanError: More than one link is lost for good.
    """
    members = tuple(ring)
    closed = Line(members, closed=True)
    if len(members) == 1:
        return [closed], inf
    pairs = _pairs(members)
    up_until_s = [_up_until_s(schedule, pair, ready_s) for pair in pairs]
    first_down_s = min(up_until_s)
    if up_until_s.count(-inf) > (len(members) > 2):
        raise _broken(
            schedule, [pair for pair, until_s in zip(pairs, up_until_s, strict=True) if until_s == -inf], ready_s
        )
    if first_down_s == inf or len(members) == 2:
        return [closed], inf
    line = line_without(closed, up_until_s.index(first_down_s))
    return ([line], inf) if first_down_s == -inf else ([closed, line], first_down_s)


def line_without(closed: Line, number: int) -> Line:
    """The line that is left when link `number` (after member `number`) of a ring is not used."""
    cut = number + 1
    return Line(closed.members[cut:] + closed.members[:cut], closed=False)


def byte_seconds(schedule: Schedule, ring: Sequence[int], ready_s: float) -> tuple[list[float], float]:
    """Seconds per byte of each link, the slower direction, at a moment (the next contact where none is up), and the
    greatest delay of a hop."""
    contacts = schedule.system.contacts.by_link
    byte_s, delay_s = [], 0.0
    for pair in _pairs(tuple(ring)):
        now = [_next(contacts.get(link, ()), ready_s) for link in (pair, pair[::-1])]
        byte_s.append(max(BITS_PER_BYTE / contact.rate_bps if contact else inf for contact in now))
        delay_s = max([delay_s, *(contact.delay_s for contact in now if contact)])
    return byte_s, delay_s


def _next(contacts: Sequence[Contact], ready_s: float) -> Contact | None:
    row = bisect_right(contacts, ready_s, key=lambda contact: contact.end_s)
    return contacts[row] if row < len(contacts) else None


def _pairs(members: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(members, members[1:] + members[:1], strict=True))[: None if len(members) > 2 else 1]


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

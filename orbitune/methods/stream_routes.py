"""Ways of micro-batches through the network for `overlap = "stream"`: each piece goes where it arrives first.

Down: at every satellite that a piece comes to, all open and coming passes of its group are compared, each with the
hops to get there, the antenna's bookings and the pieces that wait for it; the piece then goes down here or one hop on.
The way up (`stream_up`) is chosen likewise. Where a guide shares out the links (`stream_guide`), a piece keeps to those
on which its exchange has bytes left, and stays in line there.
This is earliest-finish list scheduling (Topcuoglu et al., "Performance-effective and low-complexity task scheduling for
heterogeneous computing", IEEE TPDS 13(3), 2002) with links and antennas as machines; it is not optimal.

What the scenario's ways mean here: `intra_orbit` none, one direction (`relay`, `ring`) or both; `satellite_ground`
direct (own passes only), gateway (one pass of a group at a time) or any pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from math import inf

from orbitune.errors import PlanError
from orbitune.methods.base import Job
from orbitune.methods.stream_guide import Guide
from orbitune.methods.stream_queue import Queue, Then
from orbitune.methods.stream_sights import NEVER_S, Around, Sight, Sights
from orbitune.timeline.activity import Payload
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE

Moved = Callable[[int, float, int], None]
"""Told where a piece is, since when, and which way round it goes (0: it has not moved)."""


class Lines:
    """Seconds that the antennas of each station will be busy with pieces that have chosen it and are not booked yet."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._waiting_s: dict[int, dict[float, float]] = {}

    def wait_s(self, station: int, urgency: float) -> float:
        """How long a piece that comes now waits for those that are as urgent or more."""
        waiting_s = self._waiting_s.get(station)
        return sum(busy_s for other, busy_s in waiting_s.items() if other <= urgency) if waiting_s else 0.0

    def join(self, sight: Sight, urgency: float, size: int) -> Callable[[], None]:
        """A piece chooses a pass; returns what takes it out again."""
        busy_s = sight.byte_s * size / self._schedule.system.num_terminals(sight.station, "ground")
        waiting_s = self._waiting_s.setdefault(sight.station, {})
        waiting_s[urgency] = waiting_s.get(urgency, 0.0) + busy_s

        def leave() -> None:
            waiting_s[urgency] -= busy_s
            if waiting_s[urgency] < GONE_S:
                del waiting_s[urgency]

        return leave


REVIEW = 0.5
"""Our choice: after this share of the time for which a piece expects to wait it compares all passes again."""

GONE_S = 1e-9
"""What rounding leaves of a line in which nobody waits."""

TOO_LATE_S = 1e6
"""Added to the time of a pass that is over before its line is; it is taken only if there is no other."""


class Routes:
    """The network as streams see it."""

    def __init__(self, job: Job, schedule: Schedule) -> None:
        contacts, one = job.system.contacts, job.ways.satellite_ground == "gateway"
        self.schedule, self.guide = schedule, Guide(job, schedule)
        self.server = job.system.nodes.server
        self.lines_down, self.lines_up = Lines(schedule), Lines(schedule)
        self.cable: dict[int, tuple[float, float]] = {}
        for station in job.system.nodes.stations:
            contact = contacts.by_link[station, self.server][0]
            self.cable[station] = (BITS_PER_BYTE / contact.rate_bps, contact.delay_s)
        self.down: dict[int, Sights] = {}
        self.up: dict[int, Sights] = {}
        self.around: dict[int, Around] = {}
        for pool in job.pools:
            around = Around(contacts, pool, job.ways.intra_orbit)
            for kind, found in (("downlink", self.down), ("uplink", self.up)):
                sights = Sights(contacts, kind, pool, one)
                if not sights:
                    raise PlanError(f"no station ever sees {job.system.nodes.name(pool[0])} or its neighbours")
                found.update(dict.fromkeys(pool, sights))
            self.around.update(dict.fromkeys(pool, around))


SLACK_S = 1.0
"""Delays are below it: what arrives so long after its pass has ended was sent in another."""

Choice = tuple[float, float, int, Sight | None]
"""Beginning, end of the next hop, heading (0: none), and the pass."""

NO_CHOICE: Choice = (inf, inf, 0, None)

Found = tuple[float, int, Sight | None]
"""When a piece could be where it is to get to, which way round (0: not at all), and over which pass."""

NOWHERE: Found = (inf, 0, None)


@dataclass
class Down:
    """A piece on satellites of a ring that is to get to the server.

    Every satellite that it has come through still has it, so it may go down from any of these, whatever passes come:
    a piece that went on to meet one pass is not stuck where it missed it.

    Attributes:
        here: How far round it has come.
        heading: Which way round it goes, 0 as long as it has not moved.
        origin: Where it set out; no satellite gets it twice.
        exchange: What its urgency was when it came; in line for a pass, the guide ranks it anew.
    """

    queue: Queue
    routes: Routes
    urgency: float
    payload: Payload
    here: int
    ready_s: float
    then: Then
    moved: Moved
    heading: int = 0
    origin: int = -1
    exchange: float = field(init=False, default=0.0)
    _choice: Choice = NO_CHOICE
    _leave: Callable[[], None] | None = None
    _review_s: float = 0.0
    _guided: bool = False

    def __post_init__(self) -> None:
        self.exchange = self.urgency

    def begin_s(self) -> float:
        """Chooses the way on which it would be at the server first; returns when that begins."""
        size, (before_s, _, heading, sight) = self.payload.size, self._choice
        if sight is not None and not heading:  # it waits in line
            times = self.routes.schedule.peek(sight.satellite, sight.station, size, self.ready_s)
            # What others book meanwhile may push it past the end of the pass, and the rest would wait for the next one.
            in_time = times[1] <= sight.end_s + SLACK_S
            if in_time and times[0] <= max(before_s, self._review_s):
                self._choice = (*times, 0, sight)
                return times[0]
        self.drop()
        _, heading, sight = self._best()
        if sight is None:
            self._choice = (self.routes.around[self.here].changes_s(self.ready_s), inf, 0, None)
            return self._choice[0]
        self._stand_in_line(sight)
        hop = (self.here, self.routes.around[self.here].next(self.here, heading)) if heading else sight.link
        start_s, end_s = self.routes.schedule.peek(*hop, size, self.ready_s)
        wait_s = inf if self._guided else REVIEW * self.routes.lines_down.wait_s(sight.station, self.urgency)
        self._review_s = start_s + wait_s
        self._choice = (start_s, end_s, heading, sight)
        return self._choice[0]

    def _stand_in_line(self, sight: Sight) -> None:
        size, guide = self.payload.size, self.routes.guide
        self.urgency = self._rank(sight)
        leave_line = self.routes.lines_down.join(sight, self.urgency, size)
        guide.take(self.exchange, sight, size)

        def leave() -> None:
            leave_line()
            guide.take(self.exchange, sight, -size)

        self._leave = leave

    def drop(self) -> None:
        """It is not in line any more; it may not be sent in this round at all."""
        if self._leave is not None:
            self._leave()
            self._leave = None

    def end_s(self) -> float:
        """When the next hop would be done."""
        return self._choice[1]

    def book(self) -> None:
        """One hop, down or on."""
        begin_s, _, heading, sight = self._choice
        schedule = self.routes.schedule
        if sight is None:
            self.ready_s = begin_s
            self.queue.add(self)
        elif heading:
            peer = self.routes.around[self.here].next(self.here, heading)
            self.ready_s = schedule.send(self.here, peer, self.payload, self.ready_s)
            self.origin = self.here if self.origin < 0 else self.origin
            self.here, self.heading = peer, heading
            self.moved(peer, self.ready_s, heading)
            self._choice = NO_CHOICE
            self.queue.add(self)
        else:
            self.drop()
            self.routes.guide.sent(self.exchange, sight, self.payload.size)
            there_s = schedule.send(*sight.link, self.payload, self.ready_s)
            self.moved(sight.station, there_s, 0)
            self.queue.add(Cable(self.routes, self.urgency, sight.station, self.payload, there_s, self.then))

    def _best(self) -> Found:
        """When it could be at the server, which way round (0: down from here), and over which pass."""
        best = self._best_guided()
        self._guided = best[2] is not None
        if self._guided:
            return best
        sights = self.routes.down[self.here]
        for sight in sights.open_at(self.ready_s):
            best = self._better(best, sight)
        for sight in sights.after(self.ready_s):
            if sight.start_s >= best[0]:
                break
            best = self._better(best, sight)
        return best

    def _best_guided(self) -> Found:
        """The same among the passes that the guide has left for it, and in which it would be down in time."""
        guide, best = self.routes.guide, NOWHERE
        if self.exchange not in guide.owed:
            return best
        sights = self.routes.down[self.here]
        for sight in chain(sights.open_at(self.ready_s), sights.after(self.ready_s)):
            if sight.start_s >= min(best[0], guide.until_s):
                break
            if guide.allows(self.exchange, sight, self.payload.size):
                best = self._better(best, sight)
        return best if best[0] < TOO_LATE_S else NOWHERE

    def _rank(self, sight: Sight) -> float:
        """Its urgency in the line for a pass."""
        guide = self.routes.guide
        return guide.rank(self.exchange, sight) if self.exchange in guide.owed else self.exchange

    def _better(self, best: Found, sight: Sight) -> Found:
        for heading, travel_s in self._ways(sight.satellite):
            if self.ready_s + travel_s >= best[0]:
                continue
            byte_s, delay_s = self.routes.cable[sight.station]
            ready_s = self.ready_s + travel_s
            _, there_s = self.routes.schedule.peek(sight.satellite, sight.station, self.payload.size, ready_s)
            there_s += self.routes.lines_down.wait_s(sight.station, self._rank(sight))
            finish_s = there_s + byte_s * self.payload.size + delay_s + TOO_LATE_S * (there_s > sight.end_s + SLACK_S)
            if finish_s < best[0]:
                best = (finish_s, heading, sight)
        return best

    def _ways(self, satellite: int) -> Iterator[tuple[int, float]]:
        """Headings to a satellite, each with its seconds; 0 where it has been."""
        around = self.routes.around[self.here]
        origin = self.here if self.origin < 0 else self.origin
        if satellite == self.here or (
            self.heading and around.hops(origin, satellite, self.heading) < around.hops(origin, self.here, self.heading)
        ):
            yield 0, 0.0
            return
        for heading in (self.heading,) if self.heading else around.headings:
            ahead = around.hops(self.here, satellite, heading)
            if not self.heading or ahead < around.hops(self.here, origin, heading):
                travel_s = around.travel_s(self.here, satellite, heading, self.payload.size, self.ready_s)
                if travel_s < NEVER_S:
                    yield heading, travel_s


@dataclass
class Cable:
    """A piece at a station that goes to the server."""

    routes: Routes
    urgency: float
    station: int
    payload: Payload
    ready_s: float
    then: Then

    def begin_s(self) -> float:
        """When the cable is free."""
        return self._times()[0]

    def end_s(self) -> float:
        """When it would be at the server."""
        return self._times()[1]

    def _times(self) -> tuple[float, float]:
        routes = self.routes
        return routes.schedule.peek(self.station, routes.server, self.payload.size, self.ready_s)

    def book(self) -> None:
        """Send it, and go on."""
        self.then(self.routes.schedule.send(self.station, self.routes.server, self.payload, self.ready_s))

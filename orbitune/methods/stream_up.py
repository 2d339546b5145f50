"""Ways of micro-batches up, for `overlap = "stream"`: like the ways down (`stream_routes`).

Station, satellite and way round are chosen together, so that a piece is with its owner first; it sets out when the
antenna is about to be free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from orbitune.methods.stream_queue import Queue, Then
from orbitune.methods.stream_routes import NO_CHOICE, REVIEW, SLACK_S, TOO_LATE_S, Choice, Found, Moved, Routes
from orbitune.methods.stream_sights import NEVER_S, Sight
from orbitune.timeline.activity import Payload


@dataclass
class Up:
    """A piece at the server that is to get to a satellite."""

    queue: Queue
    routes: Routes
    urgency: float
    payload: Payload
    owner: int
    ready_s: float
    then: Then
    moved: Moved
    _choice: Choice = NO_CHOICE
    _leave: Callable[[], None] | None = None
    _review_s: float = 0.0

    def begin_s(self) -> float:
        """Chooses the way on which it would be with its owner first; it sets out just in time for the antenna."""
        before_s, heading, sight = self._choice[0], self._choice[2], self._choice[3]
        if sight is not None:  # it waits in line
            begin_s, end_s = self._just_in_time(sight)
            if begin_s <= max(before_s, self._review_s):
                self._choice = (begin_s, end_s, heading, sight)
                return begin_s
        self.drop()
        _, heading, sight = self._best()
        if sight is None:
            self._choice = (self.routes.around[self.owner].changes_s(self.ready_s), inf, 0, None)
            return self._choice[0]
        begin_s, end_s = self._just_in_time(sight)
        self._review_s = begin_s + REVIEW * self.routes.lines_up.wait_s(sight.station, self.urgency)
        self._choice = (begin_s, end_s, heading, sight)
        self._leave = self.routes.lines_up.join(sight, self.urgency, self.payload.size)
        return self._choice[0]

    def drop(self) -> None:
        """It is not in line any more; it may not be sent in this round at all."""
        if self._leave is not None:
            self._leave()
            self._leave = None

    def _just_in_time(self, sight: Sight) -> tuple[float, float]:
        """When to set out so as to find the antenna free, and when it would be up."""
        begin_s, there_s = self._over_cable(sight.station)
        start_s, end_s = self._through_air(sight, there_s)
        return max(begin_s, start_s - (there_s - begin_s)), end_s

    def _best(self) -> Found:
        best: Found = (inf, 0, None)
        sights = self.routes.up[self.owner]
        for sight in sights.open_at(self.ready_s):
            best = self._better(best, sight)
        for sight in sights.after(self.ready_s):
            if sight.start_s >= best[0]:
                break
            best = self._better(best, sight)
        return best

    def end_s(self) -> float:
        """When it would be up."""
        return self._choice[1]

    def book(self) -> None:
        """To the station and up at once; the ring follows."""
        begin_s, _, heading, sight = self._choice
        schedule = self.routes.schedule
        if sight is None:
            self.ready_s = begin_s
            self.queue.add(self)
            return
        self.drop()
        there_s = schedule.send(self.routes.server, sight.station, self.payload, max(self.ready_s, begin_s))
        up_s = schedule.send(sight.station, sight.satellite, self.payload, there_s)
        self.moved(sight.satellite, up_s, heading)
        follow(self.queue, self.routes, self.urgency, self.payload, sight.satellite, self.owner, up_s, self.then,
               self.moved, heading)  # fmt: skip

    def _over_cable(self, station: int) -> tuple[float, float]:
        return self.routes.schedule.peek(self.routes.server, station, self.payload.size, self.ready_s)

    def _through_air(self, sight: Sight, ready_s: float) -> tuple[float, float]:
        return self.routes.schedule.peek(sight.station, sight.satellite, self.payload.size, ready_s)

    def _better(self, best: Found, sight: Sight) -> Found:
        around, size = self.routes.around[self.owner], self.payload.size
        up_s: float | None = None
        for heading in (0,) if sight.satellite == self.owner else around.headings:
            travel_s = 0.0
            if heading:
                travel_s = around.travel_s(sight.satellite, self.owner, heading, size, self.ready_s)
            if travel_s >= NEVER_S or self.ready_s + travel_s >= best[0]:
                continue
            if up_s is None:
                up_s = self._through_air(sight, self._over_cable(sight.station)[1])[1]
                up_s += self.routes.lines_up.wait_s(sight.station, self.urgency)
                up_s += TOO_LATE_S * (up_s > sight.end_s + SLACK_S)
            if up_s + travel_s < best[0]:
                best = (up_s + travel_s, heading, sight)
        return best


def follow(
    queue: Queue, routes: Routes, urgency: float, payload: Payload, here: int, owner: int, ready_s: float, then: Then,
    moved: Moved, heading: int,
) -> None:  # fmt: skip
    """Goes on around the ring to the owner."""
    if here == owner:
        then(ready_s)
        return
    if not heading:
        around = routes.around[owner]
        heading = min(around.headings, key=lambda one: around.travel_s(here, owner, one, payload.size, ready_s))
    queue.add(Hop(queue, routes, urgency, payload, here, owner, ready_s, then, moved, heading))


@dataclass
class Hop:
    """A piece on its way around a ring to its owner."""

    queue: Queue
    routes: Routes
    urgency: float
    payload: Payload
    here: int
    owner: int
    ready_s: float
    then: Then
    moved: Moved
    heading: int

    def begin_s(self) -> float:
        """When the link is free."""
        return self._times()[0]

    def end_s(self) -> float:
        """When it would be at the neighbour."""
        return self._times()[1]

    def _times(self) -> tuple[float, float]:
        peer = self.routes.around[self.here].next(self.here, self.heading)
        return self.routes.schedule.peek(self.here, peer, self.payload.size, self.ready_s)

    def book(self) -> None:
        """To the neighbour, and on from there."""
        peer = self.routes.around[self.here].next(self.here, self.heading)
        there_s = self.routes.schedule.send(self.here, peer, self.payload, self.ready_s)
        self.moved(peer, there_s, self.heading)
        follow(self.queue, self.routes, self.urgency, self.payload, peer, self.owner, there_s, self.then, self.moved,
               self.heading)  # fmt: skip

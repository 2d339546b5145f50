"""Whole models over passes, as the published methods move them: each payload over one satellite and one station.

Steps for a `Queue`, so they are booked in order of time and nobody keeps an antenna from those who could use it before.
What a pass is too short for goes on at the next pass of the same satellite and station.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from orbitune.errors import PlanError
from orbitune.methods.base import Job
from orbitune.methods.stream_queue import Call, Queue
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

URGENCY = 0
"""Everything belongs to one round."""

Landed = Callable[[int, float], None]
"""Told which satellite has it, since when."""

Choice = tuple[float, float, int, int]
"""End, beginning, satellite and station of a transmission."""


def require_seen(job: Job) -> None:
    """Refuse groups that no station ever sees.

    Raises:
        PlanError: There is one.
    """
    nodes, links = job.system.nodes, job.system.contacts.by_link
    for ring in job.rings:
        pairs = [(satellite, station) for satellite in ring for station in nodes.stations]
        if not any(pair in links for pair in pairs) or not any(pair[::-1] in links for pair in pairs):
            whom = nodes.name(ring[0]) + (" or its neighbours in the plane" if len(ring) > 1 else "")
            raise PlanError(f"no station ever sees {whom} both ways; add ground stations, or lower their mask")


def held_since(schedule: Schedule, payload: Payload) -> dict[int, float]:
    """Which nodes hold all of an average since its round, because they summed it up or passed it on; since when.

    Cost: the activities of that round and later ones.
    """
    got: dict[int, tuple[int, float]] = {}
    for activity in reversed(schedule.activities):
        if activity.phase == "train" and activity.round < payload.version:
            break
        arrived = (payload,) if payload in activity.makes else ()
        node, since_s = activity.node, activity.end_s
        sent = activity.payload
        if sent is not None and (sent.kind, sent.origins, sent.version) == (
            payload.kind, payload.origins, payload.version):  # fmt: skip
            arrived, node, since_s = (sent,), activity.peer, activity.arrive_s
        for part in arrived:
            size, last_s = got.get(node, (0, 0.0))
            got[node] = (size + part.size, max(last_s, since_s))
    return {node: since_s for node, (size, since_s) in got.items() if size == payload.size}


@dataclass
class Stocks:
    """A payload that the server has, and the stations that have it too: each is sent one copy, for all its uplinks."""

    schedule: Schedule
    held: Held
    since_s: dict[int, float] = field(default_factory=dict)

    def known_s(self, station: int) -> float:
        """When a station has it, or could."""
        known_s = self.since_s.get(station)
        if known_s is not None:
            return known_s
        server, payload = self.schedule.system.nodes.server, self.held.payload
        return self.schedule.probe(server, station, payload.size, self.held.since_s)

    def send(self, station: int) -> float:
        """Bring it there, unless it is; returns since when."""
        if station not in self.since_s:
            server = self.schedule.system.nodes.server
            self.since_s[station] = self.schedule.send(server, station, self.held.payload, self.held.since_s)
        return self.since_s[station]


@dataclass
class Ascent:
    """A payload goes from the server up to one of some satellites, to the one at which it is complete first.

    Attributes:
        members: The satellites that will do.
        ready_s: When it may leave.
    """

    stocks: Stocks
    members: Sequence[int]
    ready_s: float
    then: Landed
    urgency: float = URGENCY
    _choice: Choice = (inf, inf, -1, -1)

    def begin_s(self) -> float:
        """Chooses satellite and station; returns when the transmission to the satellite begins."""
        schedule, size = self.stocks.schedule, self.stocks.held.payload.size
        options: list[Choice] = []
        for station in schedule.system.nodes.stations:
            there_s = max(self.ready_s, self.stocks.known_s(station))
            for satellite in self.members if there_s < inf else ():
                start_s, end_s = schedule.peek(station, satellite, size, there_s)
                options.append((end_s, start_s, satellite, station))
        self._choice = min(options, default=(inf, inf, -1, -1))
        return self._choice[1]

    def end_s(self) -> float:
        """When it would be there."""
        return self._choice[0]

    def book(self) -> None:
        """Send it, and go on."""
        *_, satellite, station = self._choice
        ready_s = max(self.ready_s, self.stocks.send(station))
        payload = self.stocks.held.payload
        self.then(satellite, self.stocks.schedule.send(station, satellite, payload, ready_s))


class Sum(Protocol):
    """What a group brings down, before it is decided where it is summed up."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def ready_s(self) -> float:
        """Before when nobody has it."""

    def since_s(self, sink: int) -> float:
        """When a satellite would have it."""

    def bring(self, sink: int) -> Held:
        """Sum it up there."""


@dataclass
class Descent:
    """A sum goes down over the sink and the station through which it is at the server first, of those that will do.

    The choice holds from the moment at which the transmission is booked, with all that is booked before it.
    """

    queue: Queue
    schedule: Schedule
    sum: Sum
    sinks: Sequence[int]
    then: Callable[[Held], None]
    urgency: float = URGENCY
    _choice: Choice = (inf, inf, -1, -1)

    def begin_s(self) -> float:
        """Chooses; returns when the transmission to the station begins. Hopeless sinks are not tried."""
        size = self.sum.size
        guesses = sorted(first_down(self.schedule, sink, size, self.sum.ready_s) for sink in self.sinks)
        self._choice = (inf, inf, -1, -1)
        for guess in guesses:
            if guess[0] >= self._choice[0]:
                break
            sink = guess[2]
            self._choice = min(self._choice, first_down(self.schedule, sink, size, self.sum.since_s(sink)))
        return self._choice[1]

    def end_s(self) -> float:
        """When it would be at the server."""
        return self._choice[0]

    def book(self) -> None:
        """Sum it up and send it down; over the cable in its turn, when it is there."""
        *_, sink, station = self._choice
        held, server = self.sum.bring(sink), self.schedule.system.nodes.server
        landed_s = self.schedule.send(sink, station, held.payload, held.since_s)

        def over_cable(there_s: float) -> None:
            self.then(Held(held.payload, self.schedule.send(station, server, held.payload, there_s)))

        self.queue.add(Call(self.urgency, landed_s, over_cable))


def first_down(schedule: Schedule, satellite: int, size: int, ready_s: float) -> Choice:
    """The station through which bytes of a satellite are at the server first; infinity if there is none in time."""
    options: list[Choice] = []
    for station in schedule.system.nodes.stations:
        start_s, landed_s = schedule.peek(satellite, station, size, ready_s)
        if landed_s < inf:
            end_s = schedule.probe(station, schedule.system.nodes.server, size, landed_s)
            options.append((end_s, start_s, satellite, station))
    return min(options, default=(inf, inf, satellite, -1))

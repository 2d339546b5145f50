"""Rounds in which nobody waits for anybody: every satellite meets the server at its own passes.

At a pass a satellite sends its finished contribution down and takes the newest model up, without any help of other
satellites; it trains until it is done and sends at the next pass with room. When the server makes a new model of what
has arrived is the only thing in which FedAsync, FedBuff and FedSpace differ here (`Rule`). What is common, and ours:

- *Equal passes.* Every satellite trains as often as in the synchronous methods, once for each round of the job, on the
  same samples; whoever is done earlier rests. A round ends with the model in which as many contributions as there are
  satellites times the rounds so far have been counted, so it may hold several models, or contributions of some twice.
- *Idle.* A satellite never trains twice from one model. If the server has nothing newer, it waits for that: So et al.
  call this idleness (FedSpace, arXiv:2202.01267).
- *Once for each model.* A satellite that took a newer model while its last contribution still waits at the server is
  counted again in the model after that at the earliest.
- *Newest model.* The server sends the newest model that there is when the transmission to the satellite can begin;
  stations get it over their cables as soon as it is chosen.

Staleness is that of the contact plan: the models that were made between the one a satellite trained from and the one
its contribution goes into. Work is booked in the order in which it ends, so a satellite that waits hours for its pass
does not keep an antenna from the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Protocol

from orbitune.methods.averaging import KIND
from orbitune.methods.base import Job
from orbitune.methods.stream_whole import Task
from orbitune.timeline.activity import Activity, Held, Payload, Timeline
from orbitune.timeline.simulate import HorizonEnd, Schedule
from orbitune.timeline.versions import counted_in

STAGE = "exchange at passes"
NOT_YET = 1 << 40
"""Version numbers from here on stand in for that of the model a contribution will be counted in."""


@dataclass(frozen=True)
class Flight:
    """One local training, until it is counted.

    Attributes:
        base: Number of averages in the weights that it started from.
        cargo: What comes down, the contribution first, under a version that stands in for the one to come.
        ready_s: When it is trained.
        booked: All that was done for it.
        stock: The station and base whose sending by cable it relies on; None where the weights were on board.
    """

    satellite: int
    base: int
    cargo: tuple[Payload, ...]
    ready_s: float
    booked: tuple[Activity, ...]
    stock: tuple[int, int] | None


@dataclass(frozen=True)
class Lift:
    """How a model can come up: which, over which station, from when on and until when."""

    base: int
    station: int
    begins_s: float
    end_s: float


class Local(Protocol):
    """What is trained on board, and what the server does with what comes down."""

    def weights(self) -> Payload:
        """Untrained weights that satellites start from."""

    def cargo(self, satellite: int, version: int) -> tuple[Payload, ...]:
        """What comes down after a training: its contribution first, then what else the server needs."""

    def tasks(self, satellite: int, number: int, start: Payload, cargo: tuple[Payload, ...]) -> list[Task]:
        """Training `number` (from 0) of a satellite."""

    def server_tasks(self, satellite: int, cargo: tuple[Payload, ...]) -> list[Task]:
        """What the server computes when the cargo is there, before it counts the contribution."""

    def total(self, origins: frozenset[int], version: int) -> Payload:
        """What the server makes of contributions, and satellites take up."""


class Rule(Protocol):
    """When the server makes a new model."""

    def due_s(self, rounds: AsynchronousRounds, next_s: float) -> float:
        """The moment, if nothing more arrives before; infinity to wait for more. Something has arrived.

        Args:
            next_s: When the next thing happens; infinity where nothing more can arrive.
        """


@dataclass
class AsynchronousRounds:
    """All rounds of one timeline.

    Attributes:
        models: With as many averages in them as their place says, each since when the server has it.
        flights: Trainings that are on board still, by satellite.
        asking: Satellites that want a model newer than their last, and since when.
        last_base: Of the last training of each satellite.
        trainings: Begun by each satellite.
        buffer, later: What has arrived and is counted in the next model, and in the one after that.
        queue: Who is served next: a moment that is never too late, and the satellite.
        counted: Moment and staleness of every contribution counted so far.
        now_s: The last thing that happened.
        beyond: What was wrong with the first training that the contact plan is too short for.
    """

    job: Job
    schedule: Schedule
    rule: Rule
    local: Local
    models: list[Held] = field(default_factory=list)
    flights: dict[int, Flight] = field(default_factory=dict)
    asking: dict[int, float] = field(default_factory=dict)
    last_base: dict[int, int] = field(default_factory=dict)
    trainings: dict[int, int] = field(default_factory=dict)
    buffer: list[Flight] = field(default_factory=list)
    later: list[Flight] = field(default_factory=list)
    queue: list[tuple[float, int]] = field(default_factory=list)
    stocked_s: dict[tuple[int, int], float] = field(default_factory=dict)
    stocking: dict[tuple[int, int], tuple[Activity, ...]] = field(default_factory=dict)
    counted: list[tuple[float, int]] = field(default_factory=list)
    now_s: float = 0.0
    beyond: HorizonEnd | None = None

    @property
    def members(self) -> list[int]:
        """Satellites that hold samples."""
        return members_of(self.job)

    @property
    def newest(self) -> int:
        """Averages in the newest model."""
        return len(self.models) - 1

    def round(self, index: int, start_s: float) -> float:
        """Go on until the contributions of this round are counted; returns when the last model is there."""
        self.schedule.stage = STAGE
        if not self.models:
            self._begin(start_s)
        while len(self.counted) < (index + 1) * len(self.members):
            self.advance(inf)
        return self.schedule.span(start_s, max(start_s, self.models[-1].since_s))

    def advance(self, until_s: float) -> bool:
        """Do what happens next, unless that is later than `until_s`; returns whether anything was done.

        Raises:
            HorizonEnd: The contact plan ends before it.
        """
        next_s = self._next_s()
        due_s = self.rule.due_s(self, next_s) if self.buffer else inf
        if min(due_s, next_s) > until_s:
            return False
        if due_s < inf and due_s <= max(next_s, self.now_s):  # the server may still have been computing
            self._count(due_s)
        elif not self.queue:
            assert self.beyond is not None, "whoever has not trained often enough is in the queue, or was too late"
            raise self.beyond
        elif self.queue[0][1] in self.flights:
            self._bring_down(heappop(self.queue)[1])
        else:
            self._take_up(heappop(self.queue)[1])
        return True

    def trial(self, rule: Rule) -> AsynchronousRounds:
        """A copy that goes its own way by another rule, to see what would come of it."""
        other = copy(self)
        other.schedule, other.rule = self.schedule.trial(), rule
        other.models, other.counted, other.queue = list(self.models), list(self.counted), list(self.queue)
        other.buffer, other.later = list(self.buffer), list(self.later)
        other.flights, other.asking = dict(self.flights), dict(self.asking)
        other.last_base, other.trainings = dict(self.last_base), dict(self.trainings)
        other.stocked_s, other.stocking = dict(self.stocked_s), dict(self.stocking)
        return other

    def bases_under_way(self) -> list[int]:
        """What those train from that have begun to take a model and have not yet brought their contribution."""
        begun = [lift.base for satellite in self._served() if (lift := self._lift(satellite)).begins_s < self.now_s]
        return [flight.base for flight in self.flights.values()] + begun

    # -- in the order of time --------------------------------------------------------------------------------------

    def _begin(self, start_s: float) -> None:
        """Everybody trains from the weights that deployment brought."""
        self.now_s = start_s
        self.models.append(Held(self.local.weights(), start_s))
        for satellite in self.members:
            self._train(satellite, 0, start_s, (), None)

    def _next_s(self) -> float:
        """When the first in the queue is served; bookings since it was put there may have made others first."""
        while self.queue:
            guess_s, satellite = self.queue[0]
            now_s = self._end_s(satellite)
            if now_s <= guess_s or len(self.queue) == 1:
                return now_s
            heapreplace(self.queue, (now_s, satellite))
            if self.queue[0] == (now_s, satellite):
                return now_s
        return inf

    def _end_s(self, satellite: int) -> float:
        flight = self.flights.get(satellite)
        return self._down_s(flight)[0] if flight else self._lift(satellite).end_s

    def _served(self) -> list[int]:
        """Who asks for a model, and there is one."""
        return [satellite for satellite in self.asking if self.newest > self.last_base[satellite]]

    def _ask(self, satellite: int, since_s: float) -> None:
        self.asking[satellite] = since_s
        if self.newest > self.last_base[satellite]:
            heappush(self.queue, (0.0, satellite))

    # -- what happens ----------------------------------------------------------------------------------------------

    def _train(
        self, satellite: int, base: int, ready_s: float, booked: Sequence[Activity], stock: tuple[int, int] | None
    ) -> None:
        number = self.trainings.get(satellite, 0)
        self.trainings[satellite], self.last_base[satellite] = number + 1, base
        cargo = self.local.cargo(satellite, NOT_YET + number)
        tasks = self.local.tasks(satellite, number, self.models[base].payload, cargo)
        mark = len(self.schedule.activities)
        try:
            for one in tasks:
                ready_s = self.schedule.compute(satellite, one.flops, ready_s, one.needs, one.makes, one.memory_bytes)
        except HorizonEnd as end:
            self._taken(mark)
            self.beyond = self.beyond or end  # the others go on, as far as they come without it
            return
        self.flights[satellite] = Flight(satellite, base, cargo, ready_s, (*booked, *self._taken(mark)), stock)
        heappush(self.queue, (ready_s, satellite))

    def _bring_down(self, satellite: int) -> None:
        """To the station over which it arrives first, and over its cable."""
        flight = self.flights[satellite]
        _, station = self._down_s(flight)
        mark, server = len(self.schedule.activities), self.job.system.nodes.server
        landed_s = [self.schedule.send(satellite, station, payload, flight.ready_s) for payload in flight.cargo]
        sent = zip(flight.cargo, landed_s, strict=True)
        arrived_s = max(self.schedule.send(station, server, payload, since_s) for payload, since_s in sent)
        for one in self.local.server_tasks(satellite, flight.cargo):
            arrived_s = self.schedule.compute(server, one.flops, arrived_s, one.needs, one.makes, one.memory_bytes)
        self.now_s = max(self.now_s, arrived_s)
        del self.flights[satellite]
        waiting = any(other.satellite == satellite for other in self.buffer)
        (self.later if waiting else self.buffer).append(
            replace(flight, booked=(*flight.booked, *self._taken(mark)))
        )  # fmt: skip
        if self.trainings[satellite] < self.job.rounds:
            self._ask(satellite, arrived_s)

    def _take_up(self, satellite: int) -> None:
        """A model to the station, unless it is there, and up; then training begins."""
        lift = self._lift(satellite)
        model, place = self.models[lift.base], (lift.station, lift.base)
        mark, server = len(self.schedule.activities), self.job.system.nodes.server
        if place not in self.stocked_s:
            self.stocked_s[place] = self.schedule.send(server, lift.station, model.payload, model.since_s)
            self.stocking[place] = self._taken(mark)
        ready_s = max(self.stocked_s[place], self.asking.pop(satellite))
        landed_s = self.schedule.send(lift.station, satellite, model.payload, ready_s)
        self.now_s = max(self.now_s, landed_s)
        self._train(satellite, lift.base, landed_s, self._taken(mark), place)

    def _count(self, moment_s: float) -> None:
        """Make a model of what has arrived, and write down all that was done for it."""
        version, flights = self.newest, self.buffer
        for flight in flights:
            self._write_down(flight, version)
            self.counted.append((moment_s, version - flight.base))
        bases = dict.fromkeys(self.models[flight.base].payload for flight in flights)
        arrived = [replace(flight.cargo[0], version=version) for flight in flights]
        total = self.local.total(frozenset(flight.satellite for flight in flights), version)
        server = self.job.system.nodes.server
        memory = 2.0 * total.size + sum(payload.size for payload in arrived)
        self.job.require_memory(server, memory, "merging updates")
        self.now_s = self.schedule.compute(server, 0.0, moment_s, (*arrived, *bases), (total,), memory)
        self.schedule.promise(server, total, self.now_s)
        waiting = [satellite for satellite in self.asking if self.last_base[satellite] == self.newest]
        self.models.append(Held(total, self.now_s))
        self.buffer, self.later = self.later, []
        self.queue += [(self.now_s, satellite) for satellite in waiting]
        heapify(self.queue)

    # -- links -----------------------------------------------------------------------------------------------------

    def _down_s(self, flight: Flight) -> tuple[float, int]:
        """When a contribution can be at the server, and over which station."""
        probe, server = self.schedule.probe, self.job.system.nodes.server
        size = sum(payload.size for payload in flight.cargo)

        def end_s(station: int) -> float:
            return probe(station, server, size, probe(flight.satellite, station, size, flight.ready_s))

        return min((end_s(station), station) for station in self.job.system.nodes.stations)

    def _lift(self, satellite: int) -> Lift:
        """How the newest model can come to a satellite: the newest when its transmission can begin."""
        stations, since_s = self.job.system.nodes.stations, self.asking[satellite]
        size = self.models[self.newest].payload.size
        begins_s = min(self.schedule.peek(station, satellite, size, since_s)[0] for station in stations)
        there = bisect_right(self.models, begins_s, key=lambda model: model.since_s) - 1
        base = max(there, self.last_base[satellite] + 1)
        begins_s = max(begins_s, self.models[base].since_s)
        end_s, station = min((self._up_s(satellite, station, base), station) for station in stations)
        return Lift(base, station, begins_s, end_s)

    def _up_s(self, satellite: int, station: int, base: int) -> float:
        model, server, probe = self.models[base], self.job.system.nodes.server, self.schedule.probe
        there_s = self.stocked_s.get((station, base))
        if there_s is None:
            there_s = probe(server, station, model.payload.size, model.since_s)
        return probe(station, satellite, model.payload.size, max(there_s, self.asking[satellite]))

    # -- writing down ----------------------------------------------------------------------------------------------

    def _taken(self, mark: int) -> tuple[Activity, ...]:
        """What was booked since a mark. It is written down when it is counted; what never is, is not of the plan."""
        taken = tuple(self.schedule.activities[mark:])
        del self.schedule.activities[mark:]
        return taken

    def _write_down(self, flight: Flight, version: int) -> None:
        cable = self.stocking.pop(flight.stock, ()) if flight.stock else ()
        old, index = flight.cargo[0].version, self.schedule.round
        self.schedule.activities += [
            counted_in(activity, old, version, index, STAGE) for activity in (*cable, *flight.booked)
        ]


def members_of(job: Job) -> list[int]:
    """Satellites that hold samples."""
    return [satellite for satellite in job.system.nodes.satellites if job.batch[satellite]]


def contributions(timeline: Timeline) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """What learning replays of the timeline of an asynchronous method.

    Returns:
        For each round, in the order of averages: (satellite, number of averages in the weights it started from, number
        of averages formed before the one that counts it).
    """
    rows: list[list[tuple[int, int, int]]] = [[] for _ in range(timeline.rounds)]
    for activity in timeline.activities:
        for made in activity.makes:
            if made.kind == KIND and made.origins == {activity.node}:
                bases = [payload.version + 1 for payload in activity.needs if payload.kind == "update"]
                rows[activity.round].append((activity.node, max(bases, default=0), made.version))
    return tuple(tuple(sorted(row, key=lambda one: (one[2], one[0]))) for row in rows)


def largest_staleness(timeline: Timeline) -> int:
    """The largest staleness that occurs."""
    return max((average - base for row in contributions(timeline) for _, base, average in row), default=0)

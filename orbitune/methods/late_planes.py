"""Rounds of the collaborative method that do not wait for late planes (`Job.staleness`).

Each plane goes through its exchange by itself. An average is formed as soon as enough planes have arrived (`Job.quorum`
of them, and every plane that would otherwise miss more averages than `Job.staleness` allows); the others go on with
the weights they started from and are counted in a later one. Every plane is in the last average. This is stale
synchronous parallel training (Ho et al., "More effective distributed ML via a stale synchronous parallel parameter
server", NeurIPS 2013) with a buffer as in FedBuff (Nguyen et al., arXiv:2106.06639); the quorum is our choice.

Work is booked in the order in which it ends: of the next step of every plane under way, the one that can end first is
booked, so a plane that waits hours for a station does not keep the antenna from the others meanwhile. Cost: one trial
booking per plane and step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf

from orbitune.methods.base import Job, average, initial_weights
from orbitune.methods.exchange import Exchange, exchanges_of, model_of, update_of
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.simulate import HorizonEnd, Schedule
from orbitune.timeline.versions import counted_in, with_version

STAGE = "round, late planes left out"
NOT_YET = 1 << 40
"""Version numbers above this stand in for that of the average a plane will be counted in, until it is known."""


@dataclass(frozen=True)
class PlaneExchange(Exchange):
    """One plane's exchange: the ground keeps the gradient of its encoder until an average is formed."""

    def model(self) -> tuple[Payload, ...]:
        """The gradient of what trains on the ground."""
        made = model_of(self.job, self.version, frozenset(self.members))
        return (whole("encoder_gradient", made.origins, made.version, made.size),) if made.size else ()


@dataclass
class Flight:
    """A plane on its way to an average.

    Attributes:
        exchange: Its exchange, under a version that stands in for the one to come.
        base: Averages in the weights it started from.
        ready_s: When its next step can begin.
        steps: What is left to do.
        booked: Places of its activities in the schedule.
        promised: Places of its promises.
    """

    exchange: PlaneExchange
    base: int
    ready_s: float
    steps: list[Callable[[Schedule, float], float]]
    booked: list[int] = field(default_factory=list)
    promised: list[int] = field(default_factory=list)


class LateRounds:
    """All rounds of one timeline."""

    def __init__(self, job: Job, schedule: Schedule) -> None:
        self.job = job
        self.schedule = schedule
        self.under_way: dict[int, Flight] = {}
        self.uncounted: list[Flight] = []
        self.averages: list[Payload] = []
        self.started = 0

    def round(self, index: int, start_s: float) -> float:
        """Fly until enough planes have arrived, then form the average; returns when its members have it.

        Raises:
            HorizonEnd: Not before the contacts end; what no average has counted by then is taken back.
        """
        before = len(self.schedule.activities), len(self.schedule.promises)
        try:
            return self._round(index, start_s)
        except HorizonEnd:
            self._take_back(*before)
            raise

    def _round(self, index: int, start_s: float) -> float:
        self._take_off(index, start_s)
        arrived: dict[int, Flight] = {}
        now = start_s
        while self.under_way and not self._enough(arrived, index):
            number = self._first_to_end()
            flight = self.under_way[number]
            self._step(flight)
            now = max(now, flight.ready_s)
            if not flight.steps:
                arrived[number] = self.under_way.pop(number)
        for flight in arrived.values():
            self._rename(flight, index)
        self.schedule.stage = STAGE
        end_s = self._average(list(arrived.values()), index, self.schedule.span(start_s, now))
        self.uncounted = list(self.under_way.values())
        return end_s

    # -- flying ----------------------------------------------------------------------------------------------------

    def _take_off(self, index: int, start_s: float) -> None:
        """Planes at rest start from the last average, of which they were part."""
        for number, ring in enumerate(self.job.rings):
            if number not in self.under_way:
                self.started += 1
                weights = self.averages[-1] if index else initial_weights(self.job, self.job.deepest.front)
                (usual,) = exchanges_of(self.job, index, dict.fromkeys(ring, weights))
                exchange = PlaneExchange(
                    self.job, index, NOT_YET + self.started, usual.counts, True, usual.trained_before, usual.starts
                )
                flight = Flight(exchange, index, start_s, exchange.steps())
                self.under_way[number] = flight
                self.uncounted.append(flight)

    def _enough(self, arrived: dict[int, Flight], index: int) -> bool:
        """Whether the average may be formed: nobody under way must be in it, and the quorum is there."""
        last = index == self.job.rounds - 1
        waited_for = any(last or index - flight.base >= self.job.staleness for flight in self.under_way.values())
        return not waited_for and len(arrived) >= ceil(self.job.quorum * len(self.job.rings))

    def _first_to_end(self) -> int:
        """The plane whose next step can end first, among equals the first plane."""
        ends_s = {number: self._trial_s(flight) for number, flight in self.under_way.items()}
        return min(ends_s, key=lambda number: (ends_s[number], number))

    def _trial_s(self, flight: Flight) -> float:
        try:
            return flight.steps[0](self.schedule.trial(), flight.ready_s)
        except HorizonEnd:
            return inf  # booked last, and then it says what is missing

    def _step(self, flight: Flight) -> None:
        schedule = self.schedule
        marks = len(schedule.activities), len(schedule.promises), len(schedule.spans)
        flight.ready_s = flight.steps.pop(0)(schedule, flight.ready_s)
        flight.booked += range(marks[0], len(schedule.activities))
        flight.promised += range(marks[1], len(schedule.promises))
        del schedule.spans[marks[2] :]  # planes overlap; the round as a whole is the stage

    # -- arriving --------------------------------------------------------------------------------------------------

    def _rename(self, flight: Flight, index: int) -> None:
        """Everything that was done for a contribution belongs to the average that counts it."""
        old = flight.exchange.version
        activities, promises = self.schedule.activities, self.schedule.promises
        for place in flight.booked:
            activities[place] = counted_in(activities[place], old, index, index, STAGE)
        for place in flight.promised:
            promises[place] = replace(promises[place], payload=with_version(promises[place].payload, old, index))

    def _take_back(self, activities: int, promises: int) -> None:
        """Leave in the schedule, of so many activities and promises, what belongs to an average."""
        booked = {place for flight in self.uncounted for place in flight.booked}
        promised = {place for flight in self.uncounted for place in flight.promised}
        schedule = self.schedule
        schedule.activities[:] = [one for at, one in enumerate(schedule.activities[:activities]) if at not in booked]
        schedule.promises[:] = [one for at, one in enumerate(schedule.promises[:promises]) if at not in promised]

    def _average(self, flights: Sequence[Flight], index: int, now: float) -> float:
        job, schedule = self.job, self.schedule
        members = sorted(satellite for flight in flights for satellite in flight.exchange.members)
        gradients = [replace(made, version=index) for flight in flights for made in flight.exchange.model()]
        if gradients:
            model = model_of(job, index, frozenset(members))
            schedule.stage = "encoder step"
            server = job.system.nodes.server
            now = schedule.span(now, schedule.compute(server, 0.0, now, gradients, (model,)))
        self.averages.append(update_of(job, frozenset(members), index))
        updates = {satellite: update_of(job, frozenset({satellite}), index) for satellite in members}
        return average(job, schedule, updates, now)

"""Who takes part in which round: everybody, those that were drawn, or those that are not late."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from orbitune.methods.base import Job, Method, Round, fetch, give_to_rings, initial_weights
from orbitune.methods.collaborative import Collaborative
from orbitune.methods.exchange import exchanges_of, update_of
from orbitune.methods.late_planes import LateRounds
from orbitune.methods.onboard import Onboard
from orbitune.methods.onboard import update_of as whole_update_of
from orbitune.timeline.activity import Payload
from orbitune.timeline.simulate import Schedule


def staged(method: Method, job: Job, schedule: Schedule) -> Round:
    """The rounds of a method, stage after stage, with whoever takes part."""
    if job.staleness and isinstance(method, Collaborative):
        return LateRounds(job, schedule).round
    if job.taking_part and isinstance(method, Collaborative | Onboard):
        return DrawnRounds(method, job, schedule).round
    return partial(method.round, job, schedule)


@dataclass
class DrawnRounds:
    """Rounds of those that were drawn.

    An average reaches the satellites of the rings in which somebody took part. Where the next round has members in
    other rings, and at the end, it goes to those over the ground.
    """

    method: Collaborative | Onboard
    job: Job
    schedule: Schedule
    average: Payload | None = None
    holders: set[tuple[int, ...]] = field(default_factory=set)

    def round(self, index: int, start_s: float) -> float:
        """One round; returns when its average is there."""
        job, who = self.job, job_members(self.job, index)
        rings = {ring for ring in job.rings if not frozenset(ring).isdisjoint(who)}
        now = self._bring(rings, start_s)
        start = self.average or self._untrained()
        now = self.method.round(job, self.schedule, index, now, dict.fromkeys(who, start))
        self.average, self.holders = self._average_of(index), rings
        return self._bring(set(job.rings), now) if index == job.rounds - 1 else now

    def _bring(self, rings: set[tuple[int, ...]], start_s: float) -> float:
        """Give the last average to rings that lack it."""
        lacking = sorted(rings - self.holders) if self.average else []
        if not lacking or self.average is None:
            return start_s
        now = fetch(self.job, self.schedule, self.average, "bring down the average", start_s)
        self.schedule.stage = "hand out the average"
        now = self.schedule.span(now, give_to_rings(self.job, self.schedule, lacking, (self.average,), now))
        self.holders |= rings
        return now

    def _untrained(self) -> Payload:
        partition = self.job.partition
        parts = partition.parts if isinstance(self.method, Onboard) else self.job.deepest.front
        return initial_weights(self.job, parts)

    def _average_of(self, index: int) -> Payload:
        origins = frozenset(job_members(self.job, index))
        if isinstance(self.method, Onboard):
            return whole_update_of(self.job, origins, index)
        return update_of(self.job, origins, exchanges_of(self.job, index)[-1].version)


def job_members(job: Job, index: int) -> list[int]:
    """The members of a round, in order."""
    return sorted(job.members(index))

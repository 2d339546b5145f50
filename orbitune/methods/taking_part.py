"""Who takes part in which round: everybody, those that were drawn, or those that are not late."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.base import Job, Method, Round, initial_weights
from orbitune.methods.collaborative import Collaborative
from orbitune.methods.exchange import exchanges_of, update_of
from orbitune.methods.late_planes import LateRounds
from orbitune.methods.onboard import Onboard
from orbitune.methods.onboard import update_of as whole_update_of
from orbitune.timeline.activity import Payload
from orbitune.timeline.simulate import Schedule


def staged(method: Method, job: Job, schedule: Schedule) -> Round:
    """The rounds of a method, stage after stage, with whoever takes part."""
    if isinstance(method, Asynchronous):
        return method.rounds(job, schedule).round
    if job.staleness and isinstance(method, Collaborative):
        return LateRounds(job, schedule).round
    if job.taking_part and isinstance(method, Collaborative | Onboard):
        return DrawnRounds(method, job, schedule).round
    return partial(method.round, job, schedule)


@dataclass
class DrawnRounds:
    """Rounds of those that were drawn; each average reaches the rings that the next round needs (`Job.receivers`)."""

    method: Collaborative | Onboard
    job: Job
    schedule: Schedule
    start: Payload | None = None

    def round(self, index: int, start_s: float) -> float:
        """One round; returns when its average is there."""
        who = sorted(self.job.members(index))
        starts = dict.fromkeys(who, self.start or self._untrained())
        self.start = self._average_of(index)
        return self.method.round(self.job, self.schedule, index, start_s, starts)

    def _untrained(self) -> Payload:
        whole = isinstance(self.method, Onboard)
        return initial_weights(self.job, self.job.partition.parts if whole else self.job.deepest.front)

    def _average_of(self, index: int) -> Payload:
        if isinstance(self.method, Onboard):
            return whole_update_of(self.job, self.job.members(index), index)
        return update_of(self.job, self.job.members(index), exchanges_of(self.job, index)[-1].version)

"""FedSpace: the server looks ahead in the contact plan and chooses when to make models.

So et al., "FedSpace: an efficient federated learning framework at satellites and ground stations", arXiv:2202.01267:
many models make contributions stale, few leave satellites idle that find nothing newer at their pass; because
connectivity is known ahead, the server schedules the moments of aggregation for the next stretch of time so that the
predicted utility of what it will then have received is greatest, and weighs a contribution down by its staleness.

What we had to choose (their utility is a regression fitted to trainings on other data, which nobody has before a
mission; their schedules are drawn at random on a grid of time):
- *Utility.* The sum over contributions counted in the stretch of (1 + staleness)^-1/2, the weight with which they are
  merged, times what is left of the stretch then: stale ones count less, and idle satellites bring theirs later.
- *Schedules.* A model of every K arrivals, for K = 1, 2, 4 ... and all satellites; each is played through on the
  contact plan with all its queues, and the best is followed for the stretch. Among equals the fewest models.
- *Stretch.* Six hours: a few orbits, in which most satellites pass a station.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from orbitune.errors import PlanError
from orbitune.methods.asynchronous import AsynchronousRounds, Rule, members_of
from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.base import Job
from orbitune.methods.fedbuff import Buffered

EXPONENT = 0.5
"""Of the weight of staleness; the one that learning uses unless told otherwise (`LearnSpec.staleness_exponent`)."""


@dataclass
class Scheduled:
    """The best buffer for a stretch of time, chosen anew when it is over.

    Attributes:
        stretch_s: How far to look ahead.
        chosen: What is followed until `until_s`.
    """

    stretch_s: float
    chosen: Buffered
    until_s: float = -inf

    def due_s(self, rounds: AsynchronousRounds, next_s: float) -> float:
        """As the schedule that was chosen says."""
        if rounds.now_s >= self.until_s:
            self.until_s = rounds.now_s + self.stretch_s
            sizes = sizes_of(len(rounds.members))
            best = max(sizes, key=lambda size: (utility(rounds, Buffered(size), self.until_s), size))
            self.chosen = Buffered(best)
        return self.chosen.due_s(rounds, next_s)


def sizes_of(members: int) -> list[int]:
    """1, 2, 4 ... and everybody."""
    return sorted({min(1 << power, members) for power in range(members.bit_length() + 1)})


def utility(rounds: AsynchronousRounds, rule: Rule, until_s: float) -> float:
    """What the contributions that would be counted until a moment are worth."""
    trial = rounds.trial(rule)
    total = len(trial.members) * trial.job.rounds
    try:
        while len(trial.counted) < total and trial.advance(until_s):
            pass
    except PlanError:
        pass  # the contact plan ends: what was counted until then is what it is worth
    new = trial.counted[len(rounds.counted) :]
    return float(sum((until_s - moment_s) * (1.0 + late) ** -EXPONENT for moment_s, late in new))


@dataclass(frozen=True)
class FedSpace(Asynchronous):
    """Aggregations chosen ahead. `stretch_h` is how far the server looks ahead, in hours."""

    name: str = "fedspace"
    merge: str = "weighted"
    stretch_h: float = 6.0

    def rule(self, job: Job) -> Rule:
        """A schedule for every stretch."""
        return Scheduled(3600.0 * self.stretch_h, Buffered(len(members_of(job))))

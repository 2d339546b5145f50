"""FedBuff: the server makes a model of every K contributions, wherever they come from.

Nguyen et al., "Federated learning with buffered asynchronous aggregation", arXiv:2106.06639, algorithm 1: changes of
weights are added up in a buffer; when there are K of them, the server steps by their mean and empties it. Their
analysis takes staleness as bounded; the algorithm does not say how.

Ours: K is a share of the satellites; the bound is kept by waiting, nothing is thrown away: no model is made while
somebody is under way whose contribution would then be too old. When nobody else is under way, fewer than K do. With
the share 1 and the bound 0 this is FedAvg in which every satellite waits for its own passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from orbitune.methods.asynchronous import AsynchronousRounds, Rule, members_of
from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.base import Job


@dataclass(frozen=True)
class Buffered:
    """A model of every `size` arrivals, later where somebody would become staler than `bound`."""

    size: int
    bound: float = inf

    def due_s(self, rounds: AsynchronousRounds, next_s: float) -> float:
        """Now, or not before more has arrived."""
        if next_s == inf:
            return rounds.now_s
        if len(rounds.buffer) < self.size:
            return inf
        if self.bound < inf and any(rounds.newest - base >= self.bound for base in rounds.bases_under_way()):
            return inf
        return rounds.now_s


@dataclass(frozen=True)
class FedBuff(Asynchronous):
    """A buffer, and a bound on staleness.

    Attributes:
        share: The buffer as a share of the satellites that hold samples, above 0 and at most 1. A quarter is our
            choice: the paper's ten of a thousand clients under way would be less than one of a small constellation.
        max_staleness: Models that may be made while a contribution is under way; `Job.staleness` where that is set.
            Four is our choice: with a buffer of a quarter, everybody trains once meanwhile.
    """

    name: str = "fedbuff"
    merge: str = "buffer"
    share: float = 0.25
    max_staleness: int = 4

    def rule(self, job: Job) -> Rule:
        """K arrivals, none too old."""
        return Buffered(max(1, ceil(self.share * len(members_of(job)))), job.staleness)

    def staleness(self, job: Job) -> int:
        """The bound."""
        return job.staleness or self.max_staleness

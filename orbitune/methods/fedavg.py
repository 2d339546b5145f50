"""FedAvg as a star: every satellite meets the server by itself, and the server waits for all of them.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017
(arXiv:1602.05629), algorithm 1: the server sends w_t to the clients of a round, each takes local steps and returns its
weights, and w_{t+1} is their mean weighted by samples. Over satellites this star is the baseline of FedISL
(arXiv:2111.12769) and FedLEO (arXiv:2302.13447): no links between satellites, each waits for its own passes.

What we chose: clients are all satellites, or those drawn (`train.satellites_per_round`); stations share one server; a
satellite uses whichever station it is through with first; compressed updates are allowed (`method.update_codec`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orbitune.methods.base import Job
from orbitune.methods.fedavg_base import Synchronous
from orbitune.methods.fedavg_round import GroupSum


@dataclass(frozen=True)
class FedAvg(Synchronous):
    """Every satellite for itself, whatever links there are."""

    name: str = "fedavg"

    def prepare(self, job: Job) -> Job:
        """Without links between satellites."""
        return super().prepare(replace(job, ways=replace(job.ways, intra_orbit="none")))

    def sinks(self, job: Job, index: int, total: GroupSum, members: Sequence[int]) -> Sequence[int]:
        """The satellite itself."""
        return members

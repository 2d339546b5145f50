"""FedLEO: as FedISL, and the sink of each plane is scheduled by when it will be through with the upload.

Elmahallawy and Luo, "Optimizing federated learning in LEO satellite constellations via intra-plane model propagation
and sink satellite scheduling", ICC 2023 (arXiv:2302.13447). The abstract says: the star gets horizontal pathways inside
planes along which models propagate, and the communication between sink satellites and the ground station is scheduled
optimally, by the predictability of orbits. We could read no more than that, so the rest is ours:

- Model propagation and partial sums are those of `fedisl`.
- Sink: the member through which the sum is at the server first, with the hops to get to it, the length and rate of its
  passes, and antennas that planes before it have taken. So a pass that is too short is only chosen where no other is
  through before its continuation. Planes choose in the order in which they can begin.
- `choice = "random"` draws it instead, for comparison: by plane and round, from `seed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbitune.methods.base import Job
from orbitune.methods.fedavg_round import GroupSum
from orbitune.methods.fedisl import FedISL
from orbitune.seeds import generator

SINKS = ("scheduled", "random")


@dataclass(frozen=True)
class FedLEO(FedISL):
    """A plane's sum goes to whoever is through with it first.

    Attributes:
        choice: One of `SINKS`.
        seed: Of the random choice.
    """

    name: str = "fedleo"
    choice: str = "scheduled"
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.choice in SINKS, self.choice

    def sinks(self, job: Job, index: int, total: GroupSum, members: Sequence[int]) -> Sequence[int]:
        """All: the one that is through first does it; or one that is drawn."""
        if self.choice == "scheduled":
            return members
        return (members[int(generator(self.seed, "sink", index, total.ring[0]).integers(len(members)))],)

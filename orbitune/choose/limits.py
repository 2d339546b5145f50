"""What an answer must keep to: memory on board, energy, and what may be known outside its satellite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from orbitune.choose.space import Point
from orbitune.cost.system import System
from orbitune.errors import InputError
from orbitune.methods import Job

KINDS = ("embedding", "embedding_gradient", "feature", "feature_gradient", "update")
"""Payloads made from a satellite's samples that can leave it; images and labels never do."""

AT_CUT = ("embedding", "embedding_gradient")
"""Those that belong to a cut: the fewer blocks before it, the more of the image they tell."""


@dataclass(frozen=True)
class Limits:
    """A user's constraints.

    Attributes:
        memory_bytes: Most that a satellite's computer may use.
        energy_j: Most that all satellites may spend together.
        private: By kind of payload, the deepest cut at which it must stay on its satellite; infinity for all cuts.
    """

    memory_bytes: float = inf
    energy_j: float = inf
    private: dict[str, float] = field(default_factory=dict)

    def on(self, system: System) -> System:
        """The machines with no more memory on board than that."""
        computers = [
            replace(one, memory_bytes=min(one.memory_bytes, self.memory_bytes))
            for one in (system.satellite, *system.satellites)
        ]
        return replace(system, satellite=computers[0], satellites=tuple(computers[1:]))

    def kept_private(self, cut: int) -> tuple[str, ...]:
        """Kinds that may not leave a satellite at this cut."""
        return tuple(kind for kind, deepest in self.private.items() if cut <= deepest)

    def breach(self, point: Point, job: Job) -> str:
        """Why a point tells too much; empty if it does not."""
        told = [kind for kind in self.kept_private(point.cut) if kind in leaving(point, job)]
        return f"private: {', '.join(told)} would leave the satellite" if told else ""


def private_of(words: Iterable[str]) -> dict[str, float]:
    """`embedding` keeps a kind on board at every cut, `embedding@0` at cuts up to that number of blocks.

    Raises:
        InputError: There is no such kind, or no such cut.
    """
    found: dict[str, float] = {}
    for word in words:
        kind, at, cut = word.partition("@")
        if kind not in KINDS or (at and (kind not in AT_CUT or not cut.isdecimal())):
            raise InputError(
                f"--private {word!r}: write one of {', '.join(KINDS)}; {' and '.join(AT_CUT)} may have @CUT, which "
                "keeps them on board only where the cut is after so many blocks or fewer: embedding@0"
            )
        found[kind] = max(float(cut) if at else inf, found.get(kind, 0.0))
    return found


def leaving(point: Point, job: Job) -> tuple[str, ...]:
    """Payload kinds made from a satellite's samples that are known outside of it: what crosses in an exchange, and
    what is averaged. Whoever has the images can make all of them. Where every plane is one satellite that hosts its own
    encoder, only averages leave."""
    if point.method == "download":
        return KINDS
    nodes = job.system.nodes
    averaged: Sequence[str] = ("update",) if nodes.num_satellites > 1 else ()
    hosted = point.placement != "ground" and all(len(plane) == 1 for plane in nodes.planes)
    if point.method != "collaborative" or hosted:
        return tuple(averaged)
    kinds = ["embedding", "feature", "update"]
    if job.trains != "head":
        kinds.append("feature_gradient")
    if job.trained(job.partition.front):
        kinds.append("embedding_gradient")
    return tuple(kinds)

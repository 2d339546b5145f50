"""Which samples a payload of data holds: known to whoever knows the seed and how many samples each satellite has.

Samples are numbered by their place on their satellite. A payload is whole samples one after the other: those of a
batch in the order drawn; with cache = "embeddings" the features of a batch are of its new samples first, then of the
others; and what is kept (its version is 0 all run long) is in the order of first uses. First uses count from the
beginning of the program: what was kept in an earlier one is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from orbitune.errors import RunError
from orbitune.learn.draws import Draws
from orbitune.learn.features import SENT_ONCE
from orbitune.learn.nodes.setting import CPU, Setting
from orbitune.timeline.activity import Payload


@dataclass
class FirstUses:
    """Of one satellite: samples in the order of first uses, and which of each batch are new there."""

    samples: list[int] = field(default_factory=list)
    place: dict[int, int] = field(default_factory=dict)
    new: dict[int, list[bool]] = field(default_factory=dict)

    def add(self, batch: int, samples: list[int]) -> None:
        """The next batch."""
        self.new[batch] = []
        for sample in samples:
            self.new[batch].append(sample not in self.place)
            if sample not in self.place:
                self.place[sample] = len(self.samples)
                self.samples.append(sample)


class Order:
    """See the module.

    Args:
        setting: Of the run.
        first_round: Rounds done before this program.
    """

    def __init__(self, setting: Setting, first_round: int) -> None:
        self.setting = setting
        self.first_round = first_round
        self.draws = Draws(setting.spec, [np.arange(count) for count in setting.counts], CPU)
        self._uses: dict[int, FirstUses] = {}

    def absolute(self, version: int) -> int:
        """A version of the program, counted from the start of the training."""
        return self.first_round * self.setting.versions + version

    def round_of(self, version: int) -> int:
        """The round of a version of the program, counted from the start of the training."""
        return self.absolute(version) // self.setting.versions

    def step_of(self, version: int) -> int:
        """The optimiser step of a version, where each is one batch."""
        return self.absolute(version) // self.setting.spec.accumulate

    def drawn(self, satellite: int, version: int) -> Tensor:
        """Samples of a version in the order drawn [n]."""
        return torch.cat([self._batch(satellite, batch) for batch in self._batches(version)])

    def keeps(self, kind: str) -> bool:
        """Whether data of this kind stay where they came to."""
        return kind in SENT_ONCE[self.setting.spec.cache]

    def rows(self, payload: Payload) -> range:
        """The samples of a payload, counted within its whole tensor.

        Raises:
            RunError: It does not hold whole samples.
        """
        each = self.setting.record_bytes(payload.kind, owner(payload))
        if payload.start_byte % each or payload.end_byte % each:
            raise RunError(
                f"{payload.kind} of satellite {owner(payload)}, bytes {payload.start_byte} to {payload.end_byte}: not "
                f"whole samples of {each} bytes; the plan was made for another model or codec"
            )
        return range(payload.start_byte // each, payload.end_byte // each)

    def places(self, payload: Payload) -> Tensor:
        """Where in the order drawn the samples of a payload are [n]; nothing that is kept."""
        satellite, rows = owner(payload), self.rows(payload)
        wire = self._wire(satellite, payload.version, payload.kind)
        if rows.stop > len(wire):
            raise RunError(
                f"{payload.kind} of satellite {satellite}, version {payload.version}: {rows.stop} samples planned, "
                f"{len(wire)} are drawn; the plan was made with another seed, batch size or number of samples"
            )
        return torch.tensor(wire[rows.start : rows.stop], dtype=torch.int64)

    def samples(self, payload: Payload) -> Tensor:
        """The samples of a payload, in its order [n]."""
        if not self.keeps(payload.kind):
            return self.drawn(owner(payload), payload.version)[self.places(payload)]
        rows, uses = self.rows(payload), self._uses_up_to(owner(payload), samples=self.rows(payload).stop)
        return torch.tensor(uses.samples[rows.start : rows.stop], dtype=torch.int64)

    def kept_places(self, satellite: int, samples: Tensor) -> Tensor:
        """Where samples that are kept lie, in the order of first uses."""
        place = self._uses[satellite].place
        return torch.tensor([place[sample] for sample in samples.tolist()], dtype=torch.int64)

    def batch_samples(self, satellite: int) -> int:
        """Of one batch."""
        return self.draws.size(satellite)

    # -- how -----------------------------------------------------------------------------------------------------------

    def _batches(self, version: int) -> range:
        spec, absolute = self.setting.spec, self.absolute(version)
        each = spec.local_steps * spec.accumulate // self.setting.versions
        return range(absolute * each, (absolute + 1) * each)

    def _batch(self, satellite: int, batch: int) -> Tensor:
        step, number = divmod(batch, self.setting.spec.accumulate)
        return self.draws.step(satellite, step)[number].ids

    def _wire(self, satellite: int, version: int, kind: str) -> list[int]:
        count = self.batch_samples(satellite) * len(self._batches(version))
        if self.setting.spec.cache != "embeddings":
            return list(range(count))
        uses = self._uses_up_to(satellite, batch=self._batches(version).stop - 1)
        new = [flag for batch in self._batches(version) for flag in uses.new[batch]]
        return sorted(range(count), key=lambda place: not new[place])

    def _uses_up_to(self, satellite: int, samples: int = 0, batch: int = -1) -> FirstUses:
        """First uses until there are so many, or as far as some batch."""
        uses = self._uses.setdefault(satellite, FirstUses())
        following = self._batches(0).start + len(uses.new)
        while len(uses.samples) < samples or following <= batch:
            if len(uses.samples) < samples and len(uses.samples) == self.setting.counts[satellite]:
                raise RunError(f"the plan has {samples} samples of satellite {satellite}, which holds fewer")
            uses.add(following, self._batch(satellite, following).tolist())
            following += 1
        return uses


def owner(payload: Payload) -> int:
    """The satellite whose samples a payload of data holds."""
    (satellite,) = payload.origins
    return satellite

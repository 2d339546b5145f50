"""The samples of every step, on the device, with each epoch shuffled once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbitune import seeds
from orbitune.imagery import batches
from orbitune.learn.client import Batch
from orbitune.learn.spec import LearnSpec


class Draws:
    """Gives what `imagery.batches.draw` gives, and remembers the current epoch of each satellite.

    Args:
        spec: Batch size, accumulation and seed.
        holdings: Sample ids of each satellite, by its id.
        device: Where the ids are wanted.
    """

    def __init__(self, spec: LearnSpec, holdings: Sequence[NDArray[np.int64]], device: torch.device) -> None:
        self.spec = spec
        self.holdings = holdings
        self.device = device
        self._epochs: dict[int, tuple[int, tuple[Tensor, ...]]] = {}

    def size(self, satellite: int) -> int:
        """Samples of one batch of a satellite."""
        return batches.batch_size_of(len(self.holdings[satellite]), self.spec.batch_size)

    def samples_per_round(self, satellite: int) -> int:
        """Samples a satellite goes through in a round, repeats counted."""
        return self.size(satellite) * self.spec.accumulate * self.spec.local_steps

    def step(self, satellite: int, step: int) -> list[Batch]:
        """The `accumulate` batches of an optimiser step, counted from the start of the training."""
        first = step * self.spec.accumulate
        return [Batch(satellite, self._draw(satellite, first + index), step) for index in range(self.spec.accumulate)]

    def _draw(self, satellite: int, index: int) -> Tensor:
        """Batch `index` of a satellite since the start of the training."""
        ids, size = self.holdings[satellite], self.size(satellite)
        epoch, position = divmod(index, len(ids) // size)
        if self._epochs.get(satellite, (-1, ()))[0] != epoch:
            self._epochs[satellite] = (epoch, self._shuffle(satellite, epoch, size))
        return self._epochs[satellite][1][position]

    def _shuffle(self, satellite: int, epoch: int, size: int) -> tuple[Tensor, ...]:
        order = seeds.generator(self.spec.seed, "batch", satellite, epoch).permutation(self.holdings[satellite])
        whole = len(order) // size * size
        return torch.split(torch.from_numpy(order[:whole]).to(self.device), size)

"""Which samples a satellite trains on at each step: known from sizes and the seed alone, before any image is read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbitune import seeds


def batch_size_of(num_samples: int, batch_size: int) -> int:
    """How many samples a satellite with `num_samples` brings to a step: all it has, at most `batch_size`."""
    return min(num_samples, batch_size)


def draw(ids: NDArray[np.int64], batch_size: int, step: int, seed: int, satellite: int) -> NDArray[np.int64]:
    """The samples of one satellite at one step, in the order in which they are used.

    An epoch is one pass over a fresh shuffle, in floor(n/b) batches of equal size; what is left over (less than one
    batch) is dropped and takes part in the next shuffle. The result depends on nothing but the arguments.

    Args:
        ids: Samples the satellite holds [n].
        batch_size: Largest batch.
        step: Steps counted from the start of the training, over all rounds.
        seed: Root seed of the training.
        satellite: Whose stream to draw from.

    Returns:
        `batch_size_of(n, batch_size)` distinct ids; empty for a satellite that holds nothing.
    """
    size = batch_size_of(len(ids), batch_size)
    if size == 0:
        return ids[:0]
    epoch, position = divmod(step, len(ids) // size)
    shuffled = seeds.generator(seed, "batch", satellite, epoch).permutation(ids)
    return shuffled[position * size : (position + 1) * size]

"""Who takes part in a round and which samples a satellite trains on at each step: known from sizes and the seed alone,
before any image is read."""

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
    return _shuffled(ids, epoch, seed, satellite)[position * size : (position + 1) * size]


def _shuffled(ids: NDArray[np.int64], epoch: int, seed: int, satellite: int) -> NDArray[np.int64]:
    """The order of an epoch. Where each id goes depends on its place among the ids, not on its value."""
    return seeds.generator(seed, "batch", satellite, epoch).permutation(ids)


def first_uses(num_samples: int, batch_size: int, steps: int, seed: int, satellite: int) -> NDArray[np.int64]:
    """How many samples of each step's batch `draw` gives for the first time: those whose features are not cached yet.

    Args:
        num_samples: Samples the satellite holds.
        batch_size: Largest batch.
        steps: Steps of the whole training.
        seed: Root seed of the training.
        satellite: Whose stream is drawn from.

    Returns:
        Numbers [steps]; their sum is how many different samples are used at all.
    """
    fresh = np.zeros(steps, dtype=np.int64)
    size = batch_size_of(num_samples, batch_size)
    unused = np.ones(num_samples, dtype=np.bool_)
    per_epoch = num_samples // size if size else 1
    for first in range(0, steps if size else 0, per_epoch):
        if not unused.any():
            break
        order = _shuffled(np.arange(num_samples), first // per_epoch, seed, satellite)
        batches = order[: min(per_epoch, steps - first) * size].reshape(-1, size)
        fresh[first : first + len(batches)] = unused[batches].sum(axis=1)
        unused[batches] = False
    return fresh


def taking_part(num_satellites: int, per_round: int, round_index: int, seed: int) -> tuple[int, ...]:
    """The satellites that take part in a round: a random choice without replacement, made anew for each round
    (the fraction C of clients of McMahan et al., arXiv:1602.05629, algorithm 1).

    Args:
        num_satellites: Satellites to choose from.
        per_round: How many take part, 1 to `num_satellites`.
        round_index: Round, from 0.
        seed: Root seed of the training.

    Returns:
        Sorted satellite ids; all of them when `per_round` is `num_satellites`.
    """
    assert 1 <= per_round <= num_satellites, f"{per_round} of {num_satellites} satellites"
    source = seeds.generator(seed, "taking part", round_index)
    return tuple(sorted(source.choice(num_satellites, per_round, replace=False).tolist()))

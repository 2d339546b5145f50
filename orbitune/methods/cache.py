"""What stays of a sample once it has crossed the cut (`cache`), and where that would change the numbers.

features    The features come back once and stay on the satellite: from then on only head steps and averages are left.
            All before the head must be frozen.
embeddings  The activations at the cut stay on the server: features and gradients still cross at every use. All in front
            of the cut must be frozen.

Images are never augmented here, so with frozen parts in evaluation mode a sample's activations are the same at every
use, and what is cached is what would have crossed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CACHES = ("none", "features", "embeddings")


@dataclass(frozen=True)
class Uses:
    """Of each satellite, how many samples of some batches are used for the first time, and how many were before."""

    new: tuple[int, ...]
    before: tuple[int, ...]


class FirstUses:
    """When samples are used for the first time: `rows[b][i]` of satellite i in batch b of the run."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        table = np.asarray(rows, dtype=np.int64)
        self._before = np.vstack([np.zeros((1, table.shape[1]), np.int64), table.cumsum(axis=0)])

    def of(self, first: int, last: int) -> Uses:
        """The uses of batches `first` to `last`, half open."""
        before, after = self._before[first], self._before[last]
        return Uses(tuple((after - before).tolist()), tuple(before.tolist()))


def why_not(cache: str, trains: str, front_trains: bool) -> str:
    """Why this cache would change the numbers; empty if it does not."""
    if cache == "features" and trains != "head":
        return (
            f"method.cache = 'features' keeps what the encoder said, and train.trains = '{trains}' changes the encoder "
            "at every step; use method.cache = 'embeddings' (with everything in front of the cut frozen) or 'none', or "
            "train.trains = 'head'"
        )
    if cache == "embeddings" and front_trains:
        return (
            f"method.cache = 'embeddings' keeps what the satellites said, and train.trains = '{trains}' with this cut "
            "changes what is in front of the cut at every step; use method.cache = 'none', or freeze the front: "
            "model.cut_after_block = 0 with train.trains = 'lora' or 'encoder'"
        )
    return ""

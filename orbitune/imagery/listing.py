"""What a data set says of its samples before any pixel is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.imagery.assign import Traits

CLASSIFICATION = "classification"
MULTILABEL = "multilabel"
SEGMENTATION = "segmentation"

RGB = ("red", "green", "blue")

GROUND_EVERY = 5
"""Where a data set brings no images without label, every fifth of those for testing becomes one: the ground fixes the
centre and spread of features on it and does not judge on it (our choice: a fifth of the test is enough for a mean)."""

Pixels = tuple[NDArray[np.float32], NDArray[np.generic]]
"""Images [n, C, H, W] in stored units, and labels of at least those for training and testing."""


@dataclass(frozen=True, eq=False)
class Listing:
    """Samples in order: first those for training, then those for testing, then those of the ground without label.

    Attributes:
        task: "classification", "multilabel" or "segmentation".
        class_names: Names of the classes.
        channels: Names of the channels of an image.
        full_scale: Stored value of a full signal: 255 for 8-bit images, 10000 for Sentinel-2 (reflectance 1).
        value_bytes: Bytes of one stored value: 1 for 8-bit images, 2 for Sentinel-2.
        chip_px: Side of the square images in pixels.
        traits: Of the samples for training, which are dealt out by them.
        num_test: Samples for testing.
        read: Reads all images in the order above, and the labels of those that have one.
    """

    task: str
    class_names: tuple[str, ...]
    channels: tuple[str, ...]
    full_scale: float
    value_bytes: int
    chip_px: int
    traits: Traits
    num_test: int
    read: Callable[[], Pixels]

    @property
    def sample_bytes(self) -> float:
        """Raw size of one image as stored and downlinked, uncompressed."""
        return float(len(self.channels) * self.chip_px**2 * self.value_bytes)

    @property
    def label_bytes(self) -> int:
        """Size of one label: a byte for a class, a bit for each class that may or may not be there, a byte a pixel."""
        if self.task == SEGMENTATION:
            return self.chip_px**2
        return math.ceil(len(self.class_names) / 8) if self.task == MULTILABEL else 1


def train_test_ground(train: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int, int]:
    """Put samples in the order of a listing, where the ground gets `GROUND_EVERY` th of those that do not train.

    Args:
        train: Whether each sample is for training [n]; the others are for testing.

    Returns:
        Sample numbers in that order [n], how many are for training, and how many for testing.
    """
    first, held_out = np.flatnonzero(train), np.flatnonzero(~train)
    grounds = np.arange(len(held_out)) % GROUND_EVERY == 0
    order = np.concatenate([first, held_out[~grounds], held_out[grounds]])
    return order, len(first), int((~grounds).sum())


def most_frequent(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Most frequent class of each mask [n, H, W]; the first of several, and class 0 where all is unknown (-1)."""
    counts = np.stack([(labels == number).sum(axis=(1, 2)) for number in range(max(int(labels.max(initial=0)), 0) + 1)])
    first: NDArray[np.int64] = counts.argmax(axis=0)
    return first

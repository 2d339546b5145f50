"""The images and labels of a run, and which satellite holds which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError
from orbitune.imagery.assign import assign
from orbitune.imagery.chips import CLASSES, Chips, cut_images, find_chips, raw_bytes
from orbitune.imagery.scene import load_land_use, load_scene, scene_path


@dataclass(frozen=True)
class Selection:
    """Which chips of which scene are used, and how they are dealt out. Scenario keys of [data] map onto it.

    Attributes:
        scene: Name of a shipped scene.
        chip_px: Side of the chips in pixels: 16 to 64, a multiple of 8.
        how: "place", "iid" or "dirichlet" (see `orbitune.imagery.assign`).
        alpha: Dirichlet concentration.
    """

    scene: str = "brandenburg"
    chip_px: int = 32
    how: str = "place"
    alpha: float = 0.5


@dataclass(frozen=True)
class Holdings:
    """What planning needs to know of the images: counts and sizes, no pixels.

    Attributes:
        num_train: Training samples of each satellite.
        num_test: Samples kept for testing, on the ground.
        class_names: Names of the classes.
        sample_bytes: Raw size of one sample as stored and downlinked.
    """

    num_train: tuple[int, ...]
    num_test: int
    class_names: tuple[str, ...]
    sample_bytes: float


@dataclass(frozen=True, eq=False)
class Imagery:
    """Normalised images with labels, dealt out to satellites.

    Attributes:
        images: Normalised channels [n, 11, P, P] float32: ten Sentinel-2 bands and NDVI.
        labels: Class of each image [n], index into `class_names`.
        positions: Row and column of each image's upper left pixel in the scene [n, 2].
        class_names: Names of the classes.
        train: Sorted image numbers that each satellite holds.
        test: Sorted image numbers kept for testing; they share no pixel with those for training.
        unlabelled: Normalised chips without label from the test blocks, which the ground owns [m, 11, P, P].
        sample_bytes: Raw size of one image as stored and downlinked (uint16, ten bands).

    Raises:
        InputError: The numbers of images, labels and positions differ.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    class_names: tuple[str, ...]
    train: tuple[NDArray[np.int64], ...]
    test: NDArray[np.int64]
    unlabelled: NDArray[np.float32]
    sample_bytes: float

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.positions):
            raise InputError(
                f"{len(self.images)} images, {len(self.labels)} labels and {len(self.positions)} positions: "
                "each image needs exactly one of each; check that image and label files belong together"
            )

    @property
    def holdings(self) -> Holdings:
        """The same counts that `holdings` gives without reading pixels."""
        num_train = tuple(len(samples) for samples in self.train)
        return Holdings(num_train, len(self.test), self.class_names, self.sample_bytes)


def load_imagery(selection: Selection, num_satellites: int, seed: int) -> Imagery:
    """Cut, normalise and deal out the chips of a scene.

    Raises:
        InputError: The scene file is missing or damaged, or image and labels differ in size.
        PlanError: There are fewer training chips than satellites.
    """
    scene = load_scene(scene_path(selection.scene))
    chips = find_chips(scene.land_use, selection.chip_px)
    train = _deal(chips, selection, num_satellites, seed)
    images, end = cut_images(scene, chips), chips.num_labelled
    return Imagery(
        images=images[:end],
        labels=chips.labels[:end],
        positions=chips.corners[:end],
        class_names=CLASSES,
        train=train,
        test=np.arange(chips.num_train, end),
        unlabelled=images[end:],
        sample_bytes=raw_bytes(selection.chip_px),
    )


def holdings(selection: Selection, num_satellites: int, seed: int) -> Holdings:
    """What each satellite would hold, from the labels alone.

    Raises:
        InputError: The scene file is missing or damaged.
        PlanError: There are fewer training chips than satellites.
    """
    chips = find_chips(load_land_use(scene_path(selection.scene)), selection.chip_px)
    train = _deal(chips, selection, num_satellites, seed)
    num_test = chips.num_labelled - chips.num_train
    return Holdings(tuple(len(samples) for samples in train), num_test, CLASSES, raw_bytes(selection.chip_px))


def _deal(chips: Chips, selection: Selection, num_satellites: int, seed: int) -> tuple[NDArray[np.int64], ...]:
    """Training chips of each satellite."""
    labels, corners = chips.labels[: chips.num_train], chips.corners[: chips.num_train]
    return assign(labels, corners, num_satellites, selection.how, selection.alpha, seed)

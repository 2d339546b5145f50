"""The images and labels of a run, and which satellite holds which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError, PlanError
from orbitune.imagery import brandenburg, dubai, folder
from orbitune.imagery.assign import HOW, assign
from orbitune.imagery.listing import CLASSIFICATION, Listing

FOLDER = "folder"
"""Name of the data set that is the user's own folder."""


@dataclass(frozen=True)
class Selection:
    """Which images are used, and how they are dealt out. Scenario keys of [data] map onto it.

    Attributes:
        dataset: One of `DATASETS`.
        how: One of `orbitune.imagery.assign.HOW`, as far as the data set offers it.
        alpha: Dirichlet concentration.
        chip_px: Side of the chips in pixels; None for the usual side of the data set.
        folder: The user's folder, for the data set "folder" alone.
    """

    dataset: str = "brandenburg"
    how: str = "place"
    alpha: float = 0.5
    chip_px: int | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Holdings:
    """What planning needs to know of the images: counts and sizes, no pixels.

    Attributes:
        num_train: Training samples of each satellite.
        num_test: Samples kept for testing, on the ground.
        class_names: Names of the classes.
        sample_bytes: Raw size of one image as stored and downlinked, uncompressed.
        label_bytes: Size of one label.
        task: "classification", "multilabel" or "segmentation".
        chip_px: Side of an image in pixels; 0 where nothing is known of the images.
        channels: Names of the channels of an image.
    """

    num_train: tuple[int, ...]
    num_test: int
    class_names: tuple[str, ...]
    sample_bytes: float
    label_bytes: int = 1
    task: str = CLASSIFICATION
    chip_px: int = 0
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Imagery:
    """Images with labels, dealt out to satellites.

    Attributes:
        images: Images [n, C, P, P] in stored units: digital numbers of Sentinel-2 (reflectance x 10000), or 0 to 255.
        labels: By task: classes [n] int64, indices into `class_names`; 0 or 1 [n, classes] float32; classes of pixels
            [n, P, P] int64, -1 where unknown.
        task: "classification", "multilabel" or "segmentation".
        class_names: Names of the classes.
        channels: Names of the channels: "B02" ..., or "red", "green", "blue".
        full_scale: Stored value of a full signal: 10000 or 255.
        train: Sorted image numbers that each satellite holds.
        test: Sorted image numbers kept for testing; they share no pixel with those for training.
        unlabelled: Images without label, which the ground owns, in stored units [m, C, P, P]; none is in `images`.
        sample_bytes: Raw size of one image as stored and downlinked.
        label_bytes: Size of one label.
        chip_px: Side P of an image.

    Raises:
        InputError: The numbers of images and labels differ.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.generic]
    task: str
    class_names: tuple[str, ...]
    channels: tuple[str, ...]
    full_scale: float
    train: tuple[NDArray[np.int64], ...]
    test: NDArray[np.int64]
    unlabelled: NDArray[np.float32]
    sample_bytes: float
    label_bytes: int
    chip_px: int

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise InputError(
                f"{len(self.images)} images and {len(self.labels)} labels: each image needs exactly one; "
                "check that image and label files belong together"
            )

    @property
    def holdings(self) -> Holdings:
        """The same counts that `holdings` gives without reading pixels."""
        num_train = tuple(len(samples) for samples in self.train)
        return Holdings(
            num_train,
            len(self.test),
            self.class_names,
            self.sample_bytes,
            self.label_bytes,
            self.task,
            self.chip_px,
            self.channels,
        )


@dataclass(frozen=True)
class Dataset:
    """One source of images.

    Attributes:
        sides_px: Allowed sides of its chips, the usual one first; empty where the files themselves say it.
        ways: Which of `HOW` it can offer; a folder, as far as its labels.csv says what is needed.
        listing: What it says before pixels are read, from the side of its chips and the user's folder.
    """

    sides_px: tuple[int, ...]
    ways: tuple[str, ...]
    listing: Callable[[int, Path | None], Listing]

    def list_samples(self, selection: Selection) -> Listing:
        """Its samples under a selection.

        Raises:
            InputError: Files are missing or damaged.
            PlanError: It has no chips of this side.
        """
        if selection.chip_px is not None and selection.chip_px not in self.sides_px:
            sides = ", ".join(map(str, sorted(self.sides_px))) or "that of the images in the folder, so leave it out"
            raise PlanError(f"data.chip_px = {selection.chip_px}: data set {selection.dataset} allows {sides}")
        side_px = selection.chip_px or next(iter(self.sides_px), 0)
        return self.listing(side_px, selection.folder)

    def count(self, selection: Selection, num_satellites: int, seed: int) -> Holdings:
        """What each satellite would hold, without reading pixels; raises what `load` does."""
        listing = self.list_samples(selection)
        shares = assign(listing.traits, num_satellites, selection.how, selection.alpha, seed)
        return Holdings(
            tuple(len(samples) for samples in shares),
            listing.num_test,
            listing.class_names,
            listing.sample_bytes,
            listing.label_bytes,
            listing.task,
            listing.chip_px,
            listing.channels,
        )

    def load(self, selection: Selection, num_satellites: int, seed: int) -> Imagery:
        """Read and deal out its images.

        Raises:
            InputError: Files are missing or damaged, or do not fit together.
            PlanError: The images cannot be dealt out as asked, or have no chips of this side.
            MissingExtra: The library that reads the images is not installed.
        """
        listing = self.list_samples(selection)
        train = assign(listing.traits, num_satellites, selection.how, selection.alpha, seed)
        images, labels = listing.read()
        end = listing.traits.count + listing.num_test
        return Imagery(
            images=images[:end],
            labels=labels[:end],
            task=listing.task,
            class_names=listing.class_names,
            channels=listing.channels,
            full_scale=listing.full_scale,
            train=train,
            test=np.arange(listing.traits.count, end),
            unlabelled=images[end:],
            sample_bytes=listing.sample_bytes,
            label_bytes=listing.label_bytes,
            chip_px=listing.chip_px,
        )


_SIDES_PX = (32, 16, 24, 40, 48, 56, 64)
"""Of the Sentinel-2 scene: at most half a test block; multiples of 8, the patch of Galileo."""

_SCENE_SIDES_PX = (64, 32, 48, 56, 80, 96, 112, 128)
"""Of the Dubai scenes, whose smallest side is 254 px: multiples of the patches of 8, 14 or 16 px of common models."""

_SHIPPED_WAYS = ("place", "iid", "dirichlet")

DATASETS = {
    "brandenburg": Dataset(_SIDES_PX, _SHIPPED_WAYS, lambda side_px, _: brandenburg.land_use_chips(side_px)),
    "brandenburg-multilabel": Dataset(
        _SIDES_PX, _SHIPPED_WAYS, lambda side_px, _: brandenburg.land_cover_chips(side_px)
    ),
    "dubai-patches": Dataset((dubai.PATCH_PX,), _SHIPPED_WAYS, lambda side_px, _: dubai.patches(side_px)),
    "dubai-scenes": Dataset(_SCENE_SIDES_PX, _SHIPPED_WAYS, lambda side_px, _: dubai.scenes(side_px)),
    FOLDER: Dataset((), HOW, lambda _, path: folder.own_images(path)),
}
"""Every data set by its name."""


def dataset(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        InputError: There is none.
    """
    if name not in DATASETS:
        raise InputError(f"no data set '{name}'; data sets: {', '.join(DATASETS)}")
    return DATASETS[name]


def load_imagery(selection: Selection, num_satellites: int, seed: int) -> Imagery:
    """Read and deal out the images of a selection; raises what `Dataset.load` does."""
    return dataset(selection.dataset).load(selection, num_satellites, seed)


def holdings(selection: Selection, num_satellites: int, seed: int) -> Holdings:
    """What each satellite would hold, without reading pixels; raises what `Dataset.load` does."""
    return dataset(selection.dataset).count(selection, num_satellites, seed)

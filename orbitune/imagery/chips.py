"""Square chips of a scene: where they lie, what they show, which are kept for testing, and their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError
from orbitune.imagery.scene import BANDS, LandUse, Scene

CLASSES = ("farm", "forest", "meadow", "residential", "water")
"""The five land uses that win most chips of the Brandenburg scene: of 32 px, 447, 204, 393, 123 and 39 in all of it.
Scrub, wetland and grass win 34, 22 and 19, too few for many satellites, so their chips are left out."""

MIN_LABELLED_SHARE = 0.5
"""A chip counts when the land use of half of its pixels is known, so that its label is that of what it mostly shows.
A fifth would give 1.7 times the chips, but on them a linear probe of the real model reaches 0.57 instead of 0.77."""

BLOCK_PX = 128
"""Side of the blocks that are wholly for training or wholly for testing: 1.28 km, four chips of 32 px."""

TEST_EVERY = 5
"""One block in five is for testing, on a knight's-move lattice, so that test blocks never touch and lie everywhere."""

TEST_OFFSET = 2
"""Of the five places the lattice can take, the one where the rarest class has most test chips (15 of 32 px)."""

COVERS = (*CLASSES, "scrub", "wetland")
"""Land uses that a chip is said to show or not, several at once; grass is on too few test chips, 14 of 32 px."""

MIN_COVER_SHARE = 0.1
"""A chip shows a land use that covers a tenth of it: what the authors of SEN12MS take for their multi-label chips, also
of 10 m pixels (--threshold 0.1 in the README.md of github.com/schmitt-muc/SEN12MS; doi
10.5194/isprs-annals-V-2-2021-101-2021). A fifth would leave scrub with 2 test chips; a tenth leaves each class 19."""


@dataclass(frozen=True, eq=False)
class Chips:
    """Chips of a scene: those for training, then those for testing, then those without label.

    Attributes:
        chip_px: Side in pixels of 10 m.
        corners: Row and column [n, 2] of the upper left pixels.
        classes: Class of each chip [n], index into `CLASSES`; or the most frequent of `COVERS`; -1 without label.
        covers: Whether a chip shows each of `COVERS` [n, 7], 0 or 1.
        num_train: Chips before this one are for training; they share no pixel with the others.
        num_labelled: Chips from num_train up to this one are for testing, the rest has no label.
    """

    chip_px: int
    corners: NDArray[np.int64]
    classes: NDArray[np.int64]
    covers: NDArray[np.float32]
    num_train: int
    num_labelled: int


def find_chips(land_use: LandUse, chip_px: int, names: tuple[str, ...] = CLASSES) -> Chips:
    """All usable chips of a scene.

    Chips start every half chip, so neighbours share pixels. A labelled chip is for testing when it lies wholly in a
    test block and for training when it touches none. Chips without label are kept where they lie in a test block: the
    ground owns these blocks and may look at them.

    Args:
        land_use: The labels of the scene.
        chip_px: Side of a chip in pixels.
        names: `CLASSES`, for chips with one label: those that mostly show one of them; or `COVERS`, for chips with
            several: all of which enough is known, whatever they show.

    Raises:
        InputError: The scene lacks one of the names.
    """
    missing = set(names) - set(land_use.class_names)
    if missing:
        raise InputError(f"the scene has no class {sorted(missing)}; its classes: {', '.join(land_use.class_names)}")
    corners = _corners(land_use.raster.shape, chip_px)
    counts_px = _counts_px(land_use, corners, chip_px)
    named_px = counts_px[[land_use.class_names.index(name) - 1 for name in names]]
    labelled = _known(counts_px, chip_px)
    classes = np.where(labelled, named_px.argmax(axis=0), -1)
    if names == CLASSES:
        classes = _majority(land_use, counts_px, labelled)
        labelled = classes >= 0
    held_out_px = _window_sum(held_out_mask(land_use.raster.shape), corners, chip_px)
    chosen, num_train, num_labelled = _parts(labelled, held_out_px, chip_px)
    covers = (named_px >= MIN_COVER_SHARE * chip_px**2).T.astype(np.float32)
    return Chips(chip_px, corners[chosen], classes[chosen], covers[chosen], num_train, num_labelled)


def _parts(
    labelled: NDArray[np.bool_], held_out_px: NDArray[np.int64], chip_px: int
) -> tuple[NDArray[np.int64], int, int]:
    """Chips for training, testing and the ground, one after the other; where the second and the third begin."""
    held_out = held_out_px == chip_px**2
    train = np.flatnonzero(labelled & (held_out_px == 0))
    test = np.flatnonzero(labelled & held_out)
    chosen = np.concatenate([train, test, np.flatnonzero(~labelled & held_out)])
    return chosen, len(train), len(train) + len(test)


def held_out_mask(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """True where a pixel belongs to a test block, [rows, columns]."""
    row, column = (np.arange(size) // BLOCK_PX for size in shape)
    mask: NDArray[np.bool_] = (row[:, None] + 2 * column + TEST_OFFSET) % TEST_EVERY == 0
    return mask


def _corners(shape: tuple[int, ...], chip_px: int) -> NDArray[np.int64]:
    """Upper left pixels [n, 2] of the chips that fit into a raster, one every half chip, row by row."""
    row, column = (np.arange(0, size - chip_px + 1, chip_px // 2) for size in shape)
    return np.stack(np.meshgrid(row, column, indexing="ij"), axis=-1).reshape(-1, 2)


def _window_sum(values: NDArray[np.bool_], corners: NDArray[np.int64], chip_px: int) -> NDArray[np.int64]:
    """Number of true pixels in each chip [n], from one table of running sums."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1), dtype=np.int64)
    table[1:, 1:] = values.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    top, left = corners.T
    bottom, right = top + chip_px, left + chip_px
    total: NDArray[np.int64] = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return total


def _counts_px(land_use: LandUse, corners: NDArray[np.int64], chip_px: int) -> NDArray[np.int64]:
    """Pixels of each known land use in each chip, [land uses, n]."""
    known = range(1, len(land_use.class_names))
    return np.stack([_window_sum(land_use.raster == number, corners, chip_px) for number in known])


def _known(counts_px: NDArray[np.int64], chip_px: int) -> NDArray[np.bool_]:
    """Whether enough of each chip is known."""
    enough: NDArray[np.bool_] = counts_px.sum(axis=0) >= MIN_LABELLED_SHARE * chip_px**2
    return enough


def _majority(land_use: LandUse, counts_px: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Most frequent land use of each chip [n] as an index into `CLASSES`; -1 where too little of it is known, or where
    a class that we leave out is more frequent than ours. A tie goes to the class listed first in the scene."""
    ours = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in land_use.class_names[1:]])
    return np.where(known, ours[counts_px.argmax(axis=0)], -1)


def cut_images(scene: Scene, chips: Chips) -> NDArray[np.float32]:
    """Pixels [n, 10, P, P] of the chips as stored: digital numbers, reflectance x 10000, bands as in `BANDS`."""
    images = np.empty((len(chips.corners), len(BANDS), chips.chip_px, chips.chip_px), dtype=np.float32)
    for image, (row, column) in zip(images, chips.corners, strict=True):
        image[:] = scene.bands[:, row : row + chips.chip_px, column : column + chips.chip_px]
    return images

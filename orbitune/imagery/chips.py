"""Square chips of a scene: where they lie, what they show, which are kept for testing, and their normalised pixels."""

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

CHANNEL_MEAN_STD = {
    "B02": (1395.3408730676722, 917.7041440370853),
    "B03": (1338.4026921784578, 913.2988423581528),
    "B04": (1343.09883810357, 1092.678723527555),
    "B05": (1543.8607982512297, 1047.2206083460424),
    "B06": (2186.2022069512263, 1048.0101611156767),
    "B07": (2525.0932853316694, 1143.6903026819996),
    "B08": (2410.3377187373408, 1098.979177731649),
    "B8A": (2750.2854646886753, 1204.472755085893),
    "B11": (2234.911100061487, 1145.9774063078878),
    "B12": (1474.5311266077113, 980.2429840007796),
    "NDVI": (0.2892116502999044, 0.2720939024500081),
}
"""Mean and standard deviation of each channel over the pre-training set of Galileo, which fix its input scale
(config/normalization.json of github.com/nasaharvest/galileo)."""

BYTES_PER_VALUE = 2
"""Sentinel-2 level 1C pixels are stored and sent as uint16."""


@dataclass(frozen=True, eq=False)
class Chips:
    """Chips of a scene: those for training, then those for testing, then those without label.

    Attributes:
        chip_px: Side in pixels of 10 m.
        corners: Row and column [n, 2] of the upper left pixels.
        labels: Class of each chip [n], index into `CLASSES`; -1 without label.
        num_train: Chips before this one are for training; they share no pixel with the others.
        num_labelled: Chips from num_train up to this one are for testing, the rest has no label.
    """

    chip_px: int
    corners: NDArray[np.int64]
    labels: NDArray[np.int64]
    num_train: int
    num_labelled: int


def find_chips(land_use: LandUse, chip_px: int) -> Chips:
    """All usable chips of a scene.

    Chips start every half chip, so neighbours share pixels. A labelled chip is for testing when it lies wholly in a
    test block and for training when it touches none. Chips without label are kept where they lie in a test block: the
    ground owns these blocks and may look at them.

    Args:
        land_use: The labels of the scene.
        chip_px: Side of a chip in pixels.

    Raises:
        InputError: The scene lacks one of `CLASSES`.
    """
    missing = set(CLASSES) - set(land_use.class_names)
    if missing:
        raise InputError(f"the scene has no class {sorted(missing)}; its classes: {', '.join(land_use.class_names)}")
    corners = _corners(land_use.raster.shape, chip_px)
    labels = majority_class(land_use, corners, chip_px)
    held_out_px = _window_sum(held_out_mask(land_use.raster.shape), corners, chip_px)
    held_out, labelled = held_out_px == chip_px**2, labels >= 0
    train = np.flatnonzero(labelled & (held_out_px == 0))
    test = np.flatnonzero(labelled & held_out)
    chosen = np.concatenate([train, test, np.flatnonzero(~labelled & held_out)])
    return Chips(chip_px, corners[chosen], labels[chosen], len(train), len(train) + len(test))


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


def majority_class(land_use: LandUse, corners: NDArray[np.int64], chip_px: int) -> NDArray[np.int64]:
    """Most frequent land use of each chip [n] as an index into `CLASSES`; -1 where too little of it is known, or where
    a class that we leave out is more frequent than ours. A tie goes to the class listed first in the scene."""
    known = range(1, len(land_use.class_names))
    counts = np.stack([_window_sum(land_use.raster == number, corners, chip_px) for number in known])
    ours = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in land_use.class_names[1:]])
    enough = counts.sum(axis=0) >= MIN_LABELLED_SHARE * chip_px**2
    return np.where(enough, ours[counts.argmax(axis=0)], -1)


def cut_images(scene: Scene, chips: Chips) -> NDArray[np.float32]:
    """Normalised pixels [n, 11, P, P] of the chips: x' = (x - (mean - 2 std)) / (4 std) per channel, NDVI last."""
    images = np.empty((len(chips.corners), len(BANDS) + 1, chips.chip_px, chips.chip_px), dtype=np.float32)
    normalised = _channels(scene)
    for image, (row, column) in zip(images, chips.corners, strict=True):
        image[:] = normalised[:, row : row + chips.chip_px, column : column + chips.chip_px]
    return images


def _channels(scene: Scene) -> NDArray[np.float32]:
    """Normalised bands and NDVI = (B08 - B04) / (B08 + B04) of the whole scene, [11, rows, columns]."""
    reflectance = scene.bands.astype(np.float64)
    near_infrared, red = reflectance[BANDS.index("B08")], reflectance[BANDS.index("B04")]
    total = near_infrared + red
    ndvi = np.divide(near_infrared - red, total, out=np.zeros_like(total), where=total > 0)
    mean, std = np.array([CHANNEL_MEAN_STD[name] for name in (*BANDS, "NDVI")]).T[:, :, None, None]
    channels = np.concatenate([reflectance, ndvi[None]])
    normalised: NDArray[np.float64] = (channels - (mean - 2 * std)) / (4 * std)
    return normalised.astype(np.float32)


def raw_bytes(chip_px: int) -> float:
    """Bytes of one chip as a satellite stores and would downlink it: ten bands of uint16, no NDVI."""
    return float(len(BANDS) * chip_px**2 * BYTES_PER_VALUE)

"""Data sets cut from the shipped Sentinel-2 scene of Brandenburg."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from orbitune.imagery.assign import Traits
from orbitune.imagery.chips import CLASSES, COVERS, Chips, cut_images, find_chips
from orbitune.imagery.listing import CLASSIFICATION, MULTILABEL, Listing, Pixels
from orbitune.imagery.scene import BANDS, load_land_use, load_scene, scene_path

SCENE = "brandenburg"

FULL_SCALE = 10_000.0
"""Digital number of reflectance 1: QUANTIFICATION_VALUE of level 1C (ESA, Sentinel-2 Products Specification)."""

VALUE_BYTES = 2
"""Sentinel-2 level 1C pixels are stored and sent as uint16."""


def land_use_chips(chip_px: int) -> Listing:
    """Chips that mostly show one land use, which is their class."""
    chips = find_chips(load_land_use(scene_path(SCENE)), chip_px)
    return _listing(CLASSIFICATION, CLASSES, chips, chips.classes)


def land_cover_chips(chip_px: int) -> Listing:
    """Chips with every land use that covers a tenth of them; what of a chip is unknown counts as not covered."""
    chips = find_chips(load_land_use(scene_path(SCENE)), chip_px, COVERS)
    return _listing(MULTILABEL, COVERS, chips, chips.covers)


def _listing(task: str, names: tuple[str, ...], chips: Chips, labels: NDArray[np.generic]) -> Listing:
    count = chips.num_train
    traits = Traits(count, lambda: chips.classes[:count], chips.corners[:count])
    num_test = chips.num_labelled - count
    read = partial(_read, chips, labels)
    return Listing(task, names, BANDS, FULL_SCALE, VALUE_BYTES, chips.chip_px, traits, num_test, read)


def _read(chips: Chips, labels: NDArray[np.generic]) -> Pixels:
    return cut_images(load_scene(scene_path(SCENE)), chips), labels

"""Chips of the real scene, compared with slow and obvious counts."""

from __future__ import annotations

import numpy as np
import pytest

from orbitune.errors import InputError
from orbitune.imagery.chips import CLASSES, Chips, cut_images, find_chips
from orbitune.imagery.scene import LandUse, Scene, load_scene, scene_path

MEAN_B04, STD_B04 = 1343.09883810357, 1092.678723527555
MEAN_NDVI, STD_NDVI = 0.2892116502999044, 0.2720939024500081


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(scene_path("brandenburg"))


@pytest.fixture(scope="module")
def chips(scene: Scene) -> Chips:
    return find_chips(scene.land_use, 32)


@pytest.mark.parametrize("chip_px", [16, 24, 40, 64])
def test_no_pixel_is_both_for_training_and_for_testing(scene: Scene, chip_px: int) -> None:
    chips = find_chips(scene.land_use, chip_px)
    seen = np.zeros((2, *scene.land_use.raster.shape), dtype=bool)
    for number, (row, column) in enumerate(chips.corners):
        seen[int(number >= chips.num_train), row : row + chip_px, column : column + chip_px] = True
    assert seen.any(axis=(1, 2)).all() and not (seen[0] & seen[1]).any()


def test_labels_are_the_most_frequent_known_land_use(scene: Scene, chips: Chips) -> None:
    for (row, column), label in zip(chips.corners[::7], chips.labels[::7], strict=True):
        pixels = scene.land_use.raster[row : row + 32, column : column + 32]
        counts = np.bincount(pixels.ravel(), minlength=9)
        most = scene.land_use.class_names[1 + int(counts[1:].argmax())]
        if label >= 0:
            assert most == CLASSES[label] and counts[1:].sum() >= 512
        else:
            assert most not in CLASSES or counts[1:].sum() < 512


def test_every_class_is_learned_and_tested(chips: Chips) -> None:
    parts = np.split(chips.labels, [chips.num_train, chips.num_labelled])
    assert all(np.bincount(part, minlength=5).min() >= 15 for part in parts[:2])
    assert (parts[2] == -1).all() and len(parts[2]) > 100


def test_images_are_normalised_bands_and_ndvi(scene: Scene, chips: Chips) -> None:
    images = cut_images(scene, chips)
    assert images.shape == (len(chips.corners), 11, 32, 32) and images.dtype == np.float32
    row, column = chips.corners[100]
    red, near_infrared = (scene.bands[band, row + 5, column + 9].astype(float) for band in (2, 6))
    ndvi = (near_infrared - red) / (near_infrared + red)
    assert images[100, 2, 5, 9] == pytest.approx((red - MEAN_B04 + 2 * STD_B04) / (4 * STD_B04), rel=1e-6)
    assert images[100, 10, 5, 9] == pytest.approx((ndvi - MEAN_NDVI + 2 * STD_NDVI) / (4 * STD_NDVI), rel=1e-6)


def test_black_pixels_have_no_ndvi_but_no_error_either() -> None:
    dark = Scene(np.zeros((10, 32, 32), np.uint16), LandUse(np.ones((32, 32), np.uint8), ("none", "farm")))
    images = cut_images(dark, Chips(32, np.zeros((1, 2), np.int64), np.zeros(1, np.int64), 1, 1))
    assert np.isfinite(images).all()


def test_scene_without_our_classes_is_refused() -> None:
    with pytest.raises(InputError, match=r"no class.*'forest'"):
        find_chips(LandUse(np.zeros((64, 64), np.uint8), ("none", "farm")), 32)

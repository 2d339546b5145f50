"""Chips of the real scene, compared with slow and obvious counts."""

from __future__ import annotations

import numpy as np
import pytest

from orbitune.errors import InputError
from orbitune.imagery.chips import CLASSES, COVERS, Chips, cut_images, find_chips
from orbitune.imagery.scene import LandUse, Scene, load_scene, scene_path


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(scene_path("brandenburg"))


@pytest.fixture(scope="module")
def chips(scene: Scene) -> Chips:
    return find_chips(scene.land_use, 32)


@pytest.mark.parametrize("names", [CLASSES, COVERS])
@pytest.mark.parametrize("chip_px", [16, 24, 40, 64])
def test_no_pixel_is_both_for_training_and_for_testing(scene: Scene, chip_px: int, names: tuple[str, ...]) -> None:
    chips = find_chips(scene.land_use, chip_px, names)
    seen = np.zeros((2, *scene.land_use.raster.shape), dtype=bool)
    for number, (row, column) in enumerate(chips.corners):
        seen[int(number >= chips.num_train), row : row + chip_px, column : column + chip_px] = True
    assert seen.any(axis=(1, 2)).all() and not (seen[0] & seen[1]).any()


def test_labels_are_the_most_frequent_known_land_use(scene: Scene, chips: Chips) -> None:
    for (row, column), label in zip(chips.corners[::7], chips.classes[::7], strict=True):
        pixels = scene.land_use.raster[row : row + 32, column : column + 32]
        counts = np.bincount(pixels.ravel(), minlength=9)
        most = scene.land_use.class_names[1 + int(counts[1:].argmax())]
        if label >= 0:
            assert most == CLASSES[label] and counts[1:].sum() >= 512
        else:
            assert most not in CLASSES or counts[1:].sum() < 512


def test_every_class_is_learned_and_tested(chips: Chips) -> None:
    parts = np.split(chips.classes, [chips.num_train, chips.num_labelled])
    assert all(np.bincount(part, minlength=5).min() >= 15 for part in parts[:2])
    assert (parts[2] == -1).all() and len(parts[2]) > 100


def test_a_chip_shows_what_covers_a_tenth_of_it(scene: Scene) -> None:
    chips = find_chips(scene.land_use, 32, COVERS)
    index = {name: number for number, name in enumerate(scene.land_use.class_names)}
    for (row, column), covers in zip(chips.corners[::11], chips.covers[::11], strict=True):
        counts = np.bincount(scene.land_use.raster[row : row + 32, column : column + 32].ravel(), minlength=9)
        assert covers.tolist() == [float(counts[index[name]] > 102.3) for name in COVERS]


def test_several_labels_are_learned_and_tested(scene: Scene) -> None:
    chips = find_chips(scene.land_use, 32, COVERS)
    test = slice(chips.num_train, chips.num_labelled)
    assert chips.covers[: chips.num_train].sum(axis=0).min() >= 70 and chips.covers[test].sum(axis=0).min() >= 19
    assert 1.5 < chips.covers[: chips.num_labelled].sum(axis=1).mean() < 2.0
    one_at_most = find_chips(scene.land_use, 32)
    assert chips.num_labelled > one_at_most.num_labelled


def test_images_are_the_stored_numbers(scene: Scene, chips: Chips) -> None:
    images = cut_images(scene, chips)
    assert images.shape == (len(chips.corners), 10, 32, 32) and images.dtype == np.float32
    for number in (0, 100, len(images) - 1):
        row, column = chips.corners[number]
        assert np.array_equal(images[number], scene.bands[:, row : row + 32, column : column + 32])


def test_scene_without_our_classes_is_refused() -> None:
    for names in (CLASSES, COVERS):
        with pytest.raises(InputError, match=r"no class.*'forest'"):
            find_chips(LandUse(np.zeros((64, 64), np.uint8), ("none", "farm")), 32, names)

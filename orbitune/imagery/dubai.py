"""The shipped aerial images of Dubai: chips of one class, and scenes whose every pixel has one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError
from orbitune.imagery.assign import Traits
from orbitune.imagery.listing import (
    CLASSIFICATION,
    RGB,
    SEGMENTATION,
    Listing,
    Pixels,
    most_frequent,
    train_test_ground,
)
from orbitune.imagery.pictures import PictureError, decode
from orbitune.imagery.scene import read_arrays

FULL_SCALE = 255.0
VALUE_BYTES = 1
"""A raw image is assumed to be stored and sent as uint8, three channels, uncompressed."""

PATCHES = "dubai_patches"
PATCH_PX = 64
PATCH_CLASSES = ("building", "land", "road", "vegetation", "water")

SCENES = "dubai_scenes"
SCENE_CLASSES = PATCH_CLASSES
"""Of the source, in its order; what it leaves unlabeled is -1 here."""

TEST_TILES = (3, 8)
"""Two of eight tiles, 585 of 2,799 chips of 64 px, wholly for testing, so that training shares no tile with it (our
choice: the pair of tiles of whose pixels the rarest class has most, 10 %)."""

PART_ROWS = 1 << 12
"""Rows set aside for each scene where positions are made of tile, part and row: more than any scene has."""


def patches(chip_px: int) -> Listing:
    """2,000 chips of 64 px with one class each.

    Raises:
        InputError: A file is missing or damaged.
    """
    rows = _patch_rows()
    order, num_train, num_test = train_test_ground(np.array([row["split"] == "train" for row in rows]))
    classes = np.array([PATCH_CLASSES.index(row["class"]) for row in rows])[order]
    places = np.array([[int(row[key]) for key in ("tile", "part", "y", "x")] for row in rows])[order]
    traits = Traits(num_train, lambda: classes[:num_train], _on_one_strip(places[:num_train]))
    read = partial(_read_patches, order, classes)
    return Listing(CLASSIFICATION, PATCH_CLASSES, RGB, FULL_SCALE, VALUE_BYTES, chip_px, traits, num_test, read)


def _patch_rows() -> list[dict[str, str]]:
    path = _folder(PATCHES) / "labels.csv"
    try:
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); reinstall the package") from error


def _read_patches(order: NDArray[np.int64], classes: NDArray[np.int64]) -> Pixels:
    sheet = _picture(PATCHES, "sheet.jpg")
    rows, columns = (size // PATCH_PX for size in sheet.shape[1:])
    chips = (
        sheet.reshape(3, rows, PATCH_PX, columns, PATCH_PX).transpose(1, 3, 0, 2, 4).reshape(-1, 3, *2 * (PATCH_PX,))
    )
    if len(chips) != len(order):
        raise InputError(f"{PATCHES}: the sheet has {len(chips)} chips, the table {len(order)}; reinstall the package")
    return chips[order].astype(np.float32), classes


def scenes(chip_px: int) -> Listing:
    """Chips side by side out of 72 scenes, with the class of every pixel; what is left at the edges is not used.

    Raises:
        InputError: A file is missing or damaged.
    """
    masks = _masks()
    places = np.array([place for name, mask in masks.items() for place in _grid(name, mask, chip_px)])
    order, num_train, num_test = train_test_ground(~np.isin(places[:, 0], TEST_TILES))
    places = places[order]
    labels = _cut_masks(masks, places, chip_px)
    traits = Traits(num_train, lambda: most_frequent(labels[:num_train]), _on_one_strip(places[:num_train]))
    read = partial(_read_scenes, places, labels)
    return Listing(SEGMENTATION, SCENE_CLASSES, RGB, FULL_SCALE, VALUE_BYTES, chip_px, traits, num_test, read)


def _masks() -> dict[str, NDArray[np.uint8]]:
    """Mask of each scene by its name; 0 is unlabeled, then come the classes."""
    arrays = read_arrays(_folder(SCENES) / "masks.npz")
    names = tuple(map(str, arrays.pop("classes", ())))
    if names[1:] != SCENE_CLASSES:
        raise InputError(f"{SCENES}/masks.npz: its classes are {names}; reinstall the package")
    return arrays


def _grid(name: str, mask: NDArray[np.uint8], chip_px: int) -> Iterator[tuple[int, int, int, int]]:
    """Tile, part, row and column of the chips of a scene."""
    tile, part = int(name[4]), int(name[-2:])
    for row in range(0, mask.shape[0] - chip_px + 1, chip_px):
        for column in range(0, mask.shape[1] - chip_px + 1, chip_px):
            yield tile, part, row, column


def _cut_masks(masks: dict[str, NDArray[np.uint8]], places: NDArray[np.int64], chip_px: int) -> NDArray[np.int8]:
    """Class of each pixel [n, P, P] as an index into `SCENE_CLASSES`, -1 where it is unknown."""
    labels = np.empty((len(places), chip_px, chip_px), dtype=np.int8)
    for label, (tile, part, row, column) in zip(labels, places, strict=True):
        label[:] = masks[_scene_name(tile, part)][row : row + chip_px, column : column + chip_px]
    return labels - np.int8(1)


def _scene_name(tile: int, part: int) -> str:
    return f"tile{tile}_part{part:02d}"


def _read_scenes(places: NDArray[np.int64], labels: NDArray[np.int8]) -> Pixels:
    images = np.empty((len(places), 3, *labels.shape[1:]), dtype=np.float32)
    chip_px = labels.shape[-1]
    for tile, part in np.unique(places[:, :2], axis=0):
        whole = _picture(SCENES, f"{_scene_name(tile, part)}.jpg")
        for number in np.flatnonzero((places[:, :2] == (tile, part)).all(axis=1)):
            row, column = places[number, 2:]
            images[number] = whole[:, row : row + chip_px, column : column + chip_px]
    return images, labels.astype(np.int64)


def _on_one_strip(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row and column [n, 2] as if all scenes lay below each other, tile by tile, for it is not known where they lay:
    so satellites get neighbouring parts of one tile, or of two."""
    tile, part, row, column = places.T
    return np.stack([(tile * 10 + part) * PART_ROWS + row, column], axis=1)


def _folder(name: str) -> Traversable:
    return resources.files("orbitune") / "data" / name


def _picture(folder: str, name: str) -> NDArray[np.uint8]:
    """A shipped image [3, rows, columns]."""
    path = _folder(folder) / name
    try:
        return decode(path.read_bytes())
    except (OSError, PictureError) as error:
        raise InputError(f"{path}: cannot be read ({error}); reinstall the package") from error

"""A labelled Sentinel-2 scene as it lies in a file."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Order of the bands in a scene file and in a chip."""

SCENES = ("brandenburg",)
"""Scenes that come with the package."""


@dataclass(frozen=True, eq=False)
class LandUse:
    """What is known of the ground.

    Attributes:
        raster: Class index of each pixel [rows, columns] uint8 into `class_names`; 0 is unknown.
        class_names: Names of the classes, that of 0 first.
    """

    raster: NDArray[np.uint8]
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """One acquisition and its land use: `bands` [10, rows, columns] uint16, reflectance x 10000, as in `BANDS`."""

    bands: NDArray[np.uint16]
    land_use: LandUse


def scene_path(name: str) -> Traversable:
    """Where the shipped scene of that name lies.

    Raises:
        InputError: There is no such scene.
    """
    if name not in SCENES:
        raise InputError(f"no scene '{name}'; shipped scenes: {', '.join(SCENES)}")
    return resources.files("orbitune") / "data" / name / "scene.npz"


def load_scene(path: Traversable) -> Scene:
    """Read a whole scene.

    Raises:
        InputError: The file is missing, truncated or not a scene, or image and labels differ in size.
    """
    bands, order, raster, classes = _read_arrays(path, ("x", "bands", "label", "classes"))
    if tuple(map(str, order)) != BANDS or bands.dtype != np.uint16 or len(bands) != len(BANDS):
        raise InputError(
            f"scene {path}: holds {len(bands)} bands {list(order)} as {bands.dtype}; needed: {BANDS}, uint16"
        )
    if bands.shape[1:] != raster.shape:
        raise InputError(
            f"scene {path}: the image has {bands.shape[1]} x {bands.shape[2]} pixels and the labels have "
            f"{' x '.join(map(str, raster.shape))}; both must cover the same pixels, so restore the file"
        )
    return Scene(bands, LandUse(raster, tuple(map(str, classes))))


def load_land_use(path: Traversable) -> LandUse:
    """Read only the labels of a scene, a few hundredths of the file: enough to count chips for planning."""
    raster, classes = _read_arrays(path, ("label", "classes"))
    return LandUse(raster, tuple(map(str, classes)))


def _read_arrays(path: Traversable, keys: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays of a scene file.

    Raises:
        InputError: The file or one of the arrays cannot be read.
    """
    arrays = read_arrays(path, keys)
    return [arrays[key] for key in keys]


def read_arrays(path: Traversable, keys: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """Arrays of a shipped npz file by their names, never unpickled: those named, or all.

    Raises:
        InputError: The file or one of the arrays cannot be read.
    """
    again = "restore it from the Orbitune distribution (reinstall the package)"
    try:
        with path.open("rb") as file, zipfile.ZipFile(file):  # an npz file is a zip file; NumPy would guess otherwise
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in keys or arrays.files}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {again}") from error
    except KeyError as error:
        raise InputError(f"{path}: an array is missing ({error.args[0]}); {again}") from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise InputError(f"{path}: truncated or not an npz file ({error}); {again}") from error

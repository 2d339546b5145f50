"""Image files: their form, known from the header, and their pixels. PNG and JPEG are read by Pillow, GeoTIFF by
rasterio; neither is needed before the first image file is."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import MissingExtra
from orbitune.imagery.listing import RGB

TIFF = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF)

FULL_SCALE = {"uint8": 255.0, "uint16": 10_000.0, "float32": 1.0}
"""Stored value of a full signal by type: the most of a byte; the digital number of reflectance 1 of Sentinel-2; 1."""

MODES = {"RGB": RGB, "L": ("grey",)}
"""Channels by Pillow's name for the kind of pixels. Others (palette, alpha, 16 bit) have no one meaning as channels."""


class PictureError(ValueError):
    """An image file cannot be read, or is of a kind that we do not read. The message does not name the file."""


@dataclass(frozen=True)
class Form:
    """What all images of a data set have in common: size in pixels, names of the channels, type of a value."""

    height: int
    width: int
    channels: tuple[str, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels, {len(self.channels)} channels of {self.dtype}"


def look(path: Path) -> Form:
    """The form of an image file, from its header alone.

    Raises:
        PictureError: It cannot be read or is of another kind.
        MissingExtra: The library that reads it is not installed.
    """
    if path.suffix.lower() in TIFF:
        with _raster(path) as raster:
            return _raster_form(raster)
    with _picture(path) as picture:
        return Form(picture.height, picture.width, _channels(picture.mode), "uint8")


def read(path: Path) -> NDArray[np.generic]:
    """All pixels of an image file, [channels, rows, columns]; raises what `look` does."""
    if path.suffix.lower() in TIFF:
        with _raster(path) as raster:
            _raster_form(raster)
            pixels: NDArray[np.generic] = raster.read()
            return pixels
    with _picture(path) as picture:
        return _pixels(picture)


def decode(content: bytes) -> NDArray[np.uint8]:
    """Pixels [channels, rows, columns] of a PNG or JPEG file in memory; raises what `look` does."""
    with _picture(io.BytesIO(content)) as picture:
        return _pixels(picture)


def _channels(mode: str) -> tuple[str, ...]:
    if mode not in MODES:
        raise PictureError(f"its pixels are of mode {mode}; allowed: RGB, and L (8-bit grey); convert it")
    return MODES[mode]


def _pixels(picture: Any) -> NDArray[np.uint8]:
    _channels(picture.mode)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@contextmanager
def _picture(source: Path | io.BytesIO) -> Iterator[Any]:
    image = _library("PIL.Image", "Pillow", "train", "PNG and JPEG files")
    try:
        with image.open(source) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:  # as Pillow's plugins raise them
        raise error if isinstance(error, PictureError) else PictureError(f"cannot be read ({error})") from error


@contextmanager
def _raster(path: Path) -> Iterator[Any]:
    rasterio = _library("rasterio", "rasterio", "geotiff", "GeoTIFF files")
    try:
        with warnings.catch_warnings():
            # Where an image lies comes from labels.csv, so a TIFF need not say it.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as raster:
                yield raster
    except rasterio.errors.RasterioError as error:
        raise PictureError(f"cannot be read ({error})") from error


def _raster_form(raster: Any) -> Form:
    """Size, bands by their descriptions where all have one, and the type that all bands share."""
    types = sorted(set(raster.dtypes))
    if len(types) > 1 or types[0] not in FULL_SCALE:
        raise PictureError(f"its values are {', '.join(types)}; allowed: one of {', '.join(FULL_SCALE)}")
    names = RGB if raster.count == len(RGB) else tuple(f"band{number}" for number in range(1, raster.count + 1))
    if all(raster.descriptions):
        names = tuple(raster.descriptions)
    return Form(raster.height, raster.width, names, types[0])


def _library(module: str, package: str, extra: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{what} are read by {package}, which is not installed; pip install 'orbitune[{extra}]'"
        ) from error

"""From images as they are stored to what a model reads: channels, scale, size, normalisation.

A channel is known by its name: a Sentinel-2 band ("B02" ... "B12"), a colour of a picture ("red", "green", "blue") or
the vegetation index "NDVI". Between pictures and bands the scale of Sentinel-2's own true-colour image is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from orbitune.errors import InputError

COLOUR_BANDS = {"red": "B04", "green": "B03", "blue": "B02"}
"""Sentinel-2 bands at 665, 560 and 490 nm, from which ESA makes its true-colour image."""

TRUE_COLOUR_REFLECTANCE = 0.3558
"""Reflectance at which the true-colour image of Sentinel-2 is fully bright: digital number 3558 becomes 255
(Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, true-colour image)."""

CHUNK = 64
"""Images prepared, or looked at, at once: ten bands of 128 px in float64 are 84 MB. Our choice."""


@dataclass(frozen=True)
class InputSpec:
    """What a model reads: value = (stored x `full_scale` / stored full scale - `centre`) / `spread`.

    Attributes:
        channels: Names, in the order the model expects.
        size_px: Side of the square images.
        full_scale: What a fully bright pixel is before normalisation: 1 for most, 10000 for digital numbers of
            Sentinel-2. NDVI has no scale.
        centre, spread: One each per channel.
    """

    channels: tuple[str, ...]
    size_px: int
    full_scale: float
    centre: tuple[float, ...]
    spread: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.channels) == len(self.centre) == len(self.spread) > 0
        assert self.size_px > 0 and self.full_scale > 0 and min(self.spread) > 0

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """Shape of one prepared image."""
        return len(self.channels), self.size_px, self.size_px


def prepare(images: Tensor, channels: tuple[str, ...], full_scale: float, wanted: InputSpec) -> Tensor:
    """Choose and derive channels, scale, resize, normalise; computed in float64, given back as float32.

    Resizing is bilinear and, where the image shrinks, weighted over all pixels it covers (`antialias`).

    Args:
        images: Stored values [n, C, H, W], square.
        channels: Names of the C channels.
        full_scale: Stored value of a fully bright pixel: 10000 for Sentinel-2, 255 for pictures.
        wanted: What the model reads.

    Returns:
        Images [n, len(wanted.channels), wanted.size_px, wanted.size_px] on the device of `images`.

    Raises:
        InputError: Wrong number of channels, not square, not finite, or a channel that cannot be had.
    """
    check_images(images, channels)
    check_channels(channels, wanted.channels)
    prepared = images.new_empty((len(images), *wanted.sample_shape), dtype=torch.float32)
    factor = wanted.full_scale / full_scale
    for start in range(0, len(images), CHUNK):
        scaled = images[start : start + CHUNK].double() * factor
        prepared[start : start + CHUNK] = _prepare_chunk(dict(zip(channels, scaled.unbind(1), strict=True)), wanted)
    return prepared


def _prepare_chunk(stored: dict[str, Tensor], wanted: InputSpec) -> Tensor:
    """Channels [m, H, W] by name, in the model's scale, to normalised images."""
    chosen = torch.stack([_channel(stored, name, wanted.full_scale) for name in wanted.channels], dim=1)
    if chosen.shape[-1] != wanted.size_px:
        size = (wanted.size_px, wanted.size_px)
        chosen = F.interpolate(chosen, size, mode="bilinear", antialias=True, align_corners=False)
    centre, spread = (chosen.new_tensor(values)[:, None, None] for values in (wanted.centre, wanted.spread))
    return ((chosen - centre) / spread).float()


def _channel(stored: dict[str, Tensor], name: str, full_scale: float) -> Tensor:
    """One channel: stored as it is, or derived from others."""
    if name in stored:
        return stored[name]
    if name == "NDVI":
        return _ndvi(stored["B08"], stored["B04"])
    bright = TRUE_COLOUR_REFLECTANCE * full_scale
    if name in COLOUR_BANDS:
        return (stored[COLOUR_BANDS[name]] / bright).clamp(0.0, 1.0) * full_scale
    return stored[_colour_of(name)] * (bright / full_scale)


def _ndvi(near_infrared: Tensor, red: Tensor) -> Tensor:
    """(B08 - B04) / (B08 + B04), and 0 where both are dark (Rouse et al. 1974; bands as in ESA's S2 toolbox)."""
    total = near_infrared + red
    return torch.where(total > 0, (near_infrared - red) / torch.where(total > 0, total, 1.0), 0.0)


def _colour_of(band: str) -> str:
    """The colour that shows a band, "" if none does."""
    return next((colour for colour, shown in COLOUR_BANDS.items() if shown == band), "")


def can_have(channels: tuple[str, ...], name: str) -> bool:
    """Whether a channel is stored or can be derived from those that are."""
    if name == "NDVI":
        return name in channels or {"B08", "B04"} <= set(channels)
    return not {name, COLOUR_BANDS.get(name, name), _colour_of(name)}.isdisjoint(channels)


def check_channels(channels: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    """Refuse images without the channels a model reads.

    Raises:
        InputError: Names them.
    """
    absent = [name for name in wanted if not can_have(channels, name)]
    if absent:
        raise InputError(
            f"the model reads {', '.join(wanted)}; the images hold {', '.join(channels)}, from which "
            f"{', '.join(absent)} cannot be had; choose images with these channels or another model"
        )


def check_images(images: Tensor, channels: tuple[str, ...]) -> None:
    """Refuse images that are not what their description says.

    Raises:
        InputError: Says which rule is broken.
    """
    for problem in _problems(images, channels):
        raise InputError(f"{problem}; allowed are square images [n, {len(channels)}, size, size] of finite numbers")


def _problems(images: Tensor, channels: tuple[str, ...]) -> Iterator[str]:
    shape = list(images.shape)
    if images.ndim != 4:
        yield f"images have shape {shape}, not four dimensions"
    elif shape[1] != len(channels):
        yield f"images have {shape[1]} bands but {len(channels)} are named ({', '.join(channels)})"
    elif shape[2] != shape[3] or shape[2] == 0:
        yield f"images are {shape[2]} x {shape[3]} pixels, not square"
    elif not images.isfinite().all():
        yield f"image {int(images.flatten(1).isfinite().all(dim=1).int().argmin())} holds values that are not finite"

"""Prepared images against NumPy and Pillow, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from orbitune.errors import InputError
from orbitune.learn.backbones.galileo import CHANNEL_MEAN_STD, input_spec
from orbitune.learn.inputs import CHUNK, InputSpec, prepare

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
RGB = ("red", "green", "blue")
PLAIN = InputSpec(RGB, 8, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def digital_numbers(num: int, channels: int = 10, side: int = 16) -> NDArray[np.float32]:
    return np.random.default_rng(num).integers(0, 12000, (num, channels, side, side)).astype(np.float32)


def test_galileo_reads_what_its_authors_normalised() -> None:
    """x' = (x - (mean - 2 std)) / (4 std) in float64, rounded once: bit for bit, over more than one chunk."""
    images = digital_numbers(CHUNK + 3)
    images[0, :, 0, 0] = 0.0  # no light at all: NDVI is 0, not a division by zero
    groups = ("S2_RGB", "S2_Red_Edge", "S2_NIR_10m", "S2_NIR_20m", "S2_SWIR", "NDVI")
    found = prepare(torch.from_numpy(images), BANDS, 10000.0, input_spec(16, groups))
    exact = images.astype(np.float64)
    near_infrared, red = exact[:, 6], exact[:, 2]
    total = near_infrared + red
    ndvi = np.divide(near_infrared - red, total, out=np.zeros_like(total), where=total > 0)
    mean, std = np.array([CHANNEL_MEAN_STD[name] for name in (*BANDS, "NDVI")]).T[:, :, None, None]
    expected = (np.concatenate([exact, ndvi[:, None]], axis=1) - (mean - 2 * std)) / (4 * std)
    assert np.array_equal(found.numpy(), expected.astype(np.float32))


def test_true_colour_is_esas() -> None:
    """Digital number 3558 is fully bright; brighter pixels are clipped; and back."""
    numbers = torch.tensor([0.0, 1779.0, 3558.0, 9000.0])
    images = numbers.view(4, 1, 1, 1).expand(4, 3, 8, 8)
    colours = prepare(images, ("B02", "B03", "B04"), 10000.0, PLAIN)
    assert torch.allclose(colours[:, 0, 0, 0], torch.tensor([0.0, 0.5, 1.0, 1.0]))
    bands = replace(PLAIN, channels=("B04", "B03", "B02"), full_scale=10000.0)
    back = prepare(colours * 255, RGB, 255.0, bands)
    assert torch.allclose(back[:, 0, 0, 0], torch.tensor([0.0, 1779.0, 3558.0, 3558.0]))


def test_colours_come_from_their_bands() -> None:
    images = torch.tensor([100.0, 200.0, 300.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    red, green, blue = prepare(images, ("B02", "B03", "B04"), 10000.0, PLAIN)[0, :, 0, 0].tolist()
    assert red > green > blue


@pytest.mark.parametrize(("side", "size"), [(40, 16), (33, 7), (16, 48), (8, 8)])
def test_resizing_is_pillows(side: int, size: int) -> None:
    images = torch.from_numpy(np.random.default_rng(side).uniform(0, 255, (2, 3, side, side)).astype(np.float32))
    found = prepare(images, RGB, 255.0, replace(PLAIN, size_px=size))
    for image, ours in zip(images.numpy(), found.numpy(), strict=True):
        for channel, resized in zip(image, ours, strict=True):
            expected = Image.fromarray(channel).resize((size, size), Image.Resampling.BILINEAR)
            assert np.abs(np.asarray(expected) / 255 - resized).max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(BANDS), seed=st.integers(0, 99))
def test_the_order_of_stored_bands_does_not_matter(order: list[str], seed: int) -> None:
    wanted = input_spec(16, ("S2_RGB", "S2_SWIR", "NDVI"))
    images = digital_numbers(2 + seed % 2)
    shuffled = images[:, [BANDS.index(name) for name in order]]
    first, second = (
        prepare(torch.from_numpy(stored), names, 10000.0, wanted)
        for stored, names in ((images, BANDS), (shuffled, tuple(order)))
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 8), r"shape \[3, 8, 8\], not four dimensions"),
        ((2, 4, 8, 8), "4 bands but 3 are named"),
        ((2, 3, 8, 6), "8 x 6 pixels, not square"),
        ((2, 3, 0, 0), "0 x 0 pixels"),
    ],
)
def test_images_of_another_shape_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(torch.zeros(shape), RGB, 255.0, PLAIN)


def test_the_image_with_broken_pixels_is_named() -> None:
    images = torch.zeros(5, 3, 8, 8)
    images[3, 1, 2, 2] = float("inf")
    with pytest.raises(InputError, match="image 3 holds values that are not finite"):
        prepare(images, RGB, 255.0, PLAIN)


def test_channels_that_cannot_be_had_are_named() -> None:
    with pytest.raises(InputError, match=r"hold red, green, blue, from which B08, NDVI cannot be had"):
        prepare(torch.zeros(1, 3, 8, 8), RGB, 255.0, input_spec(8, ("S2_RGB", "S2_NIR_10m", "NDVI")))

"""PSNR and SSIM against their definitions, place by place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from orbitune.learn.privacy.likeness import BEST_PSNR_DB, psnr_db, ssim


def images(seed: int, side_px: int = 15) -> Tensor:
    return torch.rand(3, 2, side_px, side_px, generator=torch.Generator().manual_seed(seed))


def ssim_by_hand(one: Tensor, other: Tensor, side_px: int) -> float:
    """Wang et al. 2004, equations 13 to 16, one window after the other."""
    offsets = np.arange(side_px) - side_px // 2
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for x, y in zip(one.double().numpy(), other.double().numpy(), strict=True):
        for row in range(x.shape[0] - side_px + 1):
            for column in range(x.shape[1] - side_px + 1):
                here = np.s_[row : row + side_px, column : column + side_px]
                mx, my = (window * x[here]).sum(), (window * y[here]).sum()
                vx, vy = (window * (x[here] - mx) ** 2).sum(), (window * (y[here] - my) ** 2).sum()
                cov = (window * (x[here] - mx) * (y[here] - my)).sum()
                light = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
                found.append(light * (2 * cov + 9e-4) / (vx + vy + 9e-4))
    return float(np.mean(found))


@pytest.mark.parametrize(("image_px", "window_px"), [(15, 11), (8, 7), (5, 5), (2, 1)])
def test_ssim_is_the_published_formula(image_px: int, window_px: int) -> None:
    one, other = images(1, image_px), images(2, image_px)
    expected = [ssim_by_hand(a, b, window_px) for a, b in zip(one, other, strict=True)]
    assert ssim(one, other).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_of_equal_images_is_one_and_it_is_symmetric() -> None:
    one, other = images(3), images(4)
    assert torch.allclose(ssim(one, one), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(ssim(one, other), ssim(other, one))
    assert (ssim(one, other) < 0.5).all()


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.8), (0.0, 1.0), (0.5, 0.5)])
def test_ssim_of_flat_images_compares_their_light(a: float, b: float) -> None:
    expected = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    found = ssim(torch.full((1, 1, 20, 20), a), torch.full((1, 1, 20, 20), b))
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_psnr() -> None:
    """An error of 0.1 everywhere is 20 dB."""
    one = images(5)
    assert psnr_db(one + 0.1, one).tolist() == pytest.approx([20.0] * 3, abs=1e-4)
    assert psnr_db(one, one).tolist() == [BEST_PSNR_DB] * 3
    other = images(6)
    errors = ((one - other).double().numpy() ** 2).mean(axis=(1, 2, 3))
    assert psnr_db(one, other).tolist() == pytest.approx([-10 * math.log10(error) for error in errors])

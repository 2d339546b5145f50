"""How alike two images are: PSNR and SSIM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BEST_PSNR_DB = 120.0
"""Where PSNR ends: a mean squared error of 1e-12, the square of the rounding of numbers up to 1 in fp32."""

WINDOW_PX = 11
WINDOW_STD_PX = 1.5
K1, K2 = 0.01, 0.03
"""Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment", IEEE TIP 13 (2004), section III.C."""


def psnr_db(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image [n]: 10 log10(1 / mean squared error), values 0 to 1 [n, C, H, W]."""
    errors = (images.double() - references.double()).square().flatten(1).mean(dim=1)
    return (-10 * errors.log10()).clamp(max=BEST_PSNR_DB)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of each image [n] (Wang et al. 2004, equation 13), values 0 to 1 [n, C, H, W].

    Mean over channels and over all places of an 11 x 11 Gaussian window that lie inside the image; an image smaller
    than that has a window of its own size, made odd.
    """
    one, other = images.double(), references.double()
    window = _window(min(WINDOW_PX, *images.shape[2:]))
    mean_one, mean_other = _means(one, window), _means(other, window)
    variance_one = _means(one.square(), window) - mean_one.square()
    variance_other = _means(other.square(), window) - mean_other.square()
    covariance = _means(one * other, window) - mean_one * mean_other
    light = (2 * mean_one * mean_other + K1**2) / (mean_one.square() + mean_other.square() + K1**2)
    structure = (2 * covariance + K2**2) / (variance_one + variance_other + K2**2)
    return (light * structure).flatten(1).mean(dim=1)


def _window(largest_px: int) -> Tensor:
    """One side of the separable Gaussian window, of sum 1."""
    side_px = largest_px - (largest_px + 1) % 2
    offsets = torch.arange(side_px, dtype=torch.float64) - side_px // 2
    weights = torch.exp(-offsets.square() / (2 * WINDOW_STD_PX**2))
    return weights / weights.sum()


def _means(images: Tensor, window: Tensor) -> Tensor:
    """Weighted means over the window at each place [n, C, H', W']."""
    channels = images.shape[1]
    side = window.to(images.device).expand(channels, 1, -1)
    rows = F.conv2d(images, side[:, :, :, None], groups=channels)
    return F.conv2d(rows, side[:, :, None, :], groups=channels)

"""The pseudo-inverse against NumPy's, and where a front is no longer linear."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orbitune.learn.privacy.inversion import best_steps, invert, is_affine


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def patches(width: int) -> nn.Module:
    """A patch embedding of 2 x 4 x 4 = 32 values to `width`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        layer = nn.Conv2d(2, width, 4, 4).double()
    return layer.requires_grad_(False)


@pytest.mark.parametrize("width", [12, 32, 48])
def test_it_is_the_pseudo_inverse(width: int) -> None:
    """Fewer, as many and more outputs than pixels: nearest to the start among the best, as numpy.linalg.pinv."""
    front, sent = patches(width), images(3)
    start = images(1, seed=5)[0]
    found = invert(front, front(sent), start, steps=300)
    flat = torch.eye(128, dtype=torch.float64).view(-1, 2, 8, 8)
    matrix = (front(flat) - front(torch.zeros_like(flat))).flatten(1).numpy().T
    missing = (front(sent) - front(start[None])).flatten(1).numpy()
    expected = start.flatten().numpy() + missing @ np.linalg.pinv(matrix).T
    assert np.allclose(found.flatten(1).numpy(), expected, atol=1e-6)
    assert (width < 32) or torch.allclose(found, sent, atol=1e-6)


def test_what_is_affine() -> None:
    front = patches(32)
    assert is_affine(front, images(4))
    assert is_affine(lambda inputs: front(inputs).flatten(2).transpose(1, 2) + 3, images(4))
    assert not is_affine(lambda inputs: front(inputs).relu(), images(4))
    assert not is_affine(nn.LayerNorm(8).double(), images(4))


def test_converged_and_frozen_inputs_stay_finite() -> None:
    front = patches(32)
    found = invert(front, front(images(2)), torch.zeros(2, 8, 8, dtype=torch.float64), steps=2000)
    assert found.isfinite().all()


def test_fewer_steps_where_there_is_noise() -> None:
    """With noise, going on to the end blows it up; the attacker sees that on images of its own."""
    front, known = patches(32), images(20, seed=7)
    noise = torch.randn(20, 32, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    start = torch.zeros(2, 8, 8, dtype=torch.float64)
    exact = best_steps(front, front(known), known, start)
    noisy = best_steps(front, front(known) + 0.5 * noise, known, start)
    assert noisy < exact

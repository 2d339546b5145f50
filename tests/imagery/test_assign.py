"""Dealing samples out to satellites: nothing lost, nothing twice, nobody empty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.errors import PlanError
from orbitune.imagery.assign import HOW, assign


def random_samples(num_samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    return source.integers(0, 5, num_samples), source.integers(0, 1000, (num_samples, 2))


@given(
    num_satellites=st.integers(1, 70),
    extra=st.integers(0, 300),
    how=st.sampled_from(HOW),
    alpha=st.floats(0.01, 100.0),
    seed=st.integers(0, 2**32),
)
def test_every_sample_goes_to_one_satellite_and_each_has_some(
    num_satellites: int, extra: int, how: str, alpha: float, seed: int
) -> None:
    labels, positions = random_samples(num_satellites + extra, seed)
    shares = assign(labels, positions, num_satellites, how, alpha, seed)
    assert len(shares) == num_satellites
    assert all(len(share) and (np.diff(share) > 0).all() for share in shares)
    assert sorted(np.concatenate(shares)) == list(range(len(labels)))
    again = assign(labels, positions, num_satellites, how, alpha, seed)
    assert all(np.array_equal(first, second) for first, second in zip(shares, again, strict=True))


@given(num_satellites=st.integers(1, 70), extra=st.integers(0, 300), seed=st.integers(0, 2**32))
def test_places_and_random_shares_are_balanced(num_satellites: int, extra: int, seed: int) -> None:
    labels, positions = random_samples(num_satellites + extra, seed)
    for how, largest_gap in (("place", 2), ("iid", 1)):
        counts = [len(share) for share in assign(labels, positions, num_satellites, how, 1.0, seed)]
        assert max(counts) - min(counts) <= largest_gap


def test_regions_of_a_grid_do_not_overlap() -> None:
    positions = np.stack(np.meshgrid(np.arange(16), np.arange(32), indexing="ij"), axis=-1).reshape(-1, 2)
    shares = assign(np.zeros(512, dtype=np.int64), positions, 8, "place", 1.0, 0)
    # 512 grid points halve evenly three times, so every region must be a full rectangle of 64 points
    for share in shares:
        extent = np.ptp(positions[share], axis=0) + 1
        assert extent.prod() == len(share) == 64


def test_small_alpha_gives_fewer_classes_than_large() -> None:
    labels, positions = random_samples(2000, 1)

    def largest_class_share(alpha: float) -> float:
        shares = assign(labels, positions, 20, "dirichlet", alpha, 3)
        return float(np.mean([np.bincount(labels[share]).max() / len(share) for share in shares]))

    assert largest_class_share(0.1) > 0.6 > 0.35 > largest_class_share(100.0)


def test_seed_moves_random_shares_but_not_places() -> None:
    labels, positions = random_samples(200, 2)
    for how, changes in (("place", False), ("iid", True), ("dirichlet", True)):
        first, second = (assign(labels, positions, 10, how, 0.5, seed) for seed in (1, 2))
        assert changes != all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_more_satellites_than_samples_is_refused() -> None:
    labels, positions = random_samples(3, 0)
    with pytest.raises(PlanError, match="3 training samples cannot give each of 4 satellites one"):
        assign(labels, positions, 4, "iid", 1.0, 0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_concentration_must_be_positive(alpha: float) -> None:
    labels, positions = random_samples(30, 0)
    with pytest.raises(PlanError, match="must be above 0"):
        assign(labels, positions, 4, "dirichlet", alpha, 0)

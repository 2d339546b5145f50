"""Dealing samples out to satellites: nothing lost, nothing twice, nobody empty."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.errors import PlanError
from orbitune.imagery.assign import HOW, Traits, assign


def random_samples(num_samples: int, seed: int, num_satellites: int = 1) -> Traits:
    source = np.random.default_rng(seed)
    labels = source.integers(0, 5, num_samples)
    return Traits(
        num_samples,
        lambda: labels,
        positions=source.integers(0, 1000, (num_samples, 2)),
        times_s=source.uniform(0.0, 1e6, num_samples),
        satellites=source.integers(0, num_satellites, num_samples),
    )


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
    traits = random_samples(num_satellites + extra, seed, num_satellites)
    shares = assign(traits, num_satellites, how, alpha, seed)
    assert len(shares) == num_satellites
    assert all((len(share) or how == "satellite") and (np.diff(share) > 0).all() for share in shares)
    assert sorted(np.concatenate(shares)) == list(range(traits.count))
    again = assign(traits, num_satellites, how, alpha, seed)
    assert all(np.array_equal(first, second) for first, second in zip(shares, again, strict=True))


@given(num_satellites=st.integers(1, 70), extra=st.integers(0, 300), seed=st.integers(0, 2**32))
def test_places_and_random_shares_are_balanced(num_satellites: int, extra: int, seed: int) -> None:
    traits = random_samples(num_satellites + extra, seed)
    for how, largest_gap in (("place", 2), ("iid", 1), ("time", 1)):
        counts = [len(share) for share in assign(traits, num_satellites, how, 1.0, seed)]
        assert max(counts) - min(counts) <= largest_gap


def test_regions_of_a_grid_do_not_overlap() -> None:
    positions = np.stack(np.meshgrid(np.arange(16), np.arange(32), indexing="ij"), axis=-1).reshape(-1, 2)
    shares = assign(Traits(512, lambda: np.zeros(512, dtype=np.int64), positions), 8, "place", 1.0, 0)
    # 512 grid points halve evenly three times, so every region must be a full rectangle of 64 points
    for share in shares:
        extent = np.ptp(positions[share], axis=0) + 1
        assert extent.prod() == len(share) == 64


def test_small_alpha_gives_fewer_classes_than_large() -> None:
    traits = random_samples(2000, 1)
    labels = traits.classes()

    def largest_class_share(alpha: float) -> float:
        shares = assign(traits, 20, "dirichlet", alpha, 3)
        return float(np.mean([np.bincount(labels[share]).max() / len(share) for share in shares]))

    assert largest_class_share(0.1) > 0.6 > 0.35 > largest_class_share(100.0)


def test_seed_moves_random_shares_and_no_others() -> None:
    traits = random_samples(200, 2, 10)
    for how in HOW:
        changes = how in ("iid", "dirichlet")
        first, second = (assign(traits, 10, how, 0.5, seed) for seed in (1, 2))
        assert changes != all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_more_satellites_than_samples_is_refused() -> None:
    with pytest.raises(PlanError, match="3 training samples cannot give each of 4 satellites one"):
        assign(random_samples(3, 0), 4, "iid", 1.0, 0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_concentration_must_be_positive(alpha: float) -> None:
    with pytest.raises(PlanError, match="must be above 0"):
        assign(random_samples(30, 0), 4, "dirichlet", alpha, 0)


@given(num_satellites=st.integers(1, 20), extra=st.integers(0, 100), seed=st.integers(0, 2**32))
def test_who_saw_it_by_time_is_a_stretch_of_time(num_satellites: int, extra: int, seed: int) -> None:
    traits = random_samples(num_satellites + extra, seed)
    shares = assign(traits, num_satellites, "time", 1.0, seed)
    assert traits.times_s is not None
    for earlier, later in pairwise(shares):
        assert traits.times_s[earlier].max() <= traits.times_s[later].min()


def test_satellites_hold_what_the_data_say() -> None:
    satellites = np.array([2, 0, 2, 0, 2])
    shares = assign(Traits(5, lambda: satellites, satellites=satellites), 4, "satellite", 1.0, 0)
    assert [share.tolist() for share in shares] == [[1, 3], [], [0, 2, 4], []]


def test_a_satellite_that_does_not_exist_is_refused() -> None:
    traits = Traits(2, lambda: np.zeros(2, dtype=np.int64), satellites=np.array([0, 4]))
    with pytest.raises(PlanError, match="the data name satellite 4, but there are 4, counted from 0"):
        assign(traits, 4, "satellite", 1.0, 0)


@pytest.mark.parametrize("how", ["place", "time", "satellite", "moon"])
def test_ways_that_the_data_do_not_offer_are_refused(how: str) -> None:
    traits = Traits(9, lambda: np.zeros(9, dtype=np.int64))
    with pytest.raises(PlanError, match=f"'{how}'.*ways to deal out these data: iid, dirichlet"):
        assign(traits, 3, how, 1.0, 0)

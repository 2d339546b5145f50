"""Federated averaging: weights, order, identity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitune.learn.aggregate import Contribution, weighted_mean

weights = st.lists(st.integers(1, 10_000), min_size=1, max_size=8)


def contributions(num_samples: list[int], dtype: torch.dtype = torch.float32) -> list[Contribution]:
    source = np.random.default_rng(len(num_samples))
    return [
        Contribution(k, n, {"a": torch.from_numpy(source.normal(size=(3, 2))).to(dtype)})
        for k, n in enumerate(num_samples)
    ]


@given(weights)
def test_equals_numpy(num_samples: list[int]) -> None:
    arrived = contributions(num_samples, torch.float64)
    expected = np.average([one.tensors["a"].numpy() for one in arrived], axis=0, weights=num_samples)
    np.testing.assert_allclose(weighted_mean(arrived)["a"].numpy(), expected, rtol=1e-13, atol=1e-15)


@given(weights, st.randoms(use_true_random=False))
def test_order_of_arrival_changes_no_bit(num_samples: list[int], shuffler: object) -> None:
    arrived = contributions(num_samples)
    expected = weighted_mean(arrived)["a"]
    shuffler.shuffle(arrived)  # type: ignore[attr-defined]
    assert torch.equal(weighted_mean(arrived)["a"], expected)


@given(st.integers(1, 10**9), st.sampled_from([torch.float32, torch.float64]))
def test_one_client_is_the_identity(num_samples: int, dtype: torch.dtype) -> None:
    one = contributions([num_samples], dtype)
    assert torch.equal(weighted_mean(one)["a"], one[0].tensors["a"])
    assert weighted_mean(one)["a"].dtype == dtype


def test_nothing_to_average_is_our_fault() -> None:
    with pytest.raises(AssertionError, match="no samples"):
        weighted_mean([])

"""What noise promises: the formulas against numerical integration, known values and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orbitune.imagery.batches import draw
from orbitune.learn.privacy.accounting import (
    Promise,
    gaussian_delta,
    gaussian_epsilon,
    releases_of_a_sample,
    zcdp_epsilon,
)

MUS = st.floats(0.01, 50)
DELTAS = st.floats(1e-9, 0.1)


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 4.0])
def test_delta_is_the_integral_that_defines_it(mu: float, epsilon: float) -> None:
    """delta = integral of max(0, p(x) - e^epsilon q(x)) for two unit normals mu apart."""
    x = np.linspace(-12, 15, 400_001)
    excess = np.maximum(stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x), 0)
    assert gaussian_delta(epsilon, mu) == pytest.approx(float(np.trapezoid(excess, x)), rel=1e-6, abs=1e-12)


@given(MUS, DELTAS)
def test_epsilon_is_the_inverse_of_delta(mu: float, delta: float) -> None:
    epsilon = gaussian_epsilon(mu, delta)
    assert gaussian_delta(epsilon, mu) <= delta * (1 + 1e-6)
    if epsilon > 0:
        assert gaussian_delta(epsilon, mu) == pytest.approx(delta, rel=1e-6)


@given(MUS, DELTAS)
def test_never_above_the_bound_by_concentration(mu: float, delta: float) -> None:
    """Bun and Steinke's conversion holds for every mechanism of that rho, so it cannot be below the exact value."""
    assert gaussian_epsilon(mu, delta) <= zcdp_epsilon(mu**2 / 2, delta) * (1 + 1e-9)


def test_never_above_the_classical_mechanism() -> None:
    """Dwork and Roth 2014, theorem A.1: sigma = sqrt(2 ln(1.25 / delta)) / epsilon is enough for epsilon < 1."""
    for epsilon in (0.1, 0.5, 0.99):
        mu = epsilon / math.sqrt(2 * math.log(1.25 / 1e-5))
        assert gaussian_epsilon(mu, 1e-5) < epsilon


@given(st.floats(0.05, 100), st.integers(1, 500), st.integers(1, 500))
def test_more_releases_promise_less_and_more_noise_more(multiplier: float, few: int, more: int) -> None:
    few, more = min(few, more), max(few, more)
    assert Promise(multiplier, few).epsilon_run <= Promise(multiplier, more).epsilon_run * (1 + 1e-9)
    assert Promise(2 * multiplier, few).epsilon_run <= Promise(multiplier, few).epsilon_run
    assert Promise(multiplier, 1).epsilon_run == pytest.approx(Promise(multiplier, few).epsilon_release)


def test_releases_are_those_of_one_release_with_less_noise() -> None:
    """Four releases of noise 2 m are as telling as one of noise m: their mean has half the deviation."""
    assert Promise(8.0, 4).epsilon_run == pytest.approx(Promise(4.0, 1).epsilon_run)


def test_without_noise_nothing_is_promised() -> None:
    assert Promise(0.0, 3).epsilon_run == math.inf
    assert "no (epsilon, delta) promise" in Promise(0.0, 3).words()
    assert "model updates are not covered" in Promise(4.0, 3).words()
    assert "next to nothing" in Promise(0.1, 3).words() and "next to nothing" not in Promise(40.0, 3).words()


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 40))
def test_no_sample_is_used_more_often(num_samples: int, batch_size: int, batches: int) -> None:
    drawn = [draw(np.arange(num_samples), batch_size, step, 7, 0) for step in range(batches)]
    most = int(np.bincount(np.concatenate(drawn)).max())
    bound = releases_of_a_sample(num_samples, batch_size, batches, front_trains=True, gradients_cross=False)
    assert most <= bound
    assert releases_of_a_sample(num_samples, batch_size, batches, True, True) == 2 * bound
    assert releases_of_a_sample(num_samples, batch_size, batches, False, True) == bound + 1
    assert releases_of_a_sample(num_samples, batch_size, batches, False, False) == 1
    assert releases_of_a_sample(0, batch_size, batches, True, True) == 0

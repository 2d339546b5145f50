"""Spans of functions whose zeros are known, and the algebra of spans."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import brentq

from orbitune.links.crossings import Floats, Ints, Samples, Spans, greatest, intersection, positive_spans, roots

TIME_S = np.linspace(0.0, 1200.0, 21)


def waves(period_s: list[float], phase_s: list[float], level: list[float]) -> Samples:
    """cos(2 pi (t - phase) / period) - level, one row per triple."""
    rate, phase, offset = (np.array(x, dtype=float) for x in (2.0 * math.pi / np.array(period_s), phase_s, level))

    def at(row: Ints, time_s: Floats) -> tuple[Floats, Floats]:
        angle = rate[row] * (time_s - phase[row])
        return np.cos(angle) - offset[row], -rate[row] * np.sin(angle)

    rows = np.arange(len(rate))[:, None]
    value, slope = at(rows, TIME_S[None, :])
    return Samples(TIME_S, value, slope, float(rate.max()), lambda row, _: lambda time_s: at(row, time_s))


def exact(period_s: float, phase_s: float, level: float) -> list[tuple[float, float]]:
    half = period_s * math.acos(level) / (2.0 * math.pi)
    centres = [phase_s + k * period_s for k in range(-30, 31)]
    clipped = [(max(0.0, c - half), min(1200.0, c + half)) for c in centres]
    return [(start, end) for start, end in clipped if end > start]


@given(
    period_s=st.floats(240.0, 5000.0),
    phase_s=st.floats(0.0, 5000.0),
    # 1 - 10^-8 is above zero for a tenth of a second in 2000: far shorter than the 60 s between samples.
    level=st.floats(-8.0, -0.5).map(lambda x: 1.0 - 10.0**x) | st.floats(-8.0, -0.5).map(lambda x: 10.0**x - 1.0),
)
def test_all_spans_of_a_wave_are_found_exactly(period_s: float, phase_s: float, level: float) -> None:
    expected = exact(period_s, phase_s, level)
    edges = [edge for span in expected for edge in span]
    # An edge or a turn at the very end of the grid may fall on either side of it by rounding.
    assume(all(min(abs(edge), abs(edge - 1200.0)) > 1e-3 or edge in (0.0, 1200.0) for edge in edges))
    found = positive_spans(waves([period_s], [phase_s], [level]))
    assert len(found) == len(expected)
    for start, end, (expected_start, expected_end) in zip(found.start_s, found.end_s, expected, strict=True):
        assert start == pytest.approx(expected_start, abs=1e-5)
        assert end == pytest.approx(expected_end, abs=1e-5)


def test_rows_do_not_mix_and_nothing_is_found_where_nothing_is() -> None:
    found = positive_spans(waves([400.0, 400.0, 400.0, 400.0], [90.0, 0.0, 90.0, 210.0], [1.01, -1.01, 0.9999, 0.0]))
    assert found.row.tolist() == [1, *[2] * 3, *[3] * 3]
    assert (found.start_s[0], found.end_s[0]) == (0.0, 1200.0)
    assert np.all(found.end_s > found.start_s)


def test_a_turn_between_samples_is_what_finds_a_short_span() -> None:
    samples = waves([2000.0], [630.0], [1.0 - 1e-6])
    assert not (samples.value > 0.0).any()
    found = positive_spans(samples)
    assert len(found) == 1
    assert found.end_s[0] - found.start_s[0] == pytest.approx(0.9, abs=0.01)


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=20), st.floats(1.0, 400.0))
def test_roots_equal_brents(zeros: list[float], steepness: float) -> None:
    zero = np.array(zeros)

    def function(x: Floats) -> tuple[Floats, Floats]:
        # Flat far from the zero, so that plain Newton steps would leave the bracket.
        u = steepness * (x - zero)
        return np.arctan(u) + 0.1 * (x - zero), steepness / (1.0 + u * u) + 0.1

    found = roots(function, np.zeros_like(zero), np.ones_like(zero), np.ones(len(zero), dtype=np.bool_))
    for x, z in zip(found, zeros, strict=True):
        brent = brentq(lambda t, z=z: math.atan(steepness * (t - z)) + 0.1 * (t - z), 0.0, 1.0, xtol=1e-12)
        assert x == pytest.approx(brent, abs=1e-6)


spans_of_a_row = st.lists(st.integers(0, 40), unique=True, max_size=12).map(
    lambda edges: list(zip(*[iter(sorted(edges))] * 2, strict=False))
)


def as_spans(rows: list[list[tuple[int, int]]]) -> Spans:
    flat = [(row, start, end) for row, spans in enumerate(rows) for start, end in spans]
    columns = np.array(flat, dtype=float).reshape(-1, 3).T
    return Spans(columns[0].astype(np.int64), columns[1], columns[2])


def covers(spans: Spans, row: int, moment: float) -> bool:
    return bool(((spans.row == row) & (spans.start_s < moment) & (spans.end_s > moment)).any())


@given(st.lists(st.tuples(spans_of_a_row, spans_of_a_row), min_size=1, max_size=4))
def test_intersection_is_where_both_are_open(rows: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]) -> None:
    a, b = as_spans([row[0] for row in rows]), as_spans([row[1] for row in rows])
    both = intersection(a, b)
    assert np.all(both.end_s > both.start_s)
    for row in range(len(rows)):
        for moment in np.arange(0.5, 40.0):
            assert covers(both, row, moment) == (covers(a, row, moment) and covers(b, row, moment))


def test_greatest_finds_ends_samples_and_turns() -> None:
    samples = waves([500.0, 500.0, 500.0, 500.0], [130.0, 130.0, 130.0, 130.0], [0.0, 0.0, 0.0, 0.0])
    spans = Spans(np.arange(4), np.array([10.0, 140.0, 190.0, 200.0]), np.array([300.0, 170.0, 700.0, 300.0]))
    brute = [samples.between(np.full(20_000, r), _none())(np.linspace(a, b, 20_000))[0].max()
             for r, a, b in zip(range(4), spans.start_s, spans.end_s, strict=True)]  # fmt: skip
    assert np.allclose(greatest(samples, spans), brute, atol=5e-3)
    assert np.all(greatest(samples, spans)[[1, 3]] == pytest.approx(np.array(brute)[[1, 3]], abs=1e-12))


def _none() -> Ints:
    return np.empty(0, dtype=np.int64)

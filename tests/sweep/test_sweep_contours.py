"""Marching squares against curves that are known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orbitune.report.sweep_contours import contour_lines


def grid(
    num: int, low: float = -1.0, high: float = 1.0
) -> tuple[list[float], NDArray[np.float64], NDArray[np.float64]]:
    """Places along one side, and x and y of all points [row, column]."""
    places = np.linspace(low, high, num)
    x, y = np.meshgrid(places, places)
    return places.tolist(), x, y


def test_a_circle_is_one_closed_line_of_its_radius_and_length() -> None:
    places, x, y = grid(81)
    (line,) = contour_lines(places, places, np.hypot(x, y), 0.7)
    assert line[0] == line[-1]
    assert max(abs(math.hypot(*point) - 0.7) for point in line) < 1e-3
    assert sum(math.dist(a, b) for a, b in pairwise(line)) == pytest.approx(2 * math.pi * 0.7, rel=1e-3)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-0.9, 0.9))
def test_a_plane_is_met_exactly(a: float, b: float, level: float) -> None:
    places, x, y = grid(7)
    lines = contour_lines(places, places, a * x + b * y, level)
    for px, py in (point for line in lines for point in line):
        assert a * px + b * py == pytest.approx(level, abs=1e-9)
    crossed = (a * x + b * y >= level).any() and not (a * x + b * y >= level).all()
    assert bool(lines) == crossed


def test_two_hills_are_two_lines_and_a_ring_is_two_too() -> None:
    places, x, y = grid(101, -3, 3)
    hills = np.exp(-((x - 1.5) ** 2 + y**2) * 2) + np.exp(-((x + 1.5) ** 2 + y**2) * 2)
    assert len(contour_lines(places, places, hills, 0.5)) == 2
    assert len(contour_lines(places, places, np.abs(np.hypot(x, y) - 1.5), 0.5)) == 2


@given(st.integers(0, 2**32 - 1))
def test_lines_part_what_is_above_from_what_is_below(seed: int) -> None:
    """Every edge of the grid whose ends differ is crossed exactly once."""
    z = np.random.default_rng(seed).normal(size=(5, 6))
    lines = contour_lines(range(6), range(5), z, 0.0)
    points = {(round(x, 9), round(y, 9)) for line in lines for x, y in line}
    above = z >= 0
    changes = (above[:, 1:] != above[:, :-1]).sum() + (above[1:] != above[:-1]).sum()
    assert len(points) == changes
    pieces = [frozenset(pair) for line in lines for pair in pairwise(line)]
    assert len(pieces) == len(set(pieces))


def test_gaps_cut_a_line() -> None:
    places, x, _ = grid(9)
    z = x.copy()
    z[4, :] = np.nan
    assert len(contour_lines(places, places, z, 0.1)) == 2
    assert contour_lines(places, places, np.full_like(z, np.nan), 0.1) == []

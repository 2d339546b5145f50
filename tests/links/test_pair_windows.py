"""Windows between satellites: never through the Earth, and as seen when looking every second or two."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rays import ray_radius

from orbitune.links.isl import IslWindows, plane_pairs, windows_of_pairs
from orbitune.links.limits import Limits
from orbitune.orbit.constellation import WalkerShell, build_walker
from orbitune.orbit.geometry import length
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_RADIUS_M

HORIZON_S = 21_600.0
LOWEST_M = EARTH_RADIUS_M + 80e3
# Same plane, next plane, counter-rotating across the seam, far around the Earth.
PAIRS = np.array([(0, 1), (0, 2), (0, 12), (3, 60), (5, 40), (8, 62), (20, 55), (33, 7)])


@pytest.fixture(scope="module", params=[4500e3, math.inf], ids=["range", "earth"])
def limits(request: pytest.FixtureRequest) -> Limits:
    """At 780 km the Earth comes between two satellites 6200 km apart, so each of these ends windows in its own way."""
    return Limits(LOWEST_M, request.param)


@pytest.fixture(scope="module")
def windows(cases: dict[str, Any], limits: Limits) -> IslWindows:
    case = cases["star"]
    return windows_of_pairs(case.constellation, PAIRS, limits, case.start_utc, HORIZON_S)


def of_pair(windows: IslWindows, one: int, two: int) -> IslWindows:
    return windows.at((windows.one == min(one, two)) & (windows.two == max(one, two)))


def clearances(case: Any, pair: np.ndarray, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height of the ray above the allowed sphere, and distance."""
    a, b = propagate(case.constellation, case.start_utc, time_s, pair.tolist()).position_m
    return ray_radius(a, b) - LOWEST_M, length(b - a)


def test_open_exactly_when_in_range_and_past_the_earth(
    cases: dict[str, Any], limits: Limits, windows: IslWindows
) -> None:
    seconds = np.arange(0.0, HORIZON_S + 1.0)
    assert len(windows) > 0
    for pair in PAIRS:
        height, distance = clearances(cases["star"], pair, seconds)
        mine = of_pair(windows, *pair)
        under_way = np.searchsorted(mine.start_s, seconds, side="right") > np.searchsorted(mine.end_s, seconds)
        clear = (np.abs(height) > 1.0) & (np.abs(distance - limits.max_range_m) > 1.0)
        assert np.array_equal(((height > 0.0) & (distance < limits.max_range_m))[clear], under_way[clear])


def test_edges_lie_on_the_limit_and_no_contact_crosses_the_earth(
    cases: dict[str, Any], limits: Limits, windows: IslWindows
) -> None:
    for one, two, start_s, end_s, greatest_m in zip(
        windows.one, windows.two, windows.start_s, windows.end_s, windows.max_range_m, strict=True
    ):
        height, distance = clearances(cases["star"], np.array([one, two]), np.linspace(start_s, end_s, 500))
        assert height.min() > -1.0
        assert distance.max() == pytest.approx(greatest_m, abs=200.0)
        assert distance.max() < limits.max_range_m + 1.0
        for edge, at in ((start_s, 0), (end_s, -1)):
            inside = 0.0 < edge < HORIZON_S
            assert not inside or min(abs(height[at]), abs(distance[at] - limits.max_range_m)) < 1.0


def test_neighbours_in_sight_are_one_window(windows: IslWindows) -> None:
    mine = of_pair(windows, 0, 1)
    assert mine.start_s.tolist() == [0.0]
    assert mine.end_s.tolist() == [HORIZON_S]


def test_halving_the_grid_and_turning_the_pair_change_nothing(
    cases: dict[str, Any], limits: Limits, windows: IslWindows
) -> None:
    case = cases["star"]
    fine = windows_of_pairs(case.constellation, PAIRS[:, ::-1], limits, case.start_utc, HORIZON_S, grid_s=30.0)
    assert np.array_equal(fine.one, windows.one)
    assert np.array_equal(fine.two, windows.two)
    assert np.abs(fine.start_s - windows.start_s).max() < 1e-3
    assert np.abs(fine.end_s - windows.end_s).max() < 1e-3


def test_a_shorter_reach_and_a_higher_ray_only_take_away(
    cases: dict[str, Any], limits: Limits, windows: IslWindows
) -> None:
    case = cases["star"]
    for tighter in (replace(limits, max_range_m=3000e3), replace(limits, lowest_m=EARTH_RADIUS_M + 400e3)):
        fewer = windows_of_pairs(case.constellation, PAIRS, tighter, case.start_utc, HORIZON_S)
        assert len(fewer) > 0
        for one, two, start_s, end_s in zip(fewer.one, fewer.two, fewer.start_s, fewer.end_s, strict=True):
            mine = of_pair(windows, one, two)
            assert ((mine.start_s <= start_s + 1e-6) & (mine.end_s >= end_s - 1e-6)).sum() == 1


@pytest.mark.parametrize(("per_plane", "sees"), [(2, False), (3, False), (6, False), (9, True), (12, True)])
def test_rings_with_too_few_satellites_are_blocked_by_the_earth(per_plane: int, sees: bool) -> None:
    """Neighbours on a circle of radius a clear a cos(pi/n): at 550 km, 80 km above the ground, from n = 9 on."""
    assert (math.cos(math.pi / per_plane) * (EARTH_RADIUS_M + 550e3) > LOWEST_M) == sees
    shell = WalkerShell("walker-delta", per_plane, 1, 0, 550e3, 0.9)
    start_utc = "2025-06-01T00:00:00Z"
    found = windows_of_pairs(build_walker([shell], start_utc), np.array([(0, 1)]), Limits(LOWEST_M), start_utc, 6000.0)
    assert len(found) == int(sees)


def test_the_partner_in_the_next_plane_is_the_nearest(cases: dict[str, Any]) -> None:
    for name in ("star", "delta", "sun-synchronous"):
        case = cases[name]
        pairs = plane_pairs(case.constellation, case.start_utc)
        time_s = np.linspace(0.0, 6000.0, 101)
        position = propagate(case.constellation, case.start_utc, time_s).position_m
        for plane, following in enumerate(case.constellation.next_plane):
            members = case.constellation.planes[plane]
            mine = pairs[np.isin(pairs[:, 0], members)]
            if following is None:
                assert len(mine) == 0
                continue
            ahead = case.constellation.planes[following]
            assert mine[:, 0].tolist() == list(members)
            assert sorted(mine[:, 1]) == list(ahead)
            for satellite, partner in mine:
                apart = length(position[list(ahead)] - position[satellite]).mean(axis=1)
                assert apart[ahead.index(partner)] < apart.min() * 1.01

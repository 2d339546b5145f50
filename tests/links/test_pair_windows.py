"""Windows between satellites: never through the Earth, and as seen when looking every second or two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from orbitune.links import visibility
from orbitune.links.isl import plane_pairs
from orbitune.links.visibility import PairWindows, pair_windows
from orbitune.orbit.constellation import WalkerShell, build_walker
from orbitune.orbit.geometry import closest_approach, length
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_RADIUS_M

HORIZON_S = 21_600.0
GRAZING_M = 80e3
# Same plane, next plane, counter-rotating across the seam, far around the Earth.
PAIRS = np.array([(0, 1), (0, 2), (0, 12), (3, 60), (5, 40), (8, 62), (20, 55), (33, 7)])


@pytest.fixture(scope="module")
def windows(cases: dict[str, Any]) -> PairWindows:
    case = cases["star"]
    return pair_windows(case.constellation, PAIRS, case.start_utc, HORIZON_S, GRAZING_M, 4500e3)


def clearances(case: Any, pair: np.ndarray, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height of the ray above the allowed sphere, and distance."""
    a, b = propagate(case.constellation, case.start_utc, time_s, pair.tolist()).position_m
    return length(closest_approach(a, b)) - EARTH_RADIUS_M - GRAZING_M, length(b - a)


def test_open_exactly_when_in_range_and_past_the_earth(cases: dict[str, Any], windows: PairWindows) -> None:
    seconds = np.arange(0.0, HORIZON_S + 1.0)
    assert len(windows) > 0
    for number, pair in enumerate(PAIRS):
        height, distance = clearances(cases["star"], pair, seconds)
        mine = windows.pair == number
        opened = np.searchsorted(windows.start_s[mine], seconds, side="right")
        under_way = opened > np.searchsorted(windows.end_s[mine], seconds)
        clear = (np.abs(height) > 1.0) & (np.abs(distance - 4500e3) > 1.0)
        assert np.array_equal(((height > 0.0) & (distance < 4500e3))[clear], under_way[clear])


def test_edges_lie_on_the_limit_and_no_contact_crosses_the_earth(cases: dict[str, Any], windows: PairWindows) -> None:
    for number, start_s, end_s, greatest_m in zip(
        windows.pair, windows.start_s, windows.end_s, windows.max_range_m, strict=True
    ):
        height, distance = clearances(cases["star"], PAIRS[number], np.linspace(start_s, end_s, 500))
        assert height.min() > -1.0
        assert distance.max() == pytest.approx(greatest_m, abs=200.0)
        assert distance.max() < 4500e3 + 1.0
        for edge, at in ((start_s, 0), (end_s, -1)):
            inside = 0.0 < edge < HORIZON_S
            assert not inside or min(abs(height[at]), abs(distance[at] - 4500e3)) < 1.0


def test_neighbours_in_sight_are_one_window(windows: PairWindows) -> None:
    mine = windows.pair == 0
    assert windows.start_s[mine].tolist() == [0.0]
    assert windows.end_s[mine].tolist() == [HORIZON_S]


def test_halving_the_grid_and_turning_the_pair_change_nothing(cases: dict[str, Any], windows: PairWindows) -> None:
    case = cases["star"]
    fine = pair_windows(case.constellation, PAIRS[:, ::-1], case.start_utc, HORIZON_S, GRAZING_M, 4500e3, grid_s=30.0)
    assert np.array_equal(fine.pair, windows.pair)
    assert np.abs(fine.start_s - windows.start_s).max() < 1e-3
    assert np.abs(fine.end_s - windows.end_s).max() < 1e-3


def test_a_shorter_reach_and_a_higher_ray_only_take_away(cases: dict[str, Any], windows: PairWindows) -> None:
    case = cases["star"]
    for grazing_m, reach_m in ((GRAZING_M, 3000e3), (400e3, 4500e3)):
        fewer = pair_windows(case.constellation, PAIRS, case.start_utc, HORIZON_S, grazing_m, reach_m)
        for number, start_s, end_s in zip(fewer.pair, fewer.start_s, fewer.end_s, strict=True):
            around = (windows.start_s <= start_s + 1e-6) & (windows.end_s >= end_s - 1e-6) & (windows.pair == number)
            assert around.sum() == 1


def test_chunks_change_nothing(cases: dict[str, Any], windows: PairWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "SAMPLES_PER_CHUNK", 361 * 4 * 3)
    case = cases["star"]
    parts = pair_windows(case.constellation, PAIRS, case.start_utc, HORIZON_S, GRAZING_M, 4500e3)
    for column in ("pair", "start_s", "end_s", "max_range_m"):
        assert np.allclose(getattr(parts, column), getattr(windows, column), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("per_plane", "sees"), [(2, False), (3, False), (6, False), (9, True), (12, True)])
def test_rings_with_too_few_satellites_are_blocked_by_the_earth(per_plane: int, sees: bool) -> None:
    """Neighbours on a circle of radius a clear a cos(pi/n): at 550 km, 80 km above the ground, from n = 9 on."""
    assert (math.cos(math.pi / per_plane) * (EARTH_RADIUS_M + 550e3) > EARTH_RADIUS_M + 80e3) == sees
    shell = WalkerShell("walker-delta", per_plane, 1, 0, 550e3, 0.9)
    constellation = build_walker([shell], "2025-06-01T00:00:00Z")
    found = pair_windows(constellation, np.array([(0, 1)]), "2025-06-01T00:00:00Z", 6000.0, 80e3)
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

"""Passes behind hills, against skyfield's elevation and azimuth and against looking every second."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, load, wgs84

from orbitune.links.horizon import above_horizon, mask_rad
from orbitune.links.visibility import Passes, ground_passes
from orbitune.orbit.geometry import GroundStation, azimuth_rad, elevation_rad, length
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import parse_utc

HORIZON_S = 43_200.0
# Walls that rise within a degree, a narrow notch, and a slope across north.
RUGGED = tuple(
    (math.radians(azimuth), math.radians(elevation))
    for azimuth, elevation in ((20, 5), (60, 35), (61, 8), (120, 8), (121, 50), (124, 50), (125, 0), (200, 0),
                               (240, 30), (242, 12), (244, 30), (300, 20), (355, 15))
)  # fmt: skip


def with_mask(stations: list[GroundStation], mask: tuple[tuple[float, float], ...]) -> list[GroundStation]:
    return [replace(station, horizon_mask=mask) for station in stations]


def clearance(case: Any, station: GroundStation, satellite: int, time_s: np.ndarray) -> np.ndarray:
    position = propagate(case.constellation, case.start_utc, time_s, [satellite]).position_m[0]
    above: np.ndarray = elevation_rad(position, station) - mask_rad(azimuth_rad(position, station), station)
    return above


def skyfield_clearance(case: Any, station: GroundStation, satellite: int) -> Any:
    # TT - UT1 = 32.184 s + 37 leap seconds makes UT1 = UTC, as in Orbitune.
    timescale = load.timescale(delta_t=69.184, builtin=True)
    record = EarthSatellite.from_satrec(case.constellation.elements[satellite], timescale)
    degrees = math.degrees(station.latitude_rad), math.degrees(station.longitude_rad)
    seen = record - wgs84.latlon(*degrees, elevation_m=station.altitude_m)
    start = parse_utc(case.start_utc)
    azimuths, elevations = np.array(station.horizon_mask).T

    def above(time_s: np.ndarray) -> np.ndarray:
        moments = timescale.utc(start.year, start.month, start.day, start.hour, start.minute, time_s)
        elevation, azimuth, _ = seen.at(moments).altaz()
        hills = np.interp(azimuth.radians, azimuths, elevations, period=2.0 * math.pi)
        difference: np.ndarray = elevation.radians - np.maximum(hills, station.min_elevation_rad)
        return difference

    return above


def rows_of(passes: Passes, satellite: int, station: int) -> np.ndarray:
    return np.flatnonzero((passes.satellite == satellite) & (passes.station == station))


@pytest.mark.parametrize("name", ["star", "planet"])
def test_open_exactly_when_above_the_hills(cases: dict[str, Any], stations: list[GroundStation], name: str) -> None:
    case, hilly = cases[name], with_mask(stations, RUGGED)
    passes = ground_passes(case.constellation, hilly, case.start_utc, HORIZON_S)
    cut = above_horizon(passes, case.constellation, hilly, case.start_utc)
    assert len(cut) > 0
    assert np.all(cut.set_s > cut.rise_s)
    assert np.array_equal(np.lexsort((cut.rise_s, cut.station, cut.satellite)), np.arange(len(cut)))
    seconds = np.arange(0.0, HORIZON_S + 1.0)
    for satellite, number in ((0, 0), (3, 2), (8, 4), (12, 6), (9, 8)):
        mine = rows_of(cut, satellite, number)
        opened = np.searchsorted(cut.rise_s[mine], seconds, side="right")
        under_way = opened > np.searchsorted(cut.set_s[mine], seconds)
        above = clearance(case, hilly[number], satellite, seconds)
        clear = np.abs(above) > 1e-6
        assert np.array_equal((above > 0.0)[clear], under_way[clear])


def test_edges_are_skyfields_and_ranges_are_right(cases: dict[str, Any], stations: list[GroundStation]) -> None:
    case, hilly = cases["star"], with_mask(stations, RUGGED)
    passes = ground_passes(case.constellation, hilly, case.start_utc, HORIZON_S)
    cut = above_horizon(passes, case.constellation, hilly, case.start_utc)
    errors = []
    for satellite, number in ((0, 0), (3, 2), (31, 4), (47, 6), (60, 8)):
        above = skyfield_clearance(case, hilly[number], satellite)
        for row in rows_of(cut, satellite, number).tolist():
            inner = np.linspace(cut.rise_s[row], cut.set_s[row], 300)
            position = propagate(case.constellation, case.start_utc, inner, [satellite]).position_m[0]
            assert length(position - hilly[number].position_m).max() == pytest.approx(cut.max_range_m[row], abs=500.0)
            for edge_s, sign in ((cut.rise_s[row], 1.0), (cut.set_s[row], -1.0)):
                if 0.0 < edge_s < HORIZON_S:
                    around = edge_s + np.linspace(-0.05, 0.05, 201)
                    crossing = np.flatnonzero(np.diff(np.sign(sign * above(around))) > 0)
                    assert len(crossing) == 1, "skyfield sees no edge here within 50 ms"
                    errors.append(abs(around[crossing[0]] + 0.00025 - edge_s))
    assert len(errors) > 40
    assert max(errors) < 0.005


@pytest.mark.parametrize(("wall_deg", "thing_deg"), [(80.0, 0.0), (0.0, 89.0)], ids=["notch", "tower"])
def test_short_glimpses_and_short_gaps_are_found(
    cases: dict[str, Any], stations: list[GroundStation], wall_deg: float, thing_deg: float
) -> None:
    """A notch or a tower a tenth of a degree wide opens or closes for tenths of a second, or much less."""
    case, wall, thing, narrow = cases["star"], math.radians(wall_deg), math.radians(thing_deg), math.radians(0.05)
    mask = ((1.0, wall), (1.0 + narrow, thing), (1.0 + 2.0 * narrow, wall))
    station = replace(stations[0], horizon_mask=mask)
    passes = ground_passes(case.constellation, [station], case.start_utc, HORIZON_S)
    cut = above_horizon(passes, case.constellation, [station], case.start_utc)
    short = 0
    for row in range(0, len(passes), 16):
        satellite, rise_s, set_s = int(passes.satellite[row]), passes.rise_s[row], passes.set_s[row]
        mine = np.flatnonzero(
            (cut.satellite == satellite) & (cut.rise_s >= rise_s - 1e-6) & (cut.set_s <= set_s + 1e-6)
        )
        opens, closes = cut.rise_s[mine], cut.set_s[mine]
        time_s = np.arange(rise_s, set_s, 0.02)
        above = clearance(case, station, satellite, time_s)
        inside = np.searchsorted(opens, time_s, side="right") > np.searchsorted(closes, time_s)
        clear = np.abs(above) > 1e-5
        assert np.array_equal((above > 0.0)[clear], inside[clear])
        gaps = 0.5 * (closes[:-1] + opens[1:])
        assert np.all(clearance(case, station, satellite, 0.5 * (opens + closes)) > 0.0)
        assert np.all(clearance(case, station, satellite, gaps) < 0.0)
        short += np.count_nonzero(closes - opens < 1.0) + np.count_nonzero(opens[1:] - closes[:-1] < 1.0)
    assert short > 5


points = st.lists(st.floats(0.0, 6.28), min_size=1, max_size=8, unique_by=lambda x: round(x, 3)).map(sorted)


@settings(max_examples=25)
@given(azimuths=points, elevations=st.lists(st.floats(-0.2, 1.4), min_size=8, max_size=8), satellite=st.integers(0, 71))
def test_any_mask_over_any_satellite(
    cases: dict[str, Any],
    stations: list[GroundStation],
    azimuths: list[float],
    elevations: list[float],
    satellite: int,
) -> None:
    case = cases["delta"]
    station = replace(stations[2], horizon_mask=tuple(zip(azimuths, elevations, strict=False)))
    passes = ground_passes(case.constellation, [station], case.start_utc, HORIZON_S)
    chosen = np.flatnonzero(passes.satellite == satellite)
    columns = (getattr(passes, name)[chosen] for name in ("satellite", "station", "rise_s", "set_s", "max_range_m"))
    cut = above_horizon(Passes(*columns), case.constellation, [station], case.start_utc)
    for row in chosen.tolist():
        time_s = np.linspace(passes.rise_s[row], passes.set_s[row], 2000)
        above = clearance(case, station, satellite, time_s)
        inside = np.searchsorted(cut.rise_s, time_s, side="right") > np.searchsorted(cut.set_s, time_s)
        clear = np.abs(above) > 1e-5
        assert np.array_equal((above > 0.0)[clear], inside[clear])


def test_a_low_mask_and_no_mask_change_nothing(cases: dict[str, Any], stations: list[GroundStation]) -> None:
    case = cases["delta"]
    passes = ground_passes(case.constellation, stations, case.start_utc, HORIZON_S)
    assert above_horizon(passes, case.constellation, stations, case.start_utc) is passes
    low = with_mask(stations, ((0.5, -0.1), (3.0, 0.1)))
    same = above_horizon(passes, case.constellation, low, case.start_utc)
    for column in ("satellite", "station", "rise_s", "set_s"):
        assert np.array_equal(getattr(same, column), getattr(passes, column)), column
    assert np.allclose(same.max_range_m, passes.max_range_m, rtol=0.0, atol=500.0)


def test_a_level_mask_is_a_higher_constant_mask(cases: dict[str, Any], stations: list[GroundStation]) -> None:
    case, level = cases["delta"], math.radians(25.0)
    constant = [replace(station, min_elevation_rad=level) for station in stations]
    expected = ground_passes(case.constellation, constant, case.start_utc, HORIZON_S)
    # Only some stations have hills, so rows of both sorts are put back in order.
    mixed = [*with_mask(stations[:5], ((4.0, level),)), *constant[5:]]
    passes = ground_passes(case.constellation, mixed, case.start_utc, HORIZON_S)
    cut = above_horizon(passes, case.constellation, mixed, case.start_utc)
    assert np.array_equal(cut.satellite, expected.satellite)
    assert np.array_equal(cut.station, expected.station)
    assert np.abs(cut.rise_s - expected.rise_s).max() < 0.005
    assert np.abs(cut.set_s - expected.set_s).max() < 0.005
    wall = with_mask(stations, ((0.0, 1.57),))
    assert len(above_horizon(passes, case.constellation, wall, case.start_utc)) < 5

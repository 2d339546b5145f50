"""Passes over stations against skyfield and against looking every second."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, Timescale, load, wgs84

from orbitune.errors import PlanError
from orbitune.links import visibility
from orbitune.links.visibility import Passes, ground_passes
from orbitune.orbit.constellation import WalkerShell, build_walker
from orbitune.orbit.geometry import GroundStation, elevation_rad
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import parse_utc

DAY_S = 86_400.0
NAMES = ["star", "delta", "sun-synchronous", "planet", "iridium"]


@pytest.fixture(scope="module")
def timescale() -> Timescale:
    """Skyfield's time with TT - UT1 = 32.184 s + 37 leap seconds, which makes UT1 = UTC as in Orbitune."""
    return load.timescale(delta_t=69.184, builtin=True)


@pytest.fixture(scope="module")
def passes_of(cases: dict[str, Any], stations: list[GroundStation]) -> dict[str, Passes]:
    return {name: ground_passes(case.constellation, stations, case.start_utc, DAY_S) for name, case in cases.items()}


def skyfield_elevation(case: Any, satellite: int, station: GroundStation, timescale: Timescale) -> Any:
    """Skyfield's elevation in radians as a function of seconds after the start."""
    record = EarthSatellite.from_satrec(case.constellation.elements[satellite], timescale)
    degrees = math.degrees(station.latitude_rad), math.degrees(station.longitude_rad)
    seen = record - wgs84.latlon(*degrees, elevation_m=station.altitude_m)
    start = parse_utc(case.start_utc)

    def elevation(time_s: np.ndarray) -> np.ndarray:
        moments = timescale.utc(start.year, start.month, start.day, start.hour, start.minute, time_s)
        angle: np.ndarray = seen.at(moments).altaz()[0].radians
        return angle

    return elevation


def refined_error_s(elevation: Any, mask_rad: float, edge_s: np.ndarray, rises: bool) -> np.ndarray:
    """How far skyfield's own root lies from each edge, by bisection in +-0.1 s around it."""
    low, high = edge_s - 0.1, edge_s + 0.1
    sign = 1.0 if rises else -1.0
    assert np.all(sign * (elevation(low) - mask_rad) < 0.0), "skyfield sees no edge here within 0.1 s"
    assert np.all(sign * (elevation(high) - mask_rad) > 0.0), "skyfield sees no edge here within 0.1 s"
    for _ in range(12):
        middle = 0.5 * (low + high)
        before = sign * (elevation(middle) - mask_rad) < 0.0
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return np.abs(0.5 * (low + high) - edge_s)


@pytest.mark.parametrize("name", NAMES)
def test_edges_agree_with_skyfields_refined_elevation(
    name: str, cases: dict[str, Any], stations: list[GroundStation], passes_of: dict[str, Passes], timescale: Timescale
) -> None:
    case, passes = cases[name], passes_of[name]
    worst, checked = 0.0, 0
    every = 1 + len(case.constellation) // 8
    for satellite in range(0, len(case.constellation), every):
        for number, station in enumerate(stations):
            chosen = (passes.satellite == satellite) & (passes.station == number)
            elevation = skyfield_elevation(case, satellite, station, timescale)
            for edges, rises in ((passes.rise_s[chosen], True), (passes.set_s[chosen], False)):
                inside = edges[(edges > 0.0) & (edges < DAY_S)]
                if len(inside):
                    worst = max(worst, refined_error_s(elevation, station.min_elevation_rad, inside, rises).max())
                    checked += len(inside)
    assert checked > 200
    assert worst < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_no_pass_is_missing_or_extra(
    name: str, cases: dict[str, Any], stations: list[GroundStation], passes_of: dict[str, Passes]
) -> None:
    """Every second of a day, in view exactly when a pass is under way."""
    case, passes = cases[name], passes_of[name]
    seconds = np.arange(0.0, DAY_S + 1.0)
    for satellite in np.linspace(0, len(case.constellation) - 1, 4).astype(int):
        position = propagate(case.constellation, case.start_utc, seconds, [satellite]).position_m[0]
        for number, station in enumerate(stations):
            over_mask = elevation_rad(position, station) - station.min_elevation_rad
            mine = (passes.satellite == satellite) & (passes.station == number)
            rise_s, set_s = passes.rise_s[mine], passes.set_s[mine]
            under_way = np.searchsorted(rise_s, seconds, side="right") > np.searchsorted(set_s, seconds)
            clear = np.abs(over_mask) > math.radians(0.001)
            assert np.array_equal((over_mask > 0.0)[clear], under_way[clear])
            # Extra ones could only hide between two seconds: each pass must be in view in its middle.
            middle = propagate(case.constellation, case.start_utc, 0.5 * (rise_s + set_s), [satellite]).position_m[0]
            assert np.all(elevation_rad(middle, station) > station.min_elevation_rad - math.radians(0.001))


def test_as_many_passes_as_skyfield_finds(
    cases: dict[str, Any], stations: list[GroundStation], passes_of: dict[str, Passes], timescale: Timescale
) -> None:
    case, passes = cases["sun-synchronous"], passes_of["sun-synchronous"]
    start = parse_utc(case.start_utc)
    span = timescale.utc(start.year, start.month, start.day, 0, 0, [0.0, DAY_S])
    for satellite in (0, 11, 19):
        record = EarthSatellite.from_satrec(case.constellation.elements[satellite], timescale)
        for number, station in enumerate(stations):
            place = wgs84.latlon(
                math.degrees(station.latitude_rad), math.degrees(station.longitude_rad), station.altitude_m
            )
            _, events = record.find_events(place, span[0], span[1], altitude_degrees=10.0)
            mine = (passes.satellite == satellite) & (passes.station == number)
            assert np.count_nonzero(events == 0) == np.count_nonzero(passes.rise_s[mine] > 0.0)
            assert np.count_nonzero(events == 2) == np.count_nonzero(passes.set_s[mine] < DAY_S)


@pytest.mark.parametrize("name", NAMES)
def test_edges_stay_when_the_grid_is_halved(
    name: str, cases: dict[str, Any], stations: list[GroundStation], passes_of: dict[str, Passes]
) -> None:
    case, coarse = cases[name], passes_of[name]
    fine = ground_passes(case.constellation, stations, case.start_utc, DAY_S, grid_s=30.0)
    assert np.array_equal(coarse.satellite, fine.satellite)
    assert np.array_equal(coarse.station, fine.station)
    assert np.abs(coarse.rise_s - fine.rise_s).max() < 1e-3
    assert np.abs(coarse.set_s - fine.set_s).max() < 1e-3
    assert np.abs(coarse.max_range_m - fine.max_range_m).max() < 5.0


def test_greatest_range_is_that_of_the_dense_path(
    cases: dict[str, Any], stations: list[GroundStation], passes_of: dict[str, Passes]
) -> None:
    case, passes = cases["iridium"], passes_of["iridium"]
    for row in range(0, len(passes), 40):
        time_s = np.linspace(passes.rise_s[row], passes.set_s[row], 500)
        position = propagate(case.constellation, case.start_utc, time_s, [int(passes.satellite[row])]).position_m[0]
        distance = np.linalg.norm(position - stations[passes.station[row]].position_m, axis=1)
        assert passes.max_range_m[row] == pytest.approx(distance.max(), abs=1.0)


def test_passes_are_sorted_and_do_not_overlap(passes_of: dict[str, Passes]) -> None:
    for passes in passes_of.values():
        order = np.lexsort((passes.rise_s, passes.station, passes.satellite))
        assert np.array_equal(order, np.arange(len(passes)))
        same = (np.diff(passes.satellite) == 0) & (np.diff(passes.station) == 0)
        assert np.all(passes.rise_s[1:][same] > passes.set_s[:-1][same])
        assert np.all(passes.set_s > passes.rise_s)


def test_chunks_change_nothing(
    cases: dict[str, Any],
    stations: list[GroundStation],
    passes_of: dict[str, Passes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visibility, "SAMPLES_PER_CHUNK", 1441 * 10 * 5)
    case, whole = cases["star"], passes_of["star"]
    parts = ground_passes(case.constellation, stations, case.start_utc, DAY_S)
    for column in ("satellite", "station", "rise_s", "set_s", "max_range_m"):
        assert np.allclose(getattr(parts, column), getattr(whole, column), rtol=0.0, atol=1e-6)


@settings(max_examples=25)
@given(
    latitude=st.floats(-1.5, 1.5),
    longitude=st.floats(-3.1, 3.1),
    masks=st.tuples(st.floats(-0.1, 1.4), st.floats(-0.1, 1.4)).map(sorted),
)
def test_a_higher_mask_only_takes_away(latitude: float, longitude: float, masks: list[float]) -> None:
    low, high = (GroundStation("here", latitude, longitude, 0.0, mask) for mask in masks)
    shell = WalkerShell("walker-delta", 12, 3, 1, 700e3, 1.3)
    constellation = build_walker([shell], "2025-06-01T00:00:00Z")
    passes = ground_passes(constellation, [low, high], "2025-06-01T00:00:00Z", 7200.0)
    for row in np.flatnonzero(passes.station == 1):
        wider = (passes.station == 0) & (passes.satellite == passes.satellite[row])
        holds = (passes.rise_s <= passes.rise_s[row] + 1e-6) & (passes.set_s >= passes.set_s[row] - 1e-6)
        assert (wider & holds).sum() == 1


@settings(max_examples=15)
@given(cut_s=st.floats(400.0, 6800.0))
def test_a_horizon_cut_in_two_gives_the_same_sight(cut_s: float) -> None:
    """A pass that is under way at the cut ends there in the first half; nothing else changes."""
    station = GroundStation("here", 0.9, 0.3, 0.0, 0.1)
    constellation = build_walker([WalkerShell("walker-delta", 12, 3, 1, 700e3, 1.3)], "2025-06-01T00:00:00Z")
    whole = ground_passes(constellation, [station], "2025-06-01T00:00:00Z", 7200.0)
    first = ground_passes(constellation, [station], "2025-06-01T00:00:00Z", cut_s)
    begun = whole.rise_s < cut_s - 1e-3
    assert np.array_equal(first.satellite[first.rise_s < cut_s - 1e-3], whole.satellite[begun])
    assert np.allclose(first.rise_s[first.rise_s < cut_s - 1e-3], whole.rise_s[begun], atol=1e-3)
    assert np.allclose(first.set_s[first.rise_s < cut_s - 1e-3], np.minimum(whole.set_s[begun], cut_s), atol=1e-3)


def test_no_station_and_no_sight_give_no_passes(cases: dict[str, Any]) -> None:
    case = cases["delta"]
    assert len(ground_passes(case.constellation, [], case.start_utc, 3600.0)) == 0
    pole = GroundStation("pole", math.pi / 2.0, 0.0, 2800.0, math.radians(10.0))
    assert len(ground_passes(case.constellation, [pole], case.start_utc, DAY_S)) == 0


@pytest.mark.parametrize(("horizon_s", "grid_s"), [(0.0, 60.0), (math.inf, 60.0), (3600.0, 0.0), (3600.0, 600.0)])
def test_impossible_grids_are_refused(cases: dict[str, Any], horizon_s: float, grid_s: float) -> None:
    with pytest.raises(PlanError, match="it must be more than 0 s"):
        ground_passes(cases["delta"].constellation, [], "2025-06-01T00:00:00Z", horizon_s, grid_s)

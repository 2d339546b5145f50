"""Passes over stations against skyfield and against looking every second."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sgp4.api import WGS72, Satrec
from skyfield.api import EarthSatellite, Timescale, load, wgs84

from orbitune.errors import MissingExtra, PlanError
from orbitune.links import visibility
from orbitune.links.visibility import Passes, ground_passes
from orbitune.orbit.constellation import Constellation, WalkerShell, build_walker
from orbitune.orbit.geometry import GroundStation, elevation_rad
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import parse_utc

DAY_S = 86_400.0
START = "2025-06-01T00:00:00Z"
START_DAYS_SINCE_1950 = 27545.0  # what `Satrec.sgp4init` counts its epochs in
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
    assert worst < 0.002


def test_the_shortest_passes_agree_with_skyfield_too(stations: list[GroundStation], timescale: Timescale) -> None:
    """Where a pass barely clears the mask a metre moves an edge by seconds: 40 shortest of some 13,000, from 0.6 s."""
    shell = WalkerShell("walker-delta", 396, 18, 5, 550e3, math.radians(53.0))
    case = SimpleNamespace(constellation=build_walker([shell], START), start_utc=START)
    passes = ground_passes(case.constellation, stations, case.start_utc, DAY_S)
    inside = (passes.rise_s > 0.0) & (passes.set_s < DAY_S)
    shortest = np.flatnonzero(inside)[np.argsort((passes.set_s - passes.rise_s)[inside])[:40]]
    assert (passes.set_s - passes.rise_s)[shortest[0]] < 5.0
    for row in shortest:
        station = stations[passes.station[row]]
        elevation = skyfield_elevation(case, int(passes.satellite[row]), station, timescale)
        for edge, outward in ((passes.rise_s[row], -1.0), (passes.set_s[row], 1.0)):
            middle = 0.5 * (passes.rise_s[row] + passes.set_s[row])
            over = elevation(np.array([edge + outward * 0.005, middle])) - station.min_elevation_rad
            assert over[0] < 0.0 < over[1]
            half = 0.005 if abs(edge - middle) > 0.005 else abs(edge - middle)
            assert elevation(np.array([edge - outward * half]))[0] > station.min_elevation_rad


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
    monkeypatch.setattr(visibility, "SAMPLES_PER_CHUNK", 721 * 10 * 5)
    case, whole = cases["star"], passes_of["star"]
    parts = ground_passes(case.constellation, stations, case.start_utc, DAY_S)
    for column in ("satellite", "station", "rise_s", "set_s", "max_range_m"):
        assert np.allclose(getattr(parts, column), getattr(whole, column), rtol=0.0, atol=1e-6)


def orbit(perigee_km: float, eccentricity: float, inclination: float, raan: float, anomaly: float) -> Constellation:
    """One satellite without drag, its epoch at START."""
    semi_major_km = (6378.135 + perigee_km) / (1.0 - eccentricity)
    motion = 60.0 * math.sqrt(398600.8 / semi_major_km**3)
    record = Satrec()
    shape = (0.0, 0.0, 0.0, eccentricity, 1.0, inclination, anomaly, motion, raan)
    record.sgp4init(WGS72, "i", 1, START_DAYS_SINCE_1950, *shape)
    return Constellation(("one",), ((0,),), (False,), (None,), (record,))


orbits = st.builds(
    orbit,
    st.floats(200.0, 2000.0),
    st.one_of(st.just(0.0), st.floats(0.0, 0.3)),
    st.floats(0.0, math.pi),
    st.floats(0.0, 6.28),
    st.floats(0.0, 6.28),
)
places = st.builds(GroundStation, st.just("here"), st.floats(-1.55, 1.55), st.floats(-3.1, 3.1), st.floats(0.0, 3000.0),
                   st.floats(-0.05, 1.3))  # fmt: skip


def elevation_over(constellation: Constellation, station: GroundStation, time_s: np.ndarray) -> np.ndarray:
    """Elevation above the mask of the one satellite, in radians, from SGP4 itself."""
    position = propagate(constellation, START, time_s).position_m[0]
    return elevation_rad(position, station) - station.min_elevation_rad


@settings(max_examples=40, deadline=None)
@given(constellation=orbits, station=places, horizon_s=st.floats(600.0, 30_000.0))
def test_random_orbits_are_in_view_just_when_a_pass_is_under_way(
    constellation: Constellation, station: GroundStation, horizon_s: float
) -> None:
    """At every second; a pass that lies between two seconds is looked at in its middle."""
    passes = ground_passes(constellation, [station], START, horizon_s)
    seconds = np.arange(0.0, horizon_s)
    over = elevation_over(constellation, station, seconds)
    risen = np.searchsorted(passes.rise_s, seconds, side="right")
    under_way = risen > np.searchsorted(passes.set_s, seconds)
    clear = np.abs(over) > 1e-6
    assert np.array_equal((over > 0.0)[clear], under_way[clear])
    middle_s = 0.5 * (passes.rise_s + passes.set_s)
    assert np.all(elevation_over(constellation, station, middle_s) > -1e-6)
    cut = (passes.rise_s == 0.0) | (passes.set_s == horizon_s)
    edges = np.concatenate([passes.rise_s[~cut], passes.set_s[~cut]])
    assert np.all(np.abs(elevation_over(constellation, station, edges)) < 2e-6)


@settings(max_examples=40, deadline=None)
@given(constellation=orbits, station=places, number=st.integers(0, 9), margin=st.floats(-6.0, -4.0))
def test_a_pass_is_found_just_when_its_peak_clears_the_mask(
    constellation: Constellation, station: GroundStation, number: int, margin: float
) -> None:
    """Masks 10^margin rad below and above the highest point of a pass: windows of a second or so."""
    passes = ground_passes(constellation, [station], START, 40_000.0)
    whole = np.flatnonzero((passes.rise_s > 0.0) & (passes.set_s < 40_000.0))
    assume(len(whole) > 0)
    row = whole[number % len(whole)]
    bracket = (passes.rise_s[row], passes.set_s[row])
    seconds = np.linspace(*bracket, 200)
    best = seconds[np.argmax(elevation_over(constellation, station, seconds))]
    step = seconds[1] - seconds[0]
    peak = minimize_scalar(
        lambda t: -float(elevation_over(constellation, station, np.array([t]))[0]),
        bounds=(max(bracket[0], best - step), min(bracket[1], best + step)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    mask = station.min_elevation_rad - peak.fun
    assume(mask < 1.55)
    found = []
    for side in (-1.0, 1.0):
        tight = replace(station, min_elevation_rad=mask + side * 10.0**margin)
        near = ground_passes(constellation, [tight], START, 40_000.0)
        found.append(int(np.count_nonzero((near.rise_s < peak.x) & (near.set_s > peak.x))))
    assert found == [1, 0]


@pytest.mark.parametrize("perigee_km", [200.0, 300.0])
def test_low_orbits_stay_when_the_grid_is_quartered(perigee_km: float, stations: list[GroundStation]) -> None:
    for eccentricity in (0.0, 0.1):
        constellation = orbit(perigee_km, eccentricity, 1.2, 0.5, 1.0)
        coarse, fine = (ground_passes(constellation, stations, START, 5 * DAY_S, grid_s) for grid_s in (120.0, 30.0))
        assert np.array_equal(coarse.station, fine.station)
        assert np.abs(coarse.rise_s - fine.rise_s).max() < 5e-3
        assert np.abs(coarse.set_s - fine.set_s).max() < 5e-3


@pytest.mark.parametrize(("perigee_km", "eccentricity"), [(600.0, 0.72), (20_200.0, 0.0), (35_786.0, 0.01)])
def test_the_farthest_point_may_lie_inside_a_pass(
    perigee_km: float, eccentricity: float, stations: list[GroundStation]
) -> None:
    """A Molniya orbit has its apogee in the middle of a pass; the greatest range is still that of the dense path."""
    constellation = orbit(perigee_km, eccentricity, 1.1, 0.5, 1.0)
    passes = ground_passes(constellation, stations, START, DAY_S)
    assert len(passes) > 5
    inside = 0
    for row in range(len(passes)):
        time_s = np.linspace(passes.rise_s[row], passes.set_s[row], 2000)
        position = propagate(constellation, START, time_s).position_m[0]
        distance = np.linalg.norm(position - stations[passes.station[row]].position_m, axis=1)
        assert passes.max_range_m[row] == pytest.approx(distance.max(), abs=200.0)
        inside += distance.max() > max(distance[0], distance[-1]) + 1000.0
    assert inside > 0 or eccentricity < 0.5


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


def test_without_numba_compiled_loops_are_refused_and_arrays_do(
    cases: dict[str, Any], stations: list[GroundStation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(visibility, "COMPILING_PAYS_SAMPLES", 0)
    case = cases["delta"]
    with pytest.raises(MissingExtra, match=r"orbitune\[fast\]"):
        ground_passes(case.constellation, stations, case.start_utc, 3600.0, compiled=True)
    assert len(ground_passes(case.constellation, stations, case.start_utc, 3600.0)) > 0

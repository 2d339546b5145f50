"""Compiled loops against arrays: the same passes, edges within a microsecond.

Where numba is not installed the same functions run in plain Python, so these tests need no extra.
"""

from __future__ import annotations

import importlib.util
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4.api import WGS72, Satrec

from orbitune.links import compiled, sky, visibility
from orbitune.links.visibility import ground_passes
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation
from orbitune.orbit.interpolate import time_grid
from orbitune.orbit.propagate import propagate

START = "2025-06-01T00:00:00Z"
START_DAYS_SINCE_1950 = 27545.0  # what `Satrec.sgp4init` counts its epochs in
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba (the extra `fast`) is absent")


def orbit(perigee_km: float, eccentricity: float, inclination: float, raan: float, anomaly: float) -> Satrec:
    motion = 60.0 * math.sqrt(398600.8 * ((1.0 - eccentricity) / (6378.135 + perigee_km)) ** 3)
    record = Satrec()
    shape = (0.0, 0.0, 0.0, eccentricity, 1.0, inclination, anomaly, motion, raan)
    record.sgp4init(WGS72, "i", 1, START_DAYS_SINCE_1950, *shape)
    return record


orbits = st.builds(
    orbit,
    st.floats(200.0, 2000.0),
    st.one_of(st.just(0.0), st.floats(0.0, 0.6)),
    st.floats(0.0, math.pi),
    st.floats(0.0, 6.28),
    st.floats(0.0, 6.28),
)
places = st.builds(
    GroundStation, st.just("here"), st.floats(-1.57, 1.57), st.floats(-3.1, 3.1), st.floats(0.0, 3e3),
    st.floats(-0.3, 1.5),
)  # fmt: skip


def same_spans(
    records: list[Satrec], stations: list[GroundStation], horizon_s: float, grid_s: float
) -> tuple[sky.Spans, sky.Spans]:
    names = tuple(str(number) for number in range(len(records)))
    nobody = (tuple(range(len(records))),), (False,), (None,)
    constellation = Constellation(names, *nobody, tuple(records))
    ephemeris = propagate(constellation, START, time_grid(horizon_s, grid_s))
    over = sky.sky_over(stations)
    bounds = sky.bounds_of(ephemeris, over)
    (arrays, arrays_m), (loops, loops_m) = (way.find_spans(ephemeris, over, bounds) for way in (sky, compiled))
    assert np.array_equal(loops.row, arrays.row)
    assert np.allclose(loops.start_s, arrays.start_s, rtol=0.0, atol=1e-6)
    assert np.allclose(loops.end_s, arrays.end_s, rtol=0.0, atol=1e-6)
    assert np.allclose(loops_m, arrays_m, rtol=0.0, atol=0.02)
    return arrays, loops


@settings(max_examples=50, deadline=None)
@given(
    records=st.lists(orbits, min_size=1, max_size=3),
    stations=st.lists(places, min_size=1, max_size=3),
    horizon_s=st.floats(1000.0, 30_000.0),
    grid_s=st.floats(40.0, 120.0),
)
def test_loops_find_what_arrays_find(
    records: list[Satrec], stations: list[GroundStation], horizon_s: float, grid_s: float
) -> None:
    same_spans(records, stations, horizon_s, grid_s)


def test_passes_cut_at_the_ends_and_shorter_than_the_grid_are_the_same() -> None:
    records = [orbit(550.0, 0.0, 1.1, 2.4 * number, 0.7 * number) for number in range(40)]
    stations = [GroundStation("a", 0.8, 0.1, 0.0, 0.0), GroundStation("b", -0.5, 2.0, 0.0, 0.9)]
    arrays, loops = same_spans(records, stations, 12_000.0, 120.0)
    assert np.any(arrays.start_s == 0.0) and np.any(arrays.end_s == 12_000.0)
    assert np.any(arrays.end_s - arrays.start_s < 60.0)
    assert np.array_equal(loops.start_s == 0.0, arrays.start_s == 0.0)


@needs_numba
@pytest.mark.parametrize("name", ["star", "iridium"])
def test_both_ways_give_the_same_passes(name: str, cases: dict[str, Any], stations: list[GroundStation]) -> None:
    case = cases[name]
    slow, fast = (
        ground_passes(case.constellation, stations, case.start_utc, 86_400.0, compiled=way) for way in (False, True)
    )
    assert len(slow) > 100
    assert np.array_equal(fast.satellite, slow.satellite)
    assert np.array_equal(fast.station, slow.station)
    for column in ("rise_s", "set_s"):
        assert np.abs(getattr(fast, column) - getattr(slow, column)).max() < 1e-6
    assert np.abs(fast.max_range_m - slow.max_range_m).max() < 0.02


@needs_numba
def test_large_jobs_compile_by_themselves_and_small_ones_do_not(
    cases: dict[str, Any], stations: list[GroundStation], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(compiled, "find_spans", lambda *given: called.append(1) or sky.find_spans(*given))
    case = cases["delta"]
    ground_passes(case.constellation, stations, case.start_utc, 3600.0)
    assert not called
    monkeypatch.setattr(visibility, "COMPILING_PAYS_SAMPLES", 72 * 31 * 10)
    ground_passes(case.constellation, stations, case.start_utc, 3600.0)
    assert called


def test_where_machine_code_cannot_be_kept_it_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def njit(cache: bool = False, **options: object) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: ("compiled", function)

    monkeypatch.setattr(compiled, "_numba", SimpleNamespace(njit=njit))
    assert compiled._compiled_and_kept(len) == ("compiled", len)  # type: ignore[comparison-overlap]
    assert asked == [True, False]

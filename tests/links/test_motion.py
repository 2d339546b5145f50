"""Range, range rate, delay and Doppler against skyfield, and tracks against SGP4 itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from skyfield.api import EarthSatellite, load, wgs84

from orbitune.links.isl import windows_of_pairs
from orbitune.links.limits import Limits
from orbitune.links.motion import Windows, relative_motion, tracks
from orbitune.links.visibility import ground_passes
from orbitune.orbit.geometry import GroundStation, azimuth_rad, elevation_rad
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import parse_utc
from orbitune.units import EARTH_RADIUS_M

TIME_S = np.arange(0.0, 7200.0, 37.0)


def skyfield_motion(case: Any, satellite: int, other: int | GroundStation) -> tuple[np.ndarray, np.ndarray]:
    # TT - UT1 = 32.184 s + 37 leap seconds makes UT1 = UTC, as in Orbitune.
    timescale = load.timescale(delta_t=69.184, builtin=True)
    start = parse_utc(case.start_utc)
    moments = timescale.utc(start.year, start.month, start.day, start.hour, start.minute, TIME_S)
    one = EarthSatellite.from_satrec(case.constellation.elements[satellite], timescale)
    if isinstance(other, GroundStation):
        degrees = math.degrees(other.latitude_rad), math.degrees(other.longitude_rad)
        two: Any = wgs84.latlon(*degrees, elevation_m=other.altitude_m)
    else:
        two = EarthSatellite.from_satrec(case.constellation.elements[other], timescale)
    seen = (one - two).at(moments)
    position, velocity = seen.position.m, seen.velocity.m_per_s
    range_m = np.sqrt((position**2).sum(axis=0))
    return range_m, (position * velocity).sum(axis=0) / range_m


@pytest.mark.parametrize("name", ["star", "planet"])
@pytest.mark.parametrize("to_station", [True, False])
def test_motion_equals_skyfields(
    cases: dict[str, Any], stations: list[GroundStation], name: str, to_station: bool
) -> None:
    case = cases[name]
    other = stations[2] if to_station else 7
    mine = relative_motion(case.constellation, case.start_utc, TIME_S, 3, other)
    range_m, range_rate = skyfield_motion(case, 3, other)
    assert np.abs(mine.range_m - range_m).max() < 2.0
    assert np.abs(mine.range_rate_m_s - range_rate).max() < 0.02
    assert np.allclose(mine.delay_s * 299_792_458.0, range_m, rtol=1e-5)
    assert np.allclose(mine.doppler_hz(8.2e9), -8.2e9 * range_rate / 299_792_458.0, rtol=0.0, atol=1.0)


def test_doppler_falls_through_zero_at_the_closest_approach(
    cases: dict[str, Any], stations: list[GroundStation]
) -> None:
    case = cases["delta"]
    passes = ground_passes(case.constellation, stations, case.start_utc, 7200.0)
    row = int(np.argmax(passes.set_s - passes.rise_s))
    time_s = np.arange(passes.rise_s[row], passes.set_s[row], 1.0)
    station = stations[int(passes.station[row])]
    motion = relative_motion(case.constellation, case.start_utc, time_s, int(passes.satellite[row]), station)
    shift = motion.doppler_hz(26e9)
    assert np.all(np.diff(shift) < 0.0)
    assert abs(int(np.argmin(np.abs(shift))) - int(np.argmin(motion.range_m))) <= 1
    assert shift[0] > 400e3
    # The rate is the slope of the range.
    assert np.allclose(np.gradient(motion.range_m, time_s)[1:-1], motion.range_rate_m_s[1:-1], atol=5.0)


def test_two_ways_of_looking_agree(cases: dict[str, Any]) -> None:
    case = cases["star"]
    there, back = (relative_motion(case.constellation, case.start_utc, TIME_S, *ends) for ends in ((2, 50), (50, 2)))
    assert np.array_equal(there.range_m, back.range_m)
    assert np.allclose(there.range_rate_m_s, back.range_rate_m_s, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", ["delta", "planet"])
def test_tracks_of_passes_equal_sgp4(cases: dict[str, Any], stations: list[GroundStation], name: str) -> None:
    case = cases[name]
    passes = ground_passes(case.constellation, stations, case.start_utc, 10_000.0)
    windows = Windows.of_passes(passes)
    paths = tracks(case.constellation, stations, case.start_utc, windows)
    for row in range(0, len(windows), 7):
        time_s = np.linspace(windows.start_s[row], windows.end_s[row], 50)
        ephemeris = propagate(case.constellation, case.start_utc, time_s, [int(windows.satellite[row])])
        station = stations[int(windows.other[row])]
        (east, north, up), rate = paths.at(np.full(50, row), time_s)
        range_m, elevation = paths.sight(np.full(50, row), time_s)
        exact = relative_motion(case.constellation, case.start_utc, time_s, int(windows.satellite[row]), station)
        assert np.abs(range_m - exact.range_m).max() < 0.05
        assert np.abs(elevation - elevation_rad(ephemeris.position_m[0], station)).max() < 2e-7
        turned = np.arctan2(east, north) - azimuth_rad(ephemeris.position_m[0], station)
        assert np.abs(np.sin(turned) * np.hypot(east, north)).max() < 0.05
        assert np.abs(np.cos(turned) - 1.0).max() < 1e-9
        along = (east * rate[0] + north * rate[1] + up * rate[2]) / range_m
        assert np.abs(along - exact.range_rate_m_s).max() < 0.05


def test_tracks_between_satellites_equal_sgp4(cases: dict[str, Any]) -> None:
    case = cases["star"]
    pairs = np.array([(0, 1), (3, 60), (8, 62), (1, 12)])
    found = windows_of_pairs(case.constellation, pairs, Limits(EARTH_RADIUS_M + 80e3), case.start_utc, 9000.0)
    windows = Windows.of_links(found)
    assert len(windows) > len(pairs)
    paths = tracks(case.constellation, [], case.start_utc, windows)
    for row in range(len(windows)):
        time_s = np.linspace(windows.start_s[row], windows.end_s[row], 200)
        range_m, elevation = paths.sight(np.full(200, row), time_s)
        one, two = int(windows.satellite[row]), int(windows.other[row])
        exact = relative_motion(case.constellation, case.start_utc, time_s, one, two)
        assert np.abs(range_m - exact.range_m).max() < 0.1
        assert np.isnan(elevation).all()

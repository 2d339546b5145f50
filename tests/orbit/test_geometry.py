"""Stations, angles and rays, against skyfield and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skyfield.api import load, wgs84

from orbitune.errors import PlanError
from orbitune.orbit.geometry import (
    GroundStation,
    azimuth_rad,
    elevation_rad,
    nearest_fraction,
    subpoint,
)

latitudes = st.floats(-89.9, 89.9)
longitudes = st.floats(-179.9, 179.9)
coordinate = st.floats(-9e6, 9e6)
vectors = st.tuples(coordinate, coordinate, coordinate).map(np.array)


@given(latitudes, longitudes, st.floats(-400.0, 8000.0))
def test_station_position_equals_skyfields(latitude: float, longitude: float, altitude_m: float) -> None:
    station = GroundStation("here", math.radians(latitude), math.radians(longitude), altitude_m, 0.1)
    theirs = wgs84.latlon(latitude, longitude, elevation_m=altitude_m).itrs_xyz.m
    assert np.abs(station.position_m - theirs).max() < 1e-3


@given(latitudes, longitudes, st.floats(200e3, 36_000e3))
def test_subpoint_is_the_place_below(latitude: float, longitude: float, altitude_m: float) -> None:
    above = wgs84.latlon(latitude, longitude, elevation_m=altitude_m).itrs_xyz.m
    found_latitude, found_longitude = subpoint(above)
    assert float(found_latitude) == pytest.approx(math.radians(latitude), abs=1e-7)
    assert float(found_longitude) == pytest.approx(math.radians(longitude), abs=1e-9)


def test_elevation_of_known_directions() -> None:
    station = GroundStation("here", 0.5, 1.0, 100.0, 0.1)
    level = np.cross(station.vertical, [0.0, 0.0, 1.0])
    level /= np.linalg.norm(level)
    directions = np.stack([station.vertical, level, -station.vertical, level + station.vertical])
    angles = elevation_rad(station.position_m + 1e6 * directions, station)
    assert np.allclose(np.degrees(angles), [90.0, 0.0, -90.0, 45.0], atol=1e-6)


@given(latitudes, longitudes, latitudes, longitudes, st.floats(200e3, 36_000e3))
def test_azimuth_and_elevation_equal_skyfields(
    latitude: float, longitude: float, above_latitude: float, above_longitude: float, altitude_m: float
) -> None:
    here = GroundStation("here", math.radians(latitude), math.radians(longitude), 100.0, 0.1)
    above = wgs84.latlon(above_latitude, above_longitude, elevation_m=altitude_m)
    moment = load.timescale(builtin=True).tt_jd(2_460_000.5)
    elevation, azimuth, distance = (above - wgs84.latlon(latitude, longitude, elevation_m=100.0)).at(moment).altaz()
    mine = azimuth_rad(above.itrs_xyz.m, here)
    assert 0.0 <= mine < 2.0 * math.pi
    assert float(elevation_rad(above.itrs_xyz.m, here)) == pytest.approx(elevation.radians, abs=1e-7)
    # Near the zenith a millimetre is a large angle.
    aside = distance.m * math.cos(elevation.radians)
    assert 2.0 * math.sin(abs(mine - azimuth.radians) / 2.0) * aside == pytest.approx(0.0, abs=0.1)


def test_axes_are_east_north_and_up() -> None:
    axes = GroundStation("here", 0.7, -2.0, 100.0, 0.1).axes
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert axes[0, 2] == 0.0
    assert axes[1, 2] > 0.0


@given(vectors, vectors)
def test_nearest_point_of_a_segment_against_brute_force(a: np.ndarray, b: np.ndarray) -> None:
    fraction = nearest_fraction(a, b)
    point = a + fraction * (b - a)
    along = np.linspace(0.0, 1.0, 2001)[:, None]
    brute = np.linalg.norm(a + along * (b - a), axis=1).min()
    assert np.linalg.norm(point) <= brute + 1e-6
    assert np.linalg.norm(point) >= brute - np.linalg.norm(b - a) / 2000.0 - 1e-6
    back = b + nearest_fraction(b, a) * (a - b)
    assert np.linalg.norm(back) == pytest.approx(np.linalg.norm(point), abs=1e-3)
    assert 0.0 <= fraction <= 1.0


def test_degrees_instead_of_radians_are_refused() -> None:
    for wrong in ({"latitude_rad": 78.2}, {"longitude_rad": 103.8}, {"min_elevation_rad": 10.0}, {"antennas": 0}):
        with pytest.raises(PlanError, match="'Svalbard'"):
            GroundStation(
                **{"name": "Svalbard", "latitude_rad": 1.0, "longitude_rad": 1.0, "altitude_m": 0.0,
                   "min_elevation_rad": 0.1, "antennas": 1, **wrong}
            )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    "mask",
    [
        ((90.0, 0.1),),
        ((-0.1, 0.1),),
        ((2.0 * math.pi, 0.1),),
        ((1.0, 1.6),),
        ((1.0, math.nan),),
        ((math.nan, 0.1),),
        ((2.0, 0.1), (1.0, 0.2)),
        ((1.0, 0.1), (1.0, 0.2)),
    ],
)
def test_impossible_horizon_masks_are_refused(mask: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(PlanError, match="'Svalbard': horizon mask"):
        GroundStation("Svalbard", 1.0, 1.0, 0.0, 0.1, horizon_mask=mask)

"""Stations, angles and rays, against skyfield and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skyfield.api import wgs84

from orbitune.errors import PlanError
from orbitune.orbit.geometry import GroundStation, closest_approach, elevation_rad, nearest_fraction, subpoint

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


@given(vectors, vectors)
def test_closest_approach_against_brute_force(a: np.ndarray, b: np.ndarray) -> None:
    point = closest_approach(a, b)
    along = np.linspace(0.0, 1.0, 2001)[:, None]
    brute = np.linalg.norm(a + along * (b - a), axis=1).min()
    assert np.linalg.norm(point) <= brute + 1e-6
    assert np.linalg.norm(point) >= brute - np.linalg.norm(b - a) / 2000.0 - 1e-6
    assert np.linalg.norm(closest_approach(b, a)) == pytest.approx(np.linalg.norm(point), abs=1e-3)
    assert 0.0 <= nearest_fraction(a, b) <= 1.0


def test_degrees_instead_of_radians_are_refused() -> None:
    for wrong in ({"latitude_rad": 78.2}, {"longitude_rad": 103.8}, {"min_elevation_rad": 10.0}, {"antennas": 0}):
        with pytest.raises(PlanError, match="'Svalbard'"):
            GroundStation(
                **{"name": "Svalbard", "latitude_rad": 1.0, "longitude_rad": 1.0, "altitude_m": 0.0,
                   "min_elevation_rad": 0.1, "antennas": 1, **wrong}
            )  # type: ignore[arg-type]  # fmt: skip

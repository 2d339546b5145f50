"""Windows between satellites against looking every second, on random constellations and under all limits at once.

What is looked at comes from SGP4 directly, in its own inertial frame: range rates and the turning of the line of sight
are differences of positions, not formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rays import ray_radius
from sgp4.api import WGS72, Satrec

from orbitune.links import stretches
from orbitune.links.isl import IslSpec, IslWindows, plane_windows
from orbitune.orbit.constellation import SGP4_EPOCH_JD, Constellation, WalkerShell, build_walker
from orbitune.orbit.interpolate import cut_arcs
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_RADIUS_M

EPOCH_JD = 2_460_827.5
START = "2025-06-01T00:00:00Z"
EARTH_MU_KM3_S2 = 398_600.8
STENCIL_S = 0.05
"""Five points this far apart give derivatives to 10^-6, even of a direction that turns by a radian per second."""


@dataclass(frozen=True)
class Orbit:
    altitude_km: float
    inclination_rad: float
    raan_rad: float
    anomaly_rad: float
    eccentricity: float

    def record(self, number: int) -> Satrec:
        record = Satrec()
        # The perigee is at the altitude given, so that nothing flies through the ground.
        semi_major_km = (EARTH_RADIUS_M / 1e3 + self.altitude_km) / (1.0 - self.eccentricity)
        motion = math.sqrt(EARTH_MU_KM3_S2 / semi_major_km**3) * 60.0
        shape = (self.eccentricity, 0.3, self.inclination_rad, self.anomaly_rad, motion, self.raan_rad)
        record.sgp4init(WGS72, "i", number, EPOCH_JD - SGP4_EPOCH_JD, 0.0, 0.0, 0.0, *shape)
        return record


def constellation_of(orbits: list[Orbit]) -> Constellation:
    """Each satellite is its own plane."""
    size = len(orbits)
    return Constellation(
        names=tuple(f"s{k}" for k in range(size)),
        planes=tuple((k,) for k in range(size)),
        has_rings=(False,) * size,
        next_plane=(None,) * size,
        elements=tuple(orbit.record(k + 1) for k, orbit in enumerate(orbits)),
    )


def inertial_m(record: Satrec, time_s: np.ndarray) -> np.ndarray:
    error, position_km, _ = record.sgp4_array(np.full(time_s.shape, EPOCH_JD), time_s / 86_400.0)
    assert not error.any()
    return position_km * 1e3


def derivative(samples: list[np.ndarray]) -> np.ndarray:
    """Of five samples `STENCIL_S` apart, in the middle (Abramowitz and Stegun 25.3.6 without its remainder)."""
    return (samples[0] - 8.0 * samples[1] + 8.0 * samples[3] - samples[4]) / (12.0 * STENCIL_S)


def directions(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    return [(q - p) / np.linalg.norm(q - p, axis=1, keepdims=True) for p, q in zip(a, b, strict=True)]


def turning_from_orbit(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """How fast the direction from a to b turns against a frame that turns at r x v / r^2; five samples of each."""
    sight = directions(a, b)
    frame = np.cross(a[2], derivative(a)) / (a[2] ** 2).sum(axis=1, keepdims=True)
    return np.linalg.norm(derivative(sight) - np.cross(frame, sight[2]), axis=1)


def margins(one: Satrec, two: Satrec, time_s: np.ndarray, spec: IslSpec) -> np.ndarray:
    """How far each limit is from being broken, [7, T], in units of what the ephemeris may be wrong by."""
    moments = [time_s + k * STENCIL_S for k in range(-2, 3)]
    all_a, all_b = ([inertial_m(record, moment) for moment in moments] for record in (one, two))
    a, b = all_a[2], all_b[2]
    distance = [np.linalg.norm(q - p, axis=1) for p, q in zip(all_a, all_b, strict=True)]
    latitudes = [np.arcsin(np.abs(x[:, 2]) / np.linalg.norm(x, axis=1)) for x in (a, b)]
    turning = [turning_from_orbit(*ends) for ends in ((all_a, all_b), (all_b, all_a))]
    return np.array(
        [
            (ray_radius(a, b) - EARTH_RADIUS_M - spec.grazing_altitude_m) / 0.05,
            (spec.max_range_m - distance[2]) / 0.05,
            (spec.max_range_rate_m_s - np.abs(derivative(distance))) / 0.005,
            *((spec.max_slew_rad_s - x) / (1e-5 * x + 1e-10) for x in turning),
            *((spec.polar_cutoff_rad - x) / 1e-8 for x in latitudes),
        ]
    )


def is_open(start_s: np.ndarray, end_s: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    return np.searchsorted(start_s, time_s, side="right") > np.searchsorted(end_s, time_s)


def check_pair(one: Satrec, two: Satrec, spec: IslSpec, windows: IslWindows, horizon_s: float) -> None:
    seconds = np.arange(0.0, horizon_s)
    found = margins(one, two, seconds, spec)
    edges = np.concatenate([windows.start_s, windows.end_s, [math.inf]])
    near_edge = np.abs(seconds[:, None] - edges).min(axis=1) < 1e-3
    doubtful = np.abs(found).min(axis=0) < 1.0
    told = ~near_edge & ~doubtful
    assert np.array_equal(is_open(windows.start_s, windows.end_s, seconds)[told], (found > 0.0).all(axis=0)[told])
    short = windows.end_s - windows.start_s < 1.0
    middle = 0.5 * (windows.start_s + windows.end_s)[short]
    if len(middle):
        assert np.all(margins(one, two, middle, spec) > -1.0)


def test_what_the_orbital_frame_leaves_out_is_the_turning_of_the_plane_by_j2() -> None:
    """1.5 J2 n (R / r)^2 sin(2 i) at most, here at 200 km and 45 degrees: 1.8e-6 rad/s."""
    records = [Orbit(200.0, 0.25 * math.pi, 1.0, 0.0, 0.0).record(1), Orbit(2000.0, 1.0, 4.0, 2.0, 0.02).record(2)]
    for record in records:
        moments = [np.arange(0.0, 6000.0, 20.0) + k * STENCIL_S for k in range(-4, 5)]
        positions = [inertial_m(record, moment) for moment in moments]
        normals = [np.cross(positions[k], derivative(positions[k - 2 : k + 3])) for k in range(2, 7)]
        turning = np.linalg.norm(derivative([x / np.linalg.norm(x, axis=1, keepdims=True) for x in normals]), axis=1)
        assert turning.max() < 2e-6


orbits = st.builds(
    Orbit,
    altitude_km=st.floats(200.0, 2000.0),
    inclination_rad=st.floats(0.0, math.pi),
    raan_rad=st.floats(0.0, 6.28),
    anomaly_rad=st.floats(0.0, 6.28),
    eccentricity=st.sampled_from([0.0, 1e-3, 0.02]),
)
# Logarithmic, so that each limit is often the one that bites; and often there is no such limit.
specs = st.builds(
    IslSpec,
    policy=st.just("visible"),
    cross_seam=st.just(True),
    grazing_altitude_m=st.floats(0.0, 300e3),
    max_range_m=st.just(math.inf) | st.floats(5.5, 7.2).map(lambda x: 10.0**x),
    max_range_rate_m_s=st.just(math.inf) | st.floats(2.3, 4.3).map(lambda x: 10.0**x),
    max_slew_rad_s=st.just(math.inf) | st.floats(-3.7, -1.7).map(lambda x: 10.0**x),
    polar_cutoff_rad=st.just(0.5 * math.pi) | st.floats(0.3, 1.57),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(orbits, min_size=2, max_size=6), specs, st.floats(600.0, 3600.0), st.sampled_from([60.0, 120.0]))
def test_open_exactly_while_all_limits_are_kept(
    flown: list[Orbit], spec: IslSpec, horizon_s: float, grid_s: float
) -> None:
    constellation = constellation_of(flown)
    coarse_s = np.arange(0.0, horizon_s, 10.0)
    positions = [inertial_m(record, coarse_s) for record in constellation.elements]
    # Two satellites in one place have no direction to each other.
    assume(all(np.linalg.norm(a - b, axis=1).min() > 100.0 for a, b in combinations(positions, 2)))
    windows = plane_windows(constellation, spec, START, horizon_s, grid_s)
    for one, two in combinations(range(len(flown)), 2):
        mine = windows.at((windows.one == one) & (windows.two == two))
        records = constellation.elements[one], constellation.elements[two]
        check_pair(*records, spec, mine, horizon_s)


@pytest.mark.parametrize("ends", [(0, 7), (3, 30), (25, 40)])
def test_rates_of_clearances_are_their_derivatives(ends: tuple[int, int], cases: dict[str, Any]) -> None:
    every = IslSpec(max_range_m=5e6, max_range_rate_m_s=2e3, max_slew_rad_s=1e-3, polar_cutoff_rad=1.0).plane_limits
    constellation = cases["star"].constellation
    horizon = stretches.Horizon(constellation, range(len(constellation)), START, 60.0, 60)
    stretch = next(stretches.stretches(horizon, every))
    sample = np.arange(60)
    time_s = stretch.time_of(sample) + 30.0
    arcs = [cut_arcs(stretch.ephemeris, np.full(60, satellite), sample) for satellite in ends]
    for limit, _ in every.functions(8e3):
        before, now, after = (
            limit(*(stretches.motion_of(arc, time_s + late_s, accelerates=True) for arc in arcs))
            for late_s in (-0.1, 0.0, 0.1)
        )
        change = (after[0] - before[0]) / 0.2
        assert np.abs(change - now[1]).max() < 1e-6 * np.abs(change).max()


@pytest.mark.parametrize("altitude_m", [200e3, 550e3, 2000e3])
def test_bounds_between_samples_contain_what_happens_there(altitude_m: float) -> None:
    constellation = build_walker([WalkerShell("walker-delta", 12, 3, 1, altitude_m, 1.0)], START)
    horizon = stretches.Horizon(constellation, range(12), START, 300.0, 24)
    stretch = next(stretches.stretches(horizon, IslSpec().ring_limits))
    bounds = stretches._bounds(stretch)
    fine = propagate(constellation, START, np.arange(0.0, 7200.0)).position_m
    lowest = (fine**2).sum(axis=2).reshape(12, 24, 300).min(axis=2)
    assert np.all(bounds.lowest_squared <= lowest)
    # A bound that is far off would be true and useless.
    assert np.all(bounds.lowest_squared > 0.97 * lowest)

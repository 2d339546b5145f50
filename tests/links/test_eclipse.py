"""Eclipses against a shadow sampled every second, and against the closed form for circular orbits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitune.errors import PlanError
from orbitune.links.eclipse import Eclipses, eclipse_share, eclipses
from orbitune.orbit.catalogue import read_elements
from orbitune.orbit.constellation import Constellation, WalkerShell, build_walker
from orbitune.orbit.elements import constellation_of
from orbitune.orbit.propagate import propagate
from orbitune.orbit.sun import sun_direction

EQUATOR_M, POLE_M = 6_378_137.0, 6_356_752.3142
"""Semi-axes of WGS 84 (NIMA TR8350.2, table 3.3)."""

START = "2025-06-01T00:00:00Z"


def circular(altitude_m: float, inclination_deg: float, raan_deg: float, satellites: int = 1) -> Constellation:
    shell = WalkerShell(
        "walker-delta", satellites, 1, 0, altitude_m, math.radians(inclination_deg), math.radians(raan_deg)
    )
    return build_walker([shell], START)


def hidden(position_m: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """Whether the half line from each position to the Sun meets the ellipsoid: the quadratic of the ray, solved."""
    axes = np.array([EQUATOR_M, EQUATOR_M, POLE_M])
    p, d = position_m / axes, np.broadcast_to(sun / axes, position_m.shape)
    a, b, c = (d * d).sum(-1), (p * d).sum(-1), (p * p).sum(-1) - 1.0
    return (b * b - a * c > 0.0) & (b < 0.0)


def inside(found: Eclipses, satellite: int, time_s: np.ndarray) -> np.ndarray:
    mine = found.satellite == satellite
    return ((found.start_s[mine, None] < time_s) & (time_s < found.end_s[mine, None])).any(axis=0)


def assert_sampled(constellation: Constellation, start_utc: str, horizon_s: float, grid_s: float) -> None:
    found = eclipses(constellation, start_utc, horizon_s, grid_s)
    time_s = np.arange(0.0, horizon_s, 1.0)
    dark = hidden(propagate(constellation, start_utc, time_s).position_m, sun_direction(start_utc, time_s))
    edges = np.sort(np.concatenate([found.start_s, found.end_s]))
    # The arcs are within decimetres of SGP4 on these grids, so samples within a millisecond of an edge may differ.
    near = (np.abs(time_s[:, None] - edges) < 1e-3).any(axis=1)
    for satellite in range(len(constellation)):
        different = inside(found, satellite, time_s) != dark[satellite]
        different[near] = False
        assert not different.any(), (satellite, time_s[different])


@settings(max_examples=15)
@given(
    st.floats(250e3, 2000e3),
    st.floats(0.0, 110.0),
    st.floats(0.0, 360.0),
    st.integers(0, 364),
    st.sampled_from([60, 120]),
)
def test_every_second_agrees_with_a_sampled_shadow(
    altitude_m: float, inclination_deg: float, raan_deg: float, day: int, grid_s: float
) -> None:
    start_utc = (np.datetime64("2025-06-01") + day).item().isoformat() + "T00:00:00Z"
    shell = WalkerShell("walker-delta", 3, 1, 0, altitude_m, math.radians(inclination_deg), math.radians(raan_deg))
    assert_sampled(build_walker([shell], start_utc), start_utc, 14_400.0, grid_s)


def test_real_element_sets(repository: Path) -> None:
    planet = constellation_of(read_elements(repository / "orbitune" / "data" / "tle" / "planet_sample.tle"))
    assert_sampled(planet, "2022-04-23T12:00:00Z", 14_400.0, 60.0)


def test_grazing_eclipses_shorter_than_the_grid_are_found() -> None:
    """Over a season the beta angle of an inclined orbit passes the limit; the last eclipses are seconds long."""
    constellation = circular(780e3, 86.4, 0.0, satellites=1)
    shortest = math.inf
    for day in range(0, 200, 2):
        start_utc = (np.datetime64("2025-06-01") + day).item().isoformat() + "T00:00:00Z"
        found = eclipses(constellation, start_utc, 43_200.0)
        whole = (found.start_s > 0.0) & (found.end_s < 43_200.0)
        if whole.any() and (found.end_s - found.start_s)[whole].min() < shortest:
            shortest, worst = float((found.end_s - found.start_s)[whole].min()), start_utc
    assert shortest < 120.0
    fine, coarse = eclipses(constellation, worst, 43_200.0, 5.0), eclipses(constellation, worst, 43_200.0, 120.0)
    assert len(fine) == len(coarse)
    assert np.abs(fine.start_s - coarse.start_s).max() < 0.1
    assert np.abs(fine.end_s - coarse.end_s).max() < 0.1


def beta_rad(constellation: Constellation, time_s: np.ndarray) -> np.ndarray:
    """Angle of the Sun above the plane of satellite 0."""
    ephemeris = propagate(constellation, START, time_s, [0])
    position, velocity = ephemeris.position_m[0], ephemeris.velocity_m_s[0]
    inertial = velocity + np.cross([0.0, 0.0, 7.2921158e-5], position)
    normal = np.cross(position, inertial)
    sine = (normal * sun_direction(START, time_s)).sum(-1) / np.linalg.norm(normal, axis=1)
    return np.arcsin(sine)


@pytest.mark.parametrize("altitude_m", [400e3, 550e3, 1200e3])
@pytest.mark.parametrize("raan_deg", [0.0, 40.0, 80.0, 120.0, 160.0])
def test_share_of_a_circular_orbit_is_the_closed_form(altitude_m: float, raan_deg: float) -> None:
    """share = acos(sqrt(h^2 + 2 R h) / ((R + h) cos beta)) / pi for a sphere; 0 where beta is above the limit.

    Reference: Wertz and Larson, Space Mission Analysis and Design, 3rd edition (1999), section 5.1. The ellipsoid,
    with R between its semi-axes, and the orbit's radius, which J2 moves by 10 km, give the tolerance.
    """
    constellation = circular(altitude_m, 60.0, raan_deg)
    orbits = round(86_400.0 / (2.0 * math.pi * math.sqrt((6_378_135.0 + altitude_m) ** 3 / 3.986e14)))
    horizon_s = orbits * 2.0 * math.pi / constellation.elements[0].no_kozai * 60.0
    beta = float(beta_rad(constellation, np.array([horizon_s / 2.0]))[0])
    share = float(eclipse_share(eclipses(constellation, START, horizon_s), 1, horizon_s)[0])

    def closed_form(radius_m: float, beta: float) -> float:
        ratio = math.sqrt(altitude_m**2 + 2.0 * radius_m * altitude_m) / ((radius_m + altitude_m) * math.cos(beta))
        return math.acos(ratio) / math.pi if ratio < 1.0 else 0.0

    drift = math.radians(3.0)  # beta moves by some degrees within a day
    shares = [closed_form(radius, beta + d) for radius in (EQUATOR_M, POLE_M) for d in (-drift, 0.0, drift)]
    assert min(shares) - 0.01 <= share <= max(shares) + 0.01
    if abs(beta) < 0.1 and altitude_m == 550e3:
        assert 0.35 < share < 0.40


def test_an_orbit_along_the_terminator_has_no_eclipse() -> None:
    """No eclipse where beta stays above asin(R / (R + h)), 55.1 degrees at 1400 km (Wertz and Larson, as above)."""
    limit = math.asin(EQUATOR_M / (EQUATOR_M + 1400e3)) + math.radians(1.0)
    orbits = [circular(1400e3, 80.0, float(raan_deg)) for raan_deg in range(0, 360, 20)]
    day = np.array([0.0, 43_200.0, 86_400.0])
    lit = [orbit for orbit in orbits if np.abs(beta_rad(orbit, day)).min() > limit]
    assert 2 <= len(lit) < len(orbits)
    for orbit in orbits:
        assert (len(eclipses(orbit, START, 86_400.0)) == 0) == (orbit in lit)


def test_one_satellite_alone_and_in_a_crowd_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = circular(550e3, 53.0, 30.0, satellites=8)
    together = eclipses(crowd, START, 20_000.0)
    monkeypatch.setattr("orbitune.links.eclipse.SAMPLES_PER_CHUNK", 700)
    apart = eclipses(crowd, START, 20_000.0)
    for column in ("satellite", "start_s", "end_s"):
        assert np.array_equal(getattr(together, column), getattr(apart, column))
    order = np.lexsort((together.start_s, together.satellite))
    assert np.array_equal(order, np.arange(len(together)))
    assert set(together.satellite.tolist()) == set(range(8))


@pytest.mark.parametrize(("horizon_s", "grid_s"), [(0.0, 60.0), (math.nan, 60.0), (3600.0, 0.0), (3600.0, 500.0)])
def test_impossible_times_are_refused(horizon_s: float, grid_s: float) -> None:
    with pytest.raises(PlanError, match=r"the (horizon|grid) is"):
        eclipses(circular(550e3, 53.0, 0.0), START, horizon_s, grid_s)

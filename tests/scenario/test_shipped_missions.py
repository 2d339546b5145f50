"""The shipped constellations and station networks, each number against the source it names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from orbitune.links.isl import POLICIES
from orbitune.orbit.catalogue import read_elements
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import SECONDS_PER_DAY
from orbitune.scenario.build import build_constellation, build_stations, elements_path
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.units import EARTH_RADIUS_M

SHELLS = {
    # preset: (kind, satellites, planes, altitude_km, inclination_deg), as the source beside it in the preset says
    "iridium-like": [("walker-star", 66, 6, 780, 86.4)],  # Wikipedia, "Iridium satellite constellation"
    "oneweb": [("walker-star", 588, 12, 1200, 87.9)],  # ISRO, LVM3-M3: 12 planes of 49; FCC filings: 87.9 degrees
    "starlink-shell1": [("walker-delta", 1584, 72, 550, 53)],  # FCC SAT-MOD-20190830-00087
    "kuiper-shell1": [("walker-delta", 1156, 34, 630, 51.9)],  # FCC SAT-LOA-20190704-00057
    "three-body-like": [("walker-delta", 12, 1, 535, 97.5)],  # the number is published, the orbit is chosen
    "planet-like": [("walker-delta", 36, 1, 518.1, 97.44), ("walker-delta", 36, 1, 521, 97.49)],
}

REVOLUTIONS_PER_DAY = {"kuiper-shell1": 14.80}
"""Mean motion that Hypatia uses for this shell (Kassing et al., IMC 2020; rounded there to 0.01). What it has for
Starlink's 550 km, 15.19, belongs to 508 km by Kepler's third law, so it is no reference."""

NETWORKS = {"ksat-like": 12, "ssc-like": 8, "aws-like": 12}
"""Stations; the twelve of AWS are those of its user guide, "AWS Ground Station Locations"."""


@pytest.mark.parametrize("preset", SHELLS)
def test_the_shells_are_those_of_their_sources(preset: str) -> None:
    found = [
        (shell.kind, shell.satellites, shell.planes, shell.altitude_km, shell.inclination_deg)
        for shell in load(preset).shell
    ]
    assert found == SHELLS[preset]


@pytest.mark.parametrize("preset", REVOLUTIONS_PER_DAY)
def test_the_altitude_gives_the_revolutions_that_others_use(preset: str) -> None:
    """Ours is the mean motion of SGP4, theirs that of a sphere: 0.1 % apart at most (J2)."""
    record = build_constellation(load(preset)).elements[0]
    found = record.no_kozai * 1440.0 / (2.0 * math.pi)
    assert found == pytest.approx(REVOLUTIONS_PER_DAY[preset], rel=2e-3)


def _node_drift_deg_per_day(scenario: Scenario) -> float:
    """How fast the orbital plane of the first satellite turns, by SGP4's own secular rate."""
    record = build_constellation(scenario).elements[0]
    return math.degrees(record.nodedot) * 1440.0


def test_the_planet_like_planes_stay_with_the_sun() -> None:
    """360 degrees in a year of 365.2422 days; Doves drift by a few degrees of node a year."""
    assert _node_drift_deg_per_day(load("planet-like")) == pytest.approx(360.0 / 365.2422, abs=0.02)


def test_the_planet_like_planes_are_those_of_the_published_elements() -> None:
    sets = {found.name: found.record for found in read_elements(elements_path("planet_sample.tle"))}
    for shell, flock in zip(load("planet-like").shell, ("FLOCK 4S-9", "FLOCK 4X-43"), strict=True):
        record = sets[flock]
        assert shell.altitude_km == pytest.approx(record.a * 6378.135 - 6378.135, abs=0.5)
        assert shell.inclination_deg == pytest.approx(math.degrees(record.inclo), abs=0.01)
        assert shell.raan_deg == pytest.approx(math.degrees(record.nodeo), abs=0.5)


def test_the_iridium_like_inclination_is_that_of_the_published_elements() -> None:
    sets = [found for found in read_elements(elements_path("iridium_sample.tle")) if found.name.startswith("IRIDIUM")]
    inclinations = [math.degrees(found.record.inclo) for found in sets]
    assert np.mean(inclinations) == pytest.approx(86.4, abs=0.01)


@pytest.mark.parametrize("preset", SHELLS)
def test_satellites_fly_at_the_altitude_that_is_written(preset: str) -> None:
    """The radius swings about the mean by a few kilometres (J2, J3)."""
    scenario = load(preset)
    constellation = build_constellation(scenario)
    time_s = np.linspace(0.0, SECONDS_PER_DAY / 14.0, 200)
    radius_m = np.linalg.norm(propagate(constellation, scenario.time.start_utc, time_s, [0]).position_m, axis=2)
    written_km = scenario.shell[0].altitude_km
    assert written_km is not None
    assert radius_m.mean() - EARTH_RADIUS_M == pytest.approx(written_km * 1e3, abs=6e3)


@pytest.mark.parametrize("preset", NETWORKS)
def test_networks_are_real_places(preset: str) -> None:
    stations = build_stations(load(preset))
    assert len(stations) == NETWORKS[preset]
    assert len({station.name for station in stations}) == len(stations)
    svalbard = [station for station in stations if station.name == "Svalbard"]
    for station in svalbard:  # SvalSat: 78 13 47.18 N, 15 24 28.03 E (Wikipedia, "Svalbard Satellite Station")
        assert math.degrees(station.latitude_rad) == pytest.approx(78.2298, abs=0.01)
        assert math.degrees(station.longitude_rad) == pytest.approx(15.4078, abs=0.01)


def test_orbits_and_networks_combine(tmp_path: Path) -> None:
    """`extends` takes a list: what comes later counts, and what both rest on counts once, below them."""
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nextends = ["starlink-shell1", "ksat-like"]\n')
    scenario = load(path)
    assert scenario.shell == load("starlink-shell1").shell
    assert scenario.links == load("starlink-shell1").links
    assert scenario.ground_station == load("ksat-like").ground_station


def test_the_policies_of_the_presets_are_known() -> None:
    assert {load(preset).links.isl_inter_policy for preset in SHELLS} <= set(POLICIES)

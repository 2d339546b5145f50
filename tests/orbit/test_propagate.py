"""Positions against skyfield's ITRS under the same UT1, and what happens to decayed satellites."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skyfield.api import EarthSatellite, load
from skyfield.framelib import itrs

from orbitune.errors import InputError
from orbitune.orbit.catalogue import read_elements
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.elements import constellation_of
from orbitune.orbit.interpolate import NUM_NODES, cut_arcs, time_grid
from orbitune.orbit.propagate import propagate

START = "2022-04-23T12:00:00Z"


@pytest.fixture(scope="module")
def planet(repository: Path) -> Constellation:
    return constellation_of(read_elements(repository / "orbitune" / "data" / "tle" / "planet_sample.tle"))


def test_positions_and_velocities_equal_skyfields(planet: Constellation) -> None:
    # TT - UT1 = 32.184 s + 37 leap seconds makes UT1 = UTC, as in Orbitune.
    timescale = load.timescale(delta_t=69.184, builtin=True)
    time_s = np.arange(0.0, 2 * 86_400.0, 600.0)
    ours = propagate(planet, START, time_s)
    moments = timescale.utc(2022, 4, 23, 12, 0, time_s)
    for satellite, record in enumerate(planet.elements):
        theirs = EarthSatellite.from_satrec(record, timescale).at(moments)
        position, velocity = theirs.frame_xyz_and_velocity(itrs)
        assert np.abs(ours.position_m[satellite] - position.m.T).max() < 0.3
        assert np.abs(ours.velocity_m_s[satellite] - velocity.m_per_s.T).max() < 1e-3


def test_velocity_is_the_rate_of_the_position(planet: Constellation) -> None:
    time_s = np.arange(0.0, 6000.0, 0.5)
    ephemeris = propagate(planet, START, time_s)
    rate = (ephemeris.position_m[:, 2:] - ephemeris.position_m[:, :-2]) / 1.0
    assert np.abs(rate - ephemeris.velocity_m_s[:, 1:-1]).max() < 0.05  # SGP4's own velocity is good to 0.02 m/s


def test_a_part_is_the_same_as_the_whole(planet: Constellation) -> None:
    time_s = np.arange(0.0, 600.0, 60.0)
    whole, part = propagate(planet, START, time_s), propagate(planet, START, time_s, [5, 2])
    assert np.array_equal(part.position_m, whole.position_m[[5, 2]])
    assert np.array_equal(part.velocity_m_s, whole.velocity_m_s[[5, 2]])


def test_satellites_that_sgp4_refuses_are_named(planet: Constellation) -> None:
    with pytest.raises(InputError) as caught:
        propagate(planet, "2026-04-23T12:00:00Z", np.arange(0.0, 600.0, 60.0))
    message = str(caught.value)
    bad = [name for name, record in zip(planet.names, planet.elements, strict=True) if record.sgp4(2461154.0, 0.0)[0]]
    assert 0 < len(bad) < len(planet)
    assert all(f"  {name}: " in message for name in bad)
    assert f"{len(bad)} of {len(planet)}" in message
    assert "decayed" in message


@pytest.mark.parametrize(("grid_s", "limit_m"), [(30.0, 1e-4), (60.0, 1e-4), (120.0, 0.005)])
def test_arcs_stay_near_sgp4(planet: Constellation, grid_s: float, limit_m: float) -> None:
    time_s = time_grid(7200.0, grid_s)
    ephemeris = propagate(planet, START, time_s)
    random = np.random.default_rng(1)
    wanted_s = np.sort(random.uniform(3 * grid_s, 7200.0 - 3 * grid_s, 500))
    exact = propagate(planet, START, wanted_s)
    sample = np.searchsorted(time_s, wanted_s, side="right") - 1
    for satellite in range(len(planet)):
        position, velocity = cut_arcs(ephemeris, np.full(500, satellite), sample).at(wanted_s)
        assert np.linalg.norm(position - exact.position_m[satellite], axis=1).max() < limit_m
        assert np.linalg.norm(velocity - exact.velocity_m_s[satellite], axis=1).max() < 0.05  # SGP4's own error


def test_arcs_reach_the_ends_of_a_short_horizon(planet: Constellation) -> None:
    time_s = time_grid(200.0, 60.0)
    assert len(time_s) == NUM_NODES
    assert time_s[-1] == 200.0
    wanted_s = np.linspace(0.0, 200.0, 50)
    sample = np.minimum(np.searchsorted(time_s, wanted_s, side="right") - 1, NUM_NODES - 2)
    arcs = cut_arcs(propagate(planet, START, time_s), np.zeros(50, dtype=np.int64), sample)
    exact = propagate(planet, START, wanted_s, [0]).position_m[0]
    assert np.linalg.norm(arcs.at(wanted_s)[0] - exact, axis=1).max() < 1e-4


def test_arcs_are_good_in_the_first_and_last_intervals_too(planet: Constellation) -> None:
    time_s = time_grid(7200.0, 120.0)
    wanted_s = np.concatenate([np.linspace(0.0, 120.0, 50), np.linspace(7080.0, 7200.0, 50)])
    sample = np.repeat([0, len(time_s) - 2], 50)
    ephemeris, exact = propagate(planet, START, time_s), propagate(planet, START, wanted_s)
    for satellite in range(len(planet)):
        position, _ = cut_arcs(ephemeris, np.full(100, satellite), sample).at(wanted_s)
        assert np.linalg.norm(position - exact.position_m[satellite], axis=1).max() < 0.05

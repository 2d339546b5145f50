"""Walker patterns: the laws of the notation, and the orbit that an altitude means."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.errors import PlanError
from orbitune.orbit.constellation import WalkerShell, build_walker, element_age_days, join
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_J2, EARTH_MU_M3_S2, EARTH_RADIUS_M

START = "2025-06-01T00:00:00Z"
STAR = WalkerShell("walker-star", 66, 6, 2, 780e3, math.radians(86.4))
DELTA = WalkerShell("walker-delta", 72, 6, 1, 550e3, math.radians(53.0))
SUN_SYNCHRONOUS = WalkerShell("walker-delta", 24, 3, 1, 500e3, math.radians(97.4), raan_rad=1.0)
SHELLS = [STAR, DELTA, SUN_SYNCHRONOUS]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.kind)
def test_nodes_and_phases_follow_the_notation(shell: WalkerShell) -> None:
    constellation = build_walker([shell], START)
    assert len(constellation) == shell.satellites
    assert [len(plane) for plane in constellation.planes] == [shell.satellites // shell.planes] * shell.planes
    first = [constellation.elements[plane[0]] for plane in constellation.planes]
    spread = 2.0 * math.pi if shell.kind == "walker-delta" else math.pi
    for before, after in pairwise(first):
        assert (after.nodeo - before.nodeo) % (2 * math.pi) == pytest.approx(spread / shell.planes)
        assert (after.mo - before.mo) % (2 * math.pi) == pytest.approx(2 * math.pi * shell.phasing / shell.satellites)
    assert first[0].nodeo == pytest.approx(shell.raan_rad)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.kind)
def test_altitude_is_the_mean_semi_major_axis_of_sgp4(shell: WalkerShell) -> None:
    constellation = build_walker([shell], START)
    for record in constellation.elements:
        assert record.a * EARTH_RADIUS_M == pytest.approx(EARTH_RADIUS_M + shell.altitude_m, abs=0.01)
    period_s = 2.0 * math.pi * math.sqrt((EARTH_RADIUS_M + shell.altitude_m) ** 3 / EARTH_MU_M3_S2)
    radius = np.linalg.norm(propagate(constellation, START, np.linspace(0.0, period_s, 200)).position_m, axis=2)
    assert abs(radius.mean() - EARTH_RADIUS_M - shell.altitude_m) < 6e3
    assert np.ptp(radius) < 30e3  # circular but for J2 and J3


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.kind)
def test_satellites_of_a_plane_are_evenly_spaced(shell: WalkerShell) -> None:
    constellation = build_walker([shell], START)
    position = propagate(constellation, START, np.arange(0.0, 86_400.0, 1800.0)).position_m
    for plane in constellation.planes:
        ring = position[[*plane, plane[0]]] / np.linalg.norm(position[[*plane, plane[0]]], axis=2, keepdims=True)
        angle = np.arccos(np.einsum("stc,stc->st", ring[1:], ring[:-1]))
        assert np.allclose(angle, 2.0 * math.pi / len(plane), atol=math.radians(0.3))


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.kind)
def test_nodal_period_is_keplers_with_j2(shell: WalkerShell) -> None:
    """Secular rates of argument of perigee and mean anomaly: Vallado, Fundamentals of Astrodynamics, 9.6.2."""
    a = EARTH_RADIUS_M + shell.altitude_m
    j2 = 0.75 * EARTH_J2 * (EARTH_RADIUS_M / a) ** 2
    rate = math.sqrt(EARTH_MU_M3_S2 / a**3) * (1.0 + j2 * (8.0 * math.cos(shell.inclination_rad) ** 2 - 2.0))
    time_s = np.arange(0.0, 86_400.0, 10.0)
    height = propagate(build_walker([shell], START), START, time_s, [0]).position_m[0, :, 2]
    up = np.flatnonzero((height[:-1] < 0.0) & (height[1:] >= 0.0))
    nodes_s = time_s[up] - 10.0 * height[up] / (height[up + 1] - height[up])
    assert np.diff(nodes_s).mean() == pytest.approx(2.0 * math.pi / rate, rel=2e-5)


def test_names_carry_the_shell_only_when_there_are_several() -> None:
    assert build_walker([DELTA], START).names[12 * 2 + 7] == "sat-02-07"
    both = build_walker([DELTA, STAR], START)
    assert both.names[0] == "sat-0-00-00"
    assert both.names[72 + 11 + 3] == "sat-1-01-03"
    assert len(set(both.names)) == 138


def test_planes_link_forward_inside_their_shell_only() -> None:
    both = build_walker([DELTA, STAR], START)
    assert both.next_plane == (1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11, None)
    assert build_walker([WalkerShell("walker-delta", 8, 2, 0, 6e5, 1.0)], START).next_plane == (1, None)
    single = build_walker([WalkerShell("walker-delta", 1, 1, 0, 6e5, 1.0)], START)
    assert single.next_plane == (None,)
    assert single.has_rings == (False,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"satellites": 67}, "divide evenly"),
        ({"planes": 0}, "divide evenly"),
        ({"phasing": 6}, "from 0 to 5"),
        ({"altitude_m": 780.0}, "in metres"),
        ({"inclination_rad": 86.4}, "in radians"),
        ({"kind": "rosette"}, "walker-delta"),
    ],
)
def test_impossible_patterns_say_why(change: dict[str, object], says: str) -> None:
    given: dict[str, object] = {
        "kind": "walker-star", "satellites": 66, "planes": 6, "phasing": 2, "altitude_m": 780e3, "inclination_rad": 1.5
    }  # fmt: skip
    with pytest.raises(PlanError, match=says):
        WalkerShell(**{**given, **change})  # type: ignore[arg-type]


@given(
    planes=st.integers(1, 80),
    per_plane=st.integers(1, 80),
    phasing=st.integers(0, 79),
    thousandths_deg=st.integers(0, 180_000),
)
def test_the_notation_of_the_field_round_trips(planes: int, per_plane: int, phasing: int, thousandths_deg: int) -> None:
    inclination = f"{thousandths_deg / 1000.0:.3f}".rstrip("0").rstrip(".")
    satellites, phase = planes * per_plane, phasing % planes
    shell = WalkerShell.from_notation("walker-star", f"{inclination}:{satellites}/{planes}/{phase}", 600e3, 0.5)
    inclination_rad = math.radians(float(inclination))
    assert shell == WalkerShell("walker-star", satellites, planes, phase, 600e3, inclination_rad, 0.5)
    assert shell.notation == f"{inclination}:{satellites}/{planes}/{phase}"


def test_the_notation_of_starlinks_first_shell() -> None:
    shell = WalkerShell.from_notation("walker-delta", " 53deg: 1584 / 72 / 39 ", 550e3)
    assert (shell.satellites, shell.planes, shell.phasing, shell.per_plane) == (1584, 72, 39, 22)
    assert shell.inclination_rad == math.radians(53.0)
    assert shell.notation == "53:1584/72/39"
    assert WalkerShell.from_notation("walker-delta", "97.46:24/3/1", 5e5).notation == "97.46:24/3/1"


@pytest.mark.parametrize("notation", ["", "1584/72/39", "53:1584/72", "53:1584:72:39", "-53:1584/72/39", "53:15.5/1/0"])
def test_other_texts_are_no_notation(notation: str) -> None:
    with pytest.raises(PlanError, match="inclination in degrees:satellites/planes/phasing, such as 53:1584/72/39"):
        WalkerShell.from_notation("walker-delta", notation, 550e3)


def test_a_notation_with_an_impossible_pattern_says_so() -> None:
    with pytest.raises(PlanError, match="Walker shell 53:1584/72/72: phasing must be from 0 to 71"):
        WalkerShell.from_notation("walker-delta", "53:1584/72/72", 550e3)


def test_joined_constellations_are_numbered_on() -> None:
    first = replace(build_walker([DELTA], START), left_out=("one",))
    second = replace(build_walker([STAR], START), left_out=("two",))
    both, built = join(first, second), build_walker([DELTA, STAR], START)
    assert (both.planes, both.has_rings, both.next_plane) == (built.planes, built.has_rings, built.next_plane)
    assert both.names == first.names + second.names
    assert both.elements == first.elements + second.elements
    assert both.left_out == ("one", "two")


def test_no_shell_is_refused() -> None:
    with pytest.raises(PlanError, match="no shell"):
        build_walker([], START)


def test_age_of_elements() -> None:
    assert np.allclose(element_age_days(build_walker([DELTA], START), "2025-06-11T12:00:00Z"), 10.5, atol=1e-9)

"""Orbits of one's own: the table means the orbit it says, and each slip is told with its line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.errors import InputError
from orbitune.orbit.constellation import Constellation, MeanElements, WalkerShell, build_walker
from orbitune.orbit.custom import COLUMNS, read_custom
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_J2, EARTH_MU_M3_S2, EARTH_RADIUS_M

START = "2025-06-01T00:00:00Z"
HEADER = ",".join(COLUMNS)


def read(folder: Path, text: str) -> Constellation:
    path = folder / "own.csv"
    path.write_bytes(text.encode())
    return read_custom(path, START)


def test_a_walker_pattern_as_a_table_is_the_walker_pattern(tmp_path: Path) -> None:
    shell = WalkerShell.from_notation("walker-delta", "53:12/3/1", 550e3)
    walker = build_walker([shell], START)
    rows = [
        f"{walker.names[p * 4 + s]},plane {p},550,53,{120 * p},{90 * s + 30 * p}" for p in range(3) for s in range(4)
    ]
    table = read(tmp_path, "\n".join(["name,plane,altitude_km,inclination_deg,raan_deg,mean_anomaly_deg", *rows]))
    assert table.names == walker.names
    assert [set(plane) for plane in table.planes] == [set(plane) for plane in walker.planes]
    assert table.has_rings == (True, True, True)
    assert table.next_plane == (None, None, None)
    time_s = np.arange(0.0, 86_400.0, 3600.0)
    difference_m = propagate(table, START, time_s).position_m - propagate(walker, START, time_s).position_m
    assert np.linalg.norm(difference_m, axis=2).max() < 1e-3


def test_a_ring_follows_the_argument_of_latitude(tmp_path: Path) -> None:
    rows = [
        "a,north,600,0,97,10,0,350",
        "b,lone,600,0,97,80,0,0",
        "c,north,600,0.001,97,10,300,80",  # 380, that is 20 degrees
        "d,north,600,0,97,10,90,-30",
        "e,north,600,0,97,10,0,170",
    ]
    found = read(tmp_path, "\n".join([HEADER, *rows]))
    assert found.planes == ((2, 3, 4, 0), (1,))
    assert found.has_rings == (True, False)
    height_rad = np.arcsin(
        (p := propagate(found, START, np.zeros(1)).position_m[[2, 3, 4, 0], 0])[:, 2] / np.linalg.norm(p, axis=1)
    )
    argument = np.radians([20.0, 60.0, 170.0, 350.0])
    assert np.allclose(np.sin(height_rad), np.sin(argument) * math.sin(math.radians(97.0)), atol=0.003)


@given(
    eccentricity=st.floats(0.0, 0.8),
    perigee_km=st.floats(200.0, 5000.0),
    inclination_rad=st.floats(0.0, math.pi),
    anomaly_rad=st.floats(0.0, 6.28),
)
def test_sgp4_finds_the_semi_major_axis_that_was_meant(
    eccentricity: float, perigee_km: float, inclination_rad: float, anomaly_rad: float
) -> None:
    semi_major_m = (EARTH_RADIUS_M + perigee_km * 1e3) / (1.0 - eccentricity)
    record = MeanElements(semi_major_m, eccentricity, inclination_rad, 1.0, 2.0, anomaly_rad).record(1, 27_000.0)
    assert record.a * EARTH_RADIUS_M == pytest.approx(semi_major_m, abs=0.01)
    assert record.ecco == eccentricity


@pytest.mark.parametrize("inclination_deg", [30.0, 63.4349, 97.5])
def test_an_eccentric_orbit_has_the_perigee_apogee_and_period_of_the_table(
    tmp_path: Path, inclination_deg: float
) -> None:
    """Secular rates with J2: Vallado, Fundamentals of Astrodynamics and Applications, 9.6.2."""
    altitude_km, eccentricity = 3000.0, 0.2
    found = read(tmp_path, f"{HEADER}\nsat,p,{altitude_km},{eccentricity},{inclination_deg},20,40,10")
    a = EARTH_RADIUS_M + altitude_km * 1e3
    time_s = np.arange(0.0, 10 * 86_400.0, 10.0)
    radius = np.linalg.norm(propagate(found, START, time_s).position_m[0], axis=1)
    assert radius.min() == pytest.approx(a * (1.0 - eccentricity), abs=15e3)
    assert radius.max() == pytest.approx(a * (1.0 + eccentricity), abs=15e3)
    # From perigee to perigee the mean anomaly makes one turn.
    j2 = 0.75 * EARTH_J2 * (EARTH_RADIUS_M / a) ** 2 / (1.0 - eccentricity**2) ** 1.5
    rate = math.sqrt(EARTH_MU_M3_S2 / a**3) * (1.0 + j2 * (3.0 * math.cos(math.radians(inclination_deg)) ** 2 - 1.0))
    low = np.flatnonzero((radius[1:-1] < radius[:-2]) & (radius[1:-1] <= radius[2:])) + 1
    before, at, after = radius[low - 1], radius[low], radius[low + 1]
    perigee_s = time_s[low] + 5.0 * (before - after) / (before - 2.0 * at + after)
    assert (perigee_s[-1] - perigee_s[0]) / (len(low) - 1) == pytest.approx(2.0 * math.pi / rate, rel=2e-5)


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    text = f'\ufeff{HEADER}\r\n"sat, one",p, 600 ,,\r\n'.replace(",,\r\n", ",0,97,10,0,0\r\n") + ",,,,,,,\r\n\r\n"
    assert read(tmp_path, text).names == ("sat, one",)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,p,99,0,97,0,0,0", "altitude_km = 99 must be at least 100"),
        ("a,p,600000x,0,97,0,0,0", "altitude_km = '600000x' is not a number"),
        ("a,p,nan,0,97,0,0,0", "altitude_km = 'nan' is not a number"),
        ("a,p,600,1.1,97,0,0,0", "eccentricity = 1.1 must be from 0 to 1"),
        ("a,p,600,1,97,0,0,0", "the perigee is at -6378 km, at least 100 km are needed"),
        ("a,p,600,0.1,97,0,0,0", "the perigee is at -98 km, at least 100 km are needed"),
        ("a,p,600,0,181,0,0,0", "inclination_deg = 181 must be from 0 to 180"),
        ("a,p,600,0,97,361,0,0", "raan_deg = 361 must be from -360 to 360"),
        ("a,p,600,0,97,,0,0", "raan_deg = '' is not a number"),
        (",p,600,0,97,0,0,0", "name is empty"),
        ("a,,600,0,97,0,0,0", "plane is empty"),
        ("a,p,600,0,97,0,0", "the row has 7 cells, the header 8"),
        ("sat,p,600,0,97,0,0,0", "the name 'sat' is in line 2 already"),
    ],
)
def test_a_broken_row_says_why(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, f"{HEADER}\nsat,p,600,0,97,0,0,0\n\n{row}\n")
    assert f"own.csv, line 4: {says}" in str(caught.value)
    assert "Correct the table." in str(caught.value)


def test_all_broken_rows_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, f"{HEADER}\na,p,50,0,97,0,0,0\nb,,600,2,97,0,0,0\na,p,600,0,97,0,0,0\n")
    told = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:-1]]
    assert told == ["line 2", "line 3", "line 3", "line 4"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "column name is missing"),
        (HEADER, "there is no satellite below the header"),
        (HEADER.replace("plane,", "") + "\na,600,0,97,0,0,0", "header: column plane is missing"),
        (HEADER.replace("eccentricity", "excentricity") + "\na,p,600,0,97,0,0,0", "column 'excentricity' is unknown"),
        (HEADER.replace(",", ";") + "\na;p;600;0;97;0;0;0", "column plane is missing"),
        (HEADER + ",name\na,p,600,0,97,0,0,0,a", "column 'name' occurs twice"),
    ],
)
def test_a_wrong_header_says_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(tmp_path, text)

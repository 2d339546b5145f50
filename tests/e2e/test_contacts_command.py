"""`orbitune contacts` as a person meets it: tables, files, pages, and what it says of bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orbitune.links.exchange import read_csv, read_json
from orbitune.links.ion import read_ion
from orbitune.scenario.build import build_contacts
from orbitune.scenario.load import load


def orbitune_says(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "orbitune", *arguments], capture_output=True, text=True, timeout=120)


SHORT = ("tiny", "--set", "time.duration_h=6")


def test_the_table_names_stations_and_planes() -> None:
    said = orbitune_says("contacts", *SHORT)
    assert said.returncode == 0, said.stderr
    for words in ("passes", "in contact", "longest gap", "in eclipse", "Svalbard", "down a day"):
        assert words in said.stdout


def test_csv_on_standard_output_is_the_plan(tmp_path: Path) -> None:
    said = orbitune_says("contacts", *SHORT, "--csv")
    assert said.returncode == 0, said.stderr
    (tmp_path / "plan.csv").write_text(said.stdout)
    plan, direct = read_csv(tmp_path / "plan.csv"), build_contacts(load("tiny", ["time.duration_h=6"]))
    assert list(plan) == list(direct)


def test_every_kind_of_file_is_written(tmp_path: Path) -> None:
    paths = [tmp_path / "new" / f"plan{ending}" for ending in (".csv", ".json", ".ion", ".czml", ".html")]
    outs = [word for path in paths for word in ("--out", str(path))]
    said = orbitune_says("contacts", *SHORT, *outs, "--json")
    assert said.returncode == 0, said.stderr
    assert said.stderr.count("wrote ") == len(paths)
    figures = json.loads(said.stdout)
    assert {"per_satellite", "per_plane", "per_station", "eclipse", "left_out"} <= set(figures)
    assert list(read_csv(paths[0])) == list(read_json(paths[1]))
    assert read_ion(paths[2]).nodes.station_names == read_json(paths[1]).nodes.station_names
    assert json.loads(paths[3].read_text())[0]["id"] == "document"
    assert paths[4].read_text().startswith("<!doctype html>")


def test_a_file_of_an_unknown_kind_is_refused_before_any_work(tmp_path: Path) -> None:
    said = orbitune_says("contacts", *SHORT, "--out", str(tmp_path / "plan.xls"))
    assert said.returncode == 3
    assert ".csv, .json, .ion, .czml, .html" in said.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = orbitune_says("contacts", *SHORT, "--out", str(tmp_path / "file" / "plan.csv"))
    assert said.returncode == 6
    assert "cannot write" in said.stderr


OMM = """OBJECT_NAME,OBJECT_ID,EPOCH,MEAN_MOTION,ECCENTRICITY,INCLINATION,RA_OF_ASC_NODE,ARG_OF_PERICENTER,\
MEAN_ANOMALY,EPHEMERIS_TYPE,CLASSIFICATION_TYPE,NORAD_CAT_ID,ELEMENT_SET_NO,REV_AT_EPOCH,BSTAR,MEAN_MOTION_DOT,MEAN_MOTION_DDOT
DOVE,2022-001A,{epoch},15.2,.001,97.4,10,20,30,0,U,123456789,999,1,0,0,0
"""
SHELL = 'extends = "planet-sample"\n[[shell]]\nkind = "elements"\nelements_file = "dove.csv"\n'


def test_an_omm_file_of_nine_digits(tmp_path: Path) -> None:
    (tmp_path / "dove.csv").write_text(OMM.format(epoch="2022-04-23T12:00:00"))
    (tmp_path / "mine.toml").write_text(SHELL)
    said = orbitune_says("contacts", str(tmp_path / "mine.toml"), "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["per_satellite"][0]["name"] == "DOVE"


def test_an_omm_without_an_epoch(tmp_path: Path) -> None:
    (tmp_path / "dove.csv").write_text(OMM.format(epoch=""))
    (tmp_path / "mine.toml").write_text(SHELL)
    said = orbitune_says("contacts", str(tmp_path / "mine.toml"))
    assert said.returncode == 3
    assert "EPOCH" in said.stderr
    assert "dove.csv, line 2" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("change", "key", "allowed"),
    [
        ("ground_station.0.latitude_deg=95", "ground_station.0.latitude_deg = 95", "from -90 to 90"),
        ("shell.0.altitude_km=80", "shell.0.altitude_km = 80", "from 200 to 36000"),
        ("shell.0.walker=86:7x2", "shell.0.walker", "i:t/p/f"),
        ("ground_station.0.horizon_mask_deg=[[0, 5], [0, 7]]", "ground_station.0.horizon_mask_deg", "do not rise"),
    ],
)
def test_one_clear_error_each(change: str, key: str, allowed: str) -> None:
    said = orbitune_says("contacts", "tiny", "--set", change)
    assert said.returncode == 2
    assert key in said.stderr
    assert allowed in said.stderr
    assert "1 problem" in said.stderr


def test_an_orbit_that_dips_into_the_air(tmp_path: Path) -> None:
    table = "name,plane,altitude_km,eccentricity,inclination_deg,raan_deg,arg_perigee_deg,mean_anomaly_deg\n"
    (tmp_path / "own.csv").write_text(table + "low,one,600,0.09,53,0,0,0\n")
    (tmp_path / "mine.toml").write_text(
        'extends = "planet-sample"\n[[shell]]\nkind = "custom"\nelements_file = "own.csv"\n'
    )
    said = orbitune_says("contacts", str(tmp_path / "mine.toml"))
    assert said.returncode == 3
    assert "own.csv, line 2" in said.stderr
    assert "perigee" in said.stderr

"""From files of element sets to a constellation: what cannot be used is found, told, and never silently dropped."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from sgp4 import exporter
from sgp4.api import WGS72, Satrec

from orbitune.errors import InputError, PlanError
from orbitune.orbit.catalogue import catalogue, read_elements
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.elements import ElementSet

START = "2022-04-23T12:00:00Z"
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def planet_file(repository: Path) -> Path:
    return repository / "orbitune" / "data" / "tle" / "planet_sample.tle"


@pytest.fixture(scope="module")
def planet(planet_file: Path) -> tuple[ElementSet, ...]:
    return read_elements(planet_file)


def plan(sets: tuple[ElementSet, ...], unusable: str = "refuse", horizon_s: float = DAY_S) -> Constellation:
    return catalogue(sets, START, horizon_s, 30.0, unusable)


def moved(found: ElementSet, days: float, name: str = "", number: str = "") -> ElementSet:
    """The set with an epoch that much later."""
    other = Satrec()
    old = found.record
    epoch = old.jdsatepoch - 2_433_281.5 + old.jdsatepochF + days
    shape = (old.ecco, old.argpo, old.inclo, old.mo, old.no_kozai, old.nodeo)
    other.sgp4init(WGS72, "i", 0, epoch, old.bstar, 0.0, 0.0, *shape)
    return replace(found, record=other, name=name or found.name, catalogue_number=number or found.catalogue_number)


def sinking(found: ElementSet, turns_a_day: float) -> ElementSet:
    """A satellite with the drag of a large balloon, so low that it comes down within days."""
    record = Satrec()
    old = found.record
    motion = turns_a_day * 2.0 * math.pi / 1440.0
    epoch = old.jdsatepoch - 2_433_281.5 + old.jdsatepochF
    record.sgp4init(WGS72, "i", 0, epoch, 0.05, 0.0, 0.0, 0.0005, 0.0, old.inclo, 0.0, motion, old.nodeo)
    return replace(found, record=record, name="BALLOON", catalogue_number="99001", place="low.tle, line 1")


def test_the_format_is_told_by_the_content(tmp_path: Path, planet: tuple[ElementSet, ...], planet_file: Path) -> None:
    messages = [exporter.export_omm(found.record, found.name) for found in planet]
    contents = {
        "a.json": planet_file.read_text(),
        "a.tle": json.dumps(messages),
        "a.csv": "\n".join([",".join(messages[0]), *(",".join(map(str, m.values())) for m in messages)]),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        found = read_elements(tmp_path / name)
        assert [a.catalogue_number for a in found] == [a.catalogue_number for a in planet]
        assert all(a.place.startswith(f"{name}, ") for a in found)


def test_usable_sets_become_planes_of_one_in_their_order(planet: tuple[ElementSet, ...]) -> None:
    found = plan(planet)
    assert found.names == tuple(a.name for a in planet)
    assert found.elements == tuple(a.record for a in planet)
    assert found.planes == tuple((satellite,) for satellite in range(len(planet)))
    assert not any(found.has_rings)
    assert set(found.next_plane) == {None}
    assert found.left_out == ()


def test_repeated_names_get_their_catalogue_number(planet: tuple[ElementSet, ...]) -> None:
    same = tuple(replace(a, name="FLOCK") for a in planet[:2])
    assert plan((*same, planet[2])).names == ("FLOCK (41610)", "FLOCK (42026)", planet[2].name)


@pytest.mark.parametrize(("first", "second", "used"), [(0.0, 3.0, 0), (-9.0, 0.0, 1), (9.0, -0.5, 1), (0.0, 0.0, 0)])
def test_of_duplicates_the_epoch_nearest_to_the_start_stays(
    planet: tuple[ElementSet, ...], first: float, second: float, used: int
) -> None:
    pair = (moved(planet[0], first), replace(moved(planet[0], second), place="other.csv, line 7"))
    found = plan((*pair, planet[1]), "leave_out")
    assert found.elements == (pair[used].record, planet[1].record)
    assert found.names == (planet[0].name, planet[1].name)
    assert len(found.left_out) == 1
    left = pair[1 - used]
    assert f"FLOCK 2P-9 (41610; {left.place}) is left out: {pair[used].place} has the same" in found.left_out[0]


@pytest.mark.parametrize(("days", "told"), [(-31.0, "31.1 days before the start"), (32.0, "31.9 days after the start")])
def test_stale_sets_on_either_side(planet: tuple[ElementSet, ...], days: float, told: str) -> None:
    # The epoch in the file, 22113.39133221 (2022 April 23, 09:23), is 0.11 days before the start.
    sets = (moved(planet[0], days), planet[1])
    with pytest.raises(PlanError, match=rf"stale, 1:\n.*its epoch is {told}, 30 are allowed"):
        plan(sets)
    assert plan(sets, "leave_out").names == (planet[1].name,)
    assert len(catalogue(sets, START, DAY_S, 40.0, "refuse")) == 2


def test_satellites_that_come_down_within_the_horizon(planet: tuple[ElementSet, ...]) -> None:
    low = sinking(planet[0], 16.0)
    assert len(plan((low, planet[1]), horizon_s=600.0)) == 2
    with pytest.raises(PlanError, match=r"decayed, 1:\n  BALLOON \(99001; low.tle, line 1\): SGP4 gives no position"):
        plan((low, planet[1]), horizon_s=20.0 * DAY_S)
    found = plan((low, planet[1]), "leave_out", 20.0 * DAY_S)
    assert found.names == (planet[1].name,)
    assert "BALLOON" in found.left_out[0]


def test_a_dated_decay_counts_when_it_begins_before_the_end(planet: tuple[ElementSet, ...]) -> None:
    for day, usable in (("2022-04-25", True), ("2022-04-24", False), ("2021-01-01", False)):
        sets = (replace(planet[0], decay_date=day), planet[1])
        assert len(plan(sets, "leave_out")) == 1 + usable
    with pytest.raises(PlanError, match="its decay is dated 2022-04-24"):
        plan((replace(planet[0], decay_date="2022-04-24"), planet[1]))


def test_one_error_tells_them_all_by_reason(planet: tuple[ElementSet, ...]) -> None:
    stale = tuple(moved(planet[0], -100.0, f"OLD {n}", str(50_000 + n)) for n in range(25))
    twice = replace(planet[1], place="planet_sample.tle, line 99")
    sets = (*stale, *planet, twice, replace(planet[2], decay_date="2000-01-01", catalogue_number="7"))
    with pytest.raises(PlanError) as caught:
        plan(sets)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"27 of {len(sets)} element sets cannot be used."
    assert [line for line in lines if not line.startswith(" ")][1:-1] == ["duplicate, 1:", "stale, 25:", "decayed, 1:"]
    assert "  ... and 5 more" in lines
    assert 'set shell.unusable = "leave_out"' in lines[-1]
    found = plan(sets, "leave_out")
    assert len(found) + len(found.left_out) == len(sets)
    assert len(found) == len(planet)


def test_nothing_usable_is_an_error_either_way(planet: tuple[ElementSet, ...]) -> None:
    old = tuple(moved(found, -100.0) for found in planet)
    for unusable in ("refuse", "leave_out"):
        with pytest.raises(PlanError, match=f"{len(planet)} of {len(planet)} element sets cannot be used"):
            plan(old, unusable)
    with pytest.raises(PlanError, match="allowed are 'refuse' and 'leave_out'"):
        plan(planet, "drop")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.tle: cannot be read"):
        read_elements(tmp_path / "missing.tle")
    (tmp_path / "binary.tle").write_bytes(b"\x80\x81\xff\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_elements(tmp_path / "binary.tle")
    (tmp_path / "empty.tle").write_text("\n\n")
    with pytest.raises(InputError, match="no element set found"):
        read_elements(tmp_path / "empty.tle")

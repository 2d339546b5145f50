"""CZML: what a viewer will show is where the satellites are and which links are open."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import BarycentricInterpolator

from orbitune.errors import PlanError
from orbitune.links.contacts import ContactPlan
from orbitune.links.czml import write_czml
from orbitune.links.plan import find_contacts
from orbitune.orbit.geometry import GroundStation, elevation_rad
from orbitune.orbit.propagate import propagate

HORIZON_S = 20_000.0


@pytest.fixture(scope="module")
def plan(cases: dict[str, Any], stations: list[GroundStation], link_spec: Any) -> ContactPlan:
    case = cases["star"]
    return find_contacts(case.constellation, stations, link_spec, case.start_utc, HORIZON_S)


def written(
    path: Path, cases: dict[str, Any], stations: Any, plan: ContactPlan, **options: Any
) -> list[dict[str, Any]]:
    case = cases["star"]
    write_czml(path / "plan.czml", case.constellation, stations, plan, case.start_utc, **options)
    packets: list[dict[str, Any]] = json.loads((path / "plan.czml").read_text())
    return packets


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory, cases: Any, stations: Any, plan: ContactPlan) -> list[Any]:
    return written(tmp_path_factory.mktemp("czml"), cases, stations, plan)


def seconds(date: str, cases: dict[str, Any]) -> float:
    start = datetime.fromisoformat(cases["star"].start_utc)
    return (datetime.fromisoformat(date) - start) / timedelta(seconds=1)


def span(interval: str, cases: dict[str, Any]) -> tuple[float, float]:
    start, end = interval.split("/")
    return seconds(start, cases), seconds(end, cases)


def test_the_document_comes_first_and_ids_are_unique(packets: list[Any], cases: dict[str, Any]) -> None:
    document = packets[0]
    assert (document["id"], document["version"]) == ("document", "1.0")
    assert span(document["clock"]["interval"], cases) == (0.0, HORIZON_S)
    assert document["clock"]["currentTime"] == "2025-06-01T00:00:00.000Z"
    ids = [packet["id"] for packet in packets]
    assert len(set(ids)) == len(ids)
    assert len([packet for packet in packets if "path" in packet]) == 66
    assert len([packet for packet in packets if "label" in packet]) == 10


def shown_at(position: dict[str, Any], time_s: float) -> np.ndarray:
    """Where Cesium puts it: a polynomial through the samples around, three to each side where there are as many.

    Reference: SampledProperty.getValue in CesiumJS.
    """
    samples = np.array(position["cartesian"], dtype=float).reshape(-1, 4)
    count = position["interpolationDegree"] + 1
    after = int(np.searchsorted(samples[:, 0], time_s))
    first = min(max(after - count // 2, 0), len(samples) - count)
    near = samples[first : first + count]
    place: np.ndarray = BarycentricInterpolator(near[:, 0] - time_s, near[:, 1:])(0.0)
    return place


@pytest.mark.parametrize(("step_s", "bound_m"), [(180.0, 20.0), (60.0, 4.0), (300.0, 300.0)])
def test_satellites_are_shown_where_they_are(
    tmp_path: Path, cases: dict[str, Any], stations: Any, plan: ContactPlan, step_s: float, bound_m: float
) -> None:
    found = written(tmp_path, cases, stations, plan, step_s=step_s)
    time_s = np.sort(np.r_[np.linspace(0.0, HORIZON_S, 97), np.linspace(0.0, 3.0 * step_s, 20)])
    case = cases["star"]
    truth = propagate(case.constellation, case.start_utc, time_s, [0, 17, 65]).position_m
    satellites = [packet for packet in found if "path" in packet]
    worst = 0.0
    for satellite, places in zip((0, 17, 65), truth, strict=True):
        packet = satellites[satellite]
        assert packet["name"] == case.constellation.names[satellite]
        position = packet["position"]
        assert position["referenceFrame"] == "FIXED"
        assert (position["interpolationAlgorithm"], position["interpolationDegree"]) == ("LAGRANGE", 5)
        assert seconds(position["epoch"], cases) == 0.0
        assert position["cartesian"][0] == 0
        assert position["cartesian"][-4] == HORIZON_S
        worst = max(worst, *(np.linalg.norm(shown_at(position, t) - p) for t, p in zip(time_s, places, strict=True)))
    assert worst < bound_m


def test_stations_stand_where_they_are(packets: list[Any], stations: list[GroundStation]) -> None:
    shown = {packet["name"]: packet for packet in packets if "label" in packet}
    for station in stations:
        assert np.allclose(shown[station.name]["position"]["cartesian"], station.position_m, atol=1e-3)
        assert shown[station.name]["position"]["referenceFrame"] == "FIXED"
        assert shown[station.name]["label"]["text"] == station.name


def test_links_are_drawn_just_while_they_are_open(
    packets: list[Any], cases: dict[str, Any], stations: list[GroundStation], plan: ContactPlan
) -> None:
    lines = {packet["id"]: packet for packet in packets if "polyline" in packet}
    expected = {pair: spans for pair, spans in plan.by_link.items() if spans[0].kind == "downlink"}
    assert set(lines) == {f"downlink-{source}-{target}" for source, target in expected}
    for (source, target), contacts in expected.items():
        line = lines[f"downlink-{source}-{target}"]
        assert line["polyline"]["positions"]["references"] == [f"node-{source}#position", f"node-{target}#position"]
        drawn = [span(interval, cases) for interval in line["availability"]]
        # A pass is several contacts that touch where its rate changes, and one interval all the same.
        starts = [c.start_s for c in contacts if c.start_s not in {other.end_s for other in contacts}]
        ends = [c.end_s for c in contacts if c.end_s not in {other.start_s for other in contacts}]
        assert np.allclose(drawn, list(zip(starts, ends, strict=True)), atol=0.6e-3)
    by_id = {packet["id"]: packet for packet in packets}
    (start_s, end_s), *_ = (span(interval, cases) for interval in lines["downlink-0-66"]["availability"])
    station = stations[0]
    seen = elevation_rad(shown_at(by_id["node-0"]["position"], (start_s + end_s) / 2.0), station)
    assert math.degrees(float(seen)) > 10.0


def test_both_directions_are_one_line_and_kinds_are_chosen(
    tmp_path: Path, cases: dict[str, Any], stations: Any, plan: ContactPlan
) -> None:
    found = written(tmp_path, cases, stations, plan, kinds=("isl_intra", "isl_inter"))
    lines = [packet["id"] for packet in found if "polyline" in packet]
    intra = {frozenset((c.source, c.target)) for c in plan if c.kind == "isl_intra"}
    inter = {frozenset((c.source, c.target)) for c in plan if c.kind == "isl_inter"}
    assert sum(line.startswith("isl_intra-") for line in lines) == len(intra) > 0
    assert sum(line.startswith("isl_inter-") for line in lines) == len(inter) > 0


def test_the_size_is_bounded(tmp_path: Path, cases: dict[str, Any], stations: Any, plan: ContactPlan) -> None:
    case = cases["star"]
    path = tmp_path / "plan.czml"

    def write(**options: Any) -> tuple[int, int]:
        left_out = write_czml(path, case.constellation, stations, plan, case.start_utc, **options)
        return left_out, path.stat().st_size

    all_out, whole = write()
    links = len({(c.source, c.target) for c in plan if c.kind == "downlink"})
    few_out, few = write(most_links=7)
    assert (all_out, few_out) == (0, links - 7)
    drawn = [packet["id"] for packet in json.loads(path.read_text()) if "polyline" in packet]
    first = list(dict.fromkeys((c.source, c.target) for c in plan if c.kind == "downlink"))[:7]
    opening = [plan.by_link[pair][0].start_s for pair in first]
    drawn_opening = [plan.by_link[tuple(map(int, line.split("-")[1:]))][0].start_s for line in drawn]  # type: ignore[index]
    assert drawn_opening == opening
    samples = 66 * (math.ceil(HORIZON_S / 180.0) + 1)
    assert few < 36 * samples + 1000 * 66
    _, short = write(length_s=HORIZON_S / 4.0)
    assert short < 0.45 * whole
    (packet, *_) = json.loads(path.read_text())
    assert span(packet["clock"]["interval"], cases) == (0.0, 5000.0)


def test_a_start_between_seconds_and_odd_horizons(
    tmp_path: Path, cases: dict[str, Any], stations: Any, link_spec: Any
) -> None:
    start = datetime(2025, 6, 1, 0, 0, 7, 250_000, tzinfo=UTC)
    constellation = cases["star"].constellation
    plan = find_contacts(constellation, stations, link_spec, start, 1000.7)
    write_czml(tmp_path / "plan.czml", constellation, stations, plan, start)
    packets = json.loads((tmp_path / "plan.czml").read_text())
    assert packets[0]["clock"]["interval"] == "2025-06-01T00:00:07.250Z/2025-06-01T00:16:47.950Z"
    position = next(packet["position"] for packet in packets if "path" in packet)
    times = position["cartesian"][::4]
    assert len(times) >= 6
    assert (times[0], times[-1]) == (0, 1000.7)
    assert all(a < b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ("backhaul",)}, "'backhaul' cannot be drawn; allowed are downlink, uplink"),
        ({"step_s": 0.0}, "step_s = 0 must be more than 0 s"),
        ({"length_s": math.nan}, "length_s = nan must be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, cases: dict[str, Any], stations: Any, plan: ContactPlan, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PlanError, match=words):
        written(tmp_path, cases, stations, plan, **options)


def test_a_plan_of_other_satellites_is_refused(
    tmp_path: Path, cases: dict[str, Any], stations: Any, plan: ContactPlan
) -> None:
    names = dataclasses.replace(plan.nodes, satellite_names=tuple(reversed(plan.nodes.satellite_names)))
    with pytest.raises(PlanError, match="names or their order differ"):
        written(tmp_path, cases, stations, dataclasses.replace(plan, nodes=names))
    assert not list(tmp_path.iterdir())

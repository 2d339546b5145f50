"""Passes, gaps, links and shares against the same figures worked out slowly, contact by contact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_plans import plan_of, plans

from orbitune.links import overview as module
from orbitune.links.contacts import KINDS, Contact, ContactPlan, Nodes
from orbitune.links.overview import contacts_content, overview, share_by_hour
from orbitune.links.plan import LinkSpec, find_contacts
from orbitune.links.summary import key_figures
from orbitune.links.windows import MAX_BARS, example_of, gaps, links_of, pass_durations, passes_of, rates_of, sights_of
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation

Span = tuple[float, float]
Scene = tuple[Constellation, str, ContactPlan]


def joined(contacts: Iterable[Contact]) -> list[Span]:
    spans: list[Span] = []
    for contact in sorted(contacts, key=lambda contact: contact.start_s):
        if spans and contact.start_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], contact.end_s))
        else:
            spans.append((contact.start_s, contact.end_s))
    return spans


def slow_passes(plan: ContactPlan) -> list[tuple[int, int, float, float]]:
    found = [
        (source, target - plan.nodes.num_satellites, *span)
        for (source, target), contacts in plan.by_link.items()
        for span in joined(c for c in contacts if c.kind == "downlink")
    ]
    return sorted(found, key=lambda one: (one[2], one[0], one[1]))


def slow_links(plan: ContactPlan, kind: str) -> dict[tuple[int, int], list[Span]]:
    pairs: dict[tuple[int, int], list[Contact]] = {}
    for contact in plan:
        if contact.kind == kind:
            pairs.setdefault((min(contact.source, contact.target), max(contact.source, contact.target)), []).append(
                contact
            )
    return {pair: joined(contacts) for pair, contacts in pairs.items()}


@given(plans())
def test_contacts_that_touch_are_one_pass(plan: ContactPlan) -> None:
    passes = passes_of(plan)
    assert [tuple(row) for row in passes.rows(np.full(len(passes.start_s), True))] == slow_passes(plan)


@given(plans(), st.integers(1, 60))
def test_shares_are_the_overlap_with_each_part(plan: ContactPlan, num: int) -> None:
    edges = np.linspace(0.0, plan.horizon_s, num + 1)
    rows = share_by_hour(plan, num)
    assert [row.name for row in rows] == list(plan.nodes.satellite_names)
    for satellite, row in enumerate(rows):
        spans = plan.ground_intervals(satellite)
        low, high = np.maximum(spans[:, :1], edges[:-1]), np.minimum(spans[:, 1:], edges[1:])
        expected = np.maximum(high - low, 0.0).sum(axis=0) / np.diff(edges)
        assert np.allclose(row.share, expected, rtol=0.0, atol=1e-9)
        assert all(0.0 <= share <= 1.0 for share in row.share)


def test_planes_have_the_mean_of_their_satellites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the number of satellites that fit, rows are planes."""
    nodes = Nodes(("a", "b", "c"), ("ground",), ((0, 2), (1,)))
    plan = plan_of(
        nodes, 100.0, [(0, 3, "downlink", 0.0, 50.0, 1e6, 1e6, 0.0), (1, 3, "downlink", 20.0, 100.0, 1e6, 1e6, 0.0)]
    )
    monkeypatch.setattr(module, "FEW_SATELLITES", 2)
    one, two = share_by_hour(plan, 2)
    assert (one.name, one.satellites, two.name, two.satellites) == ("plane 0", 2, "plane 1", 1)
    assert one.share == pytest.approx((0.5, 0.0))
    assert two.share == pytest.approx((0.6, 1.0))


@given(plans())
def test_gaps_and_sights_fill_the_horizon(plan: ContactPlan) -> None:
    found: dict[str, Any] = gaps(sights_of(passes_of(plan)), plan.nodes.num_satellites, plan.horizon_s)
    lengths = []
    for satellite in plan.nodes.satellites:
        edges = np.concatenate([[0.0], plan.ground_intervals(satellite).ravel(), [plan.horizon_s]])
        lengths += [b - a for a, b in edges.reshape(-1, 2).tolist() if b > a]
    assert found["number"] == sum(found["counts"]) == len(lengths)
    if lengths:
        assert found["longest_s"] == max(lengths) == key_figures(plan)["longest_gap_s"]
        assert found["shortest_s"] == min(lengths)
        width = found["width_s"]
        assert found["counts"] == np.bincount([int(length // width) for length in lengths]).tolist()
        assert len(found["counts"]) <= MAX_BARS


@given(plans())
def test_passes_cut_by_the_ends_are_told_apart(plan: ContactPlan) -> None:
    found: dict[str, Any] = pass_durations(passes_of(plan), plan.horizon_s)
    whole = [b - a for *_, a, b in slow_passes(plan) if a > 0.0 and b < plan.horizon_s]
    assert found["number"] == len(whole)
    assert found["number"] + found["cut"] == len(slow_passes(plan))
    if whole:
        assert found["median_s"] == np.median(whole)


@given(plans(), st.sampled_from(["isl_intra", "isl_inter"]))
def test_links_are_counted_once_for_both_directions(plan: ContactPlan, kind: str) -> None:
    found: dict[str, Any] = links_of(plan, kind)
    slow = slow_links(plan, kind)
    spans = [span for own in slow.values() for span in own]
    assert (found["links"], found["windows"]) == (len(slow), len(spans))
    assert found["permanent"] == spans.count((0.0, plan.horizon_s))
    assert found["durations"]["number"] + found["durations"]["cut"] + found["permanent"] == len(spans)
    for moment_s, number in found["up"]:
        assert number == sum(a <= moment_s < b for a, b in spans)
    if slow:
        assert found["share"] == pytest.approx(sum(b - a for a, b in spans) / len(slow) / plan.horizon_s)


@given(plans())
def test_rates_are_means_over_time(plan: ContactPlan) -> None:
    for kind in KINDS:
        found, own = rates_of(plan, kind), [contact for contact in plan if contact.kind == kind]
        if not own:
            assert found is None
            continue
        assert found is not None
        assert found["min_bps"] == min(c.rate_bps for c in own)
        assert found["max_bps"] == max(c.rate_bps for c in own)
        bits = sum(c.rate_bps * (c.end_s - c.start_s) for c in own)
        assert found["mean_bps"] == pytest.approx(bits / sum(c.end_s - c.start_s for c in own))


@given(plans())
def test_the_example_is_one_window_of_the_plan(plan: ContactPlan) -> None:
    found: dict[str, Any] | None = example_of(plan, ("downlink",))
    pieces = {}
    for (source, target), contacts in plan.by_link.items():
        downs = [c for c in contacts if c.kind == "downlink"]
        for a, b in joined(downs):
            pieces[source, target, a, b] = [c for c in downs if a <= c.start_s < b]
    most = max(map(len, pieces.values()), default=0)
    if most < 2 or len({c.rate_bps for c in plan if c.kind == "downlink"}) < 2:
        assert found is None
        return
    assert found is not None
    ends = (plan.nodes.satellite_names.index(found["from"]),
            plan.nodes.num_satellites + plan.nodes.station_names.index(found["to"]))  # fmt: skip
    (window,) = [own for (s, t, a, _), own in pieces.items() if (s, t) == ends and a == found["start_s"]]
    assert len(window) == most
    rows = found["rates"]["downlink"]
    shown = [c for c in window if c.start_s < found["end_s"]]
    assert [row[2] for row in rows] == [c.rate_bps for c in shown]
    assert [row[0] for row in rows] == [c.start_s for c in shown]
    assert rows[-1][1] == min(shown[-1].end_s, found["end_s"])


def test_no_example_where_every_rate_is_constant() -> None:
    nodes = Nodes(("a",), ("ground",), ((0,),))
    plan = plan_of(nodes, 100.0, [(0, 1, "downlink", 0.0, 50.0, 1e6, 1e6, 0.0)])
    assert example_of(plan, ("downlink", "uplink")) is None


# -- a real plan -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(cases: dict[str, Any], stations: list[GroundStation], link_spec: LinkSpec) -> Scene:
    case = cases["star"]
    return (
        case.constellation,
        case.start_utc,
        find_contacts(case.constellation, stations, link_spec, case.start_utc, 6 * 3600.0),
    )


def test_content_is_plain_json_and_agrees_with_the_plan(scene: Scene, stations: list[GroundStation]) -> None:
    constellation, start_utc, plan = scene
    content: dict[str, Any] = contacts_content(constellation, stations, plan, start_utc)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    passes = slow_passes(plan)
    listed = content["windows"]["passes"]
    assert len(listed) == len(passes)
    for (s, g, start, end), (satellite, station, rise_s, set_s) in zip(listed, passes, strict=True):
        assert (s, g) == (satellite, station)
        assert 0.0 <= start - rise_s < 1.0
        assert 0.0 <= set_s - end < 1.0
    for number, row in enumerate(content["windows"]["stations"]):
        own = [(a, b) for _, g, a, b in passes if g == number]
        assert row["most"] == max((sum(a <= t < b for a, b in own) for t, _ in own), default=0)
        mean = sum(min(b, plan.horizon_s) - a for a, b in own) / plan.horizon_s
        assert np.mean(row["seen"]) == pytest.approx(mean, abs=0.01)


def test_a_map_of_many_satellites_shows_some(
    scene: Scene, stations: list[GroundStation], monkeypatch: pytest.MonkeyPatch
) -> None:
    constellation, start_utc, plan = scene
    monkeypatch.setattr(module, "MAX_DRAWN", max(2, len(constellation) // 3))
    whole: dict[str, Any] = overview(constellation, stations, plan, start_utc)
    content: dict[str, Any] = contacts_content(constellation, stations, plan, start_utc)
    some = content["map"]
    every = some["every"]
    assert every > 1
    assert len(some["satellites"]) <= module.MAX_DRAWN
    assert some["satellites"] == whole["satellites"][::every]
    assert some["track"]["latitude_deg"] == whole["track"]["latitude_deg"][::every]
    assert some["passes"] == [[s // every, *rest] for s, *rest in whole["passes"] if s % every == 0]
    of_plane = {whole["satellites"][s]: p for p, plane in enumerate(whole["planes"]) for s in plane}
    for number, plane in enumerate(some["planes"]):
        assert all(of_plane[some["satellites"][s]] == number for s in plane)


def test_no_list_of_very_many_passes(
    scene: Scene, stations: list[GroundStation], monkeypatch: pytest.MonkeyPatch
) -> None:
    constellation, start_utc, plan = scene
    monkeypatch.setattr(module, "MAX_NAMED_PASSES", 3)
    content: dict[str, Any] = contacts_content(constellation, stations, plan, start_utc)
    assert content["windows"]["passes"] is None

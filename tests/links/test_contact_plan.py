"""The contact plan as a whole: who is linked with whom, both ways, in order, and what the summary says."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from orbitune.errors import PlanError
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.links.isl import plane_pairs, ring_pairs
from orbitune.links.plan import LinkSpec, find_contacts
from orbitune.links.rates import RfRate
from orbitune.links.summary import key_figures
from orbitune.links.visibility import ground_passes
from orbitune.orbit.constellation import WalkerShell, build_walker
from orbitune.orbit.geometry import GroundStation
from orbitune.units import EARTH_RADIUS_M, LIGHT_SPEED_M_S

START = "2025-06-01T00:00:00Z"
HORIZON_S = 10_800.0


@pytest.fixture(scope="module")
def plan(cases: dict[str, Any], stations: list[GroundStation], link_spec: LinkSpec) -> ContactPlan:
    case = cases["star"]
    return find_contacts(case.constellation, stations, link_spec, case.start_utc, HORIZON_S)


def columns(plan: ContactPlan) -> dict[str, np.ndarray]:
    names = ("source", "target", "kind", "start_s", "end_s", "rate_bps", "range_m", "delay_s")
    return {name: getattr(plan, name) for name in names}


def test_rows_are_sorted_within_the_horizon_and_the_same_each_time(
    plan: ContactPlan, cases: dict[str, Any], stations: list[GroundStation], link_spec: LinkSpec
) -> None:
    assert np.array_equal(np.lexsort((plan.target, plan.source, plan.start_s)), np.arange(len(plan)))
    assert plan.start_s.min() == 0.0
    assert plan.end_s.max() == HORIZON_S
    assert np.all(plan.end_s > plan.start_s)
    again = find_contacts(cases["star"].constellation, stations, link_spec, START, HORIZON_S)
    for name, column in columns(plan).items():
        assert np.array_equal(column, getattr(again, name)), name
    assert [str(column.dtype) for column in columns(plan).values()] == ["int32", "int32", "int8", *["float64"] * 5]


def test_every_contact_goes_both_ways(plan: ContactPlan) -> None:
    back = {"downlink": "uplink", "uplink": "downlink"}
    rows = {(c.source, c.target, c.kind, c.start_s, c.end_s, c.range_m) for c in plan}
    assert len(rows) == len(plan)
    for source, target, kind, start_s, end_s, range_m in rows:
        assert (target, source, back.get(kind, kind), start_s, end_s, range_m) in rows


def test_rates_delays_and_ends_belong_to_the_kind(plan: ContactPlan, link_spec: LinkSpec) -> None:
    nodes = plan.nodes
    satellites, stations, server = set(nodes.satellites), set(nodes.stations), {nodes.server}
    ends = {
        "downlink": (satellites, stations),
        "uplink": (stations, satellites),
        "isl_intra": (satellites, satellites),
        "isl_inter": (satellites, satellites),
    }
    rates_bps = {"downlink": 200e6, "uplink": 20e6, "isl_intra": 1e9, "isl_inter": 500e6, "backhaul": 10e9}
    for contact in plan:
        assert contact.rate_bps == rates_bps[contact.kind]
        assert contact.delay_s == pytest.approx(contact.range_m / LIGHT_SPEED_M_S + 0.005)
        if contact.kind == "backhaul":
            assert {contact.source, contact.target} & server
            assert (contact.start_s, contact.end_s, contact.range_m) == (0.0, HORIZON_S, 0.0)
            continue
        sources, targets = ends[contact.kind]
        assert contact.source in sources
        assert contact.target in targets
        if contact.kind.startswith("isl"):
            same = nodes.plane_of[contact.source] == nodes.plane_of[contact.target]
            assert same == (contact.kind == "isl_intra")
    assert {KINDS[kind] for kind in np.unique(plan.kind)} == set(KINDS)
    assert len(plan.of_kind("backhaul")) == 2 * nodes.num_stations


def test_passes_become_downlinks(plan: ContactPlan, cases: dict[str, Any], stations: list[GroundStation]) -> None:
    passes = ground_passes(cases["star"].constellation, stations, START, HORIZON_S)
    expected = sorted(zip(passes.satellite, passes.station + 66, passes.rise_s, passes.set_s, strict=True))
    rows = plan.of_kind("downlink")
    found = zip(plan.source[rows], plan.target[rows], plan.start_s[rows], plan.end_s[rows], strict=True)
    assert sorted(found) == expected


def test_rings_and_grid_of_a_star(plan: ContactPlan, cases: dict[str, Any]) -> None:
    intra = plan.of_kind("isl_intra")
    assert len(intra) == 2 * 66  # eleven links a plane, both ways, open all the time
    assert np.all(plan.range_m[intra] < 2.0 * (EARTH_RADIUS_M + 790e3) * math.sin(math.pi / 11) * 1.01)
    planes = {(plan.nodes.plane_of[c.source], plan.nodes.plane_of[c.target]) for c in plan if c.kind == "isl_inter"}
    one_way = {(p, p + 1) for p in range(5)}
    assert planes == one_way | {(b, a) for a, b in one_way}  # nothing across the seam
    for satellite in plan.nodes.satellites:
        partners = {c.target for c in plan if c.kind == "isl_inter" and c.source == satellite}
        assert len(partners) == (1 if plan.nodes.plane_of[satellite] in (0, 5) else 2)
    assert len(plane_pairs(cases["star"].constellation, START)) == 55


def test_a_delta_closes_and_small_patterns_link_once() -> None:
    def pairs(satellites: int, planes: int) -> tuple[int, int]:
        constellation = build_walker([WalkerShell("walker-delta", satellites, planes, 0, 1200e3, 0.9)], START)
        inter = {frozenset(pair) for pair in plane_pairs(constellation, START).tolist()}
        return len(ring_pairs(constellation)), len(inter)

    assert pairs(30, 3) == (30, 30)
    assert pairs(6, 3) == (3, 6)  # a ring of two satellites has one link
    assert pairs(8, 2) == (8, 4)  # two planes are one pair
    assert pairs(4, 4) == (0, 4)
    assert pairs(5, 1) == (5, 0)


def test_shells_are_not_linked() -> None:
    shells = [WalkerShell("walker-delta", 12, 3, 0, 550e3, 0.9), WalkerShell("walker-delta", 12, 3, 0, 600e3, 1.2)]
    constellation = build_walker(shells, START)
    assert np.all((ring_pairs(constellation) < 12).sum(axis=1) != 1)
    assert np.all((plane_pairs(constellation, START) < 12).sum(axis=1) != 1)


def test_links_between_planes_can_be_left_out(cases: dict[str, Any], link_spec: LinkSpec) -> None:
    without = dataclasses.replace(link_spec, isl=dataclasses.replace(link_spec.isl, policy="none"))
    plan = find_contacts(cases["star"].constellation, [], without, START, HORIZON_S)
    assert len(plan.of_kind("isl_inter")) == 0
    assert len(plan) == 2 * 66


def test_element_sets_from_a_file_have_no_links_between_them(
    cases: dict[str, Any], stations: list[GroundStation], link_spec: LinkSpec
) -> None:
    case = cases["planet"]
    plan = find_contacts(case.constellation, stations, link_spec, case.start_utc, HORIZON_S)
    assert {KINDS[kind] for kind in np.unique(plan.kind)} == {"downlink", "uplink", "backhaul"}
    assert len(plan.nodes.planes) == 16


def test_a_plan_in_which_no_station_sees_a_satellite(link_spec: LinkSpec) -> None:
    pole = GroundStation("pole", math.pi / 2.0, 0.0, 2800.0, math.radians(10.0))
    constellation = build_walker([WalkerShell("walker-delta", 12, 1, 0, 550e3, 0.5)], START)
    plan = find_contacts(constellation, [pole], link_spec, START, HORIZON_S)
    figures = key_figures(plan)
    assert figures["satellites_never_in_contact"] == 12
    assert figures["passes_per_day"] == 0.0
    assert figures["contact_share_mean"] == 0.0
    assert figures["longest_gap_s"] == HORIZON_S
    assert figures["contacts"] == {"downlink": 0, "uplink": 0, "isl_intra": 24, "isl_inter": 0, "backhaul": 2}


def handmade(rows: list[tuple[int, int, str, float, float]], horizon_s: float = 43_200.0) -> ContactPlan:
    rows = sorted(rows, key=lambda row: (row[3], row[0], row[1]))
    source, target, kind, start_s, end_s = zip(*rows, strict=True)
    ones = np.ones(len(rows))
    return ContactPlan(
        nodes=Nodes(("a", "b"), ("x", "y"), ((0, 1),)),
        horizon_s=horizon_s,
        source=np.array(source, dtype=np.int32),
        target=np.array(target, dtype=np.int32),
        kind=np.array([KINDS.index(name) for name in kind], dtype=np.int8),
        start_s=np.array(start_s, dtype=float),
        end_s=np.array(end_s, dtype=float),
        rate_bps=8e6 * ones,
        range_m=1e6 * ones,
        delay_s=0.01 * ones,
    )


def test_summary_of_a_plan_made_by_hand() -> None:
    plan = handmade(
        [
            (0, 2, "downlink", 1000.0, 1400.0),
            (0, 2, "downlink", 1400.0, 1600.0),  # the same pass at another rate
            (0, 3, "downlink", 1500.0, 2000.0),  # a second station sees it meanwhile
            (0, 3, "downlink", 30_000.0, 30_100.0),
            (1, 2, "downlink", 20_000.0, 20_500.0),
            (2, 1, "uplink", 20_000.0, 20_500.0),
        ]
    )
    assert plan.ground_intervals(0).tolist() == [[1000.0, 2000.0], [30_000.0, 30_100.0]]
    figures = key_figures(plan)
    assert figures["satellites_never_in_contact"] == 0
    assert figures["passes_per_day"] == 2.0 * 4
    assert figures["contact_share_mean"] == pytest.approx((1100.0 + 500.0) / 2.0 / 43_200.0)
    assert figures["longest_gap_s"] == 28_000.0
    assert figures["longest_gap_satellite"] == "a"
    assert figures["volume_per_day_bytes"] == {
        "downlink": pytest.approx(2.0 * 1700.0 * 1e6), "uplink": pytest.approx(2.0 * 500.0 * 1e6),
        "isl_intra": 0.0, "isl_inter": 0.0, "backhaul": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("change", [{"backhaul_rate_bps": 0.0}, {"hop_latency_s": -1.0}])
def test_impossible_links_are_refused(link_spec: LinkSpec, change: dict[str, float]) -> None:
    with pytest.raises(PlanError, match=next(iter(change))):
        dataclasses.replace(link_spec, **change)


def test_a_budget_cuts_passes_into_pieces_that_touch(
    cases: dict[str, Any], stations: list[GroundStation], link_spec: LinkSpec
) -> None:
    """Faster while the satellite is near; the pieces lie inside the pass that a fixed rate fills."""
    radio = RfRate(eirp_dbw=15.0, g_over_t_db_k=25.0, frequency_hz=8.2e9, bandwidth_hz=100e6)
    case = cases["star"]
    fixed = find_contacts(case.constellation, stations, link_spec, START, HORIZON_S)
    spec = dataclasses.replace(link_spec, downlink=radio)
    varied = find_contacts(case.constellation, stations, spec, START, HORIZON_S)
    assert len(varied.of_kind("uplink")) == len(fixed.of_kind("uplink"))
    assert len(varied.of_kind("downlink")) > 2 * len(fixed.of_kind("downlink"))
    for link, contacts in varied.by_link.items():
        if contacts[0].kind == "downlink":
            passes = fixed.by_link[link]
            for contact in contacts:
                around = [one for one in passes if one.start_s <= contact.start_s and contact.end_s <= one.end_s]
                assert len(around) == 1
            nearest = min(contacts, key=lambda contact: contact.range_m)
            assert nearest.rate_bps == max(contact.rate_bps for contact in contacts)

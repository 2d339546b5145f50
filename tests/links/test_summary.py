"""The summary against the same figures worked out slowly, contact by contact."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from random_plans import plan_of, plans

from orbitune.links.contacts import KINDS, Contact, ContactPlan, Nodes
from orbitune.links.plan import find_contacts
from orbitune.links.summary import key_figures, summary

DAY_S = 86_400.0


def joined(contacts: Iterable[Contact]) -> list[tuple[float, float]]:
    """Spans of time in which some contact is open; those that touch are one."""
    spans: list[tuple[float, float]] = []
    for contact in sorted(contacts, key=lambda contact: contact.start_s):
        if spans and contact.start_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], contact.end_s))
        else:
            spans.append((contact.start_s, contact.end_s))
    return spans


def slowly(plan: ContactPlan, contacts: list[Contact], name: str) -> dict[str, Any]:
    spans = joined(contacts)
    edges = [0.0, *(edge for span in spans for edge in span), plan.horizon_s]
    links = {(contact.source, contact.target) for contact in contacts}
    passes = sum(len(joined(c for c in contacts if (c.source, c.target) == link)) for link in links)
    return {
        "name": name,
        "passes_per_day": pytest.approx(passes * DAY_S / plan.horizon_s),
        "contact_share": pytest.approx(sum(b - a for a, b in spans) / plan.horizon_s),
        "longest_gap_s": max(b - a for a, b in list(pairwise(edges))[::2]),
        "downlink_per_day_bytes": pytest.approx(
            sum(c.rate_bps * (c.end_s - c.start_s) for c in contacts) / 8.0 * DAY_S / plan.horizon_s
        ),
    }


def assert_as_slowly(plan: ContactPlan) -> None:
    nodes, found = plan.nodes, summary(plan)
    downlinks = [contact for contact in plan if contact.kind == "downlink"]
    satellites = [
        {**slowly(plan, [c for c in downlinks if c.source == s], nodes.name(s)), "plane": nodes.plane_of[s]}
        for s in nodes.satellites
    ]
    assert found["per_satellite"] == satellites
    assert found["per_plane"] == [
        {**slowly(plan, [c for c in downlinks if c.source in own], str(p)), "satellites": len(own)}
        for p, own in enumerate(nodes.planes)
    ]
    assert found["per_station"] == [
        slowly(plan, [c for c in downlinks if c.target == g], nodes.name(g)) for g in nodes.stations
    ]
    whole = {key: value for key, value in found.items() if not key.startswith("per_")}
    shares, gaps = ([row[key] for row in found["per_satellite"]] for key in ("contact_share", "longest_gap_s"))  # type: ignore[attr-defined]
    days = plan.horizon_s / DAY_S
    assert whole == {
        "passes_per_day": pytest.approx(sum(row["passes_per_day"] for row in found["per_satellite"])),  # type: ignore[attr-defined]
        "contact_share_mean": pytest.approx(statistics.mean(shares)),
        "contact_share_min": min(shares),
        "longest_gap_s": max(gaps),
        "longest_gap_satellite": nodes.satellite_names[gaps.index(max(gaps))],
        "longest_gap_median_s": pytest.approx(statistics.median(gaps)),
        "satellites_never_in_contact": sum(all(c.source != s for c in downlinks) for s in nodes.satellites),
        "contacts": {kind: sum(c.kind == kind for c in plan) for kind in KINDS},
        "volume_per_day_bytes": {
            kind: pytest.approx(sum(c.rate_bps / 8.0 * (c.end_s - c.start_s) for c in plan if c.kind == kind) / days)
            for kind in KINDS
        },
    }
    assert whole == key_figures(plan)
    assert json.loads(json.dumps(found)) == found


@given(plans())
def test_the_same_as_slowly_on_random_plans(plan: ContactPlan) -> None:
    assert_as_slowly(plan)


def test_the_same_as_slowly_on_a_real_plan(cases: dict[str, Any], stations: Any, link_spec: Any) -> None:
    case = cases["star"]
    assert_as_slowly(find_contacts(case.constellation, stations, link_spec, case.start_utc, 20_000.0))


def test_on_paper() -> None:
    rows = [
        (0, 2, "downlink", 1000.0, 1400.0, 8e6, 1e6, 0.0),
        (0, 2, "downlink", 1400.0, 1600.0, 4e6, 1e6, 0.0),  # the same pass at another rate
        (0, 3, "downlink", 1500.0, 2000.0, 8e6, 1e6, 0.0),  # a second station sees it meanwhile
        (1, 3, "downlink", 1800.0, 2500.0, 8e6, 1e6, 0.0),
    ]
    found: dict[str, Any] = summary(plan_of(Nodes(("a", "b"), ("x", "y"), ((0, 1),)), 43_200.0, rows))
    assert found["passes_per_day"] == 6.0
    a, b = found["per_satellite"]
    assert (a["passes_per_day"], a["contact_share"], a["longest_gap_s"]) == (4.0, 1000.0 / 43_200.0, 41_200.0)
    assert (b["longest_gap_s"], b["downlink_per_day_bytes"]) == (40_700.0, 2.0 * 700.0 * 1e6)
    (plane,) = found["per_plane"]
    assert (plane["contact_share"], plane["longest_gap_s"], plane["satellites"]) == (1500.0 / 43_200.0, 40_700.0, 2)
    x, y = found["per_station"]
    assert (x["passes_per_day"], x["downlink_per_day_bytes"]) == (2.0, 2.0 * (400.0 + 100.0) * 1e6)
    assert (y["passes_per_day"], y["contact_share"]) == (4.0, 1000.0 / 43_200.0)


def test_empty_plans() -> None:
    nothing = summary(plan_of(Nodes((), (), ()), 3600.0, []))
    assert (nothing["longest_gap_s"], nothing["longest_gap_satellite"], nothing["per_satellite"]) == (0.0, None, [])
    alone: dict[str, Any] = summary(plan_of(Nodes(("a",), ("x",), ((0,),)), 3600.0, []))
    assert alone["satellites_never_in_contact"] == 1
    assert alone["per_station"][0]["longest_gap_s"] == 3600.0


def test_a_hundred_thousand_contacts_take_no_second() -> None:
    """The columns are summed, not looped over: about 0.1 s; the limit leaves room for a busy machine."""
    generator = np.random.default_rng(7)
    starts = np.sort(generator.uniform(0.0, 1e6, 11))
    nodes = Nodes(tuple(f"s{s}" for s in range(1000)), tuple(f"g{g}" for g in range(10)), (tuple(range(1000)),))
    rows = [
        (s, 1000 + g, "downlink", float(a), float((a + b) / 2.0), 8e6, 1e6, 0.0)
        for s in range(1000)
        for g in range(10)
        for a, b in pairwise(starts)
    ]
    plan = plan_of(nodes, 1e6, rows)
    assert len(plan) == 100_000
    begun = time.process_time()
    summary(plan)
    assert time.process_time() - begun < 1.0

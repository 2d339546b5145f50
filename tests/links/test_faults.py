"""Outages: what is left of a plan is just what they do not cover."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_plans import assert_same, assert_valid, plan_of, plans

from orbitune.errors import PlanError
from orbitune.links.contacts import ContactPlan, Nodes
from orbitune.links.crossings import Spans
from orbitune.links.faults import Outage, without
from orbitune.links.plan import find_contacts
from orbitune.links.spans import last_begun, union


@st.composite
def troubled(draw: st.DrawFn) -> tuple[ContactPlan, list[Outage]]:
    """A plan, and outages some of which share edges with its contacts or with each other."""
    plan = draw(plans())
    edges = [-5.0, plan.horizon_s + 5.0, *plan.start_s.tolist(), *plan.end_s.tolist()]
    moments = st.sampled_from(edges) | st.floats(-10.0, plan.horizon_s + 10.0)
    outages = []
    for _ in range(draw(st.integers(0, 5))):
        node, other = draw(st.tuples(*[st.integers(0, len(plan.nodes) - 1)] * 2))
        start_s, end_s = sorted(draw(st.lists(moments, min_size=2, max_size=2)))
        if start_s < end_s:
            whole = node == other or draw(st.booleans())
            outages.append(Outage(node, None if whole else other, start_s, draw(st.sampled_from([end_s, math.inf]))))
    return plan, outages


def down(outages: list[Outage], source: int, target: int, kind: str, moment: float) -> bool:
    """The definition, in plain words."""
    return any(
        outage.start_s < moment < outage.end_s
        and {source, target} >= {outage.node, outage.node if outage.other is None else outage.other}
        and not (outage.other is None and kind == "backhaul")
        for outage in outages
    )


def rows_at(plan: ContactPlan, moment: float) -> set[tuple[int, int, str, float, float, float]]:
    return {
        (c.source, c.target, c.kind, c.rate_bps, c.range_m, c.delay_s) for c in plan if c.start_s < moment < c.end_s
    }


@given(troubled())
def test_every_moment_has_the_contacts_that_no_outage_covers(case: tuple[ContactPlan, list[Outage]]) -> None:
    """Between two neighbouring edges nothing changes, so the middles stand for all moments."""
    plan, outages = case
    left = without(plan, outages)
    assert_valid(left)
    assert left.nodes == plan.nodes
    assert left.horizon_s == plan.horizon_s
    times = [*plan.start_s, *plan.end_s, *(t for outage in outages for t in (outage.start_s, outage.end_s))]
    edges = sorted({float(t) for t in times if math.isfinite(t)})
    for middle in [(a + b) / 2.0 for a, b in pairwise(edges) if a < (a + b) / 2.0 < b]:
        expected = {row for row in rows_at(plan, middle) if not down(outages, row[0], row[1], row[2], middle)}
        assert rows_at(left, middle) == expected
    assert set(left.start_s.tolist()) | set(left.end_s.tolist()) <= set(edges)


@given(troubled(), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(case: tuple[ContactPlan, list[Outage]], random: Any) -> None:
    plan, outages = case
    together = without(plan, outages)
    shuffled = list(outages)
    random.shuffle(shuffled)
    assert_same(without(plan, shuffled), together)
    assert_same(without(plan, [*outages, *outages]), together)
    assert_same(without(together, outages), together)


@given(troubled())
def test_open_time_is_the_old_less_the_overlap(case: tuple[ContactPlan, list[Outage]]) -> None:
    plan, outages = case
    left = without(plan, outages)
    lost = 0.0
    for contact in plan:
        spans = [
            (max(outage.start_s, contact.start_s), min(outage.end_s, contact.end_s))
            for outage in outages
            if {contact.source, contact.target} >= {outage.node, outage.node if outage.other is None else outage.other}
            and not (outage.other is None and contact.kind == "backhaul")
        ]
        reached = contact.start_s
        for start_s, end_s in sorted(spans):
            lost += max(0.0, end_s - max(start_s, reached))
            reached = max(reached, end_s)
    expected = (plan.end_s - plan.start_s).sum() - lost
    assert (left.end_s - left.start_s).sum() == pytest.approx(expected, abs=1e-6)


@given(plans())
def test_outages_elsewhere_change_nothing(plan: ContactPlan) -> None:
    assert_same(without(plan, []), plan)
    later, earlier = Outage(0, start_s=plan.horizon_s), Outage(0, start_s=-9.0, end_s=0.0)
    assert_same(without(plan, [later, earlier]), plan)


def test_a_dead_satellite_and_a_broken_link(cases: dict[str, Any], stations: Any, link_spec: Any) -> None:
    case = cases["star"]
    plan = find_contacts(case.constellation, stations, link_spec, case.start_utc, 7200.0)
    dead = without(plan, [Outage(7, start_s=3600.0)])
    mine = (dead.source == 7) | (dead.target == 7)
    before = ((plan.source == 7) | (plan.target == 7)) & (plan.start_s < 3600.0)
    assert mine.sum() == before.sum() > 0
    assert dead.end_s[mine].max() == 3600.0
    assert (~mine).sum() == ((plan.source != 7) & (plan.target != 7)).sum()
    broken = without(plan, [Outage(8, 7, 600.0, 900.0)])
    for pair in ((7, 8), (8, 7)):
        assert all(c.end_s <= 600.0 or c.start_s >= 900.0 for c in broken.by_link[pair])
        open_s = [sum(c.end_s - c.start_s for c in one.by_link[pair]) for one in (plan, broken)]
        assert open_s == [7200.0, 6900.0]
    assert {pair: broken.by_link[pair] for pair in plan.by_link if set(pair) != {7, 8}} == {
        pair: contacts for pair, contacts in plan.by_link.items() if set(pair) != {7, 8}
    }
    assert_valid(dead)
    assert_valid(broken)


def test_the_example_on_paper() -> None:
    nodes = Nodes(("a",), ("x",), ((0,),))
    plan = plan_of(nodes, 100.0, [(0, 1, "downlink", 10.0, 50.0, 8.0, 1.0, 0.5)])
    left = without(plan, [Outage(0, 1, 20.0, 30.0), Outage(1, None, 25.0, 35.0), Outage(0, None, 45.0)])
    assert [(c.start_s, c.end_s, c.rate_bps, c.range_m, c.delay_s) for c in left] == [
        (10.0, 20.0, 8.0, 1.0, 0.5),
        (35.0, 45.0, 8.0, 1.0, 0.5),
    ]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(1, 8)), max_size=12))
def test_union_of_spans_is_that_of_their_seconds(spans: list[tuple[int, int, int]]) -> None:
    row, start, long = np.array(spans, dtype=np.int64).reshape(-1, 3).T
    joined = union(Spans(row, start.astype(float), (start + long).astype(float)))
    covered = {(r, t) for r, a, n in spans for t in range(a, a + n)}
    rows = list(zip(joined.row.tolist(), joined.start_s.tolist(), joined.end_s.tolist(), strict=True))
    assert {(r, t) for r, a, b in rows for t in range(int(a), int(b))} == covered
    assert rows == sorted(rows)
    assert all(one[0] < two[0] or one[2] < two[1] for one, two in pairwise(rows))  # nothing left that touches


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 8)), max_size=8),
    st.lists(st.tuples(st.integers(-1, 4), st.integers(-2, 30)), max_size=8),
)
def test_the_span_that_has_begun_last(spans: list[tuple[int, int, int]], asked: list[tuple[int, int]]) -> None:
    row, start, long = np.array(spans, dtype=np.int64).reshape(-1, 3).T
    joined = union(Spans(row, start.astype(float), (start + long).astype(float)))
    rows, times = np.array(asked, dtype=np.int64).reshape(-1, 2).T
    expected = [
        max((n for n in range(len(joined)) if joined.row[n] == r and joined.start_s[n] <= t), default=-1)
        for r, t in asked
    ]
    assert last_begun(joined, rows, times.astype(float)).tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, None, 5.0, 5.0), "node 3 from 5 to 5 s must start before it ends"),
        ((3, None, math.nan, 5.0), "must start before"),
        ((-1,), "numbered from 0"),
        ((3, 3), "joins two nodes"),
    ],
)
def test_impossible_outages_are_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        Outage(*arguments)


def test_unknown_nodes_are_all_named() -> None:
    plan = plan_of(Nodes(("a",), ("x",), ((0,),)), 100.0, [])
    with pytest.raises(PlanError, match=r"nodes 3, 9, but the plan has nodes 0 to 2"):
        without(plan, [Outage(9), Outage(0, 3), Outage(2)])

"""Random contact plans that keep every rule of `ContactPlan`, for laws by Hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from orbitune.links.contacts import KINDS, ContactPlan, Nodes

COLUMNS = ("source", "target", "kind", "start_s", "end_s", "rate_bps", "range_m", "delay_s")

Row = tuple[int, int, str, float, float, float, float, float]


def plan_of(nodes: Nodes, horizon_s: float, rows: Sequence[Row]) -> ContactPlan:
    """The plan with these contacts, sorted as a plan is."""
    source, target, kind, start_s, end_s, rate_bps, range_m, delay_s = zip(*rows, strict=True) if rows else [()] * 8
    order = np.lexsort((target, source, start_s))
    return ContactPlan(
        nodes,
        horizon_s,
        np.array(source, dtype=np.int32)[order],
        np.array(target, dtype=np.int32)[order],
        np.array([KINDS.index(name) for name in kind], dtype=np.int8)[order],
        *(np.array(column, dtype=np.float64)[order] for column in (start_s, end_s, rate_bps, range_m, delay_s)),
    )


def assert_valid(plan: ContactPlan) -> None:
    """The rules of the class: order, types, spans inside the horizon, and no overlap on any link."""
    assert np.array_equal(np.lexsort((plan.target, plan.source, plan.start_s)), np.arange(len(plan)))
    assert [getattr(plan, name).dtype.name for name in COLUMNS] == ["int32", "int32", "int8", *["float64"] * 5]
    assert np.all((plan.start_s >= 0.0) & (plan.start_s < plan.end_s) & (plan.end_s <= plan.horizon_s))
    for contacts in plan.by_link.values():
        assert all(earlier.end_s <= later.start_s for earlier, later in pairwise(contacts))


def assert_same(one: ContactPlan, two: ContactPlan) -> None:
    """Equal in nodes, horizon and every bit of every column."""
    assert one.nodes == two.nodes
    assert one.horizon_s == two.horizon_s
    for name in COLUMNS:
        a, b = getattr(one, name), getattr(two, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes(), name


def kind_of(nodes: Nodes, source: int, target: int) -> str | None:
    """The kind of contact that joins two nodes, or None where there is none."""
    if nodes.server in (source, target):
        return "backhaul" if {source, target} & set(nodes.stations) else None
    up, down = source in nodes.satellites, target in nodes.satellites
    if up and down:
        return "isl_intra" if nodes.plane_of[source] == nodes.plane_of[target] else "isl_inter"
    return "downlink" if up else "uplink" if down else None


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def node_sets(draw: st.DrawFn, any_names: bool = False) -> Nodes:
    """Some satellites in some planes, in any ring order, and some stations."""
    planes, stations = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    plane_of = draw(st.lists(st.integers(0, planes - 1), min_size=1, max_size=5))
    rings = tuple(
        tuple(draw(st.permutations([s for s, plane in enumerate(plane_of) if plane == p]))) for p in range(planes)
    )
    num_satellites = len(plane_of)
    total = num_satellites + stations
    if any_names:
        free = names.filter(lambda name: name != "server")
        chosen = draw(st.lists(free, min_size=total, max_size=total, unique=True))
    else:
        chosen = [f"sat-{s}" for s in range(num_satellites)] + [f"station {g}" for g in range(stations)]
    return Nodes(tuple(chosen[:num_satellites]), tuple(chosen[num_satellites:]), rings)


@st.composite
def plans(draw: st.DrawFn, any_names: bool = False, whole_seconds: bool = False) -> ContactPlan:
    """A plan in which some links are open in some disjoint spans, which may touch."""
    nodes = draw(node_sets(any_names))
    horizon_s = draw(st.integers(1, 5000).map(float) if whole_seconds else st.floats(1.0, 1e5))
    moments = st.integers(0, int(horizon_s)).map(float) if whole_seconds else st.floats(0.0, horizon_s)
    pairs = [(a, b) for a in range(len(nodes)) for b in range(len(nodes)) if a != b and kind_of(nodes, a, b)]
    rows: list[Row] = []
    for source, target in draw(st.lists(st.sampled_from(pairs), max_size=6, unique=True)) if pairs else ():
        edges = sorted(draw(st.lists(moments, min_size=2, max_size=7, unique=True)))
        opens = draw(st.lists(st.booleans(), min_size=len(edges) - 1, max_size=len(edges) - 1))
        for start_s, end_s, is_open in zip(edges, edges[1:], opens, strict=False):
            if is_open:
                figures = (draw(st.floats(1e-3, 1e12)), draw(st.floats(0.0, 1e8)), draw(st.floats(0.0, 10.0)))
                rows.append((source, target, str(kind_of(nodes, source, target)), start_s, end_s, *figures))
    return plan_of(nodes, horizon_s, rows)

"""Laws of way `quickest`: its bound, what it books, and how it compares with the other ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from strategy_worlds import HORIZON_S, Row, both_ways, joined, judge, own, ring_rows, system

from orbitune.cost.system import System
from orbitune.errors import PlanError
from orbitune.links.contacts import ContactPlan
from orbitune.strategies.fluid import Program
from orbitune.strategies.quickest import Quickest, plan_turns
from orbitune.strategies.quickest_gather import Moved, gather_down, hand_out
from orbitune.strategies.quickest_rings import plan_rings
from orbitune.strategies.quickest_sky import Window, cells_of
from orbitune.strategies.satellite_ground import ORDERS, SIMPLE, WAYS, Cargo, bring_down, send_up
from orbitune.strategies.sky import loads_of
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule

SLOT_S = 30.0
ROUNDING_S = 1e-4
"""The solver's tolerance over the times used here."""

BYTES_S = 0.1
"""The room that a plan leaves for whole bytes: two for each link of a cell, at 1 ms each."""

NAMES = ("", "")


@st.composite
def worlds(draw: st.DrawFn, *, rings: bool = False) -> System:
    """Up to 3 planes of up to 3 satellites over up to 3 stations, any terminals; with `rings` all are linked."""
    planes, count = [], 0
    for size in draw(st.lists(st.integers(1, 4 if rings else 3), min_size=1, max_size=3)):
        planes.append(range(count, count + size))
        count += size
    stations = draw(st.integers(1, 3))
    rates = draw(st.sampled_from([[8e3], [8e3, 24e3, 80e3]]))
    rows: list[Row] = []
    for satellite in range(count):
        for station in range(count, count + stations):
            now_s = 0.0
            for wait_s, length_s in draw(st.lists(st.tuples(st.floats(0, 99), st.floats(0.1, 60)), max_size=2)):
                now_s += wait_s
                for link, kind in (((satellite, station), "downlink"), ((station, satellite), "uplink")):
                    rows.append((*link, kind, now_s, now_s + length_s, draw(st.sampled_from(rates)), 0.005))
                now_s += length_s + 7.0
    for plane in planes if rings else ():
        rows += ring_rows(plane, draw(st.sampled_from([8e3, 80e3])), 0.01) if len(plane) > 1 else []
    return system(
        planes,
        stations,
        rows,
        horizon_s=800.0 if not rings else HORIZON_S,
        backhaul_bps=draw(st.sampled_from([4e3, 1e9])),
        backhaul_delay_s=draw(st.sampled_from([0.0, 0.02])),
        ground=draw(st.integers(1, 2)),
        antennas=[draw(st.integers(1, 3)) for _ in range(stations)],
        full_duplex=draw(st.booleans()),
    )


def cargos_of(data: st.DataObject, sky: System) -> list[Cargo]:
    """What each plane has, ready at different times."""
    return [
        Cargo(
            tuple(plane),
            tuple(
                own("x", s, data.draw(st.integers(0, 60_000)), data.draw(st.sampled_from([0.0, 11.0]))) for s in plane
            ),
        )
        for plane in sky.nodes.planes
    ]


def owned(data: st.DataObject, sky: System) -> dict[int, tuple[Held, ...]]:
    since_s = data.draw(st.sampled_from([0.0, 11.0]))
    return {s: (own("x", s, data.draw(st.integers(0, 60_000)), since_s),) for s in sky.nodes.satellites}


def end_of(
    schedule: Schedule, cargos: Sequence[Cargo], kind: str, way: str, found: list[Quickest] | None = None
) -> float:
    if kind == "downlink":
        return max(bring_down(schedule, cargos, way, SLOT_S, certificates=found).values(), default=0.0)
    landed = send_up(schedule, cargos, way, SLOT_S, certificates=found)
    return max((held.since_s for _, held in landed), default=0.0)


def fluid(sky: System, cargos: Sequence[Cargo], kind: str) -> tuple[float, float]:
    """When the fluid is through, and the bound."""
    schedule = Schedule(sky)
    loads = loads_of(schedule, kind, [(cargo.members, cargo.held) for cargo in cargos])
    plan = plan_turns(schedule, loads, kind, sky.contacts.horizon_s)
    return (np.inf, np.inf) if plan is None else (plan.end_s, plan.bound_s)


KINDS = st.sampled_from(["downlink", "uplink"])


# -- against the other ways and the bound ------------------------------------------------------------------------------


@settings(max_examples=60)
@given(worlds(), KINDS, st.data())
def test_never_later_than_any_other_way_and_never_before_the_bound(sky: System, kind: str, data: st.DataObject) -> None:
    cargos = cargos_of(data, sky)
    assume(any(part.payload.size for cargo in cargos for part in cargo.held))
    found: list[Quickest] = []
    try:
        end_s = end_of(Schedule(sky), cargos, kind, "quickest", found)
    except PlanError:
        for way in SIMPLE:
            with pytest.raises(PlanError):
                end_of(Schedule(sky), cargos, kind, way)
        return
    assert [certificate.realised_s for certificate in found] == [end_s]
    _, bound_s = fluid(sky, cargos, kind)
    for way in SIMPLE:
        try:
            other_s = end_of(Schedule(sky), cargos, kind, way)
        except PlanError:
            continue
        assert end_s <= other_s + 1e-6
        assert bound_s <= other_s + ROUNDING_S
    assert found[0].bound_s <= end_s and bound_s <= end_s + ROUNDING_S


@settings(max_examples=40)
@given(worlds(), KINDS, st.data())
def test_the_fluid_never_gets_later_when_a_contact_is_added(sky: System, kind: str, data: st.DataObject) -> None:
    cargos = cargos_of(data, sky)
    rows = sky.contacts.of_kind(kind)
    assume(len(rows) and any(part.payload.size for cargo in cargos for part in cargo.held))
    lost = data.draw(st.sampled_from(rows.tolist()))
    try:
        with_s, without_s = fluid(sky, cargos, kind), fluid(without(sky, lost), cargos, kind)
    except PlanError:
        return assume(False)
    assert with_s[0] <= without_s[0] + BYTES_S
    assert with_s[1] <= without_s[0] + ROUNDING_S


def without(sky: System, row: int) -> System:
    """The same system less one contact."""
    plan = sky.contacts
    names = ("source", "target", "kind", "start_s", "end_s", "rate_bps", "range_m", "delay_s")
    columns = {name: np.delete(getattr(plan, name), row) for name in names}
    return replace(sky, contacts=ContactPlan(plan.nodes, plan.horizon_s, **columns))


# -- against an exact linear program ----------------------------------------------------------------------------------


def reference_down_s(sky: System, held: dict[int, tuple[Held, ...]]) -> float:
    """When every satellite's own bytes can be down, everything fluid, stores and ring links included, no delays.

    Time is cut at every edge; each interval in turn is tried as the last. Fast backhaul only.
    """
    plan, count = sky.contacts, sky.nodes.num_satellites
    rows = [r for r in range(len(plan)) if plan[r].kind in ("downlink", "isl_intra")]
    edges = np.unique([0.0, *(t for r in rows for t in (plan.start_s[r], plan.end_s[r])),
                       *(part.since_s for parts in held.values() for part in parts)])  # fmt: skip
    for last in range(1, len(edges)):
        time_s = _last_interval(sky, held, rows, edges[: last + 1], count)
        if time_s is not None:
            return time_s
    return float("inf")


def _last_interval(
    sky: System, held: dict[int, tuple[Held, ...]], rows: list[int], edges: np.ndarray, count: int
) -> float | None:
    """Unknowns: seconds of each contact in each interval, then the length of the last interval."""
    plan, last = sky.contacts, len(edges) - 2
    shares = [(r, k) for k in range(last + 1) for r in rows if plan.start_s[r] <= edges[k] < plan.end_s[r]]
    width = len(shares) + 1
    upper, limits = [], []
    members = [*((("link", r),) for r in rows), *((("node", n, kind),) for n in range(len(sky.nodes)) for kind in "gi")]
    for k in range(last + 1):
        for (member,) in members:
            line = np.zeros(width)
            for column, (r, interval) in enumerate(shares):
                contact = plan[r]
                kind = "g" if contact.kind == "downlink" else "i"
                hit = member[1] == r if member[0] == "link" else member[1] in (contact.source, contact.target) and (
                    member[2] == kind)  # fmt: skip
                line[column] = float(hit and interval == k and not (member[0] == "node" and kind == "i"))
            places = 1 if member[0] == "link" else sky.num_terminals(member[1], "ground") if member[1] < len(
                sky.nodes) - 1 else 1  # fmt: skip
            line[-1] = -places if k == last else 0.0
            upper.append(line)
            limits.append(0.0 if k == last else places * (edges[k + 1] - edges[k]))
    for satellite in range(count):
        for k in range(last + 1):
            line = np.zeros(width)
            for column, (r, interval) in enumerate(shares):
                if interval <= k:
                    contact = plan[r]
                    line[column] += (contact.source == satellite) * contact.rate_bps / 8
                    line[column] -= (contact.target == satellite) * contact.rate_bps / 8
            upper.append(line)
            limits.append(float(sum(p.payload.size for p in held[satellite] if p.since_s <= edges[k])))
    down = np.array([plan.rate_bps[r] / 8 * (plan[r].kind == "downlink") for r, _ in shares] + [0.0])
    total = sum(part.payload.size for parts in held.values() for part in parts)
    cost = np.zeros(width)
    cost[-1] = 1.0
    bounds = [(0, None)] * len(shares) + [(0, edges[-1] - edges[-2])]
    scale = 1e4
    matrix, right = np.array(upper), np.array(limits)
    big = np.abs(matrix).max(axis=1) > 100
    matrix[big] /= scale
    right[big] /= scale
    result = linprog(cost, A_ub=np.vstack([matrix, -down / scale]), b_ub=np.append(right, -total / scale),
                     bounds=bounds, method="highs-ipm")  # fmt: skip
    return float(edges[-2] + result.x[-1]) if result.status == 0 else None


@settings(max_examples=25)
@given(st.data())
def test_the_fluid_of_rings_and_passes_is_the_optimum_of_the_whole_linear_program(data: st.DataObject) -> None:
    """One plane of up to 3 satellites, 2 stations, full duplex, fast backhaul: there the program leaves nothing out."""
    size = data.draw(st.integers(1, 3))
    rows: list[Row] = []
    for satellite in range(size):
        for station in (size, size + 1):
            for start_s in data.draw(st.sets(st.integers(0, 4), max_size=2)):
                bps = data.draw(st.sampled_from([8e3, 24e3]))
                rows.append((satellite, station, "downlink", 20.0 * start_s, 20.0 * start_s + 15.0, bps, 0.0))
    rows += ring_rows(range(size), data.draw(st.sampled_from([4e3, 80e3])), 0.0) if size > 1 else []
    sky = system([range(size)], 2, rows, antennas=[1, 2])
    sizes = st.tuples(st.integers(1, 60_000), st.sampled_from([0.0, 33.0]))
    held = {s: (own("x", s, *data.draw(sizes)),) for s in range(size)}
    plan = plan_rings(Schedule(sky), sky.nodes.planes, held, "downlink", HORIZON_S) if rows else None
    expected_s = reference_down_s(sky, held)
    if plan is None:
        assert expected_s == np.inf
        return
    assert expected_s * (1 - 1e-3) - BYTES_S <= plan.bound_s <= expected_s + 1e-3
    assert plan.end_s <= expected_s * (1 + 3e-4) + BYTES_S


# -- gathering and handing out -----------------------------------------------------------------------------------------


def judge_moved(schedule: Schedule, held: dict[int, tuple[Held, ...]], moved: Moved, down: bool) -> None:
    server, parts = schedule.system.nodes.server, [(s, part.payload) for s, own_ in held.items() for part in own_]
    parts = [(s, payload) for s, payload in parts if payload.size]
    initial = [(s if down else server, payload) for s, payload in parts]
    got = [(server if down else s, payload, moved.since_s[payload]) for s, payload in parts]
    judge(schedule, initial, got)
    assert moved.end_s == max(moved.since_s.values())


@settings(max_examples=60)
@given(worlds(rings=True), st.sampled_from(WAYS), st.booleans(), st.data())
def test_everything_is_gathered_and_handed_out(sky: System, way: str, down: bool, data: st.DataObject) -> None:
    held = owned(data, sky)
    assume(any(parts[0].payload.size for parts in held.values()))
    schedule, again = Schedule(sky), Schedule(sky)
    move = gather_down if down else hand_out
    try:
        moved = move(schedule, sky.nodes.planes, held, way, "bidirectional", SLOT_S, NAMES)
    except PlanError:
        return assume(False)
    assert moved == move(again, sky.nodes.planes, held, way, "bidirectional", SLOT_S, NAMES)
    assert schedule.activities == again.activities
    judge_moved(schedule, held, moved, down)


@settings(max_examples=20)
@given(worlds(rings=True), st.booleans(), st.data())
def test_both_strategies_at_once_are_never_later_than_in_stages(sky: System, down: bool, data: st.DataObject) -> None:
    held = owned(data, sky)
    assume(any(parts[0].payload.size for parts in held.values()))
    move, found = gather_down if down else hand_out, list[Quickest]()
    try:
        best_s = move(Schedule(sky), sky.nodes.planes, held, "quickest", "ring", SLOT_S, NAMES, found).end_s
    except PlanError:
        return assume(False)
    assert found[0].bound_s <= best_s == found[0].realised_s
    plan = plan_rings(Schedule(sky), sky.nodes.planes, held, "downlink" if down else "uplink", sky.contacts.horizon_s)
    for way in SIMPLE:
        try:
            other_s = move(Schedule(sky), sky.nodes.planes, held, way, "ring", SLOT_S, NAMES).end_s
        except PlanError:
            continue
        assert best_s <= other_s + 1e-6
        assert plan is not None and plan.bound_s <= other_s + ROUNDING_S


def test_a_satellite_that_no_station_sees_is_relayed_while_the_pass_goes_on() -> None:
    """Two satellites with 1 MB each at 8 Mb/s; only the first has a pass, the ring is ten times as fast: 2 s in all,
    where sharing first takes 0.1 s more."""
    rows: list[Row] = [(0, 2, "downlink", 0.0, 100.0, 8e6, 0.0), (2, 0, "uplink", 0.0, 100.0, 8e6, 0.0)]
    rows += both_ways(0, 1, "isl_intra", 0.0, HORIZON_S, 8e7, 0.0)
    sky = system([[0, 1]], 1, rows)
    held = {s: (own("x", s, 1e6),) for s in (0, 1)}
    for move in (gather_down, hand_out):
        ends_s = {
            way: move(Schedule(sky), [(0, 1)], held, way, "bidirectional", SLOT_S).end_s
            for way in ("max_flow", "quickest")
        }
        assert ends_s["max_flow"] > 2.09
        assert 2.0 < ends_s["quickest"] < 2.03


def test_stages_are_named_as_asked() -> None:
    rows: list[Row] = [(0, 2, "downlink", 0.0, 100.0, 8e6, 0.0), *both_ways(0, 1, "isl_intra", 0.0, 100.0, 8e7, 0.0)]
    held = {s: (own("x", s, 1e6),) for s in (0, 1)}
    for way, stages in (("max_flow", {"share", "bring"}), ("quickest", {"bring"})):
        schedule = Schedule(system([[0, 1]], 1, rows), stage="before")
        moved = gather_down(schedule, [(0, 1)], held, way, "ring", SLOT_S, ("share", "bring"))
        assert schedule.stage == "before"
        assert {activity.stage for activity in schedule.activities} == stages == {name for name, _ in moved.stages}


# -- parts -------------------------------------------------------------------------------------------------------------


@given(worlds(), st.sampled_from(ORDERS), KINDS, st.data())
@settings(max_examples=25)
def test_urgent_or_together_everything_arrives(sky: System, order: str, kind: str, data: st.DataObject) -> None:
    cargos, schedule = cargos_of(data, sky), Schedule(sky)
    server = sky.nodes.server
    held = [(cargo, part) for cargo in cargos for part in cargo.held if part.payload.size]
    try:
        if kind == "downlink":
            arrived = bring_down(schedule, cargos, "quickest", SLOT_S, order)
            initial = [(member, part.payload) for cargo, part in held for member in cargo.members]
            judge(schedule, initial, [(server, part.payload, arrived[part.payload]) for _, part in held])
        else:
            landed = send_up(schedule, cargos, "quickest", SLOT_S, order)
            judge(schedule, [(server, p.payload) for _, p in held], [(s, h.payload, h.since_s) for s, h in landed])
            assert joined(h.payload for _, h in landed) == joined(part.payload for _, part in held)
    except PlanError:
        assume(False)


@given(worlds(), KINDS)
def test_cells_cover_every_window_once_and_share_nothing_with_others(sky: System, kind: str) -> None:
    contacts = [sky.contacts[row] for row in sky.contacts.of_kind(kind).tolist()]
    windows = [Window(c, c.source, c.target, c.start_s, c.end_s) for c in contacts]
    cells = cells_of(windows, ())
    for number, window in enumerate(windows):
        own_cells = sorted((c.start_s, c.end_s) for c in cells if number in c.windows)
        assert own_cells[0][0] == window.start_s and own_cells[-1][1] == window.end_s
        assert all(before[1] == after[0] for before, after in pairwise(own_cells))
    for one in cells:
        for two in cells:
            if one is not two and one.start_s < two.end_s and two.start_s < one.end_s:
                nodes = [{n for w in c.windows for n in (windows[w].satellite, windows[w].station)} for c in (one, two)]
                assert nodes[0].isdisjoint(nodes[1])


def test_the_earliest_time_of_a_program_by_hand() -> None:
    """Two sources of 1 and 2 per second, open from 0 to 10 and from 5 to 20: 20 units are there at 10 + 0 / 2 = 10 s,
    25 units at 12.5 s, 45 never."""
    for target, expected in ((20.0, 10.0), (25.0, 12.5), (4.0, 4.0)):
        program = Program()
        for slope, start_s, end_s in ((1.0, 0.0, 10.0), (2.0, 5.0, 20.0)):
            program.clock([(program.unknown(1.0), 1.0)], slope, start_s, end_s)
        found = program.earliest(target, 0.0, 30.0)
        assert found is not None
        assert found.end_s == pytest.approx(expected, rel=1e-5)
        assert found.bound_s == pytest.approx(expected, rel=1e-4) and found.bound_s <= expected + 1e-9
    assert program.earliest(45.0, 0.0, 30.0) is None

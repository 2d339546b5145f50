from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategy_worlds import HORIZON_S, Row, joined, judge, optimum_bytes, own, system

from orbitune.cost.system import System
from orbitune.errors import PlanError
from orbitune.strategies.flow import Arc, Network
from orbitune.strategies.satellite_ground import WAYS, Cargo, bring_down, send_up
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule

SLOT_S = 60.0


def passes(satellite: int, station: int, start_s: float, end_s: float, down_bps: float, up_bps: float) -> list[Row]:
    return [
        (satellite, station, "downlink", start_s, end_s, down_bps, 0.005),
        (station, satellite, "uplink", start_s, end_s, up_bps, 0.005),
    ]


# -- known times -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_one_link_takes_waiting_rate_and_delays(way: str) -> None:
    """1 MB at 8 Mb/s from second 100; delay 5 ms; backhaul 1 ms and 10 ms."""
    sky = system([[0]], 1, passes(0, 1, 100.0, 200.0, 8e6, 8e6), backhaul_delay_s=0.01)
    model = own("model", 0, 1e6)
    down = Schedule(sky)
    assert bring_down(down, [Cargo((0,), (model,))], way, SLOT_S)[model.payload] == pytest.approx(101.016, abs=2e-5)
    up = Schedule(sky)
    assert max(part.since_s for _, part in send_up(up, [Cargo((0,), (model,))], way, SLOT_S)) == pytest.approx(
        101.005, abs=2e-5
    )


@pytest.mark.parametrize("way", WAYS)
def test_an_uplink_waits_for_the_backhaul(way: str) -> None:
    """1 MB over 8 Mb/s backhaul is there after 1.01 s, and up another 0.1 s and 5 ms later."""
    sky = system([[0]], 1, passes(0, 1, 0.0, 200.0, 8e7, 8e7), backhaul_bps=8e6, backhaul_delay_s=0.01)
    landed = send_up(Schedule(sky), [Cargo((0,), (own("model", 0, 1e6),))], way, SLOT_S)
    end_s = max(part.since_s for _, part in landed)
    if way == "quickest":  # the first bytes go up while the backhaul brings the last
        assert 1.015 < end_s < 1.016
    else:
        assert end_s == pytest.approx(1.115, abs=2e-5)


def test_direct_waits_for_the_link_that_completes_first() -> None:
    """100 s of data: the pass that starts first is too short, and its next one comes late."""
    rows = [*passes(0, 2, 0.0, 50.0, 8e6, 8e6), *passes(0, 2, 900.0, 960.0, 8e6, 8e6)]
    rows += passes(1, 2, 100.0, 300.0, 8e6, 8e6)
    schedule = Schedule(system([[0, 1]], 1, rows))
    model = own("model", 0, 100e6)
    assert bring_down(schedule, [Cargo((0, 1), (model,))], "direct", SLOT_S)[model.payload] == pytest.approx(200.105)
    assert {activity.node for activity in schedule.activities if activity.link == "downlink"} == {1}
    # Maximum flow uses the first pass as well.
    arrived = bring_down(Schedule(schedule.system), [Cargo((0, 1), (model,))], "max_flow", SLOT_S)
    assert arrived[model.payload] == pytest.approx(150.035, abs=1e-3)


def test_direct_serves_first_who_completes_first() -> None:
    rows = [*passes(0, 2, 500.0, 600.0, 8e6, 8e6), *passes(1, 2, 0.0, 100.0, 8e6, 8e6)]
    late, early = own("model", 0, 1e6), own("model", 1, 1e6)
    arrived = bring_down(
        Schedule(system([[0, 1]], 1, rows)), [Cargo((0,), (late,)), Cargo((1,), (early,))], "direct", 1.0
    )
    assert arrived[early.payload] < 2.0 and arrived[late.payload] == pytest.approx(501.006, abs=1e-3)


def test_max_flow_gives_the_contested_station_to_whom_nobody_else_hears() -> None:
    """Satellite 0 sees both stations, satellite 1 only the first: the maximum is one station for each."""
    rows = chain.from_iterable(passes(*pair, 0.0, 1000.0, 8e6, 8e6) for pair in ((0, 2), (0, 3), (1, 2)))
    held = [own("model", 0, 50e6), own("model", 1, 50e6)]
    schedule = Schedule(system([[0], [1]], 2, rows))
    arrived = bring_down(schedule, [Cargo((s,), (held[s],)) for s in (0, 1)], "max_flow", SLOT_S)
    assert max(arrived.values()) == pytest.approx(50.055, abs=1e-3)


def test_max_flow_ends_the_last_interval_together() -> None:
    """Three equal cargos share two antennas for 1.5 times the time of one, in turns and not one after another."""
    rows = chain.from_iterable(passes(s, 3, 0.0, 1000.0, 8e6, 8e6) for s in range(3))
    held = [own("model", s, 10e6) for s in range(3)]
    schedule = Schedule(system([[0], [1], [2]], 1, rows, antennas=(2,), backhaul_bps=8e12))
    arrived = bring_down(schedule, [Cargo((s,), (held[s],)) for s in range(3)], "max_flow", SLOT_S)
    assert max(arrived.values()) == pytest.approx(15.005, abs=1e-3)


def test_groups_that_want_the_same_bytes_share_the_backhaul() -> None:
    rows = chain.from_iterable(passes(s, 3, 0.0, 1000.0, 8e6, 8e6) for s in range(3))
    for way in WAYS:
        schedule = Schedule(system([[0], [1], [2]], 1, rows := list(rows), antennas=(3,)))
        model = own("model", 0, 1e6)
        landed = send_up(schedule, [Cargo((s,), (model,)) for s in range(3)], way, SLOT_S)
        judge(schedule, [(schedule.system.nodes.server, model.payload)], [(s, p.payload, p.since_s) for s, p in landed])
        assert schedule.timeline("", (), 0).link_bytes() == {"backhaul": 10**6, "uplink": 3 * 10**6}


# -- conformance -----------------------------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> System:
    """Up to 3 planes of up to 3 satellites, up to 3 stations, passes at random, unequal rates, any terminals."""
    planes, count = [], 0
    for size in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)):
        planes.append(range(count, count + size))
        count += size
    stations = draw(st.integers(1, 3))
    rates = draw(st.sampled_from([[8e3], [8e3, 24e3, 80e3]]))
    rows: list[Row] = []
    for satellite in range(count):
        for station in range(count, count + stations):
            now_s = 0.0
            for wait_s, length_s in draw(st.lists(st.tuples(st.floats(0, 99), st.floats(0.0001, 60)), max_size=3)):
                now_s += wait_s
                down, up = draw(st.sampled_from(rates)), draw(st.sampled_from(rates))
                rows += passes(satellite, station, now_s, now_s + length_s, down, up)
                now_s += length_s + draw(st.sampled_from([0.0, 7.0]))  # touching contacts: the rate changes in a pass
    return system(
        planes,
        stations,
        rows,
        horizon_s=800.0,
        backhaul_bps=draw(st.sampled_from([4e3, 1e9])),
        backhaul_delay_s=draw(st.sampled_from([0.0, 0.02])),
        ground=draw(st.integers(1, 2)),
        antennas=[draw(st.integers(1, 3)) for _ in range(stations)],
        full_duplex=draw(st.booleans()),
    )


def cargos_of(data: st.DataObject, sky: System) -> list[Cargo]:
    """A cargo per plane, and one more that the first satellite holds alone, ready at different times."""
    groups = [*sky.nodes.planes, (0,)]
    cargos = []
    for kind, group in enumerate(groups):
        origins = data.draw(st.sets(st.sampled_from(group)))
        held = [
            own(f"kind-{kind}", s, data.draw(st.integers(0, 60_000)), data.draw(st.floats(0, 30)))
            for s in sorted(origins)
        ]
        cargos.append(Cargo(tuple(group), tuple(held)))
    return cargos


def renamed(part: Held, kind: str) -> Held:
    return replace(part, payload=replace(part.payload, kind=kind))


def filled(cargos: list[Cargo]) -> list[Held]:
    return [part for cargo in cargos for part in cargo.held if part.payload.size]


@given(worlds(), st.sampled_from(WAYS), st.sampled_from([5.0, 60.0]), st.data())
def test_bring_down_brings_everything(sky: System, way: str, slot_s: float, data: st.DataObject) -> None:
    cargos = cargos_of(data, sky)
    schedule, again = Schedule(sky), Schedule(sky)
    try:
        arrived = bring_down(schedule, cargos, way, slot_s)
    except PlanError:
        return assume(False)
    assert arrived == bring_down(again, cargos, way, slot_s) and schedule.activities == again.activities
    assert arrived.keys() == {part.payload for cargo in cargos for part in cargo.held}
    initial = [(member, part.payload) for cargo in cargos for member in cargo.members for part in filled([cargo])]
    starts_s = [a.start_s for a in schedule.activities if a.link == "downlink"]
    assert min(starts_s, default=0.0) >= min((part.since_s for part in filled(cargos)), default=0.0)
    judge(schedule, initial, [(sky.nodes.server, part.payload, arrived[part.payload]) for part in filled(cargos)])


@given(worlds(), st.sampled_from(WAYS), st.sampled_from([5.0, 60.0]), st.data())
def test_send_up_brings_everything_to_somebody_of_each_group(
    sky: System, way: str, slot_s: float, data: st.DataObject
) -> None:
    cargos = cargos_of(data, sky)
    schedule, again = Schedule(sky), Schedule(sky)
    try:
        landed = send_up(schedule, cargos, way, slot_s)
    except PlanError:
        return assume(False)
    assert landed == send_up(again, cargos, way, slot_s) and schedule.activities == again.activities
    for kind, cargo in enumerate(cargos):
        got = [part.payload for satellite, part in landed if part.payload.kind == f"kind-{kind}"]
        assert {satellite for satellite, part in landed if part.payload.kind == f"kind-{kind}"} <= set(cargo.members)
        assert joined(got) == joined(part.payload for part in filled([cargo]))
    judge(
        schedule,
        [(sky.nodes.server, part.payload) for part in filled(cargos)],
        [(satellite, part.payload, part.since_s) for satellite, part in landed],
    )


@given(worlds(), st.sampled_from(WAYS), st.data())
def test_one_call_respects_what_another_has_booked(sky: System, way: str, data: st.DataObject) -> None:
    schedule = Schedule(sky)
    down, up = cargos_of(data, sky), cargos_of(data, sky)
    up = [
        Cargo(cargo.members, tuple(renamed(part, f"up-{number}") for part in cargo.held))
        for number, cargo in enumerate(up)
    ]
    try:
        arrived = bring_down(schedule, down, way, 20.0)
        landed = send_up(schedule, up, way, 20.0)
    except PlanError:
        return assume(False)
    server = sky.nodes.server
    initial = [(member, part.payload) for cargo in down for member in cargo.members for part in filled([cargo])]
    initial += [(server, part.payload) for part in filled(up)]
    got = [(server, part.payload, arrived[part.payload]) for part in filled(down)]
    judge(schedule, initial, got + [(satellite, part.payload, part.since_s) for satellite, part in landed])


@given(st.data())
def test_an_interval_carries_what_the_linear_program_promises(data: st.DataObject) -> None:
    """One interval, more to bring than fits: what goes down is the optimum, but for rounding and turns below 1 ms."""
    count, length_s = 5, 100.0
    pairs = data.draw(st.sets(st.tuples(st.integers(0, 4), st.integers(5, 7)), min_size=1))
    rate = {pair: data.draw(st.sampled_from([8e6, 16e6, 40e6])) for pair in sorted(pairs)}
    antennas = [data.draw(st.integers(1, 2)) for _ in range(3)]
    rows = chain.from_iterable(passes(*pair, 0.0, length_s, bps, bps) for pair, bps in rate.items())
    schedule = Schedule(system([[s] for s in range(count)], 3, rows, antennas=antennas))
    seen = sorted({satellite for satellite, _ in pairs})
    sizes = {s: data.draw(st.integers(10**6, 10**9)) for s in seen}
    arcs = tuple(Arc(satellite, satellite, station, bps) for (satellite, station), bps in rate.items())
    network = Network(
        length_s,
        arcs,
        {s: float(size) for s, size in sizes.items()},
        dict.fromkeys(seen, 1) | {5 + g: k for g, k in enumerate(antennas)},
    )
    with suppress(HorizonEnd):
        bring_down(schedule, [Cargo((s,), (own("model", s, size),)) for s, size in sizes.items()], "max_flow", length_s)
    carried = sum(a.payload.size for a in schedule.activities if a.payload and a.link == "downlink")
    assert optimum_bytes(network) - carried <= len(arcs) * (1e-3 * 40e6 / 8 + 10)
    assert carried <= optimum_bytes(network) + 100


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strategy", [bring_down, send_up])
def test_a_group_that_no_station_ever_sees_is_named(strategy: object, way: str) -> None:
    schedule = Schedule(system([[0], [1]], 1, passes(0, 2, 0.0, 100.0, 8e6, 8e6)))
    with pytest.raises(PlanError, match="no station ever sees any satellite of sat-1") as refused:
        strategy(schedule, [Cargo((1,), (own("model", 1, 10),))], way, SLOT_S)  # type: ignore[operator]
    assert not isinstance(refused.value, HorizonEnd)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strategy", [bring_down, send_up])
def test_the_end_of_the_contact_plan_is_told_apart(strategy: object, way: str) -> None:
    schedule = Schedule(system([[0]], 1, passes(0, 1, 0.0, 10.0, 8e6, 8e6)))
    with pytest.raises(HorizonEnd, match="lengthen"):
        strategy(schedule, [Cargo((0,), (own("model", 0, 11e6),))], way, SLOT_S)  # type: ignore[operator]
    late = own("model", 0, 10, since_s=HORIZON_S + 5)
    with pytest.raises(HorizonEnd, match="lengthen"):
        strategy(schedule, [Cargo((0,), (late,))], way, SLOT_S)  # type: ignore[operator]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_to_bring_is_there_at_once(way: str) -> None:
    schedule = Schedule(system([[0]], 1, []))
    empty = Payload("feature", frozenset({0}), 0, 0, 0)
    assert bring_down(schedule, [Cargo((0,), (Held(empty, 4.0),))], way, SLOT_S) == {empty: 4.0}
    assert send_up(schedule, [], way, SLOT_S) == []
    assert schedule.activities == []

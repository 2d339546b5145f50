from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategy_worlds import HORIZON_S, both_ways, joined, judge, merged, own, ring_rows, ring_system, system

from orbitune.cost.system import System
from orbitune.errors import PlanError
from orbitune.strategies.intra_orbit import (
    WAYS,
    all_gather,
    all_reduce,
    broadcast,
    broadcast_parts,
    gather_to,
    reduce_scatter,
    scatter_from,
)
from orbitune.strategies.ring import Line, travel
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import HorizonEnd, Schedule

SIZES = (3, 4, 5, 8, 11)
BYTE_S = 1e-3
TAU_S = 0.02


# -- reference times -------------------------------------------------------------------------------------------------


def reference_gather_s(way: str, n: int, b_s: float) -> float:
    """The docstring's formulas, B/R = b_s."""
    half = (n - 1) // 2 * (b_s + TAU_S) + (0.0 if n % 2 else b_s / 2 + TAU_S)
    return {"relay": (n - 1) * (3 * b_s + 2 * TAU_S), "ring": (n - 1) * (b_s + TAU_S), "bidirectional": half}[way]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_all_gather_takes_the_reference_time(way: str, n: int) -> None:
    times = all_gather(
        Schedule(ring_system(n, delay_s=TAU_S)), range(n), {s: own("embedding", s, 600) for s in range(n)}, way
    )
    assert max(times.values()) == pytest.approx(reference_gather_s(way, n, 0.6), rel=1e-12)
    if way == "bidirectional":
        assert max(times.values()) <= ceil((n - 1) / 2) * (0.6 + TAU_S) + 1e-9


@pytest.mark.parametrize("n", SIZES)
def test_all_reduce_takes_the_reference_time(n: int) -> None:
    size = 100 * 2 * n
    h_s = size * BYTE_S
    expected = {
        "relay": 2 * (n - 1) * (h_s + TAU_S),
        "ring": 2 * (n - 1) * (h_s / n + TAU_S),
        "bidirectional": 2 * ceil((n - 1) / 2) * (h_s / n + TAU_S),
    }
    for way in WAYS:
        held = {s: own("update", s, size, since_s=7.0) for s in range(n)}
        got = all_reduce(Schedule(ring_system(n, delay_s=TAU_S)), range(n), held, way)
        end_s = max(part.since_s for part in got.values())
        if way == "bidirectional" and n % 2 == 0:
            assert end_s <= 7.0 + expected[way] + 1e-9
        else:
            assert end_s == pytest.approx(7.0 + expected[way], rel=1e-12), way
        # Both ways round are never behind the standard form both ways round, 2(n-1)(h/(2nR) + tau).
        if way == "bidirectional":
            assert end_s <= 7.0 + 2 * (n - 1) * (h_s / (2 * n) + TAU_S) + 1e-9


@pytest.mark.parametrize("n", SIZES)
def test_broadcast_takes_the_reference_time(n: int) -> None:
    """Store and forward; a pipeline of n chunks one way; the same with the last chunk over half the ring."""
    h_s = 10 * n * BYTE_S
    pipeline = (n - 1) * h_s / n
    expected = {
        "relay": (n - 1) * (h_s + TAU_S),
        "ring": pipeline + (n - 1) * (h_s / n + TAU_S),
        "bidirectional": pipeline + ceil((n - 1) / 2) * (h_s / n + TAU_S),
    }
    for way in WAYS:
        times = broadcast(Schedule(ring_system(n, delay_s=TAU_S)), range(n), 0, own("update", 0, 10 * n), way)
        # With an even ring the last chunk (odd number) has the shorter way to go.
        assert max(times.values()) <= expected[way] + 1e-9, way
        assert max(times.values()) >= expected[way] - (h_s / n + TAU_S) * (n % 2 == 0) - 1e-9, way


def test_scatter_takes_the_shorter_way_round() -> None:
    ends = {}
    for way in WAYS:
        parts = [(0, own("feature", owner, 100), owner) for owner in (1, 4)]
        ends[way] = scatter_from(Schedule(ring_system(5)), range(5), parts, way)
    assert ends["bidirectional"] == pytest.approx({1: 0.1, 4: 0.1})
    # The farther one sets out first: its four hops keep nobody waiting but its neighbour.
    assert ends["ring"] == pytest.approx({1: 0.2, 4: 0.4})


def test_a_satellite_alone_has_nothing_to_do_and_needs_no_way() -> None:
    schedule, held = Schedule(ring_system(1)), own("update", 0, 10, since_s=3.0)
    assert all_gather(schedule, [0], {0: held}, "none") == {0: 3.0}
    assert all_reduce(schedule, [0], {0: held}, "none") == {0: held}
    assert broadcast(schedule, [0], 0, held, "none") == {0: 3.0}
    assert scatter_from(schedule, [0], [(0, held, 0)], "none") == {0: 3.0}
    assert schedule.activities == []


def test_unknown_way_is_our_own_fault() -> None:
    with pytest.raises(AssertionError):
        broadcast(Schedule(ring_system(3)), range(3), 0, own("update", 0, 10), "teleport")


# -- conformance: every operation, every way, any ring ---------------------------------------------------------------


@st.composite
def rings(draw: st.DrawFn) -> System:
    """A ring of permanent links with unequal rates; one link may be lost, or come and go."""
    n = draw(st.integers(2, 7))
    odd = draw(st.integers(0, n - 1)) if n > 2 else -1
    kind = draw(st.sampled_from(["whole", "lost", "comes and goes"])) if n > 2 else "whole"
    rows = []
    for number in range(n if n > 2 else 1):
        rate, delay = draw(st.sampled_from([(8e3, 0.0), (8e3, 0.03), (64e3, 0.01)]))
        pair = (number, (number + 1) % n)
        if number != odd or kind == "whole":
            rows += both_ways(*pair, "isl_intra", 0.0, HORIZON_S, rate, delay)
        elif kind == "comes and goes":
            first, length, gap = draw(st.tuples(st.floats(0, 5), st.floats(0.05, 2), st.floats(0.1, 50)))
            for turn in range(20):
                start = first + turn * (length + gap)
                rows += both_ways(*pair, "isl_intra", start, start + length, rate, delay)
    return system([range(n)], 1, rows, full_duplex=draw(st.booleans()))


def holders(draw: st.DataObject, n: int) -> list[int]:
    return sorted(draw.draw(st.sets(st.integers(0, n - 1), min_size=1)))


@given(rings(), st.sampled_from(WAYS), st.data())
def test_all_gather_brings_everything_to_everyone(sky: System, way: str, data: st.DataObject) -> None:
    n = sky.nodes.num_satellites
    held = {
        s: own("embedding", s, data.draw(st.integers(0, 3000)), data.draw(st.floats(0, 3))) for s in holders(data, n)
    }
    schedule, again = Schedule(sky), Schedule(sky)
    times = all_gather(schedule, range(n), held, way)
    assert times == all_gather(again, range(n), held, way) and schedule.activities == again.activities
    initial = make(schedule, held)
    judge(
        schedule,
        initial,
        [(m, part.payload, times[m]) for m in range(n) for part in held.values() if part.payload.size],
    )


@given(rings(), st.sampled_from(WAYS), st.integers(1, 3000), st.data())
def test_all_reduce_gives_everyone_the_total(sky: System, way: str, size: int, data: st.DataObject) -> None:
    n = sky.nodes.num_satellites
    held = {s: own("update", s, size, data.draw(st.floats(0, 3))) for s in holders(data, n)}
    schedule, again = Schedule(sky), Schedule(sky)
    got = all_reduce(schedule, range(n), held, way)
    assert got == all_reduce(again, range(n), held, way) and schedule.activities == again.activities
    assert {part.payload for part in got.values()} == {merged(held.values())}
    assert min(part.since_s for part in got.values()) >= max(part.since_s for part in held.values())
    initial = make(schedule, held)
    judge(schedule, initial, [(member, got[member].payload, got[member].since_s) for member in range(n)])


@given(rings(), st.sampled_from(WAYS), st.integers(1, 3000), st.data())
def test_broadcast_reaches_everyone(sky: System, way: str, size: int, data: st.DataObject) -> None:
    n = sky.nodes.num_satellites
    root = data.draw(st.integers(0, n - 1))
    held = {root: own("update", root, size, 1.0)}
    schedule = Schedule(sky)
    times = broadcast(schedule, range(n), root, held[root], way)
    initial = make(schedule, held)
    judge(schedule, initial, [(member, held[root].payload, times[member]) for member in range(n)])


@given(rings(), st.sampled_from(WAYS), st.lists(st.integers(1, 900), min_size=1, max_size=6), st.data())
def test_parts_that_landed_here_and_there_reach_everyone(
    sky: System, way: str, sizes: list[int], data: st.DataObject
) -> None:
    n = sky.nodes.num_satellites
    model, start = own("model", 0, sum(sizes)), 0
    parts = []
    for size in sizes:
        part = model.payload.part(start, start + size)
        parts.append((data.draw(st.integers(0, n - 1)), Held(part, data.draw(st.floats(0, 3)))))
        start += size
    schedule = Schedule(sky)
    times = broadcast_parts(schedule, range(n), parts, way)
    initial = [(where, held.payload) for where, held in parts]
    judge(schedule, initial, [(member, model.payload, times[member]) for member in range(n)])


@given(rings(), st.sampled_from(WAYS), st.data())
def test_scatter_gives_each_owner_its_parts(sky: System, way: str, data: st.DataObject) -> None:
    n = sky.nodes.num_satellites
    parts = []
    for owner in holders(data, n):
        feature = own("feature", owner, data.draw(st.integers(2, 2000)), 0.5)
        cut = data.draw(st.integers(1, feature.payload.size - 1))
        for low, high in ((0, cut), (cut, feature.payload.size)):
            parts.append((data.draw(st.integers(0, n - 1)), Held(feature.payload.part(low, high), 0.5), owner))
    schedule = Schedule(sky)
    times = scatter_from(schedule, range(n), parts, way)
    assert times.keys() == {owner for *_, owner in parts}
    initial = [(where, part.payload) for where, part, _ in parts]
    judge(schedule, initial, [(owner, part.payload, times[owner]) for _, part, owner in parts])


def make(schedule: Schedule, held: dict[int, Held]) -> list[tuple[int, object]]:
    """What each member holds appears at the moment it says, so that using it earlier is found out."""
    for member, part in held.items():
        if part.payload.size:
            ready = replace(part.payload, kind="raw")
            schedule.compute(member, 0.0, part.since_s, (ready,), (part.payload,))
    return [(member, replace(part.payload, kind="raw")) for member, part in held.items() if part.payload.size]


# -- broken rings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_two_lost_links_are_refused_by_name(way: str) -> None:
    held = {s: own("embedding", s, 10) for s in range(5)}
    with pytest.raises(PlanError, match=r"sat-1 - sat-2 and sat-4 - sat-0") as refused:
        all_gather(Schedule(ring_system(5, lost=[1, 4])), range(5), held, way)
    assert not isinstance(refused.value, HorizonEnd)


def test_a_pair_without_contact_is_refused_by_name() -> None:
    with pytest.raises(PlanError, match="sat-0 - sat-1"):
        broadcast(Schedule(ring_system(2, lost=[0])), range(2), 0, own("update", 0, 10), "ring")


def test_after_the_contact_plan_it_is_the_end_of_the_horizon() -> None:
    """A plan that merely ends early keeps the rounds it has; only a world without a ring is refused."""
    with pytest.raises(HorizonEnd):
        broadcast(Schedule(ring_system(3)), range(3), 0, own("update", 0, 10, HORIZON_S + 1), "ring")


def outage(way: str, length_s: float) -> tuple[float, bool]:
    """An all-gather of six while the last link is down at first: when it ends, and whether that link was used."""
    rows = ring_rows(range(6), 8e3, 0.0, lost=[5])
    rows += both_ways(5, 0, "isl_intra", length_s, HORIZON_S, 8e3, 0.0)
    schedule = Schedule(system([range(6)], 1, rows))
    times = all_gather(schedule, range(6), {s: own("embedding", s, 600) for s in range(6)}, way)
    return max(times.values()), any({a.node, a.peer} == {0, 5} for a in schedule.activities)


def test_a_short_outage_is_waited_for() -> None:
    end_s, used = outage("bidirectional", 0.1)
    assert used
    assert end_s <= reference_gather_s("bidirectional", 6, 0.6) - 3 * TAU_S + 0.1 + 1e-9


@pytest.mark.parametrize("way", WAYS)
def test_a_long_outage_makes_the_ring_a_line(way: str) -> None:
    end_s, used = outage(way, 5000.0)
    assert not used and end_s < 50


# -- reduce-scatter, gather to some, chunks ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_reduce_scatter_takes_the_reference_time(n: int) -> None:
    size = 100 * n
    h_s = size * BYTE_S
    expected = {"ring": (n - 1) * (h_s / n + TAU_S), "bidirectional": ceil((n - 1) / 2) * (h_s / n + TAU_S)}
    for way, time_s in expected.items():
        held = {s: own("update", s, size) for s in range(n)}
        got = reduce_scatter(Schedule(ring_system(n, delay_s=TAU_S)), range(n), held, way)
        assert len({member for member, _ in got}) == n
        assert max(part.since_s for _, part in got) == pytest.approx(time_s, rel=1e-12), way


@given(rings(), st.sampled_from(WAYS), st.integers(1, 3000), st.data())
def test_reduce_scatter_leaves_every_byte_of_the_total_somewhere(
    sky: System, way: str, size: int, data: st.DataObject
) -> None:
    n = sky.nodes.num_satellites
    held = {s: own("update", s, size, data.draw(st.floats(0, 3))) for s in holders(data, n)}
    schedule = Schedule(sky)
    got = reduce_scatter(schedule, range(n), held, way)
    total = merged(held.values())
    assert joined([part.payload for _, part in got]) == [total]
    initial = make(schedule, held)
    judge(schedule, initial, [(member, part.payload, part.since_s) for member, part in got])


@given(rings(), st.sampled_from(WAYS), st.data())
def test_gather_brings_everything_to_the_goals(sky: System, way: str, data: st.DataObject) -> None:
    n = sky.nodes.num_satellites
    held = {
        s: own("embedding", s, data.draw(st.integers(0, 3000)), data.draw(st.floats(0, 3))) for s in holders(data, n)
    }
    goals = holders(data, n)
    schedule = Schedule(sky)
    times = gather_to(schedule, range(n), held, goals, way)
    assert times.keys() == set(goals)
    parts = [part.payload for part in held.values() if part.payload.size]
    judge(schedule, make(schedule, held), [(goal, payload, times[goal]) for goal in goals for payload in parts])


@pytest.mark.parametrize("n", SIZES)
def test_gather_to_one_takes_half_of_a_whole_turn(n: int) -> None:
    """Nobody is farther from the goal than half the ring, and its two links carry half of the payloads each."""
    held = {s: own("embedding", s, 600) for s in range(n)}
    times = gather_to(Schedule(ring_system(n, delay_s=TAU_S)), range(n), held, [0], "bidirectional")
    assert times[0] == pytest.approx(ceil((n - 1) / 2) * 0.6 + TAU_S, abs=ceil(n / 2) * TAU_S)


def test_small_weights_are_not_cut() -> None:
    """Where hops are all that counts, no chunks are made: 11 satellites, 30 kB at 1 Gbit/s, 13 ms a hop."""
    held = {s: own("update", s, 30_000) for s in range(11)}
    ends = {}
    for way in WAYS:
        schedule = Schedule(ring_system(11, 1e9, 0.013))
        got = all_reduce(schedule, range(11), held, way)
        ends[way] = max(part.since_s for part in got.values())
        sends = sum(activity.kind == "send" for activity in schedule.activities)
        assert sends <= {"relay": 20, "ring": 40, "bidirectional": 110}[way]
    assert ends["ring"] <= 20 * (0.00024 / 11 + 0.013) * 1.01
    assert ends["bidirectional"] == pytest.approx(5 * (0.00024 + 0.013))


# -- unequal rates and sizes -------------------------------------------------------------------------------------------


def gather_s(sky: System, sizes: list[int], way: str) -> float:
    n = sky.nodes.num_satellites
    return max(all_gather(Schedule(sky), range(n), {s: own("embedding", s, sizes[s]) for s in range(n)}, way).values())


def halves_s(sky: System, sizes: list[int]) -> float:
    """Every payload half way round each, whole: what `bidirectional` was before it looked at rates and sizes."""
    schedule, members = Schedule(sky), tuple(range(sky.nodes.num_satellites))
    line = Line(members, closed=True)
    trips = [trip for s in members for trip in line.tours(s, own("embedding", s, sizes[s]), "bidirectional")]
    return max(held.since_s for _, held in travel(schedule, trips))


@given(st.integers(3, 9), st.integers(0, 8), st.sampled_from([1.0, 2.0, 5.0, 20.0]), st.data())
def test_unequal_links_and_payloads_are_never_later_than_halves(
    n: int, odd: int, slow: float, data: st.DataObject
) -> None:
    rows = ring_rows(range(n), 8e3, 0.01, lost=[odd % n])
    rows += both_ways(odd % n, (odd + 1) % n, "isl_intra", 0.0, HORIZON_S, 8e3 / slow, 0.01)
    sky = system([range(n)], 1, rows)
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=n, max_size=n))
    assert gather_s(sky, sizes, "bidirectional") <= halves_s(sky, sizes) + 1e-9


def test_a_slow_link_does_not_hold_everybody_up() -> None:
    """Ten satellites, one link ten times slower: a line would take 9 x 0.6 s, halves wait for five slow payloads."""
    rows = ring_rows(range(10), 8e3, 0.0, lost=[9]) + both_ways(9, 0, "isl_intra", 0.0, HORIZON_S, 8e2, 0.0)
    sky = system([range(10)], 1, rows)
    assert halves_s(sky, [600] * 10) >= 4 * 6.0
    assert gather_s(sky, [600] * 10, "bidirectional") <= 9 * 0.6 + 1e-9


def test_a_large_payload_is_cut() -> None:
    """One of nine has 9 kB, the others nothing: piece by piece it is there in far less than four whole hops."""
    sizes = [9000] + [90] * 8
    sky = ring_system(9)
    assert halves_s(sky, sizes) >= 4 * 9.0
    assert gather_s(sky, sizes, "bidirectional") <= 0.5 * halves_s(sky, sizes)

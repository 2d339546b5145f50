"""Batteries: the charge against an integral in small steps, the desk that waits for it, and the checker's rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from method_worlds import CASES, small_job, small_system, world
from power_worlds import Load, lit, orbits, powered, stepped_j
from small_systems import contact, system_of

from orbitune.cost.energy import PowerBudget
from orbitune.cost.system import Computer, Radios, System
from orbitune.errors import TimelineRejected
from orbitune.methods import METHODS, plan
from orbitune.timeline.activity import Activity, Timeline, whole
from orbitune.timeline.battery import Loads, charge_over_time, check_battery, loads_of, lowest_charge
from orbitune.timeline.charging import Batteries, Reserve
from orbitune.timeline.simulate import HorizonEnd, LowBattery, Schedule
from orbitune.timeline.summary import energy_by_satellite_j, energy_j
from orbitune.timeline.verify import verify

UNTIL_S = 400


def budget_of(capacity_j: float = 1_000.0, floor_j: float = 300.0, start_j: float = 800.0) -> PowerBudget:
    """Drawn 2 W, given 12 W by day; night from 0 to 50 s, 150 to 250 s and 350 s on."""
    return PowerBudget(2.0, 12.0, capacity_j, floor_j, start_j, (orbits(50.0, 100.0, 100.0, UNTIL_S),))


def columns(loads: list[Load]) -> Loads:
    table = np.array(loads, dtype=np.float64).reshape(-1, 3)
    none = np.zeros(len(table), dtype=np.int64)
    return Loads(none, np.arange(len(table)), table[:, 0], table[:, 1], table[:, 2])


def quarter_s(most_s: int) -> st.SearchStrategy[float]:
    return st.integers(0, 4 * most_s).map(lambda quarters: quarters / 4)


loads = st.lists(
    st.tuples(quarter_s(UNTIL_S - 60), quarter_s(60), st.sampled_from([0.0, 1.0, 5.0, 30.0])), max_size=12
).map(lambda drawn: [(start_s, start_s + length_s, power_w) for start_s, length_s, power_w in drawn])


# -- the charge over time ----------------------------------------------------------------------------------------------


@given(loads)
def test_the_charge_is_that_of_an_integral_in_small_steps(given_loads: list[Load]) -> None:
    budget = budget_of()
    time_s, charge_j = charge_over_time(budget, columns(given_loads), 0, UNTIL_S)
    steps = stepped_j(budget, 0, given_loads, UNTIL_S, 4)
    np.testing.assert_allclose(charge_j, steps[np.rint(4 * time_s).astype(int)], atol=1e-6)
    assert charge_j.min() == pytest.approx(steps.min(), abs=1e-6)


@given(loads)
def test_energy_is_conserved(given_loads: list[Load]) -> None:
    """Nothing comes from nowhere; only a battery that was full has lost some of the sun."""
    budget = budget_of()
    _, charge_j = charge_over_time(budget, columns(given_loads), 0, UNTIL_S)
    sun = budget.sunlight[0]
    came_j = budget.solar_w * float((sun.end_s - sun.start_s).sum())
    went_j = budget.idle_w * UNTIL_S + sum(power_w * (end_s - start_s) for start_s, end_s, power_w in given_loads)
    lost_j = budget.start_j + came_j - went_j - float(charge_j[-1])
    assert -1e-6 <= lost_j <= came_j + 1e-6
    if charge_j.max() < budget.capacity_j - 1e-6:
        assert lost_j == pytest.approx(0.0, abs=1e-6)


@given(loads)
def test_the_desk_and_the_checker_work_out_the_same_charge(given_loads: list[Load]) -> None:
    reserve = Reserve.idle(budget_of(), 0, UNTIL_S)
    for start_s, end_s, power_w in given_loads:
        if end_s > start_s:
            reserve.draw(start_s, end_s, power_w)
    time_s, charge_j = charge_over_time(budget_of(), columns(given_loads), 0, UNTIL_S)
    np.testing.assert_allclose([reserve.at(moment_s) for moment_s in time_s.tolist()], charge_j, atol=1e-6)


# -- when a load may start ---------------------------------------------------------------------------------------------


def bears(given_loads: list[Load], start_s: float, length_s: float, power_w: float) -> bool:
    more = [*given_loads, (start_s, start_s + length_s, power_w)]
    _, charge_j = charge_over_time(budget_of(), columns(more), 0, UNTIL_S)
    return bool(charge_j.min() >= budget_of().floor_j - 2e-6)


@settings(max_examples=60)
@given(loads, quarter_s(300), quarter_s(80), st.sampled_from([1.0, 6.0, 15.0, 40.0]))
def test_a_load_starts_as_soon_as_the_battery_bears_it(
    others: list[Load], ready_s: float, length_s: float, power_w: float
) -> None:
    """Never where it does not bear it, and no span of starts that it bears is passed by, but for what a step is."""
    booked: list[Load] = []
    reserve = Reserve.idle(budget_of(), 0, UNTIL_S)
    for load in others:
        if load[1] > load[0] and bears(booked, load[0], load[1] - load[0], load[2]):
            booked.append(load)
            reserve.draw(*load)
    start_s = reserve.earliest_s(ready_s, length_s, power_w, UNTIL_S)
    assert start_s >= ready_s
    if start_s < UNTIL_S:
        assert bears(booked, start_s, length_s, power_w)
    missed_s = 0.0
    for tried_s in np.arange(ready_s, min(start_s, UNTIL_S), 0.25).tolist():
        missed_s = missed_s + 0.25 if bears(booked, tried_s, length_s, power_w) else 0.0
        assert missed_s <= 1.25 + 0.01 * (start_s - ready_s), tried_s


def test_a_load_in_the_night_waits_for_as_much_sun_as_it_lacks() -> None:
    """At 50 s 100 J are left above the floor. At 10 W net and 40 W, a load of 10 s is borne with 300 J: 20 s of sun."""
    reserve = Reserve.idle(budget_of(start_j=500.0), 0, UNTIL_S)
    start_s = reserve.earliest_s(40.0, 10.0, 40.0, UNTIL_S)
    assert 70.0 <= start_s <= 71.0


# -- the desk ----------------------------------------------------------------------------------------------------------


def one_satellite(start_j: float, floor_j: float = 300.0, capacity_j: float = 1_000.0) -> System:
    """1 kFLOP/s at 20 W, 10 W to send and 4 W to receive; contact with the one station from 100 to 400 s."""
    links = [contact(0, 1, "downlink", 100.0, 400.0, 8_000.0), contact(1, 0, "uplink", 100.0, 400.0, 8_000.0)]
    return replace(
        system_of([[0]], 1, links, horizon_s=UNTIL_S),
        power=budget_of(capacity_j, floor_j, start_j),
        satellite=Computer(1e3, 1e9, 20.0),
        radios=Radios({"downlink": 10.0}, 4.0),
    )


def test_a_computation_waits_for_the_sun_and_not_for_more() -> None:
    """300 J above the floor at the start; 10 s of 20 W can be afforded at once, 10 s more cannot before the day."""
    desk = Schedule(one_satellite(600.0))
    assert desk.compute(0, 10e3, 0.0) == 10.0
    second_s = desk.compute(0, 10e3, 0.0) - 10.0
    assert 50.0 < second_s < 75.0
    check_battery(desk.timeline("", (), 0), desk.system)


def test_what_was_booked_first_is_kept_whatever_is_booked_before_it() -> None:
    """After the booking at 60 s an earlier one may take only what that one does not need."""
    desk = Schedule(one_satellite(600.0))
    desk.compute(0, 15e3, 55.0)
    station = 1
    desk.send(station, 0, whole("weights", [], 0, 50_000), 0.0)
    desk.send(0, station, whole("update", [0], 0, 20_000), 0.0)
    assert desk.activities[0].start_s < desk.activities[-1].start_s
    check_battery(desk.timeline("", (), 0), desk.system)


def test_what_was_probed_is_what_is_booked() -> None:
    desk = Schedule(one_satellite(450.0))
    for size in (50_000, 90_000, 20_000):
        wanted_s = desk.probe(0, 1, size, 0.0)
        assert desk.send(0, 1, whole("update", [0], size, size), 0.0) == wanted_s


def test_a_transfer_that_no_battery_bears_at_once_goes_in_pieces() -> None:
    """120 s of sending take 1.2 kJ, and the battery never holds more than 700 J for it."""
    desk = Schedule(one_satellite(450.0))
    payload = whole("update", [0], 0, 120_000)
    desk.send(0, 1, payload, 0.0)
    parts = [act.payload for act in desk.activities]
    assert len(parts) > 1
    assert sum(part.size for part in parts if part is not None) == payload.size
    check_battery(desk.timeline("", (), 0), desk.system)


def test_work_that_no_charge_suffices_for_is_refused_with_its_numbers() -> None:
    """22 W for 90 s are 1980 J; 700 J from full to the floor and 12 W of sun are 1780 J."""
    desk = Schedule(one_satellite(1_000.0))
    with pytest.raises(LowBattery, match=r"would draw 22 W for 90 s, 0\.55 Wh, and has at most 0\.494\d Wh for it"):
        desk.compute(0, 90e3, 0.0)


def test_work_for_which_the_plan_is_too_short_says_so() -> None:
    desk = Schedule(one_satellite(1_000.0))
    with pytest.raises(HorizonEnd, match=r"computes for 50 s with 0\.2778 Wh, .* battery never has that to spare"):
        desk.compute(0, 50e3, 345.0)


def test_an_interval_worked_out_elsewhere_is_refused_or_waits() -> None:
    desk = Schedule(one_satellite(450.0))
    link, payload = desk.system.contacts.by_link[0, 1][0], whole("update", [0], 0, 100_000)
    with pytest.raises(
        LowBattery, match=r"SAT-0 to GS-0, 160 to 260 s: the battery of SAT-0 would fall to -0\.02778 Wh at 250 s"
    ):
        desk.send_at(link, payload, 160.0, 260.0)
    assert desk.send_at(link, payload, 160.0, 260.0, may_wait=True) > 261.0
    later_s = max(act.end_s for act in desk.activities)
    desk.send_at(link, whole("update", [0], 1, 1_000), 261.0, 262.0, may_wait=True)  # taken by what had to wait
    assert desk.activities[-1].start_s >= later_s
    check_battery(desk.timeline("", (), 0), desk.system)


def test_a_trial_leaves_the_batteries_as_they_are() -> None:
    desk = Schedule(one_satellite(600.0))
    assert desk.trial().compute(0, 10e3, 0.0) == desk.compute(0, 10e3, 0.0)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["compute", "down", "up"]), st.integers(0, 350), st.integers(1, 60)),
                max_size=10))  # fmt: skip
def test_whatever_the_desk_books_in_whatever_order_is_borne(asked: list[tuple[str, int, int]]) -> None:
    desk = Schedule(one_satellite(600.0))
    for number, (what, ready_s, length_s) in enumerate(asked):
        try:
            if what == "compute":
                desk.compute(0, 1e3 * length_s, ready_s)
            else:
                ends = (0, 1) if what == "down" else (1, 0)
                desk.send(*ends, whole("update", [0], number, 1_000 * length_s), ready_s)
        except HorizonEnd:
            continue
    timeline = desk.timeline("", (), 0)
    check_battery(timeline, desk.system)
    drawn = [(act.start_s, act.end_s, loads_of(timeline, desk.system).power_w[row])
             for row, act in enumerate(timeline.activities)]  # fmt: skip
    batteries = Batteries(desk.system, budget_of(start_j=600.0))
    for start_s, end_s, power_w in drawn:
        batteries.draw([(0, power_w)], start_s, end_s)
    assert batteries.reserve(0).lowest()[1] >= 300.0 - 2e-6


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_battery_that_is_never_low_changes_nothing(case: str) -> None:
    method, trains, ways, full_duplex = CASES[case]
    system = powered(small_system(full_duplex), 1e7, start=1.0)
    made = plan(METHODS[method], small_job(system, trains, ways))
    assert list(made.to_jsonl()) == list(world(case).timeline.to_jsonl())


@pytest.mark.parametrize("case", ["head", "full", "alone", "images"])
@pytest.mark.parametrize("capacity_j", [230.0, 300.0, 1_000.0])
def test_methods_live_within_their_batteries(case: str, capacity_j: float) -> None:
    method, trains, ways, full_duplex = CASES[case]
    system = powered(small_system(full_duplex), capacity_j)
    ways = replace(ways, satellite_ground="gateway")
    free = plan(METHODS[method], small_job(replace(system, power=None), trains, ways))
    made = plan(METHODS[method], small_job(system, trains, ways))
    verify(made, system)
    assert (made.rounds, made.stopped) == (3, "")
    assert made.time_s >= free.time_s - 1e-9
    assert energy_j(made, system) == pytest.approx(energy_j(free, system), rel=0.1)
    lowest = lowest_charge(made, system)
    assert lowest is not None
    assert 0.3 - 1e-6 <= lowest.share <= 0.4


def test_a_small_battery_makes_a_method_wait_for_the_day() -> None:
    """Alone, a satellite computes for half a minute; the night is longer than the charge for that."""
    system = powered(small_system(False), 1_000.0)
    made = plan(METHODS["onboard"], small_job(system, "full", CASES["alone"][2]))
    assert made.time_s > 100.0 > 2 * world("alone").timeline.time_s


# -- the rule ----------------------------------------------------------------------------------------------------------


def computing(start_s: float, end_s: float) -> Timeline:
    activity = Activity("compute", 0, start_s, end_s, "train", 0, "all", flops=1e3 * (end_s - start_s))
    return Timeline("", (activity,), (), (), (), (), 0)


def test_a_charge_that_touches_the_floor_is_allowed() -> None:
    """600 J, less 22 W for 10 s and 2 W for 40 s, are 300 J at dawn."""
    system = one_satellite(600.0)
    check_battery(computing(0.0, 10.0), system)
    lowest = lowest_charge(computing(0.0, 10.0), system)
    assert lowest is not None
    assert (lowest.share, lowest.time_s) == (pytest.approx(0.3), 50.0)


def test_a_charge_below_the_floor_is_refused_by_name_and_amount() -> None:
    message = r"battery of SAT-0 falls to 0\.0777778 Wh at 50\.000000 s, floor 0\.0833333 Wh; .* compute by SAT-0, 0\.0"
    with pytest.raises(TimelineRejected, match=message) as refusal:
        check_battery(computing(0.0, 11.0), one_satellite(600.0))
    assert refusal.value.rule == "battery"


def test_a_night_after_the_job_counts() -> None:
    """Full at dusk at 150 s, 200 J needed until dawn at 250 s: 500 J may go, which are 25 s of computing."""
    with pytest.raises(TimelineRejected, match=r"to 0\.0777778 Wh at 250\.0"):
        check_battery(computing(150.0, 176.0), one_satellite(1_000.0))
    check_battery(computing(150.0, 175.0), one_satellite(1_000.0))


def test_hearing_draws_as_well_as_sending() -> None:
    payload = whole("update", [0], 0, 10)
    up = Activity("send", 1, 0.0, 60.0, "train", 0, "all", 0, "uplink", 60.0, payload)
    down = Activity("send", 0, 0.0, 60.0, "train", 0, "all", 1, "downlink", 60.0, payload)
    timelines = [Timeline("", acts, (), (), (), (), 0) for acts in ((up,), (down,), (up, down))]
    spent_j = [energy_by_satellite_j(timeline, one_satellite(600.0)).tolist() for timeline in timelines]
    assert spent_j == [[240.0], [600.0], [840.0]]
    with pytest.raises(TimelineRejected, match="uplink"):
        check_battery(timelines[0], one_satellite(590.0))


def test_each_satellite_spends_what_its_own_computer_draws() -> None:
    system = system_of([[0, 1]], 1, [])
    system = replace(system, satellites=(Computer(1e3, 1e9, 10.0), Computer(1e3, 1e9, 30.0)))
    acts = tuple(Activity("compute", node, 0.0, 5.0, "train", 0, "all", flops=5e3) for node in (0, 1, 3))
    timeline = Timeline("", acts, (), (), (), (), 0)
    assert energy_by_satellite_j(timeline, system).tolist() == [50.0, 150.0]
    assert energy_j(timeline, system) == 200.0


def test_without_batteries_nothing_is_judged() -> None:
    system = replace(one_satellite(600.0), power=None)
    check_battery(computing(0.0, 300.0), system)
    assert lowest_charge(computing(0.0, 300.0), system) is None


def test_in_sunlight_all_the_time_a_panel_carries_what_it_gives() -> None:
    budget = replace(budget_of(start_j=300.0), sunlight=(lit((0.0, UNTIL_S)),))
    system = replace(one_satellite(300.0), power=budget, satellite=Computer(1e3, 1e9, 10.0))
    check_battery(computing(0.0, 400.0), system)

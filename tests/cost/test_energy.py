"""Panels and batteries: closed forms, a recursion played step by step, and real eclipses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.cost.energy import JOULES_PER_WH, PowerBudget, Sunlight, power_budget, sunlight_of
from orbitune.errors import PlanError
from orbitune.links.contacts import Nodes
from orbitune.links.eclipse import Eclipses, eclipse_share, eclipses
from orbitune.orbit.constellation import WalkerShell, build_walker

START = "2025-06-01T00:00:00Z"
HOUR_S = 3600.0


def nodes_of(count: int) -> Nodes:
    return Nodes(tuple(f"sat-{number}" for number in range(count)), (), (tuple(range(count)),))


def dark(satellite: list[int], start_s: list[float], end_s: list[float]) -> Eclipses:
    return Eclipses(np.array(satellite, dtype=np.int64), np.array(start_s), np.array(end_s))


def budget_of(start_j: float, capacity_j: float, floor_j: float = 0.0) -> PowerBudget:
    return PowerBudget(5.0, 20.0, capacity_j, floor_j, start_j, (Sunlight(np.array([0.0]), np.array([100.0])),))


# -- the charge --------------------------------------------------------------------------------------------------------


def test_a_constant_load_in_the_dark_empties_a_battery_in_a_straight_line() -> None:
    charge_j = budget_of(1000.0, 1000.0).charge_j(np.array([0.0, 10.0, 40.0]), np.array([-7.0, -7.0]))
    assert charge_j.tolist() == pytest.approx([1000.0, 930.0, 720.0])


def test_a_full_battery_takes_no_more() -> None:
    charge_j = budget_of(90.0, 100.0).charge_j(np.array([0.0, 5.0, 10.0, 11.0]), np.array([1.0, 50.0, -30.0]))
    assert charge_j.tolist() == pytest.approx([90.0, 95.0, 100.0, 70.0])


gains = st.lists(st.tuples(st.floats(0.0, 500.0), st.floats(-80.0, 80.0)), min_size=1, max_size=40)


@given(gains, st.floats(0.0, 1.0))
def test_it_is_the_recursion_played_step_by_step(pieces: list[tuple[float, float]], share: float) -> None:
    budget = budget_of(2000.0 * share, 2000.0)
    time_s = np.concatenate([[0.0], np.cumsum([length_s for length_s, _ in pieces])])
    charge_j, expected = budget.start_j, [budget.start_j]
    for (_, net_w), length_s in zip(pieces, np.diff(time_s), strict=True):
        charge_j = min(budget.capacity_j, charge_j + net_w * length_s)
        expected.append(charge_j)
    np.testing.assert_allclose(budget.charge_j(time_s, np.array([w for _, w in pieces])), expected, atol=1e-6)


# -- sunlight ----------------------------------------------------------------------------------------------------------


def test_sunlight_is_what_eclipses_leave() -> None:
    found = dark([0, 0, 2], [0.0, 50.0, 90.0], [10.0, 60.0, 100.0])
    spans = [list(zip(one.start_s, one.end_s, strict=True)) for one in sunlight_of(found, 3, 100.0)]
    assert spans == [[(10.0, 50.0), (60.0, 100.0)], [(0.0, 100.0)], [(0.0, 90.0)]]


def test_sunlight_and_eclipses_of_a_shell_fill_the_time() -> None:
    horizon_s = 6 * HOUR_S
    shell = build_walker([WalkerShell("walker-delta", 4, 2, 1, 550e3, math.radians(53.0), 0.0)], START)
    found = eclipses(shell, START, horizon_s)
    lit = sunlight_of(found, 4, horizon_s)
    share = [float((one.end_s - one.start_s).sum()) / horizon_s for one in lit]
    np.testing.assert_allclose(share, 1.0 - eclipse_share(found, 4, horizon_s), rtol=1e-12)
    assert all((one.start_s[1:] > one.end_s[:-1]).all() for one in lit)


# -- the budget of a constellation -------------------------------------------------------------------------------------


def budget_in_the_dark(idle_w: float, floor: float = 0.5, start: float = 1.0) -> PowerBudget:
    """Satellite 1 of two has a night of one hour; 10 Wh."""
    return power_budget(
        dark([1], [HOUR_S], [2 * HOUR_S]), nodes_of(2), 3 * HOUR_S, idle_w=idle_w, solar_w=50.0,
        capacity_j=10 * JOULES_PER_WH, floor_share=floor, start_share=start,
    )  # fmt: skip


def test_idle_power_that_takes_the_battery_to_its_floor_is_allowed() -> None:
    budget = budget_in_the_dark(5.0)
    assert (budget.floor_j, budget.start_j) == (5 * JOULES_PER_WH, 10 * JOULES_PER_WH)


def test_idle_power_that_takes_it_lower_is_refused() -> None:
    with pytest.raises(PlanError, match="sat-1 falls to 4 Wh at 7200 s with nothing to do, and must keep 5 Wh"):
        budget_in_the_dark(6.0)


def test_a_charge_that_starts_below_the_floor_is_refused() -> None:
    with pytest.raises(PlanError, match=r"battery_start_percent = 40 is below .*battery_floor_percent = 50"):
        budget_in_the_dark(1.0, start=0.4)

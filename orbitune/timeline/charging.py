"""The booking desk's batteries: when can a satellite afford what it is asked to do?

Bookings are not made in order of time. A `Reserve` is therefore the whole future of one battery with everything that
is booked so far, and a new load is allowed only where no later moment falls below the floor: bookings made before
stay good whatever is booked after them. Nothing is estimated. Cost per booking: the pieces of the charge from the
load on to where the battery is as full as it would have been without it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from orbitune.cost.energy import JOULES_PER_WH, PowerBudget
from orbitune.cost.system import System

Draws = Sequence[tuple[int, float]]
"""Satellites, and what each of them draws, in watts."""

SLACK_J = 1e-6
"""Rounding that the desk forgives, our choice: far above what a charge near 10^6 J can be off (1e-10 J a step), a
thousandth of what the checker forgives."""

STEP_S, STEP_SHARE = 1.0, 0.01
"""Our choice: a load may wait 1 s or 1 % longer than it must, where the exact moment would take many more trials."""

HALVINGS, PACE_GAIN = 6, 1e-3
"""Our choice: a transfer that would have to wait may be cut down to a 64th, where that is faster by a thousandth; below
`STEP_S` only where it could not be sent otherwise."""


@dataclass(slots=True)
class Reserve:
    """The charge of one battery over time: linear between `time_s` [N], with net power `net_w` [N] from each on.

    `spare_j` is what can be drawn at any time whatsoever: how far the charge stays above the floor.
    """

    capacity_j: float
    floor_j: float
    time_s: list[float]
    net_w: list[float]
    charge_j: list[float]
    spare_j: float

    @classmethod
    def idle(cls, budget: PowerBudget, satellite: int, horizon_s: float) -> Reserve:
        """Of a satellite with nothing to do until the horizon, which is its last moment."""
        change_s, rise_w = budget.idle_changes(satellite)
        kept = change_s < horizon_s
        time_s, net_w = np.append(change_s[kept], horizon_s), np.cumsum(rise_w[kept])
        charge_j = budget.charge_j(time_s, net_w)
        spare_j = float(charge_j.min()) - budget.floor_j
        columns = time_s.tolist(), [*net_w.tolist(), 0.0], charge_j.tolist()
        return cls(budget.capacity_j, budget.floor_j, *columns, spare_j)

    def copy(self) -> Reserve:
        """The same, free to go its own way."""
        columns = list(self.time_s), list(self.net_w), list(self.charge_j)
        return Reserve(self.capacity_j, self.floor_j, *columns, self.spare_j)

    def at(self, moment_s: float) -> float:
        """The charge at a moment."""
        row = max(0, bisect_right(self.time_s, moment_s) - 1)
        return min(self.capacity_j, self.charge_j[row] + self.net_w[row] * (moment_s - self.time_s[row]))

    def not_before_s(self, start_s: float, duration_s: float, power_w: float) -> float:
        """`start_s` where a load may start then; otherwise a later moment before which it cannot start either.

        Where the charge would be short of `lack_j` at a moment v, at least `lack_j` of what the load draws before v
        must be drawn after it, so the load must start `lack_j / power_w` later, counted from v - `duration_s` where
        it would end before v. Drawing the rest of it later does not help: the later it is drawn, the less of it is
        made up for by power that a full battery would have refused.
        """
        time_s, net_w, capacity_j = self.time_s, self.net_w, self.capacity_j
        end_s, now_s, charge_j, wait_until_s = start_s + duration_s, start_s, self.at(start_s), start_s
        row = max(0, bisect_right(time_s, start_s) - 1)
        while row + 1 < len(time_s):
            busy = now_s < end_s
            next_s = min(time_s[row + 1], end_s) if busy else time_s[row + 1]
            charge_j += (net_w[row] - power_w if busy else net_w[row]) * (next_s - now_s)
            charge_j, now_s = min(charge_j, capacity_j), next_s
            lack_j = self.floor_j - charge_j
            if lack_j > SLACK_J:
                wait_until_s = max(wait_until_s, now_s - min(duration_s, now_s - start_s) + lack_j / power_w)
            if now_s == time_s[row + 1]:
                row += 1
                if now_s >= end_s and charge_j >= self.charge_j[row]:
                    break  # everything after is as it was
        return wait_until_s

    def earliest_s(self, ready_s: float, duration_s: float, power_w: float, last_s: float) -> float:
        """When a load that is ready may start; `last_s` or later if not before then."""
        start_s = ready_s
        while power_w * duration_s > max(0.0, self.spare_j) and start_s < last_s:
            bound_s = self.not_before_s(start_s, duration_s, power_w)
            if bound_s <= start_s:
                break
            start_s = max(bound_s, start_s + max(STEP_S, STEP_SHARE * (start_s - ready_s)))
        return start_s

    def draw(self, start_s: float, end_s: float, power_w: float) -> None:
        """Book one more load."""
        first, last = self._split(start_s), self._split(end_s)
        time_s, net_w, charge_j = self.time_s, self.net_w, self.charge_j
        for row in range(first, last):
            net_w[row] -= power_w
        for row in range(first, len(time_s) - 1):
            charge = min(self.capacity_j, charge_j[row] + net_w[row] * (time_s[row + 1] - time_s[row]))
            if row >= last and charge >= charge_j[row + 1]:
                break
            charge_j[row + 1] = charge
            self.spare_j = min(self.spare_j, charge - self.floor_j)

    def lowest(self) -> tuple[float, float]:
        """When the charge is lowest, and how much it is then."""
        row = min(range(len(self.time_s)), key=self.charge_j.__getitem__)
        return self.time_s[row], self.charge_j[row]

    def _split(self, moment_s: float) -> int:
        """Make a moment one of `time_s`; returns its number."""
        row = bisect_left(self.time_s, moment_s)
        if row == len(self.time_s) or self.time_s[row] != moment_s:
            charge_j = self.at(moment_s)
            self.time_s.insert(row, moment_s)
            self.net_w.insert(row, self.net_w[row - 1])
            self.charge_j.insert(row, charge_j)
        return row


@dataclass
class Batteries:
    """The batteries of all satellites as they are booked now."""

    system: System
    budget: PowerBudget
    _reserves: dict[int, Reserve] = field(default_factory=dict)
    _own: set[int] = field(default_factory=set)

    def copy(self) -> Batteries:
        """The same, free to go its own way. Reserves are shared until one side draws from them."""
        self._own.clear()
        return Batteries(self.system, self.budget, dict(self._reserves))

    def reserve(self, satellite: int) -> Reserve:
        """The battery of a satellite, with everything booked so far."""
        found = self._reserves.get(satellite)
        if found is None:
            found = Reserve.idle(self.budget, satellite, self.system.contacts.horizon_s)
            self._reserves[satellite] = found
        return found

    def draw(self, draws: Draws, start_s: float, end_s: float) -> None:
        """Book loads of a length that is not zero."""
        for satellite, power_w in draws:
            if power_w > 0.0 and end_s > start_s:
                if satellite not in self._own:
                    self._reserves[satellite] = self.reserve(satellite).copy()
                    self._own.add(satellite)
                self._reserves[satellite].draw(start_s, end_s, power_w)

    def earliest_s(self, draws: Draws, ready_s: float, duration_s: float, last_s: float) -> float:
        """When all of some loads may start together; `last_s` or later if not before then."""
        start_s = ready_s
        while True:
            began_s = start_s
            for satellite, power_w in draws:
                start_s = self.reserve(satellite).earliest_s(start_s, duration_s, power_w, last_s)
            if start_s == began_s or start_s >= last_s or len(draws) == 1:
                return start_s

    def piece_s(self, draws: Draws, ready_s: float, duration_s: float, last_s: float) -> tuple[float, float]:
        """Start and length of as much of a transfer as gets on best: all of it, or a half, a quarter ...

        That is the piece with the least time, waiting included, for what of its length lies before `last_s`. Where
        nothing can start before `last_s`, the start is infinity.
        """
        best, best_pace = (inf, duration_s), inf
        for halving in range(HALVINGS + 1):
            length_s = duration_s / 2**halving
            if length_s < STEP_S and best_pace < inf:
                break
            start_s = self.earliest_s(draws, ready_s, length_s, last_s)
            end_s = min(start_s + length_s, last_s)
            if start_s < end_s and (pace := (end_s - ready_s) / (end_s - start_s)) < best_pace - PACE_GAIN:
                best, best_pace = (start_s, length_s), pace
            if start_s <= ready_s:
                break
        return best

    def shortage(self, draws: Draws, start_s: float, end_s: float) -> str:
        """Why loads may not be booked from one moment to another, in words; empty if they may."""
        for satellite, power_w in draws:
            reserve = self.reserve(satellite)
            if power_w * (end_s - start_s) <= max(0.0, reserve.spare_j):
                continue
            reserve = reserve.copy()
            reserve.draw(start_s, end_s, power_w)
            lowest_s, lowest_j = reserve.lowest()
            if lowest_j < self.budget.floor_j - 2.0 * SLACK_J:  # what was allowed once is allowed when booked again
                return (
                    f"the battery of {self.system.nodes.name(satellite)} would fall to {lowest_j / JOULES_PER_WH:.4g} "
                    f"Wh at {lowest_s:.0f} s, floor {self.budget.floor_j / JOULES_PER_WH:.4g} Wh"
                )
        return ""

    def too_much(self, satellite: int, duration_s: float, power_w: float) -> str:
        """Why a load can never be borne, in words, even from a full battery and in sunlight all the time."""
        budget = self.budget
        needed_j = (power_w + budget.idle_w) * duration_s
        most_j = budget.capacity_j - budget.floor_j + budget.solar_w * duration_s
        if needed_j <= most_j:
            return ""
        return (
            f"{self.system.nodes.name(satellite)} would draw {power_w + budget.idle_w:g} W for {duration_s:.0f} s, "
            f"{needed_j / JOULES_PER_WH:.4g} Wh, and has at most {most_j / JOULES_PER_WH:.4g} Wh for it, with a full "
            "battery and sunlight all the time"
        )

"""Linear programs whose capacities grow with time, and the earliest moment at which all is carried.

Every capacity of a contact plan has the form `const + slope * (time within [start_s, end_s] that is over by T)`: a
contact's seconds, an antenna's, a ring link's bytes, a backhaul's. So the most that can be carried by T is a linear
program in T's piecewise linear capacities, and the earliest T is found without any time grid:

1. *Cuts.* The dual of the program at one T prices every capacity. At those prices no more can be carried by any other
   T' than the priced capacities at T' add up to; the first T' at which they suffice is a lower bound (Newton's method
   for parametric flows: Radzik, "Parametric flows, weighted means of cuts, and fractional combinatorial optimization",
   1993). The bound rises until it does not.
2. *The last interval.* Between two neighbouring edges all capacities are straight lines, so T itself becomes an unknown
   and the program gives the earliest T exactly, with the dual as certificate.

Programs are solved by HiGHS (Huangfu and Hall, Math. Prog. Comp. 10, 2018) through SciPy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, hstack, vstack

LOOK_AHEAD = 1e-3
"""Share of all later capacity that a cut's program may use already, so that it prices what is still to come, too."""

TOLERANCE = 1e-6
"""Relative; HiGHS keeps its constraints to 1e-7 (its documented primal_feasibility_tolerance)."""

ROUNDING = 1e-3
"""Of `TOLERANCE`: what sums of prices and capacities may be off by, relative to what is to be carried."""

MOST_CUTS = 40
"""Our choice: after so many cuts the interval is looked for edge by edge, halving."""

Array = NDArray[np.float64]
ANY = (0.0, None)


@dataclass(frozen=True)
class Optimum:
    """All is carried by `end_s` with these values of the unknowns; nothing carries it before `bound_s`."""

    end_s: float
    bound_s: float
    values: Array


@dataclass
class Program:
    """Rows of an upper limit each, and balances, over unknowns that are never negative.

    `gain` says which unknowns count as carried. Numbers should be of one size (seconds at the fastest rate, say).
    """

    gain: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    _cells: list[tuple[int, int, float]] = field(default_factory=list)
    _limits: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    _balance_cells: list[tuple[int, int, float]] = field(default_factory=list)
    _balances: list[float] = field(default_factory=list)

    def unknown(self, gain: float = 0.0, cost: float = 0.0) -> int:
        """A new unknown; returns its number. Among values that are through equally early the least cost is taken."""
        self.gain.append(gain)
        self.cost.append(cost)
        return len(self.gain) - 1

    def limit(self, terms: Iterable[tuple[int, float]], const: float, spare: float = 0.0) -> None:
        """Sum of terms <= const at any time; `spare` is added for rounding, but not for the bound."""
        self._row(terms, (const + spare, spare, 0.0, 0.0, 0.0))

    def clock(self, terms: Iterable[tuple[int, float]], slope: float, start_s: float, end_s: float) -> None:
        """Sum of terms <= slope times the seconds of [start_s, end_s] that are over."""
        self._row(terms, (0.0, 0.0, slope, start_s, end_s))

    def balance(self, terms: Iterable[tuple[int, float]], total: float) -> None:
        """Sum of terms == total."""
        self._balance_cells += [(len(self._balances), column, value) for column, value in terms]
        self._balances.append(total)

    def _row(self, terms: Iterable[tuple[int, float]], limit: tuple[float, float, float, float, float]) -> None:
        self._cells += [(len(self._limits), column, value) for column, value in terms]
        self._limits.append(limit)

    def earliest(self, target: float, first_s: float, last_s: float, spare: float = 0.0) -> Optimum | None:
        """The earliest time in [first_s, last_s] by which `target` + `spare` is carried; None if it is later."""
        return _Search(self, target, spare, first_s, last_s).run()


def _matrix(cells: list[tuple[int, int, float]], height: int, width: int) -> csr_array:
    if not cells:
        return csr_array((height, width))
    rows, columns, values = (np.array(column) for column in zip(*cells, strict=True))
    return csr_array(coo_array((values.astype(float), (rows, columns)), shape=(height, width)))


class _Search:
    """The search for the earliest time."""

    def __init__(self, program: Program, target: float, spare: float, first_s: float, last_s: float) -> None:
        width = len(program.gain)
        self.gain, self.cost = np.array(program.gain), np.array(program.cost)
        self.target, self.spare, self.first_s, self.last_s = target + spare, spare, first_s, last_s
        self.rows = _matrix(program._cells, len(program._limits), width)
        columns = np.array(program._limits, dtype=float).reshape(-1, 5).T
        self.const, self.spares, self.slope, self.start_s, self.end_s = columns
        self.balances = _matrix(program._balance_cells, len(program._balances), width)
        self.totals = np.array(program._balances)
        edges = np.unique(np.concatenate([self.start_s, self.end_s, [first_s, last_s]]))
        self.edges = edges[(edges >= first_s) & (edges <= last_s)].tolist()
        self.whole = self.limits(last_s)

    def limits(self, time_s: float) -> Array:
        """The right-hand sides at a moment."""
        over_s = np.clip(np.minimum(self.end_s, time_s) - self.start_s, 0.0, None)
        limits: Array = self.const + self.slope * over_s
        return limits

    def run(self) -> Optimum | None:
        time_s = bound_s = self.first_s
        for _ in range(MOST_CUTS):
            later_s, cut_s = self._cut(time_s)
            bound_s = max(bound_s, cut_s)
            if later_s == inf:
                return None
            if later_s - time_s <= TOLERANCE * (later_s - self.first_s):
                break
            time_s = later_s
        return self._finish(time_s, bound_s)

    def _cut(self, time_s: float, look_ahead: float = LOOK_AHEAD) -> tuple[float, float]:
        """When the prices of the program at a moment let all through at last: with the spare, and without."""
        limits = self.limits(time_s)
        limits += look_ahead * (self.whole - limits)
        result = self._solve(-self.gain, self.rows, limits)
        prices = -result.ineqlin.marginals.clip(max=0.0)
        fixed = float(-result.eqlin.marginals @ self.totals) if len(self.totals) else 0.0
        with_spare = self._reached(prices, self.target - fixed - prices @ self.const)
        without = self.target - self.spare - fixed - prices @ (self.const - self.spares)
        return with_spare, self._reached(prices, without)

    def _reached(self, prices: Array, needed: float) -> float:
        """The first moment at which the priced capacities are worth `needed`, never before `first_s`."""
        weights = prices * self.slope
        used = np.flatnonzero(weights)
        start_s = self.start_s[used].clip(self.first_s, None)
        end_s, weight = self.end_s[used], weights[used]
        needed -= float(weight @ (start_s - self.start_s[used]))
        needed -= TOLERANCE * (abs(needed) + ROUNDING * self.target)
        if needed <= 0.0:
            return self.first_s
        at_s = np.concatenate([start_s, end_s])
        change = np.concatenate([weight, -weight])
        order = np.argsort(at_s, kind="stable")
        at_s, rate = at_s[order], np.cumsum(change[order])
        worth = np.concatenate([[0.0], np.cumsum(rate[:-1] * np.diff(at_s))]) if len(at_s) else np.zeros(0)
        place = int(np.searchsorted(worth, needed))
        if place == len(worth):
            return inf
        return float(at_s[place] - (worth[place] - needed) / max(rate[place - 1], 1e-300))

    def _finish(self, time_s: float, bound_s: float) -> Optimum | None:
        """The first interval, from a moment on, in which all can be carried: ever longer steps, then halving."""
        low = max(0, min(bisect_right(self.edges, time_s), len(self.edges) - 1) - 1)
        high, step, best = len(self.edges) - 1, 1, None
        while low < high:
            middle = min(low + step - 1, high - 1) if step else (low + high) // 2
            found = self._within(middle)
            if found is None:
                low, step = middle + 1, step * 2
                continue
            best, high, step = found, middle, 0
            if found.end_s > self.edges[middle]:
                break
        return None if best is None else self._certified(best, self.edges[high], bound_s)

    def _certified(self, best: Optimum, begin_s: float, bound_s: float) -> Optimum:
        """The optimum with the best bound: its own holds where nothing is carried before its interval begins."""
        if bound_s < begin_s:
            bound_s = max(bound_s, self._cut(begin_s, TOLERANCE)[1])
        if bound_s >= begin_s:
            bound_s = max(bound_s, best.bound_s)
        return Optimum(best.end_s, min(bound_s, best.end_s), self._cheapest(best))

    def _cheapest(self, best: Optimum) -> Array:
        """The least costly values that are through by then."""
        if not self.cost.any():
            return best.values
        limits = np.append(self.limits(best.end_s), -float(self.gain @ best.values) * (1.0 - TOLERANCE / 10))
        carried = csr_array(-self.gain[None, :])
        result = self._solve(self.cost, vstack([self.rows, carried], format="csr"), limits, bounds=ANY)
        values: Array = best.values if result is None else result.x.clip(min=0.0)
        return values

    def _within(self, number: int) -> Optimum | None:
        """The earliest time within one interval between edges, in which capacities are straight lines."""
        begin_s, end_s = self.edges[number], self.edges[number + 1]
        slope = np.where((self.start_s <= begin_s) & (self.end_s >= end_s), self.slope, 0.0)
        upper = hstack([self.rows, -slope[:, None]], format="csr")
        carried = np.append(-self.gain, 0.0)[None, :]
        limits = np.append(self.limits(begin_s), -self.target)
        cost = np.append(np.zeros(len(self.gain)), 1.0)
        bounds = np.zeros((len(cost), 2))
        bounds[:, 1] = inf
        bounds[-1, 1] = end_s - begin_s
        balances = hstack([self.balances, np.zeros((len(self.totals), 1))], format="csr")
        result = self._solve(cost, vstack([upper, csr_array(carried)], format="csr"), limits, balances, bounds)
        if result is None:
            return None
        less = np.append(-self.spares, self.spare)
        bound_s = float(begin_s + max(0.0, (result.fun + result.ineqlin.marginals @ less) * (1.0 - TOLERANCE)))
        return Optimum(float(begin_s + result.x[-1]), bound_s, result.x[:-1].clip(min=0.0))

    def _solve(
        self, cost: Array, rows: csr_array, limits: Array, balances: csr_array | None = None,
        bounds: Array | tuple[float, None] | None = None,
    ) -> Any:  # SciPy has no types  # fmt: skip
        balances = self.balances if balances is None else balances
        equal = {"A_eq": balances, "b_eq": self.totals} if len(self.totals) else {}
        limited = (0, None) if bounds is None else bounds
        result = linprog(cost, A_ub=rows, b_ub=limits, bounds=limited, method="highs", **equal)
        if result.status == 2 and bounds is not None:
            return None
        assert result.status == 0, f"HiGHS: {result.message}"
        return result

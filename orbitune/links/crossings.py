"""When a smooth function of time is positive: all spans, with edges refined to convergence.

The functions here are clearances in metres (height above a station's mask, of a ray above the Earth, of a range
below its limit), sampled on a grid and known between the samples. A grid alone misses what happens between two
samples, so intervals in which the function may turn and touch zero are searched for the turn first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Clearance = Callable[[Floats], tuple[Floats, Floats]]
"""Value and slope [N] of N functions, each at its own time [N]."""

Between = Callable[[Ints, Ints], Clearance]
"""From rows and samples [N] to those functions inside the intervals from each sample to the next."""

ROOT_TOLERANCE_S = 1e-7
MAX_ITERATIONS = 200
BISECTIONS = 22
"""A turn is wanted so well that the value there is right to rounding: 120 s / 2^22 is 29 microseconds."""


@dataclass(frozen=True)
class Samples:
    """Functions on a grid: `value` and `slope` [P, T] at `time_s` [T], and the steepest they can be anywhere."""

    time_s: Floats
    value: Floats
    slope: Floats
    steepest: float
    between: Between


@dataclass(frozen=True)
class Spans:
    """Spans of time, sorted by (row, start_s): function `row` is positive from `start_s` to `end_s`."""

    row: Ints
    start_s: Floats
    end_s: Floats

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Intervals:
    """Intervals [N] of the grid worth looking into: function `row` from `sample` to the next one.

    `value` and `slope` [2, N] are those at the two ends. Outside all intervals of a row its function is not positive,
    and no interval comes twice.
    """

    row: Ints
    sample: Ints
    value: Floats
    slope: Floats


@dataclass(frozen=True)
class _Edges:
    """Moments at which functions change sign; `rises` says which way."""

    row: Ints
    time_s: Floats
    rises: Bools


def positive_spans(samples: Samples) -> Spans:
    """All spans in which the functions are above zero, cut at the ends of the grid."""
    return spans_within(_telling(samples), samples.time_s, samples.steepest, samples.between)


def spans_within(intervals: Intervals, time_s: Floats, steepest: float, between: Between) -> Spans:
    """All spans in which functions are above zero, where somebody has already picked the intervals to look into.

    Args:
        time_s: The whole grid [T], at whose ends spans are cut.
        steepest: The steepest that a function can be anywhere.
    """
    above = intervals.value > 0.0
    found = (
        _cut_at_ends(intervals, above, time_s),
        _sign_changes(intervals, above, time_s, between),
        _hidden_turns(intervals, above, time_s, steepest, between),
    )
    row = np.concatenate([edges.row for edges in found])
    edge_s = np.concatenate([edges.time_s for edges in found])
    rises = np.concatenate([edges.rises for edges in found])
    order = np.lexsort((edge_s, row))
    row, edge_s, rises = row[order], edge_s[order], rises[order]
    assert np.array_equal(row[rises], row[~rises]), "rises and sets do not pair up"
    spans = Spans(row[rises], edge_s[rises], edge_s[~rises])
    return _keep(spans, spans.end_s > spans.start_s)


def intersection(a: Spans, b: Spans) -> Spans:
    """The spans, row by row, in which both are open. Spans of one row must not overlap inside `a` or inside `b`."""
    row = np.concatenate([a.row, b.row, a.row, b.row])
    time_s = np.concatenate([a.start_s, b.start_s, a.end_s, b.end_s])
    opens = np.arange(len(row)) < len(a) + len(b)
    # At equal times closing goes first, so spans that only touch share nothing.
    order = np.lexsort((opens, time_s, row))
    row, time_s, opens = row[order], time_s[order], opens[order]
    depth = np.cumsum(np.where(opens, 1, -1))
    starts = np.flatnonzero(opens & (depth == 2))
    # Whatever follows the opening of the second is the closing of one of the two.
    return Spans(row[starts], time_s[starts], time_s[starts + 1])


def _keep(spans: Spans, chosen: Bools) -> Spans:
    return Spans(spans.row[chosen], spans.start_s[chosen], spans.end_s[chosen])


def _telling(samples: Samples) -> Intervals:
    """The intervals at whose ends the sign changes, in which the function may turn, or where the grid cuts a span."""
    above = samples.value > 0.0
    toward_zero = (samples.slope > 0.0) != above
    # Where the sign stays, a function that points at zero from both ends turns in between.
    telling = toward_zero[:, :-1] & ~toward_zero[:, 1:]
    telling |= above[:, 1:] != above[:, :-1]
    telling[:, 0] |= above[:, 0]
    telling[:, -1] |= above[:, -1]
    row, sample = np.divmod(np.flatnonzero(telling), telling.shape[1])
    value, slope = (np.stack([y[row, sample], y[row, sample + 1]]) for y in (samples.value, samples.slope))
    return Intervals(row, sample, value, slope)


def _cut_at_ends(intervals: Intervals, above: Bools, time_s: Floats) -> _Edges:
    first = intervals.row[above[0] & (intervals.sample == 0)]
    last = intervals.row[above[1] & (intervals.sample == len(time_s) - 2)]
    edge_s = np.repeat(time_s[[0, -1]], [len(first), len(last)])
    rises = np.repeat([True, False], [len(first), len(last)])
    return _Edges(np.concatenate([first, last]), edge_s, rises)


def _sign_changes(intervals: Intervals, above: Bools, time_s: Floats, between: Between) -> _Edges:
    changes = np.flatnonzero(above[0] != above[1])
    row, sample, rises = intervals.row[changes], intervals.sample[changes], above[1, changes]
    low, high = time_s[sample], time_s[sample + 1]
    before, after = intervals.value[:, changes]
    secant = low + (high - low) * (before / (before - after))
    return _Edges(row, roots(between(row, sample), low, high, rises, secant), rises)


def _hidden_turns(intervals: Intervals, above: Bools, time_s: Floats, steepest: float, between: Between) -> _Edges:
    """Both edges of what begins and ends inside one interval: a short pass, or a short dip in a long one."""
    turning = _turning(intervals, above, np.diff(time_s)[intervals.sample] * steepest)
    row, sample, dips = intervals.row[turning], intervals.sample[turning], above[0, turning]
    low, high = time_s[sample], time_s[sample + 1]
    side = np.where(dips, -1.0, 1.0)
    clearance = between(row, sample)
    turn = _peaks(clearance, side, low, high)
    crosses = side * clearance(turn)[0] > 0.0
    row, dips, turn = row[crosses], dips[crosses], turn[crosses]
    clearance = between(row, sample[crosses])
    first = roots(clearance, low[crosses], turn, ~dips)
    second = roots(clearance, turn, high[crosses], dips)
    return _Edges(np.tile(row, 2), np.concatenate([first, second]), np.concatenate([~dips, dips]))


def _turning(intervals: Intervals, above: Bools, change: Floats) -> Ints:
    """Intervals with one sign at both ends whose slopes point at zero from both, and which can reach it.

    `change` [N] is the most that each function can change from one end to the other.
    """
    toward_zero = (intervals.slope > 0.0) != above
    turns = toward_zero[0] & ~toward_zero[1] & (above[0] == above[1])
    return np.flatnonzero(turns & (np.abs(intervals.value).sum(axis=0) < change))


def _peaks(clearance: Clearance, side: Floats, low: Floats, high: Floats) -> Floats:
    """Where side * clearance is greatest in each bracket, by bisection on the slope."""
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        climbs = side * clearance(middle)[1] > 0.0
        low, high = np.where(climbs, middle, low), np.where(climbs, high, middle)
    return 0.5 * (low + high)


def roots(clearance: Clearance, low: Floats, high: Floats, rises: Bools, guess: Floats | None = None) -> Floats:
    """The zero in each bracket [low, high], to `ROOT_TOLERANCE_S`.

    Newton's steps where they stay in the bracket and at least halve, bisection where they do not, each row until it has
    converged: a fixed number of steps leaves grazing passes wrong by seconds.
    Reference: Press et al., Numerical Recipes, 3rd edition (2007), section 9.4, `rtsafe`.

    Args:
        rises: Per row, True where the function goes from minus to plus.
        guess: Where to begin, inside the brackets; None for their middles.
    """
    time_s = 0.5 * (low + high) if guess is None else guess
    last_step = high - low
    done = np.zeros(len(time_s), dtype=np.bool_)
    for _ in range(MAX_ITERATIONS):
        if done.all():
            return time_s
        value, slope = clearance(time_s)
        before = np.where(rises, value, -value) <= 0.0
        low, high = np.where(before, time_s, low), np.where(before, high, time_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = time_s - value / slope
        good = (newton >= low) & (newton <= high) & (np.abs(newton - time_s) <= 0.5 * np.abs(last_step))
        goal = np.where(good, newton, 0.5 * (low + high))
        last_step = goal - time_s
        time_s = np.where(done, time_s, goal)
        done |= np.abs(last_step) < ROOT_TOLERANCE_S
    raise AssertionError(f"{np.count_nonzero(~done)} roots did not converge")


def at_ends(between: Between, time_s: Floats, spans: Spans) -> Floats:
    """The greater of the values of the functions at the two ends of each span [N]; `time_s` is the grid."""
    return np.maximum(*(_point_at(between, time_s, spans.row, edge_s).value for edge_s in (spans.start_s, spans.end_s)))


def greatest(samples: Samples, spans: Spans) -> Floats:
    """The greatest value of the functions inside each span [N]: at its ends, at samples, and at turns in between.

    The top of a turn is that of the parabolas with the slopes of its two neighbours: right to a few hundred metres for
    ranges in orbit, a microsecond of delay.
    """
    start, end = (_point_at(samples.between, samples.time_s, spans.row, edge) for edge in (spans.start_s, spans.end_s))
    first = np.searchsorted(samples.time_s, spans.start_s, side="left")
    last = np.searchsorted(samples.time_s, spans.end_s, side="right") - 1
    some = last >= first
    best = np.maximum(
        _top(start, _sample_where(some, samples, spans.row, first, end)),
        _top(_sample_where(some, samples, spans.row, last, start), end),
    )
    many = last > first
    begin, stop = (spans.row[many] * len(samples.time_s) + sample[many] for sample in (first, last))
    # `reduceat` takes the greatest from each even place up to the next; the odd ones in between are not wanted.
    if many.any():
        inner = np.maximum.reduceat(with_turns(samples).ravel(), np.stack([begin, stop], axis=1).ravel())
        best[many] = np.maximum(best[many], inner[::2])
    return best


@dataclass(frozen=True)
class _Points:
    """Functions at one time each [N]."""

    time_s: Floats
    value: Floats
    slope: Floats


def _point_at(between: Between, time_s: Floats, row: Ints, moment_s: Floats) -> _Points:
    sample = np.searchsorted(time_s, moment_s, side="right") - 1
    return _Points(moment_s, *between(row, np.clip(sample, 0, len(time_s) - 2))(moment_s))


def _sample_where(chosen: Bools, samples: Samples, row: Ints, sample: Ints, other: _Points) -> _Points:
    """The points at those samples where `chosen`, and the other ones elsewhere."""
    sample = np.clip(sample, 0, len(samples.time_s) - 1)
    return _Points(
        np.where(chosen, samples.time_s[sample], other.time_s),
        np.where(chosen, samples.value[row, sample], other.value),
        np.where(chosen, samples.slope[row, sample], other.slope),
    )


def _top(a: _Points, b: _Points) -> Floats:
    """The greatest value from each point to the next: of the two, or of a turn in between."""
    best = np.maximum(a.value, b.value)
    turns = np.flatnonzero((a.slope > 0.0) & (b.slope < 0.0))
    climb, fall, apart_s = a.slope[turns], b.slope[turns], (b.time_s - a.time_s)[turns]
    # Each end has its parabola with the mean curvature; their errors are opposite in the third derivative.
    rise = 0.25 * apart_s * (climb**2 + fall**2) / (climb - fall)
    best[turns] = np.maximum(best[turns], 0.5 * (a.value + b.value)[turns] + rise)
    return best


def with_turns(samples: Samples) -> Floats:
    """The samples [P, T], raised to the top of the turn where the function turns down before the next one."""
    raised = samples.value.copy()
    row, sample = np.nonzero((samples.slope[:, :-1] > 0.0) & (samples.slope[:, 1:] < 0.0))
    a, b = (_Points(samples.time_s[k], samples.value[row, k], samples.slope[row, k]) for k in (sample, sample + 1))
    raised[row, sample] = _top(a, b)
    return raised

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
_MAX_ITERATIONS = 200
_BISECTIONS = 22
"""A turn is wanted so well that the value there is right to rounding: 60 s / 2^22 is 14 microseconds."""


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
class _Edges:
    """Moments at which functions change sign; `rises` says which way."""

    row: Ints
    time_s: Floats
    rises: Bools


def positive_spans(samples: Samples) -> Spans:
    """All spans in which the functions are above zero, cut at the ends of the grid."""
    above = samples.value > 0.0
    found = (_cut_at_ends(samples, above), _sign_changes(samples, above), _hidden_turns(samples, above))
    row = np.concatenate([edges.row for edges in found])
    time_s = np.concatenate([edges.time_s for edges in found])
    rises = np.concatenate([edges.rises for edges in found])
    order = np.lexsort((time_s, row))
    row, time_s, rises = row[order], time_s[order], rises[order]
    assert np.array_equal(row[rises], row[~rises]), "rises and sets do not pair up"
    spans = Spans(row[rises], time_s[rises], time_s[~rises])
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


def _cut_at_ends(samples: Samples, above: Bools) -> _Edges:
    first, last = np.flatnonzero(above[:, 0]), np.flatnonzero(above[:, -1])
    time_s = np.repeat(samples.time_s[[0, -1]], [len(first), len(last)])
    rises = np.repeat([True, False], [len(first), len(last)])
    return _Edges(np.concatenate([first, last]), time_s, rises)


def _sign_changes(samples: Samples, above: Bools) -> _Edges:
    row, sample = np.nonzero(above[:, 1:] != above[:, :-1])
    rises = above[row, sample + 1]
    time_s = roots(samples.between(row, sample), samples.time_s[sample], samples.time_s[sample + 1], rises)
    return _Edges(row, time_s, rises)


def _hidden_turns(samples: Samples, above: Bools) -> _Edges:
    """Both edges of what begins and ends inside one interval: a short pass, or a short dip in a long one."""
    row, sample = _turning(samples, above)
    low, high = samples.time_s[sample], samples.time_s[sample + 1]
    dips = above[row, sample]
    side = np.where(dips, -1.0, 1.0)
    clearance = samples.between(row, sample)
    turn = _peaks(clearance, side, low, high)
    crosses = side * clearance(turn)[0] > 0.0
    row, dips, turn = row[crosses], dips[crosses], turn[crosses]
    clearance = samples.between(row, sample[crosses])
    first = roots(clearance, low[crosses], turn, ~dips)
    second = roots(clearance, turn, high[crosses], dips)
    return _Edges(np.tile(row, 2), np.concatenate([first, second]), np.concatenate([~dips, dips]))


def _turning(samples: Samples, above: Bools) -> tuple[Ints, Ints]:
    """Intervals with one sign at both ends whose slopes point at zero from both, and which can reach it."""
    toward_zero = (samples.slope > 0.0) != above
    turns = toward_zero[:, :-1] & ~toward_zero[:, 1:] & (above[:, :-1] == above[:, 1:])
    row, sample = np.nonzero(turns)
    apart = np.abs(samples.value[row, sample]) + np.abs(samples.value[row, sample + 1])
    reachable = apart < samples.steepest * np.diff(samples.time_s)[sample]
    return row[reachable], sample[reachable]


def _peaks(clearance: Clearance, side: Floats, low: Floats, high: Floats) -> Floats:
    """Where side * clearance is greatest in each bracket, by bisection on the slope."""
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        climbs = side * clearance(middle)[1] > 0.0
        low, high = np.where(climbs, middle, low), np.where(climbs, high, middle)
    return 0.5 * (low + high)


def roots(clearance: Clearance, low: Floats, high: Floats, rises: Bools) -> Floats:
    """The zero in each bracket [low, high], to `ROOT_TOLERANCE_S`.

    Newton's steps where they stay in the bracket and at least halve, bisection where they do not, each row until it has
    converged: a fixed number of steps leaves grazing passes wrong by seconds.
    Reference: Press et al., Numerical Recipes, 3rd edition (2007), section 9.4, `rtsafe`.

    Args:
        rises: Per row, True where the function goes from minus to plus.
    """
    time_s, last_step = 0.5 * (low + high), high - low
    done = np.zeros(len(time_s), dtype=np.bool_)
    for _ in range(_MAX_ITERATIONS):
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


def greatest(samples: Samples, spans: Spans) -> Floats:
    """The greatest value of the functions inside each span [N]: at its ends, at samples, at turns between samples.

    A turn is taken from the parabola with the slopes of the two samples around it. One between an end of the span
    and the sample next to it is left out: for ranges in orbit a kilometre or two at most, microseconds of delay.
    """
    best = np.maximum(_value_at(samples, spans.row, spans.start_s), _value_at(samples, spans.row, spans.end_s))
    first = np.searchsorted(samples.time_s, spans.start_s, side="left")
    last = np.searchsorted(samples.time_s, spans.end_s, side="right") - 1
    some = last >= first
    best[some] = np.maximum(best[some], samples.value[spans.row[some], last[some]])
    many = last > first
    begin, end = (spans.row[many] * len(samples.time_s) + sample[many] for sample in (first, last))
    # `reduceat` takes the greatest from each even place up to the next; the odd ones in between are not wanted.
    if many.any():
        inner = np.maximum.reduceat(_with_turns(samples).ravel(), np.stack([begin, end], axis=1).ravel())
        best[many] = np.maximum(best[many], inner[::2])
    return best


def _value_at(samples: Samples, row: Ints, time_s: Floats) -> Floats:
    sample = np.searchsorted(samples.time_s, time_s, side="right") - 1
    return samples.between(row, np.clip(sample, 0, len(samples.time_s) - 2))(time_s)[0]


def _with_turns(samples: Samples) -> Floats:
    """The samples [P, T], raised to the top of the parabola where the function turns down before the next one."""
    raised = samples.value.copy()
    row, sample = np.nonzero((samples.slope[:, :-1] > 0.0) & (samples.slope[:, 1:] < 0.0))
    climb, fall = samples.slope[row, sample], samples.slope[row, sample + 1]
    raised[row, sample] += 0.5 * climb**2 * np.diff(samples.time_s)[sample] / (climb - fall)
    return raised

"""The horizon in parts, and the spans of each in which pairs of satellites keep their limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from orbitune.links.crossings import (
    Between,
    Bools,
    Clearance,
    Floats,
    Ints,
    Samples,
    Spans,
    greatest,
    intersection,
    positive_spans,
    with_turns,
)
from orbitune.links.limits import Limit, Limits, Motion, range_between
from orbitune.links.sky import ACCELERATION_LIMIT_M_S2, fastest_m_s
from orbitune.links.visibility import SAMPLES_PER_CHUNK
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import dot, length
from orbitune.orbit.interpolate import NUM_NODES, Arcs, cut_arcs
from orbitune.orbit.propagate import Ephemeris, propagate
from orbitune.orbit.time import EARTH_ROTATION_RAD_S
from orbitune.units import EARTH_MU_M3_S2


@dataclass(frozen=True)
class Stretch:
    """A part of the horizon: `steps` intervals from sample `first` of an ephemeris that reaches further on either side.

    `start` counts that sample from the start of the horizon; `motion` [S, steps x fine + 1, 3] is sampled `fine` times
    in each interval.
    """

    ephemeris: Ephemeris
    start: int
    first: int
    steps: int
    fine: int
    motion: Motion

    @property
    def step_s(self) -> float:
        return float(self.ephemeris.time_s[1] - self.ephemeris.time_s[0])

    def time_of(self, sample: Ints) -> Floats:
        """Seconds from the start of the horizon of samples counted from the start of this stretch."""
        return self.ephemeris.time_s[self.first + sample]


@dataclass(frozen=True)
class Horizon:
    """Which satellites to follow, from when, and the even grid: `num_steps` intervals of `step_s`."""

    constellation: Constellation
    satellites: Sequence[int]
    start_utc: str | datetime
    step_s: float
    num_steps: int

    @property
    def horizon_s(self) -> float:
        return self.step_s * self.num_steps


def stretches(horizon: Horizon, limits: Limits, piece: int = 1) -> Iterator[Stretch]:
    """The horizon in parts of some whole pieces each, what is left in one more; a piece is some steps.

    The satellites are propagated once, all together, and memory does not grow with the horizon. Row s of a stretch is
    `horizon.satellites[s]`.
    """
    assert horizon.num_steps >= NUM_NODES - 1, "too few samples for one arc"
    step_s, num_steps = horizon.step_s, horizon.num_steps
    fine = limits.fine(step_s)
    size = piece * max(1, SAMPLES_PER_CHUNK // (len(horizon.satellites) * fine * piece))
    whole = num_steps // piece * piece
    for start in [*range(0, whole, size), *([whole] if whole < num_steps else [])]:
        end = min(start + size, whole) if start < whole else num_steps
        # Neighbouring samples let every arc be centred; the last arc must be whole at the end of the horizon.
        low = max(0, min(start - NUM_NODES, num_steps + 1 - NUM_NODES))
        high = min(num_steps, max(end + NUM_NODES, NUM_NODES - 1))
        time_s: Floats = np.arange(low, high + 1.0) * step_s
        ephemeris = propagate(horizon.constellation, horizon.start_utc, time_s, horizon.satellites)
        motion = _sampled(ephemeris, start - low, end - start, fine, limits.need_acceleration)
        yield Stretch(ephemeris, start, start - low, end - start, fine, motion)


def _sampled(ephemeris: Ephemeris, first: int, steps: int, fine: int, accelerates: bool) -> Motion:
    if not accelerates:
        chosen = slice(first, first + steps + 1)
        return Motion(ephemeris.position_m[:, chosen], ephemeris.velocity_m_s[:, chosen])
    size = len(ephemeris.position_m)
    satellite, sample = np.divmod(np.arange(size * (steps + 1)), steps + 1)
    sample += first
    arcs = cut_arcs(ephemeris, satellite, sample)
    step_s = float(ephemeris.time_s[1] - ephemeris.time_s[0])
    parts = [motion_of(arcs, ephemeris.time_s[sample] + k * step_s / fine, True) for k in range(fine)]

    def woven(name: str) -> Floats:
        """Columns between two samples side by side; those after the last sample do not count."""
        columns = np.stack([getattr(part, name) for part in parts], axis=1)
        return columns.reshape(size, (steps + 1) * fine, 3)[:, : steps * fine + 1]

    return Motion(woven("position_m"), woven("velocity_m_s"), woven("acceleration_m_s2"))


def motion_of(arcs: Arcs, time_s: Floats, accelerates: bool) -> Motion:
    """Motion [N, 3] on each arc at its own time [N]."""
    position, velocity = arcs.at(time_s)
    if not accelerates:
        return Motion(position, velocity)
    x = (time_s - arcs.centre_s) / arcs.step_s
    powers = np.arange(len(arcs.coefficients))
    # c x^k to k (k - 1) c x^(k-2), by Horner's rule
    weighed = (powers * (powers - 1))[:, None, None] * arcs.coefficients
    second = weighed[-1]
    for coefficient in weighed[-2:1:-1]:
        second = second * x + coefficient
    return Motion(position, velocity, second.T / arcs.step_s**2)


@dataclass(frozen=True)
class Rows:
    """Pairs of satellites [P], each looked at for `steps` intervals from its own `sample` of a stretch."""

    one: Ints
    two: Ints
    sample: Ints
    steps: int

    def __len__(self) -> int:
        return len(self.one)

    def at(self, chosen: Ints | Bools | slice) -> Rows:
        """Some of the rows."""
        return Rows(self.one[chosen], self.two[chosen], self.sample[chosen], self.steps)


@dataclass(frozen=True)
class Held:
    """Spans in which all limits are kept: `row` of the rows given, times from the start of the horizon."""

    row: Ints
    start_s: Floats
    end_s: Floats
    max_range_m: Floats

    def at(self, chosen: Ints | Bools) -> Held:
        """Some of the spans."""
        return Held(self.row[chosen], self.start_s[chosen], self.end_s[chosen], self.max_range_m[chosen])


def spans_kept(stretch: Stretch, rows: Rows, limits: Limits) -> Held:
    """When the pairs keep all limits; a span that reaches the end of its row ends exactly at that sample."""
    size = max(1, SAMPLES_PER_CHUNK // (4 * (rows.steps * stretch.fine + 1)))
    blocks = range(0, len(rows), size)
    found = [_block(stretch, rows.at(slice(first, first + size)), limits) for first in blocks]
    empty = Held(np.empty(0, dtype=np.int64), *(np.empty(0) for _ in range(3)))
    row = [part.row + first for first, part in zip(blocks, found, strict=True)]
    others = [[getattr(part, name) for part in [empty, *found]] for name in ("start_s", "end_s", "max_range_m")]
    return Held(np.concatenate([empty.row, *row]), *(np.concatenate(column) for column in others))


def _block(stretch: Stretch, rows: Rows, limits: Limits) -> Held:
    fastest = fastest_m_s(stretch.ephemeris)
    a, b = _ends(stretch, rows)

    def samples(limit: Limit, steepest: float) -> Samples:
        between = _between(stretch, rows, limit, limits.need_acceleration)
        return Samples(_clock(stretch, rows), *limit(a, b), steepest, between)

    spans: Spans | None = None
    for limit, steepest in limits.functions(fastest):
        kept = positive_spans(samples(limit, steepest))
        spans = kept if spans is None else intersection(spans, kept)
    assert spans is not None, "there is always the Earth"
    range_m = _greatest(samples(range_between, 2.0 * fastest), spans)
    begin, last = rows.sample[spans.row], _clock(stretch, rows)[-1]
    end_s: Floats = np.where(
        spans.end_s == last, stretch.time_of(begin + rows.steps), stretch.time_of(begin) + spans.end_s
    )
    return Held(spans.row, stretch.time_of(begin) + spans.start_s, end_s, range_m)


def _greatest(samples: Samples, spans: Spans) -> Floats:
    """`greatest`; where a span fills its row, which most do, the samples are enough."""
    whole = (spans.start_s == samples.time_s[0]) & (spans.end_s == samples.time_s[-1])
    best: Floats = np.max(with_turns(samples), axis=1)[spans.row]
    rest = Spans(spans.row[~whole], spans.start_s[~whole], spans.end_s[~whole])
    best[~whole] = greatest(samples, rest)
    return best


def _clock(stretch: Stretch, rows: Rows) -> Floats:
    """Times of the samples of each row, counted from its first."""
    time_s: Floats = np.arange(rows.steps * stretch.fine + 1.0) * (stretch.step_s / stretch.fine)
    return time_s


def _ends(stretch: Stretch, rows: Rows) -> tuple[Motion, Motion]:
    """Motion [P, T, 3] of both satellites of each row."""
    sample = rows.sample[:, None] * stretch.fine + np.arange(rows.steps * stretch.fine + 1)
    return stretch.motion.at((rows.one[:, None], sample)), stretch.motion.at((rows.two[:, None], sample))


def _between(stretch: Stretch, rows: Rows, limit: Limit, accelerates: bool) -> Between:
    def between(row: Ints, sample: Ints) -> Clearance:
        begin = stretch.first + rows.sample[row]
        interval = begin + sample // stretch.fine
        one, two = (cut_arcs(stretch.ephemeris, satellite[row], interval) for satellite in (rows.one, rows.two))
        origin = stretch.ephemeris.time_s[begin]

        def clearance(time_s: Floats) -> tuple[Floats, Floats]:
            moment = origin + time_s
            return limit(motion_of(one, moment, accelerates), motion_of(two, moment, accelerates))

        return clearance

    return between


def always_kept(horizon: Horizon, one: Ints, two: Ints, limits: Limits) -> tuple[Bools, Floats]:
    """Which pairs [P] provably keep sight and range for the whole horizon, and their greatest ranges [P].

    Meant for neighbours on a grid of minutes, which saves most of the propagation. Between two samples r.r of either
    end and d.d of the pair follow their cubics through values and slopes to within h^4 / 384 times the fourth
    derivative (Hermite's remainder), and no point of the segment is nearer to the centre than sqrt(r^2 - d^2 / 4)
    with r the lower end. What cannot be proven counts as not kept; ranges are right to about a hundred metres.
    """
    proven, farthest = np.ones(len(one), dtype=np.bool_), np.zeros(len(one))
    for stretch in stretches(horizon, limits):
        bounds = _bounds(stretch)
        size = max(1, SAMPLES_PER_CHUNK // (4 * (stretch.steps + 1)))
        for first in range(0, len(one), size):
            chosen = slice(first, first + size)
            rows = Rows(one[chosen], two[chosen], np.zeros(len(one[chosen]), dtype=np.int64), stretch.steps)
            kept, range_m = _proven(stretch, bounds, rows, limits)
            proven[chosen] &= kept
            farthest[chosen] = np.maximum(farthest[chosen], range_m)
    return proven, farthest


@dataclass(frozen=True)
class _Bounds:
    """Per satellite [S]: no less than |r|^2 in each interval [S, T - 1], no more than |r| and its four derivatives."""

    lowest_squared: Floats
    derivatives: tuple[Floats, Floats, Floats, Floats, Floats]


def _bounds(stretch: Stretch) -> _Bounds:
    """Bounds that hold between the samples too.

    At radius q or more and speed v or less the second to fourth derivatives of r are at most mu/q^2, 2 mu v/q^3 and
    2 mu^2/q^5 + 6 mu v^2/q^4: in any direction the first, second and third derivatives of mu/r are at most 1, 2 and 6
    times mu/r^(k+1), those along the radius. The rest of gravity is J2, 0.16 %; 5 % are added for it.
    """
    position, velocity = stretch.motion.position_m, stretch.motion.velocity_m_s
    radius, half_s = length(position), 0.5 * stretch.step_s
    slack_m = 0.5 * ACCELERATION_LIMIT_M_S2 * half_s**2
    low, high = radius.min(axis=1) - slack_m, radius.max(axis=1) + slack_m
    speed = length(velocity).max(axis=1) + EARTH_ROTATION_RAD_S * high + ACCELERATION_LIMIT_M_S2 * half_s
    mu = 1.05 * EARTH_MU_M3_S2
    second, third = mu / low**2, 2.0 * mu * speed / low**3
    fourth = 2.0 * mu**2 / low**5 + 6.0 * mu * speed**2 / low**4
    bend = 2.0 * high * fourth + 8.0 * speed * third + 6.0 * second**2
    squared, rate = radius**2, 2.0 * dot(position, velocity)
    lowest = -_hermite_top(-squared, rate, stretch.step_s, bend[:, None])
    return _Bounds(lowest, (high, speed, second, third, fourth))


def _hermite_top(value: Floats, slope: Floats, step_s: float, fourth: Floats) -> Floats:
    """No less than a function in each interval [..., T - 1]; `fourth` bounds its fourth derivative.

    Of Hermite's four cubics the two for values are shares of 1, the two for slopes are at most 4/27 of the step.
    """
    size = np.abs(slope)
    cubic = np.maximum(value[..., :-1], value[..., 1:]) + 4.0 / 27.0 * step_s * (size[..., :-1] + size[..., 1:])
    return cubic + step_s**4 / 384.0 * fourth


def _proven(stretch: Stretch, bounds: _Bounds, rows: Rows, limits: Limits) -> tuple[Bools, Floats]:
    a, b = _ends(stretch, rows)
    distance, rate = range_between(a, b)
    # d = b - a, so each derivative is at most the sum of both.
    size = [bound[rows.one] + bound[rows.two] for bound in bounds.derivatives]
    bend = 2.0 * size[0] * size[4] + 8.0 * size[1] * size[3] + 6.0 * size[2] ** 2
    squared = _hermite_top(distance**2, 2.0 * distance * rate, stretch.step_s, bend[:, None])
    lowest = np.minimum(bounds.lowest_squared[rows.one], bounds.lowest_squared[rows.two])
    kept: Bools = (lowest - 0.25 * squared > limits.lowest_m**2) & (squared < limits.max_range_m**2)
    samples = Samples(_clock(stretch, rows), distance, rate, math.inf, _between(stretch, rows, range_between, False))
    whole = Spans(np.arange(len(rows)), np.zeros(len(rows)), np.full(len(rows), samples.time_s[-1]))
    return np.all(kept, axis=1), greatest(samples, whole)

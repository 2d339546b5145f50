"""Windows cut into pieces of constant rate.

A piece never promises more than the model gives at any moment in it, and the pieces of a window carry its volume (the
integral of the rate) but for a stated share. Range and elevation are monotone between their turns, so their values at
both ends of a segment bound the rate inside it from both sides. Segments are halved until the bounds agree to a part of
that share, which closes in on the steps of a modulation ladder as bisection does; then neighbours are joined at
their lower rate while the rest of the share allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from orbitune.errors import PlanError
from orbitune.links.crossings import Bools, Floats, Ints
from orbitune.links.motion import Tracks, Windows, chunks, tracks
from orbitune.links.rates import FixedRate, RateModel
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation

DEFAULT_LOSS = 0.01
"""Share of a window's volume that its pieces may leave out."""

_HALVING_SHARE = 0.3
"""Part of the allowed loss that the bounds may differ by; joining spends the rest. Measured on 2442 passes, radio and
laser: 0.1 gives 5 to 8 % fewer pieces and takes 1.6 to 4 times as long, 0.5 gives 7 to 11 % more."""

_LONGEST_SEGMENT_S = 30.0
"""Half the interval in which `visibility` expects one turn of a function at most."""

_SHORTEST_SEGMENT_S = 1e-3
"""Where bounds never agree, as in a window that closes for a moment only, halving stops here."""

_TURN_BISECTIONS = 18
"""30 s / 2^18 is 0.1 ms: at a turn, where the range is flat, less than a micrometre."""

_JOINING_ROUNDS = 8
"""Bisections of the loss per piece; each takes a scan, and eight place it within a few per cent."""

_RANGE_GUARD_M = 1.0
_ELEVATION_GUARD_RAD = 1e-6
"""Rates are promised for a link that much longer and lower: many times the error of the quintics, centimetres."""


@dataclass(frozen=True)
class Pieces:
    """Parts of windows with one rate each, equal-length columns sorted by (window, start_s).

    `window` is a row of the given windows. Where the link does not close there is no piece.
    """

    window: Ints
    start_s: Floats
    end_s: Floats
    rate_bps: Floats
    max_range_m: Floats

    def __len__(self) -> int:
        return len(self.window)


def pieces(
    windows: Windows,
    constellation: Constellation,
    stations: Sequence[GroundStation],
    start_utc: str | datetime,
    model: RateModel,
    loss: float = DEFAULT_LOSS,
) -> Pieces:
    """The windows in pieces of constant rate: at most what the model gives, at most `loss` of the volume below it.

    A fixed rate gives one piece per window without looking at orbits.

    Raises:
        PlanError: `loss` is out of range, or the rate of the model rises with range or falls with elevation.
        InputError: SGP4 refuses a satellite.
    """
    if not 0.0 < loss < 1.0:
        raise PlanError(f"pieces of constant rate: loss = {loss:g} must be between 0 and 1; 0.01 is usual.")
    if isinstance(model, FixedRate):
        rate_bps = np.full(len(windows), model.fixed_bps)
        return Pieces(np.arange(len(windows)), windows.start_s, windows.end_s, rate_bps, windows.max_range_m)
    found = [Pieces(np.empty(0, dtype=np.int64), *(np.empty(0) for _ in range(4)))]
    for rows in chunks(windows):
        some = windows.at(rows)
        part = _cut(some, tracks(constellation, stations, start_utc, some), model, loss)
        found.append(Pieces(rows[part.window], part.start_s, part.end_s, part.rate_bps, part.max_range_m))
    columns = ("window", "start_s", "end_s", "rate_bps", "max_range_m")
    return Pieces(*(np.concatenate([getattr(part, column) for part in found]) for column in columns))


@dataclass(frozen=True)
class _Nodes:
    """Moments of windows and what is seen then, equal-length columns."""

    window: Ints
    time_s: Floats
    range_m: Floats
    elevation_rad: Floats

    def at(self, rows: Ints | Bools) -> _Nodes:
        return _Nodes(self.window[rows], self.time_s[rows], self.range_m[rows], self.elevation_rad[rows])


@dataclass(frozen=True)
class _Segments:
    """Parts of windows in which range and elevation are monotone, and the bounds of the rate in each."""

    begin: _Nodes
    end: _Nodes
    low_bps: Floats
    high_bps: Floats

    @property
    def duration_s(self) -> Floats:
        return self.end.time_s - self.begin.time_s

    @property
    def farthest_m(self) -> Floats:
        return np.maximum(self.begin.range_m, self.end.range_m)

    def at(self, rows: Ints | Bools) -> _Segments:
        return _Segments(self.begin.at(rows), self.end.at(rows), self.low_bps[rows], self.high_bps[rows])


def _cut(windows: Windows, paths: Tracks, model: RateModel, loss: float) -> Pieces:
    segments = _halved(_monotone(windows, paths, model), windows, paths, model, _HALVING_SHARE * loss)
    window, duration_s = segments.begin.window, segments.duration_s
    low, high = (_per_window(x * duration_s, window, len(windows)) for x in (segments.low_bps, segments.high_bps))
    order = np.lexsort((segments.begin.time_s, window))
    window, duration_s, low_bps = window[order], duration_s[order], segments.low_bps[order]
    first = np.flatnonzero(_joined(window, duration_s, low_bps, np.maximum(low - (1.0 - loss) * high, 0.0)))
    last = np.append(first[1:], len(window)) - 1
    # A window has a segment at least, so only a chunk without windows has none; `reduceat` wants one.
    rate_bps, max_range_m = (
        merge.reduceat(values, first) if len(first) else np.empty(0)
        for merge, values in ((np.minimum, low_bps), (np.maximum, segments.farthest_m[order]))
    )
    times = segments.begin.time_s[order[first]], segments.end.time_s[order[last]]
    closes = rate_bps > 0.0
    return Pieces(window[first][closes], *(column[closes] for column in (*times, rate_bps, max_range_m)))


def _per_window(amount: Floats, window: Ints, num_windows: int) -> Floats:
    total: Floats = np.bincount(window, weights=amount, minlength=num_windows).astype(np.float64)
    return total


def _seen(paths: Tracks, window: Ints, time_s: Floats) -> _Nodes:
    return _Nodes(window, time_s, *paths.sight(window, time_s))


def _bounded(begin: _Nodes, end: _Nodes, windows: Windows, model: RateModel) -> _Segments:
    """Segments with the rates at their worst and at their best corner of range and elevation."""
    station = windows.other[begin.window] if windows.to_station else np.full(len(begin.window), -1)
    far_m = np.maximum(begin.range_m, end.range_m) + _RANGE_GUARD_M
    lowest_rad = np.minimum(begin.elevation_rad, end.elevation_rad) - _ELEVATION_GUARD_RAD
    near_m = np.minimum(begin.range_m, end.range_m)
    highest_rad = np.maximum(begin.elevation_rad, end.elevation_rad)
    low, high = model.rate_bps(far_m, lowest_rad, station), model.rate_bps(near_m, highest_rad, station)
    if not np.all((low >= 0.0) & (low <= high) & np.isfinite(high)):
        raise PlanError(
            f"the rate model {type(model).__name__} gives a negative or infinite rate, or one that rises with range or "
            "falls with elevation; pieces of constant rate cannot be cut by it."
        )
    return _Segments(begin, end, low, high)


def _monotone(windows: Windows, paths: Tracks, model: RateModel) -> _Segments:
    """The windows cut evenly, and at the turns of range and elevation."""
    duration_s = windows.end_s - windows.start_s
    count = np.maximum(1, np.ceil(duration_s / _LONGEST_SEGMENT_S).astype(np.int64)) + 1
    window = np.repeat(np.arange(len(windows)), count)
    number = np.arange(len(window)) - np.repeat(np.cumsum(count) - count, count)
    last = number == count[window] - 1
    time_s = windows.start_s[window] + duration_s[window] * number / (count[window] - 1)
    time_s = np.where(last, windows.end_s[window], time_s)
    turn_window, turn_s = _turns(paths, window, time_s)
    window, time_s = np.concatenate([window, turn_window]), np.concatenate([time_s, turn_s])
    order = np.lexsort((time_s, window))
    nodes = _seen(paths, window[order], time_s[order])
    inside = (nodes.window[1:] == nodes.window[:-1]) & (nodes.time_s[1:] > nodes.time_s[:-1])
    inner = np.flatnonzero(inside)
    return _bounded(nodes.at(inner), nodes.at(inner + 1), windows, model)


def _turns(paths: Tracks, window: Ints, time_s: Floats) -> tuple[Ints, Floats]:
    """Moments at which range or elevation stops rising or falling, between neighbours among these moments."""
    rises = _rising(paths, window, time_s)
    which, left = np.nonzero((rises[:, 1:] != rises[:, :-1]) & (window[1:] == window[:-1]))
    low, high, row, before = time_s[left], time_s[left + 1], window[left], rises[which, left]
    for _ in range(_TURN_BISECTIONS):
        middle = 0.5 * (low + high)
        same = _rising(paths, row, middle)[which, np.arange(len(row))] == before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return row, 0.5 * (low + high)


def _rising(paths: Tracks, window: Ints, time_s: Floats) -> Bools:
    """Whether the range rises, and whether the sine of the elevation does, [2, K] ([1, K] between satellites)."""
    offset, rate = paths.at(window, time_s)
    along = (offset * rate).sum(axis=0)
    if not paths.to_station:
        alone: Bools = along[None] > 0.0
        return alone
    squared = (offset * offset).sum(axis=0)
    return np.stack([along > 0.0, rate[2] * squared > offset[2] * along])


def _halved(segments: _Segments, windows: Windows, paths: Tracks, model: RateModel, share: float) -> _Segments:
    """Segments halved until the bounds of each window's volume differ by at most this share of it."""
    while True:
        window, duration_s = segments.begin.window, segments.duration_s
        gap = (segments.high_bps - segments.low_bps) * duration_s
        allowed = share * _per_window(segments.low_bps * duration_s, window, len(windows))
        unsure = np.bincount(window[gap > 0.0], minlength=len(windows))
        # A window's widest gap is above half their mean as long as it is not done, so each turn gets on with it.
        undone = _per_window(gap, window, len(windows)) > allowed
        wide = gap > 0.5 * (allowed / np.maximum(unsure, 1))[window]
        halve = undone[window] & wide & (duration_s > 2.0 * _SHORTEST_SEGMENT_S)
        if not halve.any():
            return segments
        segments = _join(segments.at(~halve), *_halves(segments.at(halve), windows, paths, model))


def _halves(segments: _Segments, windows: Windows, paths: Tracks, model: RateModel) -> tuple[_Segments, _Segments]:
    middle_s = 0.5 * (segments.begin.time_s + segments.end.time_s)
    middle = _seen(paths, segments.begin.window, middle_s)
    return _bounded(segments.begin, middle, windows, model), _bounded(middle, segments.end, windows, model)


def _join(*parts: _Segments) -> _Segments:
    def nodes(side: str) -> _Nodes:
        names = ("window", "time_s", "range_m", "elevation_rad")
        return _Nodes(*(np.concatenate([getattr(getattr(part, side), name) for part in parts]) for name in names))

    low, high = (np.concatenate([getattr(part, name) for part in parts]) for name in ("low_bps", "high_bps"))
    return _Segments(nodes("begin"), nodes("end"), low, high)


def _joined(window: Ints, duration_s: Floats, rate_bps: Floats, spare: Floats) -> Bools:
    """Which segments begin a piece, so that joining costs each window at most what it has to spare (bits)."""
    opens = np.ones(len(window), dtype=np.bool_)
    opens[1:] = window[1:] != window[:-1]
    first = np.flatnonzero(opens)
    if not len(first):
        return opens
    of = window[first]
    least_bps, span_s = np.minimum.reduceat(rate_bps, first), np.add.reduceat(duration_s, first)
    volume = np.add.reduceat(rate_bps * duration_s, first)
    whole = (volume - least_bps * span_s <= spare[of]) & (least_bps > 0.0)
    # Most links between satellites hardly change; only windows that one rate does not fit are worth a table.
    varied = np.repeat(~whole, np.diff(np.append(first, len(window))))
    changes = opens.copy()
    changes[1:] |= rate_bps[1:] != rate_bps[:-1]
    runs = np.flatnonzero(changes & varied)
    opens[runs] = _fewest(*_runs(window, duration_s, rate_bps, runs, varied), spare)
    return opens


def _runs(window: Ints, duration_s: Floats, rate_bps: Floats, runs: Ints, varied: Bools) -> tuple[Ints, Floats, Floats]:
    """Window, duration and rate of runs of segments with one rate, which begin at segments `runs`."""
    passed_s = np.cumsum(np.where(varied, duration_s, 0.0))
    before_s = passed_s[runs] - duration_s[runs]
    return window[runs], np.diff(before_s, append=passed_s[-1:]), rate_bps[runs]


def _fewest(of: Ints, span_s: Floats, rate_bps: Floats, spare: Floats) -> Bools:
    """Which runs begin a piece. The fewest pieces for a given loss lose equally much each; that amount is searched."""
    if not len(of):
        return np.empty(0, dtype=np.bool_)
    starts = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
    count = np.diff(np.append(starts, len(of)))
    row, column = np.arange(len(of)) - np.repeat(starts, count), np.repeat(np.arange(len(starts)), count)
    table_s, table_bps = (
        np.zeros((int(count.max()), len(starts))),
        np.tile(rate_bps[starts + count - 1], (count.max(), 1)),
    )
    # What is left empty lasts no time and has the last rate, so it always joins at no cost.
    table_s[row, column], table_bps[row, column] = span_s, rate_bps
    budget = spare[of[starts]]
    least, most = budget / count, budget
    for _ in range(_JOINING_ROUNDS):
        middle = np.sqrt(least * most)
        fits = _scan(table_s, table_bps, middle)[1] <= budget
        least, most = np.where(fits, middle, least), np.where(fits, most, middle)
    return _scan(table_s, table_bps, least)[0][row, column]


def _scan(span_s: Floats, rate_bps: Floats, allowed: Floats) -> tuple[Bools, Floats]:
    """Join along the columns of [K, W] tables while a piece loses at most `allowed` [W]; where pieces begin, the loss.

    What does not close at all is never joined with what does.
    """
    begins = np.ones(rate_bps.shape, dtype=np.bool_)
    low, length_s, volume = rate_bps[0], span_s[0], rate_bps[0] * span_s[0]
    lost = np.zeros_like(volume)
    for row in range(1, len(rate_bps)):
        lower, longer = np.minimum(low, rate_bps[row]), length_s + span_s[row]
        more = volume + rate_bps[row] * span_s[row]
        cut = (more - lower * longer > allowed) | ((rate_bps[row] > 0.0) != (low > 0.0))
        begins[row] = cut
        lost += np.where(cut, volume - low * length_s, 0.0)
        low, length_s = np.where(cut, rate_bps[row], lower), np.where(cut, span_s[row], longer)
        volume = np.where(cut, rate_bps[row] * span_s[row], more)
    return begins, lost + volume - low * length_s

"""Axes: where the ticks stand, and where a value lies between the two ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
_NICE_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 3 * 3600, 6 * 3600, 12 * 3600, 86400)
_NICE_DURATIONS = (*(10.0**power for power in range(-9, 2)), 60.0, 600.0, *(3600.0 * 10**power for power in range(6)))


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`; `ticks` are (value, label)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Place of a value: 0 at the low end, 1 at the high end, cut off there."""
        if self.log:
            value = max(value, self.low)
            place = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            place = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, place))


def nice_step(span: float, most: int) -> float:
    """The smallest step of 1, 2, 2.5 or 5 times a power of ten that gives at most `most` steps."""
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in _NICE if nice * power >= rough * (1 - 1e-9))


def linear_axis(low: float, high: float, label: Callable[[float], str], most: int = 6, *, fit: bool = True) -> Axis:
    """A linear axis with round ticks; with `fit` its ends are ticks too."""
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    step = nice_step(high - low, most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    if not fit:
        ticks = [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9]
        return Axis(low, high, _labelled(ticks, label))
    return Axis(ticks[0], ticks[-1], _labelled(ticks, label))


def log_axis(low: float, high: float, label: Callable[[float], str], most: int = 6) -> Axis:
    """A logarithmic axis over whole decades, with at most `most` + 1 ticks."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    step = math.ceil((last - first) / most)
    ticks = [10.0**power for power in range(first, last + 1, step)]
    return Axis(10.0**first, 10.0**last, _labelled(ticks, label), log=True)


def fitted_log_axis(low: float, high: float, label: Callable[[float], str]) -> Axis:
    """A logarithmic axis from `low` to `high` exactly, ticks at 1, 2 and 5 (or at decades where there are many)."""
    span = math.log10(high / low)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits: Sequence[int] = (1, 2, 5) if span <= 2 else (1, 3) if span <= 3 else (1,)
    ticks = [digit * 10.0**power for power in decades for digit in digits]
    return Axis(low, high, _labelled([tick for tick in ticks if low <= tick <= high], label), log=True)


def log_time_axis(low_s: float, high_s: float, label: Callable[[float], str], most: int = 6) -> Axis:
    """A logarithmic axis of seconds from `low_s` to `high_s` exactly, ticks at durations that people say."""
    inside = [seconds for seconds in _NICE_DURATIONS if low_s <= seconds <= high_s]
    if len(inside) < 2:
        return fitted_log_axis(low_s, high_s, label)
    every = math.ceil(len(inside) / most)
    return Axis(low_s, high_s, _labelled(inside[::every], label), log=True)


def time_axis(end_s: float, label: Callable[[float], str], most: int = 6) -> Axis:
    """Seconds from 0 to `end_s`, ticks at steps a clock has."""
    fine = (nice_step(end_s, most),) if end_s < most else ()
    steps = (*fine, *_NICE_SECONDS, nice_step(end_s / 86400, most) * 86400)
    step = next(step for step in steps if end_s / step <= most)
    return Axis(0.0, end_s, _labelled([index * step for index in range(int(end_s / step + 1e-9) + 1)], label))


def _labelled(values: list[float], label: Callable[[float], str]) -> tuple[tuple[float, str], ...]:
    return tuple((value, label(value)) for value in values)

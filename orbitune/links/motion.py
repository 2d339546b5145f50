"""How two nodes move against each other: range, range rate, delay and Doppler shift, at chosen times or along windows.

`relative_motion` asks SGP4 itself. `tracks` serves thousands of windows at once: it propagates each satellite only on
those points of an even grid that its windows need, and joins them by the arcs of `orbit.interpolate`, which keep within
centimetres of SGP4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from orbitune.links.crossings import Floats, Ints
from orbitune.links.isl import IslWindows
from orbitune.links.visibility import DEFAULT_GRID_S, Passes
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation, dot, length
from orbitune.orbit.interpolate import NODES, NUM_NODES, TO_COEFFICIENTS, first_node, time_grid
from orbitune.orbit.propagate import propagate
from orbitune.units import LIGHT_SPEED_M_S

ARCS_PER_CHUNK = 8_000
"""Arcs handled at once, over a thousand passes: 1.5 MB of coefficients, and some dozens of times that beside them."""


@dataclass(frozen=True)
class Motion:
    """Distance between two nodes and its rate, arrays [T]; the rate is positive while they part."""

    range_m: Floats
    range_rate_m_s: Floats

    @property
    def delay_s(self) -> Floats:
        """One-way travel time of light over the range of the same instant, [T].

        The target moves on meanwhile, which changes it by at most v/c: under one part in 20,000 in low orbit.
        """
        return self.range_m / LIGHT_SPEED_M_S

    def doppler_hz(self, frequency_hz: float) -> Floats:
        """Shift of a carrier as received, [T]: positive while the nodes come closer.

        The relativistic Doppler effect to first order in v/c: -f x range rate / c. What is left out is of the order of
        (v/c)^2: under 3e-9 of the carrier for closing speeds up to 15 km/s, 80 Hz at 26 GHz.
        """
        return -frequency_hz / LIGHT_SPEED_M_S * self.range_rate_m_s


def relative_motion(
    constellation: Constellation,
    start_utc: str | datetime,
    time_s: Floats,
    satellite: int,
    other: int | GroundStation,
) -> Motion:
    """Motion of a satellite against another satellite (its number) or a station, at times [T] after the start.

    Raises:
        InputError: SGP4 refuses a satellite.
    """
    if isinstance(other, GroundStation):
        one = propagate(constellation, start_utc, time_s, [satellite])
        offset, velocity = one.position_m[0] - other.position_m, one.velocity_m_s[0]
    else:
        both = propagate(constellation, start_utc, time_s, [satellite, other])
        offset, velocity = both.position_m[0] - both.position_m[1], both.velocity_m_s[0] - both.velocity_m_s[1]
    range_m = length(offset)
    return Motion(range_m, dot(offset, velocity) / range_m)


@dataclass(frozen=True)
class Windows:
    """Spans of time in which a satellite and another node may talk, equal-length columns [N].

    `other` holds numbers of stations if `to_station`, else of satellites. `max_range_m` is the greatest distance.
    """

    satellite: Ints
    other: Ints
    to_station: bool
    start_s: Floats
    end_s: Floats
    max_range_m: Floats

    def __len__(self) -> int:
        return len(self.satellite)

    @classmethod
    def of_passes(cls, passes: Passes) -> Windows:
        """One window per pass, in the same order."""
        return cls(passes.satellite, passes.station, True, passes.rise_s, passes.set_s, passes.max_range_m)

    @classmethod
    def of_links(cls, links: IslWindows) -> Windows:
        """One window per window of a link between satellites, in the same order."""
        return cls(links.one, links.two, False, links.start_s, links.end_s, links.max_range_m)

    def at(self, row: Ints) -> Windows:
        """Some of the windows."""
        columns = (self.start_s[row], self.end_s[row], self.max_range_m[row])
        return Windows(self.satellite[row], self.other[row], self.to_station, *columns)


@dataclass(frozen=True)
class Tracks:
    """The other end of each window as seen from its station or satellite: arcs on an even grid.

    Vectors are [3, K], the axis first because that is several times faster: east, north and up from a station (the
    satellite seen from there), and along the Earth-fixed axes from satellite to satellite.
    `coefficients` [8, 3, M] belong to powers of (t - centre) / `step_s`; window n owns the arcs from `first[n]`, the
    first of which lies on interval `interval[n]` of the grid, the last on `last[n]`.
    """

    coefficients: Floats
    centre_s: Floats
    step_s: float
    first: Ints
    interval: Ints
    last: Ints
    to_station: bool

    def at(self, row: Ints, time_s: Floats) -> tuple[Floats, Floats]:
        """Offset in m and its rate in m/s, both [3, K], of windows `row` [K], each at its own time [K]."""
        coefficients, x = self._arcs(row, time_s)
        offset, rate = coefficients[-1], np.zeros_like(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            rate = rate * x + offset
            offset = offset * x + coefficient
        return offset, rate / self.step_s

    def sight(self, row: Ints, time_s: Floats) -> tuple[Floats, Floats]:
        """Range in m and elevation in rad, both [K]; elevations between satellites are NaN."""
        coefficients, x = self._arcs(row, time_s)
        offset = coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            offset = offset * x + coefficient
        range_m = np.sqrt((offset * offset).sum(axis=0))
        if not self.to_station:
            return range_m, np.full_like(range_m, np.nan)
        return range_m, np.arcsin(np.clip(offset[2] / range_m, -1.0, 1.0))

    def _arcs(self, row: Ints, time_s: Floats) -> tuple[Floats, Floats]:
        interval = np.clip((time_s / self.step_s).astype(np.int64), self.interval[row], self.last[row])
        arc = self.first[row] + interval - self.interval[row]
        return self.coefficients[:, :, arc], (time_s - self.centre_s[arc]) / self.step_s


def chunks(windows: Windows, step_s: float = DEFAULT_GRID_S) -> Iterator[Ints]:
    """Rows of the windows in blocks whose tracks fit in memory together, so cost is linear in their total length."""
    ends = np.cumsum(np.ceil((windows.end_s - windows.start_s) / step_s) + 1.0)
    block = (ends // ARCS_PER_CHUNK).astype(np.int64)
    yield from np.split(np.arange(len(windows)), np.flatnonzero(np.diff(block)) + 1) if len(windows) else ()


def tracks(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    start_utc: str | datetime,
    windows: Windows,
    grid_s: float = DEFAULT_GRID_S,
) -> Tracks:
    """The tracks of all windows; take `chunks` of them where there are many.

    Raises:
        InputError: SGP4 refuses a satellite.
    """
    time_s = time_grid(float(windows.end_s.max(initial=0.0)), grid_s)
    step_s, last_interval = float(time_s[1]), len(time_s) - 2
    begin = np.clip(np.floor(windows.start_s / step_s).astype(np.int64), 0, last_interval)
    end = np.clip(np.ceil(windows.end_s / step_s).astype(np.int64) - 1, begin, last_interval)
    first = np.cumsum(end - begin + 1) - (end - begin + 1)
    row = np.repeat(np.arange(len(windows)), end - begin + 1)
    node = first_node(begin[row] + np.arange(len(row)) - first[row], len(time_s))
    low, high = first_node(begin, len(time_s)), first_node(end, len(time_s)) + NUM_NODES - 1
    ends = [windows.satellite] if windows.to_station else [windows.satellite, windows.other]
    position, base = _positions(constellation, start_utc, time_s, ends, low, high)
    nodes = [position[:, (place - low)[row] + node + np.arange(NUM_NODES)[:, None]] for place in base]
    seen = _from_stations(nodes[0], stations, windows.other[row]) if windows.to_station else nodes[1] - nodes[0]
    coefficients = np.einsum("kj,ijm->kim", TO_COEFFICIENTS, seen)
    return Tracks(coefficients, step_s * (node - NODES[0]), step_s, first, begin, end, windows.to_station)


def _positions(
    constellation: Constellation,
    start_utc: str | datetime,
    time_s: Floats,
    ends: Sequence[Ints],
    low: Ints,
    high: Ints,
) -> tuple[Floats, list[Ints]]:
    """Positions [3, Q] of satellites on the grid points that some window needs, each computed once.

    Window n needs its satellites `ends[...][n]` from grid point `low[n]` to `high[n]`; the second result says
    in which column of the positions point `low[n]` of that satellite stands.
    """
    chosen, slot = np.unique(np.stack(ends), return_inverse=True)
    slot = slot.reshape(len(ends), -1)
    depth = np.zeros((len(chosen), len(time_s) + 1), dtype=np.int32)
    for rows in slot:
        np.add.at(depth, (rows, low), 1)
        np.add.at(depth, (rows, high + 1), -1)
    needed = np.cumsum(depth, axis=1)[:, :-1] > 0
    column = np.cumsum(needed).reshape(needed.shape) - 1
    found = [
        propagate(constellation, start_utc, time_s[wanted], [satellite]).position_m[0]
        for satellite, wanted in zip(chosen.tolist(), needed, strict=True)
    ]
    position = np.ascontiguousarray(np.concatenate(found).T) if found else np.empty((3, 0))
    return position, [column[rows, low] for rows in slot]


def _from_stations(position: Floats, stations: Sequence[GroundStation], station: Ints) -> Floats:
    """Positions [3, 8, M] as east, north and up of station `station[m]`."""
    place = np.array([one.position_m for one in stations])[station]
    axes = np.array([one.axes for one in stations])[station]
    seen: Floats = np.einsum("mij,jkm->ikm", axes, position - place.T[:, None, :])
    return seen

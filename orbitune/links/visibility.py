"""Who sees whom, when: passes of satellites over stations, and windows between satellites.

Edges come from `crossings`: a grid finds the spans, root refinement on polynomials through the ephemeris places their
edges, and every pass is found, also one shorter than the grid. Work goes in chunks of satellites or pairs,
so memory does not grow with the constellation.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import MissingExtra, PlanError
from orbitune.links import sky as skies
from orbitune.links.crossings import (
    Clearance,
    Floats,
    Ints,
    Samples,
    Spans,
    greatest,
    intersection,
    positive_spans,
)
from orbitune.links.sky import (
    Bounds,
    Sky,
    bounds_of,
    ends_are_farthest,
    fastest_m_s,
    greatest_range_m,
    length_and_rate,
    sky_over,
)
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation, nearest_fraction
from orbitune.orbit.interpolate import cut_arcs, time_grid
from orbitune.orbit.propagate import Ephemeris, propagate
from orbitune.units import EARTH_RADIUS_M

DEFAULT_GRID_S = 120.0
LONGEST_GRID_S = 120.0
"""Beyond it a low pass may turn twice inside one interval, and positions between the samples lose their millimetres."""

COMPILING_PAYS_SAMPLES = 100_000_000
"""Samples [satellites x times x stations] from which compiled loops save more than the seconds it takes to compile."""

_COMPILED_SAMPLES_PER_TIME = 4
"""Compiled loops keep positions and velocities, not what each station sees."""

SAMPLES_PER_CHUNK = 500_000
"""Samples [rows x times] handled at once: 4 MB per array, about twenty arrays alive."""


_FindSpans = Callable[[Ephemeris, Sky, Bounds], tuple[Spans, Floats]]
"""From an ephemeris and the sky to spans in view, and the greater of the ranges at the ends of each."""


@dataclass(frozen=True)
class Passes:
    """Passes over stations, equal-length columns sorted by (satellite, station, rise_s).

    A pass under way at the start or the end of the horizon is cut there. `max_range_m` is the greatest distance in it.
    """

    satellite: Ints
    station: Ints
    rise_s: Floats
    set_s: Floats
    max_range_m: Floats

    def __len__(self) -> int:
        return len(self.satellite)


@dataclass(frozen=True)
class PairWindows:
    """Windows of satellite pairs, equal-length columns sorted by (pair, start_s); `pair` is a row of the given list."""

    pair: Ints
    start_s: Floats
    end_s: Floats
    max_range_m: Floats

    def __len__(self) -> int:
        return len(self.pair)


def ground_passes(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float = DEFAULT_GRID_S,
    compiled: bool | None = None,
) -> Passes:
    """All passes of all satellites over all stations from the start to the horizon.

    Cost grows linearly in satellites x stations x days, on top of a propagation that is linear in satellites x days and
    half of it at ten stations. Measured by `make bench-contacts` on a server core, one day at 550 km: 1584 satellites
    x 10 stations 0.9 s (0.7 s compiled), 10,000 x 50 17 s (7 s). Memory is bounded by chunks, but for the passes
    found: 40 bytes each.

    Args:
        compiled: Whether to search in loops compiled by numba (the extra `fast`) or in NumPy. The passes are the same,
            their edges within a microsecond. None compiles where numba is installed and the job is large enough.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
        MissingExtra: `compiled` is asked for and numba is not installed.
    """
    time_s = checked_grid(horizon_s, grid_s)
    find_spans, samples_each = _search(compiled, len(constellation), len(time_s), len(stations))
    found = [Passes(no_rows(), no_rows(), *(np.empty(0) for _ in range(3)))]
    for chosen in _chunks(len(constellation), samples_each) if stations else ():
        ephemeris = propagate(constellation, start_utc, time_s, chosen)
        spans, range_m = _spans_and_ranges(ephemeris, sky_over(stations), find_spans)
        satellite, station = np.divmod(spans.row, len(stations))
        found.append(Passes(satellite + chosen[0], station, spans.start_s, spans.end_s, range_m))
    columns = ("satellite", "station", "rise_s", "set_s", "max_range_m")
    return Passes(*(np.concatenate([getattr(part, column) for part in found]) for column in columns))


def _spans_and_ranges(ephemeris: Ephemeris, sky: Sky, find_spans: _FindSpans) -> tuple[Spans, Floats]:
    bounds = bounds_of(ephemeris, sky)
    spans, range_m = find_spans(ephemeris, sky, bounds)
    return spans, range_m if ends_are_farthest(bounds) else greatest_range_m(ephemeris, sky, spans)


def _search(compiled: bool | None, satellites: int, times: int, stations: int) -> tuple[_FindSpans, int]:
    """The search for passes to use, and how many samples each satellite keeps in memory for it."""
    installed = importlib.util.find_spec("numba") is not None
    if compiled and not installed:
        raise MissingExtra(
            "compiled=True needs numba, which is not installed. "
            "Install the extra `fast` (orbitune[fast]), or leave `compiled` out: NumPy finds the same passes."
        )
    if compiled is None:
        compiled = installed and satellites * times * stations >= COMPILING_PAYS_SAMPLES
    if not compiled:
        return skies.find_spans, times * stations
    from orbitune.links import compiled as loops  # importing numba takes a second

    return loops.find_spans, _COMPILED_SAMPLES_PER_TIME * times


def pair_windows(
    constellation: Constellation,
    pairs: NDArray[np.int64],
    start_utc: str | datetime,
    horizon_s: float,
    grazing_altitude_m: float,
    max_range_m: float = math.inf,
    grid_s: float = DEFAULT_GRID_S,
) -> PairWindows:
    """When each pair of satellites [N, 2] is within range and sees each other past the Earth.

    The straight ray must stay above a sphere of `EARTH_RADIUS_M + grazing_altitude_m`; refraction is left out.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
    """
    time_s = checked_grid(horizon_s, grid_s)
    found = [PairWindows(no_rows(), *(np.empty(0) for _ in range(3)))]
    # Arrays of pairs are vectors, so a pair weighs about as much as four rows of numbers.
    for chosen in _chunks(len(pairs), 4 * len(time_s)):
        satellites, member = np.unique(pairs[chosen.start : chosen.stop], return_inverse=True)
        ephemeris = propagate(constellation, start_utc, time_s, satellites.tolist())
        member = member.reshape(-1, 2)
        range_m = _distance_apart(ephemeris, member)
        spans = positive_spans(_ray_above_earth(ephemeris, member, EARTH_RADIUS_M + grazing_altitude_m))
        if math.isfinite(max_range_m):
            spans = intersection(spans, positive_spans(_below(range_m, max_range_m)))
        found.append(PairWindows(spans.row + chosen.start, spans.start_s, spans.end_s, greatest(range_m, spans)))
    columns = ("pair", "start_s", "end_s", "max_range_m")
    return PairWindows(*(np.concatenate([getattr(part, column) for part in found]) for column in columns))


def checked_grid(horizon_s: float, grid_s: float) -> Floats:
    """The even times of a search from 0 to the horizon, [T].

    Raises:
        PlanError: horizon or grid is out of range.
    """
    if not 0.0 < horizon_s < math.inf:
        raise PlanError(f"the horizon is {horizon_s:g} s; it must be more than 0 s.")
    if not 0.0 < grid_s <= LONGEST_GRID_S:
        raise PlanError(f"the grid is {grid_s:g} s; it must be more than 0 s and at most {LONGEST_GRID_S:g} s.")
    return time_grid(horizon_s, grid_s)


def _chunks(count: int, samples_each: int) -> Iterator[range]:
    size = max(1, SAMPLES_PER_CHUNK // samples_each)
    return (range(first, min(first + size, count)) for first in range(0, count, size))


def no_rows() -> Ints:
    """A column of numbers without any."""
    return np.empty(0, dtype=np.int64)


def _distance_apart(ephemeris: Ephemeris, member: Ints) -> Samples:
    """Distance between the two satellites of each row of `member` [P, 2]."""

    def between(row: Ints, sample: Ints) -> Clearance:
        one, two = (cut_arcs(ephemeris, member[row, side], sample) for side in (0, 1))

        def distance(time_s: Floats) -> tuple[Floats, Floats]:
            (a, a_rate), (b, b_rate) = one.at(time_s), two.at(time_s)
            return length_and_rate(b - a, b_rate - a_rate)

        return distance

    a, b = (ephemeris.position_m[member[:, side]] for side in (0, 1))
    a_rate, b_rate = (ephemeris.velocity_m_s[member[:, side]] for side in (0, 1))
    value, slope = length_and_rate(b - a, b_rate - a_rate)
    return Samples(ephemeris.time_s, value, slope, 2.0 * fastest_m_s(ephemeris), between)


def _ray_above_earth(ephemeris: Ephemeris, member: Ints, lowest_m: float) -> Samples:
    """How far above a sphere of radius `lowest_m` the ray between the two satellites of each row passes."""

    def between(row: Ints, sample: Ints) -> Clearance:
        one, two = (cut_arcs(ephemeris, member[row, side], sample) for side in (0, 1))
        return lambda time_s: ray_height(*one.at(time_s), *two.at(time_s), lowest_m)

    a, b = (ephemeris.position_m[member[:, side]] for side in (0, 1))
    a_rate, b_rate = (ephemeris.velocity_m_s[member[:, side]] for side in (0, 1))
    value, slope = ray_height(a, a_rate, b, b_rate, lowest_m)
    return Samples(ephemeris.time_s, value, slope, fastest_m_s(ephemeris), between)


def ray_height(a: Floats, a_rate: Floats, b: Floats, b_rate: Floats, lowest_m: float) -> tuple[Floats, Floats]:
    """Height of the ray's nearest point above a sphere, and its rate.

    That point slides along the segment at no cost in distance, so its fraction counts as fixed in the rate.
    """
    fraction = nearest_fraction(a, b)[..., None]
    height, rate = length_and_rate(a + fraction * (b - a), a_rate + fraction * (b_rate - a_rate))
    return height - lowest_m, rate


def _below(samples: Samples, limit: float) -> Samples:
    """The clearance limit - value."""

    def between(row: Ints, sample: Ints) -> Clearance:
        inner = samples.between(row, sample)

        def clearance(time_s: Floats) -> tuple[Floats, Floats]:
            value, slope = inner(time_s)
            return limit - value, -slope

        return clearance

    return replace(samples, value=limit - samples.value, slope=-samples.slope, between=between)

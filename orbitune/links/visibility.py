"""Who sees whom, when: passes of satellites over stations, and windows between satellites.

Edges come from `crossings`: a grid finds the spans, root refinement on quintics through the ephemeris places their
edges, and every pass is found, also one shorter than the grid. Work goes in chunks of satellites or pairs,
so memory does not grow with the constellation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.links.crossings import (
    Between,
    Clearance,
    Floats,
    Ints,
    Samples,
    greatest,
    intersection,
    positive_spans,
)
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation, dot, length, nearest_fraction
from orbitune.orbit.interpolate import cut_arcs, time_grid
from orbitune.orbit.propagate import Ephemeris, propagate
from orbitune.units import EARTH_RADIUS_M

DEFAULT_GRID_S = 60.0
LONGEST_GRID_S = 120.0
"""Beyond it a low pass may turn twice inside one interval, and the quintic's error grows past a metre."""

SAMPLES_PER_CHUNK = 500_000
"""Samples [rows x times] handled at once: 4 MB per array, about twenty arrays alive."""

_ACCELERATION_LIMIT_M_S2 = 12.0
"""Above what moves a satellite in the Earth-fixed frame: gravity 9.8 at the ground, Coriolis 2 x 7.3e-5 x 11.2e3."""


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
) -> Passes:
    """All passes of all satellites over all stations from the start to the horizon.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
    """
    time_s = _checked_grid(horizon_s, grid_s)
    sky = _sky_over(stations)
    found = [Passes(_none(), _none(), *(np.empty(0) for _ in range(3)))]
    for chosen in _chunks(len(constellation), len(time_s) * len(stations)) if stations else ():
        ephemeris = propagate(constellation, start_utc, time_s, chosen)
        above_mask, range_m = _seen_from(ephemeris, sky)
        spans = positive_spans(above_mask)
        satellite, station = np.divmod(spans.row, len(stations))
        found.append(Passes(satellite + chosen[0], station, spans.start_s, spans.end_s, greatest(range_m, spans)))
    columns = ("satellite", "station", "rise_s", "set_s", "max_range_m")
    return Passes(*(np.concatenate([getattr(part, column) for part in found]) for column in columns))


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
    time_s = _checked_grid(horizon_s, grid_s)
    found = [PairWindows(_none(), *(np.empty(0) for _ in range(3)))]
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


def _checked_grid(horizon_s: float, grid_s: float) -> Floats:
    if not 0.0 < horizon_s < math.inf:
        raise PlanError(f"the horizon is {horizon_s:g} s; it must be more than 0 s.")
    if not 0.0 < grid_s <= LONGEST_GRID_S:
        raise PlanError(f"the grid is {grid_s:g} s; it must be more than 0 s and at most {LONGEST_GRID_S:g} s.")
    return time_grid(horizon_s, grid_s)


def _chunks(count: int, samples_each: int) -> Iterator[range]:
    size = max(1, SAMPLES_PER_CHUNK // samples_each)
    return (range(first, min(first + size, count)) for first in range(0, count, size))


def _none() -> Ints:
    return np.empty(0, dtype=np.int64)


def _fastest(ephemeris: Ephemeris) -> float:
    """A speed in m/s that no satellite exceeds, between the samples either."""
    step_s = float(ephemeris.time_s[1] - ephemeris.time_s[0])
    return float(length(ephemeris.velocity_m_s).max()) + _ACCELERATION_LIMIT_M_S2 * 0.5 * step_s


@dataclass(frozen=True)
class _Sky:
    """Stations as arrays: position [G, 3], vertical [G, 3] and sine of the elevation mask [G]."""

    place: Floats
    up: Floats
    sine: Floats


def _sky_over(stations: Sequence[GroundStation]) -> _Sky:
    return _Sky(
        np.array([station.position_m for station in stations]),
        np.array([station.vertical for station in stations]),
        np.sin([station.min_elevation_rad for station in stations]),
    )


def _seen_from(ephemeris: Ephemeris, sky: _Sky) -> tuple[Samples, Samples]:
    """Clearance above the mask, and range; row = satellite x number of stations + station.

    The clearance is height over the horizontal plane less sin(mask) x range, in metres: positive just where the
    elevation is above the mask, and smoother than the elevation.
    """
    height, climb, range_m, range_rate = _sampled(ephemeris, sky)
    sine = sky.sine[:, None]
    value, slope = height - sine * range_m, climb - sine * range_rate
    fastest = _fastest(ephemeris)
    steepest = (1.0 + float(np.abs(sine).max())) * fastest

    def samples(value: Floats, slope: Floats, steepest: float, between: Between) -> Samples:
        num_times = len(ephemeris.time_s)
        return Samples(ephemeris.time_s, value.reshape(-1, num_times), slope.reshape(-1, num_times), steepest, between)

    return (
        samples(value, slope, steepest, _over_mask_between(ephemeris, sky)),
        samples(range_m, range_rate, fastest, _range_between(ephemeris, sky)),
    )


def _over_mask_between(ephemeris: Ephemeris, sky: _Sky) -> Between:
    def between(row: Ints, sample: Ints) -> Clearance:
        satellite, station = np.divmod(row, len(sky.sine))
        arcs = cut_arcs(ephemeris, satellite, sample)
        place, up, sine = sky.place[station], sky.up[station], sky.sine[station]

        def clearance(time_s: Floats) -> tuple[Floats, Floats]:
            position, velocity = arcs.at(time_s)
            offset = position - place
            distance, rate = _length_and_rate(offset, velocity)
            return dot(offset, up) - sine * distance, dot(velocity, up) - sine * rate

        return clearance

    return between


def _range_between(ephemeris: Ephemeris, sky: _Sky) -> Between:
    def between(row: Ints, sample: Ints) -> Clearance:
        satellite, station = np.divmod(row, len(sky.sine))
        arcs = cut_arcs(ephemeris, satellite, sample)

        def distance(time_s: Floats) -> tuple[Floats, Floats]:
            position, velocity = arcs.at(time_s)
            return _length_and_rate(position - sky.place[station], velocity)

        return distance

    return between


def _sampled(ephemeris: Ephemeris, sky: _Sky) -> tuple[Floats, Floats, Floats, Floats]:
    """Height over each station's horizontal plane, its rate, range and its rate, all [S, G, T].

    Written as matrix products, which is several times faster than forming all offset vectors.
    """
    position = np.ascontiguousarray(ephemeris.position_m.swapaxes(1, 2))
    velocity = np.ascontiguousarray(ephemeris.velocity_m_s.swapaxes(1, 2))
    place, up = sky.place, sky.up
    height = up @ position - dot(up, place)[:, None]
    radius_squared = dot(ephemeris.position_m, ephemeris.position_m)[:, None, :]
    radial_rate = dot(ephemeris.position_m, ephemeris.velocity_m_s)[:, None, :]
    range_m = np.sqrt(radius_squared - 2.0 * (place @ position) + dot(place, place)[:, None])
    range_rate = (radial_rate - place @ velocity) / range_m
    return height, up @ velocity, range_m, range_rate


def _distance_apart(ephemeris: Ephemeris, member: Ints) -> Samples:
    """Distance between the two satellites of each row of `member` [P, 2]."""

    def between(row: Ints, sample: Ints) -> Clearance:
        one, two = (cut_arcs(ephemeris, member[row, side], sample) for side in (0, 1))

        def distance(time_s: Floats) -> tuple[Floats, Floats]:
            (a, a_rate), (b, b_rate) = one.at(time_s), two.at(time_s)
            return _length_and_rate(b - a, b_rate - a_rate)

        return distance

    a, b = (ephemeris.position_m[member[:, side]] for side in (0, 1))
    a_rate, b_rate = (ephemeris.velocity_m_s[member[:, side]] for side in (0, 1))
    value, slope = _length_and_rate(b - a, b_rate - a_rate)
    return Samples(ephemeris.time_s, value, slope, 2.0 * _fastest(ephemeris), between)


def _ray_above_earth(ephemeris: Ephemeris, member: Ints, lowest_m: float) -> Samples:
    """How far above a sphere of radius `lowest_m` the ray between the two satellites of each row passes."""

    def between(row: Ints, sample: Ints) -> Clearance:
        one, two = (cut_arcs(ephemeris, member[row, side], sample) for side in (0, 1))
        return lambda time_s: _ray_height(*one.at(time_s), *two.at(time_s), lowest_m)

    a, b = (ephemeris.position_m[member[:, side]] for side in (0, 1))
    a_rate, b_rate = (ephemeris.velocity_m_s[member[:, side]] for side in (0, 1))
    value, slope = _ray_height(a, a_rate, b, b_rate, lowest_m)
    return Samples(ephemeris.time_s, value, slope, _fastest(ephemeris), between)


def _ray_height(a: Floats, a_rate: Floats, b: Floats, b_rate: Floats, lowest_m: float) -> tuple[Floats, Floats]:
    """Height of the ray's nearest point above a sphere, and its rate.

    That point slides along the segment at no cost in distance, so its fraction counts as fixed in the rate.
    """
    fraction = nearest_fraction(a, b)[..., None]
    height, rate = _length_and_rate(a + fraction * (b - a), a_rate + fraction * (b_rate - a_rate))
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


def _length_and_rate(vector: Floats, rate: Floats) -> tuple[Floats, Floats]:
    """Length of vectors [..., 3] and its rate of change; the rate is 0 where the length is."""
    size = length(vector)
    return size, dot(vector, rate) / np.where(size > 0.0, size, 1.0)

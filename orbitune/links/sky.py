"""The sky over ground stations: where satellites can be in view, when they are, and how far away.

Most of the time a satellite is far below a station's horizon. Bounds on how it moves between two samples leave out such
intervals with nothing lost, and only in the rest are ranges, clearances and edges worked out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitune.links.crossings import (
    Between,
    Clearance,
    Floats,
    Intervals,
    Ints,
    Samples,
    Spans,
    at_ends,
    greatest,
    spans_within,
)
from orbitune.orbit.geometry import GroundStation, dot, length
from orbitune.orbit.interpolate import cut_arcs, grid_step_s
from orbitune.orbit.propagate import Ephemeris
from orbitune.orbit.time import EARTH_ROTATION_RAD_S
from orbitune.units import EARTH_MU_M3_S2

ACCELERATION_LIMIT_M_S2 = 12.0
"""Above what moves a satellite in the Earth-fixed frame: gravity 9.8 at the ground, Coriolis 2 x 7.3e-5 x 11.2e3."""


@dataclass(frozen=True)
class Sky:
    """Stations as arrays: position [G, 3], vertical [G, 3], sine of the elevation mask [G]; `tilt_rad` [G] is the
    angle between the vertical and the direction away from the Earth's centre (at most 0.2 degrees).
    """

    place: Floats
    up: Floats
    sine: Floats
    tilt_rad: Floats

    def height(self, position: Floats) -> Floats:
        """Heights [..., G] of positions [..., 3] over the stations' horizontal planes, in one product of matrices."""
        heights: Floats = position @ self.up.T - dot(self.up, self.place)
        return heights


def sky_over(stations: Sequence[GroundStation]) -> Sky:
    """The stations, one at least, as arrays."""
    place = np.array([station.position_m for station in stations])
    up = np.array([station.vertical for station in stations])
    tilt = np.arcsin(length(np.cross(up, place)) / length(place))
    return Sky(place, up, np.sin([station.min_elevation_rad for station in stations]), tilt)


@dataclass(frozen=True)
class Bounds:
    """What holds for all satellites of an ephemeris at all times, between the samples too.

    `slack_m` is the most by which anything that accelerates by at most `ACCELERATION_LIMIT_M_S2` leaves the straight
    line between two samples: a L^2 / 8. In view, the range is at most `longest_range_m` [G] and
    the height over the horizontal plane at least `lowest_m` [G].
    """

    slack_m: float
    slowest_m_s: float
    fastest_m_s: float
    acceleration_m_s2: float
    longest_range_m: Floats
    lowest_m: Floats


def bounds_of(ephemeris: Ephemeris, sky: Sky) -> Bounds:
    """Bounds from the samples of an ephemeris and the most that satellites accelerate between them."""
    step_s = grid_step_s(ephemeris.time_s)
    slack_m = ACCELERATION_LIMIT_M_S2 * step_s**2 / 8.0
    speed, radius = length(ephemeris.velocity_m_s), length(ephemeris.position_m)
    # The radius obeys the same limit: r'' lies between -mu/r^2 and, on an ellipse, mu/r^2.
    nearest, farthest = float(radius.min()) - slack_m, float(radius.max()) + slack_m
    fastest = fastest_m_s(ephemeris)
    gravity = 1.01 * EARTH_MU_M3_S2 / nearest**2  # J2 and all else are 0.2 % of it
    turning = 2.0 * EARTH_ROTATION_RAD_S * fastest + EARTH_ROTATION_RAD_S**2 * farthest
    acceleration = min(gravity + turning, ACCELERATION_LIMIT_M_S2)
    longest = _range_at_mask(sky, -1.0, farthest)
    shortest = _range_at_mask(sky, 1.0, nearest)
    lowest = sky.sine * np.where(sky.sine >= 0.0, shortest, longest)
    return Bounds(slack_m, float(speed.min()) - 0.5 * acceleration * step_s, fastest, acceleration, longest, lowest)


def _range_at_mask(sky: Sky, sign: float, radius: float) -> Floats:
    """Range [G] at the mask of a satellite `radius` from the Earth's centre, at its longest (sign -1) or shortest (1).

    The law of cosines in the triangle of centre, station and satellite: r = sqrt(R^2 - p^2 cos^2 e) - p sin e, which
    falls as e grows. The elevation e above the plane across the radius is within the tilt of that above the horizon.
    """
    elevation = np.minimum(np.arcsin(sky.sine) + sign * sky.tilt_rad, 0.5 * math.pi)
    away = length(sky.place)
    squared = radius**2 - (away * np.cos(elevation)) ** 2
    return np.maximum(np.sqrt(np.maximum(squared, 0.0)) - away * np.sin(elevation), 0.0)


def find_spans(ephemeris: Ephemeris, sky: Sky, bounds: Bounds) -> tuple[Spans, Floats]:
    """When each satellite is above each mask, and how far away it is at the ends.

    Returns:
        The spans with row = satellite x number of stations + station, and for each the greater of the ranges in metres
        at its start and its end [N].
    """
    intervals = _intervals_near_view(ephemeris, sky, bounds)
    steepest = (1.0 + float(np.abs(sky.sine).max())) * bounds.fastest_m_s
    spans = spans_within(intervals, ephemeris.time_s, steepest, _over_mask_between(ephemeris, sky))
    return spans, at_ends(_range_between(ephemeris, sky), ephemeris.time_s, spans)


def _intervals_near_view(ephemeris: Ephemeris, sky: Sky, bounds: Bounds) -> Intervals:
    """The intervals of the grid in which a satellite can be in view: one in fifty in low orbit.

    Height over the horizontal plane is linear in position, so inside an interval it is at most `slack_m` above the
    greater of its two ends; and nothing is in view below `lowest_m`. No pass is lost, however short.
    """
    near = sky.height(ephemeris.position_m) > bounds.lowest_m - bounds.slack_m
    found = near[:, :-1] | near[:, 1:]
    before, station = np.divmod(np.flatnonzero(found), found.shape[2])
    satellite, sample = np.divmod(before, found.shape[1])
    ends = np.stack([sample, sample + 1])
    position, velocity = ephemeris.position_m[satellite, ends], ephemeris.velocity_m_s[satellite, ends]
    value, slope = _over_mask(position, velocity, sky, station)
    return Intervals(satellite * len(sky.sine) + station, sample, value, slope)


def _over_mask(position: Floats, velocity: Floats, sky: Sky, station: Ints) -> tuple[Floats, Floats]:
    """Clearance above the mask in metres and its rate.

    It is height over the horizontal plane less sin(mask) x range: positive just where the elevation is above the mask,
    and smoother than the elevation.
    """
    up, sine = sky.up[station], sky.sine[station]
    offset = position - sky.place[station]
    distance, rate = length_and_rate(offset, velocity)
    return dot(offset, up) - sine * distance, dot(velocity, up) - sine * rate


def _over_mask_between(ephemeris: Ephemeris, sky: Sky) -> Between:
    def between(row: Ints, sample: Ints) -> Clearance:
        satellite, station = np.divmod(row, len(sky.sine))
        arcs = cut_arcs(ephemeris, satellite, sample)
        return lambda time_s: _over_mask(*arcs.at(time_s), sky, station)

    return between


def ends_are_farthest(bounds: Bounds) -> bool:
    """Whether no range in view can have a maximum inside a pass, so that the greatest is at one of its ends.

    Half the second derivative of range^2 is v^2 + offset . acceleration. While that cannot be negative, which
    is so for near-circular low orbits, range^2 has no maximum.
    """
    attraction = bounds.acceleration_m_s2 * float(bounds.longest_range_m.max())
    return bounds.slowest_m_s > 0.0 and bounds.slowest_m_s**2 > attraction


def greatest_range_m(ephemeris: Ephemeris, sky: Sky, spans: Spans) -> Floats:
    """The greatest range in each span [N], whatever the orbits; needs every range at every sample."""
    return greatest(_ranges(ephemeris, sky), spans)


def _range_between(ephemeris: Ephemeris, sky: Sky) -> Between:
    def between(row: Ints, sample: Ints) -> Clearance:
        satellite, station = np.divmod(row, len(sky.sine))
        arcs = cut_arcs(ephemeris, satellite, sample)

        def distance(time_s: Floats) -> tuple[Floats, Floats]:
            position, velocity = arcs.at(time_s)
            return length_and_rate(position - sky.place[station], velocity)

        return distance

    return between


def _ranges(ephemeris: Ephemeris, sky: Sky) -> Samples:
    """Range of every satellite from every station at every sample."""
    offset = ephemeris.position_m[:, None] - sky.place[:, None]
    value, slope = length_and_rate(offset, ephemeris.velocity_m_s[:, None])
    shape = (-1, len(ephemeris.time_s))
    between = _range_between(ephemeris, sky)
    return Samples(ephemeris.time_s, value.reshape(shape), slope.reshape(shape), fastest_m_s(ephemeris), between)


def fastest_m_s(ephemeris: Ephemeris) -> float:
    """A speed that no satellite exceeds, between the samples either."""
    step_s = grid_step_s(ephemeris.time_s)
    return float(length(ephemeris.velocity_m_s).max()) + ACCELERATION_LIMIT_M_S2 * 0.5 * step_s


def length_and_rate(vector: Floats, rate: Floats) -> tuple[Floats, Floats]:
    """Length of vectors [..., 3] and its rate of change; the rate is 0 where the length is."""
    size = length(vector)
    return size, dot(vector, rate) / np.where(size > 0.0, size, 1.0)

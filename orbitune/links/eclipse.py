"""When satellites fly through the shadow of the Earth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from orbitune.errors import PlanError
from orbitune.links.crossings import Clearance, Floats, Ints, Samples, positive_spans
from orbitune.links.sky import fastest_m_s, length_and_rate
from orbitune.links.visibility import DEFAULT_GRID_S, LONGEST_GRID_S, SAMPLES_PER_CHUNK
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import dot, length
from orbitune.orbit.interpolate import cut_arcs, grid_step_s, time_grid
from orbitune.orbit.propagate import Ephemeris, propagate
from orbitune.orbit.sun import sun_direction
from orbitune.orbit.time import EARTH_ROTATION_RAD_S
from orbitune.units import WGS84_FLATTENING, WGS84_SEMI_MAJOR_M

_STRETCH = np.array([1.0, 1.0, 1.0 / (1.0 - WGS84_FLATTENING)])
"""Makes a sphere of the ellipsoid. Straight rays stay straight and tangents stay tangents, so no shadow is lost."""


@dataclass(frozen=True)
class Eclipses:
    """Eclipses, equal-length columns sorted by (satellite, start_s), cut at the start and the end of the horizon."""

    satellite: Ints
    start_s: Floats
    end_s: Floats

    def __len__(self) -> int:
        return len(self.satellite)


def eclipses(
    constellation: Constellation, start_utc: str | datetime, horizon_s: float, grid_s: float = DEFAULT_GRID_S
) -> Eclipses:
    """All times in which the centre of the Sun is hidden behind the Earth, from the start to the horizon.

    The Earth is the WGS 84 ellipsoid and its shadow straight. The grid finds the spans, roots place their edges.

    What moves an edge, for an orbit of period P at 550 km that crosses the middle of the shadow (an orbit that grazes
    it feels all of this more): taking the Earth for a sphere, up to 7 s at the poles; the formula for the Sun, 0.2 s;
    that the Sun is not infinitely far, 0.04 s. Not modelled: the penumbra, P x 16'/360 degrees = 4.3 s to each side of
    the edge, with 16' the radius of the Sun; and refraction, which bends a ray along the ground by 2 x 34', so that
    some light comes for up to P x 68'/360 degrees = 18 s more at each edge, much dimmed by the air (16' and 34':
    The Astronomical Almanac, the angles of sunrise and sunset).

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
    """
    if not 0.0 < horizon_s < math.inf:
        raise PlanError(f"the horizon is {horizon_s:g} s; it must be more than 0 s.")
    if not 0.0 < grid_s <= LONGEST_GRID_S:
        raise PlanError(f"the grid is {grid_s:g} s; it must be more than 0 s and at most {LONGEST_GRID_S:g} s.")
    time_s = time_grid(horizon_s, grid_s)
    sun = _Sun.over(start_utc, time_s)
    size = max(1, SAMPLES_PER_CHUNK // len(time_s))
    found = [Eclipses(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))]
    for first in range(0, len(constellation), size):
        chosen = range(first, min(first + size, len(constellation)))
        spans = positive_spans(_depth_in_shadow(propagate(constellation, start_utc, time_s, chosen), sun))
        found.append(Eclipses(spans.row + first, spans.start_s, spans.end_s))
    columns = ("satellite", "start_s", "end_s")
    return Eclipses(*(np.concatenate([getattr(part, column) for part in found]) for column in columns))


def eclipse_share(found: Eclipses, num_satellites: int, horizon_s: float) -> Floats:
    """The part of the horizon that each satellite spends in eclipse, shape [S], from 0 to 1."""
    return np.bincount(found.satellite, found.end_s - found.start_s, minlength=num_satellites) / horizon_s


@dataclass(frozen=True)
class _Sun:
    """The Sun's direction in the stretched frame, not of length 1: on the grid, and between its samples."""

    ephemeris: Ephemeris

    @classmethod
    def over(cls, start_utc: str | datetime, time_s: Floats) -> _Sun:
        direction = sun_direction(start_utc, time_s)[None] * _STRETCH
        still = Ephemeris(time_s, direction, np.zeros_like(direction))
        sample = np.minimum(np.arange(len(time_s)), len(time_s) - 2)
        rate = cut_arcs(still, np.zeros_like(sample), sample).at(time_s)[1]
        return cls(Ephemeris(time_s, direction, rate[None]))


def _depth_in_shadow(ephemeris: Ephemeris, sun: _Sun) -> Samples:
    """How deep each satellite is in the Earth's shadow, in stretched metres, row = satellite."""

    def between(row: Ints, sample: Ints) -> Clearance:
        satellite = cut_arcs(ephemeris, row, sample)
        light = cut_arcs(sun.ephemeris, np.zeros_like(row), sample)

        def depth(time_s: Floats) -> tuple[Floats, Floats]:
            position, velocity = satellite.at(time_s)
            return _depth(position * _STRETCH, velocity * _STRETCH, *light.at(time_s))

        return depth

    towards, turning = sun.ephemeris.position_m[0], sun.ephemeris.velocity_m_s[0]
    value, slope = _depth(ephemeris.position_m * _STRETCH, ephemeris.velocity_m_s * _STRETCH, towards, turning)
    return Samples(ephemeris.time_s, value, slope, _steepest(ephemeris), between)


def _depth(position: Floats, velocity: Floats, sun: Floats, sun_rate: Floats) -> tuple[Floats, Floats]:
    """The Earth's radius less the distance of the ray to the Sun from its centre, and the rate of that.

    The ray starts at the satellite: where it leads away from the Earth, its nearest point is the satellite itself.
    That point slides along the ray at no cost in distance, so how far along it is counts as fixed in the rate.
    """
    away = np.maximum(0.0, -dot(position, sun) / dot(sun, sun))[..., None]
    nearest, rate = position + away * sun, velocity + away * sun_rate
    distance, receding = length_and_rate(nearest, rate)
    return WGS84_SEMI_MAJOR_M - distance, -receding


def _steepest(ephemeris: Ephemeris) -> float:
    """More than the depth can change per second: the satellite's speed, and the Sun's in the turning frame."""
    speed = fastest_m_s(ephemeris)
    farthest_m = float(length(ephemeris.position_m).max()) + speed * 0.5 * grid_step_s(ephemeris.time_s)
    return float(_STRETCH.max()) * (speed + EARTH_ROTATION_RAD_S * farthest_m)

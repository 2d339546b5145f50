"""What limits a link between two satellites, as functions of the motion of both.

Each limit is a clearance that is positive while it is kept. Those on range rate and on turning need the second
derivative of positions. They are written without roots and quotients, as products of scalar products of the orbits:
for circles of mean motion n they hold no frequency above 4 n, however close two satellites pass, which for the range
rate itself is not so (it jumps in a second where two satellites meet).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from orbitune.links.crossings import Bools, Floats, Ints
from orbitune.links.sky import length_and_rate
from orbitune.orbit.geometry import dot, nearest_fraction
from orbitune.orbit.time import EARTH_ROTATION_RAD_S

_FINE_STEP_S = 15.0
"""Range rate and turning are sampled so often: 4 n has a period of 1297 s in the lowest orbit there is (100 km)."""


@dataclass(frozen=True)
class Motion:
    """Earth-fixed positions [..., 3] and their derivatives; the second is left out where no limit needs it."""

    position_m: Floats
    velocity_m_s: Floats
    acceleration_m_s2: Floats | None = None

    def at(self, index: tuple[Ints | slice, ...]) -> Motion:
        """The same at some indices of the leading axes."""
        second = self.acceleration_m_s2
        return Motion(self.position_m[index], self.velocity_m_s[index], None if second is None else second[index])

    @property
    def acceleration(self) -> Floats:
        assert self.acceleration_m_s2 is not None, "a limit that needs accelerations was not announced"
        return self.acceleration_m_s2


Limit = Callable[[Motion, Motion], tuple[Floats, Floats]]
"""From the motion of both ends to the clearance [...] and its rate."""


@dataclass(frozen=True)
class Limits:
    """What a link must keep: the ray stays outside a sphere of radius `lowest_m`; the rest is as in `IslSpec`."""

    lowest_m: float
    max_range_m: float = math.inf
    max_range_rate_m_s: float = math.inf
    max_slew_rad_s: float = math.inf
    polar_cutoff_rad: float = 0.5 * math.pi

    @property
    def need_acceleration(self) -> bool:
        return math.isfinite(self.max_range_rate_m_s) or math.isfinite(self.max_slew_rad_s)

    def fine(self, step_s: float) -> int:
        """Samples per step of the ephemeris."""
        return math.ceil(step_s / _FINE_STEP_S) if self.need_acceleration else 1

    def functions(self, fastest_m_s: float) -> Iterator[tuple[Limit, float]]:
        """Those that are set, each with the steepest it can be; infinity where it is not worth a bound."""
        yield lambda a, b: _over_sphere(a, b, self.lowest_m), fastest_m_s
        if math.isfinite(self.max_range_m):
            yield lambda a, b: _within_range(a, b, self.max_range_m), 2.0 * fastest_m_s
        if self.polar_cutoff_rad < 0.5 * math.pi:
            yield lambda a, _: _off_poles(a, self.polar_cutoff_rad), math.inf
            yield lambda _, b: _off_poles(b, self.polar_cutoff_rad), math.inf
        if math.isfinite(self.max_range_rate_m_s):
            yield lambda a, b: _within_range_rate(a, b, self.max_range_rate_m_s), math.inf
        if math.isfinite(self.max_slew_rad_s):
            yield lambda a, b: _within_slew(a, b, self.max_slew_rad_s), math.inf
            yield lambda a, b: _within_slew(b, a, self.max_slew_rad_s), math.inf

    def kept(self, a: Motion, b: Motion) -> Bools:
        """Whether all are kept at these moments [...]."""
        kept = np.ones(a.position_m.shape[:-1], dtype=np.bool_)
        for limit, _ in self.functions(0.0):
            kept &= limit(a, b)[0] > 0.0
        return kept


def _over_sphere(a: Motion, b: Motion, lowest_m: float) -> tuple[Floats, Floats]:
    """Height of the ray's nearest point to the Earth's centre above a sphere, and its rate.

    That point slides along the segment at no cost in distance, so its fraction counts as fixed in the rate.
    """
    fraction = nearest_fraction(a.position_m, b.position_m)[..., None]
    nearest = a.position_m + fraction * (b.position_m - a.position_m)
    radius, rate = length_and_rate(nearest, a.velocity_m_s + fraction * (b.velocity_m_s - a.velocity_m_s))
    return radius - lowest_m, rate


def range_between(a: Motion, b: Motion) -> tuple[Floats, Floats]:
    """Distance between the two and its rate."""
    return length_and_rate(b.position_m - a.position_m, b.velocity_m_s - a.velocity_m_s)


def _within_range(a: Motion, b: Motion, limit_m: float) -> tuple[Floats, Floats]:
    distance, rate = range_between(a, b)
    return limit_m - distance, -rate


def _off_poles(a: Motion, cutoff_rad: float) -> tuple[Floats, Floats]:
    """(r sin(cutoff))^2 - z^2 of one end, so that |latitude| needs no root; in m^2."""
    share = math.sin(cutoff_rad) ** 2
    radius_squared = dot(a.position_m, a.position_m)
    z, z_rate = a.position_m[..., 2], a.velocity_m_s[..., 2]
    return share * radius_squared - z**2, 2.0 * (share * dot(a.position_m, a.velocity_m_s) - z * z_rate)


def _within_range_rate(a: Motion, b: Motion, limit_m_s: float) -> tuple[Floats, Floats]:
    """limit^2 d.d - (d.w)^2 for offset d and its rate w: positive while the range rate |d.w| / |d| is below the limit.

    Lengths and their rates are the same in all frames, so the Earth-fixed one serves.
    """
    offset, rate = b.position_m - a.position_m, b.velocity_m_s - a.velocity_m_s
    along = dot(offset, rate)
    along_rate = dot(rate, rate) + dot(offset, b.acceleration - a.acceleration)
    square = limit_m_s**2
    return square * dot(offset, offset) - along**2, 2.0 * along * (square - along_rate)


def _within_slew(a: Motion, b: Motion, limit_rad_s: float) -> tuple[Floats, Floats]:
    """limit^2 D^2 - (g.g D - (d.w)^2), D = d.d: positive while the line of sight turns slower than the limit.

    It is seen from a, whose body points at nadir and so turns with the orbital frame (LVLH), at W = r x v / r^2. With
    inertial rates the direction u = d / |d| turns, seen from the body, at |w - u (u.w) - W x d| / |d|; its square is
    (g.g - (d.w)^2 / D) / D with g = w - W x d, because d.g = d.w. Times D^2 > 0 it is the clearance. What J2 turns the
    plane of the orbit by, below 2e-6 rad/s, is left out of W.
    Reference: the rate of a vector seen from a turning frame, du/dt - W x u (Goldstein, Poole and Safko, Classical
    Mechanics, 3rd edition, section 4.9).
    """
    position, velocity, acceleration = _inertial(a)
    other_position, other_velocity, other_acceleration = _inertial(b)
    d, w, w_rate = other_position - position, other_velocity - velocity, other_acceleration - acceleration
    turning, turning_rate = _frame_rate(position, velocity, acceleration)
    g = w - np.cross(turning, d)
    g_rate = w_rate - np.cross(turning_rate, d) - np.cross(turning, w)
    squared, along = dot(d, d), dot(d, w)
    along_rate = dot(w, w) + dot(d, w_rate)
    g_squared = dot(g, g)
    value = limit_rad_s**2 * squared**2 - (g_squared * squared - along**2)
    change = dot(g, g_rate) * squared + g_squared * along - along * along_rate
    return value, 4.0 * limit_rad_s**2 * squared * along - 2.0 * change


def _frame_rate(position: Floats, velocity: Floats, acceleration: Floats) -> tuple[Floats, Floats]:
    """The rate r x v / r^2 at which the orbital frame turns, and the derivative of that."""
    squared = dot(position, position)[..., None]
    turning = np.cross(position, velocity) / squared
    drift = 2.0 * dot(position, velocity)[..., None] / squared
    return turning, np.cross(position, acceleration) / squared - drift * turning


def _inertial(a: Motion) -> tuple[Floats, Floats, Floats]:
    """Position, velocity and acceleration seen by somebody who does not turn, along the Earth-fixed axes of the moment.

    v + omega x r, and the same once more for the acceleration, with omega along z.
    """
    velocity = a.velocity_m_s + _turned(a.position_m)
    # omega x (v + omega x r) + d/dt(omega x r) = omega x v_inertial + omega x v_fixed
    return a.position_m, velocity, a.acceleration + _turned(velocity) + _turned(a.velocity_m_s)


def _turned(vector: Floats) -> Floats:
    """omega x vector."""
    x, y = vector[..., 0], vector[..., 1]
    return EARTH_ROTATION_RAD_S * np.stack([-y, x, np.zeros_like(x)], axis=-1)

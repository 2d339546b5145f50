"""Physical constants and the conversions used at the border of the program.

Inside, everything is SI: metres, seconds, radians, bits per second, bytes, joules, FLOP per second.
Scenario keys carry the human unit in their name and are converted once, here.
"""

from __future__ import annotations

LIGHT_SPEED_M_S = 299_792_458.0
"""Speed of light in vacuum, exact (SI definition of the metre, BIPM 2019)."""

EARTH_RADIUS_M = 6_378_135.0
"""Equatorial radius of WGS 72, the constant inside SGP4 (Hoots and Roehrich, Spacetrack Report No. 3, 1980)."""

EARTH_MU_M3_S2 = 398_600.8e9
"""Gravitational parameter of WGS 72, the constant inside SGP4 (Spacetrack Report No. 3)."""

EARTH_J2 = 0.001082616
"""Second zonal harmonic of WGS 72 (Spacetrack Report No. 3)."""

WGS84_SEMI_MAJOR_M = 6_378_137.0
WGS84_FLATTENING = 1.0 / 298.257223563
"""Earth ellipsoid for station positions (NIMA TR8350.2, third edition, table 3.1)."""

BITS_PER_BYTE = 8


def km(value: float) -> float:
    """Kilometres to metres."""
    return value * 1e3


def mbps(value: float) -> float:
    """Megabits per second (10^6) to bits per second."""
    return value * 1e6


def hours(value: float) -> float:
    """Hours to seconds."""
    return value * 3600.0


def gigabytes(value: float) -> float:
    """Gigabytes (10^9) to bytes."""
    return value * 1e9


def gigaflops(value: float) -> float:
    """GFLOP/s (10^9) to FLOP/s."""
    return value * 1e9


def milliseconds(value: float) -> float:
    """Milliseconds to seconds."""
    return value * 1e-3


def megahertz(value: float) -> float:
    """Megahertz to hertz."""
    return value * 1e6


def gigahertz(value: float) -> float:
    """Gigahertz to hertz."""
    return value * 1e9


def nanometres(value: float) -> float:
    """Nanometres to metres."""
    return value * 1e-9


def microradians(value: float) -> float:
    """Microradians to radians."""
    return value * 1e-6


def percent(value: float) -> float:
    """Per cent to a share."""
    return value * 1e-2

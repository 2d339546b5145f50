"""Angles and distances between satellites, stations and the Earth, all in the Earth-fixed frame.

Vectors are arrays [..., 3] in metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.units import WGS84_FLATTENING, WGS84_SEMI_MAJOR_M

Floats = NDArray[np.float64]

_ECCENTRICITY_SQUARED = WGS84_FLATTENING * (2.0 - WGS84_FLATTENING)


@dataclass(frozen=True)
class GroundStation:
    """A place with antennas. Latitude and longitude are geodetic (WGS 84), altitude is above the ellipsoid.

    A satellite is in view above `min_elevation_rad`, the elevation mask, and above `horizon_mask`, the profile of the
    hills and buildings around: points (azimuth, elevation) in radians, azimuth clockwise from north and rising from
    point to point, elevation linear in azimuth between them and from the last across north to the first.
    No refraction is added.

    Raises:
        PlanError: a number is out of range; the message says which.
    """

    name: str
    latitude_rad: float
    longitude_rad: float
    altitude_m: float
    min_elevation_rad: float
    antennas: int = 1
    horizon_mask: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        right_angle = math.pi / 2.0
        if not abs(self.latitude_rad) <= right_angle:
            raise self._refused("latitude", self.latitude_rad, "-pi/2 to pi/2 rad")
        if not abs(self.longitude_rad) <= 2.0 * math.pi:
            raise self._refused("longitude", self.longitude_rad, "-2 pi to 2 pi rad")
        if not -right_angle < self.min_elevation_rad < right_angle:
            raise self._refused("elevation mask", self.min_elevation_rad, "between -pi/2 and pi/2 rad")
        if self.antennas < 1:
            raise self._refused("number of antennas", self.antennas, "1 or more")
        self._check_horizon_mask()

    def _check_horizon_mask(self) -> None:
        before = -1.0
        for azimuth_rad, elevation_rad in self.horizon_mask:
            if not 0.0 <= azimuth_rad < 2.0 * math.pi:
                raise self._refused("horizon mask azimuth", azimuth_rad, "from 0 to below 2 pi rad, from north by east")
            if not azimuth_rad > before:
                raise self._refused("horizon mask azimuth", azimuth_rad, f"more than the {before:g} before it")
            if not abs(elevation_rad) < math.pi / 2.0:
                raise self._refused("horizon mask elevation", elevation_rad, "between -pi/2 and pi/2 rad")
            before = azimuth_rad

    def _refused(self, what: str, value: float, allowed: str) -> PlanError:
        return PlanError(f"ground station {self.name!r}: {what} {value:g} is not allowed, it must be {allowed}.")

    @property
    def position_m(self) -> Floats:
        """Earth-fixed position [3]. Reference: NIMA TR8350.2, third edition, eq. 4-14."""
        sine = math.sin(self.latitude_rad)
        prime_vertical_m = WGS84_SEMI_MAJOR_M / math.sqrt(1.0 - _ECCENTRICITY_SQUARED * sine**2)
        centre = np.array([0.0, 0.0, -_ECCENTRICITY_SQUARED * prime_vertical_m * sine])
        return centre + (prime_vertical_m + self.altitude_m) * self.vertical

    @property
    def vertical(self) -> Floats:
        """Unit vector [3] straight up, the normal of the ellipsoid."""
        cosine = math.cos(self.latitude_rad)
        return np.array(
            [
                cosine * math.cos(self.longitude_rad),
                cosine * math.sin(self.longitude_rad),
                math.sin(self.latitude_rad),
            ]
        )

    @property
    def axes(self) -> Floats:
        """Unit vectors to the east, to the north and up, rows of [3, 3], in the Earth-fixed frame."""
        east = np.array([-math.sin(self.longitude_rad), math.cos(self.longitude_rad), 0.0])
        return np.stack([east, np.cross(self.vertical, east), self.vertical])


def elevation_rad(position_m: Floats, station: GroundStation) -> Floats:
    """Angle of a position [..., 3] above the station's horizon, from -pi/2 to pi/2; without refraction."""
    offset = position_m - station.position_m
    sine = offset @ station.vertical / length(offset)
    angle: Floats = np.arcsin(np.clip(sine, -1.0, 1.0))
    return angle


def azimuth_rad(position_m: Floats, station: GroundStation) -> Floats:
    """Direction of a position [..., 3] along the station's horizon, clockwise from north, in [0, 2 pi)."""
    east, north = np.moveaxis((position_m - station.position_m) @ station.axes[:2].T, -1, 0)
    angle: Floats = np.arctan2(east, north) % (2.0 * math.pi)
    return angle


def nearest_fraction(a_m: Floats, b_m: Floats) -> Floats:
    """Where on the segment from a (0) to b (1) the point nearest to the Earth's centre lies; 0 where they coincide."""
    along = b_m - a_m
    squared = dot(along, along)
    fraction = -dot(a_m, along) / np.where(squared > 0.0, squared, 1.0)
    return np.clip(fraction, 0.0, 1.0)


def subpoint(position_m: Floats) -> tuple[Floats, Floats]:
    """Geodetic latitude and longitude in radians under positions [..., 3]; longitude in (-pi, pi].

    Reference: B. R. Bowring, Survey Review 23 (1976) 323, one iteration: under 1e-7 rad for orbits. Tested against
    skyfield.
    """
    x, y, z = np.moveaxis(position_m, -1, 0)
    across = np.hypot(x, y)
    semi_minor_m = WGS84_SEMI_MAJOR_M * (1.0 - WGS84_FLATTENING)
    second_eccentricity_squared = _ECCENTRICITY_SQUARED / (1.0 - _ECCENTRICITY_SQUARED)
    reduced = np.arctan2(z * WGS84_SEMI_MAJOR_M, across * semi_minor_m)
    latitude = np.arctan2(
        z + second_eccentricity_squared * semi_minor_m * np.sin(reduced) ** 3,
        across - _ECCENTRICITY_SQUARED * WGS84_SEMI_MAJOR_M * np.cos(reduced) ** 3,
    )
    return latitude, np.arctan2(y, x)


def dot(a: Floats, b: Floats) -> Floats:
    """Scalar products of vectors [..., 3]."""
    product: Floats = np.einsum("...i,...i->...", a, b)
    return product


def length(a: Floats) -> Floats:
    """Lengths of vectors [..., 3]."""
    return np.sqrt(dot(a, a))

"""Which satellites there are: Walker patterns and published element sets, both as SGP4 records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sgp4.api import WGS72, Satrec

from orbitune.errors import PlanError
from orbitune.orbit.time import julian_date
from orbitune.units import EARTH_J2, EARTH_MU_M3_S2, EARTH_RADIUS_M

WALKER_KINDS = ("walker-delta", "walker-star")
LOWEST_ALTITUDE_M = 100e3
"""The Karman line (FAI Sporting Code, section 8): nothing orbits below it, so less is a slip of units."""

_SGP4_EPOCH_JD = 2_433_281.5
"""1949 December 31 00:00 UT, where `Satrec.sgp4init` counts its epochs from (python-sgp4 manual)."""


@dataclass(frozen=True)
class WalkerShell:
    """One Walker pattern i:t/p/f (J. G. Walker, RAE Technical Report 77044, 1977).

    `satellites` (t) lie evenly in `planes` (p); `phasing` (f, 0 to p-1) moves each plane f/t of a turn along the
    orbit against the one before. The nodes of a delta spread over 360 degrees, those of a star over 180 degrees.

    `altitude_m` is the mean (Brouwer) semi-major axis of SGP4 less `EARTH_RADIUS_M`. The radius itself swings around
    it by a few kilometres (J2 and J3), and the 'altitude' of a TLE's own (Kozai) mean motion differs by kilometres.

    Raises:
        PlanError: the pattern is not possible; the message says why.
    """

    kind: str
    satellites: int
    planes: int
    phasing: int
    altitude_m: float
    inclination_rad: float
    raan_rad: float = 0.0

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise PlanError(f"Walker shell {self.satellites}/{self.planes}/{self.phasing}: {problem}")

    def _problem(self) -> str | None:
        if self.kind not in WALKER_KINDS:
            return f"kind {self.kind!r} is unknown; allowed are {' and '.join(WALKER_KINDS)}."
        if self.planes < 1 or self.satellites < 1 or self.satellites % self.planes:
            return "the satellites must divide evenly over the planes; change one of the two numbers."
        if not 0 <= self.phasing < self.planes:
            return f"phasing must be from 0 to {self.planes - 1} (planes - 1)."
        if not LOWEST_ALTITUDE_M <= self.altitude_m < math.inf:
            return f"altitude {self.altitude_m:g} m must be at least {LOWEST_ALTITUDE_M:g} m; is it given in metres?"
        if not 0.0 <= self.inclination_rad <= math.pi:
            return f"inclination {self.inclination_rad:g} rad must be from 0 to pi; is it given in radians?"
        return None

    @property
    def per_plane(self) -> int:
        return self.satellites // self.planes


@dataclass(frozen=True)
class Constellation:
    """Satellites numbered from 0, and the planes they fly in.

    `planes[p]` lists satellites in the order they follow each other; `has_rings[p]` says whether neighbours there
    hold links. `next_plane[p]` is the plane that p links to in the inter-plane grid, or None: there is none
    beyond the seam of a star, from the last plane of a pair back to the first, or between element sets from a file.
    `elements[s]` is the SGP4 record of satellite s.
    """

    names: tuple[str, ...]
    planes: tuple[tuple[int, ...], ...]
    has_rings: tuple[bool, ...]
    next_plane: tuple[int | None, ...]
    elements: tuple[Satrec, ...]

    def __len__(self) -> int:
        return len(self.names)


def build_walker(shells: Sequence[WalkerShell], epoch_utc: str | datetime) -> Constellation:
    """A constellation of Walker shells on circular, drag-free orbits with elements at `epoch_utc`.

    Satellite `sat-02-07` is slot 7 of plane 2, both from 0; with several shells `sat-1-02-07` names shell 1.

    Raises:
        PlanError: `shells` is empty.
        InputError: `epoch_utc` is not a date.
    """
    if not shells:
        raise PlanError("the constellation has no shell; give at least one Walker shell or a TLE file.")
    whole, fraction = julian_date(epoch_utc)
    epoch_days = whole - _SGP4_EPOCH_JD + fraction
    names: list[str] = []
    planes: list[tuple[int, ...]] = []
    next_plane: list[int | None] = []
    elements: list[Satrec] = []
    for number, shell in enumerate(shells):
        next_plane += _next_planes(shell, first=len(planes))
        prefix = f"sat-{number}" if len(shells) > 1 else "sat"
        for plane in range(shell.planes):
            planes.append(tuple(range(len(elements), len(elements) + shell.per_plane)))
            names += _plane_names(shell, plane, prefix)
            elements += _plane_elements(shell, plane, epoch_days, first_number=len(elements) + 1)
    rings = tuple(len(members) > 1 for members in planes)
    return Constellation(tuple(names), tuple(planes), rings, tuple(next_plane), tuple(elements))


def element_age_days(constellation: Constellation, start_utc: str | datetime) -> NDArray[np.float64]:
    """Days from the epoch of each satellite's elements to the start, shape [S]; old elements give wrong passes."""
    whole, fraction = julian_date(start_utc)
    ages = [whole - record.jdsatepoch + fraction - record.jdsatepochF for record in constellation.elements]
    return np.array(ages, dtype=np.float64)


def kozai_mean_motion_rad_min(semi_major_m: float, inclination_rad: float) -> float:
    """Mean motion as element sets carry it (Kozai) of a circular orbit with this mean (Brouwer) semi-major axis.

    SGP4 turns the one into the other when it starts; this is the inverse, by fixed point.
    Reference: Hoots and Roehrich, Spacetrack Report No. 3 (1980), section 6, the first equations of SGP4.
    """
    brouwer = math.sqrt(EARTH_MU_M3_S2 / semi_major_m**3) * 60.0
    d = 0.75 * EARTH_J2 * (3.0 * math.cos(inclination_rad) ** 2 - 1.0)
    kozai = brouwer
    # Each turn gains a factor of about J2 = 10^-3, so six reach the last bit.
    for _ in range(6):
        a1 = (EARTH_MU_M3_S2 * 3600.0 / kozai**2) ** (1.0 / 3.0) / EARTH_RADIUS_M
        delta1 = d / a1**2
        a0 = a1 * (1.0 - delta1 / 3.0 - delta1**2 - 134.0 / 81.0 * delta1**3)
        kozai = brouwer * (1.0 + d / a0**2)
    return kozai


def _next_planes(shell: WalkerShell, first: int) -> list[int | None]:
    chain: list[int | None] = [first + plane + 1 for plane in range(shell.planes - 1)]
    # Two planes are one pair: linking the second back to the first would link them twice.
    closes = shell.kind == "walker-delta" and shell.planes > 2
    return [*chain, first if closes else None]


def _plane_names(shell: WalkerShell, plane: int, prefix: str) -> list[str]:
    plane_digits = max(2, len(str(shell.planes - 1)))
    slot_digits = max(2, len(str(shell.per_plane - 1)))
    return [f"{prefix}-{plane:0{plane_digits}}-{slot:0{slot_digits}}" for slot in range(shell.per_plane)]


def _plane_elements(shell: WalkerShell, plane: int, epoch_days: float, first_number: int) -> list[Satrec]:
    turn = 2.0 * math.pi
    spread = turn if shell.kind == "walker-delta" else math.pi
    raan = (shell.raan_rad + spread * plane / shell.planes) % turn
    motion = kozai_mean_motion_rad_min(EARTH_RADIUS_M + shell.altitude_m, shell.inclination_rad)
    records = []
    still = (0.0, 0.0, 0.0, 0.0, 0.0)  # drag (bstar), two rates SGP4 does not use, eccentricity, argument of perigee
    for slot in range(shell.per_plane):
        anomaly = turn * (slot / shell.per_plane + plane * shell.phasing / shell.satellites) % turn
        record = Satrec()
        shape = (*still, shell.inclination_rad, anomaly, motion, raan)
        record.sgp4init(WGS72, "i", first_number + slot, epoch_days, *shape)
        records.append(record)
    return records

"""Which satellites there are and the planes they fly in, each satellite as an SGP4 record; Walker patterns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sgp4.api import WGS72, Satrec

from orbitune.errors import PlanError
from orbitune.orbit.time import julian_date
from orbitune.units import EARTH_J2, EARTH_MU_M3_S2, EARTH_RADIUS_M

WALKER_KINDS = ("walker-delta", "walker-star")
LOWEST_ALTITUDE_M = 100e3
"""The Karman line (FAI Sporting Code, section 8): nothing orbits below it, so less is a slip of units."""

_NOTATION = re.compile(r"(\d+(?:\.\d+)?) ?(?:deg|°)? ?: ?(\d+) ?/ ?(\d+) ?/ ?(\d+)")

SGP4_EPOCH_JD = 2_433_281.5
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

    @classmethod
    def from_notation(cls, kind: str, notation: str, altitude_m: float, raan_rad: float = 0.0) -> Self:
        """The shell that the field writes i:t/p/f, inclination in degrees: `53:1584/72/39` or `97.4:24/3/1`.

        Raises:
            PlanError: the text has another form, or the pattern is not possible.
        """
        inclination_deg, satellites, planes, phasing = walker_numbers(notation)
        return cls(kind, satellites, planes, phasing, altitude_m, math.radians(inclination_deg), raan_rad)

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise PlanError(f"Walker shell {self.notation}: {problem}")

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

    @property
    def notation(self) -> str:
        """The pattern as i:t/p/f, such as `53:1584/72/39`; kind, altitude and first node are not part of it."""
        # Ten decimals: what the turn into radians and back changes lies beyond them.
        inclination_deg = f"{math.degrees(self.inclination_rad):.10f}".rstrip("0").rstrip(".")
        return f"{inclination_deg}:{self.satellites}/{self.planes}/{self.phasing}"


def walker_numbers(notation: str) -> tuple[float, int, int, int]:
    """Inclination in degrees, satellites, planes and phasing of a pattern written i:t/p/f.

    Raises:
        PlanError: the text has another form.
    """
    found = _NOTATION.fullmatch(notation.strip())
    if found is None:
        raise PlanError(
            f"Walker notation {notation!r} is not understood. Write i:t/p/f, that is inclination in degrees:"
            "satellites/planes/phasing, such as 53:1584/72/39 or 97.4:24/3/1."
        )
    return float(found[1]), int(found[2]), int(found[3]), int(found[4])


@dataclass(frozen=True)
class MeanElements:
    """The mean (Brouwer) elements of SGP4 of one satellite without drag; the mean anomaly counts from perigee."""

    semi_major_m: float
    eccentricity: float
    inclination_rad: float
    raan_rad: float
    arg_perigee_rad: float
    mean_anomaly_rad: float

    def record(self, number: int, epoch_days: float) -> Satrec:
        """The SGP4 record called `number`, its epoch in days from `SGP4_EPOCH_JD`."""
        motion = kozai_mean_motion_rad_min(self.semi_major_m, self.inclination_rad, self.eccentricity)
        still = (0.0, 0.0, 0.0)  # drag (bstar) and two rates SGP4 does not use
        shape = (self.eccentricity, self.arg_perigee_rad, self.inclination_rad, self.mean_anomaly_rad, motion)
        record = Satrec()
        record.sgp4init(WGS72, "i", number, epoch_days, *still, *shape, self.raan_rad)
        return record


@dataclass(frozen=True)
class Constellation:
    """Satellites numbered from 0, and the planes they fly in.

    `planes[p]` lists satellites in the order they follow each other; `has_rings[p]` says whether neighbours there
    hold links. `next_plane[p]` is the plane that p links to in the inter-plane grid, or None: there is none
    beyond the seam of a star, from the last plane of a pair back to the first, or between element sets from a file.
    `elements[s]` is the SGP4 record of satellite s. `left_out` has a sentence for each element set of a file that was
    not taken up, with its name and the reason.
    """

    names: tuple[str, ...]
    planes: tuple[tuple[int, ...], ...]
    has_rings: tuple[bool, ...]
    next_plane: tuple[int | None, ...]
    elements: tuple[Satrec, ...]
    left_out: tuple[str, ...] = ()

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
    epoch_days = sgp4_days(epoch_utc)
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


def join(first: Constellation, second: Constellation) -> Constellation:
    """Two constellations as one; satellites and planes of the second are numbered on, no link joins the two."""
    satellites, planes = len(first), len(first.planes)
    return Constellation(
        names=first.names + second.names,
        planes=first.planes + tuple(tuple(member + satellites for member in plane) for plane in second.planes),
        has_rings=first.has_rings + second.has_rings,
        next_plane=first.next_plane + tuple(None if plane is None else plane + planes for plane in second.next_plane),
        elements=first.elements + second.elements,
        left_out=first.left_out + second.left_out,
    )


def sgp4_days(moment_utc: str | datetime) -> float:
    """Days from `SGP4_EPOCH_JD`, as `Satrec.sgp4init` takes its epoch; a double keeps a third of a microsecond."""
    whole, fraction = julian_date(moment_utc)
    return whole - SGP4_EPOCH_JD + fraction


def element_age_days(constellation: Constellation, start_utc: str | datetime) -> NDArray[np.float64]:
    """Days from the epoch of each satellite's elements to the start, shape [S]; old elements give wrong passes."""
    whole, fraction = julian_date(start_utc)
    ages = [whole - record.jdsatepoch + fraction - record.jdsatepochF for record in constellation.elements]
    return np.array(ages, dtype=np.float64)


def kozai_mean_motion_rad_min(semi_major_m: float, inclination_rad: float, eccentricity: float = 0.0) -> float:
    """Mean motion as element sets carry it (Kozai) of an orbit with this mean (Brouwer) semi-major axis.

    SGP4 turns the one into the other when it starts; this is the inverse, by fixed point.
    Reference: Hoots and Roehrich, Spacetrack Report No. 3 (1980), section 6, the first equations of SGP4.
    """
    brouwer = math.sqrt(EARTH_MU_M3_S2 / semi_major_m**3) * 60.0
    d = 0.75 * EARTH_J2 * (3.0 * math.cos(inclination_rad) ** 2 - 1.0) / (1.0 - eccentricity**2) ** 1.5
    kozai = brouwer
    # Each turn gains a factor of about J2 = 10^-3 where the perigee is above ground, so six reach the last bit.
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
    semi_major = EARTH_RADIUS_M + shell.altitude_m
    records = []
    for slot in range(shell.per_plane):
        anomaly = turn * (slot / shell.per_plane + plane * shell.phasing / shell.satellites) % turn
        mean = MeanElements(semi_major, 0.0, shell.inclination_rad, raan, 0.0, anomaly)
        records.append(mean.record(first_number + slot, epoch_days))
    return records

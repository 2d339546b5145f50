"""Published element sets, whatever the format of their file, and what all readers of such files share."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sgp4.api import Satrec

from orbitune.errors import InputError
from orbitune.orbit.constellation import Constellation
from orbitune.units import EARTH_MU_M3_S2, EARTH_RADIUS_M

FAULTS_SHOWN = 20
"""So many lines of a long list are printed; more would push the first ones off a terminal's screen."""

_FASTEST_REV_DAY = 86_400.0 / (2.0 * math.pi * math.sqrt(EARTH_RADIUS_M**3 / EARTH_MU_M3_S2))
"""Kepler's third law for a circle on the equator's radius, 17.04 turns a day: what turns faster is under ground."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)

_SGP4_TYPES = ("", "0", "2", "3")
"""Ephemeris types that SGP4 may propagate: 0 in all published sets, 2 SGP4 and 3 SDP4 (CelesTrak, "NORAD Two-Line
Element Set Format"). Type 4 is SGP4-XP by now (CCSDS 502.0-B-3, table 4-3), another theory; the rest are older ones."""


@dataclass(frozen=True)
class ElementSet:
    """Mean elements of one satellite at one epoch.

    `catalogue_number` is the true one, up to nine digits without leading zeros; the number inside `record` may be a
    surrogate. `place` tells where the set was found ("planet.tle, line 12"). `decay_date` is the day (2025-06-01) on
    which the publisher says that the satellite came down, or None.
    """

    name: str
    catalogue_number: str
    record: Satrec
    place: str
    decay_date: str | None = None


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file; `place` is a line or an object of it."""

    place: str
    problem: str


@dataclass(frozen=True)
class Table:
    """A CSV file: the names of its columns, the rows with their line numbers from 1, and the rows that are broken."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    faults: tuple[Fault, ...]


def constellation_of(sets: Sequence[ElementSet]) -> Constellation:
    """The satellites in the order given.

    Each is a plane of its own without a ring: a file does not say who holds links with whom. A name that occurs more
    than once gets its catalogue number appended.
    """
    count = Counter(found.name for found in sets)
    return Constellation(
        names=tuple(f"{a.name} ({a.catalogue_number})" if count[a.name] > 1 else a.name for a in sets),
        planes=tuple((satellite,) for satellite in range(len(sets))),
        has_rings=(False,) * len(sets),
        next_plane=(None,) * len(sets),
        elements=tuple(found.record for found in sets),
    )


def read_text(path: Path) -> str:
    """The file as text, without the byte order mark that spreadsheets put first.

    Raises:
        InputError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path of the file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 ({error.reason} at byte {error.start}).") from error


def read_table(text: str) -> Table:
    """A comma-separated table with a header; empty lines are skipped, a row of another length is a fault."""
    reader = csv.reader(text.splitlines(), strict=True)
    header: tuple[str, ...] = ()
    rows: list[tuple[int, dict[str, str]]] = []
    faults: list[Fault] = []
    try:
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            if not any(cells):
                continue
            if not header:
                header = tuple(cells)
            elif len(cells) == len(header):
                rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
            else:
                problem = f"the row has {len(cells)} cells, the header {len(header)}"
                faults.append(Fault(f"line {reader.line_num}", problem))
    except csv.Error as error:
        faults.append(Fault(f"line {reader.line_num}", f"the row cannot be split into cells ({error})"))
    faults += [Fault("header", f"column {a!r} occurs twice") for a, count in Counter(header).items() if count > 1]
    return Table(header, tuple(rows), tuple(faults))


def number(text: str) -> float | None:
    """The finite decimal number that a cell holds, None where it holds something else."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def range_problems(eccentricity: float, inclination_deg: float, mean_motion_rev_day: float) -> list[str]:
    """What is impossible about the shape of an orbit, a sentence part each; empty where nothing is."""
    problems = []
    if not 0.0 <= eccentricity < 1.0:
        problems.append(f"eccentricity {eccentricity:g} must be at least 0 and below 1")
    if not 0.0 <= inclination_deg <= 180.0:
        problems.append(f"inclination {inclination_deg:g} must be from 0 to 180 degrees")
    if not 0.0 < mean_motion_rev_day <= _FASTEST_REV_DAY:
        allowed = f"above 0 and at most {_FASTEST_REV_DAY:.2f} turns a day (an orbit at the Earth's surface)"
        problems.append(f"mean motion {mean_motion_rev_day:g} must be {allowed}")
    return problems


def theory_problem(ephemeris_type: str) -> str | None:
    """Why elements of this ephemeris type, as written in the file, cannot be propagated; None where they can."""
    if ephemeris_type in _SGP4_TYPES:
        return None
    named = "SGP4-XP, which needs other software" if ephemeris_type == "4" else "not SGP4"
    return f"ephemeris type {ephemeris_type!r} is {named}; elements for SGP4 (type 0) are needed"


def listed(lines: Sequence[str]) -> str:
    """The first `FAULTS_SHOWN` lines, indented, and how many follow."""
    more = [f"... and {len(lines) - FAULTS_SHOWN} more"] if len(lines) > FAULTS_SHOWN else []
    return "\n".join(f"  {line}" for line in [*lines[:FAULTS_SHOWN], *more])


def refusal(path: Path, faults: Sequence[Fault], advice: str) -> InputError:
    """One error for all that is wrong in a file; `advice` is a sentence that says what to do."""
    if len(faults) == 1:
        return InputError(f"{path}, {faults[0].place}: {faults[0].problem}. {advice}")
    lines = listed([f"{fault.place}: {fault.problem}" for fault in faults])
    return InputError(f"{path}: {len(faults)} problems:\n{lines}\n{advice}")

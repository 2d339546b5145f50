"""Satellites on orbits of one's own, from a table of mean elements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orbitune.orbit.constellation import LOWEST_ALTITUDE_M, Constellation, MeanElements, sgp4_days
from orbitune.orbit.elements import Fault, Table, number, read_table, read_text, refusal
from orbitune.units import EARTH_RADIUS_M, km

COLUMNS = (
    "name",
    "plane",
    "altitude_km",
    "eccentricity",
    "inclination_deg",
    "raan_deg",
    "arg_perigee_deg",
    "mean_anomaly_deg",
)
_DEFAULTS = {"eccentricity": "0", "arg_perigee_deg": "0"}
_RANGES = {
    "altitude_km": (LOWEST_ALTITUDE_M / 1e3, math.inf),
    "eccentricity": (0.0, 1.0),
    "inclination_deg": (0.0, 180.0),
    # A turn to either side: more is a slip of columns.
    "raan_deg": (-360.0, 360.0),
    "arg_perigee_deg": (-360.0, 360.0),
    "mean_anomaly_deg": (-360.0, 360.0),
}
_ADVICE = (
    f"Correct the table. Its columns are {', '.join(COLUMNS)}; {' and '.join(_DEFAULTS)} may be left out, being 0."
)


@dataclass(frozen=True)
class _Row:
    name: str
    plane: str
    mean: MeanElements


def read_custom(path: str | Path, start_utc: str | datetime) -> Constellation:
    """The satellites of a table (CSV with a header, see `COLUMNS`), in its order, without drag.

    A row has the mean (Brouwer) elements of SGP4 at the start. `altitude_km` is the semi-major axis less
    `EARTH_RADIUS_M`, as in `WalkerShell`, whatever the eccentricity. `plane` is any word: the satellites with one word
    follow each other by argument of latitude (perigee plus mean anomaly) and form a ring, unless there is but one.
    Planes are not linked to each other: a table does not say which are neighbours.

    Raises:
        InputError: the file cannot be read, columns are missing or unknown, values are out of range, the perigee lies
            below `LOWEST_ALTITUDE_M`, or a name occurs twice; all that is wrong is named with its line.
    """
    path = Path(path)
    table = read_table(read_text(path))
    faults = [*_header_faults(table), *table.faults]
    if not faults:
        faults = [Fault(f"line {line}", told) for line, cells in table.rows for told in _problems(_DEFAULTS | cells)]
        faults += _repeats(table)
    if faults:
        raise refusal(path, faults, _ADVICE)
    return _constellation([_row(_DEFAULTS | cells) for _, cells in table.rows], sgp4_days(start_utc))


def _header_faults(table: Table) -> list[Fault]:
    missing = [column for column in COLUMNS if column not in table.header and column not in _DEFAULTS]
    unknown = [column for column in table.header if column not in COLUMNS]
    faults = [Fault("header", f"column {column} is missing") for column in missing]
    faults += [Fault("header", f"column {column!r} is unknown") for column in unknown]
    return faults if faults or table.rows or table.faults else [Fault("file", "there is no satellite below the header")]


def _problems(cells: Mapping[str, str]) -> list[str]:
    problems = [f"{column} is empty" for column in ("name", "plane") if not cells[column]]
    for column, (lowest, highest) in _RANGES.items():
        value = number(cells[column])
        if value is None:
            problems.append(f"{column} = {cells[column]!r} is not a number")
        elif not lowest <= value <= highest:
            allowed = f"from {lowest:g} to {highest:g}" if highest < math.inf else f"at least {lowest:g}"
            problems.append(f"{column} = {value:g} must be {allowed}")
    return problems or _perigee_problem(_row(cells).mean)


def _perigee_problem(mean: MeanElements) -> list[str]:
    perigee_m = mean.semi_major_m * (1.0 - mean.eccentricity) - EARTH_RADIUS_M
    if perigee_m >= LOWEST_ALTITUDE_M:
        return []
    told = f"the perigee is at {perigee_m / 1e3:.0f} km, at least {LOWEST_ALTITUDE_M / 1e3:g} km are needed"
    return [f"{told}; raise altitude_km or lower eccentricity"]


def _repeats(table: Table) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for line, cells in table.rows:
        before = first.setdefault(cells["name"], line)
        if before != line and cells["name"]:
            faults.append(Fault(f"line {line}", f"the name {cells['name']!r} is in line {before} already"))
    return faults


def _row(cells: Mapping[str, str]) -> _Row:
    mean = MeanElements(
        semi_major_m=EARTH_RADIUS_M + km(float(cells["altitude_km"])),
        eccentricity=float(cells["eccentricity"]),
        inclination_rad=math.radians(float(cells["inclination_deg"])),
        raan_rad=math.radians(float(cells["raan_deg"]) % 360.0),
        arg_perigee_rad=math.radians(float(cells["arg_perigee_deg"]) % 360.0),
        mean_anomaly_rad=math.radians(float(cells["mean_anomaly_deg"]) % 360.0),
    )
    return _Row(cells["name"], cells["plane"], mean)


def _constellation(rows: Sequence[_Row], epoch_days: float) -> Constellation:
    latitude = [(row.mean.arg_perigee_rad + row.mean.mean_anomaly_rad) % (2.0 * math.pi) for row in rows]
    members: dict[str, list[int]] = {}
    for satellite, row in enumerate(rows):
        members.setdefault(row.plane, []).append(satellite)
    planes = tuple(tuple(sorted(plane, key=latitude.__getitem__)) for plane in members.values())
    return Constellation(
        names=tuple(row.name for row in rows),
        planes=planes,
        has_rings=tuple(len(plane) > 1 for plane in planes),
        next_plane=(None,) * len(planes),
        elements=tuple(row.mean.record(satellite, epoch_days) for satellite, row in enumerate(rows, start=1)),
    )

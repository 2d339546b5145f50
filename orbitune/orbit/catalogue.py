"""From a file of published element sets to a constellation, with every set that cannot be used found and told."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sgp4.api import SGP4_ERRORS, SatrecArray

from orbitune.errors import InputError, PlanError
from orbitune.orbit.constellation import Constellation, element_age_days
from orbitune.orbit.elements import ElementSet, constellation_of, listed, read_text
from orbitune.orbit.omm import REQUIRED, parse_omm_csv, parse_omm_json, parse_omm_xml
from orbitune.orbit.time import SECONDS_PER_DAY, julian_date, parse_utc
from orbitune.orbit.tle import parse_tle

REFUSE, LEAVE_OUT = "refuse", "leave_out"
DECAY_STEP_S = 1800.0
"""SGP4 is tried a few times in each revolution, so that one that dips below ground near perigee is found as well."""

_POINTS_AT_ONCE = 200_000
"""SGP4's answer takes 49 bytes a point, so about 10 MB at a time."""

_Reader = Callable[[Path, str], tuple[ElementSet, ...]]


@dataclass(frozen=True)
class _Finding:
    """Why an element set cannot be used: the group it is listed under and its own reason."""

    group: str
    reason: str


def read_elements(path: str | Path) -> tuple[ElementSet, ...]:
    """The element sets of a file in its order, repeated satellites included.

    TLE and OMM in CSV, JSON or XML are told apart by what the file holds; its name does not matter.

    Raises:
        InputError: the file cannot be read, holds no element set or broken ones; all that is wrong is named.
    """
    path = Path(path)
    text = read_text(path)
    return _reader(path, text)(path, text)


def catalogue(
    sets: Sequence[ElementSet], start_utc: str | datetime, horizon_s: float, oldest_days: float, unusable: str
) -> Constellation:
    """The satellites of element sets that can be used over a horizon, in their order, each a plane without a ring.

    Not usable are, told under the first that applies: a duplicate (of the sets with one catalogue number the one
    whose epoch is nearest to the start is used, the first of equals); a stale one (epoch further than `oldest_days`
    from the start, before or after); a decayed one (its `decay_date` lies before the end, or SGP4 gives no position
    at the start, at the end or at one of the half hours between).

    Args:
        unusable: "refuse" makes any of them an error, "leave_out" plans without them: `Constellation.left_out` has a
            sentence for each.

    Raises:
        PlanError: some cannot be used and `unusable` is "refuse" (all are named), or none can be used.
        InputError: `start_utc` is not a date.
    """
    if unusable not in (REFUSE, LEAVE_OUT):
        raise PlanError(f"unusable is {unusable!r}; allowed are {REFUSE!r} and {LEAVE_OUT!r}.")
    findings = _findings(sets, start_utc, horizon_s, oldest_days)
    kept = [found for index, found in enumerate(sets) if index not in findings]
    if not kept:
        raise PlanError(_refusal(sets, findings, "since no satellite is left to plan with"))
    if findings and unusable == REFUSE:
        raise PlanError(_refusal(sets, findings, 'or set shell.unusable = "leave_out" to plan without them'))
    left_out = tuple(f"{_label(sets[index])} is left out: {told.reason}." for index, told in sorted(findings.items()))
    return replace(constellation_of(kept), left_out=left_out)


def _reader(path: Path, text: str) -> _Reader:
    start = text.lstrip()
    if start.startswith(("[", "{")):
        return parse_omm_json
    if start.startswith("<"):
        return parse_omm_xml
    if start.startswith("CCSDS_OMM_VERS"):
        raise InputError(f"{path}: is an OMM as lines of keyword = value (KVN). Fetch it as CSV, JSON or XML.")
    columns = next(csv.reader(start.splitlines()[:1]), [])
    return parse_omm_csv if len(columns) > 1 and set(REQUIRED) & {a.strip() for a in columns} else parse_tle


def _findings(
    sets: Sequence[ElementSet], start_utc: str | datetime, horizon_s: float, oldest_days: float
) -> dict[int, _Finding]:
    """Why which sets cannot be used, by their index."""
    age_days = element_age_days(constellation_of(sets), start_utc)
    findings = _duplicates(sets, np.abs(age_days))
    for index in np.flatnonzero(np.abs(age_days) > oldest_days).tolist():
        side = "before" if age_days[index] > 0.0 else "after"
        reason = f"its epoch is {abs(age_days[index]):.1f} days {side} the start, {oldest_days:g} are allowed"
        findings.setdefault(index, _Finding("stale", reason))
    rest = [index for index in range(len(sets)) if index not in findings]
    findings |= _fallen(sets, rest, parse_utc(start_utc) + timedelta(seconds=horizon_s))
    return findings | _refused_by_sgp4(sets, [i for i in rest if i not in findings], start_utc, horizon_s)


def _duplicates(sets: Sequence[ElementSet], distance_days: NDArray[np.float64]) -> dict[int, _Finding]:
    best: dict[str, int] = {}
    for index in np.argsort(distance_days, kind="stable").tolist():
        best.setdefault(sets[index].catalogue_number, index)
    findings = {}
    for index, found in enumerate(sets):
        used = best[found.catalogue_number]
        if index != used:
            reason = f"{sets[used].place} has the same catalogue number and an epoch as near to the start or nearer"
            findings[index] = _Finding("duplicate", reason)
    return findings


def _fallen(sets: Sequence[ElementSet], rest: list[int], end: datetime) -> dict[int, _Finding]:
    """Those that came down on a day that begins before the end."""
    findings = {}
    for index in rest:
        day = sets[index].decay_date
        if day is not None and parse_utc(day) < end:
            findings[index] = _Finding("decayed", f"its decay is dated {day}")
    return findings


def _refused_by_sgp4(
    sets: Sequence[ElementSet], rest: list[int], start_utc: str | datetime, horizon_s: float
) -> dict[int, _Finding]:
    whole, fraction = julian_date(start_utc)
    time_s = np.append(np.arange(0.0, horizon_s, DECAY_STEP_S), horizon_s)
    days = fraction + time_s / SECONDS_PER_DAY
    findings = {}
    at_once = max(1, _POINTS_AT_ONCE // len(time_s))
    for first in range(0, len(rest), at_once):
        some = rest[first : first + at_once]
        errors, _, _ = SatrecArray([sets[index].record for index in some]).sgp4(np.full(days.shape, whole), days)
        for row in np.flatnonzero(errors.any(axis=1)).tolist():
            column = int(np.flatnonzero(errors[row])[0])
            told = f"SGP4 gives no position {time_s[column] / 3600.0:g} h after the start"
            findings[some[row]] = _Finding("decayed", f"{told} ({SGP4_ERRORS[int(errors[row, column])]})")
    return findings


def _label(found: ElementSet) -> str:
    """Name, number and place of a set: `FLOCK 2P-9 (41610; planet.tle, line 2)`."""
    number = "" if found.name == found.catalogue_number else f"{found.catalogue_number}; "
    return f"{found.name} ({number}{found.place})"


def _refusal(sets: Sequence[ElementSet], findings: dict[int, _Finding], advice: str) -> str:
    lines = [f"{len(findings)} of {len(sets)} element sets cannot be used."]
    for group in ("duplicate", "stale", "decayed"):
        told = [
            f"{_label(sets[i])}: {finding.reason}" for i, finding in sorted(findings.items()) if finding.group == group
        ]
        if told:
            lines.append(f"{group}, {len(told)}:\n{listed(told)}")
    return "\n".join([*lines, f"Correct the file or move the start, {advice}."])

"""Orbit mean-elements messages (OMM) as CelesTrak and Space-Track publish them: CSV, JSON and XML.

Fields: CCSDS 502.0-B-3, Orbit Data Messages, tables 4-1 to 4-3; XML: CCSDS 505.0-B, one `omm` or an `ndm` of several.
CSV and JSON use the same keywords and leave out what is the same in all sets, frame, time system and theory (T. S.
Kelso, "A New Way to Obtain GP Data (aka TLEs)", CelesTrak 2020), so those are checked only where they are given.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

from sgp4.api import WGS72, Satrec

from orbitune.orbit.constellation import SGP4_EPOCH_JD
from orbitune.orbit.elements import ElementSet, Fault, number, range_problems, read_table, refusal, theory_problem
from orbitune.orbit.time import SECONDS_PER_DAY

NUMBERS = (
    "MEAN_MOTION",
    "ECCENTRICITY",
    "INCLINATION",
    "RA_OF_ASC_NODE",
    "ARG_OF_PERICENTER",
    "MEAN_ANOMALY",
    "BSTAR",
)
REQUIRED = ("NORAD_CAT_ID", "EPOCH", *NUMBERS)
"""What SGP4 needs. The two derivatives of the mean motion are not among it: SGP4 does not use them."""

_FIXED = {
    "CENTER_NAME": ("EARTH",),
    "REF_FRAME": ("TEME",),
    "TIME_SYSTEM": ("UTC",),
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4"),
}
_ADVICE = "Fetch the element sets again or correct what is named."
_LARGEST_SGP4_NUMBER = 339_999
"""Z9999 in Alpha-5, the largest catalogue number that python-sgp4 takes."""

_ORDINAL_TO_JULIAN = 1_721_424.5
"""Julian date of 0000-12-31 00:00, from which `date.toordinal` counts."""

_CATALOGUE = re.compile(r"\d{1,9}", re.ASCII)
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})([T ].*)?", re.ASCII)
_EPOCH = re.compile(
    r"(?P<year>\d{4})-((?P<month>\d\d)-(?P<day>\d\d)|(?P<of_year>\d{3}))"
    r"T(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d(\.\d*)?)Z?",
    re.ASCII,
)


@dataclass(frozen=True)
class _Message:
    """One OMM: where it stands and its fields by keyword, blank ones left out."""

    place: str
    fields: Mapping[str, str]


def parse_omm_csv(path: Path, text: str) -> tuple[ElementSet, ...]:
    """The element sets of a CSV file, one a row, in its order.

    Raises:
        InputError: columns are missing, or rows are broken; all of them are named.
    """
    table = read_table(text)
    missing = [keyword for keyword in REQUIRED if keyword not in table.header]
    if missing:
        raise refusal(path, [Fault("header", _missing(missing))], _ADVICE)
    messages = (_Message(f"line {line}", _given(row)) for line, row in table.rows)
    return _element_sets(path, messages, list(table.faults))


def parse_omm_json(path: Path, text: str) -> tuple[ElementSet, ...]:
    """The element sets of a JSON file, one object or a list of them, in its order.

    Raises:
        InputError: the text is not JSON, or objects are broken; all of them are named.
    """
    repeated: list[str] = []
    try:
        # Numbers stay text, so that each is read once and by one rule.
        content = json.loads(
            text,
            parse_float=str,
            parse_int=str,
            parse_constant=str,
            object_pairs_hook=lambda pairs: _without_repeats(pairs, repeated),
        )
    except json.JSONDecodeError as error:
        raise refusal(path, [Fault(f"line {error.lineno}", f"is not JSON ({error.msg})")], _ADVICE) from error
    entries = content if isinstance(content, list) else [content]
    faults = [Fault("file", f"keyword {keyword} occurs twice in one object") for keyword in repeated]
    faults += [Fault(f"object {n}", "is not an object") for n, e in enumerate(entries, 1) if not isinstance(e, dict)]
    objects = (_Message(f"object {n}", _given(e)) for n, e in enumerate(entries, 1) if isinstance(e, dict))
    return _element_sets(path, objects, faults)


def parse_omm_xml(path: Path, text: str) -> tuple[ElementSet, ...]:
    """The element sets of an XML file, one `omm` or an `ndm` of several, in its order.

    Raises:
        InputError: the text is not XML, holds no OMM, or messages are broken; all of them are named.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise refusal(path, [Fault(f"line {error.position[0]}", f"is not XML ({error})")], _ADVICE) from error
    messages, faults = [], []
    for count, omm in enumerate((e for e in root.iter() if _tag(e) == "omm"), start=1):
        repeated: list[str] = []
        fields = _without_repeats(_leaves(omm), repeated)
        messages.append(_Message(f"object {count}", _given(fields)))
        faults += [Fault(f"object {count}", f"keyword {keyword} occurs twice") for keyword in repeated]
    return _element_sets(path, messages, faults)


def epoch_julian_date(text: str) -> tuple[float, float] | None:
    """Julian date of an epoch as (whole, fraction) days, None where it is not a CCSDS date and time.

    Both forms are read, 2025-06-01T12:00:00.5 and 2025-152T12:00:00.5, with or without Z (CCSDS 502.0-B-3, 7.5.10).
    """
    found = _EPOCH.fullmatch(text)
    day = _day(found) if found else None
    if found is None or day is None:
        return None
    seconds = 3600 * int(found["hour"]) + 60 * int(found["minute"]) + float(found["second"])
    return day.toordinal() + _ORDINAL_TO_JULIAN, seconds / SECONDS_PER_DAY


def _day(found: re.Match[str]) -> date | None:
    try:
        if found["month"]:
            return date(int(found["year"]), int(found["month"]), int(found["day"]))
        day = date(int(found["year"]), 1, 1) + timedelta(days=int(found["of_year"]) - 1)
    except (ValueError, OverflowError):
        return None
    return day if day.year == int(found["year"]) else None


def _given(fields: Mapping[str, object]) -> dict[str, str]:
    texts = {keyword: str(value).strip() for keyword, value in fields.items() if value is not None}
    return {keyword: value for keyword, value in texts.items() if value}


def _without_repeats(pairs: Iterable[tuple[str, object]], repeated: list[str]) -> dict[str, object]:
    """The pairs as a mapping; keywords that occur again are added to `repeated`."""
    fields: dict[str, object] = {}
    for keyword, value in pairs:
        if keyword in fields and keyword != "COMMENT":
            repeated.append(keyword)
        fields[keyword] = value
    return fields


def _leaves(omm: ElementTree.Element) -> Iterator[tuple[str, object]]:
    for element in omm.iter():
        if len(element) == 0:
            # Publishers put their own fields, such as the day of decay, into USER_DEFINED.
            yield element.get("parameter", "") if _tag(element) == "USER_DEFINED" else _tag(element), element.text


def _tag(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _element_sets(path: Path, messages: Iterable[_Message], faults: list[Fault]) -> tuple[ElementSet, ...]:
    sets = []
    for message in messages:
        problems = _problems(message.fields)
        faults += [Fault(message.place, problem) for problem in problems]
        if not problems:
            sets.append(_element_set(f"{path.name}, {message.place}", message.fields))
    if not sets and not faults:
        faults.append(Fault("file", "no element set (OMM) found"))
    if faults:
        raise refusal(path, faults, _ADVICE)
    return tuple(sets)


def _problems(fields: Mapping[str, str]) -> list[str]:
    problems = [
        f"{keyword} is {fields[keyword]}, and {allowed[0]} is needed"
        for keyword, allowed in _FIXED.items()
        if fields.get(keyword, allowed[0]).upper() not in allowed
    ]
    theory = theory_problem(fields.get("EPHEMERIS_TYPE", ""))
    problems += [theory] if theory else []
    missing = [keyword for keyword in REQUIRED if keyword not in fields]
    problems += [_missing(missing)] if missing else []
    return problems + _wrong_forms(fields) + _wrong_ranges(fields)


def _missing(keywords: list[str]) -> str:
    verb = "is" if len(keywords) == 1 else "are"
    return f"{', '.join(keywords)} {verb} missing, which SGP4 needs"


def _wrong_forms(fields: Mapping[str, str]) -> list[str]:
    problems = [f"{a} = {fields[a]} is not a number" for a in NUMBERS if a in fields and number(fields[a]) is None]
    if not _CATALOGUE.fullmatch(fields.get("NORAD_CAT_ID", "0")):
        problems.append(f"NORAD_CAT_ID = {fields['NORAD_CAT_ID']} must be a whole number of up to nine digits")
    if "EPOCH" in fields and epoch_julian_date(fields["EPOCH"]) is None:
        problems.append(f"EPOCH = {fields['EPOCH']} must be a date and time such as 2025-06-01T12:00:00.000000")
    if "DECAY_DATE" in fields and _decay_day(fields["DECAY_DATE"]) is None:
        problems.append(f"DECAY_DATE = {fields['DECAY_DATE']} must be a date such as 2025-06-01")
    return problems


def _wrong_ranges(fields: Mapping[str, str]) -> list[str]:
    """Of the numbers that are there; the others have been reported and count as harmless here."""
    shape = (("ECCENTRICITY", 0.0), ("INCLINATION", 0.0), ("MEAN_MOTION", 1.0))
    found = [number(fields.get(keyword, "")) for keyword, _ in shape]
    return range_problems(*(harmless if a is None else a for a, (_, harmless) in zip(found, shape, strict=True)))


def _element_set(place: str, fields: Mapping[str, str]) -> ElementSet:
    catalogue = int(fields["NORAD_CAT_ID"])
    name = fields.get("OBJECT_NAME", str(catalogue))
    decay_day = _decay_day(fields.get("DECAY_DATE", ""))
    return ElementSet(name, str(catalogue), _record(catalogue, fields), place, decay_day)


def _decay_day(text: str) -> str | None:
    """The day of a date or a date and time, None where it is neither."""
    found = _DAY.fullmatch(text)
    try:
        return date.fromisoformat(found[1]).isoformat() if found else None
    except ValueError:
        return None


def _record(catalogue: int, fields: Mapping[str, str]) -> Satrec:
    epoch = epoch_julian_date(fields["EPOCH"])
    assert epoch is not None, "checked before"
    motion = float(fields["MEAN_MOTION"]) * 2.0 * math.pi / 1440.0
    record = Satrec()
    record.sgp4init(
        WGS72,
        "i",
        catalogue if catalogue <= _LARGEST_SGP4_NUMBER else 0,
        epoch[0] - SGP4_EPOCH_JD + epoch[1],
        float(fields["BSTAR"]),
        0.0,  # the derivatives of the mean motion, see REQUIRED
        0.0,
        float(fields["ECCENTRICITY"]),
        *(math.radians(float(fields[angle])) for angle in ("ARG_OF_PERICENTER", "INCLINATION", "MEAN_ANOMALY")),
        motion,
        math.radians(float(fields["RA_OF_ASC_NODE"])),
    )
    # One double for the epoch keeps 0.3 microseconds, 2 mm along the orbit; the pair keeps all digits.
    record.jdsatepoch, record.jdsatepochF = epoch
    return record

"""Two-line element sets, with every check the format allows.

Format: CelesTrak, "NORAD Two-Line Element Set Format" (T. S. Kelso): two lines of 69 columns, an optional name line
before them; column 69 is the sum of all digits, minus signs counting 1, modulo 10. Catalogue numbers above 99999 have
a letter for the first two digits, A for 10 to Z for 33 without I and O ("Alpha-5", Space-Track documentation).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sgp4.alpha5 import from_alpha5
from sgp4.api import WGS72, Satrec

from orbitune.orbit.elements import (
    ElementSet,
    Fault,
    range_problems,
    refusal,
    theory_problem,
)

LINE_LENGTH = 69
_ADVICE = "Fetch the element sets again or correct what is named."
_CATALOGUE = slice(2, 7)
_EPHEMERIS_TYPE = slice(62, 63)
_NUMBER = r"[ \d]{4}\d|[A-HJ-NP-Z]\d{4}"
_ANGLE = r"[ \d]{2}\d\.\d{4}"
_POWER = r"[-+ ]\d{5}[-+ ]\d"


@dataclass(frozen=True)
class _Line:
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"line {self.number}"


@dataclass(frozen=True)
class _Columns:
    """A field of an element line: the columns from 1, as the format counts them, and what they may hold."""

    name: str
    first: int
    last: int
    pattern: re.Pattern[str]

    def problem(self, line: str) -> str | None:
        held = line[self.first - 1 : self.last]
        if self.pattern.fullmatch(held):
            return None
        return f"columns {self.first}-{self.last} ({self.name}) hold {held!r}, which is not in the format"


def _columns(name: str, first: int, last: int, pattern: str) -> _Columns:
    return _Columns(name, first, last, re.compile(pattern, re.ASCII))


_FIELDS = {
    "1": (
        _columns("catalogue number", 3, 7, _NUMBER),
        _columns("epoch year", 19, 20, r"[ \d]\d"),
        _columns("epoch day", 21, 32, r"(?!000)([ 0-2][ \d]\d|3[0-5]\d|36[0-6])\.\d{8}"),
        _columns("first derivative of mean motion", 34, 43, r"[-+ 0]\.\d{8}"),
        _columns("second derivative of mean motion", 45, 52, _POWER),
        _columns("drag term", 54, 61, _POWER),
        _columns("ephemeris type", 63, 63, r"[ \d]"),
        _columns("element number", 65, 68, r"[ \d]{4}"),
    ),
    "2": (
        _columns("catalogue number", 3, 7, _NUMBER),
        _columns("inclination", 9, 16, _ANGLE),
        _columns("right ascension of the node", 18, 25, _ANGLE),
        _columns("eccentricity", 27, 33, r"\d{7}"),
        _columns("argument of perigee", 35, 42, _ANGLE),
        _columns("mean anomaly", 44, 51, _ANGLE),
        _columns("mean motion", 53, 63, r"[ \d]\d\.\d{8}"),
        _columns("revolution number", 64, 68, r"[ \d]{5}"),
    ),
}
_BLANKS = {"1": (2, 9, 18, 33, 44, 53, 62, 64), "2": (2, 8, 17, 26, 34, 43, 52)}


def parse_tle(path: Path, text: str) -> tuple[ElementSet, ...]:
    """The element sets of a TLE file in its order, two or three lines each, repeated satellites included.

    A set without a name is called by its catalogue number. Numbers in Alpha-5 are turned into digits.

    Raises:
        InputError: the file holds no element set, or lines are broken; all of them are named.
    """
    numbered = enumerate(text.splitlines(), start=1)
    lines = [_Line(number, line.rstrip()) for number, line in numbered if line.strip()]
    faults = [Fault("line 1", "no element set found in the file")] if not lines else []
    sets = []
    for group in _groups(lines):
        found = [group] if isinstance(group, Fault) else _faults(group[1], group[2])
        faults += found
        if not found and not isinstance(group, Fault):
            sets.append(_element_set(path, *group))
    if faults:
        raise refusal(path, faults, _ADVICE)
    return tuple(sets)


def checksum(line: str) -> int:
    """The modulo-10 checksum of the first 68 columns of a TLE line."""
    body = line[: LINE_LENGTH - 1]
    return (sum(int(c) for c in body if c in "0123456789") + body.count("-")) % 10


def _groups(lines: list[_Line]) -> Iterator[Fault | tuple[str, _Line, _Line]]:
    """Name, line 1 and line 2 of each set; where the order breaks, one fault, and on at the next line 1."""
    at = 0
    while at < len(lines):
        named = int(not _is_element_line(lines[at].text, "1") and not _is_element_line(lines[at].text, "2"))
        body = lines[at + named : at + named + 2]
        fault = _order_fault(lines[at], body)
        if fault is None:
            # Space-Track marks name lines with a leading zero ("0 ISS (ZARYA)").
            name = lines[at].text.strip().removeprefix("0 ").strip() if named else ""
            yield name, body[0], body[1]
            at += named + 2
        else:
            yield fault
            rest = range(at + named + 1, len(lines))
            at = next((k for k in rest if _is_element_line(lines[k].text, "1")), len(lines))


def _order_fault(start: _Line, body: list[_Line]) -> Fault | None:
    if not body:
        return Fault(start.place, f"the file ends after the name {start.text[:24]!r}; both element lines are missing")
    if not _is_element_line(body[0].text, "1"):
        return Fault(body[0].place, f"line 1 of an element set was expected, found {body[0].text[:24]!r}")
    if len(body) == 1:
        return Fault(body[0].place, "the file ends after line 1 of an element set; line 2 is missing")
    if not body[1].text.startswith("2 "):
        return Fault(body[1].place, f"line 2 of an element set was expected, found {body[1].text[:24]!r}")
    return None


def _is_element_line(line: str, first: str) -> bool:
    """Whether a line starts as element line `first` does; a name such as '1 KUNS-PF' has no number in column 3-7."""
    return line.startswith(first + " ") and (len(line) == LINE_LENGTH or line[3:7].strip().isdigit())


def _faults(one: _Line, two: _Line) -> list[Fault]:
    """What is wrong with the two lines of a set; what follows from an earlier fault is not reported again."""
    faults = [
        Fault(line.place, problem)
        for line, expected in ((one, "1"), (two, "2"))
        for problem in _line_problems(line.text, expected)
    ]
    if faults:
        return faults
    if one.text[_CATALOGUE] != two.text[_CATALOGUE]:
        differ = f"{two.text[_CATALOGUE]!r} differs from {one.text[_CATALOGUE]!r} in the line before"
        return [Fault(two.place, f"catalogue number {differ}")]
    theory = theory_problem(one.text[_EPHEMERIS_TYPE].strip())
    if theory is not None:
        return [Fault(one.place, theory)]
    ranges = range_problems(float("." + two.text[26:33]), float(two.text[8:16]), float(two.text[52:63]))
    return [Fault(two.place, problem) for problem in ranges]


def _line_problems(line: str, expected: str) -> list[str]:
    if len(line) != LINE_LENGTH:
        return [f"the line has {len(line)} columns, an element line has {LINE_LENGTH}"]
    if line[-1] != str(checksum(line)):
        return [f"checksum expected {checksum(line)}, found {line[-1]!r}; the line was altered or cut"]
    # Letters count nothing in the sum, and sgp4 reads 'O' for '0' as the end of the number.
    blanks = [f"column {at} holds {line[at - 1]!r}, not a blank" for at in _BLANKS[expected] if line[at - 1] != " "]
    return blanks + [told for field in _FIELDS[expected] if (told := field.problem(line)) is not None]


def _element_set(path: Path, name: str, one: _Line, two: _Line) -> ElementSet:
    record = Satrec.twoline2rv(one.text, two.text, WGS72)
    number = str(from_alpha5(one.text[_CATALOGUE].strip()))
    return ElementSet(name or number, number, record, f"{path.name}, {one.place}")

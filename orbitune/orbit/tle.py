"""Reading two-line element sets, with every check the format allows.

Format: CelesTrak, "NORAD Two-Line Element Set Format" (T. S. Kelso): two lines of 69 columns, an optional name line
before them; column 69 is the sum of all digits, minus signs counting 1, modulo 10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sgp4.api import WGS72, Satrec

from orbitune.errors import InputError
from orbitune.orbit.constellation import Constellation

LINE_LENGTH = 69
_CATALOGUE = slice(2, 7)


@dataclass(frozen=True)
class _ElementSet:
    name: str
    catalogue: str
    line_number: int
    record: Satrec


def read_tle(path: str | Path) -> Constellation:
    """The satellites of a TLE file, two or three lines each, in file order.

    Each satellite is a plane of its own without a ring: a file does not say who holds links with whom. A set without a
    name is called by its catalogue number; a name that occurs more than once gets its catalogue number appended.

    Raises:
        InputError: the file cannot be read, holds no element set, or a line is broken (file and line are named).
    """
    sets = list(_element_sets(Path(path), _lines(Path(path))))
    if not sets:
        raise InputError(f"{path}: no element set found. The file must hold two-line elements (TLE).")
    _refuse_repeats(Path(path), sets)
    count = Counter(found.name for found in sets)
    names = tuple(f"{found.name} ({found.catalogue})" if count[found.name] > 1 else found.name for found in sets)
    size = len(sets)
    return Constellation(
        names=names,
        planes=tuple((satellite,) for satellite in range(size)),
        has_rings=(False,) * size,
        next_plane=(None,) * size,
        elements=tuple(found.record for found in sets),
    )


def checksum(line: str) -> int:
    """The modulo-10 checksum of the first 68 columns of a TLE line."""
    body = line[: LINE_LENGTH - 1]
    return (sum(int(c) for c in body if c in "0123456789") + body.count("-")) % 10


def _lines(path: Path) -> list[tuple[int, str]]:
    """The non-empty lines with their numbers, from 1."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path of the TLE file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file ({error.reason} at byte {error.start}).") from error
    return [(number, line.rstrip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _element_sets(path: Path, lines: list[tuple[int, str]]) -> Iterator[_ElementSet]:
    name = ""
    at = 0
    while at < len(lines):
        number, line = lines[at]
        if not _looks_like(line, "1"):
            if _looks_like(line, "2") or name:
                raise _fault(path, number, f"line 1 of an element set was expected, found {line[:24]!r}")
            # Space-Track marks name lines with a leading zero ("0 ISS (ZARYA)").
            name = line.strip().removeprefix("0 ").strip()
            at += 1
            continue
        if at + 1 == len(lines):
            raise _fault(path, number, "the file ends after line 1 of an element set; line 2 is missing")
        yield _element_set(path, name, lines[at], lines[at + 1])
        name = ""
        at += 2
    if name:
        raise _fault(path, lines[-1][0], f"the file ends after the name {name!r}; both element lines are missing")


def _looks_like(line: str, first: str) -> bool:
    """Whether a line starts as element line `first` does; a name such as '1 KUNS-PF' has no number in column 3-7."""
    return line.startswith(first + " ") and (len(line) == LINE_LENGTH or line[3:7].strip().isdigit())


def _element_set(path: Path, name: str, first: tuple[int, str], second: tuple[int, str]) -> _ElementSet:
    for (number, line), expected in ((first, "1"), (second, "2")):
        _check_line(path, number, line, expected)
    catalogue, other = first[1][_CATALOGUE], second[1][_CATALOGUE]
    if catalogue != other:
        raise _fault(path, second[0], f"catalogue number {other!r} differs from {catalogue!r} in the line before")
    try:
        record = Satrec.twoline2rv(first[1], second[1], WGS72)
    except ValueError as error:
        raise _fault(path, first[0], f"the element set cannot be read ({error})") from error
    return _ElementSet(name or catalogue.strip(), catalogue.strip(), first[0], record)


def _check_line(path: Path, number: int, line: str, expected: str) -> None:
    if not line.startswith(expected + " "):
        raise _fault(path, number, f"line {expected} of an element set was expected, found {line[:24]!r}")
    if len(line) != LINE_LENGTH:
        raise _fault(path, number, f"the line has {len(line)} columns, an element line has {LINE_LENGTH}")
    if line[-1] != str(checksum(line)):
        raise _fault(
            path, number, f"checksum expected {checksum(line)}, found {line[-1]!r}; the line was altered or cut"
        )


def _refuse_repeats(path: Path, sets: list[_ElementSet]) -> None:
    seen: dict[str, _ElementSet] = {}
    for found in sets:
        if found.catalogue in seen:
            before = seen[found.catalogue].line_number
            problem = (
                f"satellite {found.catalogue} ({found.name}) is in line {before} already; keep one of its element sets"
            )
            raise _fault(path, found.line_number, problem)
        seen[found.catalogue] = found


def _fault(path: Path, number: int, problem: str) -> InputError:
    return InputError(f"{path}, line {number}: {problem}. Fetch the element sets again or correct the line.")

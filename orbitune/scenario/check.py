"""Judging single values: type, range, choices, form, and whether a key applies at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from itertools import pairwise
from pathlib import Path

from orbitune.errors import Problem
from orbitune.scenario.keys import Key, keys_of
from orbitune.scenario.schema import ARRAYS, OPTIONAL, SECTIONS, Scenario
from orbitune.scenario.sources import COMMAND_LINE, Entry, Written, did_you_mean, items_of

_ELEMENTS_FOLDER = resources.files("orbitune") / "data" / "tle"

_EARLIEST, _LATEST = datetime(1957, 1, 1, tzinfo=UTC), datetime(2057, 1, 1, tzinfo=UTC)
"""What the two-digit year of an element set can mean (Space-Track: 57-99 is 19xx, 00-56 is 20xx)."""


@dataclass
class Checked:
    """Values that passed, by full key, and what is wrong with the others."""

    values: dict[str, object] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def check(written: Written) -> Checked:
    """Judge every value by its declaration alone; contradictions between sections are the business of `rules`."""
    checked = Checked()
    _check_keys(checked, written, "", keys_of(Scenario))
    for name in ARRAYS:
        if name not in (*written.counts, *OPTIONAL) and not _complained(written, name):
            checked.problems.append(_missing_section(written, name))
    for place, section in items_of(written):
        if place in SECTIONS and not any(key.startswith(place + ".") for key in written.entries):
            if not _complained(written, place):
                checked.problems.append(_missing_section(written, place))
        else:
            _check_keys(checked, written, place + ".", keys_of(section))
    return checked


def _complained(written: Written, place: str) -> bool:
    return any(problem.key == place for problem in written.problems)


def _missing_section(written: Written, name: str) -> Problem:
    needed = ", ".join(key.name for key in keys_of(SECTIONS[name]) if key.required and key.only_if is None)
    title = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
    return Problem(written.file, title, None, f'missing; it needs {needed}. Or start from a preset: extends = "demo"')


def _check_keys(checked: Checked, written: Written, prefix: str, keys: tuple[Key, ...]) -> None:
    section: dict[str, object] = {}
    for key in keys:
        entry = written.entries.get(prefix + key.name)
        try:
            value = _judge(key, entry, section, written.entries, prefix)
        except _Wrong as wrong:
            file = entry.file if entry else _file_of_section(written, prefix)
            shown = entry.value if entry and not isinstance(entry.value, (dict, list)) else None
            checked.problems.append(Problem(file, prefix + key.name, shown, str(wrong)))
        else:
            section[key.name] = value
    checked.values.update((prefix + name, value) for name, value in section.items())


def _file_of_section(written: Written, prefix: str) -> str:
    """Where a missing key belongs: the file nearest to the user that wrote something of its section."""
    entries = [entry for key, entry in written.entries.items() if prefix and key.startswith(prefix)]
    files = [entry for entry in entries if entry.file != COMMAND_LINE]
    return max(files, key=lambda entry: entry.level).file if files else written.file


class _Wrong(Exception):
    """A value that cannot stand, with the reason."""


def _judge(
    key: Key, entry: Entry | None, section: Mapping[str, object], entries: Mapping[str, Entry], prefix: str
) -> object:
    """The value of one key, converted; `section` holds the keys before it that passed."""
    switch = key.only_if[0] if key.only_if else ""
    if switch and switch not in section:
        return _convert(key, entry) if entry else key.left_out  # its switch is wrong, which is said already
    if not key.applies(section):
        return _left_out(key, entry, entries.get(prefix + switch), section[switch])
    if entry is None:
        if key.required:
            beside = f" with {switch} = {_shown(section[switch])}" if switch else ""
            raise _Wrong(f"missing{beside}; must be {key.allowed} ({key.doc})")
        return key.default
    return _convert(key, entry)


def _left_out(key: Key, entry: Entry | None, switch: Entry | None, chosen: object) -> object:
    """A key that means nothing here: dropped where a nearer file turned the switch, otherwise a contradiction."""
    if entry is None or entry.value == key.left_out or (switch is not None and entry.level < switch.level):
        return key.left_out
    assert key.only_if is not None
    name, fitting = key.only_if
    wanted = " or ".join(_shown(value) for value in fitting)
    now = f"here it is {_shown(chosen)}" if chosen is not None else "which means nothing here either"
    raise _Wrong(f"means something only with {name} = {wanted}; {now}. Remove this key or change {name}")


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


# -- one value --------------------------------------------------------------------------------------------------------


def _convert(key: Key, entry: Entry) -> object:
    value = entry.value
    if isinstance(value, datetime) and key.form == "utc":
        value = value.isoformat()  # TOML has dates of its own
    if not _has_type(value, key.kind):
        raise _Wrong(f"must be {key.allowed}, not {_type_words(value)}")
    if isinstance(value, str):
        return _text(key, value, entry.folder)
    if isinstance(value, list):
        return _names(key, value) if key.form == "names" else _mask(key, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not key.low <= value <= key.high or (key.above and value <= key.low):
            raise _Wrong(f"must be {key.allowed}")
        return key.kind(value)
    return value


def _has_type(value: object, kind: type) -> bool:
    """Whether it is of that kind; a whole number may stand for a float, a truth value for nothing else."""
    if isinstance(value, bool):
        return kind is bool
    if kind is tuple:
        return isinstance(value, list)
    return isinstance(value, (int, float) if kind is float else kind)


def _type_words(value: object) -> str:
    words = {
        bool: "a truth value",
        int: "a whole number",
        float: "a number with a point",
        str: "a text",
        list: "a list",
    }
    return words.get(type(value), "a table" if isinstance(value, dict) else "a date or time")


def _text(key: Key, value: str, folder: Path) -> str:
    if key.choices:
        if value not in key.choices:
            raise _Wrong(f"must be {key.allowed}" + _near(value, key.choices))
        return value
    return _FORMS[key.form](value, folder)


def _near(value: str, choices: tuple[str, ...]) -> str:
    hint = did_you_mean(value, choices, "")
    return f"; {hint}" if hint.startswith("did") else ""


def _utc(value: str, folder: Path) -> str:
    """The moment in one spelling, so that equal moments are equal scenarios."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _Wrong('must be an ISO 8601 time in UTC such as "2025-03-20T00:00:00Z"') from None
    if moment.tzinfo is None or moment.utcoffset() != UTC.utcoffset(None):
        raise _Wrong('must be in UTC and end in Z, such as "2025-03-20T00:00:00Z"')
    if not _EARLIEST <= moment < _LATEST:
        raise _Wrong("must lie in the years 1957 to 2056, which element sets can express")
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _name(value: str, folder: Path) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", value):
        raise _Wrong("must be 1 to 64 small letters, digits and hyphens; it becomes part of the run folder's name")
    return value


def _station(value: str, folder: Path) -> str:
    if not re.fullmatch(r"[^\W\d_][\w '()-]{0,63}", value):
        raise _Wrong("must begin with a letter and hold only letters, digits, spaces, hyphens, apostrophes, brackets")
    return value


def _node(value: str, folder: Path) -> str:
    """Whether there is such a node is known only when the constellation is built."""
    return value.strip()


def _mask(key: Key, points: list[object]) -> tuple[tuple[float, float], ...]:
    mask = tuple(_point(key, point) for point in points)
    azimuths = [azimuth for azimuth, _ in mask]
    if any(later <= earlier for earlier, later in pairwise(azimuths)):
        raise _Wrong(f"must be {key.allowed}; these azimuths do not rise: {', '.join(f'{a:g}' for a in azimuths)}")
    return mask


def _point(key: Key, point: object) -> tuple[float, float]:
    plain = isinstance(point, (list, tuple)) and len(point) == 2 and all(_has_type(part, float) for part in point)
    if not plain:
        raise _Wrong(f"must be {key.allowed}; this is no pair of numbers: {point}")
    assert isinstance(point, (list, tuple))
    azimuth, elevation = float(point[0]), float(point[1])
    if not (0 <= azimuth < 360 and 0 <= elevation <= 89):
        raise _Wrong(f"must be {key.allowed}; out of range: [{azimuth:g}, {elevation:g}]")
    return azimuth, elevation


def _names(key: Key, names: list[object]) -> tuple[str, ...]:
    if not all(isinstance(name, str) and name for name in names):
        raise _Wrong(f"must be {key.allowed}")
    if len(set(names)) < len(names):
        raise _Wrong(f"must be {key.allowed}; a name occurs twice")
    return tuple(map(str, names))


def _path(value: str, folder: Path) -> str:
    """An absolute path, so that a resolved scenario can move; an empty text stays one."""
    path = (folder / value).resolve()
    if value and not path.exists():
        raise _Wrong(f"there is no file or folder {path}")
    return str(path) if value else ""


def _source(value: str, folder: Path) -> str:
    """A folder becomes an absolute path; any other name is for the library that is asked for the model."""
    if not value.strip():
        raise _Wrong("must not be empty")
    path = (folder / value).resolve()
    return str(path) if path.is_dir() else value.strip()


def _elements(value: str, folder: Path) -> str:
    """An absolute path, or the bare name of a shipped file, so that a resolved scenario can move."""
    path = (folder / value).resolve()
    if value and path.is_file():
        return str(path)
    shipped = tuple(sorted(entry.name for entry in _ELEMENTS_FOLDER.iterdir() if entry.name.endswith(".tle")))
    if value in shipped:
        return value
    raise _Wrong(
        f"there is no file {path}, and no shipped file of that name; {did_you_mean(value, shipped, 'shipped files')}"
    )


_FORMS: dict[str, Callable[[str, Path], str]] = {
    "utc": _utc,
    "name": _name,
    "station": _station,
    "node": _node,
    "elements": _elements,
    "path": _path,
    "source": _source,
}

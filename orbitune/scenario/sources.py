"""Reading scenario files: the chain of `extends`, the `--set` changes, and which file each value came from."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from orbitune.errors import InputError, PlanError, Problem, ScenarioError
from orbitune.orbit.constellation import walker_numbers
from orbitune.scenario.keys import keys_of
from orbitune.scenario.schema import ARRAYS, OPTIONAL, SECTIONS, Scenario, key_names

COMMAND_LINE = "--set"
"""What stands in place of a file name for values given on the command line."""

_PRESETS = resources.files(__package__) / "presets"


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file. `label` is how errors call it; relative paths start at `folder`."""

    label: str
    folder: Path
    table: dict[str, object]
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One value as written, and where: `level` counts from the root preset (0) towards the user."""

    value: object
    file: str
    folder: Path
    level: int


@dataclass
class Written:
    """Everything that was written, merged: the value nearest to the user for each key, such as "shell.0.planes"."""

    file: str
    entries: dict[str, Entry] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def complain(self, file: str, key: str, value: object, message: str) -> None:
        """Write down one problem; tables and lists are not shown, they are too long."""
        self.problems.append(Problem(file, key, None if isinstance(value, (dict, list)) else value, message))


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _PRESETS.iterdir() if entry.name.endswith(".toml"))
    )


def preset_text(name: str) -> str:
    """The file of a shipped preset, with its comments.

    Raises:
        InputError: There is no preset of that name.
    """
    if name not in preset_names():
        raise InputError(f"no preset '{name}'; {did_you_mean(name, preset_names(), 'presets')}")
    return (_PRESETS / f"{name}.toml").read_text(encoding="utf-8")


def did_you_mean(word: str, known: Sequence[str], kind: str) -> str:
    """Up to three near names, or all names of that kind where none is near."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"{kind}: {', '.join(known)}"


def read(path_or_preset: str | Path, sets: Sequence[str]) -> Written:
    """Read a file or preset, all that it extends, and the `--set` changes, without judging any value.

    Raises:
        InputError: The file does not exist or cannot be read.
        ScenarioError: A file is not TOML, or its `extends` leads nowhere or in a circle.
    """
    chain = _chain(path_or_preset)
    written = Written(chain[-1].label)
    for level, source in enumerate(chain):
        _add_table(written, source, level)
    for change in sets:
        _add_change(written, change, level=len(chain))
    return written


# -- files ------------------------------------------------------------------------------------------------------------


def _chain(path_or_preset: str | Path) -> list[Source]:
    """The file and all it extends, the root first; what is extended twice counts where it comes first."""
    source = _preset(str(path_or_preset)) if str(path_or_preset) in preset_names() else _file(Path(path_or_preset))
    return _line_up(source, [])


def _line_up(source: Source, children: list[Source]) -> list[Source]:
    """What the source extends in the order written, each after its own parents, then the source itself."""
    parents = source.table.pop("extends", [])
    chain: list[Source] = []
    for written in parents if isinstance(parents, list) else [parents]:
        parent = _parent(source, written)
        line = [*children, source, parent]
        if any(_identity(parent) == _identity(child) for child in line[:-1]):
            circle = " -> ".join(child.label for child in line)
            raise ScenarioError([Problem(source.label, "extends", written, f"goes in a circle: {circle}")])
        known = {_identity(found) for found in chain}
        chain += [found for found in _line_up(parent, line[:-1]) if _identity(found) not in known]
    return [*chain, source]


def _identity(source: Source) -> object:
    return source.path.resolve() if source.path else source.label


def _parent(child: Source, parent: object) -> Source:
    if parent in preset_names():
        return _preset(str(parent))
    if isinstance(parent, str) and parent.endswith(".toml"):
        path = child.path.parent / parent if child.path else Path(parent)
        if path.is_file():
            return _file(path)
        raise ScenarioError([Problem(child.label, "extends", parent, f"there is no file {path}; {_nearest(path)}")])
    hint = did_you_mean(str(parent), preset_names(), "presets")
    message = f"must name a shipped preset or the path of a .toml file; {hint}"
    raise ScenarioError([Problem(child.label, "extends", parent, message)])


def _preset(name: str) -> Source:
    label = f"preset {name}"
    return Source(label, Path(), _parse(preset_text(name), label))


def _file(path: Path) -> Source:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, and no such preset; {_nearest(path)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    return Source(str(path), path.resolve().parent, _parse(text, str(path)), path)


def _nearest(path: Path) -> str:
    """A near file beside it, else near presets."""
    beside = [entry.name for entry in path.parent.glob("*.toml")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean {path.with_name(near[0])}?" if near else did_you_mean(path.stem, preset_names(), "presets")


def _parse(text: str, label: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).partition(" (at ")
        place = where.rstrip(")") or "somewhere"
        raise ScenarioError([Problem(label, place, None, f"not valid TOML: {what[0].lower()}{what[1:]}")]) from None


# -- merging ----------------------------------------------------------------------------------------------------------


def _add_table(written: Written, source: Source, level: int) -> None:
    top = {found.name for found in keys_of(Scenario)}
    for name, value in source.table.items():
        if name in top:
            written.entries[name] = Entry(value, source.label, source.folder, level)
        elif name in ARRAYS:
            _add_list(written, source, level, name, value)
        elif name in SECTIONS:
            _add_section(written, source, level, name, value)
        else:
            written.complain(source.label, name, value, _unknown(name))


def _add_section(written: Written, source: Source, level: int, name: str, value: object) -> None:
    if not isinstance(value, dict):
        written.complain(source.label, name, value, f"is a section: write [{name}] and its keys below it")
        return
    for key, item in value.items():
        _add_leaf(written, f"{name}.{key}", Entry(item, source.label, source.folder, level))


def _add_list(written: Written, source: Source, level: int, name: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        written.complain(source.label, name, value, f"is a list: write [[{name}]], with two brackets, for each item")
        return
    if not value and name not in OPTIONAL:
        written.complain(source.label, name, value, "is empty; at least one is needed")
    written.entries = {key: entry for key, entry in written.entries.items() if not key.startswith(name + ".")}
    written.counts[name] = len(value)
    for number, item in enumerate(value):
        for key, leaf in item.items():
            _add_leaf(written, f"{name}.{number}.{key}", Entry(leaf, source.label, source.folder, level))


def _add_leaf(written: Written, key: str, entry: Entry) -> None:
    place, _, last = key.rpartition(".")
    if f"{_first_item(place)}.{last}" == "shell.0.walker":
        _add_walker(written, place, entry)
    elif f"{_first_item(place)}.{last}" in key_names():
        written.entries[key] = entry
    else:
        written.complain(entry.file, key, entry.value, _unknown(key))


def _add_walker(written: Written, place: str, entry: Entry) -> None:
    """`walker = "53:1584/72/39"` stands for the four keys of the field's notation i:t/p/f."""
    try:
        numbers = walker_numbers(str(entry.value))
    except PlanError as error:
        written.complain(entry.file, f"{place}.walker", entry.value, str(error))
        return
    for name, value in zip(("inclination_deg", "satellites", "planes", "phasing"), numbers, strict=True):
        beside = written.entries.get(f"{place}.{name}")
        if beside is not None and beside.level == entry.level:
            message = f"says {name} = {value:g} too; write the notation or the single keys, not both"
            written.complain(entry.file, f"{place}.walker", entry.value, message)
        written.entries[f"{place}.{name}"] = replace(entry, value=value)


def _unknown(key: str) -> str:
    """What to say of an unknown key: near keys of its section, else the same word in another one, else all keys."""
    place, _, last = key.rpartition(".")
    here = [name.rpartition(".")[2] for name in key_names() if name.rpartition(".")[0] == _first_item(place)]
    near = [f"{place}.{name}".lstrip(".") for name in difflib.get_close_matches(last, here, n=2, cutoff=0.7)]
    near = near or [f"[{name}]" for name in difflib.get_close_matches(last, SECTIONS, n=1, cutoff=0.7) if not place]
    near = near or [name for name in key_names() if name.rpartition(".")[2] == last]
    if near:
        return f"unknown key; did you mean {' or '.join(near)}?"
    if place and here:
        return f"unknown key; keys of {place} are {', '.join(here)}"
    return f"unknown section; sections are {', '.join(SECTIONS)}"


def _first_item(place: str) -> str:
    """ "shell.3" as "shell.0", under which `key_names` lists the keys of all shells."""
    return re.sub(r"\.\d+$", ".0", place)


# -- changes from the command line ------------------------------------------------------------------------------------


def _add_change(written: Written, change: str, level: int) -> None:
    """Apply one KEY=VALUE; list items are addressed by number or by name: ground_station.Svalbard.antennas=2."""
    key, equals, text = change.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        written.complain(COMMAND_LINE, change, None, 'write KEY=VALUE, for instance --set "train.rounds=5"')
    elif parts == ["extends"]:
        written.complain(COMMAND_LINE, "extends", text, "cannot be set here; name the preset instead of the file")
    elif parts[0] in ARRAYS and len(parts) > 1:
        _change_item(written, parts, Entry(_value(text), COMMAND_LINE, Path.cwd(), level))
    elif len(parts) > 2 and ".".join(parts[:2]) in key_names():
        message = f"is one value; write {'.'.join(parts[:2])}=VALUE"
        written.complain(COMMAND_LINE, ".".join(parts[:2]), None, message)
    elif len(parts) > 2 or (len(parts) > 1 and parts[0] not in SECTIONS):
        written.complain(COMMAND_LINE, ".".join(parts), None, _unknown(".".join(parts)))
    else:
        table: object = _value(text)
        for part in reversed(parts):
            table = {part: table}
        assert isinstance(table, dict)
        _add_table(written, Source(COMMAND_LINE, Path.cwd(), table), level)


def _change_item(written: Written, parts: list[str], entry: Entry) -> None:
    name, item, *rest = parts
    number = _item_number(written, name, item)
    if number is None:
        written.complain(COMMAND_LINE, ".".join(parts), None, f"there is no {name} '{item}'; {_items(written, name)}")
    elif len(rest) != 1:
        written.complain(
            COMMAND_LINE, ".".join(parts), None, f"name one key of it, for instance {name}.{item}.{_first(name)}"
        )
    else:
        _add_leaf(written, f"{name}.{number}.{rest[0]}", entry)


def _item_number(written: Written, name: str, item: str) -> int | None:
    count = written.counts.get(name, 0)
    if item.isdecimal():
        return int(item) if int(item) < count else None
    return next((number for number in range(count) if _item_name(written, name, number) == item), None)


def _item_name(written: Written, name: str, number: int) -> object:
    entry = written.entries.get(f"{name}.{number}.name")
    return entry.value if entry else None


def _items(written: Written, name: str) -> str:
    count = written.counts.get(name, 0)
    names = [str(found) for number in range(count) if (found := _item_name(written, name, number))]
    numbers = f"they are numbered 0 to {count - 1}" if count else "none is written"
    return numbers + (f" and named {', '.join(names)}" if names else "")


def _first(name: str) -> str:
    return keys_of(SECTIONS[name])[1].name


def _value(text: str) -> object:
    """The text as a TOML value, or as plain text where it is none: --set method.name=onboard needs no quotes."""
    try:
        table: Mapping[str, object] = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return table["value"] if len(table) == 1 else text.strip()


def items_of(written: Written) -> Iterator[tuple[str, type]]:
    """Every section of the scenario with its place: ("links", Links), ("shell.0", Shell), ("shell.1", Shell) ..."""
    for name, section in SECTIONS.items():
        if name in ARRAYS:
            yield from ((f"{name}.{number}", section) for number in range(written.counts.get(name, 0)))
        else:
            yield name, section

"""How a key of a scenario is declared: type, unit, range, choices, default and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

REQUIRED = ...
"""Default of a key that has none."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a scenario.

    Attributes:
        doc: What it means, in one line.
        default: Its value where nothing is written; `REQUIRED` where it has to be written.
        unit: Unit as printed, "" for none.
        low, high: Inclusive range of a number. With `above`, `low` itself is not allowed.
        choices: Allowed words, empty for any.
        form: What a text or list must look like, a key of `FORM_WORDS` (see `check`).
        only_if: (other key of the section, its values) with which this key means something; elsewhere it is left out.
        name, kind: Filled in from the declaration; `kind` is bool, int, float, str or tuple.
    """

    doc: str
    default: object = REQUIRED
    unit: str = ""
    low: float = 0
    high: float = 0
    above: bool = False
    choices: tuple[str, ...] = ()
    form: str = ""
    only_if: tuple[str, tuple[object, ...]] | None = None
    name: str = ""
    kind: type = str

    @property
    def required(self) -> bool:
        """Whether it must be written wherever it applies."""
        return self.default is REQUIRED

    @property
    def left_out(self) -> object:
        """Its value in a scenario where it does not apply."""
        return None if self.required else self.default

    def applies(self, values: Mapping[str, object]) -> bool:
        """Whether it means something beside these values of its section; unknown values count as fitting."""
        return self.only_if is None or values.get(self.only_if[0], self.only_if[1][0]) in self.only_if[1]

    @property
    def allowed(self) -> str:
        """What may be written, in words that continue "must be ..."."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind is bool:
            return "true or false"
        if self.kind in (str, tuple):
            return FORM_WORDS[self.form]
        number = "a whole number" if self.kind is int else "a number"
        return f"{number} {self.range_words} {self.unit}".rstrip()

    @property
    def range_words(self) -> str:
        """The range of a number: "from 1 to 16", "above 0 and at most 2160"."""
        low, high = _number(self.low), _number(self.high)
        return f"above {low} and at most {high}" if self.above else f"from {low} to {high}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


FORM_WORDS = {
    "": "a text",
    "utc": 'a UTC time from 1957 to 2056 such as "2025-03-20T00:00:00Z"',
    "name": "a name of small letters, digits and hyphens",
    "node": "the name of a satellite or a ground station",
    "station": "a name of letters, digits, spaces, hyphens and apostrophes",
    "elements": "the path of a file, counted from this file, or the name of a shipped one",
    "path": "the path of a file or folder, counted from this file",
    "source": "a folder, counted from this file, or a name that the library knows",
    "names": 'a list of different names such as ["stem", "stage1"]',
    "mask": "a list of points such as [[0, 5], [90, 12], [180, 7]], azimuths from 0 to below 360 and rising, "
    "elevations from 0 to 89, or an empty list",
}


def key(doc: str, **rules: Any) -> Any:
    """A dataclass field that carries its `Key`."""
    declared = Key(doc, **rules)
    if declared.only_if is None and declared.required:
        return field(metadata={"key": declared})
    return field(default=declared.left_out, metadata={"key": declared})


@cache
def keys_of(section: type) -> tuple[Key, ...]:
    """The keys of a section in the order of their declaration."""
    hints = get_type_hints(section)
    return tuple(
        replace(f.metadata["key"], name=f.name, kind=_plain_type(hints[f.name]))
        for f in fields(section)
        if "key" in f.metadata
    )


def _plain_type(hint: Any) -> type:
    """`int` for int and for int | None, `tuple` for a tuple of anything."""
    if get_origin(hint) is tuple:
        return tuple
    found: type = next((part for part in get_args(hint) if part is not NoneType), hint)
    return found

"""What is varied: keys with their values, and the grid of all combinations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from orbitune.errors import InputError
from orbitune.scenario.keys import Key, keys_of
from orbitune.scenario.schema import SECTIONS, Scenario

MOST_POINTS = 100_000
"""Our choice: at a second a point this is more than a day on one core; beyond it a typing mistake is likelier."""

SPECS = "write a list (1,10,100), a range lo:hi:count, or log:lo:hi:count"

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_RANGE = re.compile(rf"(log:)?{_NUMBER}:{_NUMBER}:(\d+)")
_ITEM = re.compile(r"""(?:"[^"]*"|'[^']*'|\[[^\]]*\]|[^,])+""")


@dataclass(frozen=True)
class Axis:
    """A varied key. `texts` are its values as `--set` takes them; `scale` is "list", "linear" or "log"."""

    key: str
    texts: tuple[str, ...]
    scale: str

    def values(self) -> list[float | int | str]:
        """The values as numbers where they are numbers."""
        return [_plain(text) for text in self.texts]


@dataclass(frozen=True)
class Point:
    """One combination; `number` counts from 0, the last axis varies first."""

    number: int
    texts: tuple[tuple[str, str], ...]

    @property
    def sets(self) -> list[str]:
        """The combination as changes of a scenario."""
        return [f"{key}={text}" for key, text in self.texts]

    @property
    def values(self) -> dict[str, float | int | str]:
        """The combination for a table."""
        return {key: _plain(text) for key, text in self.texts}

    @property
    def words(self) -> str:
        """The combination for a message."""
        return f"point {self.number} ({', '.join(self.sets)})"


def parse_axis(text: str) -> Axis:
    """KEY=SPEC as given to `--vary`; values of whole-number keys are rounded, and those that repeat are left out.

    Raises:
        InputError: It is not of this form, or a range is empty, or cannot be logarithmic.
    """
    key, equals, spec = (part.strip() for part in text.partition("="))
    if not key or not equals or not spec:
        raise InputError(f"--vary {text!r}: it must be KEY=SPEC; as SPEC {SPECS}")
    found = _RANGE.fullmatch(spec)
    declared = declaration(key)
    if found is None:
        if declared is not None and declared.kind in (int, float) and ":" in spec:
            raise InputError(f"--vary {text!r}: {spec!r} is no range; {SPECS}")
        return Axis(key, _unique(item.strip() for item in _ITEM.findall(spec)), "list")
    log, low, high, count = found[1] is not None, float(found[2]), float(found[3]), int(found[4])
    _check_range(text, log, low, high, count)
    whole = declared is not None and declared.kind is int
    numbers = _spaced(low, high, count, log)
    return Axis(key, _unique(str(round(n)) if whole else repr(n) for n in numbers), "log" if log else "linear")


def _check_range(text: str, log: bool, low: float, high: float, count: int) -> None:
    if not 2 <= count <= MOST_POINTS or not low < high:
        raise InputError(f"--vary {text!r}: a range goes up from lo to hi in 2 to {MOST_POINTS} values; {SPECS}")
    if log and low <= 0.0:
        raise InputError(f"--vary {text!r}: a logarithmic range begins above 0, this one at {low:g}")
    if not math.isfinite(high - low):
        raise InputError(f"--vary {text!r}: the ends of a range must be finite numbers")


def _spaced(low: float, high: float, count: int, log: bool) -> list[float]:
    """Equal steps, or equal ratios; both ends exactly as given.

    Inner values of a logarithmic range are rounded to 12 digits, so that 1:100:3 has 10 and not 10.000000000000002.
    """
    shares = [index / (count - 1) for index in range(1, count - 1)]
    inner = [low * (high / low) ** share if log else low + (high - low) * share for share in shares]
    return [low, *(float(f"{value:.12g}") for value in inner), high]


def _unique(texts: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """All `--vary` of a command.

    Raises:
        InputError: There is none, a key comes twice, one is malformed, or the grid is beyond `MOST_POINTS`.
    """
    axes = tuple(map(parse_axis, texts))
    keys = [axis.key for axis in axes]
    if not axes:
        raise InputError(f"nothing is varied; give --vary KEY=SPEC at least once; as SPEC {SPECS}")
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"--vary {repeated[0]}: given twice; name all its values in one list")
    if (total := count(axes)) > MOST_POINTS:
        raise InputError(f"--vary: {total} points are more than {MOST_POINTS}; take fewer values")
    return axes


def count(axes: Sequence[Axis]) -> int:
    """How many points the grid has."""
    return math.prod(len(axis.texts) for axis in axes)


def points(axes: Sequence[Axis]) -> Iterator[Point]:
    """All combinations, the last axis varying first."""
    keys = [axis.key for axis in axes]
    for number, texts in enumerate(product(*(axis.texts for axis in axes))):
        yield Point(number, tuple(zip(keys, texts, strict=True)))


def declaration(key: str) -> Key | None:
    """How the scenario declares a key such as "shell.0.altitude_km"; None if there is no such key."""
    section, _, name = key.partition(".")
    holder: type = SECTIONS.get(section, Scenario) if name else Scenario
    last = key.rpartition(".")[2]
    return next((found for found in keys_of(holder) if found.name == last), None)


def _plain(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text.strip("\"'")

"""The file labels.csv of a user's folder; `orbitune.imagery.folder` says what it may hold."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TABLE = "labels.csv"

TRAIN, TEST, GROUND = "train", "test", "ground"
SPLITS = (TRAIN, TEST, GROUND)

COVER = "label:"
"""What the name of a column begins with that says whether an image shows the class named behind it."""


@dataclass(frozen=True)
class Row:
    """One image and what is known of it; `where` names the place that says so, for messages."""

    file: str
    where: str
    label: str = ""
    covers: tuple[float, ...] = ()
    split: str = ""
    latitude: float | None = None
    longitude: float | None = None
    time: float | None = None
    satellite: int | None = None


@dataclass(frozen=True)
class Table:
    """All rows, the columns, and what is wrong with them; cells that are wrong are left out of their rows."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def covers(self) -> tuple[str, ...]:
        """Names of the classes of which an image may show several."""
        return tuple(column.removeprefix(COVER) for column in self.columns if column.startswith(COVER))


def _split(text: str) -> str:
    if text not in SPLITS:
        raise ValueError(f"'{text}' is not one of {', '.join(SPLITS)}")
    return text


def _degrees(most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text) if _is_number(text) else math.nan
        if not abs(value) <= most:
            raise ValueError(f"'{text}' is not a number of degrees from {-most:g} to {most:g}")
        return value

    return read


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _seconds(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"'{text}' is not a time like 2024-05-01T10:30:00Z (ISO 8601; UTC unless it says so)"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _satellite(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"'{text}' is not the number of a satellite, counted from 0")
    return int(text)


def _cover(text: str) -> float:
    if text not in ("0", "1"):
        raise ValueError(f"'{text}' is neither 0 nor 1")
    return float(text)


CELLS: dict[str, Callable[[str], Any]] = {
    "label": str,
    "split": _split,
    "latitude": _degrees(90.0),
    "longitude": _degrees(180.0),
    "time": _seconds,
    "satellite": _satellite,
}
"""How the cells of each column beside `file` and those of classes are read."""

DEALT_BY = ("latitude", "longitude", "time", "satellite")
"""Columns by which images for training are dealt out, so none of those may lack them."""


def read_table(path: Path) -> Table:
    """Read the whole table, going on after each problem."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            columns = tuple(name.strip() for name in next(lines, []))
            problems = _column_problems(columns)
            if problems:
                return Table((), columns, tuple(problems))
            rows = [_row(columns, cells, lines.line_num, problems) for cells in lines if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return Table((), (), (f"{TABLE}: cannot be read ({error})",))
    return Table(tuple(rows), columns, tuple(problems))


def _column_problems(columns: tuple[str, ...]) -> list[str]:
    """What is wrong with the first line."""
    problems = [
        f"{TABLE} line 1: unknown column '{name}'; allowed: file, {', '.join(CELLS)}, and {COVER}NAME for each class"
        for name in columns
        if name not in ("file", *CELLS) and not (name.startswith(COVER) and name != COVER)
    ]
    problems += [
        f"{TABLE} line 1: column '{name}' occurs twice" for name in {n for n in columns if columns.count(n) > 1}
    ]
    if "file" not in columns:
        problems.append(f"{TABLE} line 1: no column 'file'")
    if "label" in columns and any(name.startswith(COVER) for name in columns):
        problems.append(f"{TABLE} line 1: 'label' and '{COVER}NAME' exclude each other: one class an image, or several")
    if ("latitude" in columns) != ("longitude" in columns):
        problems.append(f"{TABLE} line 1: latitude and longitude come together")
    return problems


def _row(columns: tuple[str, ...], cells: list[str], line: int, problems: list[str]) -> Row:
    """The row of one line; what is wrong with it goes to `problems`.

    Only images of the ground may go without label, and only those for training need what images are dealt out by.
    """
    where = f"{TABLE} line {line}"
    texts = {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
    if len(cells) != len(columns):
        problems.append(f"{where}: {len(cells)} cells; there are {len(columns)} columns")
        return Row(texts.get("file", ""), where)
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            if text and name != "file":
                values[name] = CELLS[name](text) if name in CELLS else _cover(text)
            elif not text:
                _check_empty(name, texts.get("split", TRAIN))
        except ValueError as error:
            problems.append(f"{where}: {name}: {error}")
    covers = tuple(values.pop(name, 0.0) for name in texts if name.startswith(COVER))
    return Row(texts["file"], where, covers=covers, **values)


def _check_empty(column: str, split: str) -> None:
    """Refuse an empty cell where one is needed."""
    if column in DEALT_BY:
        if split == TRAIN:
            raise ValueError("empty")
    elif column != "label" and not column.startswith(COVER):
        raise ValueError("empty")
    elif split != GROUND:
        raise ValueError(f"empty; only images of split '{GROUND}' need no label")

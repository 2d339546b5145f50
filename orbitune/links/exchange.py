"""Contact plans as files: CSV for people and spreadsheets, JSON for programs. Both keep every bit.

The CSV has one contact per line, with nodes by name. What else a plan holds stands above it in `#` lines, each value
written as JSON:

    # format = "orbitune contact plan 1"
    # horizon_s = 86400.0
    # satellites = ["sat-00-00", "sat-00-01"]
    # stations = ["Svalbard"]
    # planes = [[0, 1]]
    source,target,kind,start_s,end_s,rate_bps,range_m,delay_s
    sat-00-00,Svalbard,downlink,3214.07,3671.2,100000000.0,2311000.5,0.0127

`planes` counts satellites from 0 and lists each plane in ring order; the node behind all stations is `server`. Other
`#` lines are remarks. Columns may come in any order, and lines too.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import InputError, PlanError
from orbitune.files import write_whole
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.links.crossings import Floats, Ints
from orbitune.links.rows import Rows, checked_plan, node_names, node_problems, read_text, refusal

FORMAT = "orbitune contact plan 1"
WORD_COLUMNS = ("source", "target", "kind")
NUMBER_COLUMNS = ("start_s", "end_s", "rate_bps", "range_m", "delay_s")
COLUMNS = WORD_COLUMNS + NUMBER_COLUMNS
_KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}


def write_csv(path: Path, plan: ContactPlan) -> None:
    """Write a plan as CSV; what `read_csv` gives back is equal bit for bit.

    Raises:
        PlanError: two nodes have the same name.
        OSError: the file cannot be written.
    """
    write_whole(path, csv_text(plan).encode())


def csv_text(plan: ContactPlan) -> str:
    """A plan as CSV: a heading of `#` lines, then a line for each contact.

    Raises:
        PlanError: two nodes have the same name.
    """
    names = _distinct_names(plan.nodes)
    heading = [f"# {key} = {json.dumps(value, ensure_ascii=False)}" for key, value in heading_of(plan).items()]
    nodes = [_csv_cell(name) for name in names]
    words = (
        [nodes[node] for node in plan.source.tolist()],
        [nodes[node] for node in plan.target.tolist()],
        [KINDS[kind] for kind in plan.kind.tolist()],
    )
    numbers = (map(repr, getattr(plan, name).tolist()) for name in NUMBER_COLUMNS)
    lines = map(",".join, zip(*words, *numbers, strict=True))
    return "\n".join([*heading, ",".join(COLUMNS), *lines, ""])


def read_csv(path: Path) -> ContactPlan:
    """Read a plan from CSV.

    Raises:
        InputError: the file cannot be read or is not a plan; all problems are listed with their lines.
    """
    text = read_text(path)
    heading, begin, first_line = _above_the_table(text)
    nodes, horizon_s = plan_heading(path, heading, named=True)
    table = csv.reader(io.StringIO(text[begin:], newline=""), strict=True)
    cells, lines = _columns(path, table, first_line)
    number = {name: node for node, name in enumerate(node_names(nodes))}
    rows = Rows(
        lambda row: f"line {lines[row]}",
        lambda row, name: cells[name][row],
        _looked_up(cells["source"], number),
        _looked_up(cells["target"], number),
        _looked_up(cells["kind"], _KIND_NUMBERS),
        *(_floats(cells[name]) for name in NUMBER_COLUMNS),
    )
    return checked_plan(path, nodes, horizon_s, rows)


def write_json(path: Path, plan: ContactPlan) -> None:
    """Write a plan as JSON: the heading's keys, and `contacts` with one list per column, nodes by number.

    Numbers are those of `Nodes`: satellites, then stations, then the server. `read_json` gives back every bit.

    Raises:
        OSError: the file cannot be written.
    """
    columns = {name: getattr(plan, name).tolist() for name in COLUMNS}
    columns["kind"] = [KINDS[kind] for kind in columns["kind"]]
    above = [f' "{key}": {json.dumps(value, ensure_ascii=False)},' for key, value in heading_of(plan).items()]
    inside = ",\n".join(f'  "{name}": {json.dumps(column)}' for name, column in columns.items())
    write_whole(path, "\n".join(["{", *above, ' "contacts": {', inside, " }", "}", ""]).encode())


def read_json(path: Path) -> ContactPlan:
    """Read a plan from JSON.

    Raises:
        InputError: the file cannot be read or is not a plan; all problems are listed, contacts counted from 0.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise refusal(path, ["it must be an object with the keys horizon_s, satellites, stations, planes, contacts"])
    nodes, horizon_s = plan_heading(path, content, named=False)
    cells = _json_columns(path, content.get("contacts"))
    rows = Rows(
        lambda row: f"contact {row}",
        lambda row, name: cells[name][row],
        _numbers_below(cells["source"], len(nodes)),
        _numbers_below(cells["target"], len(nodes)),
        _looked_up(cells["kind"], _KIND_NUMBERS),
        *(np.array([_json_number(cell) for cell in cells[name]], dtype=np.float64) for name in NUMBER_COLUMNS),
    )
    return checked_plan(path, nodes, horizon_s, rows)


def heading_of(plan: ContactPlan) -> dict[str, object]:
    """What a plan holds beside its contacts, as plain values."""
    nodes = plan.nodes
    return {
        "format": FORMAT,
        "horizon_s": float(plan.horizon_s),
        "satellites": list(nodes.satellite_names),
        "stations": list(nodes.station_names),
        "planes": [list(plane) for plane in nodes.planes],
    }


def plan_heading(path: Path, heading: Mapping[str, Any], named: bool) -> tuple[Nodes, float]:
    """Nodes and horizon from the values of `heading_of`, checked.

    Raises:
        InputError: a value is missing or wrong; all are listed.
    """
    problems = [
        f"{key} is missing" if key not in heading else f"{key} = {json.dumps(heading[key])[:80]} must be {allowed}"
        for key, (fits, allowed) in _HEADING.items()
        if key not in heading or not fits(heading[key])
    ]
    if problems:
        raise refusal(path, problems)
    planes = tuple(tuple(plane) for plane in heading["planes"])
    nodes = Nodes(tuple(heading["satellites"]), tuple(heading["stations"]), planes)
    problems = list(node_problems(nodes, named))
    if problems:
        raise refusal(path, problems)
    return nodes, float(heading["horizon_s"])


def _all_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(type(one) is kind for one in value)


_HEADING: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "format": (lambda value: value == FORMAT, f"{FORMAT!r}; a later version needs a later Orbitune"),
    "horizon_s": (lambda value: 0.0 < _json_number(value) < math.inf, "a number of seconds, more than 0"),
    "satellites": (lambda value: _all_of(str, value), "a list of names"),
    "stations": (lambda value: _all_of(str, value), "a list of names"),
    "planes": (
        lambda value: _all_of(list, value) and all(_all_of(int, plane) for plane in value),
        "a list of planes, each a list of satellites counted from 0",
    ),
}


def _distinct_names(nodes: Nodes) -> list[str]:
    for problem in node_problems(nodes, named=True):
        raise PlanError(f"the plan cannot be written with names: {problem}.")
    return node_names(nodes)


def _csv_cell(text: str) -> str:
    """One cell after RFC 4180, section 2."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def _above_the_table(text: str) -> tuple[dict[str, object], int, int]:
    """The values of the `#` lines, where the table begins, and how many lines are above it."""
    heading: dict[str, object] = {}
    begin = number = 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        line = _as_written(text[begin:end])
        if line and not line.startswith("#"):
            break
        key, equals, value = line.removeprefix("#").partition("=")
        if equals:
            heading[key.strip()] = _json_or_text(value)
        begin, number = end, number + 1
    return heading, begin, number


def _as_written(line: str) -> str:
    """A line without what a spreadsheet adds when it saves one: quotes around cells, empty cells at the end."""
    if line.startswith('"#'):
        line = ",".join(next(csv.reader([line])))
    return line.strip().rstrip(",")


def _json_or_text(value: str) -> object:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value.strip()  # a remark, or a wrong value that is then reported as it stands


def _columns(path: Path, table: Any, lines_above: int) -> tuple[dict[str, Sequence[str]], list[int]]:
    """The cells of each column, and the line of each row."""
    try:
        names = [name.strip() for name in next(table, [])]
        rows, lines = [], []
        for row in table:
            if any(row):
                rows.append(row)
                lines.append(lines_above + table.line_num)
    except csv.Error as error:
        raise refusal(path, [f"line {lines_above + table.line_num}: {error}"]) from error
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise refusal(path, [f"line {lines_above + 1}: no column {', '.join(missing)}; it has {','.join(names)}"])
    width = len(names)
    uneven = [(line, len(row)) for row, line in zip(rows, lines, strict=True) if len(row) != width]
    if uneven:
        raise refusal(path, [f"line {line}: {cells} cells instead of {width}" for line, cells in uneven])
    columns = list(zip(*rows, strict=True)) or [()] * width
    return {name: columns[names.index(name)] for name in COLUMNS}, lines


def _json_columns(path: Path, contacts: object) -> dict[str, list[Any]]:
    if not isinstance(contacts, dict) or not all(isinstance(contacts.get(name), list) for name in COLUMNS):
        raise refusal(path, [f"contacts must be an object with a list for each of {', '.join(COLUMNS)}"])
    lengths = {name: len(contacts[name]) for name in COLUMNS}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise refusal(path, [f"the columns of contacts must be equally long; they have {shown}"])
    return contacts


def _looked_up(cells: Iterable[Any], numbers: Mapping[str, int]) -> Ints:
    return np.array([numbers.get(cell, -1) if isinstance(cell, str) else -1 for cell in cells], dtype=np.int64)


def _numbers_below(cells: Iterable[Any], count: int) -> Ints:
    return np.array([cell if type(cell) is int and 0 <= cell < count else -1 for cell in cells], dtype=np.int64)


def _floats(cells: Sequence[str]) -> Floats:
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return np.array([_float_or_nan(cell) for cell in cells])


def _float_or_nan(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _json_number(cell: object) -> float:
    return float(cell) if type(cell) in (int, float) else math.nan  # type: ignore[arg-type]

"""Contacts as a file tells them, checked row by row before they become a `ContactPlan`.

The readers of all file formats fill a `Rows` and let `checked_plan` find what is wrong with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.links.crossings import Bools, Floats, Ints

MOST_PROBLEMS = 100
"""Problems of one file that are printed; the rest is counted."""

_SATELLITE, _STATION, _SERVER = range(3)
_ENDS = {
    "downlink": ((_SATELLITE, _STATION),),
    "uplink": ((_STATION, _SATELLITE),),
    "isl_intra": ((_SATELLITE, _SATELLITE),),
    "isl_inter": ((_SATELLITE, _SATELLITE),),
    "backhaul": ((_STATION, _SERVER), (_SERVER, _STATION)),
}
_ROLE_WORDS = ("satellite", "station", "server")


@dataclass(frozen=True)
class Rows:
    """Contacts as equal-length columns, not yet believed.

    `place` says where a row stands ('line 12'), `said` what stood there in a column. `source`, `target` and `kind` hold
    -1 for what is no node or kind, the others NaN for what is no number.
    """

    place: Callable[[int], str]
    said: Callable[[int, str], object]
    source: Ints
    target: Ints
    kind: Ints
    start_s: Floats
    end_s: Floats
    rate_bps: Floats
    range_m: Floats
    delay_s: Floats


Finding = tuple[int, str]
"""A row and what is wrong with it."""


def checked_plan(path: Path, nodes: Nodes, horizon_s: float, rows: Rows) -> ContactPlan:
    """The plan of these rows, put into order.

    Raises:
        InputError: a row breaks a rule; the message lists all rows that do.
    """
    findings = [*_broken(rows, nodes, horizon_s)]
    bad = np.zeros(len(rows.source), dtype=np.bool_)
    bad[[row for row, _ in findings]] = True
    findings += _overlaps(rows, nodes, ~bad)
    if findings:
        raise refusal(path, [f"{rows.place(row)}: {words}" for row, words in sorted(findings)])
    order = np.lexsort((rows.target, rows.source, rows.start_s))
    return ContactPlan(
        nodes=nodes,
        horizon_s=horizon_s,
        source=rows.source[order].astype(np.int32),
        target=rows.target[order].astype(np.int32),
        kind=rows.kind[order].astype(np.int8),
        start_s=rows.start_s[order],
        end_s=rows.end_s[order],
        rate_bps=rows.rate_bps[order],
        range_m=rows.range_m[order],
        delay_s=rows.delay_s[order],
    )


def refusal(path: Path, problems: Sequence[str]) -> InputError:
    """One error for all problems of a file, the first hundred of them in words."""
    shown = [f"  {problem}" for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        shown.append(f"  ... and {len(problems) - MOST_PROBLEMS} more")
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    return InputError(f"{path} is not a contact plan that can be used:\n" + "\n".join(shown) + f"\n{count} in all.")


def read_text(path: Path) -> str:
    """The content of a file of UTF-8 text.

    Raises:
        InputError: there is no such file, or it is not text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def node_names(nodes: Nodes) -> list[str]:
    """The names of all nodes, by number."""
    return [*nodes.satellite_names, *nodes.station_names, "server"]


def node_problems(nodes: Nodes, named: bool) -> Iterator[str]:
    """What is wrong with a set of nodes; with `named`, contacts tell nodes by name, so names must differ."""
    members = sorted(chain.from_iterable(nodes.planes))
    if members != list(nodes.satellites):
        yield f"the planes must hold each of the satellites 0 to {nodes.num_satellites - 1} once; they hold {members}"
    repeated = [name for name, count in Counter(node_names(nodes)).items() if count > 1]
    if named and repeated:
        yield f"several nodes are called {', '.join(map(repr, repeated))}; give each node a name of its own"


def _broken(rows: Rows, nodes: Nodes, horizon_s: float) -> Iterator[Finding]:
    yield from _unknown(rows, nodes)
    yield from _misjoined(rows, nodes)
    numbers = ("start_s", "end_s", "rate_bps", "range_m", "delay_s")
    for name in numbers:
        for row in np.flatnonzero(~np.isfinite(getattr(rows, name))).tolist():
            yield row, f"{name} = {rows.said(row, name)} is not a finite number"
    backwards = rows.start_s >= rows.end_s
    for row in np.flatnonzero(backwards).tolist():
        yield row, f"starts at {rows.start_s[row]:g} s and ends at {rows.end_s[row]:g} s; it must end after its start"
    for row in np.flatnonzero(((rows.start_s < 0.0) | (rows.end_s > horizon_s)) & ~backwards).tolist():
        span = f"{rows.start_s[row]:.17g} to {rows.end_s[row]:.17g} s"
        yield row, f"lasts from {span}, outside the plan, which lasts from 0 to {horizon_s:.17g} s"
    for row in np.flatnonzero(rows.rate_bps <= 0.0).tolist():
        yield row, f"rate_bps = {rows.said(row, 'rate_bps')} must be more than 0"
    for name in ("range_m", "delay_s"):
        for row in np.flatnonzero(getattr(rows, name) < 0.0).tolist():
            yield row, f"{name} = {rows.said(row, name)} must be 0 or more"


def _unknown(rows: Rows, nodes: Nodes) -> Iterator[Finding]:
    for name in ("source", "target"):
        for row in np.flatnonzero(getattr(rows, name) < 0).tolist():
            said = rows.said(row, name)
            yield row, f"{name} {said!r} is not a node of this plan{_nearest(said, nodes)}"
    for row in np.flatnonzero(rows.kind < 0).tolist():
        yield row, f"kind {rows.said(row, 'kind')!r} is unknown; allowed are {', '.join(KINDS)}"


def _nearest(said: object, nodes: Nodes) -> str:
    close = get_close_matches(str(said), node_names(nodes), n=1) if isinstance(said, str) else []
    if close:
        return f"; did you mean {close[0]!r}?"
    return f", which has {nodes.num_satellites} satellites, {nodes.num_stations} stations and the server"


def _misjoined(rows: Rows, nodes: Nodes) -> Iterator[Finding]:
    """Contacts of a node with itself, and kinds that do not join such nodes."""
    # The last entry is met by -1, a node that is not known; it fits no kind, and is reported already.
    role = np.repeat([_SATELLITE, _STATION, _SERVER, -1], [nodes.num_satellites, nodes.num_stations, 1, 1])
    source, target = role[rows.source], role[rows.target]
    fits = np.zeros(len(source), dtype=np.bool_)
    for number, kind in enumerate(KINDS):
        for a, b in _ENDS[kind]:
            fits |= (rows.kind == number) & (source == a) & (target == b)
    known = (source >= 0) & (target >= 0) & (rows.kind >= 0)
    for row in np.flatnonzero(known & ~fits).tolist():
        ends = f"a {_ROLE_WORDS[source[row]]} to a {_ROLE_WORDS[target[row]]}"
        yield row, f"goes from {ends}, which is no {KINDS[rows.kind[row]]}"
    for row in np.flatnonzero(known & fits & (rows.source == rows.target)).tolist():
        yield row, f"goes from {rows.said(row, 'source')!r} to itself"


def _overlaps(rows: Rows, nodes: Nodes, good: Bools) -> list[Finding]:
    """Good rows that begin before an earlier one of the same link has ended."""
    row = np.flatnonzero(good)
    link = rows.source[row] * len(nodes) + rows.target[row]
    order = np.lexsort((rows.end_s[row], rows.start_s[row], link))
    row, link = row[order], link[order]
    latest = _latest_before(link, rows.end_s[row])
    again = np.flatnonzero((latest >= 0) & (rows.end_s[row[latest]] > rows.start_s[row]))
    names = node_names(nodes)
    return [
        (
            int(row[later]),
            f"overlaps {rows.place(int(row[latest[later]]))} on the link from {names[rows.source[row[later]]]} "
            f"to {names[rows.target[row[later]]]}, which ends at {rows.end_s[row[latest[later]]]:.17g} s",
        )
        for later in again.tolist()
    ]


def _latest_before(link: Ints, end_s: Floats) -> NDArray[np.int64]:
    """For each row, sorted by link: the row of the same link, among those before it, that ends last; -1 if none."""
    if not len(link):
        return np.empty(0, dtype=np.int64)
    by_end = np.argsort(end_s, kind="stable")
    rank = np.empty(len(link), dtype=np.int64)
    rank[by_end] = np.arange(len(link))
    # Ranks of a later link are all above those of an earlier one, so the maximum never looks across links.
    group = np.cumsum(np.r_[0, link[1:] != link[:-1]])
    latest = by_end[np.maximum.accumulate(rank + group * len(link)) % len(link)]
    first = np.r_[True, link[1:] != link[:-1]]
    return np.where(first, -1, np.r_[-1, latest[:-1]])

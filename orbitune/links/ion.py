"""Contact plans for ION, the DTN software of NASA/JPL: the `a contact` and `a range` commands of ionadmin.

    a contact +start +stop source target rate        rate in bytes per second
    a range +start +stop one other distance          distance in light seconds, the same both ways if one < other

Reference: ionrc(5), the manual page of ION (nasa-jpl/ION-DTN, ici/doc/pod5/ionrc.pod). Times, rates and ranges are
whole numbers there. Writing rounds so that the file never promises more than the plan: windows inward, rates down,
delays up. For low orbits the last is coarse, as every delay of some milliseconds becomes one second. ION numbers nodes
from 1: ours plus one. What ION has no command for stands in `#` lines: the horizon, each node with its name and, for a
satellite, its plane and its place in it, and the kind of the contacts that follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import PlanError
from orbitune.files import write_whole
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.links.crossings import Bools, Floats, Spans
from orbitune.links.exchange import FORMAT, plan_heading
from orbitune.links.rows import Rows, checked_plan, node_names, read_text, refusal
from orbitune.links.spans import last_begun, union
from orbitune.units import BITS_PER_BYTE, LIGHT_SPEED_M_S

MOST_LINE_BYTES = 255
"""The longest line that ionadmin reads (ionadmin.c: `char line[256]`); so nodes have a line each."""

_SAID = re.compile(r"#\s*(format|horizon_s|planes|kind|node [0-9]+) = (.*)")
_ROLES = ("satellite", "station", "server")
_WORDS = {"contact": (7, 8), "range": (7,)}
"""How many words a command has; a contact may end in a confidence, which is not kept."""


@dataclass(frozen=True)
class IonLoss:
    """What rounding to whole seconds and bytes per second has cost.

    `dropped` contacts were left out, because no whole second or not one byte per second was left of them; `lost_s` and
    `lost_bytes` are open time and volume of the plan that the file does not have, those contacts included.
    """

    dropped: int
    lost_s: float
    lost_bytes: float


def write_ion(path: Path, plan: ContactPlan) -> IonLoss:
    """Write a plan as commands for ionadmin, and say what rounding cost. Seconds count from ION's reference time.

    Lost for good: fractions of seconds and of bytes per second, and ranges. (A range command gives the delay, rounded
    up; the longest of all contacts of the two nodes that overlap or touch.) Reading the file and writing it again
    changes nothing.

    Raises:
        PlanError: the name of a node is too long for a line of ionadmin.
        OSError: the file cannot be written.
    """
    start_s, end_s = np.ceil(plan.start_s), np.floor(plan.end_s)
    rate = np.floor(plan.rate_bps / BITS_PER_BYTE)
    keep = (start_s < end_s) & (rate >= 1.0)
    contacts = _contact_lines(plan, start_s, end_s, rate, keep)
    ranges = _range_lines(plan, start_s, end_s, keep)
    lines = ["# Contact plan for ionadmin.", *_heading_lines(plan), *contacts, *ranges, ""]
    write_whole(path, "\n".join(lines).encode())
    open_s = plan.end_s - plan.start_s
    kept_s, kept_bytes = (np.where(keep, x, 0.0) for x in (end_s - start_s, (end_s - start_s) * rate))
    lost_bytes = float((open_s * plan.rate_bps / BITS_PER_BYTE - kept_bytes).sum())
    return IonLoss(int((~keep).sum()), float((open_s - kept_s).sum()), lost_bytes)


def read_ion(path: Path, nodes: Nodes | None = None, numbers: Mapping[int, int] | None = None) -> ContactPlan:
    """Read the contacts and ranges of an ionadmin file; other commands are passed over.

    A file of `write_ion` says itself which nodes it is about. For any other, `nodes` has to say it, and `numbers` which
    ION number is which node (none: ION's 1 is node 0, and so on); kinds follow from what the nodes are, and the horizon
    is the end of the last contact. Each contact needs ranges over its whole span; its delay is the longest of them, its
    `range_m` that delay at the speed of light.

    Raises:
        InputError: the file cannot be read, is not about these nodes, or has absolute times (seconds from the start of
            the scenario are wanted), deleted or changed contacts, or a contact without a range; all are listed.
    """
    found = _Commands.read(path)
    if nodes is None:
        nodes, horizon_s = plan_heading(path, _heading(path, found.said), named=False)
    else:
        horizon_s = max((contact.end_s for contact in found.contacts), default=0.0)
    number = {node + 1: node for node in range(len(nodes))} if numbers is None else dict(numbers)
    delay_s = _delays(found)
    if found.problems or not horizon_s:
        raise refusal(path, sorted(found.problems, key=_line_of) or ["it has no contact"])
    return checked_plan(path, nodes, horizon_s, _rows(found.contacts, nodes, number, delay_s))


@dataclass(frozen=True)
class _Command:
    """One `a contact` or `a range`: `figure` is bytes per second or light seconds."""

    line: int
    start_s: float
    end_s: float
    one: int
    other: int
    figure: float
    kind: str | None


@dataclass(frozen=True)
class _Commands:
    """What a file says, in its order; `said` are the values in `#` lines."""

    said: dict[str, Any] = field(default_factory=dict)
    contacts: list[_Command] = field(default_factory=list)
    ranges: list[_Command] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> _Commands:
        found = cls()
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if line.startswith("#"):
                found._remark(line.strip())
            else:
                found._command(number, line.split())
        return found

    def _remark(self, line: str) -> None:
        match = _SAID.fullmatch(line)
        if match:
            try:
                self.said[match[1]] = json.loads(match[2])
            except json.JSONDecodeError:
                self.said[match[1]] = match[2]

    def _command(self, line: int, words: list[str]) -> None:
        letter, what = (*words, "", "")[:2]
        shown = f"line {line}: {' '.join(words)!r}"
        if letter == "@" and (self.contacts or self.ranges):
            self.problems.append(f"{shown} moves the reference time half way; count all times from one")
        if what not in _WORDS:
            return
        if letter in ("c", "d"):
            self.problems.append(f"{shown} changes the plan; only the commands 'a contact' and 'a range' can be read")
        if letter != "a" or words[2:3] == ["-1"] or words[3:4] == ["0"]:
            return  # also registrations and hypothetical contacts, which have no time
        if len(words) not in _WORDS[what]:
            self.problems.append(f"{shown} must have 5 values after 'a {what}'")
            return
        self._add(line, shown, what, words)

    def _add(self, line: int, shown: str, what: str, words: list[str]) -> None:
        start_s, end_s = (_whole(word[1:]) if word.startswith("+") else None for word in words[2:4])
        one, other, figure = map(_whole, words[4:7])
        if start_s is None or end_s is None:
            self.problems.append(f"{shown}: times must be whole seconds from the start of the plan, like +3600")
        elif one is None or other is None or figure is None:
            self.problems.append(f"{shown}: nodes, rates and ranges must be whole numbers, 0 or more")
        else:
            command = _Command(line, float(start_s), float(end_s), one, other, float(figure), self.said.get("kind"))
            (self.contacts if what == "contact" else self.ranges).append(command)


def _whole(word: str) -> int | None:
    return int(word) if re.fullmatch(r"[0-9]{1,15}", word) else None


def _line_of(problem: str) -> int:
    return int(problem.split()[1].rstrip(":"))


def _heading_lines(plan: ContactPlan) -> Iterator[str]:
    nodes = plan.nodes
    yield f"# format = {json.dumps(FORMAT)}"
    yield f"# horizon_s = {float(plan.horizon_s)!r}"
    yield f"# planes = {len(nodes.planes)}"
    place = {satellite: [p, n] for p, members in enumerate(nodes.planes) for n, satellite in enumerate(members)}
    for node, name in enumerate(node_names(nodes)):
        role = _ROLES[(node >= nodes.num_satellites) + (node == nodes.server)]
        line = f"# node {node + 1} = {json.dumps([name, role, *place.get(node, [])])}"
        if len(line) > MOST_LINE_BYTES:
            raise PlanError(f"the name {name!r} is too long for ionadmin, which reads {MOST_LINE_BYTES} bytes a line.")
        yield line


def _heading(path: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """The values in `#` lines as those of a plan's heading.

    Raises:
        InputError: the lines about nodes are not there or not as written.
    """
    if "node 1" not in said:
        words = "it has no '# node' lines that say which nodes are satellites and stations; give `nodes` to read_ion"
        raise refusal(path, [words])
    heading = {key: said[key] for key in ("format", "horizon_s") if key in said}
    entries = [said[f"node {number}"] for number in takewhile(lambda number: f"node {number}" in said, count(1))]
    try:
        names = {role: [entry[0] for entry in entries if entry[1] == role] for role in _ROLES}
        members = sorted((entry[2], entry[3], node) for node, entry in enumerate(entries) if entry[1] == "satellite")
        planes = [[node for plane, _, node in members if plane == p] for p in range(said["planes"])]
        if [name for role in _ROLES for name in names[role]] != [entry[0] for entry in entries]:
            raise ValueError
        if names["server"] != ["server"]:
            raise ValueError
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise refusal(
            path, ["its '# node' and '# planes' lines do not belong together; write the file anew"]
        ) from error
    return {**heading, "satellites": names["satellite"], "stations": names["station"], "planes": planes}


def _delays(found: _Commands) -> Floats:
    """The longest range over each contact; contacts that no ranges cover are added to the problems."""
    told = {(command.one, command.other) for command in found.ranges}
    number = {pair: row for row, pair in enumerate(sorted(told))}

    def applying(contact: _Command) -> int:
        """A range from the lower to the higher number goes for both ways, unless the other way is told as well."""
        there, back = (contact.one, contact.other), (contact.other, contact.one)
        return number.get(there, number.get(back, -1) if there > back else -1)

    ranges = _spans(found.ranges, [number[command.one, command.other] for command in found.ranges])
    joined = union(ranges)
    longest = np.zeros(len(joined) + 1)
    figures = np.array([command.figure for command in found.ranges])
    np.maximum.at(longest, last_begun(joined, ranges.row, ranges.start_s), figures)
    contacts = _spans(found.contacts, [applying(contact) for contact in found.contacts])
    place = last_begun(joined, contacts.row, contacts.start_s)
    covered = (place >= 0) & (np.append(joined.end_s, 0.0)[place] >= contacts.end_s)
    for row in np.flatnonzero(~covered).tolist():
        one, other, line = found.contacts[row].one, found.contacts[row].other, found.contacts[row].line
        words = f"no 'a range' covers this contact from {one} to {other}, so its delay is unknown; add one"
        found.problems.append(f"line {line}: {words}")
    delay_s: Floats = longest[place]
    return delay_s


def _spans(commands: Sequence[_Command], row: Sequence[int]) -> Spans:
    start_s, end_s = (np.array([getattr(one, name) for one in commands], np.float64) for name in ("start_s", "end_s"))
    return Spans(np.array(row, dtype=np.int64), start_s, end_s)


def _rows(contacts: Sequence[_Command], nodes: Nodes, number: Mapping[int, int], delay_s: Floats) -> Rows:
    number = {name: node for name, node in number.items() if 0 <= node < len(nodes)}
    ends = [(number.get(contact.one, -1), number.get(contact.other, -1)) for contact in contacts]
    source, target = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    kinds = [contact.kind or _kind_between(nodes, *pair) for contact, pair in zip(contacts, ends, strict=True)]
    said: dict[str, Sequence[object]] = {
        "source": [contact.one for contact in contacts],
        "target": [contact.other for contact in contacts],
        "rate_bps": [contact.figure for contact in contacts],
        "kind": kinds,
    }
    spans = _spans(contacts, range(len(contacts)))
    return Rows(
        lambda row: f"line {contacts[row].line}",
        lambda row, name: said[name][row],
        source,
        target,
        np.array([KINDS.index(kind) if kind in KINDS else -1 for kind in kinds], dtype=np.int64),
        spans.start_s,
        spans.end_s,
        np.array([contact.figure * BITS_PER_BYTE for contact in contacts]),
        delay_s * LIGHT_SPEED_M_S,
        delay_s,
    )


def _kind_between(nodes: Nodes, source: int, target: int) -> str:
    """The kind of a contact that joins two nodes."""
    if source in nodes.satellites and target in nodes.satellites:
        return "isl_intra" if nodes.plane_of[source] == nodes.plane_of[target] else "isl_inter"
    if source in nodes.satellites:
        return "downlink"
    return "uplink" if target in nodes.satellites else "backhaul"


def _contact_lines(plan: ContactPlan, start_s: Floats, end_s: Floats, rate: Floats, keep: Bools) -> Iterator[str]:
    for number, kind in enumerate(KINDS):
        rows = np.flatnonzero(keep & (plan.kind == number))
        # Rounding may have changed the order.
        rows = rows[np.lexsort((plan.target[rows], plan.source[rows], start_s[rows]))]
        if len(rows):
            yield f'# kind = "{kind}"'
        whole = (column[rows].astype(np.int64).tolist() for column in (start_s, end_s, rate))
        nodes = ((column[rows] + 1).tolist() for column in (plan.source, plan.target))
        for begin, end, figure, source, target in zip(*whole, *nodes, strict=True):
            yield f"a contact +{begin} +{end} {source} {target} {figure}"


def _range_lines(plan: ContactPlan, start_s: Floats, end_s: Floats, keep: Bools) -> Iterator[str]:
    """One range for each time in which a link is open in either direction, with its longest delay."""
    low, high = np.minimum(plan.source, plan.target)[keep], np.maximum(plan.source, plan.target)[keep]
    link = low.astype(np.int64) * len(plan.nodes) + high
    spans = union(Spans(link, start_s[keep], end_s[keep]))
    delay = np.zeros(len(spans))
    np.maximum.at(delay, last_begun(spans, link, start_s[keep]), np.ceil(plan.delay_s[keep]))
    one, other = np.divmod(spans.row, len(plan.nodes))
    whole = (column.astype(np.int64).tolist() for column in (spans.start_s, spans.end_s, one + 1, other + 1, delay))
    for begin, end, a, b, figure in zip(*whole, strict=True):
        yield f"a range +{begin} +{end} {a} {b} {figure}"

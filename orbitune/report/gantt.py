"""Who does what in one round: rows for the server, the stations, the planes and, opened up, their satellites.

A row shows the union of what its nodes do in each stage: activities closer than a hair's width are one bar, which
keeps the page small and readable however many chunks a transfer has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orbitune.links.contacts import Nodes
from orbitune.timeline.activity import Activity, Span, Timeline

GAP_SHARE = 1 / 400
"""Activities closer than this share of their stage are drawn as one: two pixels when the stage fills the figure."""

MAX_SATELLITE_BARS = 2500
"""Bars in the rows of single satellites, per method: about 250 kB of page."""

MAX_LANES = 3
"""Stages that run at once in one row share its height up to this number."""


@dataclass(slots=True)
class Bar:
    """A stretch in which a row is busy with one stage; seconds since the job began."""

    stage: str
    start_s: float
    end_s: float
    activities: int = 0
    size: int = 0
    peers: set[int] = field(default_factory=set)
    lane: int = 0


@dataclass(frozen=True, eq=False)
class Row:
    """One row: its nodes, and the bars of each. `plane` is the plane of a satellite's row, else -1."""

    label: str
    kind: str
    members: frozenset[int]
    plane: int = -1
    bars: tuple[Bar, ...] = ()

    @property
    def lanes(self) -> int:
        """Lanes that the bars need."""
        return 1 + max((bar.lane for bar in self.bars), default=0)


@dataclass(frozen=True)
class Chart:
    """One round of one method."""

    method: str
    index: int
    rounds: int
    start_s: float
    end_s: float
    spans: tuple[Span, ...]
    rows: tuple[Row, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages in order of first appearance."""
        return tuple(dict.fromkeys(span.stage for span in self.spans))


def chart_of(timeline: Timeline, nodes: Nodes) -> Chart | None:
    """The chart of the round worth looking at, or None where no round was planned."""
    index = round_to_show(timeline)
    return None if index is None else round_chart(timeline, nodes, index)


def round_chart(timeline: Timeline, nodes: Nodes, index: int) -> Chart | None:
    """The chart of one round of training; None where the timeline has no such round."""
    spans = tuple(span for span in timeline.spans if span.phase == "train" and span.round == index)
    activities = [a for a in timeline.activities if a.phase == "train" and a.round == index]
    return _chart(timeline, nodes, index, spans, activities)


def job_chart(timeline: Timeline, nodes: Nodes) -> Chart | None:
    """The chart of the whole job; None of a job without stages."""
    return _chart(timeline, nodes, 0, timeline.spans, timeline.activities)


def _chart(
    timeline: Timeline, nodes: Nodes, index: int, spans: tuple[Span, ...], activities: Sequence[Activity]
) -> Chart | None:
    if not spans:
        return None
    start_s, end_s = min(span.start_s for span in spans), max(span.end_s for span in spans)
    lasting = [activity for activity in activities if activity.end_s > activity.start_s]
    rows = _filled(_rows(nodes), lasting, spans)
    return Chart(timeline.method, index, timeline.rounds, start_s, end_s, spans, rows)


def round_to_show(timeline: Timeline) -> int | None:
    """The second round, since the first may also set things up; where that sends nothing, the first that does."""
    rounds = {span.round for span in timeline.spans if span.phase == "train"}
    sending = {a.round for a in timeline.activities if a.phase == "train" and a.kind == "send"}
    for candidates in (rounds & sending, rounds):
        if candidates:
            return 1 if 1 in candidates else min(candidates)
    return None


def _rows(nodes: Nodes) -> list[Row]:
    """All rows, empty: server, stations, then each plane followed by its satellites."""
    rows = [Row("server", "server", frozenset({nodes.server}))]
    rows += [Row(nodes.name(station), "station", frozenset({station})) for station in nodes.stations]
    for plane, members in enumerate(nodes.planes):
        rows.append(Row(f"plane {plane}", "plane", frozenset(members), plane))
        rows += [Row(nodes.name(member), "satellite", frozenset({member}), plane) for member in members]
    return rows


def _filled(rows: Sequence[Row], activities: Sequence[Activity], spans: Sequence[Span]) -> tuple[Row, ...]:
    """The rows with their bars; satellites are drawn more coarsely until they fit the page."""
    groups = [row for row in rows if row.kind != "satellite"]
    singles = [row for row in rows if row.kind == "satellite"]
    gaps = _gaps(spans)
    bars = _bars(groups, activities, gaps)
    coarser = dict(gaps)
    found = _bars(singles, activities, coarser)
    while sum(map(len, found.values())) > MAX_SATELLITE_BARS and len(coarser) and min(coarser.values()) < _total(spans):
        coarser = {stage: gap * 3 for stage, gap in coarser.items()}
        found = {row: _joined(fine, coarser) for row, fine in found.items()}
    bars |= found
    return tuple(Row(row.label, row.kind, row.members, row.plane, _laned(bars[row])) for row in rows)


def _total(spans: Sequence[Span]) -> float:
    return sum(span.duration_s for span in spans)


def _gaps(spans: Sequence[Span]) -> dict[str, float]:
    """The longest gap that is closed, by stage."""
    shortest: dict[str, float] = {}
    for span in spans:
        if span.duration_s > 0:
            shortest[span.stage] = min(span.duration_s, shortest.get(span.stage, span.duration_s))
    return {stage: seconds * GAP_SHARE for stage, seconds in shortest.items()}


def _bars(rows: Sequence[Row], activities: Iterable[Activity], gaps: Mapping[str, float]) -> dict[Row, list[Bar]]:
    """Union of the activities of each row, stage by stage; activities come in order of start."""
    row_of = {node: row for row in rows for node in row.members}
    found: dict[Row, list[Bar]] = {row: [] for row in rows}
    last: dict[tuple[Row, str], Bar] = {}
    for activity in activities:
        ends = {row_of.get(activity.node), row_of.get(activity.peer)} - {None}
        for row in ends:
            assert row is not None
            bar = last.get((row, activity.stage))
            if bar is None or activity.start_s > bar.end_s + gaps.get(activity.stage, 0.0):
                bar = last[row, activity.stage] = Bar(activity.stage, activity.start_s, activity.end_s)
                found[row].append(bar)
            _extend(bar, activity, row)
    return found


def _joined(fine: Iterable[Bar], gaps: Mapping[str, float]) -> list[Bar]:
    """Bars of one row, in order of start, with longer gaps closed."""
    found: list[Bar] = []
    last: dict[str, Bar] = {}
    for bar in fine:
        before = last.get(bar.stage)
        if before is None or bar.start_s > before.end_s + gaps.get(bar.stage, 0.0):
            last[bar.stage] = bar
            found.append(bar)
            continue
        before.end_s = max(before.end_s, bar.end_s)
        before.activities += bar.activities
        before.size += bar.size
        before.peers |= bar.peers
    return found


def _extend(bar: Bar, activity: Activity, row: Row) -> None:
    bar.end_s = max(bar.end_s, activity.end_s)
    bar.activities += 1
    if activity.kind == "send" and activity.payload is not None:
        bar.size += activity.payload.size
        bar.peers |= {activity.node, activity.peer} - row.members


def _laned(bars: Iterable[Bar]) -> tuple[Bar, ...]:
    """Bars of different stages that overlap get lanes of their own, each stage staying in one."""
    ordered = sorted(bars, key=lambda bar: (bar.start_s, bar.stage))
    free_s: dict[int, float] = defaultdict(float)
    for bar in ordered:
        slack = 0.05 * (bar.end_s - bar.start_s)
        free = [lane for lane in range(MAX_LANES) if free_s[lane] <= bar.start_s + slack]
        bar.lane = free[0] if free else MAX_LANES - 1
        free_s[bar.lane] = max(free_s[bar.lane], bar.end_s)
    return tuple(ordered)

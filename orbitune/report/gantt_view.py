"""Draws the charts of `gantt`: one tab per method, a button per stage to look closer, planes that open up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orbitune.links.contacts import Nodes
from orbitune.report import amounts
from orbitune.report.axes import time_axis
from orbitune.report.frame import figure, missing, switch
from orbitune.report.gantt import Bar, Chart, Row
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.plot import percentage
from orbitune.report.stages import Looks

ROW_HEIGHT = 18
"""Pixels of a row, and units of its drawing."""

NAMED_PEERS = 3


def draw(charts: Sequence[Chart], nodes: Nodes | None, look: Looks) -> Markup:
    """All charts in one figure; the first is shown."""
    if not charts or nodes is None:
        return missing("gantt", "No timeline is stored in this run, so there is no round to show.")
    names = [(chart.method, chart.method) for chart in charts]
    tabs = switch("gantt", "Method", names, charts[0].method) if len(charts) > 1 else None
    blocks = [_chart(chart, nodes, look, chart is charts[0]) for chart in charts]
    return figure(
        "gantt",
        tag("div", tabs, class_="toolbar"),
        blocks,
        caption="One round, from its own start. A bar is the union of what the row does in that stage, sending and "
        "receiving alike; a plane's row is the union over its satellites; empty stretches are waiting. Press a "
        "stage to look closer, a plane to see its satellites.",
    )


def _chart(chart: Chart, nodes: Nodes, look: Looks, shown: bool) -> Markup:
    idle = [row.label for row in chart.rows if row.kind == "station" and not row.bars]
    body = tag("div", lanes(chart, nodes, look, chart.stages), axis(chart), class_="lanes", role="group",
               aria_label=f"Activities of round {chart.index + 1}")  # fmt: skip
    return tag(
        "div",
        tag("p", _sentence(chart, idle), class_="note"),
        zoom(chart, look, "whole round"),
        body,
        class_="gantt",
        data_choice=chart.method,
        data_start=chart.start_s,
        data_length=chart.end_s - chart.start_s,
        data_stages="\n".join(chart.stages),
        hidden=not shown,
    )


def lanes(chart: Chart, nodes: Nodes, look: Looks, stages: Sequence[str]) -> list[Markup]:
    """The stages, then a row for everyone who works or belongs to a plane; `stages` gives their numbers."""
    rows = [_row(chart, row, nodes, look, stages) for row in chart.rows if row.bars or row.kind in ("plane", "server")]
    return [_strip(chart, look, stages), *rows]


def _sentence(chart: Chart, idle: Sequence[str]) -> str:
    length = amounts.duration(chart.end_s - chart.start_s)
    text = f"Round {chart.index + 1} of {chart.rounds}: {length}, from {amounts.moment(chart.start_s)} to "
    text += f"{amounts.moment(chart.end_s)} of the job."
    return text + (f" Stations without work in it: {', '.join(idle)}." if idle else "")


def zoom(chart: Chart, look: Looks, whole: str) -> Markup:
    """A button for the `whole` chart, and one per stage with its seconds; each shows that stage over the full width."""
    buttons = [tag("button", whole, type="button", data_zoom="", aria_pressed="true")]
    for stage in chart.stages:
        spans = [span for span in chart.spans if span.stage == stage]
        windows = ";".join(
            f"{_seconds(chart, span.start_s - chart.start_s)},{_seconds(chart, span.duration_s)}"
            for span in spans
            if span.duration_s > 0
        )
        many = f" in {len(spans)} parts" if len(spans) > 1 else ""
        total = amounts.duration(sum(span.duration_s for span in spans))
        swatch = tag("i", class_=f"swatch {look.class_of(stage)}")
        words = (swatch, tag("span", stage), tag("small", f"{total}{many}"))
        buttons.append(tag("button", words, type="button", data_zoom=windows, aria_pressed="false",
                           disabled=not windows,
                           title=None if windows else "too short to be drawn larger"))  # fmt: skip
    return tag("div", buttons, class_="zoom", role="group", aria_label="Look closer at a stage")


def _seconds(chart: Chart, value: float) -> str:
    """Seconds to a ten-millionth of the round, which is as fine as a drawing goes."""
    length_s = chart.end_s - chart.start_s
    decimals = max(0, 6 - math.floor(math.log10(length_s))) if length_s > 0 else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _width(chart: Chart, length_s: float) -> str:
    """Width of a bar; never nothing, since bars without width are not drawn, their outline neither."""
    return _seconds(chart, max(length_s, (chart.end_s - chart.start_s) * 1e-6))


def _drawing(chart: Chart, *children: Child) -> Markup:
    box = f"0 0 {_seconds(chart, chart.end_s - chart.start_s)} {ROW_HEIGHT}"
    return tag("svg", *children, viewBox=box, preserveAspectRatio="none", aria_hidden="true")


def _strip(chart: Chart, look: Looks, stages: Sequence[str]) -> Markup:
    """The stages themselves, one after the other."""
    pieces = [
        tag(
            "rect",
            x=_seconds(chart, span.start_s - chart.start_s),
            width=_width(chart, span.duration_s),
            height=ROW_HEIGHT,
            class_=look.class_of(span.stage),
            data_s=stages.index(span.stage),
        )
        for span in chart.spans
        if span.duration_s > 0
    ]
    return tag("div", tag("span", "stage", class_="lane-label"), _drawing(chart, pieces), class_="lane strip")


def _row(chart: Chart, row: Row, nodes: Nodes, look: Looks, stages: Sequence[str]) -> Markup:
    groups = []
    for number_, stage in enumerate(stages):
        bars = [_bar(chart, row, bar, nodes) for bar in row.bars if bar.stage == stage]
        if bars:
            groups.append(tag("g", bars, class_=look.class_of(stage), data_s=number_))
    return tag(
        "div",
        _row_label(row),
        _drawing(chart, groups),
        class_=f"lane {row.kind}",
        data_plane=f"{row.plane}" if row.kind == "satellite" else None,
        hidden=row.kind == "satellite",
    )


def _row_label(row: Row) -> Markup:
    if row.kind != "plane":
        return tag("span", row.label, class_="lane-label")
    size = tag("small", f"{len(row.members)}")
    return tag("button", row.label, size, type="button", class_="lane-label", data_open=f"{row.plane}",
               aria_expanded="false", title=f"Show the {len(row.members)} satellites of {row.label}")  # fmt: skip


def _bar(chart: Chart, row: Row, bar: Bar, nodes: Nodes) -> Markup:
    height = ROW_HEIGHT / row.lanes
    return tag(
        "rect",
        x=_seconds(chart, bar.start_s - chart.start_s),
        y=bar.lane * height if bar.lane else None,
        width=_width(chart, bar.end_s - bar.start_s),
        height=height,
        data_t=_words(row, bar, nodes),
    )


def _words(row: Row, bar: Bar, nodes: Nodes) -> str:
    """What the tooltip adds to row, stage and time: how much, and with whom."""
    if not bar.size:
        return "computes" if bar.activities == 1 else f"{bar.activities} computations"
    text = f"{amounts.volume(bar.size)} in {amounts.count(bar.activities, 'send')}"
    names = [nodes.name(peer) for peer in sorted(bar.peers)]
    if not names:
        return f"{text}, inside the plane"
    more = f" and {len(names) - NAMED_PEERS} more" if len(names) > NAMED_PEERS else ""
    return f"{text}, with {', '.join(names[:NAMED_PEERS])}{more}"


def axis(chart: Chart) -> Markup:
    """Time since the chart's own start."""
    scale = time_axis(chart.end_s - chart.start_s, amounts.duration, 5)
    labels = [tag("span", label, style=f"left:{percentage(scale.share(value))}") for value, label in scale.ticks]
    return tag("div", tag("span", class_="lane-label"), tag("div", labels, class_="ticks"), class_="lane axis")

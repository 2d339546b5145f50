"""Bars: bytes over each kind of link, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence

from orbitune.links.contacts import KINDS
from orbitune.report import amounts
from orbitune.report.axes import Axis, linear_axis, log_axis
from orbitune.report.content import Content, Result
from orbitune.report.figures import colour_of
from orbitune.report.frame import colour_legend, figure, missing, switch
from orbitune.report.markup import Markup, tag
from orbitune.report.palette import FAMILIES
from orbitune.report.plot import percentage
from orbitune.report.stages import Looks

LOG_BYTES_FROM = 30.0
"""Above this ratio of largest to smallest a linear axis would hide the small bars."""

NAMED_FROM = 5
"""With more methods than this, colours alone do not tell bars apart: each has its method's name, and those of methods
that send nothing are left out."""

SAME_AXIS_UP_TO = 8.0
"""Up to this ratio of longest to shortest method, both are readable on one time axis."""

KIND_WORDS = {
    "downlink": ("Downlink", "satellite to station"),
    "uplink": ("Uplink", "station to satellite"),
    "isl_intra": ("Links inside a plane", "satellite to satellite"),
    "isl_inter": ("Links between planes", "satellite to satellite"),
    "backhaul": ("Backhaul", "station to server and back"),
}


# -- bytes -----------------------------------------------------------------------------------------------------------


def link_bytes(content: Content) -> Markup:
    """Bytes over each kind of link, by method."""
    rows = [row for row in content.results if row.bytes]
    sizes = [size for row in rows for size in row.bytes.values() if size > 0]
    if not sizes:
        return missing(
            "bytes", "No method of this run sent anything, or none has finished: there are no bytes to show."
        )
    log = max(sizes) / min(sizes) > LOG_BYTES_FROM
    axis = log_axis(min(sizes) / 2, max(sizes), amounts.volume) if log else _linear(max(sizes))
    groups = [_group(content, rows, kind, axis) for kind in KINDS]
    class_ = "bars named" if len(rows) > NAMED_FROM else "bars"
    legend = colour_legend([(row.method, colour_of(content, row.method)) for row in rows])
    scale = "The axis is logarithmic: compare bars by their printed values." if log else "The axis starts at zero."
    caption = f"Bytes sent over each kind of link in the whole job, every hop counted. {scale}"
    return figure("bytes", legend, tag("div", groups, _ticks(axis), class_=class_), caption=caption)


def _linear(high: float) -> Axis:
    return linear_axis(0.0, high, amounts.volume, 5)


def _group(content: Content, rows: Sequence[Result], kind: str, axis: Axis) -> Markup:
    title, between = KIND_WORDS[kind]
    many = len(rows) > NAMED_FROM
    shown = [row for row in rows if row.bytes.get(kind, 0.0) > 0 or not many]
    bars = [_bar(row.method, row.bytes.get(kind, 0.0), colour_of(content, row.method), axis, many) for row in shown]
    silent = ", ".join(row.method for row in rows if row not in shown)
    bars += [tag("p", f"nothing: {silent}", class_="note")] if silent else []
    label = tag("div", tag("b", title), tag("small", between), class_="group-label")
    return tag("div", label, tag("div", _rules(axis), bars, class_="group-bars"), class_="group")


def _bar(method: str, size: float, colour: str, axis: Axis, named: bool) -> Markup:
    words = (amounts.volume(size) if size else "nothing") + (f"{amounts.SPACE} {method}" if named else "")
    value = tag("span", words, class_="value" if size else "value none")
    fill = tag("i", style=f"width:{percentage(axis.share(size))};--c:{colour}") if size else None
    return tag("div", fill, value, class_="bar", aria_label=f"{method}: {amounts.volume(size)}", role="img")


def _rules(axis: Axis) -> list[Markup]:
    return [tag("u", style=f"left:{percentage(axis.share(value))}") for value, _ in axis.ticks]


def _ticks(axis: Axis) -> Markup:
    labels = [tag("span", label, style=f"left:{percentage(axis.share(value))}") for value, label in axis.ticks]
    return tag("div", tag("div", class_="group-label"), tag("div", labels, class_="bar-ticks"), class_="group axis",
               aria_hidden="true")  # fmt: skip


# -- stages ----------------------------------------------------------------------------------------------------------


def stages(content: Content, look: Looks) -> Markup:
    """Where the time goes: one stacked bar per method, and every stage with its seconds."""
    rows = [row for row in content.results if sum(row.stages.values()) > 0]
    if not rows:
        return missing("stages", "No method of this run has finished planning, so there are no stages to show.")
    totals = [sum(row.stages.values()) for row in rows]
    chosen = "same" if max(totals) / min(totals) <= SAME_AXIS_UP_TO else "share"
    options = (("share", "share of time"), ("same", "same time axis"))
    blocks = [_stack(row, look, max(totals)) for row in rows]
    alone = " Times are of the first seed." if len(content.seeds) > 1 else ""
    bar = tag("div", _families(rows, look), switch("stages", "Length of the bars", options, chosen), class_="toolbar")
    return figure(
        "stages",
        bar,
        tag("div", blocks, class_=f"stacks {chosen}"),
        caption="Simulated time by stage over the whole job. Colour says what a stage mostly does; shades tell stages "
        f"of one colour apart. The outlined stage takes most of the time.{alone}",
    )


def _families(rows: Sequence[Result], look: Looks) -> Markup:
    seen = {look.of(stage)[0] for row in rows for stage in row.stages}
    return colour_legend([(words, f"var(--family-{family})") for family, words in FAMILIES.items() if family in seen])


def _stack(row: Result, look: Looks, longest: float) -> Markup:
    total = sum(row.stages.values())
    top = max(row.stages, key=lambda stage: row.stages[stage])
    ranked = sorted(row.stages.items(), key=lambda item: -item[1])
    pieces = [_piece(stage, seconds, total, look, stage == top) for stage, seconds in row.stages.items() if seconds > 0]
    items = [_item(stage, seconds, total, look, stage == top) for stage, seconds in ranked if seconds > 0]
    title = tag("h3", row.method, tag("span", amounts.duration(total)))
    stopped = f" Planning stopped early: {row.stopped}" if row.stopped else ""
    limiting = tag("p", tag("b", "Limited by: "), row.limiting or top, stopped, class_="note")
    width = f"--w:{percentage(total / longest)}"
    return tag(
        "div", title, tag("div", pieces, class_="stack", style=width), limiting, tag("ul", items), class_="method"
    )


def _piece(stage: str, seconds: float, total: float, look: Looks, top: bool) -> Markup:
    share = seconds / total
    tip = f"{stage}: {amounts.duration(seconds)}, {amounts.small_percent(share)}"
    class_ = look.class_of(stage) + (" top" if top else "")
    return tag("i", class_=class_, style=f"flex-grow:{max(share, 1e-4):.5f}", data_tip=tip)


def _item(stage: str, seconds: float, total: float, look: Looks, top: bool) -> Markup:
    return tag(
        "li",
        tag("i", class_=f"swatch {look.class_of(stage)}"),
        tag("span", stage),
        tag("span", amounts.duration(seconds), class_="number"),
        tag("span", amounts.small_percent(seconds / total), class_="number"),
        class_="top" if top else None,
    )

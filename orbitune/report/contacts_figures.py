"""Distributions, links between satellites and rates of a contact plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orbitune.report import amounts
from orbitune.report.axes import linear_axis, time_axis
from orbitune.report.bars import KIND_WORDS
from orbitune.report.frame import figure, missing, series_legend, table
from orbitune.report.markup import Child, Markup, join, number, tag
from orbitune.report.plot import Plot, Point, Series, draw, frame

_UNITS = 1000
"""Width and height of a drawing that stretches with the page."""

_LINES = {"isl_intra": "within planes", "isl_inter": "between planes"}


def _colour(kind: str) -> str:
    return f"var(--family-{kind})"


# -- passes and gaps ---------------------------------------------------------------------------------------------------


def distributions(content: Mapping[str, Any]) -> Markup:
    """Lengths of passes and of gaps, side by side."""
    durations, gaps = content["durations"], content["gaps"]
    panels = [
        _panel("Passes", durations, ("pass", "passes"), "downlink", _cut_passes(durations)),
        _panel("Gaps", gaps, ("gap", "gaps"), "other", _cut_gaps(gaps)),
    ]
    return figure(
        "lengths",
        tag("div", panels, class_="panels distributions"),
        caption="Over the whole plan, all satellites together. A pass is one satellite over one station, above its "
        "mask; a gap is a time in which a satellite sees no station.",
    )


def _cut_passes(found: Mapping[str, Any]) -> str:
    return f" {found['cut']:,} more are cut by the ends of the plan and not counted." if found["cut"] else ""


def _cut_gaps(found: Mapping[str, Any]) -> str:
    many = "them are" if found["cut"] > 1 else "them is"
    return f" {found['cut']:,} of {many} cut by the ends of the plan." if found["cut"] else ""


def _panel(title: str, found: Mapping[str, Any], noun: tuple[str, str], colour: str, cut: str) -> Markup:
    """One distribution with its key figures below."""
    heading = tag("h3", title)
    if not found["number"]:
        return tag("div", heading, tag("p", f"No {noun[0]} lies within the plan.{cut}", class_="missing"))
    note = (
        f"{amounts.count(found['number'], *noun)}: median {amounts.duration(found['median_s'])}, shortest "
        f"{amounts.duration(found['shortest_s'])}, longest {amounts.duration(found['longest_s'])}.{cut}"
    )
    drawing = _columns(found, title, noun, _colour(colour))
    return tag("div", heading, drawing, tag("p", note, class_="note"), class_="columns")


def _columns(found: Mapping[str, Any], title: str, noun: tuple[str, str], colour: str) -> Markup:
    """Counts as columns over time; the script shows the tips of the points, which are the tops of the columns."""
    counts, width_s = found["counts"], float(found["width_s"])
    unit_s, unit = amounts.time_unit(width_s * len(counts))
    x = linear_axis(0.0, len(counts) * width_s / unit_s, amounts.digits, 5, fit=False)
    y = linear_axis(0.0, max(counts), lambda value: f"{value:,.0f}" if value == int(value) else "", 4)
    step, tips = _UNITS / len(counts), _column_tips(found, noun)
    parts: list[Markup] = []
    for place, (many, tip) in enumerate(zip(counts, tips, strict=True)):
        height = (1 - y.share(many)) * _UNITS
        parts.append(tag("rect", x=place * step, y=0, width=step, height=_UNITS, class_="whole", data_tip=tip))
        parts.append(tag("rect", x=place * step, y=height, width=step, height=_UNITS - height, class_="column"))
    points = join(
        [",", number((place + 0.5) / len(counts)), ",", number(1 - y.share(many))] for place, many in enumerate(counts)
    )
    group = tag("g", parts, data_points=points[1:], data_tips="\n".join(tip.replace(": ", " · ") for tip in tips),
                style=f"--c:{colour}")  # fmt: skip
    lines = [tag("path", d=f"M0 {number((1 - y.share(value)) * _UNITS)}h{_UNITS}") for value, _ in y.ticks]
    svg = tag("svg", tag("g", lines, class_="grid"), group, viewBox=f"0 0 {_UNITS} {_UNITS}",
              preserveAspectRatio="none", aria_hidden="true")  # fmt: skip
    words = f"{title}: number by length in {unit}. Arrow keys step through the columns."
    return frame(x, y, (f"length in {unit}", f"number of {noun[1]}"), words, [svg])


def _column_tips(found: Mapping[str, Any], noun: tuple[str, str]) -> list[str]:
    width_s, total = float(found["width_s"]), int(found["number"])
    return [
        f"{amounts.duration(place * width_s)} to {amounts.duration((place + 1) * width_s)}: "
        f"{amounts.count(many, *noun)}: {amounts.small_percent(many / total)}"
        for place, many in enumerate(found["counts"])
    ]


# -- links between satellites ------------------------------------------------------------------------------------------


def links(content: Mapping[str, Any]) -> list[Markup]:
    """How many links are up over time, what they amount to, and how long windows last that are not permanent."""
    kinds = {kind: found for kind, found in content["links"].items() if found["links"]}
    if not kinds:
        return [missing("links", "This plan has no links between satellites.")]
    rows = [_link_row(kind, found) for kind, found in kinds.items()]
    head = ("Kind", "Links", "Windows", "Permanent", "Up, mean", "Median window", "Longest window")
    panels = [
        _panel(f"Windows {_LINES[kind]}", found["durations"], ("window", "windows"), kind, _cut_windows(found))
        for kind, found in kinds.items()
        if found["durations"]["number"]
    ]
    return [
        figure("links", tag("div", _legend(kinds), class_="toolbar"),
               tag("div", _links_plot(content, kinds), class_="many-points over-time"),
               tag("div", panels, class_="panels distributions") if panels else None,
               caption="Links that are up at one time, each counted once for its two directions. A permanent link is "
               "up from the first to the last second of the plan."),
        tag("div", table(head, rows, "Links between satellites", "numbers"), class_="companion"),
    ]  # fmt: skip


def _cut_windows(found: Mapping[str, Any]) -> str:
    cut = found["durations"]["cut"]
    return f" {cut:,} more are cut by one end of the plan and not counted." if cut else ""


def _link_row(kind: str, found: Mapping[str, Any]) -> list[Child]:
    durations = found["durations"]
    return [
        KIND_WORDS[kind][0],
        f"{found['links']:,}",
        f"{found['windows']:,}",
        f"{found['permanent']:,}",
        amounts.percent(found["share"]),
        amounts.duration(durations.get("median_s")),
        amounts.duration(durations.get("longest_s")),
    ]


def _legend(kinds: Iterable[str]) -> Markup:
    return series_legend([(kind, _LINES[kind], _colour(kind), kind == "isl_inter") for kind in kinds])


def _links_plot(content: Mapping[str, Any], kinds: Mapping[str, Mapping[str, Any]]) -> Markup:
    shown_s = float(content["windows"]["shown_s"])
    unit_s, unit = amounts.time_unit(shown_s)
    series = tuple(
        Series(
            kind,
            _LINES[kind],
            _colour(kind),
            tuple(_up_point(kind, *one) for one in found["up"]),
            dashed=kind == "isl_inter",
            direct=False,
        )
        for kind, found in kinds.items()
    )
    high = max(point.y for line in series for point in line.points)
    x = time_axis(shown_s, lambda seconds: amounts.digits(seconds / unit_s), 8)
    y = linear_axis(0.0, max(1.0, high), amounts.digits, 5)
    title = f"Links up over time in {unit}. Arrow keys step through the values."
    return draw(Plot(x, y, series, f"{unit} from the start", "links up", title))


def _up_point(kind: str, moment_s: float, many: float) -> Point:
    return Point(moment_s, many, f"{amounts.clock(moment_s)} · {amounts.count(int(many), 'link')} {_LINES[kind]}")


# -- rates -------------------------------------------------------------------------------------------------------------


def rates(content: Mapping[str, Any]) -> list[Markup]:
    """Rates and volumes by kind, and how they change along an example where they do."""
    figures = content["figures"]
    rows = [_rate_row(kind, found, figures) for kind, found in content["rates"].items() if found]
    head = ("Kind", "Contacts", "Lowest rate", "Mean rate", "Highest rate", "Volume per day")
    examples = [_example(one) for one in content["examples"]]
    words = (
        "Volumes are what all contacts could carry. A station with fewer antennas than satellites in view cannot use "
        "all of them at once, and links between satellites share the terminals of their ends."
    )
    body = table(head, rows, "Rates and volumes by kind of link", "numbers")
    notes = [words] if examples else ["The rate of every contact is constant.", words]
    return [body, *(tag("p", note, class_="note") for note in notes), *examples]


def _rate_row(kind: str, found: Mapping[str, float], figures: Mapping[str, Any]) -> list[Child]:
    return [
        join([KIND_WORDS[kind][0], tag("small", KIND_WORDS[kind][1])]),
        f"{figures['contacts'][kind]:,}",
        *(amounts.rate(found[name]) for name in ("min_bps", "mean_bps", "max_bps")),
        amounts.volume(figures["volume_per_day_bytes"][kind]),
    ]


def _example(found: Mapping[str, Any]) -> Markup:
    """One window with a drawing for each kind in it."""
    start_s, whole_s = float(found["start_s"]), float(found["whole_s"])
    panels = [_rate_panel(kind, pieces, found) for kind, pieces in found["rates"].items() if pieces]
    shown_s = float(found["end_s"]) - start_s
    cut = f", of which the first {amounts.duration(shown_s)} are drawn" if shown_s < whole_s else ""
    name = "rates-" + "-".join(found["rates"])
    return figure(
        name,
        tag("div", panels, class_="panels distributions many-points"),
        caption=f"Example: {found['from']} and {found['to']} from {amounts.clock(start_s)}, "
        f"{amounts.duration(whole_s)}{cut}. It is the window whose rate changes most often.",
    )


def _rate_panel(kind: str, pieces: Sequence[Sequence[float]], found: Mapping[str, Any]) -> Markup:
    start_s, end_s = float(found["start_s"]), float(found["end_s"])
    unit_s, unit = amounts.time_unit(end_s - start_s)
    points = _staircase(pieces, start_s, unit_s)
    high = max(point.y for point in points)
    scale, label = _rate_scale(high)
    points = tuple(Point(point.x, point.y / scale, point.tip) for point in points)
    line = Series(kind, KIND_WORDS[kind][0], _colour(kind), points, direct=False)
    x = linear_axis(0.0, (end_s - start_s) / unit_s, amounts.digits, 6, fit=False)
    title = f"{KIND_WORDS[kind][0]}: rate over time. Arrow keys step through the values."
    plot = Plot(x, linear_axis(0.0, high / scale, amounts.digits, 4), (line,), f"{unit} from its start", label, title)
    return tag("div", tag("h3", KIND_WORDS[kind][0]), draw(plot))


def _rate_scale(high_bps: float) -> tuple[float, str]:
    """The unit of an axis of rates: bit/s in it, and its name."""
    units: tuple[tuple[float, str], ...] = ((1e12, "Tbit/s"), (1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"))
    return next((unit for unit in units if high_bps >= unit[0]), (1.0, "bit/s"))


def _staircase(pieces: Sequence[Sequence[float]], start_s: float, unit_s: float) -> tuple[Point, ...]:
    """Both ends of every piece; between pieces that do not touch the rate is nothing."""
    found: list[Point] = []
    before_s = pieces[0][0]
    for begin_s, end_s, rate_bps in pieces:
        if begin_s > before_s:
            found += [Point((edge_s - start_s) / unit_s, 0.0, "no link") for edge_s in (before_s, begin_s)]
        tip = f"{amounts.rate(rate_bps)} · {amounts.duration(begin_s - start_s)} to {amounts.duration(end_s - start_s)}"
        found += [Point((edge_s - start_s) / unit_s, rate_bps, tip) for edge_s in (begin_s, end_s)]
        before_s = end_s
    return tuple(found)

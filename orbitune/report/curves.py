"""The first figure: accuracy against what it costs, in simulated time, bytes or energy; all methods together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orbitune.report import amounts
from orbitune.report.axes import Axis, fitted_log_axis, linear_axis, log_time_axis, time_axis
from orbitune.report.content import RANDOM, Content, Round
from orbitune.report.figures import colour_of, ordered_metrics, start_words
from orbitune.report.frame import details, figure, missing, series_legend, switch, table
from orbitune.report.markup import Markup, tag
from orbitune.report.plot import Plot, Point, Series, draw

LOG_FROM = 10.0
"""Where the dearest method takes this many times the cheapest, the axis is logarithmic at first."""

MANY_LINES = 5
"""Above this number of lines their bands are drawn lighter."""

MOST_TICKS = 5

COLUMNS = 4
"""Methods side by side in a table of values."""


@dataclass(frozen=True)
class Cost:
    """What accuracy is drawn against: its words on the switch and the axis, its value of a round, and its text."""

    key: str
    title: str
    value: Callable[[Round], float | None]
    text: Callable[[float | None], str]


COSTS = (
    Cost("time", "simulated time", lambda row: row.time_s, amounts.duration),
    Cost("bytes", "sent over all links but the backhaul", lambda row: row.sent_bytes, amounts.volume),
    Cost("energy", "energy of the satellites", lambda row: row.energy_j, amounts.energy),
)


def accuracy(content: Content) -> Markup:
    """One line per method; a switch for what it is drawn against, and one for the axis."""
    names = ordered_metrics(content)
    if not names:
        return missing("accuracy", "This run planned only: nothing was trained, so there is no accuracy to show.")
    rows = {name: [row for row in content.metrics[name] if row.accuracy is not None] for name in names}
    costs = [cost for cost in COSTS if all(cost.value(row) is not None for name in names for row in rows[name])]
    drawn = {cost.key: tuple(_series(content, cost, name, rows[name]) for name in names)
             for cost in costs}  # fmt: skip
    chosen = "log" if _ratio(drawn["time"]) >= LOG_FROM else "linear"
    body = [
        tag("div", draw(_plot(content, cost, drawn[cost.key], kind)),
            data_choice=f"{cost.key} {kind}" if len(costs) > 1 else kind, hidden=(cost.key, kind) != ("time", chosen))
        for cost in costs for kind in ("linear", "log")
    ]  # fmt: skip
    legend = series_legend([(line.key, start_words(line.key), line.colour, line.dashed) for line in drawn["time"]])
    against = switch("against", "Accuracy against", [(cost.key, cost.key) for cost in costs], "time")
    axis = switch("axis", "Horizontal axis", (("linear", "linear"), ("log", "logarithmic")), chosen)
    choices = tag("div", against if len(costs) > 1 else None, axis, class_="choices")
    return figure(
        "accuracy",
        tag("div", legend, choices, class_="toolbar"),
        tag("div", body, class_="curves many" if len(names) > MANY_LINES else "curves"),
        _values(rows),
        caption=_caption(content, drawn["time"], costs),
    )


def _ratio(series: Sequence[Series]) -> float:
    """How many times the dearest line ends beyond the cheapest; random starts end where their methods do."""
    ends = [line.points[-1].x for line in series if line.points and line.points[-1].x > 0]
    return max(ends) / min(ends) if ends else 1.0


def _series(content: Content, cost: Cost, name: str, rows: Sequence[Round]) -> Series:
    at = [cost.value(row) or 0.0 for row in rows]
    points = tuple(Point(x, row.accuracy or 0.0, _tip(cost, name, row)) for x, row in zip(at, rows, strict=True))
    band = tuple((x, *row.between) for x, row in zip(at, rows, strict=True) if row.between)
    dashed = name.endswith(RANDOM)
    target = None if dashed else content.target
    mark = next((point for point in points if target is not None and point.y >= target), None)
    return Series(name, "random start" if dashed else name, colour_of(content, name), points, dashed, band, mark)


def _tip(cost: Cost, name: str, row: Round) -> str:
    parts = [start_words(name), f"round {row.index} at {cost.text(cost.value(row))}"]
    parts.append(f"accuracy {amounts.percent(row.accuracy)}")
    if row.between and row.between[0] < row.between[1]:
        parts.append(f"seeds from {amounts.percent(row.between[0])} to {amounts.percent(row.between[1])}")
    if row.balanced_accuracy is not None:
        parts.append(f"balanced {amounts.percent(row.balanced_accuracy)}")
    return " · ".join(parts)


def _plot(content: Content, cost: Cost, series: tuple[Series, ...], kind: str) -> Plot:
    target = content.target
    levels = [point.y for line in series for point in line.points] + ([] if target is None else [target])
    levels += [level for line in series for _, *ends in line.band for level in ends]
    return Plot(
        _axis(cost, series, kind),
        linear_axis(min(levels), max(levels), lambda value: amounts.percent(value, 0)),
        series,
        cost.title + (" (log scale)" if kind == "log" else ""),
        "accuracy",
        f"Accuracy against {cost.title}. Arrow keys step through the values.",
        None if target is None else (target, f"target {amounts.set_percent(target)}"),
    )


def _axis(cost: Cost, series: Sequence[Series], kind: str) -> Axis:
    places = [point.x for line in series for point in line.points if point.x > 0]
    high = max(places, default=1.0) * 1.02
    if kind == "log" and places:
        log_axis = log_time_axis if cost.key == "time" else fitted_log_axis
        return log_axis(min(places) * 0.8, high, cost.text)
    if cost.key == "time":
        return time_axis(high, cost.text, MOST_TICKS)
    return linear_axis(0.0, high, cost.text, MOST_TICKS, fit=False)


def _caption(content: Content, series: Sequence[Series], costs: Sequence[Cost]) -> str:
    text = "Accuracy on held-out samples after each round, against what the job had used up since it began."
    if len(content.seeds) > 1:
        text += f" Lines are means over {len(content.seeds)} seeds, bands reach from the least to the greatest."
    if any(line.dashed for line in series):
        text += " Dashed: the same method started from random weights instead of the foundation model's."
    if any(line.mark for line in series):
        text += " A ring marks where a line first reaches the target."
    if len(costs) == 1:
        text += " This run was written before bytes and energy were counted by round; resume it to have them."
    return text + " On the logarithmic axis, what happened before its left end is drawn at that end."


def _values(rows: dict[str, list[Round]]) -> Markup:
    """All values in tables of so many methods as fit a page."""
    names = list(rows)
    parts = [names[first : first + COLUMNS] for first in range(0, len(names), COLUMNS)]
    return details("Values as a table", [_value_table({name: rows[name] for name in part}) for part in parts])


def _value_table(rows: dict[str, list[Round]]) -> Markup:
    indices = sorted({row.index for found in rows.values() for row in found})
    by_index = {name: {row.index: row for row in found} for name, found in rows.items()}
    lines = [[f"{index}", *(_cell(found.get(index)) for found in by_index.values())] for index in indices]
    head = ["Round", *map(start_words, rows)]
    return table(head, lines, f"Accuracy and costs by round: {', '.join(map(start_words, rows))}")


def _cell(row: Round | None) -> str:
    if row is None:
        return amounts.NONE
    costs = [cost.text(value) for cost in COSTS if (value := cost.value(row)) is not None]
    return f"{amounts.percent(row.accuracy)} at {', '.join(costs)}"

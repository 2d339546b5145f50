"""The two figures of learning: accuracy against simulated time, and how evenly the satellites learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from orbitune.report import amounts
from orbitune.report.axes import Axis, fitted_log_axis, linear_axis
from orbitune.report.content import RANDOM, Content, Round
from orbitune.report.frame import details, figure, missing, series_legend, switch, table
from orbitune.report.markup import Markup, tag
from orbitune.report.palette import method_colour
from orbitune.report.plot import Plot, Point, Series, draw

LOG_FROM = 10.0
"""Where the longest method takes this many times the shortest, time is shown on a logarithmic axis first."""


def start_words(method: str) -> str:
    """A method's name as words: the ending for random weights is spelt out."""
    return f"{method.removesuffix(RANDOM)}, random start" if method.endswith(RANDOM) else method


def colour_of(content: Content, method: str) -> str:
    """The colour of a method, or of the same method started from random weights."""
    return method_colour(content.place.get(method.removesuffix(RANDOM), len(content.place)))


def ordered_metrics(content: Content) -> list[str]:
    """Methods with an accuracy, in the order of the table, each followed by its random start."""
    known = [name for name, rows in content.metrics.items() if any(row.accuracy is not None for row in rows)]
    last = len(content.place)
    return sorted(known, key=lambda name: (content.place.get(name.removesuffix(RANDOM), last), name))


def accuracy(content: Content) -> Markup:
    """The first figure: accuracy against simulated time, in hours where it takes hours, one line per method."""
    names = ordered_metrics(content)
    if not names:
        return missing("accuracy", "This run planned only: nothing was trained, so there is no accuracy to show.")
    unit = amounts.time_unit(max(row.time_s for name in names for row in content.metrics[name]))
    series = tuple(_accuracy_series(content, name, unit[0]) for name in names)
    ends = [line.points[-1].x for line in series if not line.dashed] or [line.points[-1].x for line in series]
    shortest = min((end for end in ends if end > 0), default=0.0)
    spread = max(ends) / shortest if shortest else 1.0
    chosen = "log" if spread >= LOG_FROM else "linear"
    body = [
        _accuracy_plot(content, series, kind, chosen, unit[1])
        for kind in ("linear", "log")
        if shortest or kind == "linear"
    ]
    choice = switch("hours", "Axis of time", (("linear", "linear"), ("log", "logarithmic")), chosen)
    legend = series_legend([(line.key, start_words(line.key), line.colour, line.dashed) for line in series])
    bar = tag("div", legend, choice if shortest else None, class_="toolbar")
    return figure("accuracy", bar, body, _accuracy_values(content, names), caption=_accuracy_caption(content, names))


def _accuracy_caption(content: Content, names: Sequence[str]) -> str:
    text = "Accuracy on held-out samples after each round, against simulated time since the job began."
    if any(name.endswith(RANDOM) for name in names):
        text += " Dashed: the same method started from random weights instead of the foundation model's."
    if any(row.time_to_target_s is not None for row in content.results):
        text += " A ring marks where a method reaches the target."
    return text + " On the logarithmic axis, what happened before its left end is drawn at that end."


def _accuracy_series(content: Content, name: str, unit_s: float) -> Series:
    rows = [row for row in content.metrics[name] if row.accuracy is not None]
    points = tuple(Point(row.time_s / unit_s, row.accuracy or 0.0, _accuracy_tip(name, row)) for row in rows)
    result = next((row for row in content.results if row.method == name), None)
    reached = result.time_to_target_s if result else None
    mark = next((point for point in points if reached is not None and point.x >= reached / unit_s * (1 - 1e-9)), None)
    dashed = name.endswith(RANDOM)
    label = "random start" if dashed else name
    return Series(name, label, colour_of(content, name), points, dashed, mark=mark)


def _accuracy_tip(name: str, row: Round) -> str:
    parts = [start_words(name), f"round {row.index} at {amounts.duration(row.time_s)}"]
    parts.append(f"accuracy {amounts.percent(row.accuracy)}")
    if row.balanced_accuracy is not None:
        parts.append(f"balanced {amounts.percent(row.balanced_accuracy)}")
    return " · ".join(parts)


def _accuracy_plot(content: Content, series: tuple[Series, ...], kind: str, chosen: str, unit: str) -> Markup:
    values = [point.y for line in series for point in line.points]
    if content.target is not None:
        values.append(content.target)
    y = linear_axis(min(values), max(values), lambda value: amounts.percent(value, 0))
    target = content.target
    plot = Plot(
        _time_axis(series, kind),
        y,
        series,
        f"simulated {unit}" + (" (log scale)" if kind == "log" else ""),
        "accuracy",
        f"Accuracy against simulated {unit}. Arrow keys step through the values.",
        None if target is None else (target, f"target {amounts.set_percent(target)}"),
    )
    return tag("div", draw(plot), data_choice=kind, hidden=kind != chosen)


def _time_axis(series: Sequence[Series], kind: str) -> Axis:
    times = [point.x for line in series for point in line.points if point.x > 0]
    high = max(times, default=1.0)
    if kind == "log":
        return fitted_log_axis(min(times) * 0.8, high * 1.02, amounts.digits)
    return linear_axis(0.0, high * 1.02, amounts.digits, fit=False)


def _accuracy_values(content: Content, names: Sequence[str]) -> Markup:
    rounds = sorted({row.index for name in names for row in content.metrics[name]})
    found = {(name, row.index): row for name in names for row in content.metrics[name]}
    rows = [[f"{index}", *(_accuracy_cell(found.get((name, index))) for name in names)] for index in rounds]
    head = ["Round", *map(start_words, names)]
    return details("Values as a table", table(head, rows, "Accuracy and simulated time by round"))


def _accuracy_cell(row: Round | None) -> str:
    if row is None or row.accuracy is None:
        return amounts.NONE
    return f"{amounts.percent(row.accuracy)} at {amounts.duration(row.time_s)}"


# -- how evenly the satellites learn ---------------------------------------------------------------------------------


def spread(content: Content) -> Markup:
    """Loss of each satellite on its own samples: lowest, median and highest over the rounds."""
    names = [name for name in ordered_metrics(content) if any(row.client_loss for row in content.metrics[name])]
    names = [name for name in names if not name.endswith(RANDOM)]
    if not names:
        return missing("spread", "This run has no losses by satellite: nothing was trained, or training was central.")
    rows = {name: [row for row in content.metrics[name] if row.client_loss] for name in names}
    values = [loss for name in names for row in rows[name] for loss in row.client_loss.values()]
    y = linear_axis(0.0, max(values), amounts.digits, 5)
    panels = [_panel(content, name, rows[name], y) for name in names]
    return figure(
        "spread",
        tag("div", panels, class_="panels"),
        caption="Loss of each satellite on its own training samples. The line is the median satellite, the band "
        "reaches from the best to the worst. All panels share one vertical axis." + _without_losses(content, names),
    )


def _without_losses(content: Content, names: Sequence[str]) -> str:
    others = [name for name in ordered_metrics(content) if name not in names and not name.endswith(RANDOM)]
    if not others:
        return ""
    return f" {', '.join(others)} trains centrally and has no loss by satellite."


def _panel(content: Content, name: str, rows: Sequence[Round], y: Axis) -> Markup:
    low, middle, high = (_summary(rows, how) for how in (min, median, max))
    points = tuple(
        Point(row.index, value, _spread_tip(content, row)) for row, (_, value) in zip(rows, middle, strict=True)
    )
    band = tuple((x, bottom, top) for (x, bottom), (_, top) in zip(low, high, strict=True))
    series = Series(name, name, colour_of(content, name), points, band=band, direct=False)
    first, last = rows[0].index, rows[-1].index
    x = linear_axis(first, last if last > first else first + 1, lambda value: f"{value:.0f}", 5, fit=False)
    plot = Plot(
        x, y, (series,), "round", "loss", f"{name}: loss of the satellites. Arrow keys step through the rounds."
    )
    return tag("div", tag("h3", name), draw(plot), tag("p", _worst_sentence(content, rows[-1]), class_="note"))


def _summary(rows: Sequence[Round], how: Callable[[list[float]], float]) -> list[tuple[int, float]]:
    return [(row.index, how(list(row.client_loss.values()))) for row in rows]


def satellite_name(content: Content, satellite: str) -> str:
    """The name of a satellite that metrics give by number."""
    names = content.nodes.satellite_names if content.nodes else ()
    return names[int(satellite)] if satellite.isdigit() and int(satellite) < len(names) else satellite


def _spread_tip(content: Content, row: Round) -> str:
    losses = row.client_loss
    worst = max(losses, key=lambda satellite: losses[satellite])
    low, middle, high = min(losses.values()), median(losses.values()), losses[worst]
    return (
        f"round {row.index} · median {amounts.digits(middle)} · best {amounts.digits(low)} · "
        f"worst {amounts.digits(high)} ({satellite_name(content, worst)})"
    )


def _worst_sentence(content: Content, row: Round) -> str:
    losses = row.client_loss
    worst = max(losses, key=lambda satellite: losses[satellite])
    middle = median(losses.values())
    text = f"Worst in round {row.index}: {satellite_name(content, worst)} with {amounts.digits(losses[worst])}"
    return text + (f", {amounts.times(losses[worst] / middle)} the median." if middle > 0 else ".")

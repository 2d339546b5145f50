"""How evenly the satellites learn, and what figures of learning have in common: names, colours and their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from orbitune.report import amounts
from orbitune.report.axes import Axis, linear_axis
from orbitune.report.content import RANDOM, Content, Round
from orbitune.report.frame import figure, missing
from orbitune.report.markup import Markup, tag
from orbitune.report.palette import method_colour
from orbitune.report.plot import Plot, Point, Series, draw


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

"""Line plots that keep their text at one size on every screen.

The lines are an SVG that stretches with the page (strokes do not); ticks and labels are HTML placed in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orbitune.report.axes import Axis
from orbitune.report.markup import Child, Markup, join, number, tag

WIDE_LABEL = (0.13, 0.052)
"""Width and height of a label over those of the plot on a large screen (100 of 770, 18 of 350 px): labels whose ends
are closer than this are moved apart."""

NARROW_LABEL = (0.5, 0.072)
"""The same on a phone (90 of 180, 18 of 250 px)."""

_UNITS = 1000


@dataclass(frozen=True)
class Point:
    """One value, with what is shown when the pointer is near."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class Series:
    """One line. `band` are (x, low, high) of the area around it; `mark` is a point worth a ring."""

    key: str
    label: str
    colour: str
    points: tuple[Point, ...]
    dashed: bool = False
    band: tuple[tuple[float, float, float], ...] = ()
    mark: Point | None = None
    direct: bool = True


@dataclass(frozen=True)
class Plot:
    """A frame with lines in it; `target` is a level with its label."""

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    x_title: str
    y_title: str
    title: str
    target: tuple[float, str] | None = None


def draw(plot: Plot) -> Markup:
    """The plot as one block; the script reads the points of `data-points`."""
    svg = tag(
        "svg", _grid(plot), [_series(plot, series) for series in plot.series], _target_line(plot),
        viewBox=f"0 0 {_UNITS} {_UNITS}", preserveAspectRatio="none", aria_hidden="true",
    )  # fmt: skip
    narrow = {series.key: y for series, _, y in placed(plot, NARROW_LABEL)}
    labels = [_label(series, x, y, narrow[series.key]) for series, x, y in placed(plot, WIDE_LABEL)]
    target = tag("span", f"dotted: {plot.target[1]}", class_="target-words") if plot.target else None
    return frame(plot.x, plot.y, (plot.x_title, [plot.y_title, target]), plot.title, [svg, labels, _target_label(plot)])


def frame(x: Axis, y: Axis, titles: tuple[Child, Child], title: str, inside: Sequence[Child]) -> Markup:
    """Axes with their titles (x, y) around a drawing; `title` is what a screen reader says."""
    canvas = tag("div", inside, tag("div", class_="cursor", hidden=True), class_="canvas",
                 tabindex="0", role="img", aria_label=title)  # fmt: skip
    return tag(
        "div",
        tag("div", titles[1], class_="y-title"),
        tag("div", [_tick(label, bottom=y.share(value)) for value, label in y.ticks], class_="y-axis"),
        canvas,
        tag("div", [_tick(label, left=x.share(value)) for value, label in x.ticks], class_="x-axis"),
        tag("div", titles[0], class_="x-title"),
        class_="plot",
    )


def placed(plot: Plot, size: tuple[float, float]) -> list[tuple[Series, float, float]]:
    """Where the labels of the lines stand: at their ends, moved apart where they would touch."""
    ends = [(series, *_at(plot, series.points[-1])) for series in plot.series if series.direct and series.points]
    ends.sort(key=lambda end: end[2])
    found: list[tuple[Series, float, float]] = []
    for series, x, y in ends:
        near = [other for _, left, other in found if abs(left - x) < size[0]]
        found.append((series, x, max([y, *(other + size[1] for other in near)])))
    return _lifted(found, size)


def _lifted(found: list[tuple[Series, float, float]], size: tuple[float, float]) -> list[tuple[Series, float, float]]:
    """Push labels that fell out at the bottom up again, and their neighbours with them."""
    lifted: list[tuple[Series, float, float]] = []
    for series, x, y in reversed(found):
        near = [other for _, left, other in lifted if abs(left - x) < size[0]]
        lifted.append((series, x, min([y, 0.99, *(other - size[1] for other in near)])))
    return lifted[::-1]


def _at(plot: Plot, point: Point) -> tuple[float, float]:
    """Place in the frame, from the top left."""
    return plot.x.share(point.x), 1 - plot.y.share(point.y)


def _xy(plot: Plot, x: float, y: float) -> str:
    return f"{number(round(plot.x.share(x) * _UNITS, 1))} {number(round((1 - plot.y.share(y)) * _UNITS, 1))}"


def _grid(plot: Plot) -> list[Markup]:
    across = [tag("path", d=f"M0 {number((1 - plot.y.share(value)) * _UNITS)}h{_UNITS}") for value, _ in plot.y.ticks]
    up = [tag("path", d=f"M{number(plot.x.share(value) * _UNITS)} 0v{_UNITS}") for value, _ in plot.x.ticks]
    return [tag("g", across, up, class_="grid")]


def _series(plot: Plot, series: Series) -> Markup:
    dots = "".join(f"M{_xy(plot, point.x, point.y)}h.01" for point in series.points)
    line = "M" + "L".join(_xy(plot, point.x, point.y) for point in series.points) if series.points else ""
    mark = None
    if series.mark is not None:
        mark = tag("path", d=f"M{_xy(plot, series.mark.x, series.mark.y)}h.01", class_="mark")
    points = join([number(value), ","] for point in series.points for value in _at(plot, point))
    return tag(
        "g",
        _band(plot, series.band),
        tag("path", d=line, class_="line dashed" if series.dashed else "line"),
        None if series.dashed else tag("path", d=dots, class_="dots"),
        mark,
        data_series=series.key,
        data_points=points.rstrip(","),
        data_tips="\n".join(point.tip for point in series.points),
        style=f"--c:{series.colour}",
    )


def _band(plot: Plot, band: Sequence[tuple[float, float, float]]) -> Markup | None:
    if len(band) < 2:
        return None
    upper = [_xy(plot, x, high) for x, _, high in band]
    lower = [_xy(plot, x, low) for x, low, _ in reversed(band)]
    return tag("path", d=f"M{'L'.join(upper + lower)}Z", class_="band")


def _target_line(plot: Plot) -> Markup | None:
    if plot.target is None:
        return None
    y = number((1 - plot.y.share(plot.target[0])) * _UNITS)
    return tag("path", d=f"M0 {y}h{_UNITS}", class_="target")


def _target_label(plot: Plot) -> Markup | None:
    if plot.target is None:
        return None
    level = plot.y.share(plot.target[0])
    above, x = _clear_place(plot, level)
    place = f"left:{percentage(x)};" + (f"bottom:{percentage(level)}" if above else f"top:{percentage(1 - level)}")
    return tag("span", plot.target[1], class_="target-label", style=place)


def _clear_place(plot: Plot, level: float) -> tuple[bool, float]:
    """Where along the target line its label (0.32 wide, 0.08 high on a phone) covers the least of the lines.

    Returns whether it stands above the line, and the share of the width at which it begins.
    """
    points = [(x, 1 - y) for series in plot.series for x, y in _dense(plot, series)]
    places = [(above, x) for above in (True, False) for x in (0.01, 0.35, 0.68)]

    def covered(place: tuple[bool, float]) -> int:
        above, left = place
        low = level if above else level - 0.08
        return sum(left <= x <= left + 0.32 and low <= y <= low + 0.08 for x, y in points)

    return min(places, key=covered)


def _dense(plot: Plot, series: Series, pieces: int = 12) -> list[tuple[float, float]]:
    """Points along a line, close together."""
    ends = [_at(plot, point) for point in series.points]
    return [
        (a[0] + (b[0] - a[0]) * step / pieces, a[1] + (b[1] - a[1]) * step / pieces)
        for a, b in pairwise(ends)
        for step in range(pieces + 1)
    ]


def _label(series: Series, x: float, y: float, narrow_y: float) -> Markup:
    place = f"left:{percentage(x)};--y:{percentage(y)};--narrow-y:{percentage(narrow_y)};--c:{series.colour}"
    class_ = "end-label minor" if series.dashed else "end-label"
    return tag("span", series.label, class_=class_, style=place, data_series=series.key)


def _tick(label: Child, **place: float) -> Markup:
    ((side, share),) = place.items()
    return tag("span", label, style=f"{side}:{percentage(share)}")


def percentage(share: float) -> str:
    """A share of one as CSS likes it."""
    return f"{number(round(share * 100, 3))}%"

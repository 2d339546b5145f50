"""Maps over two keys: which method is fastest where, and each method's time over `onboard`, with contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from orbitune.report import amounts
from orbitune.report.axes import Axis
from orbitune.report.markup import Child, Markup, number, tag
from orbitune.report.palette import method_colour
from orbitune.report.plot import frame, percentage
from orbitune.report.sweep_content import Grid, Scale
from orbitune.report.sweep_contours import Line, contour_lines

LEVELS = ((1.0, "1.0"), (0.67, "0.67"), (0.60, "0.60"), (0.33, "0.33"))
"""Contours of time over `onboard`: as fast as it, and what the versions of arXiv:2504.10403 claim ("33 % of", "33 %
less", "40 % less")."""

BANDS = (0.1, 0.33, 0.67, 1.0, 1.5, 3.0, 10.0)
"""Borders of the colours of time over `onboard`; three of them are contours too."""

BAND_WORDS = ("below 0.1", "0.1 to 0.33", "0.33 to 0.67", "0.67 to 1", "1 to 1.5", "1.5 to 3", "3 to 10", "above 10")

_UNITS = 1000


@dataclass(frozen=True)
class Cells:
    """A map: a colour for each cell [x, y] ("" for none) and what is said of it; `title` is for a screen reader."""

    x: Scale
    y: Scale
    colours: Sequence[Sequence[str]]
    tips: Sequence[Sequence[str]]
    title: str


def winner_colour(place: int) -> str:
    """The colour of a method over a whole region: calmer than that of a line."""
    return f"color-mix(in srgb, {method_colour(place)} 55%, var(--surface))"


def band_colour(ratio: float) -> str:
    """Blue where a method is faster than `onboard`, grey where it is slower; stronger the further from 1."""
    if np.isnan(ratio):
        return ""
    band = int(np.searchsorted(BANDS, ratio, side="right"))
    return BAND_COLOURS[band]


BAND_COLOURS = tuple(
    f"color-mix(in srgb, var({name}) {share}%, var(--surface))"
    for name, share in (
        ("--accent", 95), ("--accent", 66), ("--accent", 42), ("--accent", 20),
        ("--quiet", 12), ("--quiet", 28), ("--quiet", 48), ("--quiet", 70),
    )
)  # fmt: skip


def draw_map(cells: Cells, layers: Mapping[str, Grid], chosen: str) -> Markup:
    """The map as one block, with the contours of each layer; the switch of its figure shows one of them."""
    overlays = [
        tag("div", _contours(cells, ratio), data_choice=name, hidden=name != chosen)
        for name, ratio in layers.items()
        if cells.x.numeric and cells.y.numeric
    ]
    svg = _svg(_rects(cells), _points(cells))
    plot = frame(_axis(cells.x), _axis(cells.y), (cells.x.title, cells.y.title), cells.title, [svg, overlays])
    return tag("div", plot, class_="field")


def _axis(scale: Scale) -> Axis:
    return Axis(0.0, 1.0, scale.ticks)


def _svg(*inside: Child) -> Markup:
    size = f"0 0 {_UNITS} {_UNITS}"
    return tag("svg", *inside, viewBox=size, preserveAspectRatio="none", aria_hidden="true")


def _rects(cells: Cells) -> list[Markup]:
    """One rectangle for each run of equal cells in a row."""
    found = []
    for row, (low, high) in enumerate(pairwise(cells.y.edges)):
        start = 0
        for colour, run in groupby(column[row] for column in cells.colours):
            end = start + len(list(run))
            left, right = cells.x.edges[start] * _UNITS, cells.x.edges[end] * _UNITS
            where = {"x": left, "width": right - left, "y": (1 - high) * _UNITS, "height": (high - low) * _UNITS}
            style = f"fill:{colour}" if colour else None
            found.append(tag("rect", **where, class_="cell" if colour else "cell none", style=style))
            start = end
    return found


def _points(cells: Cells) -> Markup:
    places = [(x, 1 - y) for x in cells.x.places for y in cells.y.places]
    tips = [tip for column in cells.tips for tip in column]
    points = ",".join(f"{number(x)},{number(y)}" for x, y in places)
    return tag("g", data_points=points, data_tips="\n".join(tips), style="--c:var(--ink)")


def lines_of(x: Scale, y: Scale, ratio: Grid, level: float) -> list[Line]:
    """A contour of a ratio [x, y], straight in its logarithm; the outermost cells reach to the frame."""
    padded = np.pad(np.log(ratio.T, where=ratio.T > 0, out=np.full(ratio.T.shape, np.nan)), 1, mode="edge")
    return contour_lines((0.0, *x.places, 1.0), (0.0, *y.places, 1.0), padded, float(np.log(level)))


def _contours(cells: Cells, ratio: Grid) -> list[Markup]:
    paths, labels, taken = [], [], list[tuple[float, float]]()
    for rank, (level, words) in enumerate(LEVELS):
        lines = lines_of(cells.x, cells.y, ratio, level)
        if not lines:
            continue
        for class_ in ("halo", f"contour c{rank}"):
            paths += [tag("path", d=_path(line), class_=class_) for line in lines]
        left, top = label_place(max(lines, key=len), taken)
        taken.append((left, top))
        labels.append(
            tag("span", words, class_="contour-label", style=f"left:{percentage(left)};top:{percentage(top)}")
        )
    return [_svg(paths), *labels]


def _path(line: Line) -> str:
    return "M" + "L".join(f"{number(x * _UNITS)} {number((1 - y) * _UNITS)}" for x, y in line)


def label_place(line: Line, taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The point of a line, from the left and the top, that is farthest from labels that stand and from the frame."""
    inside = [(x, 1 - y) for x, y in line]

    def room(point: tuple[float, float]) -> float:
        x, y = point
        border = min(x, 1 - x, y, 1 - y) * 2
        return min([border, *(abs(x - a) + abs(y - b) for a, b in taken)])

    return max(inside, key=room)


def level_legend() -> Markup:
    """How the contours are drawn."""
    items = [tag("li", tag("i", class_=f"swatch stroke c{rank}"), words) for rank, (_, words) in enumerate(LEVELS)]
    return tag("ul", tag("li", "time over onboard:"), items, class_="legend plain")


def times_words(times: Mapping[str, Grid], place: tuple[int, ...]) -> str:
    """The times of all methods at a point, the fastest first, each with its ratio to `onboard`."""
    known = {name: float(grid[place]) for name, grid in times.items() if not np.isnan(grid[place])}
    reference = known.get("onboard")
    parts = []
    for name, seconds in sorted(known.items(), key=lambda item: item[1]):
        ratio = f", {amounts.times(seconds / reference)} onboard" if reference and name != "onboard" else ""
        parts.append(f"{name} {amounts.duration(seconds)}{ratio}")
    return " · ".join(parts) or "no method has a time here"

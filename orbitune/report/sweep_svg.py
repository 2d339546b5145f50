"""The phase diagram as a file of its own, for a README or a paper: SVG 1.1 with its own colours, light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby, pairwise

from orbitune.errors import InputError
from orbitune.report import amounts
from orbitune.report.markup import Markup, number, tag
from orbitune.report.palette import DARK, LIGHT, METHODS
from orbitune.report.sweep_content import MEASURES, REFERENCE, Grid, Scale, Sweep, fastest, over_reference
from orbitune.report.sweep_maps import LEVELS, label_place, lines_of

WIDTH, HEIGHT = 860, 640
LEFT, TOP, RIGHT, BOTTOM = 92, 92, 24, 74
"""Margins in px around the map: room for the labels of the axes, the title and the legend."""

STROKES = ("3.2", "1.7", "1.7", "2.2")
DASHES = ("none", "none", "7 4", "2 4")
"""How the contours of `LEVELS` are drawn, as on the page."""


def phase_svg(sweep: Sweep, subject: str = "collaborative", measure: str = "time_s", private: bool = False) -> str:
    """Which method ends first over two keys, with contours of `subject`'s time over `onboard`.

    With `private`, only methods compete that leave the images on board.

    Raises:
        InputError: Not two keys are varied, or one of the two methods is missing.
    """
    times = sweep.times(measure, private)
    if len(sweep.scales) != 2 or not {subject, REFERENCE} <= times.keys():
        raise InputError(f"{sweep.folder.path}: the diagram needs two varied keys, {subject} and onboard")
    x, y = sweep.scales
    parts = [
        _head(sweep, subject, measure, private),
        _legend(times),
        _cells(x, y, times),
        _axis_lines(x, y),
        _contours(x, y, over_reference(times, subject)),
    ]
    title = f"{sweep.summary['scenario']}: which method ends first over {x.title} and {y.title}"
    drawing = tag("svg", tag("title", title), tag("style", Markup(_style())), parts, xmlns="http://www.w3.org/2000/svg",
                  viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT, role="img")  # fmt: skip
    return f"{drawing}\n"


def _style() -> str:
    light, dark = (_colours(place, base) for place, base in enumerate((LIGHT, DARK)))
    return (
        "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
        ".h{font-size:17px;font-weight:650}.l{font-weight:600;font-size:12px;text-anchor:middle}"
        f".x{{text-anchor:middle}}.y{{text-anchor:end}}{light}@media (prefers-color-scheme:dark){{{dark}}}"
    )


def _colours(theme: int, base: Mapping[str, str]) -> str:
    methods = "".join(f".m{place}{{fill:{pair[theme]};fill-opacity:.55}}" for place, pair in enumerate(METHODS))
    return (
        f"text{{fill:{base['ink']}}}.q{{fill:{base['quiet']}}}.s,.b{{fill:{base['surface']}}}.n{{fill:{base['grid']}}}"
        f".c,.f,.t{{fill:none;stroke:{base['ink']}}}.o{{fill:none;stroke:{base['surface']};stroke-opacity:.75}}{methods}"
    )


def _head(sweep: Sweep, subject: str, measure: str, private: bool) -> list[Markup]:
    rounds = sorted({int(result["rounds"]) for row in sweep.rows for result in row["results"]})
    words = amounts.count(rounds[0], "round") if len(set(rounds)) == 1 else "rounds as planned"
    note = f"{amounts.count(len(sweep.rows), 'point')}, {words}; {MEASURES[measure]}; lines: {subject} / onboard"
    title = f"{sweep.summary['scenario']}: which method ends first" + (", images staying on board" if private else "")
    return [
        tag("rect", width=WIDTH, height=HEIGHT, rx=10, class_="s"),
        tag("text", title, x=LEFT, y=30, class_="h"),
        tag("text", note, x=LEFT, y=51, class_="q"),
    ]


def _legend(times: Mapping[str, Grid]) -> list[Markup]:
    """The methods that win somewhere, in one row."""
    best, found, left = fastest(times), [], LEFT
    for place, name in enumerate(times):
        if (best == place).any():
            found.append(tag("rect", x=left, y=65, width=13, height=13, rx=3, class_=f"m{place % len(METHODS)}"))
            found.append(tag("text", name, x=left + 19, y=76))
            left += 19 + 8 * len(name) + 24
    return found


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _cells(x: Scale, y: Scale, times: Mapping[str, Grid]) -> Markup:
    best, found = fastest(times), []
    for row, (low, high) in enumerate(pairwise(y.edges)):
        start = 0
        for place, run in groupby(best[:, row].tolist()):
            end = start + len(list(run))
            left, right = _x(x.edges[start]), _x(x.edges[end])
            class_ = f"m{place % len(METHODS)}" if place >= 0 else "n"
            found.append(tag("rect", x=left, y=_y(high), width=right - left, height=_y(low) - _y(high), class_=class_))
            start = end
    return tag("g", found, shape_rendering="crispEdges")


def _axis_lines(x: Scale, y: Scale) -> list[Markup]:
    bottom = HEIGHT - BOTTOM
    found = [tag("path", d=f"M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}", class_="f")]
    for share, label in x.ticks:
        found.append(tag("path", d=f"M{number(_x(share))} {bottom}v5", class_="t"))
        found.append(tag("text", label, x=_x(share), y=bottom + 21, class_="x"))
    for share, label in y.ticks:
        found.append(tag("path", d=f"M{LEFT} {number(_y(share))}h-5", class_="t"))
        found.append(tag("text", label, x=LEFT - 10, y=_y(share) + 4.5, class_="y"))
    middle = number((TOP + bottom) / 2)
    found.append(tag("text", x.title, x=_x(0.5), y=bottom + 48, class_="x q"))
    found.append(tag("text", y.title, class_="x q", transform=f"translate(22 {middle}) rotate(-90)"))
    return found


def _contours(x: Scale, y: Scale, ratio: Grid) -> list[Markup]:
    """The lines first, then their labels on top of all of them."""
    lines: list[Markup] = []
    labels: list[Markup] = []
    taken: list[tuple[float, float]] = []
    for rank, (level, words) in enumerate(LEVELS if x.numeric and y.numeric else ()):
        found = lines_of(x, y, ratio, level)
        for line in found:
            path = "M" + "L".join(f"{number(_x(a))} {number(_y(b))}" for a, b in line)
            lines.append(tag("path", d=path, class_="o", stroke_width="5.5"))
            lines.append(tag("path", d=path, class_="c", stroke_width=STROKES[rank], stroke_dasharray=DASHES[rank]))
        if found:
            left, top = label_place(max(found, key=len), taken)
            taken.append((left, top))
            at = (_x(left), _y(1 - top))
            labels.append(tag("rect", x=at[0] - 18, y=at[1] - 9, width=36, height=18, rx=4, class_="b"))
            labels.append(tag("text", words, x=at[0], y=at[1] + 4.3, class_="l"))
    return lines + labels

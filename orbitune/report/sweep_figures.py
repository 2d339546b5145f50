"""The figures of a sweep: curves over one key, maps over two, small maps over a third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from orbitune.report import amounts
from orbitune.report.axes import Axis, fitted_log_axis
from orbitune.report.frame import colour_legend, figure, missing, series_legend, switch
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.palette import method_colour
from orbitune.report.plot import Plot, Point, Series, draw
from orbitune.report.sweep_content import MEASURES, REFERENCE, Grid, Scale, Sweep, fastest, over_reference
from orbitune.report.sweep_maps import (
    BAND_COLOURS,
    BAND_WORDS,
    Cells,
    band_colour,
    draw_map,
    level_legend,
    times_words,
    winner_colour,
)

MOST_PANELS = 16
"""Values of a third key that get a map; the table has all."""

Times = Mapping[str, Grid]

Places = NDArray[np.int64]


def main_figure(sweep: Sweep, measure: str, private: bool = False) -> Markup:
    """Who is fastest where, as the number of varied keys allows; `private`: of those whose images stay on board."""
    times = sweep.times(measure, private)
    name = f"phase-{measure}" + "-private" * private
    if all(np.isnan(grid).all() for grid in times.values()):
        return missing(name, "No method has a time at any point; the reasons are below.")
    if len(sweep.scales) == 1:
        return _curves(sweep, times, measure, name)
    if len(sweep.scales) in (2, 3):
        return _phase(sweep, times, measure, name)
    what = "Nothing takes more than one value" if not sweep.scales else "More than three keys are varied"
    return missing(name, f"{what}, so there is no map; points.csv has every point.")


# -- one key -----------------------------------------------------------------------------------------------------------


def _curves(sweep: Sweep, times: Times, measure: str, figure_name: str) -> Markup:
    (scale,) = sweep.scales
    known = [float(value) for grid in times.values() for value in grid if value > 0]
    unit_s, unit = amounts.time_unit(max(known, default=1.0))
    low, high = min(known, default=1.0) / unit_s, max(known, default=1.0) / unit_s
    y = fitted_log_axis(low * 0.8, high * 1.25, amounts.digits)
    series = tuple(_curve(scale, times, place, unit_s) for place, grid in enumerate(times.values()) if _known(grid))
    title = f"Time of each method over {scale.title}. Arrow keys step through the values."
    plot = Plot(Axis(0.0, 1.0, scale.ticks), y, series, scale.title, f"simulated {unit} (log scale)", title)
    legend = series_legend([(line.key, line.label, line.colour, False) for line in series])
    return figure(figure_name, tag("div", legend, class_="toolbar"), draw(plot),
                  caption=f"Simulated time of {MEASURES[measure]}, over {scale.key}: {scale.doc}.")  # fmt: skip


def _curve(scale: Scale, times: Times, place: int, unit_s: float) -> Series:
    name, grid = list(times.items())[place]
    points = tuple(
        Point(scale.places[i], float(grid[i]) / unit_s, f"{name} at {scale.words(i)} · {times_words(times, (i,))}")
        for i in range(len(grid))
        if grid[i] > 0
    )
    return Series(name, name, method_colour(place), points)


# -- two keys and three ------------------------------------------------------------------------------------------------


def _phase(sweep: Sweep, times: Times, measure: str, figure_name: str) -> Markup:
    layers = _layers(times)
    chosen = next(iter(layers), "")
    bar = [switch(f"subject-{figure_name}", "Contours of", [(name, name) for name in layers], chosen)] if layers else []
    lines = [tag("span", "contours of", class_="bar-words"), *bar] if len(layers) > 1 else []
    legend = colour_legend([(name, winner_colour(place)) for place, name in enumerate(times) if _known(times[name])])
    maps = _maps(sweep, times, chosen)
    return figure(
        figure_name,
        tag("div", legend, tag("div", lines, class_="subject"), class_="toolbar"),
        maps if len(sweep.scales) == 2 else tag("div", maps, class_="panels"),
        level_legend() if layers else None,
        caption=_phase_caption(sweep, measure, bool(layers), chosen if len(layers) == 1 else ""),
    )


def _layers(times: Times) -> dict[str, Grid]:
    """Time over `onboard` of every other method, that which the reader asks about first."""
    if REFERENCE not in times or not _known(times[REFERENCE]):
        return {}
    names = sorted((name for name in times if name != REFERENCE), key=lambda name: name != "collaborative")
    return {name: over_reference(times, name) for name in names if _known(times[name])}


def _known(grid: Grid) -> bool:
    return not bool(np.isnan(grid).all())


def _maps(sweep: Sweep, times: Times, chosen: str) -> list[Markup]:
    if len(sweep.scales) == 2:
        return [_phase_map(sweep.scales, times, chosen, "")]
    third = sweep.scales[2]
    return [
        tag("div", tag("h3", f"{third.key}: {third.words(at)}"),
            _phase_map(sweep.scales[:2], {name: grid[:, :, at] for name, grid in times.items()}, chosen,
                       f"{third.words(at)}: "))
        for at in range(len(third.places))[:MOST_PANELS]
    ]  # fmt: skip


def _phase_map(scales: Sequence[Scale], times: Times, chosen: str, start: str) -> Markup:
    x, y = scales
    best, names = fastest(times), list(times)
    colours = [["" if place < 0 else winner_colour(int(place)) for place in column] for column in best]
    tips = [[_phase_tip(x, y, times, names, best, i, j) for j in range(len(y.places))] for i in range(len(x.places))]
    title = f"{start}fastest method over {x.title} and {y.title}. Arrow keys step through the points."
    return draw_map(Cells(x, y, colours, tips, title), _layers(times), chosen)


def _phase_tip(x: Scale, y: Scale, times: Times, names: Sequence[str], best: Places, i: int, j: int) -> str:
    first = f"{names[best[i, j]]} wins" if best[i, j] >= 0 else "nobody"
    return f"{first} · {x.words(i)}, {y.words(j)} · {times_words(times, (i, j))}"


def _phase_caption(sweep: Sweep, measure: str, compared: bool, only: str) -> str:
    x, y = sweep.scales[:2]
    text = (
        f"The colour is the method that ends first, by {MEASURES[measure]}; each cell is one point, every plan "
        f"accepted by the checker. Across: {x.doc}. Up: {y.doc}."
    )
    if compared:
        text += f" Contours follow the time of {only or 'the chosen method'} over that of onboard, on log values."
    if len(sweep.scales) == 3 and len(sweep.scales[2].places) > MOST_PANELS:
        text += f" The first {MOST_PANELS} of {len(sweep.scales[2].places)} values of {sweep.scales[2].key} are drawn."
    return text


# -- each method alone -------------------------------------------------------------------------------------------------


def heat_figure(sweep: Sweep, measure: str) -> Markup:
    """Time over `onboard` of each other method, over two keys."""
    if len(sweep.scales) != 2:
        return missing("heat", "Maps of single methods are drawn where two keys are varied.")
    layers = _layers(sweep.times(measure))
    if not layers:
        return missing("heat", "onboard is not among the methods, so there is nothing to compare with.")
    panels: list[Child] = [tag("div", tag("h3", name), _heat(sweep, name, ratio)) for name, ratio in layers.items()]
    return figure(
        "heat",
        colour_legend(list(zip(BAND_WORDS, BAND_COLOURS, strict=True))),
        tag("div", panels, class_="panels"),
        level_legend(),
        caption=f"Time of each method over that of onboard at the same point, by {MEASURES[measure]}: blue is faster, "
        "grey slower, blank where one of the two has no plan.",
    )


def _heat(sweep: Sweep, name: str, ratio: Grid) -> Markup:
    x, y = sweep.scales
    colours = [[band_colour(float(value)) for value in column] for column in ratio]
    tips = [
        [f"{name} · {x.words(i)}, {y.words(j)} · {_ratio_words(float(ratio[i, j]))}" for j in range(len(y.places))]
        for i in range(len(x.places))
    ]
    title = f"{name}: time over onboard, over {x.title} and {y.title}. Arrow keys step through the points."
    return draw_map(Cells(x, y, colours, tips, title), {name: ratio}, name)


def _ratio_words(ratio: float) -> str:
    return "no time to compare" if np.isnan(ratio) else f"{amounts.times(ratio)} the time of onboard"

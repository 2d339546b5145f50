"""Contact windows over time: a row for each satellite or plane, and one for each station."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orbitune.report import amounts
from orbitune.report.axes import Axis, time_axis
from orbitune.report.frame import figure, missing
from orbitune.report.markup import Markup, data_block, number, tag
from orbitune.report.plot import percentage

MAX_ROWS = 100
"""Rows of a group; of more, the first are drawn."""

DENSE_FROM = 30
"""With more rows they are drawn thinner."""

SCALES = (5, 10, 20, 25, 50, 75, 100)
"""Percent that a full row of a plane may stand for: the first that no plane exceeds."""

_FINE = 80
"""Units of the height of a plane's row: about a quarter of a pixel each."""


def windows(content: Mapping[str, Any]) -> Markup:
    """Both groups of rows in one figure, with what the script needs to say what is under the pointer."""
    found: Mapping[str, Any] = content["windows"]
    if not content["figures"]["passes_per_day"]:
        return missing("windows", "No satellite passes over any station, so there are no windows to show.")
    axis = time_axis(found["shown_s"], _tick_words, 8)
    by, stations = str(found["by"]), content["figures"]["per_station"]
    scale = _scale(found)
    rows = [_own_row(row, found, scale) for row in found["rows"][:MAX_ROWS]]
    most = max((int(row["most"]) for row in found["stations"]), default=0)
    sights = [_station_row(index, row, most) for index, row in enumerate(found["stations"][:MAX_ROWS])]
    return figure(
        "windows",
        _group(_title(by), by, rows, axis),
        _group("Satellites that each station sees", "station", sights, axis),
        data_block("windows-data", _data(content, found)),
        caption=_caption(content, found, (scale, most)) + _not_drawn(found, len(stations)),
    )


def _title(by: str) -> str:
    return "When each satellite sees a station" if by == "satellite" else "Part of each plane in contact"


def _scale(found: Mapping[str, Any]) -> int:
    highest = max((max(row["share"]) for row in found["rows"][:MAX_ROWS]), default=0.0)
    return next(percent for percent in SCALES if 100 * highest <= percent + 0.5)


def _tick_words(seconds: float) -> str:
    return amounts.duration(seconds) if seconds else "0"


def _caption(content: Mapping[str, Any], found: Mapping[str, Any], full: tuple[int, int]) -> str:
    day = f"The first {amounts.duration(found['shown_s'])} from {content['start_utc']}. "
    if content["horizon_s"] <= found["shown_s"]:
        day = f"Time counts from {content['start_utc']}. "
    if found["by"] == "satellite":
        rows = "A bar is the time in which a satellite sees at least one station. "
    else:
        rows = "The height of a plane's row is the share of its satellites that see a station; a full row is "
        rows += f"{full[0]}{amounts.SPACE}%. "
    stations = f"A full row of a station is {amounts.count(full[1], 'satellite')} at once. "
    return f"{day}{rows}{stations}Numbers on the right are means over the time drawn."


def _not_drawn(found: Mapping[str, Any], stations: int) -> str:
    words = ""
    if len(found["rows"]) > MAX_ROWS:
        words += f" The first {MAX_ROWS} of {len(found['rows']):,} {found['by']}s are drawn."
    if stations > MAX_ROWS:
        words += f" The first {MAX_ROWS} of {stations:,} stations are drawn."
    return words


def _data(content: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, object]:
    """Names and passes are of use only together; without them the script reads the drawn heights."""
    listed = found["passes"] is not None
    return {
        "shown": found["shown_s"],
        "passes": found["passes"],
        "satellites": [row["name"] for row in content["figures"]["per_satellite"]] if listed else [],
        "planes": [row["plane"] for row in content["figures"]["per_satellite"]] if listed else [],
        "stations": [row["name"] for row in found["stations"]],
    }


# -- rows ----------------------------------------------------------------------------------------------------------


def _group(title: str, kind: str, rows: Sequence[Markup], axis: Axis) -> Markup:
    """Rows of one kind with hour lines behind and the axis below."""
    places = [axis.share(value) for value, _ in axis.ticks]
    lines = tag("div", [tag("i", style=f"left:{percentage(place)}") for place in places], class_="hours")
    dense = " dense" if len(rows) > DENSE_FROM else ""
    top = (
        _axis(axis, "mean") if dense else tag("div", tag("span"), tag("span"), tag("small", "mean"), class_="lane head")
    )
    body = tag("div", top, lines, rows, _axis(axis, ""), class_=f"lanes windows{dense}", data_kind=kind, role="group",
               aria_label=title)  # fmt: skip
    return tag("div", tag("h3", title), body, tag("p", "time from the start", class_="axis-title"))


def _axis(axis: Axis, right: str) -> Markup:
    labels = [tag("span", label, style=f"left:{percentage(axis.share(value))}") for value, label in axis.ticks]
    return tag("div", tag("span"), tag("div", labels, class_="ticks"), tag("small", right), class_="lane axis")


def _lane(
    name: str, drawing: Markup, mean: str, words: str, number_: Markup | None = None, size: Markup | None = None
) -> Markup:
    """A row: its name between a number, which stands for it on a narrow map, and a size."""
    label = tag("span", number_, name, size, class_="lane-label", data_tip=words)
    return tag("div", label, drawing, tag("small", mean), class_="lane", data_name=name)


def _own_row(row: Mapping[str, Any], found: Mapping[str, Any], scale: int) -> Markup:
    mean, name = _mean(row["share"]), str(row["name"])
    words = f"{name}: in contact for {amounts.percent(mean)} of the time"
    if found["by"] == "satellite":
        return _lane(name, _bars(row["spans"], float(found["shown_s"])), amounts.percent(mean, 0), words)
    # Means over two minutes: an eightieth of the row is a fraction of a pixel.
    heights = [min(_FINE, round(_FINE * 100 * share / scale)) for share in row["share"]]
    drawing = _steps(heights, _FINE, int(row["satellites"]) * scale / 100)
    words += f", mean over {amounts.count(row['satellites'], 'satellite')}"
    return _lane(name, drawing, amounts.percent(mean, 0), words, size=tag("small", f"{row['satellites']}"))


def _station_row(index: int, row: Mapping[str, Any], most: int) -> Markup:
    mean, name = _mean(row["seen"]), str(row["name"])
    words = f"{name}: {mean:.1f} satellites in view on average, at most {row['most']} at once"
    # A tenth of a satellite is fine enough for means over two minutes.
    drawing = _steps([round(10 * seen) for seen in row["seen"]], max(1, 10 * most), most)
    return _lane(name, drawing, f"{mean:.1f}", words, number_=tag("b", f"{index + 1}"))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _bars(spans: Sequence[Sequence[float]], shown_s: float) -> Markup:
    path = "".join(f"M{number(a)} 0h{number(b - a)}v1h-{number(b - a)}z" for a, b in spans)
    return _drawing(path, f"0 0 {number(shown_s)} 1", None)


def _steps(heights: Sequence[int], full: int, stands_for: float) -> Markup:
    """One step for each bin, `full` being the whole height, that is `stands_for` satellites."""
    path, before = f"M0 {full}", None
    for place, height in enumerate(heights):
        if height == before:
            continue
        path += f"H{place}V{full - height}"
        before = height
    return _drawing(f"{path}H{len(heights)}V{full}z", f"0 0 {len(heights)} {full}", stands_for)


def _drawing(path: str, box: str, full: float | None) -> Markup:
    return tag("svg", tag("path", d=path), viewBox=box, preserveAspectRatio="none", aria_hidden="true", data_full=full)

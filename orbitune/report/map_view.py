"""Draws the map of `worldmap` with its controls, and the passes of each station below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orbitune.report import amounts
from orbitune.report.axes import time_axis
from orbitune.report.bars import KIND_WORDS
from orbitune.report.content import Content
from orbitune.report.frame import figure, missing
from orbitune.report.labels import Spot, place
from orbitune.report.markup import Markup, data_block, number, tag
from orbitune.report.plot import percentage
from orbitune.report.worldmap import (
    Track,
    World,
    animation,
    busiest_s,
    great_circle,
    ground_track,
    land_path,
    read_track,
    wrapped,
)

WIDE_PX = (720.0, 360.0)
"""The smallest map that shows names; wider ones only have more room."""

NARROW_PX = (326.0, 163.0)
"""The map on a phone of 360 pixels, which shows numbers instead of names."""

NUM_TRACKS = 3
"""Ground tracks shown at first: more would cover the map."""


MANY = 300
"""Above so many satellites their points are drawn smaller."""


def draw(content: Content) -> Markup:
    """The map of a run, its controls, the passes, and the data of the animation."""
    world = World.of(content)
    track = read_track(world)
    if track is None or content.nodes is None:
        return missing("map", "This run has no ground tracks stored, so there is no map to show.")
    now_s = busiest_s(track)
    stations = _stations(world)
    return figure(
        "map",
        moving_map(world, track, now_s),
        _passes(track, stations, now_s),
        _facts(content),
        caption=f"Subpoints of {amounts.count(content.nodes.num_satellites, 'satellite')} over "
        f"{amounts.duration(track.end_s)} from the start of the run, {amounts.count(len(stations), 'station')} and the "
        "passes going on at the moment chosen. Below: how many satellites each station sees over time. "
        "Land: Natural Earth, public domain.",
    )


def moving_map(world: World, track: Track, now_s: float) -> list[Markup]:
    """The map at one moment, its controls, what is in view, and the data of the animation."""
    stations = _stations(world)
    many = len(world.nodes.satellite_names) > MANY if world.nodes else False
    drawing = (_map(world, track, stations, now_s), _station_labels(stations))
    return [
        tag("div", drawing, class_="map many" if many else "map", id="map"),
        _controls(world, track, now_s),
        tag("p", _now_words(world, track, now_s), class_="note", id="map-now"),
        data_block("map-data", animation(track, world)),
    ]


def _stations(world: World) -> Sequence[Mapping[str, Any]]:
    return world.contacts.get("stations") or ()


def _facts(content: Content) -> Markup | None:
    """The summary of the contact plan."""
    summary: Mapping[str, object] = content.contacts.get("summary") or {}
    facts = [tag("div", tag("dt", _fact_name(key)), _fact(key, value)) for key, value in summary.items()]
    return tag("dl", facts, class_="facts") if facts else None


def _fact_name(key: str) -> str:
    """`volume_per_day_bytes` as "volume per day": units stand with the values."""
    return key.removesuffix("_bytes").removesuffix("_s").replace("_", " ")


def _fact(key: str, value: object) -> list[Markup]:
    if isinstance(value, Mapping):
        return [
            tag("dd", tag("span", KIND_WORDS[kind][0] if kind in KIND_WORDS else str(kind)), _fact_value(key, one))
            for kind, one in value.items()
        ]
    return [tag("dd", _fact_value(key, value))]


def _fact_value(key: str, value: object) -> str:
    """A value in the unit that its key names."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if key.endswith("_s"):
        return amounts.duration(value)
    if key.endswith("_bytes"):
        return amounts.volume(value)
    if "share" in key:
        return amounts.percent(value)
    return f"{value:,}" if isinstance(value, int) else amounts.digits(value, 4)


def _map(world: World, track: Track, stations: Sequence[Mapping[str, Any]], now_s: float) -> Markup:
    """The drawing at one moment. Points are lines of no length with round ends, so they keep their size."""
    at = track.nearest(now_s)
    lat, lon = track.latitude_deg[at], wrapped(track.longitude_deg[at])
    busy = {satellite for satellite, *_ in track.in_progress(now_s)}
    dots = [
        tag("path", d="M0 0h.01", transform=f"translate({number(lon[s] + 180)} {number(90 - lat[s])})",
            class_="busy" if s in busy else None)
        for s in range(len(lat))
    ]  # fmt: skip
    links = [
        great_circle((lat[s], lon[s]), (stations[g]["latitude_deg"], stations[g]["longitude_deg"]))
        for s, g, *_ in track.in_progress(now_s)
    ]
    places = "".join(f"M{number(x * 360)} {number(y * 180)}h.01" for x, y in map(_share, stations))
    return tag(
        "svg",
        tag("path", d=land_path(), transform="scale(.1)", class_="land", fill_rule="evenodd"),
        tag("path", d=_graticule(), class_="graticule"),
        tag("g", _tracks(world, track), id="map-tracks", class_="tracks"),
        tag("path", d="".join(links), id="map-links", class_="links"),
        tag("path", d=places, class_="stations"),
        tag("g", dots, id="map-satellites", class_="satellites"),
        viewBox="0 0 360 180",
        role="img",
        aria_label="World map with stations, satellites and contacts",
    )


def _graticule() -> str:
    across = "".join(f"M0 {y}h360" for y in range(30, 180, 30))
    return across + "".join(f"M{x} 0v180" for x in range(30, 360, 30))


def _tracks(world: World, track: Track) -> list[Markup]:
    """Ground tracks of the first satellite of some planes, for half of the window (about one orbit)."""
    planes = [plane for plane in (world.nodes.planes if world.nodes else ()) if plane]
    every = max(1, len(planes) // NUM_TRACKS)
    half = max(2, len(track.time_s) // 2)
    chosen = [plane[0] for plane in planes[::every]][:NUM_TRACKS]
    return [tag("path", d=ground_track(track.latitude_deg[:half, s], track.longitude_deg[:half, s])) for s in chosen]


def _share(station: Mapping[str, Any]) -> tuple[float, float]:
    """Place on the map, as shares of its width and height."""
    longitude = (float(station["longitude_deg"]) + 180.0) % 360.0
    return longitude / 360.0, (90.0 - float(station["latitude_deg"])) / 180.0


def _station_labels(stations: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """Names on wide maps, numbers on narrow ones, each placed for its own size."""
    shares = [_share(station) for station in stations]
    names = [str(station["name"]) for station in stations]
    numbers = [f"{index + 1}" for index in range(len(names))]
    wide = place([(x * WIDE_PX[0], y * WIDE_PX[1]) for x, y in shares], names, WIDE_PX, 11.0)
    narrow = place([(x * NARROW_PX[0], y * NARROW_PX[1]) for x, y in shares], numbers, NARROW_PX, 10.0, 3.0)
    return [
        tag(
            "span",
            _label(name, "name", wide[index]),
            _label(numbers[index], "short", narrow[index]),
            class_="place",
            style=f"left:{percentage(shares[index][0])};top:{percentage(shares[index][1])}",
        )
        for index, name in enumerate(names)
    ]


def _label(text: str, kind: str, spot: Spot) -> Markup:
    offset = f"left:{number(round(spot.dx, 1))}px;top:{number(round(spot.dy, 1))}px"
    return tag("span", text, class_=f"{kind} {spot.anchor}", style=offset, aria_hidden=kind == "short" and "true")


def _controls(world: World, track: Track, now_s: float) -> Markup:
    names = world.nodes.satellite_names if world.nodes else ()
    options = [tag("option", "a few planes", value="")]
    options += [tag("option", name, value=f"{number_}") for number_, name in enumerate(names)]
    slider = tag("input", type="range", id="map-time", min="0", max=track.end_s, step="10", value=now_s,
                 aria_label="Moment shown on the map, seconds since the start")  # fmt: skip
    return tag(
        "div",
        tag("button", "Play", type="button", id="map-play", class_="primary", aria_pressed="false"),
        slider,
        tag("output", amounts.clock(now_s), id="map-clock", for_="map-time"),
        tag("label", "Ground track of ", tag("select", options, id="map-choice")),
        class_="controls",
    )


def _now_words(world: World, track: Track, now_s: float) -> str:
    """How many satellites each station sees, the most first."""
    going = track.in_progress(now_s)
    if not going:
        return "No station sees a satellite."
    names = world.nodes.station_names if world.nodes else ()
    seen = Counter(names[station] for _, station, *_ in going)
    parts = [f"{name} {number_}" for name, number_ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))]
    return f"Satellites in view: {', '.join(parts)}."


def _passes(track: Track, stations: Sequence[Mapping[str, Any]], now_s: float) -> Markup | None:
    """One row per station: how many satellites are above its mask."""
    if not track.passes:
        return tag("p", "No satellite passes over any station in this time.", class_="missing")
    views = [in_view(track, index) for index in range(len(stations))]
    most = max(number_ for view in views for _, number_ in view)
    rows = [_station_row(track, index, str(one["name"]), views[index], most) for index, one in enumerate(stations)]
    axis = time_axis(track.end_s, amounts.duration, 5)
    labels = [tag("span", label, style=f"left:{percentage(axis.share(value))}") for value, label in axis.ticks]
    cursor = tag("div", tag("i", id="map-cursor", style=f"left:{percentage(axis.share(now_s))}"), class_="cursor-box")
    ticks = tag("div", tag("span", class_="lane-label"), tag("div", labels, class_="ticks"), class_="lane axis")
    return tag("div", rows, ticks, cursor, class_="lanes passes", role="img",
               aria_label="Passes over each station")  # fmt: skip


def in_view(track: Track, station: int) -> list[tuple[float, int]]:
    """How many satellites a station sees: (from when on, number), in order of time."""
    changes: Counter[float] = Counter()
    for _, where, rise_s, set_s in track.passes:
        if where == station:
            changes[max(0.0, rise_s)] += 1
            changes[min(set_s, track.end_s)] -= 1
    seen, found = 0, [(0.0, 0)]
    for moment_s in sorted(changes):
        seen += changes[moment_s]
        found.append((moment_s, seen))
    return [*found, (track.end_s, 0)]


def _station_row(track: Track, index: int, name: str, view: Sequence[tuple[float, int]], most: int) -> Markup:
    steps = "".join(f"H{number(round(moment, 1))}V{number(most - seen)}" for moment, seen in view)
    box = f"0 0 {number(track.end_s)} {max(1, most)}"
    drawing = tag("path", d=f"M0 {most}{steps}z", class_="view")
    svg = tag("svg", drawing, viewBox=box, preserveAspectRatio="none", aria_hidden="true")
    passes = amounts.count(sum(1 for one in track.passes if one[1] == index), "pass", "passes")
    words = f"{name}: {passes}, at most {max(seen for _, seen in view)} at once"
    label = tag("span", tag("b", f"{index + 1}"), name, class_="lane-label", title=words)
    return tag("div", label, svg, class_="lane", data_tip=words)

"""The parts of the report that can be wrong without looking wrong: numbers, axes, unions, places, colours, the map."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
import sample_run
from hypothesis import given
from hypothesis import strategies as st

from orbitune.links.contacts import Nodes
from orbitune.report import amounts, axes, gantt, labels, map_view, palette, worldmap
from orbitune.report.markup import Markup, data_block, tag
from orbitune.timeline.activity import Activity, Span, Timeline
from scripts import build_world

# -- numbers -----------------------------------------------------------------------------------------------------------

UNITS_S = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def read_duration(text: str) -> float:
    parts = re.findall(r"([\d.,]+)\u00a0(ns|µs|ms|s|min|h)", text)
    return sum(float(value.replace(",", "")) * UNITS_S[unit] for value, unit in parts)


@given(st.floats(1e-9, 1e9))
def test_durations_say_what_they_stand_for(seconds: float) -> None:
    assert read_duration(amounts.duration(seconds)) == pytest.approx(seconds, rel=0.0085)


@given(st.floats(1.0, 1e17))
def test_volumes_say_what_they_stand_for(size: float) -> None:
    value, unit = amounts.volume(size).split("\u00a0")
    power = ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert float(value.replace(",", "")) * 1000**power == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 s"),
        (0.0123, "12.3 ms"),
        (59.96, "1 min"),
        (3599.6, "1 h"),
        (5400.0, "1 h 30 min"),
        (None, "–"),
        (4e6, "1,111 h"),
    ],
)
def test_durations_at_their_edges(seconds: float | None, expected: str) -> None:
    assert amounts.duration(seconds).replace("\u00a0", " ") == expected


def test_something_is_never_shown_as_nothing() -> None:
    assert amounts.small_percent(1e-6).startswith("<0.1")
    assert amounts.small_percent(0.0).startswith("0.0")


# -- axes --------------------------------------------------------------------------------------------------------------

SPANS = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(SPANS)
def test_linear_axes_hold_their_values(span: tuple[float, float]) -> None:
    axis = axes.linear_axis(*span, str)
    ticks = [value for value, _ in axis.ticks]
    slack = 1e-8 * (span[1] - span[0])
    assert axis.low <= span[0] + slack
    assert axis.high >= span[1] - slack
    assert 2 <= len(ticks) <= 9
    assert all(b > a for a, b in pairwise(ticks))


@given(st.floats(1e-6, 1e6), st.floats(1.0, 1e9))
def test_log_axes_hold_their_values(low: float, ratio: float) -> None:
    for axis in (axes.log_axis(low, low * ratio, str), axes.fitted_log_axis(low, low * ratio * 1.01, str)):
        assert axis.low <= low * (1 + 1e-9)
        assert axis.high >= low * ratio * (1 - 1e-9)
        assert 0.0 <= axis.share(low) <= axis.share(low * ratio) <= 1.0


@given(st.floats(1e-3, 1e8))
def test_time_axes_have_few_round_ticks(end_s: float) -> None:
    ticks = [value for value, _ in axes.time_axis(end_s, str, 5).ticks]
    assert 1 <= len(ticks) <= 7
    assert ticks[0] == 0.0
    assert ticks[-1] <= end_s * (1 + 1e-9)


def test_a_single_value_still_has_an_axis() -> None:
    axis = axes.linear_axis(0.8, 0.8, str)
    assert axis.low < 0.8 < axis.high


# -- one round ---------------------------------------------------------------------------------------------------------

NODES = Nodes(("a", "b", "c"), ("station",), ((0, 1), (2,)))
INTERVALS = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), min_size=1, max_size=40)


def chart_of(intervals: Sequence[tuple[int, int]], end_s: float = 1000.0) -> gantt.Chart:
    done = [
        Activity("compute", number % 3, float(start), float(start + length), "train", 1, "work")
        for number, (start, length) in enumerate(intervals)
    ]
    ordered = tuple(sorted(done, key=lambda activity: activity.start_s))
    chart = gantt.chart_of(Timeline("m", ordered, (Span("train", 1, "work", 0.0, end_s),), (), (), (), 2), NODES)
    assert chart is not None
    return chart


def covered(members: frozenset[int], intervals: Sequence[tuple[int, int]]) -> set[int]:
    """Whole seconds in which some member works, counted one by one."""
    return {
        second
        for number, (start, length) in enumerate(intervals)
        if number % 3 in members
        for second in range(start, start + length)
    }


@given(INTERVALS)
def test_a_row_covers_exactly_what_its_nodes_do(intervals: list[tuple[int, int]]) -> None:
    """Gaps below 1/400 of the stage (2.5 s here) may be closed; nothing else is added, nothing is left out."""
    for row in chart_of(intervals).rows:
        drawn = {second for bar in row.bars for second in range(int(bar.start_s), int(bar.end_s))}
        truth = covered(row.members, intervals)
        assert truth <= drawn
        assert all({second - 1, second - 2} & truth and {second + 1, second + 2} & truth for second in drawn - truth)
        assert sum(bar.activities for bar in row.bars) == sum(1 for n in range(len(intervals)) if n % 3 in row.members)


def test_a_send_stands_in_both_rows_once() -> None:
    timeline = sample_run.collaborative(2)
    chart = gantt.chart_of(timeline, sample_run.nodes())
    assert chart is not None
    assert chart.index == 1
    mine = [a for a in timeline.activities if a.round == 1 and a.kind == "send" and a.phase == "train"]
    plane = next(row for row in chart.rows if row.label == "plane 0")
    touching = [a for a in mine if {a.node, a.peer} & plane.members]
    assert sum(bar.size for bar in plane.bars) == sum(a.payload.size for a in touching if a.payload)
    server = chart.rows[0]
    backhaul = sum(a.payload.size for a in mine if a.link == "backhaul" and a.payload)
    assert sum(bar.size for bar in server.bars) == backhaul


def test_a_method_that_sends_only_in_its_first_round_shows_that_one() -> None:
    chart = gantt.chart_of(sample_run.download(3), sample_run.nodes())
    assert chart is not None
    assert chart.index == 0


def test_satellite_rows_stay_within_the_page() -> None:
    nodes = sample_run.nodes()
    done = tuple(
        Activity("compute", node, start + 0.1, start + 0.3, "train", 1, "work")
        for start in range(200)
        for node in nodes.satellites
    )
    chart = gantt.chart_of(Timeline("m", done, (Span("train", 1, "work", 0.0, 200.0),), (), (), (), 2), nodes)
    assert chart is not None
    bars = sum(len(row.bars) for row in chart.rows if row.kind == "satellite")
    assert 66 <= bars <= gantt.MAX_SATELLITE_BARS


def test_stages_at_once_do_not_hide_each_other() -> None:
    done = tuple(Activity("compute", 0, 0.0, 100.0, "train", 1, stage) for stage in ("embed", "head step"))
    spans = (Span("train", 1, "embed", 0.0, 50.0), Span("train", 1, "head step", 50.0, 100.0))
    chart = gantt.chart_of(Timeline("m", done, spans, (), (), (), 2), NODES)
    assert chart is not None
    row = next(row for row in chart.rows if row.label == "a")
    assert {bar.lane for bar in row.bars} == {0, 1}


# -- the map -----------------------------------------------------------------------------------------------------------


def land() -> list[list[list[float]]]:
    text = resources.files("orbitune").joinpath("data/world/land.json").read_text(encoding="utf-8")
    rings: list[list[list[float]]] = json.loads(text)["rings"]
    return rings


def on_land(longitude: float, latitude: float) -> bool:
    """Even-odd rule over all rings."""
    inside = False
    for ring in land():
        for (x0, y0), (x1, y1) in pairwise([ring[-1], *ring]):
            if (y0 > latitude) != (y1 > latitude) and longitude < x0 + (latitude - y0) / (y1 - y0) * (x1 - x0):
                inside = not inside
    return inside


@pytest.mark.parametrize(
    ("longitude", "latitude", "expected"),
    [
        (13.4, 52.5, True),  # Berlin
        (-47.9, -15.8, True),  # Brasilia
        (177.0, 65.5, True),  # Chukotka, west of the antimeridian
        (-174.0, 66.5, True),  # Chukotka, east of it
        (0.0, -89.0, True),  # the South Pole
        (-30.0, 40.0, False),  # the Atlantic
        (-150.0, 0.0, False),  # the Pacific
        (51.0, 42.0, False),  # the Caspian Sea, a hole in the land
        (0.0, 89.0, False),  # the North Pole
    ],
)
def test_land_is_where_it_is(longitude: float, latitude: float, expected: bool) -> None:
    assert on_land(longitude, latitude) is expected


def test_land_stays_on_the_map_and_small() -> None:
    points = [point for ring in land() for point in ring]
    assert all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in points)
    assert all(abs(a[0] - b[0]) < 90 for ring in land() for a, b in pairwise(ring) if max(a[1], b[1]) > -85)
    size = len(resources.files("orbitune").joinpath("data/world/land.json").read_bytes())
    assert size < 100_000


def test_topojson_arcs_are_joined_and_reversed() -> None:
    """The example of the TopoJSON specification in small: a square of two arcs, one of them stored backwards."""
    topology = {
        "transform": {"scale": [1.0, 1.0], "translate": [10.0, 20.0]},
        "arcs": [[[0, 0], [4, 0], [0, 4]], [[0, 0], [0, 4], [4, 0]]],
        "objects": {"land": {"geometries": [{"type": "MultiPolygon", "arcs": [[[0, -2]]]}]}},
    }
    (ring,) = build_world.land_rings(topology)
    assert set(ring) == {(10.0, 20.0), (14.0, 20.0), (14.0, 24.0), (10.0, 24.0)}


def test_a_ring_across_the_antimeridian_is_cut_there() -> None:
    ring = build_world.unwrapped([(170.0, 0.0), (-170.0, 0.0), (-170.0, 10.0), (170.0, 10.0)])
    east, west = sorted(build_world.on_the_map(ring), key=lambda part: -max(x for x, _ in part))
    assert {x for x, _ in east} == {170.0, 180.0}
    assert {x for x, _ in west} == {-180.0, -170.0}


def test_positions_survive_packing() -> None:
    degrees = np.array([[-180.0, -0.01, 179.99], [90.0, -90.0, 12.34]])
    read = np.frombuffer(base64.b64decode(worldmap.packed(degrees)), dtype="<i2").reshape(2, 3) / 100
    np.testing.assert_allclose(read, degrees, atol=0.005)


@given(st.floats(-80, 80), st.floats(-179, 179), st.floats(-80, 80), st.floats(-179, 179))
def test_contact_lines_are_shortest_ways(lat0: float, lon0: float, lat1: float, lon1: float) -> None:
    """Every drawn point splits the angle between the ends without adding to it (spherical law of cosines)."""
    a, b = (lat0, lon0), (lat1, lon1)
    if not 0.5 < angle_deg(a, b) < 175:
        return
    path = worldmap.great_circle(a, b)
    points = [(90 - float(y), float(x) - 180) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
    assert angle_deg(points[0], a) < 0.2
    assert angle_deg(points[-1], b) < 0.2
    for point in points:
        assert angle_deg(a, point) + angle_deg(point, b) == pytest.approx(angle_deg(a, b), abs=0.3)


def angle_deg(a: tuple[float, float], b: tuple[float, float]) -> float:
    (lat0, lon0), (lat1, lon1) = (map(math.radians, one) for one in (a, b))
    cosine = math.sin(lat0) * math.sin(lat1) + math.cos(lat0) * math.cos(lat1) * math.cos(lon1 - lon0)
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def test_satellites_in_view_are_counted_right() -> None:
    time_s, latitude, longitude = sample_run.track()
    track = worldmap.Track(time_s, latitude, longitude, tuple(sample_run.passes()))
    for station in range(len(sample_run.STATIONS)):
        steps = map_view.in_view(track, station)
        for moment in (45.0, 1234.5, 6001.0, 11990.0):
            counted = [seen for since, seen in steps if since <= moment][-1]
            assert counted == sum(1 for one in track.in_progress(moment) if one[1] == station)


def test_station_names_do_not_cover_each_other() -> None:
    width, height = map_view.WIDE_PX
    points = [((lon + 180) / 360 * width, (90 - lat) / 180 * height) for _, lat, lon in sample_run.STATIONS]
    names = [name for name, *_ in sample_run.STATIONS]
    spots = labels.place(points, names, (width, height), 11.0)
    boxes = [
        spot.box(x, y, len(name) * labels.LETTER * 11.0, 11.0)
        for spot, (x, y), name in zip(spots, points, names, strict=True)
    ]
    assert all(a.overlap(b) == 0 for n, a in enumerate(boxes) for b in boxes[:n])
    assert all(box.outside(width, height) == 0 for box in boxes)


# -- colours and markup ------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, definitions)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio (WCAG 2.2, definitions)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "base"), [(0, palette.LIGHT), (1, palette.DARK)], ids=["light", "dark"])
def test_colours_can_be_seen(theme: int, base: dict[str, str]) -> None:
    for paper in ("page", "surface"):
        for ink in ("ink", "quiet", "accent", "good", "bad"):
            assert contrast(base[ink], base[paper]) >= 4.5, (ink, paper)
    for pair in (*palette.METHODS, *palette.FAMILY_COLOURS.values()):
        assert contrast(pair[theme], base["surface"]) >= 3.0, pair


def test_markup_escapes_text_and_attributes() -> None:
    assert tag("p", "<b>&", title='"<') == '<p title="&quot;&lt;">&lt;b&gt;&amp;</p>'
    assert tag("p", Markup("<b>"), hidden=True, id=None) == "<p hidden><b></p>"
    assert "</script" not in data_block("x", ["</script>"]).removesuffix("</script>")

"""What a person looks at first: stations, ground tracks, passes and links over time, as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orbitune.links.contacts import KINDS, ContactPlan
from orbitune.links.crossings import Floats, Ints, Spans
from orbitune.links.summary import key_figures, summary
from orbitune.links.windows import (
    EXAMPLES,
    SHOWN_S,
    Passes,
    example_of,
    gaps,
    links_of,
    pass_durations,
    passes_of,
    rates_of,
    sights_of,
)
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation, subpoint
from orbitune.orbit.interpolate import time_grid
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import parse_utc

TRACK_S = 200 * 60.0
"""About two orbits of a low satellite (95 to 115 minutes each): enough to see it move and the Earth turn."""

TRACK_STEP_S = 60.0
"""A low satellite moves 4 degrees a minute, which straight lines on a map follow well."""

MAX_DRAWN = 1600
"""Satellites on a map; of more, every second, third ... is drawn."""

FEW_SATELLITES = 24
"""Up to so many satellites each has a row of its own; of more, each plane."""

BINS = 720
"""Values along a row of windows: one for every two minutes of a day, about one for each pixel of its drawing."""

MAX_NAMED_PASSES = 12_000
"""Passes that are listed one by one beside the rows; of more there is no list, it would not fit a page."""


# -- the map -----------------------------------------------------------------------------------------------------------


def overview(
    constellation: Constellation, stations: Sequence[GroundStation], plan: ContactPlan, start_utc: str | datetime
) -> dict[str, object]:
    """Everything the report's map needs; degrees, seconds from the start."""
    length_s = min(TRACK_S, plan.horizon_s)
    passes = passes_of(plan)
    return {
        "horizon_s": plan.horizon_s,
        "summary": key_figures(plan),
        "stations": [_station(station) for station in stations],
        "satellites": list(plan.nodes.satellite_names),
        "planes": [list(plane) for plane in plan.nodes.planes],
        "track": _track(constellation, start_utc, length_s),
        "passes": passes.rows(passes.start_s < length_s),
    }


def _station(station: GroundStation) -> dict[str, object]:
    return {
        "name": station.name,
        "latitude_deg": math.degrees(station.latitude_rad),
        "longitude_deg": math.degrees(station.longitude_rad),
        "antennas": station.antennas,
    }


def _track(constellation: Constellation, start_utc: str | datetime, length_s: float) -> dict[str, object]:
    time_s = time_grid(length_s, TRACK_STEP_S)
    latitude, longitude = subpoint(propagate(constellation, start_utc, time_s).position_m)
    return {"time_s": time_s.tolist(), "latitude_deg": _degrees(latitude), "longitude_deg": _degrees(longitude)}


def _degrees(angle: NDArray[np.float64]) -> list[list[float]]:
    rows: list[list[float]] = np.degrees(angle).round(2).tolist()
    return rows


def _map(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    passes: Passes,
    start_utc: str | datetime,
    horizon_s: float,
) -> dict[str, object]:
    """As `overview`, of no more satellites than a map can show."""
    every = math.ceil(max(1, len(constellation)) / MAX_DRAWN)
    drawn = _every(constellation, every)
    length_s = min(TRACK_S, horizon_s)
    shown = (passes.start_s < length_s) & (passes.satellite % every == 0)
    return {
        "satellites": list(drawn.names),
        "every": every,
        "stations": [_station(station) for station in stations],
        "planes": [list(plane) for plane in drawn.planes],
        "track": _track(drawn, start_utc, length_s),
        "passes": replace(passes, satellite=passes.satellite // every).rows(shown),
    }


def _every(constellation: Constellation, step: int) -> Constellation:
    """Every satellite whose number `step` divides, numbered anew; planes keep their numbers and hold no links."""
    planes = tuple(tuple(s // step for s in plane if s % step == 0) for plane in constellation.planes)
    return Constellation(
        names=constellation.names[::step],
        planes=planes,
        has_rings=(False,) * len(planes),
        next_plane=(None,) * len(planes),
        elements=constellation.elements[::step],
    )


# -- shares of time ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShareRow:
    """A plane, or a satellite, and the part of each of some equal lengths of time in which it sees a station.

    Of a plane it is the mean over its satellites.
    """

    name: str
    satellites: int
    share: tuple[float, ...]


def share_by_hour(plan: ContactPlan, num: int = 48) -> tuple[ShareRow, ...]:
    """Contact share over the horizon in `num` equal parts, one row for each satellite where there are few, else plane.

    With 48 parts of a day or two each is half an hour or an hour long.
    """
    groups, names, sizes = _groups(plan)
    covered = _mean_open(sights_of(passes_of(plan)), groups, len(names), np.linspace(0.0, plan.horizon_s, num + 1))
    return tuple(
        ShareRow(name, size, tuple(np.minimum(row / max(1, size), 1.0).tolist()))
        for name, size, row in zip(names, sizes, covered, strict=True)
    )


def _groups(plan: ContactPlan) -> tuple[Ints, list[str], list[int]]:
    """The row that each satellite belongs to, and the rows' names and numbers of satellites."""
    nodes = plan.nodes
    if nodes.num_satellites <= FEW_SATELLITES:
        return np.arange(nodes.num_satellites), list(nodes.satellite_names), [1] * nodes.num_satellites
    names = [f"plane {number}" for number in range(len(nodes.planes))]
    return np.array(nodes.plane_of, dtype=np.int64), names, [len(plane) for plane in nodes.planes]


def _mean_open(spans: Spans, group: Ints, num: int, edges_s: Floats) -> Floats:
    """How many spans of each group are open, mean over each bin: [num, bins]; row r belongs to group `group[r]`."""
    found = np.zeros((num, len(edges_s) - 1))
    member = group[spans.row]
    order = np.argsort(member, kind="stable")
    parts = np.searchsorted(member[order], np.arange(num + 1))
    for number in range(num):
        own = order[parts[number] : parts[number + 1]]
        # What is open up to a moment is what has passed since all starts less what has passed since all ends.
        open_s = _passed(spans.start_s[own], edges_s) - _passed(spans.end_s[own], edges_s)
        found[number] = np.diff(open_s) / np.diff(edges_s)
    return np.maximum(found, 0.0)  # differences of large sums leave rounding below zero


def _passed(moments_s: Floats, at_s: Floats) -> Floats:
    """Sum over all moments before each time of what has passed since: [T]."""
    ordered = np.sort(moments_s)
    before = np.searchsorted(ordered, at_s)
    passed_s: Floats = at_s * before - np.concatenate([[0.0], np.cumsum(ordered)])[before]
    return passed_s


# -- the page of a plan ------------------------------------------------------------------------------------------------


def contacts_content(
    constellation: Constellation, stations: Sequence[GroundStation], plan: ContactPlan, start_utc: str | datetime
) -> dict[str, object]:
    """Everything that the page of a contact plan shows, as plain JSON values; degrees, seconds from the start, bit/s.

    Its size is bounded but for the lists of `figures` (see `summary`): the map shows at most `MAX_DRAWN` satellites,
    windows are means over bins, and passes are listed only up to `MAX_NAMED_PASSES`.
    """
    passes = passes_of(plan)
    sights = sights_of(passes)
    return {
        "start_utc": parse_utc(start_utc).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC"),
        "horizon_s": plan.horizon_s,
        "satellites": plan.nodes.num_satellites,
        "planes": len(plan.nodes.planes),
        "figures": summary(plan),
        "map": _map(constellation, stations, passes, start_utc, plan.horizon_s),
        "windows": _windows(plan, passes, sights),
        "durations": pass_durations(passes, plan.horizon_s),
        "gaps": gaps(sights, plan.nodes.num_satellites, plan.horizon_s),
        "links": {kind: links_of(plan, kind) for kind in ("isl_intra", "isl_inter")},
        "rates": {kind: rates_of(plan, kind) for kind in KINDS},
        "examples": [example for kinds in EXAMPLES if (example := example_of(plan, kinds))],
    }


def _windows(plan: ContactPlan, passes: Passes, sights: Spans) -> dict[str, object]:
    """Rows of the drawing over time: satellites or planes, and stations; bins hold means."""
    shown_s = min(SHOWN_S, plan.horizon_s)
    edges_s = np.linspace(0.0, shown_s, BINS + 1)
    groups, names, sizes = _groups(plan)
    few = plan.nodes.num_satellites <= FEW_SATELLITES
    seen = _mean_open(Spans(passes.station, passes.start_s, passes.end_s), np.arange(plan.nodes.num_stations),
                      plan.nodes.num_stations, edges_s)  # fmt: skip
    in_contact = _mean_open(sights, groups, len(names), edges_s)
    return {
        "shown_s": shown_s,
        "by": "satellite" if few else "plane",
        "rows": [
            {"name": name, "satellites": size, "share": (row / max(1, size)).round(3).tolist()}
            | ({"spans": _spans_of(sights, number, shown_s)} if few else {})
            for number, (name, size, row) in enumerate(zip(names, sizes, in_contact, strict=True))
        ],
        "stations": [
            {"name": name, "seen": row.round(2).tolist(), "most": most}
            for name, row, most in zip(plan.nodes.station_names, seen, _most(passes, plan, shown_s), strict=True)
        ],
        "passes": _listed(passes, shown_s),
    }


def _spans_of(joined: Spans, row: int, shown_s: float) -> list[list[float]]:
    own = (joined.row == row) & (joined.start_s < shown_s)
    edges = np.stack([joined.start_s[own], np.minimum(joined.end_s[own], shown_s)], axis=1)
    found: list[list[float]] = edges.round(1).tolist()
    return found


def _most(passes: Passes, plan: ContactPlan, shown_s: float) -> list[int]:
    """The most satellites that each station sees at once."""
    early = passes.start_s < shown_s
    station, num = np.tile(passes.station[early], 2), int(early.sum())
    time_s = np.concatenate([passes.start_s[early], passes.end_s[early]])
    step = np.repeat([1, -1], num)
    order = np.lexsort((step, time_s, station))
    # Within one station the steps add up to nothing, so one running sum serves all of them.
    depth = np.cumsum(step[order])
    most = np.zeros(plan.nodes.num_stations, dtype=np.int64)
    np.maximum.at(most, station[order], depth)
    found: list[int] = most.tolist()
    return found


def _listed(passes: Passes, shown_s: float) -> list[list[int]] | None:
    """Satellite, station, start and end of the passes in whole seconds, rounded inward; None where they are many."""
    early = passes.start_s < shown_s
    if int(early.sum()) > MAX_NAMED_PASSES:
        return None
    return [[int(s), int(g), math.ceil(a), math.floor(b)] for s, g, a, b in passes.rows(early)]

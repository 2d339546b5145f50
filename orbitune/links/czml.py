"""A contact plan as CZML, the format in which Cesium and others show moving satellites on a globe.

Reference: the CZML guide (AnalyticalGraphicsInc/czml-writer, wiki 'CZML Guide' and 'CZML Structure'). Positions are in
the FIXED frame, which turns with the Earth, so the viewer needs no Earth orientation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.files import write_whole
from orbitune.links.contacts import KINDS, ContactPlan
from orbitune.links.crossings import Floats, Spans
from orbitune.links.spans import union
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation
from orbitune.orbit.interpolate import time_grid
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import SECONDS_PER_DAY, parse_utc

DEFAULT_STEP_S = 180.0
DRAWN_KINDS = tuple(kind for kind in KINDS if kind != "backhaul")
"""Kinds with a place at both ends; the server behind the stations has none."""

_DEGREE = 5
"""Of the polynomial between positions; higher ones swing at the ends of the time shown."""

_SATELLITES_AT_ONCE = 500
_TRAIL_S = 1500.0
"""A quarter of an orbit ahead and behind, enough to see where a satellite goes."""

_SATELLITE_RGBA = [255, 255, 255, 255]
_STATION_RGBA = [255, 196, 0, 255]
_TRACK_RGBA = [255, 255, 255, 60]
_LINK_RGBA = {
    "downlink": [0, 230, 118, 255],
    "uplink": [0, 176, 255, 255],
    "isl_intra": [255, 128, 64, 160],
    "isl_inter": [200, 128, 255, 160],
}

Packet = dict[str, object]


def write_czml(
    path: Path,
    constellation: Constellation,
    stations: Sequence[GroundStation],
    plan: ContactPlan,
    start_utc: str | datetime,
    *,
    kinds: Sequence[str] = ("downlink",),
    length_s: float = SECONDS_PER_DAY,
    step_s: float = DEFAULT_STEP_S,
    most_links: int = 20_000,
) -> int:
    """Write satellites, stations and the links that are open, from the start on.

    The file grows with satellites x length / step, by about 30 bytes each, and with links and contacts, by about 250
    and 55 bytes: a day of 72 satellites and ten stations is 1.4 MB, of 1584 satellites 31 MB. The viewer puts a
    polynomial of degree 5 through samples in whole metres: in low orbit within 20 m of the truth at the default step.

    Args:
        kinds: Which contacts are drawn, some of `DRAWN_KINDS`. The two directions of one kind are one line.
        length_s: The time shown; no more than the horizon of the plan is.
        step_s: Time between two positions of a satellite; the error grows with its sixth power.
        most_links: Lines drawn at most, a line being two nodes and a kind; those that open first.

    Returns:
        The number of links left out because there were more.

    Raises:
        PlanError: the plan is not one of these satellites and stations, or a kind or a number is out of range.
        InputError: SGP4 refuses a satellite.
        OSError: the file cannot be written.
    """
    _check(constellation, stations, plan, kinds, {"length_s": length_s, "step_s": step_s})
    shown_s = min(length_s, plan.horizon_s)
    clock = _Clock(start_utc)
    links = _links(plan, kinds, shown_s, clock)
    packets = chain(
        [_document(plan, clock, shown_s)],
        (_station(len(constellation) + number, station) for number, station in enumerate(stations)),
        _satellites(constellation, clock, shown_s, step_s),
        links[:most_links],
    )
    lines = ",\n".join(json.dumps(packet, separators=(",", ":")) for packet in packets)
    write_whole(path, f"[\n{lines}\n]\n".encode())
    return max(0, len(links) - most_links)


class _Clock:
    """Seconds after the start as the dates of CZML, to the millisecond."""

    def __init__(self, start_utc: str | datetime) -> None:
        self.start_utc = parse_utc(start_utc)
        self._start = np.datetime64(self.start_utc.replace(tzinfo=None), "ms")

    def dates(self, time_s: Floats) -> list[str]:
        moments: NDArray[np.datetime64] = self._start + np.rint(time_s * 1e3).astype("timedelta64[ms]")
        return [f"{date}Z" for date in np.datetime_as_string(moments).tolist()]

    def intervals(self, start_s: Floats, end_s: Floats) -> list[str]:
        return [f"{start}/{end}" for start, end in zip(self.dates(start_s), self.dates(end_s), strict=True)]

    def interval(self, length_s: float) -> str:
        return self.intervals(np.zeros(1), np.array([length_s]))[0]


def _check(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    plan: ContactPlan,
    kinds: Sequence[str],
    spans_s: dict[str, float],
) -> None:
    names = plan.nodes.satellite_names, plan.nodes.station_names
    if names != (constellation.names, tuple(station.name for station in stations)):
        raise PlanError("the plan is not one of these satellites and stations: their names or their order differ.")
    unknown = [kind for kind in kinds if kind not in DRAWN_KINDS]
    if unknown:
        raise PlanError(f"contacts of kind {unknown[0]!r} cannot be drawn; allowed are {', '.join(DRAWN_KINDS)}.")
    for name, value in spans_s.items():
        if not value > 0.0:
            raise PlanError(f"CZML: {name} = {value:g} must be more than 0 s.")


def _document(plan: ContactPlan, clock: _Clock, shown_s: float) -> Packet:
    interval = clock.interval(shown_s)
    start = interval.partition("/")[0]
    return {
        "id": "document",
        "name": f"Orbitune: {plan.nodes.num_satellites} satellites, {plan.nodes.num_stations} stations",
        "version": "1.0",
        "clock": {
            "interval": interval,
            "currentTime": start,
            "multiplier": 60,
            "range": "LOOP_STOP",
            "step": "SYSTEM_CLOCK_MULTIPLIER",
        },
    }


def _name_of(node: int) -> str:
    """The id of a node in the document; names may hold what CZML references cannot."""
    return f"node-{node}"


def _station(node: int, station: GroundStation) -> Packet:
    return {
        "id": _name_of(node),
        "name": station.name,
        "position": {"referenceFrame": "FIXED", "cartesian": station.position_m.round(3).tolist()},
        "point": {"pixelSize": 8, "color": {"rgba": _STATION_RGBA}},
        "label": {
            "text": station.name,
            "font": "12px sans-serif",
            "fillColor": {"rgba": _STATION_RGBA},
            "horizontalOrigin": "LEFT",
            "pixelOffset": {"cartesian2": [8, 0]},
        },
    }


def _satellites(constellation: Constellation, clock: _Clock, shown_s: float, step_s: float) -> Iterator[Packet]:
    # Whole milliseconds are short to write and still the instants at which positions are taken.
    time_s = time_grid(shown_s, step_s).round(3)
    times = [int(moment) if moment.is_integer() else moment for moment in time_s.tolist()]
    availability, epoch = clock.interval(shown_s), clock.dates(np.zeros(1))[0]
    for first in range(0, len(constellation), _SATELLITES_AT_ONCE):
        chosen = range(first, min(first + _SATELLITES_AT_ONCE, len(constellation)))
        positions = np.rint(propagate(constellation, clock.start_utc, time_s, chosen).position_m).astype(np.int64)
        for node, places in zip(chosen, positions, strict=True):
            samples = [[moment, *place] for moment, place in zip(times, places.tolist(), strict=True)]
            yield {
                "id": _name_of(node),
                "name": constellation.names[node],
                "availability": availability,
                "position": {
                    "epoch": epoch,
                    "referenceFrame": "FIXED",
                    "interpolationAlgorithm": "LAGRANGE",
                    "interpolationDegree": _DEGREE,
                    "cartesian": list(chain.from_iterable(samples)),
                },
                "point": {"pixelSize": 4, "color": {"rgba": _SATELLITE_RGBA}},
                "path": {
                    "leadTime": _TRAIL_S,
                    "trailTime": _TRAIL_S,
                    "resolution": 60,
                    "width": 1,
                    "material": {"solidColor": {"color": {"rgba": _TRACK_RGBA}}},
                },
            }


def _links(plan: ContactPlan, kinds: Sequence[str], shown_s: float, clock: _Clock) -> list[Packet]:
    """One line for each pair of nodes and kind, there while a contact is open in either direction; by first opening."""
    wanted = [KINDS.index(kind) for kind in kinds]
    rows = np.flatnonzero(np.isin(plan.kind, wanted) & (plan.start_s < shown_s))
    low, high = np.minimum(plan.source, plan.target)[rows], np.maximum(plan.source, plan.target)[rows]
    line = (low.astype(np.int64) * len(plan.nodes) + high) * len(KINDS) + plan.kind[rows]
    spans = union(Spans(line, plan.start_s[rows], np.minimum(plan.end_s[rows], shown_s)))
    intervals = clock.intervals(spans.start_s, spans.end_s)
    number, first = np.unique(spans.row, return_index=True)
    last = np.append(first[1:], len(spans))
    by_opening = np.argsort(spans.start_s[first], kind="stable")
    return [_link(plan, int(number[n]), intervals[first[n] : last[n]]) for n in by_opening.tolist()]


def _link(plan: ContactPlan, number: int, open_in: Sequence[str]) -> Packet:
    pair, kind = divmod(number, len(KINDS))
    one, other = divmod(pair, len(plan.nodes))
    return {
        "id": f"{KINDS[kind]}-{one}-{other}",
        "name": f"{KINDS[kind]} {plan.nodes.name(one)} - {plan.nodes.name(other)}",
        "availability": open_in,
        "polyline": {
            "positions": {"references": [f"{_name_of(one)}#position", f"{_name_of(other)}#position"]},
            "arcType": "NONE",
            "width": 1.5,
            "material": {"solidColor": {"color": {"rgba": _LINK_RGBA[KINDS[kind]]}}},
        },
    }

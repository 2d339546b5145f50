"""From orbits, stations and links to the `ContactPlan`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.links.visibility import DEFAULT_GRID_S, ground_passes, pair_windows
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation
from orbitune.orbit.propagate import propagate
from orbitune.orbit.time import SECONDS_PER_DAY
from orbitune.units import BITS_PER_BYTE, LIGHT_SPEED_M_S

_ORBIT_SAMPLES = 48
"""Instants of one orbit over which the distance of neighbouring planes is averaged."""


@dataclass(frozen=True)
class LinkSpec:
    """What the links can do. Rates hold for the whole of a contact, in each direction.

    An inter-satellite ray must stay `grazing_altitude_m` above the Earth. `isl_inter_max_range_m` limits links between
    planes; links within a ring are limited by the Earth only. `hop_latency_s` is added to every contact's delay.

    Raises:
        PlanError: a number is out of range.
    """

    downlink_rate_bps: float
    uplink_rate_bps: float
    isl_intra_rate_bps: float
    isl_inter_rate_bps: float
    backhaul_rate_bps: float
    grazing_altitude_m: float
    isl_inter_max_range_m: float
    hop_latency_s: float
    isl_inter_links: bool

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_rate_bps") and not 0.0 < value < math.inf:
                raise PlanError(f"link spec: {field.name} = {value:g} must be more than 0.")
        if not self.hop_latency_s >= 0.0:
            raise PlanError(f"link spec: hop_latency_s = {self.hop_latency_s:g} must be 0 or more.")
        if not self.isl_inter_max_range_m > 0.0:
            raise PlanError(f"link spec: isl_inter_max_range_m = {self.isl_inter_max_range_m:g} must be more than 0.")

    def rate_bps(self, kind: str) -> float:
        """The rate of one of `KINDS`."""
        return float(getattr(self, f"{kind}_rate_bps"))


@dataclass(frozen=True)
class _Spans:
    """Contacts of one kind in one direction, before rates and delays are known."""

    kind: str
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    range_m: NDArray[np.float64]


def find_contacts(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    spec: LinkSpec,
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float = DEFAULT_GRID_S,
) -> ContactPlan:
    """All contacts from the start to the horizon.

    Satellite and station: a downlink and an uplink in every pass. Neighbours in a ring: both ways while the ray
    clears the Earth. With `isl_inter_links`, each satellite and its nearest one in the next plane of its shell.
    Stations and server: always. A plan in which no station ever sees a satellite is a valid plan.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite in the horizon.
    """
    nodes = Nodes(constellation.names, tuple(station.name for station in stations), constellation.planes)
    spans = [
        *_ground(constellation, stations, start_utc, horizon_s, grid_s),
        *_pairs("isl_intra", constellation, ring_pairs(constellation), spec, start_utc, horizon_s, grid_s),
        *_backhaul(nodes, horizon_s),
    ]
    if spec.isl_inter_links:
        pairs = plane_pairs(constellation, start_utc)
        spans += _pairs("isl_inter", constellation, pairs, spec, start_utc, horizon_s, grid_s)
    return _sorted_plan(nodes, horizon_s, spec, spans)


def ring_pairs(constellation: Constellation) -> NDArray[np.int64]:
    """Neighbours in every ring, [N, 2]; a ring of two has one pair."""
    pairs = [
        pair
        for members, ring in zip(constellation.planes, constellation.has_rings, strict=True)
        if ring
        for pair in [*pairwise(members), *([(members[-1], members[0])] if len(members) > 2 else [])]
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def plane_pairs(constellation: Constellation, start_utc: str | datetime) -> NDArray[np.int64]:
    """Each satellite with its nearest in the next plane, [N, 2]: the inter-plane half of the grid.

    Nearest means the smallest angle averaged over one orbit. In a Walker pattern that is the same step along the plane
    for every satellite, so each satellite has at most one link forward and one back.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for plane, following in enumerate(constellation.next_plane):
        if following is not None:
            ahead = constellation.planes[following]
            shift = _nearest_shift(constellation, constellation.planes[plane], ahead, start_utc)
            found.append(np.stack([constellation.planes[plane], np.roll(ahead, -shift)], axis=1))
    return np.concatenate(found)


def summary(plan: ContactPlan) -> dict[str, object]:
    """Key figures of a plan.

    Returns:
        `passes_per_day` over all satellites and stations; `contact_share_mean`, the part of the horizon in which a
        satellite sees some station, mean over satellites; `longest_gap_s` without any station, ends of the horizon
        included, and `longest_gap_satellite`, its name; `contacts` and `volume_per_day_bytes` per kind.
    """
    days = plan.horizon_s / SECONDS_PER_DAY
    sights = [plan.ground_intervals(satellite) for satellite in plan.nodes.satellites]
    gaps = [_longest_gap(intervals, plan.horizon_s) for intervals in sights]
    worst = int(np.argmax(gaps)) if gaps else None
    return {
        "passes_per_day": _count_passes(plan) / days,
        "contact_share_mean": sum(float(np.diff(x).sum()) for x in sights) / (plan.horizon_s * max(1, len(sights))),
        "longest_gap_s": 0.0 if worst is None else gaps[worst],
        "longest_gap_satellite": None if worst is None else plan.nodes.satellite_names[worst],
        "contacts": {kind: len(plan.of_kind(kind)) for kind in KINDS},
        "volume_per_day_bytes": {kind: _volume_bytes(plan, kind) / days for kind in KINDS},
    }


def _ground(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float,
) -> list[_Spans]:
    passes = ground_passes(constellation, stations, start_utc, horizon_s, grid_s)
    station = passes.station + len(constellation)
    times = (passes.rise_s, passes.set_s, passes.max_range_m)
    return [
        _Spans("downlink", passes.satellite, station, *times),
        _Spans("uplink", station, passes.satellite, *times),
    ]


def _pairs(
    kind: str,
    constellation: Constellation,
    pairs: NDArray[np.int64],
    spec: LinkSpec,
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float,
) -> list[_Spans]:
    reach_m = spec.isl_inter_max_range_m if kind == "isl_inter" else math.inf
    found = pair_windows(constellation, pairs, start_utc, horizon_s, spec.grazing_altitude_m, reach_m, grid_s)
    one, two = pairs[found.pair].T
    times = (found.start_s, found.end_s, found.max_range_m)
    return [_Spans(kind, one, two, *times), _Spans(kind, two, one, *times)]


def _backhaul(nodes: Nodes, horizon_s: float) -> list[_Spans]:
    station = np.array(nodes.stations, dtype=np.int64)
    server = np.full_like(station, nodes.server)
    start_s, end_s, range_m = (np.full(len(station), value) for value in (0.0, horizon_s, 0.0))
    return [
        _Spans("backhaul", station, server, start_s, end_s, range_m),
        _Spans("backhaul", server, station, start_s, end_s, range_m),
    ]


def _sorted_plan(nodes: Nodes, horizon_s: float, spec: LinkSpec, spans: Sequence[_Spans]) -> ContactPlan:
    sizes = [len(part.start_s) for part in spans]
    source, target, start_s, end_s, range_m = (
        np.concatenate([getattr(part, name) for part in spans])
        for name in ("source", "target", "start_s", "end_s", "range_m")
    )
    kind = np.repeat([KINDS.index(part.kind) for part in spans], sizes)
    rate_bps = np.repeat([spec.rate_bps(part.kind) for part in spans], sizes)
    order = np.lexsort((target, source, start_s))
    return ContactPlan(
        nodes=nodes,
        horizon_s=horizon_s,
        source=source[order].astype(np.int32),
        target=target[order].astype(np.int32),
        kind=kind[order].astype(np.int8),
        start_s=start_s[order],
        end_s=end_s[order],
        rate_bps=rate_bps[order].astype(np.float64),
        range_m=range_m[order],
        delay_s=range_m[order] / LIGHT_SPEED_M_S + spec.hop_latency_s,
    )


def _nearest_shift(
    constellation: Constellation, plane: Sequence[int], ahead: Sequence[int], start_utc: str | datetime
) -> int:
    """The step k for which satellite i of `plane` and satellite i + k of `ahead` are nearest, over one orbit."""
    period_s = 2.0 * math.pi / constellation.elements[plane[0]].no_kozai * 60.0
    time_s = np.arange(_ORBIT_SAMPLES) * (period_s / _ORBIT_SAMPLES)
    position = propagate(constellation, start_utc, time_s, [*plane, *ahead]).position_m.reshape(-1, 3 * _ORBIT_SAMPLES)
    product = position[: len(plane)] @ position[len(plane) :].T
    closeness = [np.trace(np.roll(product, -k, axis=1)) for k in range(len(ahead))]
    # Two steps can be equally near; rounding must not choose between them.
    return int(np.argmax(np.round(np.array(closeness) / max(closeness), 6)))


def _longest_gap(intervals: NDArray[np.float64], horizon_s: float) -> float:
    edges = np.concatenate([[0.0], intervals.ravel(), [horizon_s]])
    return float((edges[1::2] - edges[::2]).max())


def _count_passes(plan: ContactPlan) -> int:
    """Downlink contacts, those that touch counted once: one pass may have several rates."""
    downlink = KINDS.index("downlink")
    links = (contacts for contacts in plan.by_link.values() if KINDS.index(contacts[0].kind) == downlink)
    return sum(1 + sum(later.start_s > earlier.end_s for earlier, later in pairwise(link)) for link in links)


def _volume_bytes(plan: ContactPlan, kind: str) -> float:
    rows = plan.of_kind(kind)
    return float((plan.rate_bps[rows] * (plan.end_s[rows] - plan.start_s[rows])).sum()) / BITS_PER_BYTE

"""From orbits, stations and links to the `ContactPlan`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.links.horizon import above_horizon
from orbitune.links.isl import IslSpec, IslWindows, plane_windows, ring_windows
from orbitune.links.motion import Windows
from orbitune.links.pieces import pieces
from orbitune.links.rates import RateModel
from orbitune.links.visibility import DEFAULT_GRID_S, ground_passes
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation
from orbitune.units import LIGHT_SPEED_M_S


@dataclass(frozen=True)
class LinkSpec:
    """What the links can do: a rate model for each kind, the same in both directions between satellites.

    With `rings`, neighbours in a plane hold links; `isl` says who does between planes. `hop_latency_s` is added to
    every contact's delay.

    Raises:
        PlanError: a number is out of range.
    """

    downlink: RateModel
    uplink: RateModel
    isl_intra: RateModel
    isl_inter: RateModel
    backhaul_rate_bps: float
    isl: IslSpec
    hop_latency_s: float
    rings: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.backhaul_rate_bps < math.inf:
            raise PlanError(f"link spec: backhaul_rate_bps = {self.backhaul_rate_bps:g} must be more than 0.")
        if not 0.0 <= self.hop_latency_s < math.inf:
            raise PlanError(f"link spec: hop_latency_s = {self.hop_latency_s:g} must be 0 or more.")


@dataclass(frozen=True)
class _Spans:
    """Contacts of one kind in one direction, before delays are known; equal-length columns."""

    kind: str
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    rate_bps: NDArray[np.float64]
    range_m: NDArray[np.float64]


@dataclass(frozen=True)
class _Search:
    """What every search for windows is given."""

    constellation: Constellation
    stations: Sequence[GroundStation]
    spec: LinkSpec
    start_utc: str | datetime
    horizon_s: float
    grid_s: float

    def ground(self) -> Iterator[_Spans]:
        """A downlink and an uplink in every pass, each in pieces of constant rate."""
        passes = ground_passes(self.constellation, self.stations, self.start_utc, self.horizon_s, self.grid_s)
        passes = above_horizon(passes, self.constellation, self.stations, self.start_utc)
        windows, first = Windows.of_passes(passes), len(self.constellation)
        for kind, model in (("downlink", self.spec.downlink), ("uplink", self.spec.uplink)):
            part = pieces(windows, self.constellation, self.stations, self.start_utc, model)
            satellite, station = windows.satellite[part.window], windows.other[part.window] + first
            ends = (satellite, station) if kind == "downlink" else (station, satellite)
            yield _Spans(kind, *ends, part.start_s, part.end_s, part.rate_bps, part.max_range_m)

    def between_satellites(self) -> Iterator[_Spans]:
        """Both ways over every window in a ring and, as the policy says, between planes."""
        where = (self.constellation, self.spec.isl, self.start_utc, self.horizon_s, self.grid_s)
        if self.spec.rings:
            yield from self._both_ways("isl_intra", ring_windows(*where), self.spec.isl_intra)
        yield from self._both_ways("isl_inter", plane_windows(*where), self.spec.isl_inter)

    def _both_ways(self, kind: str, found: IslWindows, model: RateModel) -> Iterator[_Spans]:
        windows = Windows.of_links(found)
        part = pieces(windows, self.constellation, (), self.start_utc, model)
        one, two = found.one[part.window], found.two[part.window]
        for ends in ((one, two), (two, one)):
            yield _Spans(kind, *ends, part.start_s, part.end_s, part.rate_bps, part.max_range_m)


def find_contacts(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    spec: LinkSpec,
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float = DEFAULT_GRID_S,
) -> ContactPlan:
    """All contacts from the start to the horizon.

    Satellite and station: a downlink and an uplink in every pass above the masks. Neighbours in a ring: both ways
    while the ray clears the Earth. Between planes: as `spec.isl` says. Stations and server: always. A window whose
    rate changes is several contacts that touch; where the link does not close there is none. A plan in which no station
    ever sees a satellite is a valid plan. Cost of passes: linear in satellites x stations x horizon; see `isl` for the
    rest.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite in the horizon.
    """
    nodes = Nodes(constellation.names, tuple(station.name for station in stations), constellation.planes)
    search = _Search(constellation, stations, spec, start_utc, horizon_s, grid_s)
    spans = [*search.ground(), *search.between_satellites(), *_backhaul(nodes, horizon_s, spec.backhaul_rate_bps)]
    return _sorted_plan(nodes, horizon_s, spec.hop_latency_s, spans)


def _backhaul(nodes: Nodes, horizon_s: float, rate_bps: float) -> Iterator[_Spans]:
    station = np.array(nodes.stations, dtype=np.int64)
    server = np.full_like(station, nodes.server)
    columns = [np.full(len(station), value) for value in (0.0, horizon_s, rate_bps, 0.0)]
    for ends in ((station, server), (server, station)):
        yield _Spans("backhaul", *ends, *columns)


def _sorted_plan(nodes: Nodes, horizon_s: float, hop_latency_s: float, spans: Sequence[_Spans]) -> ContactPlan:
    source, target, start_s, end_s, rate_bps, range_m = (
        np.concatenate([getattr(part, name) for part in spans])
        for name in ("source", "target", "start_s", "end_s", "rate_bps", "range_m")
    )
    kind = np.repeat([KINDS.index(part.kind) for part in spans], [len(part.start_s) for part in spans])
    order = np.lexsort((target, source, start_s))
    return ContactPlan(
        nodes=nodes,
        horizon_s=horizon_s,
        source=source[order].astype(np.int32),
        target=target[order].astype(np.int32),
        kind=kind[order].astype(np.int8),
        start_s=start_s[order],
        end_s=end_s[order],
        rate_bps=rate_bps[order],
        range_m=range_m[order],
        delay_s=range_m[order] / LIGHT_SPEED_M_S + hop_latency_s,
    )

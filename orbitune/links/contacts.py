"""Who can talk to whom, when and how fast: the `ContactPlan`, the border between orbits and everything else.

Nodes are numbered once for the whole program: satellites `0 .. S-1`, ground stations `S .. S+G-1`,
and the ground server last. A contact is directed; a two-way link is two contacts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

KINDS = ("downlink", "uplink", "isl_intra", "isl_inter", "backhaul")
"""The five kinds of contact; the same words are used in scenarios, byte counts and reports."""


@dataclass(frozen=True)
class Nodes:
    """Names and places of all nodes. `planes[p]` lists the satellites of plane p in ring order."""

    satellite_names: tuple[str, ...]
    station_names: tuple[str, ...]
    planes: tuple[tuple[int, ...], ...]

    @property
    def num_satellites(self) -> int:
        return len(self.satellite_names)

    @property
    def num_stations(self) -> int:
        return len(self.station_names)

    @property
    def satellites(self) -> range:
        return range(self.num_satellites)

    @property
    def stations(self) -> range:
        return range(self.num_satellites, self.num_satellites + self.num_stations)

    @property
    def server(self) -> int:
        return self.num_satellites + self.num_stations

    def __len__(self) -> int:
        return self.server + 1

    @cached_property
    def plane_of(self) -> tuple[int, ...]:
        """Plane of each satellite, by satellite id."""
        plane = [0] * self.num_satellites
        for p, members in enumerate(self.planes):
            for satellite in members:
                plane[satellite] = p
        return tuple(plane)

    def name(self, node: int) -> str:
        """The name of a node, as printed."""
        return (*self.satellite_names, *self.station_names, "server")[node]


@dataclass(frozen=True)
class Contact:
    """One directed contact: `source` can send to `target` from `start_s` to `end_s` at `rate_bps`.

    `delay_s` is the time from the last bit sent to the last bit usable: propagation over the greatest
    range of the contact plus the hop latency of the scenario.
    """

    source: int
    target: int
    kind: str
    start_s: float
    end_s: float
    rate_bps: float
    range_m: float
    delay_s: float


@dataclass(frozen=True)
class ContactPlan:
    """All contacts of a horizon as equal-length columns, sorted by (start_s, source, target).

    Seconds count from the scenario's start; `kind` indexes `KINDS`. Where the rate of a pass changes, the pass
    is several contacts that touch. Permanent links span the whole horizon.
    """

    nodes: Nodes
    horizon_s: float
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    kind: NDArray[np.int8]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    rate_bps: NDArray[np.float64]
    range_m: NDArray[np.float64]
    delay_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start_s)

    def __getitem__(self, row: int) -> Contact:
        return Contact(
            int(self.source[row]),
            int(self.target[row]),
            KINDS[self.kind[row]],
            float(self.start_s[row]),
            float(self.end_s[row]),
            float(self.rate_bps[row]),
            float(self.range_m[row]),
            float(self.delay_s[row]),
        )

    def __iter__(self) -> Iterator[Contact]:
        return (self[row] for row in range(len(self)))

    @cached_property
    def by_link(self) -> dict[tuple[int, int], tuple[Contact, ...]]:
        """Contacts of each directed pair, in time order."""
        found: dict[tuple[int, int], list[Contact]] = {}
        for contact in self:
            found.setdefault((contact.source, contact.target), []).append(contact)
        return {pair: tuple(contacts) for pair, contacts in found.items()}

    def of_kind(self, kind: str) -> NDArray[np.int64]:
        """Row numbers of the contacts of one kind, in time order."""
        return np.flatnonzero(self.kind == KINDS.index(kind))

    def ground_intervals(self, satellite: int) -> NDArray[np.float64]:
        """When the satellite can send to some station: disjoint intervals [N, 2] in s, in time order."""
        rows = np.flatnonzero((self.source == satellite) & (self.kind == KINDS.index("downlink")))
        if not len(rows):
            return np.empty((0, 2))
        start_s, latest_s = self.start_s[rows], np.maximum.accumulate(self.end_s[rows])
        # Rows are sorted by start: a gap lies where one starts after all before it have ended.
        gap = start_s[1:] > latest_s[:-1]
        return np.stack([start_s[np.r_[True, gap]], latest_s[np.r_[gap, True]]], axis=1)

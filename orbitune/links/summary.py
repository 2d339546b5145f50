"""What a contact plan amounts to: passes, gaps, shares of time and volumes, overall and for each satellite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitune.links.contacts import KINDS, ContactPlan
from orbitune.links.crossings import Floats, Ints, Spans
from orbitune.links.spans import union
from orbitune.orbit.time import SECONDS_PER_DAY
from orbitune.units import BITS_PER_BYTE


def summary(plan: ContactPlan) -> dict[str, object]:
    """Everything there is to say about a plan: `key_figures`, and lists with one entry for each part of it.

    Returns:
        Also `per_satellite`, `per_plane` and `per_station`, each a list of plain dictionaries in the order of the
        nodes. All have `name` (a plane's is its number), `passes_per_day`, `contact_share` (the part of the horizon in
        which it is in contact), `longest_gap_s` without contact, ends of the horizon included, and
        `downlink_per_day_bytes`; a satellite has its `plane`, a plane the number of its `satellites`. A plane is in
        contact while any of its satellites is, a station while it sees any satellite.
    """
    nodes, downlinks = plan.nodes, _Downlinks.of(plan)
    plane_of = np.array(nodes.plane_of, dtype=np.int64)
    satellites = _figures(plan, downlinks, downlinks.satellite, nodes.satellite_names)
    planes = _figures(plan, downlinks, plane_of[downlinks.satellite], [str(p) for p in range(len(nodes.planes))])
    stations = _figures(plan, downlinks, downlinks.station, nodes.station_names)
    return {
        **key_figures(plan),
        "per_satellite": [{**row, "plane": plane} for row, plane in zip(satellites, nodes.plane_of, strict=True)],
        "per_plane": [{**row, "satellites": len(own)} for row, own in zip(planes, nodes.planes, strict=True)],
        "per_station": stations,
    }


def key_figures(plan: ContactPlan) -> dict[str, object]:
    """Key figures of a plan, the same few whatever its size.

    Returns:
        `passes_per_day` over all satellites and stations; `contact_share_mean` and `contact_share_min`, the part of the
        horizon in which a satellite sees some station, over satellites; `longest_gap_s` without any station, ends of
        the horizon included, `longest_gap_satellite`, its name, and `longest_gap_median_s` over satellites;
        `satellites_never_in_contact`; `contacts` and `volume_per_day_bytes` per kind.
    """
    downlinks = _Downlinks.of(plan)
    num, days = plan.nodes.num_satellites, plan.horizon_s / SECONDS_PER_DAY
    sights = union(downlinks.spans(downlinks.satellite))
    share, gap_s = _open_share(sights, num, plan.horizon_s), _longest_gaps(sights, num, plan.horizon_s)
    worst = int(np.argmax(gap_s)) if num else None
    return {
        "passes_per_day": len(downlinks.passes()) / days,
        "contact_share_mean": float(share.mean()) if num else 0.0,
        "contact_share_min": float(share.min()) if num else 0.0,
        "longest_gap_s": 0.0 if worst is None else float(gap_s[worst]),
        "longest_gap_satellite": None if worst is None else plan.nodes.satellite_names[worst],
        "longest_gap_median_s": float(np.median(gap_s)) if num else 0.0,
        "satellites_never_in_contact": int((share == 0.0).sum()),
        "contacts": {kind: len(plan.of_kind(kind)) for kind in KINDS},
        "volume_per_day_bytes": {kind: _volume_bytes(plan, kind) / days for kind in KINDS},
    }


@dataclass(frozen=True)
class _Downlinks:
    """The downlink contacts of a plan as columns; `station` counts stations from 0."""

    satellite: Ints
    station: Ints
    start_s: Floats
    end_s: Floats
    volume_bytes: Floats

    @classmethod
    def of(cls, plan: ContactPlan) -> _Downlinks:
        rows = plan.of_kind("downlink")
        start_s, end_s = plan.start_s[rows], plan.end_s[rows]
        station = plan.target[rows].astype(np.int64) - plan.nodes.num_satellites
        volume_bytes = plan.rate_bps[rows] * (end_s - start_s) / BITS_PER_BYTE
        return cls(plan.source[rows].astype(np.int64), station, start_s, end_s, volume_bytes)

    def spans(self, row: Ints) -> Spans:
        return Spans(row, self.start_s, self.end_s)

    def passes(self) -> Spans:
        """Passes, row = satellite x number of stations + station: contacts that touch are one pass at several rates."""
        return union(self.spans(self.satellite * self.num_stations + self.station))

    @property
    def num_stations(self) -> int:
        """Enough of them to tell the links apart; stations that see nothing do not matter here."""
        return int(self.station.max(initial=0)) + 1


def _figures(plan: ContactPlan, downlinks: _Downlinks, row: Ints, names: Sequence[str]) -> list[dict[str, object]]:
    """The figures of each part, where downlink n belongs to part `row[n]`."""
    num, days = len(names), plan.horizon_s / SECONDS_PER_DAY
    # A pass belongs where its link does: to each link one row of `passes`, and to each of these one part.
    link = downlinks.satellite * downlinks.num_stations + downlinks.station
    part_of = np.zeros(int(link.max(initial=0)) + 1, dtype=np.int64)
    part_of[link] = row
    passes = np.bincount(part_of[downlinks.passes().row], minlength=num)
    in_contact = union(downlinks.spans(row))
    columns = {
        "passes_per_day": passes / days,
        "contact_share": _open_share(in_contact, num, plan.horizon_s),
        "longest_gap_s": _longest_gaps(in_contact, num, plan.horizon_s),
        "downlink_per_day_bytes": np.bincount(row, downlinks.volume_bytes, minlength=num) / days,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {"name": name, **dict(zip(columns, figures, strict=True))} for name, figures in zip(names, rows, strict=True)
    ]


def _open_share(joined: Spans, num_rows: int, horizon_s: float) -> Floats:
    return np.bincount(joined.row, joined.end_s - joined.start_s, minlength=num_rows) / horizon_s


def _longest_gaps(joined: Spans, num_rows: int, horizon_s: float) -> Floats:
    """The longest time of each row outside its spans, from 0 to the horizon; spans sorted and joined as by `union`."""
    every = np.arange(num_rows)
    row = np.concatenate([every, joined.row])
    gap_from = np.concatenate([np.zeros(num_rows), joined.end_s])
    gap_to = np.concatenate([joined.start_s, np.full(num_rows, horizon_s)])
    # The n-th gap of a row goes from its n-th beginning to its n-th end: one more of each than there are spans.
    first = np.lexsort((gap_from, row))
    last = np.lexsort((gap_to, np.concatenate([joined.row, every])))
    longest = np.zeros(num_rows)
    np.maximum.at(longest, row[first], gap_to[last] - gap_from[first])
    return longest


def _volume_bytes(plan: ContactPlan, kind: str) -> float:
    rows = plan.of_kind(kind)
    return float((plan.rate_bps[rows] * (plan.end_s[rows] - plan.start_s[rows])).sum()) / BITS_PER_BYTE

"""Passes, gaps and links of a plan as whole windows, whatever number of contacts they consist of; plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.links.contacts import KINDS, ContactPlan
from orbitune.links.crossings import Floats, Ints, Spans
from orbitune.links.spans import difference, last_begun, union
from orbitune.orbit.time import SECONDS_PER_DAY

SHOWN_S = SECONDS_PER_DAY
"""Windows are drawn over the first day; a day of a low satellite is much like the next."""

MAX_BARS = 40
"""Bars of a distribution."""

EXAMPLE_S = 3 * 3600.0
"""Of a longer window only the beginning serves as the example of how its rate changes."""

_WIDTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)


@dataclass(frozen=True)
class Passes:
    """Passes as equal-length columns, sorted by (start_s, satellite, station); stations count from 0."""

    satellite: Ints
    station: Ints
    start_s: Floats
    end_s: Floats

    def rows(self, chosen: NDArray[np.bool_]) -> list[list[float]]:
        """(satellite, station, start, end) of those chosen [N]."""
        columns = (column[chosen].tolist() for column in (self.satellite, self.station, self.start_s, self.end_s))
        return [list(row) for row in zip(*columns, strict=True)]


def passes_of(plan: ContactPlan) -> Passes:
    """The passes of a plan: contacts of one link that touch are one pass at several rates."""
    rows, nodes = plan.of_kind("downlink"), plan.nodes
    link = plan.source[rows].astype(np.int64) * len(nodes) + plan.target[rows]
    joined = union(Spans(link, plan.start_s[rows], plan.end_s[rows]))
    order = np.lexsort((joined.row, joined.start_s))
    satellite, station = np.divmod(joined.row[order], len(nodes))
    return Passes(satellite, station - nodes.num_satellites, joined.start_s[order], joined.end_s[order])


def sights_of(passes: Passes) -> Spans:
    """When each satellite sees some station: joined spans, their row is the satellite."""
    return union(Spans(passes.satellite, passes.start_s, passes.end_s))


# -- distributions -----------------------------------------------------------------------------------------------------


def pass_durations(passes: Passes, horizon_s: float) -> dict[str, object]:
    """Of passes that lie within the horizon; one that is cut by its ends has no length of its own."""
    whole = (passes.start_s > 0.0) & (passes.end_s < horizon_s)
    return _distribution(passes.end_s[whole] - passes.start_s[whole]) | {"cut": int((~whole).sum())}


def gaps(sights: Spans, num_satellites: int, horizon_s: float) -> dict[str, object]:
    """Of all times in which a satellite sees no station, those at the ends of the horizon included."""
    every = np.arange(num_satellites)
    horizon = Spans(every, np.zeros(num_satellites), np.full(num_satellites, horizon_s))
    found, _ = difference(horizon, sights)
    cut = (found.start_s == 0.0) | (found.end_s == horizon_s)
    return _distribution(found.end_s - found.start_s) | {"cut": int(cut.sum())}


def _distribution(length_s: Floats) -> dict[str, object]:
    """Counts of lengths in bars of a round width from 0 on, and a few figures of them; no bars where there are none."""
    if not len(length_s):
        return {"number": 0, "width_s": 1.0, "counts": []}
    longest_s = float(length_s.max())
    fitting = (float(width) for width in _WIDTHS_S if longest_s / width < MAX_BARS)
    width_s = next(fitting, SECONDS_PER_DAY * math.ceil(longest_s / SECONDS_PER_DAY / MAX_BARS))
    return {
        "number": len(length_s),
        "width_s": width_s,
        "counts": np.bincount((length_s // width_s).astype(np.int64)).tolist(),
        "shortest_s": float(length_s.min()),
        "median_s": float(np.median(length_s)),
        "longest_s": longest_s,
    }


# -- links and rates ---------------------------------------------------------------------------------------------------


def links_of(plan: ContactPlan, kind: str) -> dict[str, object]:
    """Links between satellites of one kind; both directions are one link, contacts that touch one window."""
    windows = _link_windows(plan, kind)
    length_s = windows.end_s - windows.start_s
    cut = (windows.start_s <= 0.0) | (windows.end_s >= plan.horizon_s)
    num, permanent = len(np.unique(windows.row)), int((length_s >= plan.horizon_s).sum())
    return {
        "links": num,
        "permanent": permanent,
        "windows": len(windows),
        "share": float(length_s.sum()) / (num * plan.horizon_s) if num else 0.0,
        "up": _number_up(windows, plan.horizon_s),
        "durations": _distribution(length_s[~cut]) | {"cut": int(cut.sum()) - permanent},
    }


def _link_windows(plan: ContactPlan, kind: str) -> Spans:
    rows = plan.of_kind(kind)
    one, two = plan.source[rows].astype(np.int64), plan.target[rows]
    link = np.minimum(one, two) * len(plan.nodes) + np.maximum(one, two)
    return union(Spans(link, plan.start_s[rows], plan.end_s[rows]))


def _number_up(windows: Spans, horizon_s: float) -> list[list[float]]:
    """How many windows are open at moments five minutes (of a day) apart: (time, number)."""
    shown_s = min(SHOWN_S, horizon_s)
    step_s = shown_s / 288
    time_s = np.arange(288) * step_s + step_s / 2
    begun = np.searchsorted(np.sort(windows.start_s), time_s, side="right")
    over = np.searchsorted(np.sort(windows.end_s), time_s, side="right")
    return [[t, n] for t, n in zip(time_s.tolist(), (begun - over).tolist(), strict=True)]


def rates_of(plan: ContactPlan, kind: str) -> dict[str, float] | None:
    """Lowest, highest and mean rate (over time) of a kind; None where it has no contacts."""
    rows = plan.of_kind(kind)
    if not len(rows):
        return None
    rate_bps, length_s = plan.rate_bps[rows], plan.end_s[rows] - plan.start_s[rows]
    mean_bps = float(rate_bps @ length_s) / float(length_s.sum())
    return {"min_bps": float(rate_bps.min()), "max_bps": float(rate_bps.max()), "mean_bps": mean_bps}


EXAMPLES = (("downlink", "uplink"), ("isl_intra",), ("isl_inter",))
"""Kinds that share a window, and so a drawing."""


def example_of(plan: ContactPlan, kinds: Sequence[str]) -> dict[str, object] | None:
    """How the rate goes in the window of these kinds in which it changes most often; None where no rate ever changes.

    Returns:
        Names of the ends, satellite first, `start_s` and `end_s` of what is shown, `whole_s` of the window, and for
        each kind its pieces as (start, end, rate).
    """
    most, window = max((_most_pieces(plan, kind) for kind in kinds), key=lambda found: found[0])
    if most < 2:
        return None
    ends, start_s, whole_s = window
    end_s = start_s + min(whole_s, EXAMPLE_S)
    return {
        "from": plan.nodes.name(min(ends)),
        "to": plan.nodes.name(max(ends)),
        "start_s": start_s,
        "end_s": end_s,
        "whole_s": whole_s,
        "rates": {kind: _pieces(plan, kind, ends, (start_s, end_s)) for kind in kinds},
    }


_Window = tuple[tuple[int, int], float, float]


def _most_pieces(plan: ContactPlan, kind: str) -> tuple[int, _Window]:
    """Number of contacts, and ends, start and length, of the first window of a kind with the most contacts.

    Of a kind with one rate it is 0: nothing changes there.
    """
    rows = plan.of_kind(kind)
    if not len(rows) or np.ptp(plan.rate_bps[rows]) == 0.0:
        return 0, ((0, 0), 0.0, 0.0)
    link = plan.source[rows].astype(np.int64) * len(plan.nodes) + plan.target[rows]
    windows = union(Spans(link, plan.start_s[rows], plan.end_s[rows]))
    pieces = np.bincount(last_begun(windows, link, plan.start_s[rows]), minlength=len(windows))
    best = int(pieces.argmax())
    start_s, end_s = float(windows.start_s[best]), float(windows.end_s[best])
    source, target = divmod(int(windows.row[best]), len(plan.nodes))
    return int(pieces[best]), ((source, target), start_s, end_s - start_s)


def _pieces(plan: ContactPlan, kind: str, ends: tuple[int, int], span_s: tuple[float, float]) -> list[list[float]]:
    """(start, end, rate) of one direction of a link, cut to a span."""
    one = (plan.source == ends[0]) & (plan.target == ends[1])
    other = (plan.source == ends[1]) & (plan.target == ends[0])
    for way in (one, other):
        rows = np.flatnonzero(way & (plan.kind == KINDS.index(kind)))
        rows = rows[(plan.start_s[rows] < span_s[1]) & (plan.end_s[rows] > span_s[0])]
        if len(rows):
            edges = np.clip(np.stack([plan.start_s[rows], plan.end_s[rows]]), *span_s)
            found: list[list[float]] = np.stack([*edges, plan.rate_bps[rows]], axis=1).tolist()
            return found
    return []

"""Spans of time counted row by row: joined where they touch, cut out of others."""

from __future__ import annotations

import numpy as np

from orbitune.links.crossings import Floats, Ints, Spans


def union(spans: Spans) -> Spans:
    """The spans of each row joined where they overlap or touch, sorted by (row, start_s); spans may come unsorted."""
    row = np.tile(spans.row, 2)
    time_s = np.concatenate([spans.start_s, spans.end_s])
    step = np.repeat([1, -1], len(spans))
    # At equal times opening goes first, so spans that touch become one.
    order = np.lexsort((-step, time_s, row))
    row, time_s, step = row[order], time_s[order], step[order]
    depth = np.cumsum(step)
    opens, closes = (step == 1) & (depth == 1), depth == 0
    return Spans(row[opens], time_s[opens], time_s[closes])


def difference(spans: Spans, cuts: Spans) -> tuple[Spans, Ints]:
    """What is left of spans when others are taken away.

    Args:
        spans: Any spans; they may overlap.
        cuts: What to take away: `row` counts the spans that are cut, not their rows.

    Returns:
        The pieces, sorted by the span they come from and by time, and the number of that span for each.
    """
    number = np.arange(len(spans))
    start_s = np.maximum(cuts.start_s, spans.start_s[cuts.row])
    end_s = np.minimum(cuts.end_s, spans.end_s[cuts.row])
    inside = start_s < end_s
    holes = union(Spans(cuts.row[inside], start_s[inside], end_s[inside]))
    # A piece begins where its span or the hole before it ends, and so the n-th beginning meets the n-th end.
    of = np.concatenate([number, holes.row])
    begins, ends = np.concatenate([spans.start_s, holes.end_s]), np.concatenate([holes.start_s, spans.end_s])
    of_ends = np.concatenate([holes.row, number])
    first, last = np.lexsort((begins, of)), np.lexsort((ends, of_ends))
    of, begins, ends = of[first], begins[first], ends[last]
    left = begins < ends
    return Spans(spans.row[of[left]], begins[left], ends[left]), of[left]


def last_begun(joined: Spans, row: Ints, start_s: Floats) -> Ints:
    """For rows and times [N]: which span, of some sorted as `union` does, has begun last there; -1 where none has."""
    rows = np.concatenate([joined.row, row])
    times = np.concatenate([joined.start_s, start_s])
    asks = np.arange(len(rows)) >= len(joined)
    order = np.lexsort((asks, times, rows))
    begun = np.empty(len(rows), dtype=np.int64)
    begun[order] = np.cumsum(~asks[order]) - 1
    found = begun[len(joined) :]
    # The last one begun may belong to an earlier row.
    return np.where((found >= 0) & (np.append(joined.row, -1)[found] == row), found, -1)

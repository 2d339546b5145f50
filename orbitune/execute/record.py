"""What was carried out, beside what was planned: the executed timeline, and seconds of each stage and round.

An activity belongs to the first planned stretch of its phase, round and stage that ends when it does or later. A
stretch then ends as much later than planned as the last of its activities did, and begins where the one before it
ended, so that executed stages add up as planned ones do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from operator import itemgetter
from typing import Any

from orbitune.timeline.activity import Activity, Promise, Span, Timeline
from orbitune.timeline.rejection import TIME_TOLERANCE_S

Row = Mapping[str, Any]
"""One line of a host's "executed": activity, attempt, start_s, end_s, arrive_s, parts."""


@dataclass(frozen=True)
class Compared:
    """A stage of all rounds, or one round, as planned and as carried out.

    Attributes:
        name: The stage, or "round 1" and so on.
    """

    name: str
    planned_s: float
    executed_s: float

    @property
    def error_s(self) -> float:
        """How much longer it took."""
        return self.executed_s - self.planned_s

    @property
    def ratio(self) -> float | None:
        """Executed over planned; None where nothing was planned to take time."""
        return self.executed_s / self.planned_s if self.planned_s > 0.0 else None


def executed(timeline: Timeline, rows: Iterable[Row], start_s: float = 0.0) -> Timeline:
    """The timeline as it was carried out; activities without a row are left out.

    Args:
        timeline: The plan of one attempt.
        rows: Of this attempt, from all hosts.
        start_s: Simulated second at which the plan's own second 0 lies; the result counts from there, as the plan does.
    """
    times = sorted(((int(row["activity"]), row) for row in rows), key=itemgetter(0))
    done = {index: _timed(timeline.activities[index], row, start_s) for index, row in times}
    spans = _spans(timeline, done)
    ordered = sorted(done.values(), key=lambda activity: activity.start_s)
    promises = tuple(_due(promise, timeline.spans, spans) for promise in timeline.promises)
    return replace(timeline, activities=tuple(ordered), spans=spans, promises=promises)


def compare(planned: Timeline, carried_out: Timeline) -> tuple[list[Compared], list[Compared]]:
    """Seconds of each stage, over all rounds, and of each round.

    Args:
        planned: The plan of an attempt.
        carried_out: What `executed` made of it.
    """
    took_s = carried_out.stage_s()
    stages = [Compared(name, seconds, took_s.get(name, 0.0)) for name, seconds in planned.stage_s().items()]
    pairs = zip(_round_s(planned).items(), _round_s(carried_out).values(), strict=True)
    return stages, [Compared(f"round {number + 1}", seconds, took) for (number, seconds), took in pairs]


def own_seconds(timeline: Timeline, rows: Iterable[Row]) -> list[Compared]:
    """Seconds of each stretch by itself: from the start of its first activity to the effect of its last.

    Where a stage is late that the next does not wait for, the two overlap; each is then held to its own plan.

    Args:
        timeline: The plan of an attempt, with the stretches that count.
        rows: Of this attempt, in the seconds of the plan.
    """
    stretches = _Stretches(timeline)
    spans: dict[int, tuple[float, float, float, float]] = {}
    for row in rows:
        activity = timeline.activities[int(row["activity"])]
        place = stretches.of(activity)
        if place is not None:
            begin_s, end_s, began_s, ended_s = spans.get(place, (inf, 0.0, inf, 0.0))
            over_s = max(float(row["end_s"]), float(row["arrive_s"]))
            spans[place] = (min(begin_s, activity.start_s), max(end_s, _over_s(activity)),
                            min(began_s, float(row["start_s"])), max(ended_s, over_s))  # fmt: skip
    return [
        Compared(timeline.spans[place].stage, end_s - begin_s, ended_s - began_s)
        for place, (begin_s, end_s, began_s, ended_s) in sorted(spans.items())
    ]


def _round_s(timeline: Timeline) -> dict[int, float]:
    found: dict[int, float] = defaultdict(float)
    for span in timeline.spans:
        if span.phase == "train":
            found[span.round] += span.duration_s
    return found


def _timed(activity: Activity, row: Row, start_s: float) -> Activity:
    arrive_s = float(row["arrive_s"]) - start_s if activity.kind == "send" else 0.0
    return replace(
        activity, start_s=float(row["start_s"]) - start_s, end_s=float(row["end_s"]) - start_s, arrive_s=arrive_s
    )


def _over_s(activity: Activity) -> float:
    """When an activity has had its effect."""
    return max(activity.end_s, activity.arrive_s)


class _Stretches:
    """Which stretch of a plan an activity belongs to."""

    def __init__(self, timeline: Timeline) -> None:
        self._spans = timeline.spans
        self._places: dict[tuple[str, int, str], list[int]] = defaultdict(list)
        for place, span in enumerate(timeline.spans):
            self._places[span.phase, span.round, span.stage].append(place)

    def of(self, planned: Activity) -> int | None:
        """The place of its stretch among the spans; None where it has none."""
        own = self._places.get((planned.phase, planned.round, planned.stage))
        if not own:
            return None
        ends_s = [self._spans[place].end_s for place in own]
        return own[min(bisect_left(ends_s, _over_s(planned) - TIME_TOLERANCE_S), len(own) - 1)]


def _spans(timeline: Timeline, done: Mapping[int, Activity]) -> tuple[Span, ...]:
    stretches = _Stretches(timeline)
    planned_s, took_s = [-1.0] * len(timeline.spans), [-1.0] * len(timeline.spans)
    for index, activity in done.items():
        place = stretches.of(timeline.activities[index])
        if place is not None:
            planned_s[place] = max(planned_s[place], _over_s(timeline.activities[index]))
            took_s[place] = max(took_s[place], _over_s(activity))
    found: list[Span] = []
    for place, span in enumerate(timeline.spans):
        begin_s = found[-1].end_s if found else span.start_s
        late_s = took_s[place] - planned_s[place] if took_s[place] >= 0.0 else begin_s - span.start_s
        found.append(replace(span, start_s=begin_s, end_s=max(begin_s, span.end_s + late_s)))
    return tuple(found)


def _due(promise: Promise, planned: tuple[Span, ...], carried_out: tuple[Span, ...]) -> Promise:
    """A promise is due with the end of the stretch that it was planned to be due in."""
    place = bisect_left([span.end_s for span in planned], promise.by_s - TIME_TOLERANCE_S)
    late_s = carried_out[place].end_s - planned[place].end_s if place < len(planned) else 0.0
    return replace(promise, by_s=promise.by_s + max(0.0, late_s))

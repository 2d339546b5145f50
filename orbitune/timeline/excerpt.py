"""One phase of a timeline by itself: a timeline that begins with what earlier phases left behind, and its system.

Both count seconds from the phase's own start, so the checker and the bounds can judge the phase like a job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from orbitune.cost.system import System
from orbitune.links.contacts import ContactPlan
from orbitune.timeline.activity import PHASES, Activity, Payload, Promise, Timeline
from orbitune.timeline.rejection import TIME_TOLERANCE_S


def phase_start_s(timeline: Timeline, phase: str) -> float:
    """When a phase begins; one without stages begins when those before it have ended."""
    before = PHASES[: PHASES.index(phase)]
    starts = [span.start_s for span in timeline.spans if span.phase == phase]
    return starts[0] if starts else max((span.end_s for span in timeline.spans if span.phase in before), default=0.0)


def excerpt(timeline: Timeline, phase: str) -> Timeline:
    """The phase alone, its first second 0. Nodes start with all that earlier phases gave them.

    An excerpt of another phase than "train" claims no rounds.
    """
    start_s = phase_start_s(timeline, phase)
    spans = tuple(span for span in timeline.spans if span.phase == phase)
    end_s = max((span.end_s for span in spans), default=start_s)
    before = PHASES[: PHASES.index(phase)]
    earlier = (activity for activity in timeline.activities if activity.phase in before)
    return replace(
        timeline,
        activities=tuple(_moved(activity, start_s) for activity in timeline.activities if activity.phase == phase),
        spans=tuple(replace(span, start_s=span.start_s - start_s, end_s=span.end_s - start_s) for span in spans),
        initial=(*timeline.initial, *(gain for activity in earlier for gain in _gains(activity))),
        promises=tuple(_due(timeline, start_s, end_s)),
        rounds=timeline.rounds if phase == "train" else 0,
    )


def _moved(activity: Activity, start_s: float) -> Activity:
    """The activity on the phase's own clock; rounding must not put its start before the first second."""
    arrive_s = activity.arrive_s - start_s if activity.kind == "send" else 0.0
    return replace(
        activity, start_s=max(0.0, activity.start_s - start_s), end_s=activity.end_s - start_s, arrive_s=arrive_s
    )


def _gains(activity: Activity) -> Iterator[tuple[int, Payload]]:
    """Who has got what by an activity."""
    if activity.payload is not None:
        yield activity.peer, activity.payload
    for payload in activity.makes:
        yield activity.node, payload


def _due(timeline: Timeline, start_s: float, end_s: float) -> Iterator[Promise]:
    """Promises that fall due in the phase, its first and last moment included."""
    for promise in timeline.promises:
        if start_s - TIME_TOLERANCE_S <= promise.by_s <= end_s + TIME_TOLERANCE_S:
            yield replace(promise, by_s=min(max(0.0, promise.by_s - start_s), end_s - start_s))


def system_from(system: System, start_s: float) -> System:
    """The system with its seconds counted from `start_s`, without what is over by then.

    Without batteries: their charge at that moment is a matter of the whole timeline, where the checker looks at it.
    """
    return replace(system, contacts=_contacts_from(system.contacts, start_s), power=None)


def _contacts_from(plan: ContactPlan, start_s: float) -> ContactPlan:
    begin_s = np.maximum(plan.start_s - start_s, 0.0)
    left = np.flatnonzero(plan.end_s > start_s)
    rows = left[np.lexsort((plan.target[left], plan.source[left], begin_s[left]))]
    return ContactPlan(
        plan.nodes,
        max(0.0, plan.horizon_s - start_s),
        plan.source[rows],
        plan.target[rows],
        plan.kind[rows],
        begin_s[rows],
        plan.end_s[rows] - start_s,
        plan.rate_bps[rows],
        plan.range_m[rows],
        plan.delay_s[rows],
    )

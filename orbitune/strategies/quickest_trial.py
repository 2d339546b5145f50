"""Several ways tried side by side; the earliest to finish is booked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orbitune.errors import PlanError
from orbitune.links.contacts import Contact
from orbitune.timeline.activity import Activity
from orbitune.timeline.simulate import Schedule

SAME_S = 1e-9
"""Two finishing times this close are one: the same sum in another order."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Trial(Generic[Result]):
    """What one way would do."""

    way: str
    end_s: float
    result: Result
    desk: Schedule


def tries(
    schedule: Schedule, ways: Mapping[str, Callable[[Schedule], Result]], end_s: Callable[[Result], float]
) -> list[Trial[Result]]:
    """Book each way on a trial copy; ways that the contact plan does not allow are left out."""
    found = []
    for way, book in ways.items():
        desk = schedule.trial()
        try:
            result = book(desk)
        except PlanError:
            continue
        found.append(Trial(way, end_s(result), result, desk))
    return found


def take_best(schedule: Schedule, tried: Sequence[Trial[Result]]) -> Trial[Result]:
    """Book the trial that ends first; of those that end together the one that was tried first."""
    least_s = min(trial.end_s for trial in tried)
    best = next(trial for trial in tried if trial.end_s <= least_s + SAME_S)
    stage = schedule.stage
    for activity in best.desk.activities:
        assert activity.payload is not None, "only sends are tried"
        schedule.stage = activity.stage
        schedule.send_at(_contact(schedule, activity), activity.payload, activity.start_s, activity.end_s)
    schedule.stage = stage
    return best


def _contact(schedule: Schedule, activity: Activity) -> Contact:
    """The contact that a trial used."""
    contacts = schedule.system.contacts.by_link[activity.node, activity.peer]
    return next(
        contact
        for contact in contacts
        if contact.kind == activity.link
        and contact.start_s <= activity.start_s + SAME_S
        and activity.end_s <= contact.end_s + SAME_S
        and abs(activity.end_s + contact.delay_s - activity.arrive_s) <= SAME_S
    )

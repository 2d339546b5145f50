"""What the ways of strategy C share: their task, trying on a copy of the schedule, and planes that are apart."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import inf

from orbitune.errors import PlanError
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule

Found = dict[int, Held]
"""The total and since when it is held, by satellite; the server is among them where it has the total too."""


@dataclass(frozen=True)
class Task:
    """One model per plane is to become one total that everybody has.

    Attributes:
        way: Its name, for messages.
        rings: The satellites of each plane in ring order.
        held: Per plane, the model that all its satellites hold, and since when. Origins are disjoint.
        intra_way, ground_way, slot_s: How strategies A and B are used where a way needs them.
        receivers: Planes without a model that get the total; for `via_ground` alone.
    """

    way: str
    rings: tuple[tuple[int, ...], ...]
    held: tuple[Held, ...]
    intra_way: str
    ground_way: str
    slot_s: float
    receivers: tuple[tuple[int, ...], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of a model."""
        return self.held[0].payload.size

    @property
    def start_s(self) -> float:
        """When the last plane has its model."""
        return max(model.since_s for model in self.held)

    @property
    def total(self) -> Payload:
        """The sum of all models."""
        return reduce(Payload.merged, (model.payload for model in self.held))

    @property
    def plane_of(self) -> dict[int, int]:
        """Plane of each satellite."""
        return {member: plane for plane, ring in enumerate(self.rings) for member in ring}


Book = Callable[[Schedule], Found]
"""Books a whole combination and returns who has the total, since when."""


def end_s(found: Found) -> float:
    """When the last satellite has the total."""
    return max(held.since_s for held in found.values())


def first_to_finish(schedule: Schedule, books: Sequence[Book]) -> Found:
    """Try all on copies of the schedule and book the one that finishes first; among equals the first.

    Raises:
        PlanError: None of them is possible; the last error is raised.
    """
    best_s, best, failed = inf, None, None
    for book in books:
        desk = schedule.trial()
        try:
            found = book(desk)
        except PlanError as error:
            failed = error
            continue
        if end_s(found) < best_s:
            best_s, best = end_s(found), (desk, found)
    if best is None:
        assert failed is not None, "nothing to try"
        raise failed
    rebook(schedule, best[0])
    return best[1]


def rebook(schedule: Schedule, desk: Schedule) -> None:
    """Book on a schedule what was booked on its copy, in the same order and at the same times."""
    by_link = schedule.system.contacts.by_link
    for activity in desk.activities:
        if activity.kind == "merge":
            schedule.merge(activity.node, activity.needs, activity.start_s)
            continue
        assert activity.payload is not None, "a combination only sends and merges"
        contacts = by_link[activity.node, activity.peer]
        contact = contacts[bisect_right(contacts, activity.start_s, key=lambda contact: contact.start_s) - 1]
        schedule.send_at(contact, activity.payload, activity.start_s, activity.end_s)


# -- planes that are apart -------------------------------------------------------------------------------------------


def require_joined(schedule: Schedule, task: Task) -> None:
    """Refuse planes that no inter-satellite contact of the whole plan ever joins.

    Raises:
        PlanError: Says which.
    """
    plane_of, nodes = task.plane_of, schedule.system.nodes
    edges: dict[int, set[int]] = {plane: set() for plane in range(len(task.rings))}
    for one, two in schedule.system.contacts.by_link:
        if one in plane_of and two in plane_of:
            edges[plane_of[two]].add(plane_of[one])
    reached, queue = {0}, [0]
    while queue:
        fresh = edges[queue.pop()] - reached
        reached |= fresh
        queue += fresh
    if apart := sorted(set(edges) - reached):
        raise PlanError(
            f"no inter-satellite contact joins the planes of {nodes.name(task.rings[0][0])} and "
            f"{nodes.name(task.rings[apart[0]][0])} (nor {len(apart) - 1} more), so method.inter_orbit = "
            f'"{task.way}" cannot combine them; use "via_ground", or links.isl_inter_policy = "grid" with a '
            f"longer links.isl_inter_max_range_km"
        )


def too_late(schedule: Schedule, task: Task) -> HorizonEnd:
    """The error for planes that the rest of the contact plan joins no more."""
    return HorizonEnd(
        f"inter-satellite contacts after {task.start_s:.0f} s no longer join all planes for {task.size} bytes: the "
        f"contact plan ends at {schedule.system.contacts.horizon_s:.0f} s; lengthen time.duration_h"
    )

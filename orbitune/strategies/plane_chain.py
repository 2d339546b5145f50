"""Combine along a fixed chain of planes: each has its two neighbours by number, whatever the contacts say. Naive.

Partial sums come from both ends to the plane in the middle, always as whole models and to the satellite of the next
plane that is reached first; the total goes back the same way, and around each ring (strategy A).
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import pairwise
from math import inf

from orbitune.errors import PlanError
from orbitune.strategies.intra_orbit import broadcast
from orbitune.strategies.planes import Found, Task, too_late
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule


def plane_chain(schedule: Schedule, task: Task) -> Found:
    """Book the chain.

    Raises:
        PlanError: No contact of the whole plan joins a plane with the next one.
        HorizonEnd: The contact plan ends first.
    """
    return _Chain(schedule, task).book()


class _Chain:
    def __init__(self, schedule: Schedule, task: Task) -> None:
        self._desk, self._task, self._plane_of = schedule, task, task.plane_of
        self._out: dict[int, list[int]] = {member: [] for member in self._plane_of}
        for one, two in schedule.system.contacts.by_link:
            if one in self._out and two in self._out:
                self._out[one].append(two)
        for plane in range(1, len(task.rings)):
            self._require_link(plane - 1, plane)

    def _require_link(self, one: int, two: int) -> None:
        rings, name = self._task.rings, self._desk.system.nodes.name
        if all(self._plane_of[there] != two for here in rings[one] for there in self._out[here]):
            raise PlanError(
                f"no inter-satellite contact joins the planes of {name(rings[one][0])} and {name(rings[two][0])}, "
                f'which follow each other, so method.inter_orbit = "{self._task.way}" cannot combine them; use '
                f'"earliest_tree", which takes any way, or "via_ground"'
            )

    def book(self) -> Found:
        rings, held = self._task.rings, self._task.held
        middle = len(rings) // 2
        place, sums = -1, [held[middle]]
        for side in (range(middle), range(len(rings) - 1, middle, -1)):
            if not side:
                continue
            place, partial = self._gather(side, middle, place)
            sums.append(partial)
        total = self._desk.merge(place, [part.payload for part in sums], max(part.since_s for part in sums))
        found = self._give(middle, place, total)
        for side in (range(middle, -1, -1), range(middle, len(rings))):
            for one, two in pairwise(side):
                sources = {member: found[member].since_s for member in rings[one]}
                there, since_s = self._carry(total, sources, rings[two], straight=True)
                found.update(self._give(two, there, Held(total.payload, since_s)))
        return found

    def _gather(self, side: range, middle: int, place: int) -> tuple[int, Held]:
        """The sum of one side on its way to the middle plane (to one satellite of it, if `place` says which)."""
        rings, partial = self._task.rings, self._task.held[side[0]]
        sources = dict.fromkeys(rings[side[0]], partial.since_s)
        for plane in (*side[1:], middle):
            goals = (place,) if plane == middle and place >= 0 else rings[plane]
            here, since_s = self._carry(partial, sources, goals)
            partial = Held(partial.payload, since_s)
            if plane != middle:
                own = self._task.held[plane]
                partial = self._desk.merge(here, (partial.payload, own.payload), max(since_s, own.since_s))
            sources = {here: partial.since_s}
        return here, partial

    def _give(self, plane: int, place: int, total: Held) -> Found:
        times_s = broadcast(self._desk, self._task.rings[plane], place, total, self._task.intra_way)
        return {member: Held(total.payload, time_s) for member, time_s in times_s.items()}

    def _carry(
        self, held: Held, sources: dict[int, float], goals: tuple[int, ...], *, straight: bool = False
    ) -> tuple[int, float]:
        """Send along the earliest path inside the two planes, from any source to any goal; returns its end and when.

        `straight` is for what all members of the first plane get anyhow: over one link, without moving inside it.
        """
        since_s, came = dict(sources), dict[int, int]()
        planes = {self._plane_of[node] for node in (*sources, *goals)}
        queue = sorted((time_s, source) for source, time_s in sources.items())
        while queue:
            now_s, here = heappop(queue)
            if here in goals:
                return here, self._send(held, sources, came, here)
            if now_s > since_s[here]:
                continue
            for there in self._out[here]:
                if self._plane_of[there] not in planes or (straight and there not in goals):
                    continue
                arrive_s = self._desk.probe(here, there, held.payload.size, now_s)
                if arrive_s < since_s.get(there, inf):
                    since_s[there], came[there] = arrive_s, here
                    heappush(queue, (arrive_s, there))
        raise too_late(self._desk, self._task)

    def _send(self, held: Held, sources: dict[int, float], came: dict[int, int], end: int) -> float:
        path = [end]
        while path[-1] in came:
            path.append(came[path[-1]])
        path.reverse()
        now_s = sources[path[0]]
        for here, there in pairwise(path):
            now_s = self._desk.send(here, there, held.payload, now_s)
        return now_s

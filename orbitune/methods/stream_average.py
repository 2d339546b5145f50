"""Averaging without barriers: a ring begins when its own members are done, the planes when all rings are."""

from __future__ import annotations

from collections.abc import Callable

from orbitune.methods.averaging import Sum, sum_on_ground
from orbitune.methods.base import Job, give_to_rings
from orbitune.methods.stream_queue import Call, Queue
from orbitune.strategies import inter_orbit, intra_orbit
from orbitune.strategies.quickest_gather import gather_down
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

Averaged = Callable[[dict[int, Held], float], None]
"""Told who has the average since when, and when all do."""


class Averaging:
    """One average over all satellites, in the making."""

    def __init__(
        self, job: Job, schedule: Schedule, queue: Queue, urgency: int, then: Averaged, made: Sum
    ) -> None:  # fmt: skip
        self._job, self._schedule, self._queue, self._urgency, self._then = job, schedule, queue, urgency, then
        self._ring_of = {member: number for number, ring in enumerate(job.rings) for member in ring}
        self._held: list[dict[int, Held]] = [{} for _ in job.rings]
        self._totals: dict[int, Held] = {}
        self._made, self._compressed = made, dict[int, Held]()

    def add(self, satellite: int, update: Payload, since_s: float) -> None:
        """A satellite has trained."""
        if self._job.update_codec != "fp32":
            self._add_compressed(satellite, Held(update, since_s))
            return
        number = self._ring_of[satellite]
        held = self._held[number]
        held[satellite] = Held(update, since_s)
        if len(held) == len(self._job.rings[number]):
            ready_s = max(part.since_s for part in held.values())
            self._queue.add(Call(self._urgency, ready_s, lambda _: self._reduce(number)))

    def _reduce(self, number: int) -> None:
        ring, ways = self._job.rings[number], self._job.ways
        reduced = intra_orbit.all_reduce(self._schedule, ring, self._held[number], ways.intra_orbit)
        since_s = max(part.since_s for part in reduced.values())
        self._totals[number] = Held(reduced[ring[0]].payload, since_s)
        if len(self._totals) == len(self._job.rings):
            ready_s = max(total.since_s for total in self._totals.values())
            self._queue.add(Call(self._urgency, ready_s, lambda _: self._combine()))

    def _combine(self) -> None:
        ways = self._job.ways
        combined = inter_orbit.combine(
            self._schedule,
            self._job.rings,
            [self._totals[number] for number in range(len(self._totals))],
            ways.inter_orbit,
            intra_way=ways.intra_orbit,
            ground_way=ways.satellite_ground,
            slot_s=ways.slot_s,
        )
        end_s = max(held.since_s for held in combined.values())
        for node, total in combined.items():
            self._schedule.promise(node, total.payload, end_s)
        self._then(combined, end_s)

    # -- compressed contributions: over the ground ----------------------------------------------------------------

    def _add_compressed(self, satellite: int, update: Held) -> None:
        self._compressed[satellite] = update
        if len(self._compressed) == len(self._ring_of):
            ready_s = max(update.since_s for update in self._compressed.values())
            self._queue.add(Call(self._urgency, ready_s, lambda _: self._sum_up()))

    def _sum_up(self) -> None:
        job, desk, stage, ways = self._job, self._schedule, self._schedule.stage, self._job.ways
        held = {satellite: [update] for satellite, update in self._compressed.items()}
        down = gather_down(
            desk, job.pools, held, ways.satellite_ground, ways.intra_orbit, ways.slot_s, (stage, stage)
        )  # fmt: skip
        updates = {satellite: update.payload for satellite, update in self._compressed.items()}
        there_s = sum_on_ground(job, desk, updates, self._made, down.end_s)
        end_s = give_to_rings(job, desk, job.rings, (self._made.total,), there_s)
        self._then({node: Held(self._made.total, end_s) for node in job.system.nodes.satellites}, end_s)

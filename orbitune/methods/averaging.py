"""Averages whose contributions are compressed (`update_codec`): summed up on the ground, because nobody else could.

A sum of compressed contributions is not one of the compressed form: half numbers would be rounded again at every hop,
int8 would need new scales, and the places of top-k differ. So each contribution travels as it was compressed, once, to
the server (strategies A and B, as embeddings do), which decompresses all, sums them up in fp32, and gives the total to
every ring. That is what learning does too, so bytes and numbers are of the same scheme. Between satellites alone it
cannot be done without sending every contribution everywhere, hence `inter_orbit = "via_ground"` is required.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orbitune.errors import PlanError
from orbitune.methods.base import Job, average, average_need, collect, give_to_rings
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule

KIND = "compressed_update"
SUM = "sum up on the ground"
WAY = "via_ground"


@dataclass(frozen=True)
class Sum:
    """An average: what it yields, and the weights that its contributions are changes of."""

    total: Payload
    bases: tuple[Payload, ...]

    @classmethod
    def of(cls, total: Payload, bases: Iterable[Payload]) -> Sum:
        """Each base once."""
        return cls(total, tuple(dict.fromkeys(bases)))


def contribution(job: Job, update: Payload, compressed_bytes: float) -> Payload:
    """A satellite's update as it travels."""
    return update if job.update_codec == "fp32" else whole(KIND, update.origins, update.version, compressed_bytes)


def average_updates(job: Job, schedule: Schedule, updates: Mapping[int, Payload], made: Sum, start_s: float) -> float:
    """Average what satellites trained, and give it to the members of their rings; returns the end in seconds."""
    if job.update_codec == "fp32":
        return average(job, schedule, updates, start_s)
    require_ground(job)
    now = collect(job, schedule, {satellite: (update,) for satellite, update in updates.items()}, "updates", start_s)
    schedule.stage = SUM
    now = schedule.span(now, sum_on_ground(job, schedule, updates, made, now))
    schedule.stage = "hand out the average"
    return schedule.span(
        now, give_to_rings(job, schedule, [*rings_of(job, updates), *job.receivers(schedule.round)], (made.total,), now)
    )


def sum_on_ground(job: Job, schedule: Schedule, updates: Mapping[int, Payload], made: Sum, ready_s: float) -> float:
    """Decompress and add at the server, which takes no time worth modelling; returns when the total is there."""
    server = job.system.nodes.server
    memory = 2.0 * made.total.size + sum(update.size for update in updates.values())
    job.require_memory(server, memory, "summing up updates")
    end_s = schedule.compute(server, 0.0, ready_s, (*updates.values(), *made.bases), (made.total,), memory)
    schedule.promise(server, made.total, end_s)
    return end_s


def rings_of(job: Job, members: Iterable[int]) -> list[tuple[int, ...]]:
    """The rings in which somebody takes part."""
    who = frozenset(members)
    return [ring for ring in job.rings if not who.isdisjoint(ring)]


def require_ground(job: Job) -> None:
    """Refuse what only the server can sum up where planes are combined without it.

    Raises:
        PlanError: The way between planes is another one.
    """
    if job.update_codec != "fp32" and job.ways.inter_orbit != WAY:
        raise PlanError(
            f"method.update_codec = '{job.update_codec}' with method.inter_orbit = '{job.ways.inter_orbit}': a sum of "
            f"compressed updates is not compressed, so only the server can form it; use method.inter_orbit = '{WAY}' "
            "or method.update_codec = 'fp32'"
        )


def average_updates_need(job: Job, index: int, update: Payload, compressed_bytes: float) -> Need:
    """What `average_updates` has to do, for the bound: nothing smaller than the smaller of both moves."""
    if job.update_codec == "fp32" or update.size <= compressed_bytes:
        return average_need(job, index, update)
    return average_need(job, index, whole(update.kind, update.origins, update.version, compressed_bytes))

"""Averaging what the hosts of the planes trained: what stays on its host in one plane alone has to cross between many.

Each host sums up what it trained on the samples of its plane (whole copies with `server_encoder = "per_client"`, else
their gradients). Several planes then spread their sums around their rings, so that each leaves the plane wherever that
is best, and combine them as they do heads (strategy C). A plane alone is done: its hosts have what they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orbitune.methods.base import Job
from orbitune.methods.in_orbit_hosts import Pipeline
from orbitune.methods.in_orbit_tensors import Sizes
from orbitune.strategies import inter_orbit, intra_orbit
from orbitune.strategies.ring import part_of, split
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule


def average_encoder(sizes: Sizes, schedule: Schedule, version: int, start_s: float) -> float:
    """Average the trained encoder over all planes; promised to all satellites, or to the hosts of a plane alone."""
    job, pipelines = sizes.job, sizes.placement.pipelines
    schedule.stage = "average encoder"
    sums = [list(_sums(sizes, schedule, pipeline, version, start_s)) for pipeline in pipelines]
    if len(pipelines) == 1:
        for host, total in zip(pipelines[0].hosts, sums[0], strict=True):
            schedule.promise(host, total.payload, start_s)
        return schedule.span(start_s, start_s)
    models: list[Held] = []
    for pipeline, parts in zip(pipelines, sums, strict=True):
        there_s = spread_sums(sizes, schedule, pipeline, parts)
        models.append(Held(sizes.whole_model(pipeline.ring, version), max(there_s.values())))
    combined = _combine(job, schedule, models)
    end_s = max(total.since_s for total in combined.values())
    for node, total in combined.items():
        schedule.promise(node, total.payload, end_s)
    return schedule.span(start_s, end_s)


def _sums(sizes: Sizes, schedule: Schedule, pipeline: Pipeline, version: int, start_s: float) -> Iterator[Held]:
    """What the plane trained, stage by stage, each on its host."""
    for stage, host in enumerate(pipeline.hosts):
        parts = [sizes.model({member}, version, stage) for member in pipeline.ring]
        yield schedule.merge(host, parts, start_s) if len(parts) > 1 else Held(parts[0], start_s)


def spread_sums(sizes: Sizes, schedule: Schedule, pipeline: Pipeline, sums: Sequence[Held]) -> dict[int, float]:
    """Give what the hosts hold to all satellites of their plane; in about as many pieces as these are, which follow
    each other closely. Returns since when each holds all of it."""
    way, ring = sizes.job.ways.intra_orbit, pipeline.ring
    if len(sums) == 1:
        return intra_orbit.broadcast(schedule, ring, pipeline.hosts[0], sums[0], way)
    count = 1 if way == "relay" else -(-len(ring) // len(sums))
    parts = [
        (host, part_of(held, low, high))
        for host, held in zip(pipeline.hosts, sums, strict=True)
        for _, low, high in split(0, held.payload.size, count)
    ]
    return intra_orbit.broadcast_parts(schedule, ring, parts, way)


def _combine(job: Job, schedule: Schedule, models: list[Held]) -> dict[int, Held]:
    ways, rings = job.ways, job.system.nodes.planes
    return inter_orbit.combine(
        schedule, rings, models, ways.inter_orbit, intra_way=ways.intra_orbit, ground_way=ways.satellite_ground,
        slot_s=ways.slot_s,
    )  # fmt: skip

"""The encoder's weights on their way: from the ground to its hosts, and from its hosts to where they are wanted."""

from __future__ import annotations

from orbitune.methods.base import collect, everyone
from orbitune.methods.in_orbit_average import spread_sums
from orbitune.methods.in_orbit_tensors import Sizes
from orbitune.strategies import intra_orbit
from orbitune.strategies.satellite_ground import Cargo, send_up
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule


def bring_stages(sizes: Sizes, schedule: Schedule, start_s: float) -> float:
    """Bring each stage up to any satellite of every plane, and around the ring to its host."""
    job, placement = sizes.job, sizes.placement
    schedule.stage = "deploy encoder"
    stages = [sizes.weights(stage) for stage in range(placement.num_stages)]
    held = tuple(Held(payload, start_s) for payload in stages)
    cargos = [Cargo(pipeline.ring, held) for pipeline in placement.pipelines]
    landed = send_up(schedule, cargos, job.ways.satellite_ground, job.ways.slot_s)
    end_s = start_s
    for pipeline in placement.pipelines:
        parts = [
            (satellite, part, host)
            for satellite, part in landed if satellite in pipeline.ring
            for host, payload in zip(pipeline.hosts, stages, strict=True)
            if payload.start_byte <= part.payload.start_byte < payload.end_byte
        ]  # fmt: skip
        there_s = intra_orbit.scatter_from(schedule, pipeline.ring, parts, job.ways.intra_orbit)
        end_s = max(end_s, *there_s.values())
    for pipeline in placement.pipelines:
        for host, payload in zip(pipeline.hosts, stages, strict=True):
            schedule.promise(host, payload, end_s)
    return schedule.span(start_s, end_s)


def share_stages(sizes: Sizes, schedule: Schedule, version: int, start_s: float) -> float:
    """Bring what the hosts of the only plane trained to all its satellites."""
    job, (pipeline,) = sizes.job, sizes.placement.pipelines
    schedule.stage = "deliver weights"
    sums = [Held(payload, start_s) for payload in _trained(sizes, version).values()]
    there_s = spread_sums(sizes, schedule, pipeline, sums)
    end_s = max(there_s.values())
    for satellite in pipeline.ring:
        schedule.promise(satellite, sizes.whole_model(everyone(job), version), end_s)
    return schedule.span(start_s, end_s)


def collect_stages(sizes: Sizes, schedule: Schedule, version: int, start_s: float) -> float:
    """Bring what the hosts of the only plane trained to the server."""
    job = sizes.job
    payloads = {host: (payload,) for host, payload in _trained(sizes, version).items()}
    end_s = collect(job, schedule, payloads, "encoder", start_s)
    schedule.promise(job.system.nodes.server, sizes.whole_model(everyone(job), version), end_s)
    return end_s


def _trained(sizes: Sizes, version: int) -> dict[int, Payload]:
    """By host of the only plane: its stage of the last average."""
    (pipeline,) = sizes.placement.pipelines
    return {host: sizes.model(everyone(sizes.job), version, stage) for stage, host in enumerate(pipeline.hosts)}

"""Federated averaging with everything on the satellite: the honest alternative that every ratio refers to.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017. Each
satellite trains the whole model on its own images; only weights cross, around the rings and between the planes.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.methods.base import (
    Cut,
    Job,
    Round,
    average,
    average_need,
    deployed,
    everyone,
    fetch,
    fetch_need,
    initial_weights,
    per_satellite,
    raw,
    spread,
    spread_need,
)
from orbitune.methods.stream_whole import train_and_average
from orbitune.model.partition import backward_flops, forward_flops, largest_activation, params_bytes, saved_bytes
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule


@dataclass(frozen=True)
class Onboard:
    """Local training on every satellite, then averaging."""

    name: str = "onboard"
    learner: str = "federated"
    private: tuple[str, ...] = ("image", "label")

    def prepare(self, job: Job) -> Job:
        """Weights are averaged in full precision; there is no cut for a codec to work on."""
        return job

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring the whole model to every satellite, unless it flew with it."""
        return spread(job, schedule, deployed(job, job.partition.parts), "deploy weights", start_s)

    def round(self, job: Job, schedule: Schedule, index: int, start_s: float) -> float:
        """Local steps on every satellite, then one average."""
        schedule.stage = "train on board"
        updates = {s: _update(job, frozenset({s}), index) for s in job.system.nodes.satellites}
        before = _update(job, everyone(job), index - 1) if index else initial_weights(job, job.partition.parts)
        ends = []
        for satellite, flops in local_flops(job).items():
            needs = (*raw(job, satellite), before)
            memory = _memory(job, satellite)
            ends.append(schedule.compute(satellite, flops, start_s, needs, (updates[satellite],), memory))
        return average(job, schedule, updates, schedule.span(start_s, max(ends)))

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """A plane averages as soon as its own satellites are done. Nothing is cut: weights are averaged at the end."""

        def book(index: int, start_s: float) -> float:
            satellites = job.system.nodes.satellites
            updates = {s: _update(job, frozenset({s}), index) for s in satellites}
            before = _update(job, everyone(job), index - 1) if index else initial_weights(job, job.partition.parts)
            memory = {s: _memory(job, s) for s in satellites}
            needs = {s: (*raw(job, s), before) for s in satellites}
            return train_and_average(job, schedule, local_flops(job), needs.__getitem__, updates, memory, start_s)

        return book

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Every satellite has the model already; the server gets what was trained."""
        if job.deliver_to == "satellites":
            return start_s
        return fetch(job, schedule, _update(job, everyone(job), job.rounds - 1), "deliver weights", start_s)

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """The same steps without any schedule."""
        update, flops = _update(job, everyone(job), 0), local_flops(job)
        needs = spread_need(job, "deploy", 0, deployed(job, job.partition.parts))
        for index in range(rounds):
            needs.append(Need("compute", "train", index, "train on board", flops, flops))
            needs.append(average_need(job, index, update))
        return needs + fetch_need(job, rounds, update) if job.deliver_to == "server" else needs


def _update(job: Job, origins: frozenset[int], version: int) -> Payload:
    size = job.partition.head.params_bytes + params_bytes(job.trained(job.partition.parts))
    return whole("update", origins, version, size)


def sample_flops(job: Job) -> float:
    """Training FLOPs of one sample through the whole model: forward, and backward through what trains."""
    parts = job.partition.parts
    return forward_flops(parts) + backward_flops(job.trained(parts)) + job.head_flops


def local_flops(job: Job) -> dict[int, float]:
    """FLOPs of the local steps of one round, by satellite."""
    return per_satellite(job, sample_flops(job) * job.local_steps, job.batch)


def _memory(job: Job, satellite: int) -> float:
    parts = job.partition.parts
    each = largest_activation(parts) if job.trains == "head" else saved_bytes(parts)
    needed = job.training_memory(parts) + each * job.batch[satellite]
    return job.require_memory(satellite, needed, "training the whole model on board")

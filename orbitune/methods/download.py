"""Bring all raw imagery and labels down once and train centrally: the reference that gives privacy away."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.methods.base import (
    LABEL_BYTES,
    Cut,
    Job,
    Round,
    collect,
    everyone,
    lacking,
    per_pool,
    raw,
    spread,
    spread_need,
)
from orbitune.methods.onboard import sample_flops
from orbitune.methods.stream_whole import bring_in_parts
from orbitune.model.partition import largest_activation, params_bytes, saved_bytes
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule


@dataclass(frozen=True)
class Download:
    """Central training on the server."""

    name: str = "download"
    learner: str = "central"
    private: tuple[str, ...] = ()

    def prepare(self, job: Job) -> Job:
        """Nothing is fixed."""
        return job

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """The satellites need nothing."""
        return start_s

    def round(self, job: Job, schedule: Schedule, index: int, start_s: float) -> float:
        """The first round waits for every image; the others only compute."""
        now = collect(job, schedule, _payloads(job), "images", start_s) if index == 0 else start_s
        return self._train(job, schedule, index, now)

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """Images come down in parts, each by the first way that there is. Training waits for them all: any of them may
        be in the first batch."""

        def book(index: int, start_s: float) -> float:
            now = start_s
            if index == 0:
                now = bring_in_parts(job, schedule, _payloads(job), cut.parts, "images", start_s)
            return self._train(job, schedule, index, now)

        return book

    def _train(self, job: Job, schedule: Schedule, index: int, now: float) -> float:
        schedule.stage = "train on the ground"
        server = job.system.nodes.server
        needs = [payload for row in _payloads(job).values() for payload in row]
        made = _model(job, index)
        end_s = schedule.compute(server, _round_flops(job), now, needs, (made,), _memory(job))
        return schedule.span(now, end_s)

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """The server has the model already; satellites get what was trained, and what was not if they lack it."""
        return spread(job, schedule, _delivered(job), "deliver weights", start_s)

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """The same steps without any schedule."""
        each = job.partition.profile.sample_bytes + LABEL_BYTES
        images = per_pool(job, each, job.samples)
        server = job.system.nodes.server
        grain = dict.fromkeys(images, each)
        needs = [Need("down", "train", 0, "bring down images", images, grain, job.pools)]
        work, step = {server: _round_flops(job)}, {server: sample_flops(job)}
        needs += [Need("compute", "train", index, "train on the ground", work, step) for index in range(rounds)]
        return needs + spread_need(job, "deliver", rounds, _delivered(job))


def _payloads(job: Job) -> dict[int, tuple[Payload, Payload]]:
    return {satellite: raw(job, satellite) for satellite in job.system.nodes.satellites}


def _model(job: Job, version: int) -> Payload:
    trained = job.trained(job.partition.parts)
    return whole("model", everyone(job), version, job.partition.head.params_bytes + params_bytes(trained))


def _delivered(job: Job) -> tuple[Payload, ...]:
    if job.deliver_to == "server":
        return ()
    parts = job.partition.parts
    frozen = parts[: len(parts) - len(job.trained(parts))]
    return (_model(job, job.rounds - 1), *lacking(job, (), frozen))


def _round_flops(job: Job) -> float:
    return sample_flops(job) * job.local_steps * sum(job.batch)


def _memory(job: Job) -> float:
    """The union batch is worked through satellite by satellite, gradients added up."""
    parts = job.partition.parts
    each = largest_activation(parts) if job.trains == "head" else saved_bytes(parts)
    needed = job.training_memory(parts) + each * max(job.batch)
    return job.require_memory(job.system.nodes.server, needed, "training the whole model on the ground")

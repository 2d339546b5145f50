"""Bring all raw imagery and labels down once and train centrally: the reference that gives privacy away."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orbitune.methods.base import (
    Cut,
    Job,
    Round,
    collect,
    lacking,
    per_pool,
    raw,
    spread,
    spread_need,
)
from orbitune.methods.cache import Uses
from orbitune.methods.stream_whole import bring_in_parts
from orbitune.model.partition import forward_flops, largest_activation, saved_bytes
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
        """No weights are averaged and nothing is cut; with a cache, features are kept where they can be."""
        cache = "features" if job.cache == "features" else "none"
        return replace(job, cache=cache, satellite_cuts=(), update_codec="fp32", staleness=0)

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
        needs = [payload for who, row in _payloads(job).items() if who in job.members(index) for payload in row]
        made = _model(job, index)
        kept, new = _features(job, index)
        makes = (made, *new)
        end_s = schedule.compute(server, _round_flops(job, index), now, (*needs, *kept), makes, _memory(job, index))
        return schedule.span(now, end_s)

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """The server has the model already; satellites get what was trained, and what was not if they lack it."""
        return spread(job, schedule, _delivered(job), "deliver weights", start_s)

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """The same steps without any schedule."""
        each = job.partition.profile.sample_bytes + job.label_bytes
        images = per_pool(job, each, job.samples)
        server = job.system.nodes.server
        grain = dict.fromkeys(images, each)
        needs = [Need("down", "train", 0, "bring down images", images, grain, job.pools)]
        step = {server: job.head_flops if job.cache == "features" else sample_flops(job)}
        needs += [
            Need("compute", "train", index, "train on the ground", {server: _round_flops(job, index)}, step)
            for index in range(rounds)
        ]
        return needs + spread_need(job, "deliver", rounds, _delivered(job))


def _payloads(job: Job) -> dict[int, tuple[Payload, Payload]]:
    return {satellite: raw(job, satellite) for satellite in job.system.nodes.satellites}


def _model(job: Job, version: int) -> Payload:
    trained = job.trained_bytes(job.partition.parts)
    return whole("model", job.members(version), version, job.partition.head.params_bytes + trained)


def _delivered(job: Job) -> tuple[Payload, ...]:
    """What trained, and what never left the server: all that is frozen; with adapters, all but these."""
    if job.deliver_to == "server":
        return ()
    parts = job.partition.parts
    frozen = parts if job.trains == "lora" else parts[: len(parts) - len(job.trained(parts))]
    return (_model(job, job.rounds - 1), *lacking(job, (), frozen))


def sample_flops(job: Job) -> float:
    """Training FLOPs of one sample through the whole model: forward, and backward through what trains."""
    parts = job.partition.parts
    return forward_flops(parts) + job.backward_flops(parts) + job.head_flops


def _batches(job: Job) -> int:
    return job.local_steps * job.accumulate


def _uses(job: Job, index: int) -> Uses:
    return job.uses.of(index * _batches(job), (index + 1) * _batches(job))


def _round_flops(job: Job, index: int) -> float:
    samples = _batches(job) * sum(job.batch[satellite] for satellite in job.members(index))
    if job.cache == "none":
        return sample_flops(job) * samples
    return forward_flops(job.partition.parts) * sum(_uses(job, index).new) + job.head_flops * samples


def _features(job: Job, index: int) -> tuple[list[Payload], list[Payload]]:
    """Features that the server keeps from before, and those that it makes; by satellite, in the order of first uses."""
    if job.cache == "none":
        return [], []
    each, uses = round(job.partition.profile.feature_bytes), _uses(job, index)
    kept, made = [], []
    for satellite, (new, before) in enumerate(zip(uses.new, uses.before, strict=True)):
        if new + before and satellite in job.members(index):
            features = whole("feature", {satellite}, 0, each * (new + before))
            kept += [features.part(0, each * before)] if before else []
            made += [features.part(each * before, features.size)] if new else []
    return kept, made


def _memory(job: Job, index: int) -> float:
    """The union batch is worked through satellite by satellite, gradients added up; cached features stay."""
    parts = job.partition.parts
    each = largest_activation(parts) if job.trains == "head" else saved_bytes(parts)
    needed = job.training_memory(parts) + each * max(job.batch)
    needed += sum(payload.size for payloads in _features(job, index) for payload in payloads)
    return job.require_memory(job.system.nodes.server, needed, "training the whole model on the ground")

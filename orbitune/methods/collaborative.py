"""Satellites and ground train together: embedding and head on board, encoder on the ground server.

The method of arXiv:2504.10403 as far as it is known, with our switches (docs/how-it-works.md, "One round"). The variant
`reconstructed` follows only what is known of the paper: one-way ring, per-slot maximum flow, fp32, no cache, no
overlap. How the paper combines the planes' heads could not be recovered; it goes as the scenario says.

With `overlap = "stream"` the same exchanges run without waiting for each other (`stream_rounds`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orbitune.methods.base import (
    Cut,
    Job,
    Round,
    Ways,
    average,
    average_need,
    deployed,
    fetch,
    fetch_need,
    spread,
    spread_need,
)
from orbitune.methods.exchange import encoder_of, exchanges_of, last_update
from orbitune.methods.stream_rounds import StreamedRounds
from orbitune.timeline.activity import Payload
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule


@dataclass(frozen=True)
class Collaborative:
    """Split training over the contact plan."""

    name: str = "collaborative"
    learner: str = "split"
    private: tuple[str, ...] = ("image", "label")

    def prepare(self, job: Job) -> Job:
        """Nothing is fixed."""
        return job

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring embedding and head to every satellite, unless they flew with it."""
        return spread(job, schedule, deployed(job, job.partition.front), "deploy weights", start_s)

    def round(self, job: Job, schedule: Schedule, index: int, start_s: float) -> float:
        """One round: as many exchanges as training needs, and the averaging of what satellites trained."""
        now = start_s
        updates: dict[int, Payload] = {}
        for exchange in exchanges_of(job, index):
            now = exchange.run(schedule, now)
            updates = {satellite: exchange.update(satellite) for satellite in job.system.nodes.satellites}
            if exchange.averaged:
                now = average(job, schedule, updates, now)
        return now

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """The same rounds without barriers."""
        return StreamedRounds(job, schedule, cut).round

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Join encoder and head where they are wanted."""
        if job.deliver_to == "server":
            return fetch(job, schedule, last_update(job), "deliver weights", start_s)
        return spread(job, schedule, encoder_of(job), "deliver weights", start_s)

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """The same steps without any schedule."""
        needs = spread_need(job, "deploy", 0, deployed(job, job.partition.front))
        for index in range(rounds):
            for exchange in exchanges_of(job, index):
                needs += exchange.needs()
                if exchange.averaged:
                    needs.append(average_need(job, index, last_update(job)))
        if job.deliver_to == "server":
            return needs + fetch_need(job, rounds, last_update(job))
        return needs + spread_need(job, "deliver", rounds, encoder_of(job))


@dataclass(frozen=True)
class Reconstructed(Collaborative):
    """What is known of the paper, nothing added; never to be called the paper's result."""

    name: str = "reconstructed"

    def prepare(self, job: Job) -> Job:
        """One-way ring, maximum flow per slot, fp32; planes combined as the scenario says, for that is not known."""
        return replace(
            job, ways=Ways("ring", "max_flow", job.ways.inter_orbit, job.ways.slot_s), codec="fp32", overlap="none"
        )

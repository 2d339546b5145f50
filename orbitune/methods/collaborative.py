"""Satellites and ground train together: embedding and head on board, encoder on the ground server.

The method of arXiv:2504.10403 as far as it is known, with our switches (docs/how-it-works.md, "One round"). The variant
`reconstructed` follows only what is known of the paper: one-way ring, per-slot maximum flow, fp32, no cache, no
overlap. How the paper combines the planes' heads could not be recovered; it goes as the scenario says.

With `overlap = "stream"` the same exchanges run without waiting for each other (`stream_rounds`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orbitune.methods.averaging import average_updates, average_updates_need, require_ground
from orbitune.methods.base import (
    Cut,
    Job,
    Round,
    Ways,
    deployed,
    fetch,
    fetch_need,
    spread,
    spread_need,
)
from orbitune.methods.exchange import Starts, contribution_bytes, encoder_of, exchanges_of, last_update
from orbitune.methods.exchange_needs import needs_beside, needs_of
from orbitune.methods.stream_rounds import StreamedRounds
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule


@dataclass(frozen=True)
class Collaborative:
    """Split training over the contact plan."""

    name: str = "collaborative"
    learner: str = "split"
    private: tuple[str, ...] = ("image", "label")

    def prepare(self, job: Job) -> Job:
        """Nothing is fixed.

        Raises:
            PlanError: Updates are compressed, and planes are combined without the ground.
        """
        require_ground(job)
        return job

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring embedding and head to every satellite, unless they flew with it."""
        return spread(job, schedule, deployed(job, job.deepest.front), "deploy weights", start_s)

    def round(
        self, job: Job, schedule: Schedule, index: int, start_s: float, starts: Starts | None = None
    ) -> float:  # fmt: skip
        """One round: as many exchanges as training needs, and the averaging of what satellites trained.

        Args:
            starts: Who takes part and which average each starts from; None for everybody, from the last one. The
                satellites of their rings get the new average, which has the members as origins.
        """
        now = start_s
        for exchange in exchanges_of(job, index, starts):
            now = exchange.run(schedule, now)
            if exchange.averaged:
                updates = {satellite: exchange.update(satellite) for satellite in exchange.members}
                now = average_updates(job, schedule, updates, exchange.sum, now)
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
        """The same steps without any schedule.

        Where late planes may be left out, all that is certain is that every plane is in the last average.
        """
        needs = spread_need(job, "deploy", 0, deployed(job, job.deepest.front))
        beside: list[Need] = []
        update, size = last_update(job), contribution_bytes(job)
        for index in range(rounds)[-1 if job.staleness else 0 :]:
            drawn = dict.fromkeys(sorted(job.members(index)), update) if job.taking_part else None
            for exchange in exchanges_of(job, index, drawn):
                needs += needs_of(exchange)
                beside += needs_beside(exchange)
                if exchange.averaged:
                    needs.append(average_updates_need(job, index, update, size))
        if job.deliver_to == "server":
            needs += fetch_need(job, rounds, update)
        else:
            needs += spread_need(job, "deliver", rounds, encoder_of(job))
        return needs + beside


@dataclass(frozen=True)
class Reconstructed(Collaborative):
    """What is known of the paper, nothing added; never to be called the paper's result."""

    name: str = "reconstructed"

    def prepare(self, job: Job) -> Job:
        """One-way ring, maximum flow per slot, fp32, no cache; planes are combined as the scenario says."""
        ways = Ways("ring", "max_flow", job.ways.inter_orbit, job.ways.slot_s)
        plain = replace(job, codec="fp32", update_codec="fp32", overlap="none", cache="none", placement="ground")
        return replace(plain, ways=ways)

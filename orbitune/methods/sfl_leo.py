"""SFL-LEO: split training that goes on through outages, with an auxiliary head on board.

Wu et al., "SFL-LEO: asynchronous split-federated learning design for LEO satellite-ground network framework",
arXiv:2504.13479; we know its abstract and summaries. From there: while a satellite sees no station it trains its part
of the model with an auxiliary network of its own; at a pass what the server's part needs comes down; the ground merges
the satellites' parts, weighed by staleness, and hands them out.

What we had to choose:
- The auxiliary head is linear, on the mean of the tokens at the cut, and travels and is merged with the front.
- The activations that come down are those of the local steps, each made once, as the front was at that step; with them
  come their labels, for the head that counts is at the server. No gradient goes up. Images stay on board.
- The server steps once for every local step of a contribution as soon as it has arrived, in the order of arrivals.
- Fronts are mixed in one by one, as in FedAsync; the paper's layer alignment, for unequal cuts, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from orbitune.errors import PlanError
from orbitune.methods.asynchronous import Local, Rule
from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.averaging import KIND
from orbitune.methods.base import Job, deployed, give_to_rings, initial_weights, lacking, raw, spread_need
from orbitune.methods.fedasync import AtOnce
from orbitune.methods.stream_whole import Task
from orbitune.model.partition import Head, forward_flops, saved_bytes
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule

LABELS = "batch_label"
"""Labels of the samples of a training, which leave the satellite."""


@dataclass(frozen=True)
class SplitModel:
    """The front trains on board behind an auxiliary head, the rest at the server from what came down."""

    job: Job

    @cached_property
    def on_board(self) -> Job:
        """The same job with the auxiliary head as its head, for sizes and costs of the front."""
        head = Head(self.job.partition.wire_shape[-1], self.job.partition.head.num_classes)
        return replace(self.job, partition=replace(self.job.partition, head=head))

    def weights(self) -> Payload:
        """The untrained front. Both heads are drawn from the seed where they are needed."""
        return initial_weights(self.job, self.job.partition.front)

    def cargo(self, satellite: int, version: int) -> tuple[Payload, ...]:
        """The front and its head, the activations of all batches, and their labels."""
        board, front = self.on_board, self.job.partition.front
        count = self._samples(satellite)
        fp32 = self.job.update_codec == "fp32"
        size = self.total(frozenset(), 0).size if fp32 else board.contribution_bytes(front)
        return (
            whole(KIND, {satellite}, version, size),
            whole("embedding", {satellite}, version, count * self.job.wire_bytes),
            whole(LABELS, {satellite}, version, count * self.job.label_bytes),
        )

    def tasks(self, satellite: int, number: int, start: Payload, cargo: tuple[Payload, ...]) -> list[Task]:
        """All local steps of the front."""
        board, front = self.on_board, self.job.partition.front
        each = forward_flops(front) + board.backward_flops(front) + board.head_flops
        memory = board.training_memory(front) + saved_bytes(front) * self.job.batch[satellite] + cargo[1].size
        board.require_memory(satellite, memory, "training the front on board")
        return [Task(each * self._samples(satellite), (*raw(self.job, satellite), start), cargo, memory)]

    def server_tasks(self, satellite: int, cargo: tuple[Payload, ...]) -> list[Task]:
        """As many steps of the rest and the head."""
        job, rest = self.job, self.job.partition.rest
        each = forward_flops(rest) + job.backward_flops(rest) + job.head_flops
        memory = job.training_memory(rest) + saved_bytes(rest) * job.batch[satellite] + cargo[1].size
        job.require_memory(job.system.nodes.server, memory, "training the rest on the ground")
        needs = (*cargo[1:], initial_weights(job, job.partition.parts))
        made = self.model(frozenset({satellite}), cargo[0].version)
        return [Task(each * self._samples(satellite), needs, (made,), memory)]

    def total(self, origins: frozenset[int], version: int) -> Payload:
        """What trains of the front, and the auxiliary head."""
        board = self.on_board
        size = board.partition.head.params_bytes + board.trained_bytes(board.partition.front)
        return whole("update", origins, version, size)

    def model(self, origins: frozenset[int], version: int) -> Payload:
        """What trains at the server."""
        size = self.job.partition.head.params_bytes + self.job.trained_bytes(self.job.partition.rest)
        return whole("model", origins, version, size)

    def _samples(self, satellite: int) -> int:
        """That a satellite goes through in one training."""
        return self.job.batch[satellite] * self.job.local_steps * self.job.accumulate


@dataclass(frozen=True)
class SflLeo(Asynchronous):
    """Local training of the front through outages; every arrival trains the rest and makes a new front."""

    name: str = "sfl_leo"
    merge: str = "mix"
    learner: str = "auxiliary"
    private: tuple[str, ...] = ("image", "label")

    def rule(self, job: Job) -> Rule:
        """For every arrival."""
        return AtOnce()

    def local(self, job: Job) -> Local:
        """The front."""
        return SplitModel(job)

    def prepare(self, job: Job) -> Job:
        """One cut for all; nothing is kept, for activations change with the front.

        Raises:
            PlanError: Nothing trains on board.
        """
        prepared = replace(super().prepare(job), cache="none")
        if not prepared.trained_bytes(prepared.partition.front):
            raise PlanError(
                f"sfl_leo with train.trains = '{job.trains}' and model.cut_after_block = {job.partition.cut}: nothing "
                "trains in front of the cut, so there is nothing to do through an outage; use train.trains = 'full', "
                "or a later cut with 'encoder' or 'lora'"
            )
        return prepared

    def deployed(self, job: Job) -> tuple[Payload, ...]:
        """The front."""
        return deployed(job, job.partition.front)

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """The server has both parts already; satellites that want it get what they lack of the whole model."""
        if job.deliver_to == "server":
            return start_s
        schedule.stage = "deliver weights"
        server = job.system.nodes.server
        made = [payload for activity in schedule.activities if activity.node == server for payload in activity.makes]
        newest = [
            max((one for one in made if one.kind == kind), key=lambda payload: payload.version)
            for kind in ("update", "model")
        ]
        rest = lacking(job, job.partition.front, job.partition.parts)
        return schedule.span(start_s, give_to_rings(job, schedule, job.rings, (*newest, *rest), start_s))

    def _delivery_need(self, job: Job, rounds: int, model: Payload) -> list[Need]:
        if job.deliver_to == "server":
            return []
        rest = lacking(job, job.partition.front, job.partition.parts)
        return spread_need(job, "deliver", rounds, (model, SplitModel(job).model(frozenset(), 0), *rest))

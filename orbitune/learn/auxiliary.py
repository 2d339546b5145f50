"""Split training without a way back: the front learns behind an auxiliary head, the rest from what the front sent.

Of SFL-LEO (Wu et al., arXiv:2504.13479), as far as it is public: local updates of the satellite's part with an
auxiliary network while there is no contact, and merging at the ground with weights of staleness. What we had to choose
stands in `methods.sfl_leo`, and this does the same: for each contribution, in the order given,

1. the satellite starts from the front (and auxiliary head) of its base with a fresh optimiser, and takes its next
   `local_steps` steps on the loss of the auxiliary head; the activations of each step cross the wire, once;
2. the server takes as many steps of the rest and the head on what arrived, step by step, with one optimiser for the
   whole training;
3. the front is merged (`merge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from orbitune import seeds
from orbitune.errors import InputError
from orbitune.learn import state
from orbitune.learn.aggregate import Tensors, copy_of, difference, write_into
from orbitune.learn.client import Batch, SatelliteLosses, make_optimizer, proximal_pull, take_step
from orbitune.learn.learners import RoundResult, TaskLearner, summarise
from orbitune.learn.merge import Merge
from orbitune.learn.precision import arithmetic
from orbitune.learn.replay import Progress, TakingPart, averages_of
from orbitune.learn.schedule import rate_factor
from orbitune.learn.split import cross
from orbitune.learn.task import Task

Sent = list[list[tuple[Batch, Tensor]]]
"""For each local step, its groups of samples with their activations as they arrived."""

AUXILIARY = "auxiliary."


class AuxiliaryLearner(TaskLearner):
    """See the module.

    Attributes:
        head: The auxiliary head: tokens at the cut are averaged, then the linear head of the objective.
        front: What trains on board, by name; the head among it.
        rest: What trains at the server.

    Raises:
        InputError: Nothing trains in front of the cut, or the objective has no head for averaged tokens.
    """

    progress: Progress

    def __init__(self, task: Task) -> None:
        spec, model = task.spec, task.model
        assert spec.learner == "auxiliary" and spec.merge != "mean", (spec.learner, spec.merge)
        self.pieces = 1 + spec.cut
        if task.num_frozen >= self.pieces:
            raise InputError(
                f"model.cut_after_block = {spec.cut} with trains = '{spec.trains}': nothing trains in front of the "
                "cut; use a later cut or train more"
            )
        width = _tokens_averaged(model.run(task.inputs[:1], task.num_frozen, self.pieces)).shape[1]
        first = task.objective.new_head((width,), seeds.seed_for(spec.seed, "auxiliary"))
        self.head = first.to(next(model.parameters()))
        head = {f"{AUXILIARY}{name}": value for name, value in self.head.named_parameters()}
        super().__init__(replace(task, trained={**task.trained, **head}))
        on_board = ("backbone.embedding.", *(f"backbone.blocks.{number}." for number in range(spec.cut)))
        self.front = {name: value for name, value in task.trained.items() if name.startswith(on_board)} | head
        self.rest = {name: value for name, value in task.trained.items() if name not in self.front}
        self.progress = Progress(len(task.holdings))
        self._local = make_optimizer(_as_head(self.front), spec)
        self._server = make_optimizer(self.rest, spec)

    def travels(self, satellite: int) -> list[str]:
        """The front: all satellites have one cut."""
        return list(self.front)

    def run_round(self, round_index: int, taking_part: TakingPart | None = None) -> RoundResult:
        """The averages of the round, one after the other; losses are those of the whole model at the server."""
        losses: SatelliteLosses = []
        for bases in averages_of(taking_part, self.progress.averages, self.task.participants()):
            if bases:
                current = copy_of(self.front)
                write_into(self.front, self._average_of(current, bases, losses))
                self.past.keep(self.progress.averages, current)
            self.progress.averages += 1
        return summarise(losses)

    def _average_of(self, current: Tensors, bases: Mapping[int, int], losses: SatelliteLosses) -> Tensors:
        formed = self.progress.averages
        counts = {k: self.draws.samples_per_round(k) for k in bases}
        merge = Merge(self.spec, current, counts, {k: formed - base for k, base in bases.items()})
        for satellite, base in bases.items():
            start = current if base == formed else self.past.at(base)
            steps = self.task.steps(self.progress.trainings[satellite])
            sent = self._train_front(satellite, start, steps)
            change = difference(copy_of(self.front), start)
            losses += self._train_rest(sent, steps)
            merge.add(satellite, start, self.compressed(satellite, change))
            self.progress.trainings[satellite] += 1
        return merge.result()

    # -- on board --------------------------------------------------------------------------------------------------

    def _train_front(self, satellite: int, start: Tensors, steps: range) -> Sent:
        spec = self.spec
        write_into(self.front, start)
        self._local.state.clear()  # as good as a new optimiser
        pull = partial(proximal_pull, self.front, start, spec.prox_mu) if spec.prox_mu else None
        sent: Sent = []
        for step in steps:
            self._local.zero_grad()
            batches = self.draws.step(satellite, step)
            sent.append([(group, self._front_gradient(group)) for batch in batches for group in batch.groups()])
            take_step(self._local, sum(len(batch.ids) for batch in batches), rate_factor(spec, step), pull)
        return sent

    def _front_gradient(self, group: Batch) -> Tensor:
        """Add the gradient of the auxiliary loss to `.grad`; returns the activations as they arrive at the server."""
        task = self.task
        task.account.count(group)
        with arithmetic(self.spec.precision, group.ids.device):
            activation = task.model.run(task.inputs[group.ids], task.num_frozen, self.pieces)
            losses = task.objective.losses(self.head(_tokens_averaged(activation)), task.labels[group.ids])
            torch.autograd.backward(losses.sum())
        return cross(self.wire, "embedding", activation.detach())

    # -- at the server ---------------------------------------------------------------------------------------------

    def _train_rest(self, sent: Sent, steps: range) -> SatelliteLosses:
        losses: SatelliteLosses = []
        for step, groups in zip(steps, sent, strict=True):
            self._server.zero_grad()
            own = [(group.satellite, self._rest_gradient(group, arrived)) for group, arrived in groups]
            take_step(self._server, sum(len(loss) for _, loss in own), rate_factor(self.spec, step))
            losses += own
        return losses

    def _rest_gradient(self, group: Batch, arrived: Tensor) -> Tensor:
        task = self.task
        with arithmetic(self.spec.precision, group.ids.device):
            features = task.model.run(arrived, self.pieces, len(task.model.pieces))
            losses = task.objective.losses(task.model.head(features), task.labels[group.ids])
            torch.autograd.backward(losses.sum())
        return losses.detach()

    # -- state -----------------------------------------------------------------------------------------------------

    def state(self) -> Tensors:
        """See `rounds.Learner.state`; the server's optimiser lives as long as the training."""
        memory = state.optimizer_tensors(self._server, self.rest)
        return super().state() | {f"optimizer.{name}": value.contiguous() for name, value in memory.items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """See `rounds.Learner.load_state`."""
        super().load_state(tensors)
        state.restore_optimizer(self._server, self.rest, state.below("optimizer.", tensors))


def _tokens_averaged(activation: Tensor) -> Tensor:
    """Activations [B, ..., D], channels last as transformers have them, to [B, D]."""
    return activation.flatten(1, -2).mean(dim=1) if activation.ndim > 2 else activation


def _as_head(front: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """By names that let the auxiliary head learn at the head's rate: it starts from nothing, too."""
    return {f"head.{name}" if name.startswith(AUXILIARY) else name: value for name, value in front.items()}

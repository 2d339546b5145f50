"""A stretch of the model as one node trains it: its own copy, how it steps, and how an average becomes its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from orbitune.learn import state
from orbitune.learn.aggregate import Tensors, copy_of, difference, write_into
from orbitune.learn.client import GROUP, make_optimizer, proximal_pull, take_step
from orbitune.learn.nodes.setting import Setting
from orbitune.learn.schedule import rate_factor
from orbitune.learn.server_step import FedAdam
from orbitune.learn.split import CutModel


class Trainee:
    """One node's copy of some pieces, with the head or without.

    Attributes:
        model: The copy; pieces that are not its own pass on what they get.
        trained: What trains of it, by name.
        start: Weights at the beginning of the round, where weights are averaged.
    """

    def __init__(self, setting: Setting, first: int, end: int, head: bool) -> None:
        self.setting = setting
        self.model = part_of(setting.model, first, end, head)
        self.trained = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        self.optimizer = make_optimizer(self.trained, setting.spec)
        self.server: FedAdam | None = None
        self.start: Tensors = {}
        self.restart()
        if setting.spec.server_optimizer == "adam" and not setting.shared:
            self.server = FedAdam(setting.spec.server_rate, copy_of(self.trained))

    def restart(self) -> None:
        """A round begins with the weights as they are: where they are averaged, with a fresh optimiser."""
        if not self.setting.shared:
            self.optimizer.state.clear()
            self.start = copy_of(self.trained)

    def step(self, step: int, num_samples: int) -> None:
        """One optimiser step on the mean of gradients that are summed over so many samples."""
        if not self.trained:
            return
        spec = self.setting.spec
        pull: Callable[[], None] | None = None
        if spec.prox_mu and not self.setting.shared:
            pull = partial(proximal_pull, self.trained, self.start, spec.prox_mu)
        take_step(self.optimizer, num_samples, rate_factor(spec, step), pull)
        self.optimizer.zero_grad()

    def take(self, mean: Mapping[str, Tensor]) -> None:
        """Go on from the mean of what all have trained in the round."""
        moved = dict(mean)
        if self.server is not None:
            moved = self.server.step(self.start, difference(mean, self.start))
        write_into(self.trained, moved)
        self.restart()

    def state(self) -> Tensors:
        """All that changes."""
        parts: dict[str, Tensors] = {"trained": copy_of(self.trained)}
        if self.setting.shared:
            parts["optimizer"] = state.optimizer_tensors(self.optimizer, self.trained)
        if self.server is not None:
            parts["server"] = self.server.state()
        return {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned, between rounds; raises InputError if it is of another model."""
        saved = state.below("trained.", tensors)
        state.check_same("the saved state", copy_of(self.trained), saved)
        write_into(self.trained, saved)
        self.optimizer.zero_grad()
        if self.setting.shared:
            state.restore_optimizer(self.optimizer, self.trained, state.below("optimizer.", tensors))
        if self.server is not None:
            self.server.load(state.below("server.", tensors))
        self.restart()


def part_of(model: CutModel, first: int, end: int, head: bool) -> CutModel:
    """A copy of pieces `first` to `end` - 1; the others are left out, and what is frozen is not copied."""
    left_out = [piece for number, piece in enumerate(model.pieces) if not first <= number < end]
    if not head:
        left_out.append(model.head)
    memo: dict[int, object] = {id(module): nn.Identity() for module in left_out}
    for value in model.parameters():
        if not value.requires_grad:
            memo[id(value)] = nn.Parameter(value.data, requires_grad=False)
    return copy.deepcopy(model, memo)


def in_groups(places: Tensor) -> Iterable[Tensor]:
    """Rows of a payload in the canonical groups of `client.Batch`: in the order drawn, not that on the link."""
    return torch.split(torch.argsort(places, stable=True), GROUP)

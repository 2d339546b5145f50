"""What one node has of the part of the model that lives on board: received, trained, averaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from orbitune.errors import InputError, RunError
from orbitune.learn import state
from orbitune.learn.aggregate import Tensors, write_into
from orbitune.learn.nodes.order import Order
from orbitune.learn.nodes.setting import Setting
from orbitune.learn.nodes.trainee import Trainee
from orbitune.timeline.activity import Payload

Read = Callable[[Payload], bytes]
"""Gives the bytes of a payload that the node holds."""

Shared = dict[bytes, Tensors]
"""Frozen tensors that nodes of one process have received, by digest of the bytes: equal ones are kept once."""


class Board:
    """Head and first pieces on one node. It starts without values: they have to arrive.

    Where gradients travel (`Setting.shared`) an update is the gradient of the summed loss; contributions add up to
    that of the whole step, and everyone divides it by the number of samples of all, which the plan says. Where weights
    travel, a contribution is local weights x (own samples / samples of all), so contributions add up to the mean.

    Attributes:
        node: Whose.
        done: Versions of averages that the weights hold, counted from the start of the training.
        installed: Whether the weights have values.
    """

    def __init__(self, setting: Setting, node: int, pieces: int, received: Shared) -> None:
        self.setting, self.node, self.pieces, self._received = setting, node, pieces, received
        self.trainee = Trainee(setting, 0, pieces, head=True)
        self.names = setting.held_names(pieces)
        self.done, self.installed = 0, False
        for value in self.trainee.model.parameters():
            value.data = torch.full((), torch.nan, dtype=value.dtype).expand(value.shape).clone()

    # -- weights arrive --------------------------------------------------------------------------------------------

    def install(self, data: bytes, done: int) -> None:
        """Take over untrained weights, or those of so many versions that lie behind; raises RunError if they are not
        of its part of the model, or not known to their sender."""
        size = 4 * sum(self.setting.parameters[name].numel() for name in self.names)
        if len(data) < size:
            raise RunError(f"node {self.node}: weights of {len(data)} bytes, its part of the model has {size}")
        key = hashlib.sha256(data[:size]).digest()
        if key not in self._received:
            values = self.setting.unpack(data[:size], self.names, "weights")
            if not all(bool(value.isfinite().all()) for value in values.values()):
                raise RunError(
                    f"node {self.node}: the weights it was sent are not those of the rounds that lie behind, for their "
                    "sender does not have these; plan the rest of the run as preloaded, and bring members up to date"
                )
            self._received.clear()
            self._received[key] = values
        self._write(self._received[key])
        self.trainee.restart()
        self.done, self.installed = done, True

    def install_own(self) -> None:
        """Take over the weights as they were before training: of a node that has the model."""
        self._write(self.setting.parameters)
        self.trainee.restart()
        self.installed = True

    def delivered(self, values: Tensors, done: int) -> None:
        """Take over weights that are the last ones."""
        write_into(self.trainee.trained, values)
        self.trainee.restart()
        self.done = done

    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.trainee.model.named_parameters():
            value = values[name].detach()
            parameter.data = value.clone() if parameter.requires_grad else value

    def catch_up(self, order: Order, needs: Iterable[Payload], members: frozenset[int], read: Read) -> None:
        """Take over the weights, or the average, that a computation starts from, unless that is done."""
        for payload in needs:
            if payload.kind == "weights" and not self.installed:
                self.install(read(payload), order.absolute(0))
            elif payload.kind == "update" and order.absolute(payload.version) >= self.done:
                self.apply(order, payload, members, read)
        if not self.installed:
            raise RunError(f"node {self.node} has no weights to work with: none were sent to it")

    def base_of(self, order: Order, version: int) -> int:
        """How many versions lie behind the average that work of a version starts from."""
        each = self.setting.spec.accumulate if self.setting.shared else self.setting.versions
        return order.absolute(version) // each * each

    def follows(self, order: Order, version: int) -> bool:
        """Whether the weights are those that the average of a version was formed from."""
        return self.done == self.base_of(order, version)

    def require_base(self, order: Order, version: int) -> None:
        """Refuse work of a version from an average that is not the one before it."""
        base = self.base_of(order, version)
        if self.done != base:
            raise RunError(
                f"node {self.node}: version {order.absolute(version)} is to be computed from weights of version "
                f"{base - 1}, it has those of {self.done - 1}; real runs know no staleness: train.staleness = 0"
            )

    def apply(self, order: Order, payload: Payload, members: frozenset[int], read: Read) -> None:
        """Go on from an average of all members, once."""
        if payload.origins != members:
            raise RunError(
                f"node {self.node}: an average of satellites {sorted(payload.origins)} where {sorted(members)} take "
                "part; real runs need everybody in every average: train.satellites_per_round = 0, train.staleness = 0"
            )
        values = self.setting.unpack(read(payload), self.setting.update_names, "update")
        if self.setting.shared:
            self._apply_gradient(order, payload.version, values, members)
        else:
            self.trainee.take(values)
        self.done = order.absolute(payload.version) + 1

    def _apply_gradient(self, order: Order, version: int, values: Tensors, members: frozenset[int]) -> None:
        for name, value in values.items():
            self.trainee.trained[name].grad = None if name in self.setting.unused else value
        each = self.setting.spec.accumulate
        self.trainee.step(order.step_of(version), sum(order.batch_samples(one) * each for one in members))

    # -- what it contributes -----------------------------------------------------------------------------------------

    def gradient(self) -> bytes:
        """The summed gradient of a step, which is thereby gone from `.grad`."""
        trained = self.trainee.trained
        values = {n: torch.zeros_like(v) if v.grad is None else v.grad for n, v in trained.items()}
        self.trainee.optimizer.zero_grad()
        return self._finite(values)

    def contribution(self, order: Order, members: frozenset[int]) -> bytes:
        """Its share of the mean of weights."""
        total = sum(order.draws.samples_per_round(member) for member in members)
        share = order.draws.samples_per_round(self.node) / total
        return self._finite({name: share * value.detach().double() for name, value in self.trainee.trained.items()})

    def _finite(self, values: Tensors) -> bytes:
        for name, value in values.items():
            if not value.isfinite().all():
                raise diverged(self.setting, self.node, f"what it trained of {name}")
        return self.setting.pack(values, self.setting.update_names)

    # -- between rounds ----------------------------------------------------------------------------------------------

    def state(self) -> Tensors:
        """All that changes, and a digest of what does not."""
        own = {f"board.{name}": value for name, value in self.trainee.state().items()}
        frozen = state.digest_of_frozen(self.trainee.model)
        return {**own, "board.done": torch.tensor(self.done), "board.frozen": frozen}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned.

        Raises:
            InputError: It is of another model.
        """
        self._write(self.setting.parameters)
        if not torch.equal(state.digest_of_frozen(self.trainee.model), tensors["board.frozen"]):
            self.installed = False
            raise InputError(
                f"node {self.node}: the saved state belongs to a model with other frozen weights; launch with the "
                "model the run was started with"
            )
        self.trainee.load(state.below("board.", tensors))
        self.done, self.installed = int(tensors["board.done"]), True


def diverged(setting: Setting, node: int, what: str) -> RunError:
    """What to say where a value is not finite."""
    spec = setting.spec
    return RunError(
        f"satellite {node}: {what} is not finite; training diverged with learning_rate = {spec.learning_rate} "
        f"({spec.optimizer}); start again with a lower one"
    )

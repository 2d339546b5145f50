"""A satellite of split training: embeds its samples, learns its head on the features that come back, and more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orbitune.errors import RunError
from orbitune.learn.codec import Wire
from orbitune.learn.features import compute_frozen
from orbitune.learn.nodes.board import Board, Read, Shared, diverged
from orbitune.learn.nodes.order import Order
from orbitune.learn.nodes.setting import CPU, Setting
from orbitune.learn.nodes.trainee import in_groups
from orbitune.learn.precision import arithmetic
from orbitune.learn.split import NotFinite, head_step
from orbitune.timeline.activity import Activity, Payload


@dataclass(frozen=True, eq=False)
class Samples:
    """What one satellite alone holds: images as the model reads them [n, C, P, P], and their labels [n, ...]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Sent:
    """A group of embeddings that a gradient will come back for: rows of its payload, and the end of the graph."""

    version: int
    rows: Tensor
    embedding: Tensor


class Satellite:
    """See the module. Numbers are those of `learners`: the same groups, the same order, one optimiser step each."""

    def __init__(self, setting: Setting, node: int, samples: Samples, received: Shared) -> None:
        self.setting, self.node, self.own = setting, node, samples
        self.board = Board(setting, node, setting.front(node), received)
        self._inputs: Tensor | None = None
        self.begin(Order(setting, 0), frozenset())

    def begin(self, order: Order, members: frozenset[int]) -> None:
        """A program starts: nothing is under way."""
        self.order, self.members = order, members
        self._sent: list[Sent] = []
        self._worked = 0
        self._steps_done = 0
        self._features: Tensor | None = None
        self._have = torch.zeros(len(self.own.labels), dtype=torch.bool)
        self._version = -1
        self.board.trainee.optimizer.zero_grad()

    def compute(self, activity: Activity, read: Read) -> dict[Payload, bytes]:
        """Embed, a head step, or the way back through the front: what it is, the payloads say."""
        needs = {payload.kind: payload for payload in activity.needs}
        makes = {payload.kind: payload for payload in activity.makes}
        self.board.catch_up(self.order, activity.needs, self.members, read)
        if "embedding" in makes:
            return {makes["embedding"]: self._embed(makes["embedding"])}
        with arithmetic(self.setting.spec.precision, CPU):
            if "embedding_gradient" in needs:
                return self._front_backward(needs["embedding_gradient"], makes, read)
            if "feature" in needs and self.setting.spec.trains == "head":
                return self._head_steps(needs["feature"], makes, read)
            if "feature" in needs:
                return self._head(needs["feature"], makes, read)
        raise unknown(self.node, activity)

    # -- images to embeddings ----------------------------------------------------------------------------------------

    @property
    def front_trains(self) -> bool:
        """Whether gradients come back to it."""
        return any(not name.startswith("head.") for name in self.board.trainee.trained)

    @property
    def inputs(self) -> Tensor:
        """By sample, behind what is frozen of its pieces: computed once, in the canonical groups of all samples."""
        if self._inputs is None:
            every = [torch.arange(len(self.own.images)).numpy()]
            none, wire = torch.empty(0, dtype=torch.int64), Wire(self.setting.codec)
            frozen, model = self._frozen_pieces, self.board.trainee.model
            self._inputs = self.own.images
            if frozen:
                self._inputs = compute_frozen(model, frozen, [()], wire, self.own.images, every, none).outputs
        return self._inputs

    @property
    def _frozen_pieces(self) -> int:
        return min(self.setting.num_frozen, self.board.pieces)

    def _embed(self, made: Payload) -> bytes:
        samples = self.order.samples(made)
        if not self.front_trains:
            return self.setting.codec.encode(self.inputs[samples], "embedding")
        self.board.require_base(self.order, made.version)
        found: list[Tensor] = [torch.empty(0)] * len(samples)
        for rows in in_groups(self.order.places(made)):
            images = self.inputs[samples[rows]]
            with arithmetic(self.setting.spec.precision, CPU):
                value = self.board.trainee.model.run(images, self._frozen_pieces, self.board.pieces)
            self._sent.append(Sent(made.version, rows + self.order.rows(made).start, value))
            for row, one in zip(rows.tolist(), value.detach(), strict=True):
                found[row] = one
        return self.setting.codec.encode(torch.stack(found), "embedding")

    # -- features to gradients -----------------------------------------------------------------------------------------

    def _head(self, arrived: Payload, makes: Mapping[str, Payload], read: Read) -> dict[Payload, bytes]:
        self.board.require_base(self.order, arrived.version)
        features = self.setting.decode("feature", self.node, read(arrived))
        samples, gradient = self.order.samples(arrived), torch.empty_like(features)
        for rows in in_groups(self.order.places(arrived)):
            group = features[rows].requires_grad_(True)
            self._learn(group, samples[rows])
            assert group.grad is not None
            gradient[rows] = group.grad
        found = {makes["feature_gradient"]: self.setting.codec.encode(gradient, "feature_gradient")}
        if not self.front_trains:
            self._count(arrived.version, len(samples))
        return found | self._contribution(makes)

    def _learn(self, features: Tensor, samples: Tensor) -> None:
        try:
            head_step(self.board.trainee.model, self.setting.objective, features, self.own.labels[samples])
        except NotFinite as wrong:
            raise diverged(self.setting, self.node, str(wrong)) from wrong

    def _front_backward(self, arrived: Payload, makes: Mapping[str, Payload], read: Read) -> dict[Payload, bytes]:
        gradient = self.setting.decode("embedding_gradient", self.node, read(arrived))
        within = self.order.rows(arrived)
        for sent in self._sent:
            if sent.version == arrived.version and int(sent.rows[0]) in within:
                torch.autograd.backward(sent.embedding, gradient[sent.rows - within.start])
        self._sent = [one for one in self._sent if one.version != arrived.version or int(one.rows[0]) not in within]
        self._count(arrived.version, len(gradient))
        return self._contribution(makes)

    def _count(self, version: int, samples: int) -> None:
        """Where weights are averaged, the last sample of a step is followed by the step."""
        self._worked += samples
        each = self.order.batch_samples(self.node) * self.setting.spec.accumulate
        if self._worked == each:
            self._worked = 0
            if not self.setting.shared:
                self.board.trainee.step(self.order.step_of(version), each)

    def _contribution(self, makes: Mapping[str, Payload]) -> dict[Payload, bytes]:
        if "update" not in makes:
            return {}
        assert not self._worked, f"{self._worked} samples of a step that is not over"
        if self.setting.shared:
            return {makes["update"]: self.board.gradient()}
        return {makes["update"]: self.board.contribution(self.order, self.members)}

    # -- where only the head trains ------------------------------------------------------------------------------------

    def _head_steps(self, arrived: Payload, makes: Mapping[str, Payload], read: Read) -> dict[Payload, bytes]:
        """As many local steps as there are samples for; what is kept of earlier rounds is there."""
        round_index = self.board.done
        if round_index != self._version:
            self._version, self._steps_done = round_index, 0
            if not self.order.keeps("feature"):
                self._have[:] = False
        features, samples = self.setting.decode("feature", self.node, read(arrived)), self.order.samples(arrived)
        if self._features is None:
            self._features = torch.zeros((len(self.own.labels), *features.shape[1:]), dtype=features.dtype)
        self._features[samples] = features
        self._have[samples] = True
        self._step_on(round_index)
        if "update" in makes and self._steps_done < self.setting.spec.local_steps:
            raise RunError(f"satellite {self.node}: features are missing for round {round_index + 1}")
        return self._contribution(makes)

    def _step_on(self, round_index: int) -> None:
        spec = self.setting.spec
        while self._steps_done < spec.local_steps:
            step = round_index * spec.local_steps + self._steps_done
            batches = self.order.draws.step(self.node, step)
            if not all(bool(self._have[batch.ids].all()) for batch in batches):
                return
            assert self._features is not None
            for group in (group for batch in batches for group in batch.groups()):
                self._learn(self._features[group.ids], group.ids)
            self.board.trainee.step(step, sum(len(batch.ids) for batch in batches))
            self._steps_done += 1


def unknown(node: int, activity: Activity) -> RunError:
    """What to say of a computation that no node of ours does."""
    kinds = sorted({payload.kind for payload in activity.makes})
    return RunError(
        f"node {node}: '{activity.stage}' makes {', '.join(kinds) or 'nothing'}, which real runs do not do there; they "
        "have the encoder on the ground (method.placement = 'ground') and the methods " + ", ".join(METHODS)
    )


METHODS = ("collaborative", "reconstructed", "onboard", "fedavg", "fedisl", "fedleo", "download")
"""Those that nodes can carry out: synchronous, with everybody in every average."""

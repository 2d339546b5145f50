"""Nodes of trainings where the model is not cut: a satellite that trains it alone for a round, and a server that is
sent all images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbitune.errors import RunError
from orbitune.learn import state
from orbitune.learn.aggregate import Tensors
from orbitune.learn.codec import Wire
from orbitune.learn.features import Account, compute_frozen
from orbitune.learn.learners import UnionLearner, train_alone
from orbitune.learn.nodes.board import Board, Read, Shared
from orbitune.learn.nodes.order import Order
from orbitune.learn.nodes.satellite import Samples, unknown
from orbitune.learn.nodes.setting import Setting
from orbitune.learn.nodes.trainee import Trainee
from orbitune.learn.task import Task
from orbitune.timeline.activity import Activity, Payload


class Onboard:
    """A satellite that trains the whole model on its own samples."""

    def __init__(self, setting: Setting, node: int, samples: Samples, received: Shared) -> None:
        self.setting, self.node, self.own = setting, node, samples
        self.board = Board(setting, node, setting.num_pieces, received)
        self._task: Task | None = None
        self.begin(Order(setting, 0), frozenset())

    def begin(self, order: Order, members: frozenset[int]) -> None:
        """A program starts."""
        self.order, self.members = order, members

    def compute(self, activity: Activity, read: Read) -> dict[Payload, bytes]:
        """All local steps of a round; with a cache, first the features of samples that are new in it."""
        self.board.catch_up(self.order, activity.needs, self.members, read)
        found: dict[Payload, bytes] = {}
        for payload in activity.makes:
            if payload.kind == "feature":
                found[payload] = self.setting.codec.encode(self.task.inputs[self.order.samples(payload)], "feature")
            elif payload.kind == "update":
                self._train(payload.version)
                found[payload] = self.board.contribution(self.order, self.members)
            else:
                raise unknown(self.node, activity)
        return found

    def _train(self, version: int) -> None:
        self.board.require_base(self.order, version)
        trainee = self.board.trainee
        steps = self.task.steps(self.order.round_of(version))
        train_alone(self.task, trainee.optimizer, self.order.draws, self.node, trainee.start, steps)
        trainee.optimizer.zero_grad()

    @property
    def task(self) -> Task:
        """What it learns from what; frozen pieces do their work once."""
        if self._task is None:
            nobody = np.empty(0, np.int64)
            held = [nobody] * len(self.setting.counts)
            held[self.node] = np.arange(len(self.own.labels))
            self._task = task_of(self.setting, self.board.trainee, self.own, held)
        return self._task


class Central:
    """A server that trains the whole model on images it was sent.

    Args:
        setting: Of the run.
        node: The server.
        received: Turns the bytes of a satellite's images and labels into samples.
    """

    def __init__(self, setting: Setting, node: int, received: Callable[[bytes, bytes], Samples]) -> None:
        self.setting, self.node, self._received = setting, node, received
        self.trainee = Trainee(setting, 0, setting.num_pieces, head=True)
        self.done = 0
        self._learner: UnionLearner | None = None
        self._saved: Tensors = {}
        self.begin(Order(setting, 0), frozenset())

    def begin(self, order: Order, members: frozenset[int]) -> None:
        """A program starts."""
        self.order, self.members = order, members

    def compute(self, activity: Activity, read: Read) -> dict[Payload, bytes]:
        """One round on the samples of all."""
        if self._learner is None:
            self._learner = self._prepare({(p.kind, *p.origins): p for p in activity.needs}, read)
        found: dict[Payload, bytes] = {}
        for payload in activity.makes:
            if payload.kind == "model":
                self._require_base(payload.version)
                self._learner.run_round(self.order.round_of(payload.version))
                self.done = self.order.absolute(payload.version) + 1
                found[payload] = self.setting.pack(self.trainee.trained, self.setting.model_names)
            elif payload.kind == "feature":
                found[payload] = self._features(self._learner.task, payload)
            else:
                raise unknown(self.node, activity)
        return found

    def _require_base(self, version: int) -> None:
        if self.done != self.order.absolute(version):
            raise RunError(
                f"server: round {self.order.absolute(version) + 1} follows after {self.done} rounds; restore it first"
            )

    def _prepare(self, needs: Mapping[tuple[object, ...], Payload], read: Read) -> UnionLearner:
        pairs = [(needs["image", one], needs["label", one]) for one in range(len(self.setting.counts))]
        parts = [self._received(read(images), read(labels)) for images, labels in pairs]
        samples = Samples(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
        edges = np.cumsum([0, *self.setting.counts])
        held = [np.arange(first, last) for first, last in pairwise(edges)]
        learner = UnionLearner(task_of(self.setting, self.trainee, samples, held))
        if self._saved:
            learner.load_state(self._saved)
        return learner

    def _features(self, task: Task, payload: Payload) -> bytes:
        (satellite,) = payload.origins
        own = task.holdings[satellite][self.order.samples(payload).numpy()]
        return self.setting.codec.encode(task.inputs[torch.from_numpy(own)], "feature")

    def state(self) -> Tensors:
        """All that changes between rounds; images are sent again after a new start."""
        own = {} if self._learner is None else self._learner.state()
        kept = {f"central.{name}": value for name, value in (own or self._saved).items()}
        return {**kept, "server.done": torch.tensor(self.done)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.done, self._saved = int(tensors["server.done"]), state.below("central.", tensors)
        self._learner = None


def task_of(setting: Setting, trainee: Trainee, samples: Samples, held: Sequence[NDArray[np.int64]]) -> Task:
    """A task in one place, as `task.make_task` joins it, without test samples.

    Args:
        setting: Of the run.
        trainee: The whole model, which will train.
        samples: Those at hand.
        held: Of each satellite, which of them.
    """
    wire, none = Wire(setting.codec), torch.empty(0, dtype=torch.int64)
    inputs, nowhere = samples.images, ((),) * len(held)
    if setting.num_frozen:
        inputs = compute_frozen(trainee.model, setting.num_frozen, nowhere, wire, inputs, held, none).outputs
    return Task(
        spec=setting.spec,
        trained=trainee.trained,
        model=trainee.model,
        objective=setting.objective,
        num_frozen=setting.num_frozen,
        boundaries=nowhere,
        inputs=inputs,
        labels=samples.labels,
        holdings=tuple(held),
        test_ids=none,
        wire=wire,
        account=Account("none", [{} for _ in held], wire, len(samples.labels)),
    )

"""The training loop: rounds of real gradients on the simulated clock.

Read from the bottom: `train` replays the rounds of a timeline, a `Learner` does one round, `make_learner` sets it up.
Results depend on the spec, the samples and the weights, never on timing: satellites take part in the order of their
ids, samples in the order drawn, in the groups of `client.Batch`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from orbitune.errors import InputError, RunError
from orbitune.learn import state
from orbitune.learn.aggregate import Contribution, Tensors, copy_of, weighted_mean, write_into
from orbitune.learn.backbone import Backbone
from orbitune.learn.client import GROUP, SatelliteLosses, make_optimizer, optimizer_step
from orbitune.learn.codec import Wire
from orbitune.learn.spec import LearnSpec
from orbitune.learn.task import Task, make_task

# ------------------------------------------------------------------------------------- what comes out


@dataclass(frozen=True, slots=True)
class RoundResult:
    """Mean cross-entropy over the samples of one round, while training: of all, and of each satellite."""

    loss: float
    client_loss: dict[int, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """On the test samples: share right, mean over classes of the share right, mean cross-entropy."""

    accuracy: float
    balanced_accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One point of the learning curve.

    Attributes:
        round: Rounds finished; 0 is the model before training.
        sim_time_s: When that was, in simulated seconds.
        loss: Training loss of the round; None before training.
        accuracy, balanced_accuracy, test_loss: On the test samples.
        client_loss: Training loss of each satellite that took part.
        wall_s: Real seconds the round and its evaluation took here.
    """

    round: int
    sim_time_s: float
    loss: float | None
    accuracy: float
    balanced_accuracy: float
    test_loss: float
    client_loss: dict[int, float]
    wall_s: float


class Learner(Protocol):
    """Something that can do rounds, be judged, and be stopped and continued."""

    @property
    def spec(self) -> LearnSpec:
        """What is learned and how."""

    @property
    def wire(self) -> Wire:
        """What crossed the cut so far; nothing ever does for "federated" and "central"."""

    def run_round(self, round_index: int) -> RoundResult:
        """Train for one round, counted from 0."""

    def evaluate(self) -> Evaluation:
        """Judge the whole model, in full precision, on the test samples."""

    def state(self) -> Tensors:
        """Copies of all that changes in training: trained tensors, optimiser, counters."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned, bit for bit; raises InputError if it is of another model."""


# ------------------------------------------------------------------------------------- the learners


class _TaskLearner:
    """What both learners share: judging, saving, loading."""

    optimizer: torch.optim.Optimizer | None = None  # only what lives longer than a round is part of the state

    def __init__(self, task: Task) -> None:
        self.task = task
        self.spec = task.spec
        self.wire = task.wire
        self._frozen = state.digest_of_frozen(task.model)

    @torch.no_grad()
    def evaluate(self) -> Evaluation:
        """Judge the whole model on the test samples; an observer does this, so nothing crosses a link."""
        task = self.task
        labels = task.labels[task.test_ids]
        logits = torch.cat([task.predict(task.inputs[ids]) for ids in torch.split(task.test_ids, GROUP)])
        right = (logits.argmax(dim=1) == labels).double()
        recalls = [right[labels == present].mean() for present in torch.unique(labels)]
        loss = F.cross_entropy(logits.double(), labels)
        return Evaluation(right.mean().item(), torch.stack(recalls).mean().item(), loss.item())

    def state(self) -> Tensors:
        """See `Learner.state`."""
        tensors = {f"model.{name}": value for name, value in copy_of(self.task.trained).items()}
        tensors["frozen.sha256"] = self._frozen.clone()
        tensors.update((f"sent_bytes.{kind}", torch.tensor(sent)) for kind, sent in self.wire.sent_bytes.items())
        if self.optimizer is not None:
            memory = state.optimizer_tensors(self.optimizer, self.task.trained)
            tensors.update((f"optimizer.{name}", value) for name, value in memory.items())
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state`; a state that does not fit changes nothing."""
        memory = state.below("optimizer.", tensors)
        rest = {name: value for name, value in tensors.items() if not name.startswith("optimizer.")}
        own = {name: value for name, value in self.state().items() if not name.startswith("optimizer.")}
        state.check_same("the saved state", own, rest)
        if not torch.equal(rest["frozen.sha256"], self._frozen):
            raise InputError("the saved state belongs to a model with other frozen weights")
        if self.optimizer is not None:
            state.restore_optimizer(self.optimizer, self.task.trained, memory)
        write_into(self.task.trained, state.below("model.", rest))
        self.wire.sent_bytes = {kind: int(sent) for kind, sent in state.below("sent_bytes.", rest).items()}


class UnionLearner(_TaskLearner):
    """Every step is one optimiser step on the union of all satellites' batches.

    With a cut this is split learning with one shared encoder: gradients of what lives on the satellites are summed
    over them, so all take the same step and one copy stands for all. Without a cut it is central training.
    Equals plain training of the whole model on the union batch.
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.optimizer = make_optimizer(task.trained, task.spec)

    def run_round(self, round_index: int) -> RoundResult:
        """`local_steps` steps; the optimiser goes on from the round before."""
        task = self.task
        losses: SatelliteLosses = []
        for step in task.steps(round_index):
            union = [task.batch(satellite, step) for satellite in task.participants()]
            losses += optimizer_step(self.optimizer, task.gradients, union)
        return summarise(losses)


class AveragingLearner(_TaskLearner):
    """Each satellite trains its own copy for a round, then the copies are averaged, weighted by samples.

    Every copy starts the round with a fresh optimiser: an average of optimiser memories would be a choice nobody
    made. Equals federated averaging of whole models (arXiv:1602.05629).
    """

    def run_round(self, round_index: int) -> RoundResult:
        """`local_steps` steps on every satellite that holds samples, then the average."""
        task = self.task
        losses: SatelliteLosses = []
        common = copy_of(task.trained)
        contributions = []
        for satellite in task.participants():
            write_into(task.trained, common)
            own_losses = self._train_alone(satellite, round_index)
            num_samples = sum(len(loss) for _, loss in own_losses)
            contributions.append(Contribution(satellite, num_samples, copy_of(task.trained)))
            losses += own_losses
        write_into(task.trained, weighted_mean(contributions))
        return summarise(losses)

    def _train_alone(self, satellite: int, round_index: int) -> SatelliteLosses:
        task = self.task
        losses: SatelliteLosses = []
        optimizer = make_optimizer(task.trained, task.spec)
        for step in task.steps(round_index):
            losses += optimizer_step(optimizer, task.gradients, [task.batch(satellite, step)])
        return losses


def summarise(losses: SatelliteLosses) -> RoundResult:
    """Mean loss of all samples and of each satellite's samples."""
    by_satellite: dict[int, list[Tensor]] = {}
    for satellite, loss in losses:
        by_satellite.setdefault(satellite, []).append(loss.double())
    joined = {satellite: torch.cat(parts) for satellite, parts in by_satellite.items()}
    everything = torch.cat(list(joined.values()))
    return RoundResult(everything.mean().item(), {key: value.mean().item() for key, value in joined.items()})


# ----------------------------------------------------------------------------------------- the loop


def deterministic(threads: int) -> None:
    """Make this process repeat its results bit for bit; for whoever owns the process, nothing here calls it."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def make_learner(
    spec: LearnSpec,
    backbone: Backbone,
    num_classes: int,
    images: Tensor,
    labels: Tensor,
    holdings: Sequence[NDArray[np.int64]],
    test_ids: NDArray[np.int64],
) -> Learner:
    """Set up a training.

    Args:
        spec: What is learned and how.
        backbone: Where training starts from; it is copied, not changed.
        num_classes: Width of the head.
        images: All samples [M, C, H, W], of the backbone's dtype and on its device.
        labels: Class of each sample [M], int64.
        holdings: Sample ids of each satellite, by its id; one may hold none, but not all.
        test_ids: Samples to judge on, held by no satellite.

    Raises:
        InputError: Images and labels differ in number, nothing is held or tested, or a part that trains has layers
            that do not allow it.
    """
    task = make_task(spec, backbone, num_classes, images, labels, holdings, test_ids)
    return AveragingLearner(task) if spec.averages else UnionLearner(task)


def train(
    learner: Learner,
    start_s: float,
    round_ends_s: Sequence[float],
    first_round: int,
    on_round: Callable[[RoundRecord], None],
) -> None:
    """Replay the rounds of a timeline with real gradients.

    Args:
        learner: As `make_learner` or `checkpoint.load` left it.
        start_s: Simulated time at which training starts.
        round_ends_s: Simulated time at which each round ends.
        first_round: Rounds already done: 0, or what `checkpoint.load` returned.
        on_round: Receives each record when it is true of the learner: the moment to report and to save. From round 0
            on, the first record is the model before training.

    Raises:
        RunError: The training diverged.
        KeyboardInterrupt: As it came; the learner is back at the end of the last whole round.
    """
    if first_round == 0:
        on_round(judge(learner, 0, start_s, None, time.perf_counter()))
    for round_index in range(first_round, len(round_ends_s)):
        began_s = time.perf_counter()
        before = learner.state()
        try:
            result = learner.run_round(round_index)
            refuse_divergence(learner.spec, round_index, result)
            record = judge(learner, round_index + 1, round_ends_s[round_index], result, began_s)
        except BaseException:
            learner.load_state(before)
            raise
        on_round(record)


def judge(
    learner: Learner, rounds_done: int, sim_time_s: float, result: RoundResult | None, began_s: float
) -> RoundRecord:
    """Evaluate, and write down the round that began at `began_s` of the process clock."""
    found = learner.evaluate()
    return RoundRecord(
        round=rounds_done,
        sim_time_s=sim_time_s,
        loss=result.loss if result else None,
        accuracy=found.accuracy,
        balanced_accuracy=found.balanced_accuracy,
        test_loss=found.loss,
        client_loss=result.client_loss if result else {},
        wall_s=time.perf_counter() - began_s,
    )


def refuse_divergence(spec: LearnSpec, round_index: int, result: RoundResult) -> None:
    """Stop where numbers have left the finite: no later round could mend them."""
    if not math.isfinite(result.loss):
        raise RunError(
            f"round {round_index + 1}: the training loss is {result.loss}, training diverged with learning_rate = "
            f"{spec.learning_rate} ({spec.optimizer}); start again with a lower one"
        )

"""The training loop: rounds of real gradients on the simulated clock.

Read from the bottom: `train` replays the rounds of a timeline, a `Learner` does one round, `make_learner` sets it up.
Results depend on the spec, the samples and the weights, never on timing: satellites take part in the order of their
ids, samples in the order drawn, in the groups of `client.Batch`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbitune.errors import RunError
from orbitune.learn.aggregate import Tensors
from orbitune.learn.auxiliary import AuxiliaryLearner
from orbitune.learn.backbones.seam import Backbone
from orbitune.learn.codec import Wire
from orbitune.learn.features import Kept
from orbitune.learn.learners import AveragingLearner, Evaluation, RoundResult, UnionLearner
from orbitune.learn.replay import TakingPart, depth_of
from orbitune.learn.spec import LearnSpec
from orbitune.learn.task import make_task


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One point of the learning curve.

    Attributes:
        round: Rounds finished; 0 is the model before training.
        sim_time_s: When that was, in simulated seconds.
        loss: Training loss of the round; None before training, and for a round in which nobody took part.
        accuracy, balanced_accuracy, test_loss: On the test samples.
        client_loss: Training loss of each satellite that took part.
        wall_s: Real seconds the round and its evaluation took here.
        metrics: Further figures on the test samples, as the objective has them: "macro_f1", "miou".
    """

    round: int
    sim_time_s: float
    loss: float | None
    accuracy: float
    balanced_accuracy: float
    test_loss: float
    client_loss: dict[int, float]
    wall_s: float
    metrics: dict[str, float] = field(default_factory=dict)


class Learner(Protocol):
    """Something that can do rounds, be judged, and be stopped and continued."""

    @property
    def spec(self) -> LearnSpec:
        """What is learned and how."""

    @property
    def wire(self) -> Wire:
        """What crossed the cut so far; nothing ever does for "federated" and "central"."""

    def run_round(self, round_index: int, taking_part: TakingPart | None = None) -> RoundResult:
        """Train for one round.

        Args:
            round_index: From 0.
            taking_part: Who takes part, and the number of averages in the weights each starts from (see `replay`);
                None is everybody, fresh.

        Raises:
            RunError: The training diverged, or weights that somebody starts from are not kept any more.
        """

    def remember(self, depth: int) -> None:
        """Keep the weights of this many past rounds from now on: as old as anybody will start from."""

    def evaluate(self) -> Evaluation:
        """Judge the whole model, in full precision, on the test samples."""

    def state(self) -> Tensors:
        """Copies of all that changes in training: trained tensors, optimisers, past weights, residuals, counters."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned, bit for bit; raises InputError if it is of another model."""


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
    kept: Kept | None = None,
) -> Learner:
    """Set up a training.

    Args:
        spec: What is learned and how.
        backbone: Where training starts from; it is copied, not changed.
        num_classes: Width of the head.
        images: All samples [M, C, H, W], of the backbone's dtype and on its device.
        labels: Of each sample, in one of the forms of `objectives.objective_for`.
        holdings: Sample ids of each satellite, by its id; one may hold none, but not all.
        test_ids: Samples to judge on, held by no satellite.
        kept: Frozen work shared with other trainings from the same start, see `task.make_task`.

    Raises:
        InputError: Images and labels differ in number, nothing is held or tested, a cut, cache or precision cannot
            be, or a part that trains has layers that do not allow it.
    """
    task = make_task(spec, backbone, num_classes, images, labels, holdings, test_ids, kept)
    if spec.learner == "auxiliary":
        return AuxiliaryLearner(task)
    return AveragingLearner(task) if spec.averages else UnionLearner(task)


def train(
    learner: Learner,
    start_s: float,
    round_ends_s: Sequence[float],
    first_round: int,
    on_round: Callable[[RoundRecord], None],
    participation: Sequence[TakingPart] | None = None,
) -> None:
    """Replay the rounds of a timeline with real gradients.

    Args:
        learner: As `make_learner` or `checkpoint.load` left it.
        start_s: Simulated time at which training starts.
        round_ends_s: Simulated time at which each round ends.
        first_round: Rounds already done: 0, or what `checkpoint.load` returned.
        on_round: Receives each record when it is true of the learner: the moment to report and to save. From round 0
            on, the first record is the model before training.
        participation: Who takes part in each round, from which weights; None is everybody, fresh, in all. See
            `Learner.run_round`.

    Raises:
        RunError: The training diverged.
        KeyboardInterrupt: As it came; the learner is back at the end of the last whole round.
    """
    assert participation is None or len(participation) == len(round_ends_s)
    learner.remember(depth_of(participation or ()))
    if first_round == 0:
        on_round(judge(learner, 0, start_s, None, time.perf_counter()))
    for round_index in range(first_round, len(round_ends_s)):
        began_s = time.perf_counter()
        before = learner.state()
        try:
            result = learner.run_round(round_index, participation[round_index] if participation else None)
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
        metrics=found.metrics,
    )


def refuse_divergence(spec: LearnSpec, round_index: int, result: RoundResult) -> None:
    """Stop where numbers have left the finite: no later round could mend them."""
    if result.loss is not None and not math.isfinite(result.loss):
        raise RunError(
            f"round {round_index + 1}: the training loss is {result.loss}, training diverged with learning_rate = "
            f"{spec.learning_rate} ({spec.optimizer}); start again with a lower one"
        )

"""One round of training: all satellites as one, or each apart and then averaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from orbitune.errors import InputError
from orbitune.learn import batched, state
from orbitune.learn.aggregate import (
    Contribution,
    RunningMean,
    Tensors,
    copy_of,
    difference,
    write_into,
)
from orbitune.learn.client import (
    Batch,
    SatelliteLosses,
    make_optimizer,
    proximal_pull,
    sum_gradients,
    take_step,
)
from orbitune.learn.draws import Draws
from orbitune.learn.merge import Merge
from orbitune.learn.precision import arithmetic, check_precision
from orbitune.learn.replay import Past, Progress, TakingPart, averages_of, starts_of
from orbitune.learn.schedule import rate_factor
from orbitune.learn.server_step import FedAdam
from orbitune.learn.split import cut_of
from orbitune.learn.task import Task
from orbitune.learn.update_codec import Compressor


@dataclass(frozen=True, slots=True)
class RoundResult:
    """Mean loss over the samples of one round, while training: of all, and of each satellite that took part.

    The loss of a round without anybody is None.
    """

    loss: float | None
    client_loss: dict[int, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """On the test samples: mean loss, share right, mean over classes of the share right, and what more there is."""

    loss: float
    accuracy: float
    balanced_accuracy: float
    metrics: dict[str, float]


class TaskLearner:
    """What both learners share: judging, saving, loading; see `rounds.Learner`.

    Attributes:
        optimizer: What lives longer than a round is part of the state; None where each round starts afresh.
        server: What the server does beyond averaging.
        progress: Who has come how far, where satellites go on by themselves.
        past: Weights of past rounds, for satellites that start from old ones.
        compressor: What changes of weights or gradients of satellites go through; None where they cross exactly.
    """

    optimizer: torch.optim.Optimizer | None = None
    server: FedAdam | None = None
    progress: Progress | None = None

    def __init__(self, task: Task) -> None:
        check_precision(task.spec.precision, task.labels.device)
        self.task = task
        self.spec = task.spec
        self.wire = task.wire
        self.past = Past()
        crosses = task.spec.update_codec != "fp32" and task.spec.learner != "central"
        self.compressor = Compressor(task.spec.update_codec) if crosses else None
        self.draws = Draws(task.spec, task.holdings, task.labels.device)
        self._frozen = state.digest_of_frozen(task.model)

    def remember(self, depth: int) -> None:
        """See `rounds.Learner.remember`."""
        self.past.depth = depth

    def evaluate(self) -> Evaluation:
        """See `rounds.Learner.evaluate`."""
        figures = self.task.judge()
        loss, accuracy, balanced = (figures.pop(name) for name in ("loss", "accuracy", "balanced_accuracy"))
        return Evaluation(loss, accuracy, balanced, figures)

    def gradients(self, batch: Batch) -> Tensor:
        """See `gradients_of`."""
        return gradients_of(self.task, batch)

    def travels(self, satellite: int) -> list[str]:
        """Names of the trained tensors that a satellite holds, whose changes therefore cross a link."""
        if self.spec.learner != "split":
            return list(self.task.trained)
        blocks = [f"backbone.blocks.{number}." for number in range(cut_of(self.spec, satellite))]
        places = ("head.", "backbone.embedding.", *blocks)
        return [name for name in self.task.trained if name.startswith(places)]

    def compressed(self, satellite: int, change: Tensors) -> Tensors:
        """What arrives of a satellite's change; what never crosses stays as it is."""
        if self.compressor is None:
            return change
        sent = {name: change[name] for name in self.travels(satellite) if name in change}
        return {**change, **self.compressor.cross(satellite, sent)}

    def state(self) -> Tensors:
        """See `rounds.Learner.state`."""
        parts: dict[str, Tensors] = {
            "model": copy_of(self.task.trained),
            "sent_bytes": {kind: torch.tensor(sent) for kind, sent in self.wire.sent_bytes.items()},
            "samples": {"crossed": self.task.account.crossed.clone()},
            "frozen": {"sha256": self._frozen.clone()},
            "past": self.past.state(),
        }
        if self.optimizer is not None:
            parts["optimizer"] = state.optimizer_tensors(self.optimizer, self.task.trained)
        if self.server is not None:
            parts["server"] = self.server.state()
        if self.progress is not None:
            parts["progress"] = self.progress.state()
        if self.compressor is not None:
            parts["residual"] = self.compressor.state()
            parts["sent_bytes"]["update"] = torch.tensor(self.compressor.sent_bytes)
        return {
            f"{part}.{name}": value.contiguous() for part, tensors in parts.items() for name, value in tensors.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """See `rounds.Learner.load_state`; a state that does not fit changes nothing."""
        growing = ("optimizer.", "past.", "residual.")  # empty at first
        fixed = {name: value for name, value in tensors.items() if not name.startswith(growing)}
        own = {name: value for name, value in self.state().items() if not name.startswith(growing)}
        state.check_same("the saved state", own, fixed)
        state.check_kept("the saved state", "past.", self.task.trained, tensors)
        state.check_kept("the saved state", "residual.", self.task.trained, tensors)
        if not torch.equal(fixed["frozen.sha256"], self._frozen):
            raise InputError("the saved state belongs to a model with other frozen weights")
        if self.optimizer is not None:
            state.restore_optimizer(self.optimizer, self.task.trained, state.below("optimizer.", tensors))
        write_into(self.task.trained, state.below("model.", fixed))
        self._load_rest(tensors)

    def _load_rest(self, tensors: Mapping[str, Tensor]) -> None:
        sent = {kind: int(value) for kind, value in state.below("sent_bytes.", tensors).items()}
        if self.compressor is not None:
            self.compressor.sent_bytes = sent.pop("update")
            self.compressor.load(state.below("residual.", tensors))
        if self.server is not None:
            self.server.load(state.below("server.", tensors))
        if self.progress is not None:
            self.progress.load(state.below("progress.", tensors))
        self.wire.sent_bytes = sent
        self.task.account.crossed = tensors["samples.crossed"].clone()
        self.past.load(state.below("past.", tensors))


class UnionLearner(TaskLearner):
    """Every step is one optimiser step on the union of all satellites' batches.

    With a cut this is split learning with one shared encoder: gradients of what lives on the satellites are summed
    over them, so all take the same step and one copy stands for all. Without a cut it is central training.
    Equals plain training of the whole model on the union batch.

    A satellite with old weights gives, at every step of the round, the gradient of its batch at those weights, and the
    step is on the mean over all that take part: stale synchronous parallel training (Ho et al., NIPS 2013).
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.optimizer = make_optimizer(task.trained, task.spec)

    def run_round(self, round_index: int, taking_part: TakingPart | None = None) -> RoundResult:
        """`local_steps` steps; the optimiser goes on from the round before."""
        starts = starts_of(taking_part, round_index, self.task.participants())
        old = {satellite: self.past.at(base) for satellite, base in starts.items() if base < round_index}
        at_start = copy_of(self.task.trained) if self.past.depth else {}
        losses: SatelliteLosses = []
        for step in self.task.steps(round_index) if starts else ():
            losses += self._step(step, list(starts), old)
        self.past.keep(round_index, at_start)
        return summarise(losses)

    def _step(self, step: int, satellites: list[int], old: Mapping[int, Tensors]) -> SatelliteLosses:
        self.optimizer.zero_grad()
        losses: SatelliteLosses = []
        arrived: Tensors = {}
        for satellite in satellites:
            losses += self._satellite_gradient(satellite, step, old.get(satellite))
            if self.compressor is not None:
                arrived = add(arrived, self.compressed(satellite, self._take_gradient()))
        for name, value in arrived.items():
            self.task.trained[name].grad = value
        take_step(self.optimizer, sum(len(loss) for _, loss in losses), rate_factor(self.spec, step))
        return losses

    def _satellite_gradient(self, satellite: int, step: int, old: Tensors | None) -> SatelliteLosses:
        batches = self.draws.step(satellite, step)
        if old is None:
            return sum_gradients(self.gradients, batches)
        trained = self.task.trained
        current = copy_of(trained)
        write_into(trained, old)
        losses = sum_gradients(self.gradients, batches)
        write_into(trained, current)
        return losses

    def _take_gradient(self) -> Tensors:
        """The gradient so far, which is thereby gone from `.grad`."""
        found = {name: value.grad for name, value in self.task.trained.items() if value.grad is not None}
        self.optimizer.zero_grad()
        return found


def add(one: Tensors, other: Tensors) -> Tensors:
    """The sum of tensors by name; a missing one is zero."""
    return {**one, **{name: one[name] + value if name in one else value for name, value in other.items()}}


class AveragingLearner(TaskLearner):
    """Each satellite trains its own copy for a round, then the copies are averaged, weighted by samples.

    Every copy starts the round with a fresh optimiser: an average of optimiser memories would be a choice nobody
    made. Equals federated averaging of whole models (arXiv:1602.05629).

    Where somebody starts from old weights, or changes are compressed, what is averaged are the changes: the next
    weights are the current ones plus the mean of (local - start) over those that take part, weighted by samples
    (FedBuff, arXiv:2106.06639, algorithm 1, with server learning rate 1); with everybody fresh that is the plain mean.

    Where satellites go on by themselves (`spec.merge` other than "mean"), a round may hold several averages, formed as
    `merge` says. A satellite that trains for the n-th time then takes the n-th round of its own steps and samples.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._local = make_optimizer(task.trained, task.spec)
        self._together = batched.pays(task)
        if task.spec.server_optimizer == "adam":
            self.server = FedAdam(task.spec.server_rate, copy_of(task.trained))
        if task.spec.merge != "mean":
            self.progress = Progress(len(task.holdings))

    def run_round(self, round_index: int, taking_part: TakingPart | None = None) -> RoundResult:
        """`local_steps` steps on every satellite that takes part and holds samples, then the average."""
        if self.progress is not None:
            return self._run_averages(self.progress, taking_part)
        bases = starts_of(taking_part, round_index, self.task.participants())
        current = copy_of(self.task.trained)
        starts = {k: current if base == round_index else self.past.at(base) for k, base in bases.items()}
        losses: SatelliteLosses = []
        if starts:
            write_into(self.task.trained, self._merged(current, starts, round_index, losses))
        self.past.keep(round_index, current)
        return summarise(losses)

    def _merged(
        self, current: Tensors, starts: Mapping[int, Tensors], round_index: int, losses: SatelliteLosses
    ) -> Tensors:
        """The next weights; adds the losses on the way to `losses`."""
        as_changes = self.compressor is not None or any(start is not current for start in starts.values())
        mean = RunningMean(sum(map(self.draws.samples_per_round, starts)))
        for one, own_losses in self._train(starts, round_index):
            losses += own_losses
            if as_changes:
                change = self.compressed(one.satellite, difference(one.tensors, starts[one.satellite]))
                one = Contribution(one.satellite, one.num_samples, change)
            mean.add(one)
        moved = mean.moved(current) if as_changes else mean.result(current)
        return moved if self.server is None else self.server.step(current, difference(moved, current))

    def _run_averages(self, progress: Progress, taking_part: TakingPart | None) -> RoundResult:
        losses: SatelliteLosses = []
        for bases in averages_of(taking_part, progress.averages, self.task.participants()):
            if bases:
                current = copy_of(self.task.trained)
                write_into(self.task.trained, self._average_of(progress, current, bases, losses))
                self.past.keep(progress.averages, current)
                for satellite in bases:
                    progress.trainings[satellite] += 1
            progress.averages += 1
        return summarise(losses)

    def _average_of(
        self, progress: Progress, current: Tensors, bases: Mapping[int, int], losses: SatelliteLosses
    ) -> Tensors:
        """The next weights; adds the losses on the way to `losses`."""
        formed = progress.averages
        starts = {k: current if base == formed else self.past.at(base) for k, base in bases.items()}
        late = {k: formed - base for k, base in bases.items()}
        merge = Merge(self.spec, current, {k: self.draws.samples_per_round(k) for k in bases}, late)
        for number in sorted({progress.trainings[k] for k in bases}):
            alike = {k: start for k, start in starts.items() if progress.trainings[k] == number}
            for one, own_losses in self._train(alike, number):
                losses += own_losses
                change = self.compressed(one.satellite, difference(one.tensors, starts[one.satellite]))
                merge.add(one.satellite, starts[one.satellite], change)
        moved = merge.result()
        return moved if self.server is None else self.server.step(current, difference(moved, current))

    def _train(self, starts: Mapping[int, Tensors], round_index: int) -> Iterator[tuple[Contribution, SatelliteLosses]]:
        """What each satellite brings, by rising id."""
        steps = self.task.steps(round_index)
        if self._together:
            yield from batched.train_together(self.task, self.draws, starts, steps)
            return
        for satellite, start in starts.items():
            losses = self._train_alone(satellite, start, steps)
            yield Contribution(satellite, self.draws.samples_per_round(satellite), copy_of(self.task.trained)), losses

    def _train_alone(self, satellite: int, start: Tensors, steps: range) -> SatelliteLosses:
        write_into(self.task.trained, start)
        return train_alone(self.task, self._local, self.draws, satellite, start, steps)


def train_alone(
    task: Task, optimizer: torch.optim.Optimizer, draws: Draws, satellite: int, start: Tensors, steps: range
) -> SatelliteLosses:
    """One satellite's steps of a round, from weights that are in place already.

    Args:
        task: Holds at least this satellite's samples.
        optimizer: Over `task.trained`; what it remembers is forgotten first.
        draws: Samples of each step.
        satellite: Whose.
        start: The weights it starts from, for the proximal pull.
        steps: Counted from the start of the training.
    """
    spec = task.spec
    optimizer.state.clear()  # as good as a new optimiser
    pull = partial(proximal_pull, task.trained, start, spec.prox_mu) if spec.prox_mu else None
    losses: SatelliteLosses = []
    for step in steps:
        optimizer.zero_grad()
        own = sum_gradients(partial(gradients_of, task), draws.step(satellite, step))
        take_step(optimizer, sum(len(loss) for _, loss in own), rate_factor(spec, step), pull)
        losses += own
    return losses


def gradients_of(task: Task, batch: Batch) -> Tensor:
    """`Task.gradients` in the arithmetic of the spec."""
    with arithmetic(task.spec.precision, batch.ids.device):
        return task.gradients(batch)


def summarise(losses: SatelliteLosses) -> RoundResult:
    """Mean loss of all samples and of each satellite's samples."""
    if not losses:
        return RoundResult(None, {})
    by_satellite: dict[int, list[Tensor]] = {}
    for satellite, loss in losses:
        by_satellite.setdefault(satellite, []).append(loss)
    joined = {satellite: torch.cat(parts).double() for satellite, parts in by_satellite.items()}
    everything = torch.cat(list(joined.values()))
    return RoundResult(everything.mean().item(), {key: value.mean().item() for key, value in joined.items()})

"""Training spread over the workers of an engine: the driver keeps the state, workers do what takes time.

    Spread.learner -> SpreadAveraging   each satellite's training on any worker; merged here by rising id: the bits of
                                        one process
                      SpreadUnion       gradients of a few satellites on any worker, added here in their order: the
                                        bits of one process up to `EXACT_BYTES`, the same sums grouped otherwise above
                      OneWorker         whole rounds on one worker, the bits of one process: where satellites are
                                        stacked anyhow (`batched`), or each step follows from the one before

What a share is depends on the training alone, never on the number of workers, on who is quicker or on who is lost. So
the weights do not depend on these either, as long as all workers calculate alike (the same processors or GPUs).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor

from orbitune.learn import batched
from orbitune.learn.aggregate import Contribution, Tensors
from orbitune.learn.auxiliary import AuxiliaryLearner
from orbitune.learn.backbones import Backbone
from orbitune.learn.client import GROUP, SatelliteLosses, take_step
from orbitune.learn.codec import Wire
from orbitune.learn.features import Frozen
from orbitune.learn.learners import AveragingLearner, Evaluation, RoundResult, UnionLearner, add
from orbitune.learn.objectives import Tally
from orbitune.learn.objectives import add as add_tallies
from orbitune.learn.replay import TakingPart
from orbitune.learn.rounds import Learner
from orbitune.learn.schedule import rate_factor
from orbitune.learn.session import Start, make_start
from orbitune.learn.spec import LearnSpec
from orbitune.learn.spread_crew import Crew, Home, Share
from orbitune.learn.spread_messages import Answer, Parcel, Setting, below, weights_of
from orbitune.learn.spread_shares import crossed_of, mark_crossed, result_of
from orbitune.learn.task import Task, make_task

SHARE = 4
"""Satellites whose gradients are one share of work. Our choice: for the 66 of the largest preset 17 shares a step, so
that ten workers and fewer wait for little at its end, and a quarter of the messages that single satellites would be."""

EXACT_BYTES = 4 * 2**20
"""Gradients up to this size are sent one by one, so that they are added up here exactly as one process adds them; of
larger ones a share sends the sum. Our choice: Galileo nano (3.2 MB) and adapters come below it, whose 66 satellites
then send 0.2 GB a step; the models of 20 MB and more, whose messages would be most of the work, above."""

TESTED = 8
"""Groups of test samples that are one share of work. Our choice: 256 samples take longer than a message."""


class Spread:
    """Trainings that share workers.

    Args:
        crew: The workers.
    """

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._starts: WeakValueDictionary[str, Start] = WeakValueDictionary()
        self._weights: WeakKeyDictionary[Start, Parcel] = WeakKeyDictionary()
        self._last: Start | None = None
        self._one = threading.Lock()

    def learner(self, setting: Setting) -> Learner:
        """A learner whose work is done by the workers; raises what `session.start` raises."""
        with self._one:
            start = self._start(setting)
            task = task_of(start, setting.spec)
            at = Place(self.crew, setting, self._weights[start], start)
        if setting.spec.learner == "auxiliary":
            return OneWorker(AuxiliaryLearner(task), at)
        if setting.spec.noise_multiplier > 0:  # drawn by its place among all that is sent
            return OneWorker(AveragingLearner(task) if setting.spec.averages else UnionLearner(task), at)
        if not setting.spec.averages:
            return SpreadUnion(task, at)
        return OneWorker(AveragingLearner(task), at) if batched.pays(task) else SpreadAveraging(task, at)

    def _start(self, setting: Setting) -> Start:
        found = self._starts.get(setting.start)
        if found is None:
            found = make_start(setting.model, setting.selection, setting.num_satellites, setting.spec.seed)
            self._weights[found] = self.crew.parcel(weights_of(found.backbone))
            self._starts[setting.start] = found
        self._last = found
        return found


def task_of(start: Start, spec: LearnSpec) -> Task:
    """The driver's own: it does no frozen work, so that its machine may be a small one."""
    kept = Elsewhere(start)
    return make_task(
        spec, start.backbone, start.num_classes, start.images, start.labels, start.holdings, start.test_ids, kept
    )


class Elsewhere(dict[tuple[object, ...], Frozen]):
    """Stands for frozen work that workers do: the shapes of its results, and zeros."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self._start = start

    def __contains__(self, key: object) -> bool:
        return True

    @torch.no_grad()
    def __getitem__(self, key: tuple[object, ...]) -> Frozen:
        num_frozen, images = key[0], self._start.images
        assert isinstance(num_frozen, int)
        one = images[:1]
        for piece in pieces_of(self._start.backbone)[:num_frozen]:
            one = piece(one)
        outputs = torch.zeros_like(one).expand(len(images), *one.shape[1:])
        return Frozen(outputs, tuple({} for _ in self._start.holdings))


def pieces_of(backbone: Backbone) -> list[torch.nn.Module]:
    """As `split.CutModel.pieces`."""
    return [backbone.embedding, *backbone.blocks, backbone.final]


class Place:
    """A training's way to the workers."""

    def __init__(self, crew: Crew, setting: Setting, weights: Parcel, start: Start) -> None:
        self.crew, self.setting = crew, setting
        self._weights, self._start = weights, start  # kept as long as the training

    def share(
        self,
        what: str,
        details: dict[str, object],
        parcels: Mapping[str, Parcel],
        tensors: Tensors | None = None,
        home: Home | None = None,
    ) -> Share:
        """A share of this training's work, see `spread_shares`."""
        return Share(self.setting, self._weights, what, details, parcels, tensors or {}, home)

    def evaluate(self, task: Task, home: Home | None = None) -> Evaluation:
        """See `rounds.Learner.evaluate`; tallies are added in the order of one process."""
        weights = {"weights": self.crew.parcel(task.trained)}
        groups = -(-len(task.test_ids) // GROUP)
        shares = [
            self.share("judge", {"groups": [first, min(first + TESTED, groups)]}, weights, home=home)
            for first in range(0, groups, TESTED)
        ]
        total: Tally | None = None
        for answer in self.crew.do(shares):
            for tally in numbered(answer.tensors):
                total = add_tallies(total, tally) if total else tally
        assert total is not None  # `check_samples` saw test samples
        figures = task.objective.figures(total)
        loss, accuracy, balanced = (figures.pop(name) for name in ("loss", "accuracy", "balanced_accuracy"))
        return Evaluation(loss, accuracy, balanced, figures)


def numbered(tensors: Tensors) -> Iterator[Tensors]:
    """Those named "0/...", then "1/...", and so on."""
    number = 0
    while own := below(number, tensors):
        yield own
        number += 1


def take_over(task: Task, satellites: Sequence[int], answer: Answer) -> SatelliteLosses:
    """Count what crossed in a share; returns its losses."""
    for kind, sent in answer.header["sent_bytes"].items():
        task.wire.sent_bytes[kind] += sent
    mark_crossed(task.account, task.holdings, list(satellites), answer.tensors["crossed"])
    return [(satellite, answer.tensors[f"losses/{satellite}"]) for satellite in satellites]


class SpreadAveraging(AveragingLearner):
    """Each satellite trains on a worker; see `learners.AveragingLearner` for all else."""

    def __init__(self, task: Task, place: Place) -> None:
        super().__init__(task)
        self._place = place

    def evaluate(self) -> Evaluation:
        """See `rounds.Learner.evaluate`."""
        return self._place.evaluate(self.task)

    def _train(self, starts: Mapping[int, Tensors], round_index: int) -> Iterator[tuple[Contribution, SatelliteLosses]]:
        steps = self.task.steps(round_index)
        different = {id(start): start for start in starts.values()}
        parcels = {one: self._place.crew.parcel(start) for one, start in different.items()}
        shares = (
            self._share(satellite, parcels[id(start)], steps) for satellite, start in starts.items()
        )  # made when it is their turn
        for satellite, answer in zip(starts, self._place.crew.do(shares), strict=True):
            trained = below("trained", answer.tensors)
            one = Contribution(satellite, self.draws.samples_per_round(satellite), trained)
            yield one, take_over(self.task, [satellite], answer)

    def _share(self, satellite: int, start: Parcel, steps: range) -> Share:
        details: dict[str, object] = {"satellite": satellite, "steps": [steps.start, steps.stop]}
        crossed = {"crossed": crossed_of(self.task.account, self.task.holdings, [satellite])}
        return self._place.share("train", details, {"start": start}, crossed)


class SpreadUnion(UnionLearner):
    """Gradients come from workers, the optimiser is here; see `learners.UnionLearner` for all else."""

    def __init__(self, task: Task, place: Place) -> None:
        super().__init__(task)
        self._place = place
        size = sum(value.numel() * value.element_size() for value in task.trained.values())
        self._sum = "satellite" if self.compressor else "group" if size <= EXACT_BYTES else "share"

    def evaluate(self) -> Evaluation:
        """See `rounds.Learner.evaluate`."""
        return self._place.evaluate(self.task)

    def _step(self, step: int, satellites: list[int], old: Mapping[int, Tensors]) -> SatelliteLosses:
        self.optimizer.zero_grad()
        shares = [satellites[first : first + SHARE] for first in range(0, len(satellites), SHARE)]
        losses: SatelliteLosses = []
        arrived: Tensors = {}
        for share, answer in zip(shares, self._place.crew.do(self._shares(step, shares, old)), strict=True):
            losses += take_over(self.task, share, answer)
            for satellite, gradient in zip(answer.header["of"], numbered(answer.tensors), strict=True):
                if self.compressor is not None:
                    arrived = add(arrived, self.compressed(satellite, gradient))
                else:
                    self._add(gradient)
        for name, value in arrived.items():
            self.task.trained[name].grad = value
        take_step(self.optimizer, sum(len(loss) for _, loss in losses), rate_factor(self.spec, step))
        return losses

    def _shares(self, step: int, shares: Sequence[list[int]], old: Mapping[int, Tensors]) -> Iterator[Share]:
        weights = self._place.crew.parcel(self.task.trained)
        others = {id(tensors): tensors for tensors in old.values()}
        parcels = {one: self._place.crew.parcel(tensors) for one, tensors in others.items()}
        for share in shares:
            stale = {str(satellite): parcels[id(old[satellite])] for satellite in share if satellite in old}
            crossed = {"crossed": crossed_of(self.task.account, self.task.holdings, share)}
            details: dict[str, object] = {"satellites": share, "step": step, "sum": self._sum}
            yield self._place.share("gradients", details, {"weights": weights, **stale}, crossed)

    def _add(self, gradient: Tensors) -> None:
        """As back-propagation adds to `.grad`."""
        for name, value in gradient.items():
            parameter = self.task.trained[name]
            if parameter.grad is None:
                parameter.grad = value
            else:
                parameter.grad += value


class Inner(Learner, Protocol):
    """A learner that has a task."""

    @property
    def task(self) -> Task:
        """What is learned from what."""


class OneWorker:
    """Whole rounds are done by the worker that did the first; see `rounds.Learner`.

    Args:
        inner: Keeps the state.
        place: Of the training.
    """

    def __init__(self, inner: Inner, place: Place) -> None:
        self._inner, self._place = inner, place
        self._home = Home()
        self._depth = 0

    @property
    def spec(self) -> LearnSpec:
        """See `rounds.Learner`."""
        return self._inner.spec

    @property
    def wire(self) -> Wire:
        """See `rounds.Learner`."""
        return self._inner.wire

    def remember(self, depth: int) -> None:
        """See `rounds.Learner`."""
        self._depth = depth
        self._inner.remember(depth)

    def run_round(self, round_index: int, taking_part: TakingPart | None = None) -> RoundResult:
        """See `rounds.Learner`."""
        part = None if taking_part is None else [list(one) for one in taking_part]
        details: dict[str, object] = {"round": round_index, "taking_part": part, "depth": self._depth}
        state = {"state": self._place.crew.parcel(self._inner.state())}
        (answer,) = self._place.crew.do([self._place.share("round", details, state, home=self._home)])
        self._inner.load_state(below("state", answer.tensors))
        return result_of(answer.tensors)

    def evaluate(self) -> Evaluation:
        """See `rounds.Learner`."""
        return self._place.evaluate(self._inner.task, self._home)

    def state(self) -> Tensors:
        """See `rounds.Learner`."""
        return self._inner.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """See `rounds.Learner`."""
        self._inner.load_state(tensors)

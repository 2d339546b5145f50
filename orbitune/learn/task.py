"""What is learned from what: model, samples, who holds them, and how gradients come about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.imagery import batches
from orbitune.learn.backbone import Backbone
from orbitune.learn.client import GROUP, Batch, Gradients, whole_gradients
from orbitune.learn.codec import Codec, Wire
from orbitune.learn.spec import LearnSpec
from orbitune.learn.split import CutModel, choose_trained, exchange, features_in_place, features_over

Holdings = tuple[NDArray[np.int64], ...]
"""Sample ids of each satellite, by its id."""


@dataclass(frozen=True, eq=False)
class Task:
    """What every learner works on.

    Attributes:
        spec: How to learn.
        trained: The tensors that train, by name; the frozen ones are in `model` beside them.
        model: The whole model.
        predict: Maps `inputs` to logits: the model, or its head alone where only the head trains.
        inputs: Images [M, C, H, W]; or features [M, D], computed once, where only the head trains.
        labels: Classes [M].
        holdings: Who holds what.
        test_ids: Samples to judge on [T].
        gradients: Over the cut, or in one place.
        wire: What crossed the cut.
    """

    spec: LearnSpec
    trained: dict[str, nn.Parameter]
    model: CutModel
    predict: nn.Module
    inputs: Tensor
    labels: Tensor
    holdings: Holdings
    test_ids: Tensor
    gradients: Gradients
    wire: Wire

    def participants(self) -> list[int]:
        """Satellites that hold anything to learn from."""
        return [satellite for satellite, ids in enumerate(self.holdings) if len(ids)]

    def steps(self, round_index: int) -> range:
        """The optimiser steps of a round, counted from the start of the training."""
        first = round_index * self.spec.local_steps
        return range(first, first + self.spec.local_steps)

    def batch(self, satellite: int, step: int) -> Batch:
        """What a satellite trains on at a step."""
        ids = batches.draw(self.holdings[satellite], self.spec.batch_size, step, self.spec.seed, satellite)
        return Batch(satellite, torch.from_numpy(ids).to(self.labels.device))


def make_task(
    spec: LearnSpec,
    backbone: Backbone,
    num_classes: int,
    images: Tensor,
    labels: Tensor,
    holdings: Sequence[NDArray[np.int64]],
    test_ids: NDArray[np.int64],
) -> Task:
    """Join model, head and samples; the arguments are those of `rounds.make_learner`."""
    owned = tuple(np.asarray(ids, dtype=np.int64) for ids in holdings)
    check_samples(images, labels, owned, test_ids)
    model = CutModel(backbone, num_classes, spec.cut, spec.seed)
    trained = choose_trained(model, spec.trains)
    tests = torch.from_numpy(np.asarray(test_ids, dtype=np.int64)).to(labels.device)
    wire = Wire(Codec(spec.codec))
    if spec.trains == "head":
        inputs, gradients = learn_head(spec, model, images, labels, owned, tests, wire)
        return Task(spec, trained, model, model.head, inputs, labels, owned, tests, gradients, wire)
    gradients = partial(whole_gradients, model, images, labels)
    if spec.learner == "split":
        gradients = partial(exchange, model, images, labels, wire)
    return Task(spec, trained, model, model, images, labels, owned, tests, gradients, wire)


def check_samples(images: Tensor, labels: Tensor, holdings: Holdings, test_ids: NDArray[np.int64]) -> None:
    """Refuse samples that nobody could learn from or judge on.

    Raises:
        InputError: Images and labels differ in number, or nothing is held or tested.
    """
    held = {sample for ids in holdings for sample in ids.tolist()}
    if len(images) != len(labels):
        raise InputError(f"{len(images)} images but {len(labels)} labels; each image needs one label")
    if not held or not len(test_ids):
        raise InputError(
            f"the satellites hold {len(held)} samples and {len(test_ids)} are for testing; both must be more than 0"
        )
    assert held.isdisjoint(test_ids.tolist()), "a test sample is trained on"


def learn_head(
    spec: LearnSpec, model: CutModel, images: Tensor, labels: Tensor, holdings: Holdings, tests: Tensor, wire: Wire
) -> tuple[Tensor, Gradients]:
    """With all but the head frozen a sample's features never change: compute them once, then train on them.

    Returns:
        Features [M, D]: as they come back over the cut for samples that satellites hold (split), exact for test
        samples; and the gradients of the head, which still count what crosses at every step.
    """
    features = images.new_zeros(len(images), model.backbone.feature_width)
    trial = Wire(wire.codec)
    over = partial(features_over, model, wire=trial) if spec.learner == "split" else partial(features_in_place, model)
    for ids in filter(len, holdings):
        fill(features, over, images, torch.from_numpy(ids).to(images.device))
    num_crossed = sum(map(len, holdings))
    fill(features, partial(features_in_place, model), images, tests)
    gradients = partial(whole_gradients, model.head, features, labels)
    sample_bytes = {kind: sent // num_crossed for kind, sent in trial.sent_bytes.items()}
    return features, partial(count_crossing, gradients, wire, sample_bytes)


def fill(features: Tensor, compute: Callable[[Tensor], Tensor], images: Tensor, ids: Tensor) -> None:
    """Write the features of the samples `ids` into their rows, in the canonical groups."""
    for group in torch.split(ids, GROUP):
        features[group] = compute(images[group])


def count_crossing(gradients: Gradients, wire: Wire, sample_bytes: Mapping[str, int], batch: Batch) -> Tensor:
    """Gradients from features at hand, counted as if the samples had crossed the cut again, as they do in the plan."""
    for kind, size in sample_bytes.items():
        wire.sent_bytes[kind] += size * len(batch.ids)
    return gradients(batch)

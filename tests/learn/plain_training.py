"""What split training must equal: one whole model in plain PyTorch, textbook loops, nothing of ours but the batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbitune.imagery.batches import draw
from orbitune.learn.backbone import Backbone
from orbitune.learn.spec import LearnSpec

Samples = tuple[Tensor, Tensor, Sequence[NDArray[np.int64]]]


class PlainModel(nn.Module):
    def __init__(self, backbone: Backbone, head: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.head = nn.Linear(*head["weight"].T.shape, dtype=head["weight"].dtype)
        self.head.load_state_dict(head)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


def trained_part(model: PlainModel, trains: str) -> list[nn.Parameter]:
    frozen = {"head": [model.backbone], "encoder": [model.backbone.embedding], "full": []}[trains]
    for part in frozen:
        part.requires_grad_(False)
    return [value for value in model.parameters() if value.requires_grad]


def new_optimizer(model: PlainModel, spec: LearnSpec) -> torch.optim.Optimizer:
    trained = trained_part(model, spec.trains)
    head = set(model.head.parameters())
    rates = [spec.learning_rate * (spec.head_rate_factor if parameter in head else 1.0) for parameter in trained]
    parameters = [{"params": [one], "lr": rate} for one, rate in zip(trained, rates, strict=True)]
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    return torch.optim.SGD(parameters, lr=spec.learning_rate, momentum=spec.momentum, weight_decay=spec.weight_decay)


def one_step(model: PlainModel, optimizer: torch.optim.Optimizer, samples: Samples, ids: NDArray[np.int64]) -> None:
    images, labels, _ = samples
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images[ids]), labels[ids]).backward()
    optimizer.step()


def central_training(model: PlainModel, spec: LearnSpec, samples: Samples, num_steps: int) -> PlainModel:
    """Plain training on the union of all batches, one optimiser throughout."""
    optimizer = new_optimizer(model, spec)
    for step in range(num_steps):
        union = [draw(ids, spec.batch_size, step, spec.seed, k) for k, ids in enumerate(samples[2])]
        one_step(model, optimizer, samples, np.concatenate(union))
    return model


def federated_averaging(model: PlainModel, spec: LearnSpec, samples: Samples, num_steps: int) -> PlainModel:
    """FedAvg of whole models: fresh local optimisers, weights by samples processed."""
    for first in range(0, num_steps, spec.local_steps):
        copies, weights = [], []
        for k, ids in enumerate(samples[2]):
            if len(ids):
                copies.append(copy.deepcopy(model))
                weights.append(min(len(ids), spec.batch_size))
                optimizer = new_optimizer(copies[-1], spec)
                for step in range(first, first + spec.local_steps):
                    one_step(copies[-1], optimizer, samples, draw(ids, spec.batch_size, step, spec.seed, k))
        states = [one.state_dict() for one in copies]
        share = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        mean = {
            name: torch.tensordot(share, torch.stack([state[name].double() for state in states]), dims=1)
            for name in states[0]
        }
        model.load_state_dict(mean)
    return model


def largest_difference(found: Mapping[str, Tensor], oracle: PlainModel) -> float:
    """Largest distance of a trained tensor from the oracle's, as a share of that tensor's norm."""
    expected = oracle.state_dict()
    ours = {name.removeprefix("model."): value for name, value in found.items() if name.startswith("model.")}
    assert ours, "nothing trained"
    return max(
        ((value - expected[name]).double().norm() / expected[name].double().norm()).item()
        for name, value in ours.items()
    )


def largest_absolute_difference(found: Mapping[str, Tensor], oracle: PlainModel) -> float:
    """Largest difference of a single value."""
    expected = oracle.state_dict()
    ours = {name.removeprefix("model."): value for name, value in found.items() if name.startswith("model.")}
    return max((value - expected[name]).abs().max().item() for name, value in ours.items())

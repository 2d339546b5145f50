"""What split training must equal: one whole model in plain PyTorch, textbook loops, nothing of ours but the batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbitune.imagery.batches import draw
from orbitune.learn.backbones.seam import Backbone
from orbitune.learn.spec import LearnSpec

Samples = tuple[Tensor, Tensor, Sequence[NDArray[np.int64]]]


class Upsampling(nn.Module):
    """Two 1x1 convolutions, then PyTorch's bilinear interpolation."""

    def __init__(self, start: Mapping[str, Tensor], label_px: int) -> None:
        super().__init__()
        (width, depth, _, _), (classes, _, _, _) = start["reduce.weight"].shape, start["classify.weight"].shape
        self.reduce, self.classify = nn.Conv2d(depth, width, 1), nn.Conv2d(width, classes, 1)
        self.label_px = label_px

    def forward(self, features: Tensor) -> Tensor:
        logits = self.classify(torch.relu(self.reduce(features)))
        return nn.functional.interpolate(logits, (self.label_px, self.label_px), mode="bilinear", align_corners=False)


class PlainLora(nn.Module):
    """W x + b + alpha/r B A x (arXiv:2106.09685, section 4.1)."""

    def __init__(self, layer: nn.Linear, a: Tensor, b: Tensor, alpha: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, alpha / len(a)
        self.lora_A, self.lora_B = nn.Parameter(a.clone()), nn.Parameter(b.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.scale * (x @ self.lora_A.T @ self.lora_B.T)


class PlainModel(nn.Module):
    """The whole model, started where a learner starts.

    Args:
        backbone: Copied.
        start: State of the learner before training, for the first values of head and adapters.
        alpha: Of the adapters.
    """

    def __init__(self, backbone: Backbone, start: Mapping[str, Tensor], alpha: float = 16.0) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        first = {plain_name(name): value for name, value in start.items() if name.startswith("model.")}
        head = {name.removeprefix("head."): value for name, value in first.items() if name.startswith("head.")}
        if "weight" in head:
            self.head: nn.Module = nn.Linear(*head["weight"].T.shape)
        else:
            self.head = Upsampling(head, 8)
        self.head.to(next(iter(head.values())).dtype).load_state_dict(head)
        for name in [name.removesuffix(".lora_A") for name in first if name.endswith(".lora_A")]:
            layer = self.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            lora = PlainLora(layer, first[f"{name}.lora_A"], first[f"{name}.lora_B"], alpha)
            above, _, own = name.rpartition(".")
            setattr(self.get_submodule(above), own, lora)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


def plain_name(name: str) -> str:
    """The oracle's name of a tensor in a learner's state: peft's layers of indirection left out."""
    return name.removeprefix("model.").replace(".default.weight", "")


def trained_part(model: PlainModel, trains: str) -> list[nn.Parameter]:
    if trains == "lora":
        model.requires_grad_(False)
        model.head.requires_grad_(True)
        for layer in model.modules():
            if isinstance(layer, PlainLora):
                layer.lora_A.requires_grad_(True)
                layer.lora_B.requires_grad_(True)
    else:
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


def plain_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples; of the known pixels of a sample; of the classes where each is a yes or no."""
    if labels.is_floating_point():
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)
    if labels.ndim == 1:
        return nn.functional.cross_entropy(logits, labels)
    each = [
        nn.functional.cross_entropy(one[None], of[None], ignore_index=-1)
        for one, of in zip(logits, labels, strict=True)
    ]
    return torch.stack(each).mean()


def one_step(model: PlainModel, optimizer: torch.optim.Optimizer, samples: Samples, ids: NDArray[np.int64]) -> None:
    images, labels, _ = samples
    optimizer.zero_grad()
    plain_loss(model(images[ids]), labels[ids]).backward()
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
            if states[0][name].is_floating_point()
            else states[0][name]
            for name in states[0]
        }
        model.load_state_dict(mean)
    return model


def pairs(found: Mapping[str, Tensor], oracle: PlainModel) -> list[tuple[Tensor, Tensor]]:
    """Every trained tensor of a learner's state with the oracle's."""
    expected = oracle.state_dict()
    ours = {plain_name(name): value for name, value in found.items() if name.startswith("model.")}
    assert ours, "nothing trained"
    return [(value, expected[name]) for name, value in ours.items()]


def largest_difference(found: Mapping[str, Tensor], oracle: PlainModel) -> float:
    """Largest distance of a trained tensor from the oracle's, as a share of that tensor's norm."""
    return max(((ours - plain).double().norm() / plain.double().norm()).item() for ours, plain in pairs(found, oracle))


def largest_absolute_difference(found: Mapping[str, Tensor], oracle: PlainModel) -> float:
    """Largest difference of a single value."""
    return max((ours - plain).abs().max().item() for ours, plain in pairs(found, oracle))

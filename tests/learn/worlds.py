"""Models that equality is shown on, each with a few samples: the law does not depend on their number."""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from plain_training import Samples
from tiny_backbone import HOLDINGS, TEST_IDS, spec_of, tiny_backbone, tiny_samples
from torch import Tensor, nn

from orbitune.learn.backbones import Backbone, load_backbone
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.rounds import Learner, make_learner
from orbitune.learn.spec import LearnSpec

NUM_STEPS = 20

FEW = [np.arange(0, 6), np.arange(6, 8), np.arange(0), np.arange(8, 11)]
"""Unequal on purpose, one without any."""

VIT = {
    "model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 16, "image_size": 16, "patch_size": 8, "num_channels": 3,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
SWIN = {
    "model_type": "swin", "architectures": ["SwinModel"], "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2],
    "window_size": 2, "image_size": 16, "patch_size": 2, "num_channels": 3, "drop_path_rate": 0.0,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """A model, its samples, and learning rates at which rounding stays rounding.

    AdamW divides by the gradient's own size, so where gradients are near zero it turns rounding into steps: at 1e-3 for
    Galileo nano plain PyTorch ends up to 2e-3 away from itself, in float64, when only the order of samples inside each
    batch is reversed. SGD at 0.05 does the same to the small ViT in float32: 1e-5 of a tensor's norm.
    """

    name: str
    sgd_rate: float = 0.05
    adamw_rate: float = 1e-3

    def backbone(self, dtype: torch.dtype) -> Backbone:
        return _backbone(self.name).to(dtype)

    def samples(self, dtype: torch.dtype) -> Samples:
        if self.name == "tiny":
            return (*tiny_samples(dtype), HOLDINGS)
        source = np.random.default_rng(2)
        images = source.normal(size=(84, *_backbone(self.name).inputs.sample_shape))
        return torch.from_numpy(images).to(dtype), torch.from_numpy(source.integers(3, size=84)), FEW

    def spec(self, **changes: object) -> LearnSpec:
        rate = {"sgd": self.sgd_rate, "adamw": self.adamw_rate}[str(changes.get("optimizer", "sgd"))]
        return spec_of(**{"learning_rate": rate, "lora_rank": 2, "lora_alpha": 6.0, **changes})

    def learner(self, dtype: torch.dtype, **changes: object) -> Learner:
        images, labels, holdings = self.samples(dtype)
        learner = make_learner(self.spec(**changes), self.backbone(dtype), 3, images, labels, holdings, TEST_IDS)
        learner.load_state({name: started(name, value) for name, value in learner.state().items()})
        return learner

    @property
    def num_blocks(self) -> int:
        return len(_backbone(self.name).blocks)


class Gate(nn.Module):
    """A block of a user's own: shapes of its own, and no library behind it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.gate, self.value = nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        normed = self.norm(maps)
        value = self.value(normed.movedim(1, 3)).movedim(3, 1)
        return maps + torch.sigmoid(self.gate(normed)) * value


def plain_network() -> tuple[nn.Module, tuple[str, ...]]:
    """What a user's function returns: a module, and the names after which it may be cut."""
    network = nn.Sequential()
    network.add_module("stem", nn.Conv2d(3, 6, 2, 2))
    network.add_module("first", Gate(6))
    network.add_module("shrink", nn.Conv2d(6, 8, 2, 2))
    network.add_module("second", Gate(8))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    return network, ("stem", "first", "shrink", "second")


RGB = ("red", "green", "blue")
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def _backbone(name: str) -> Backbone:
    return copy.deepcopy(_made(name))


@cache
def _made(name: str) -> Backbone:
    if name == "tiny":
        return tiny_backbone(torch.float64)
    if name == "galileo":
        return load_backbone(ModelSpec("galileo-nano", "pretrained"), 0, BANDS, 8, dense=False)
    if name == "module":
        made = load_backbone(ModelSpec("module", "random", f"{__name__}:plain_network"), 0, RGB, 8, dense=False)
        return away_from_zero(made)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps({"vit": VIT, "swin": SWIN}[name]))
        made = load_backbone(ModelSpec("transformers", "random", folder), 0, RGB, 16, dense=False)
    return away_from_zero(made)


def started(name: str, value: Tensor) -> Tensor:
    """Adapters that start at zero are still so small after 20 steps of Galileo nano (norm 1e-4) that plain PyTorch in
    float32 is 3e-5 of that away from itself in float64; let them start as large as the other half of the adapter."""
    if "lora_B" not in name:
        return value
    return 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(2)).to(value)


@torch.no_grad()
def away_from_zero(backbone: Backbone) -> Backbone:
    """Biases start at zero, and those of keys have no gradient, so they would be nothing but rounding, all of it
    different: a share of their norm means something only where they have one."""
    source = torch.Generator().manual_seed(1)
    for value in backbone.parameters():
        value += 0.1 * torch.randn(value.shape, generator=source)
    return backbone


WORLDS = {
    world.name: world
    for world in (
        World("tiny", adamw_rate=0.003),
        World("galileo", sgd_rate=0.01, adamw_rate=1e-4),
        World("vit", sgd_rate=0.01),
        World("swin"),
        World("module"),
    )
}


def run(learner: Learner, num_steps: int = NUM_STEPS) -> Learner:
    for round_index in range(num_steps // learner.spec.local_steps):
        learner.run_round(round_index)
    return learner

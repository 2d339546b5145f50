"""A vision transformer small enough to train thousands of times, and samples it can learn."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbitune.learn.backbones.seam import Backbone, Final
from orbitune.learn.inputs import InputSpec
from orbitune.learn.spec import LearnSpec

WIDTH = 8
NUM_TOKENS = 4
NUM_BLOCKS = 2
NUM_CLASSES = 3
HOLDINGS = [np.arange(0, 40), np.arange(40, 43), np.arange(0), np.arange(43, 54)]
"""Unequal on purpose: more than one group of 32, fewer than a batch, none at all."""
TEST_IDS = np.arange(54, 84)
INPUTS = InputSpec(("red", "green"), 8, 1.0, (0.0, 0.0), (1.0, 1.0))


class Patches(nn.Module):
    """Images [B, 2, 8, 8] to tokens [B, 4, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(2, WIDTH, 4, 4)
        self.place = nn.Parameter(torch.randn(NUM_TOKENS, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        return self.patch(images).flatten(2).transpose(1, 2) + self.place


class Block(nn.Module):
    """Attention with biased keys (their true gradient is zero), then an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(tokens)
        weights = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) / WIDTH**0.5, dim=2)
        tokens = tokens + weights @ self.value(x)
        return tokens + self.mlp(tokens)


class Pool(Final):
    def __init__(self) -> None:
        super().__init__((WIDTH,))
        self.norm = nn.LayerNorm(WIDTH)

    def features(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens).mean(dim=1)


class Map(Final):
    """Tokens [B, 4, WIDTH] to a map of features [B, WIDTH, 2, 2]."""

    def __init__(self) -> None:
        super().__init__((WIDTH, 2, 2))
        self.norm = nn.LayerNorm(WIDTH)

    def features(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens).transpose(1, 2).unflatten(2, (2, 2))


def tiny_backbone(dtype: torch.dtype = torch.float64, dense: bool = False) -> Backbone:
    """The same random weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        embedding, blocks, final = Patches(), [Block() for _ in range(NUM_BLOCKS)], Map() if dense else Pool()
        feature_shape = (WIDTH, 2, 2) if dense else (WIDTH,)
        return Backbone(embedding, blocks, final, feature_shape, INPUTS).to(dtype).eval()


def tiny_samples(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Images [84, 2, 8, 8] of three textures in noise, and their labels."""
    source = np.random.default_rng(11)
    labels = source.integers(NUM_CLASSES, size=84)
    textures = source.normal(size=(NUM_CLASSES, 2, 8, 8))
    images = textures[labels] + source.normal(size=(84, 2, 8, 8))
    return torch.from_numpy(images).to(dtype), torch.from_numpy(labels)


def tiny_task(
    dtype: torch.dtype = torch.float64,
) -> tuple[Backbone, int, Tensor, Tensor, list[NDArray[np.int64]], NDArray[np.int64]]:
    """All that `make_learner` wants after the spec."""
    return (tiny_backbone(dtype), NUM_CLASSES, *tiny_samples(dtype), HOLDINGS, TEST_IDS)


def spec_of(**changes: object) -> LearnSpec:
    """A split training of everything, with changes."""
    fields: dict[str, object] = {
        "learner": "split",
        "trains": "full",
        "server_encoder": "shared",
        "cut": 0,
        "codec": "fp32",
        "local_steps": 2,
        "batch_size": 36,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "seed": 3,
        "head_rate_factor": 1.5,
    }
    return LearnSpec(**{**fields, **changes})  # type: ignore[arg-type]

"""LeNet for 3 x 32 x 32 images, 62,006 parameters, as the PyTorch tutorial on CIFAR-10 writes it."""

from __future__ import annotations

from torch import nn


def body() -> nn.Sequential:
    """Everything before the last layer: images [B, 3, 32, 32] to features [B, 84]."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
    )  # fmt: skip


def lenet(num_classes: int = 10) -> nn.Sequential:
    """The whole model."""
    return nn.Sequential(*body(), nn.Linear(84, num_classes))

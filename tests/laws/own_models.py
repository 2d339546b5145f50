"""Models as a user would bring them: an embedding and blocks, cut at named children."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def narrow() -> nn.Sequential:
    """8 channels."""
    return convolutions(8)


def wide() -> nn.Sequential:
    """16 channels."""
    return convolutions(16)


def coloured() -> nn.Sequential:
    """8 channels, of pictures in red, green and blue."""
    return convolutions(8, 3)


def convolutions(width: int, bands: int = 10) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(bands, width, 4, 4),
            first=nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
            second=nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
            pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
    )

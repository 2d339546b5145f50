"""What the server makes of the mean of the satellites: FedAdam."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from orbitune.learn.aggregate import Tensors

BETA_1, BETA_2, TAU = 0.9, 0.99, 1e-3
"""Reddi et al., arXiv:2003.00295, section 5 and appendix D: momentum, decay of the second moment, and adaptivity."""


class FedAdam:
    """The mean change of the satellites as a gradient for Adam (Reddi et al., arXiv:2003.00295, algorithm 2).

    With Delta the mean of (local - start), weighted by samples: m = b1 m + (1 - b1) Delta, v = b2 v + (1 - b2) Delta^2,
    x = x + rate m / (sqrt(v) + tau), from m = 0 and v = tau^2, without bias correction.

    Attributes:
        rate: Learning rate of the server (eta in the paper).
        first, second: m and v by tensor name; part of the state of a training, never averaged.
    """

    def __init__(self, rate: float, like: Mapping[str, Tensor]) -> None:
        self.rate = rate
        self.first: Tensors = {name: torch.zeros_like(value) for name, value in like.items()}
        self.second: Tensors = {name: torch.full_like(value, TAU**2) for name, value in like.items()}

    def step(self, current: Mapping[str, Tensor], change: Mapping[str, Tensor]) -> Tensors:
        """The next weights from the current ones and the mean change."""
        moved = {}
        for name, value in current.items():
            self.first[name] = BETA_1 * self.first[name] + (1 - BETA_1) * change[name]
            self.second[name] = BETA_2 * self.second[name] + (1 - BETA_2) * change[name].square()
            moved[name] = value + self.rate * self.first[name] / (self.second[name].sqrt() + TAU)
        return moved

    def state(self) -> Tensors:
        """Both moments, as `first.NAME` and `second.NAME`; never changed in place, so these are no copies."""
        both = {"first": self.first, "second": self.second}
        return {f"{kind}.{name}": value for kind, moment in both.items() for name, value in moment.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.first = {name: state[f"first.{name}"] for name in self.first}
        self.second = {name: state[f"second.{name}"] for name in self.second}

"""What the server makes of contributions that arrive one by one, some computed from old weights.

With x the weights at the server, x_k those a satellite has trained from y_k, n_k the samples it went through, t_k the
averages formed meanwhile, s the weight of staleness and r the rate (`LearnSpec.merge_rate`), the next weights are

- "mix":      x + r sum_k w_k (x_k - x),    w_k = s(t_k) n_k / sum n. With one contribution that is FedAsync,
              x_t = (1 - alpha s) x_{t-1} + alpha s x_new (Xie et al., arXiv:1903.03934, algorithm 1).
- "buffer":   x + r sum_k w_k (x_k - y_k),  the same w_k. FedBuff (Nguyen et al., arXiv:2106.06639, algorithm 1) takes
              the plain mean; satellites hold unequal numbers of samples, so ours is weighted by them, as everywhere.
- "weighted": x + r sum_k w_k (x_k - y_k),  w_k = s(t_k) n_k / sum s n: weights add up to one. FedSpace (So et al.,
              arXiv:2202.01267) weighs contributions by their staleness relative to the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from orbitune.learn.aggregate import Tensors
from orbitune.learn.spec import LearnSpec


def staleness_factor(spec: LearnSpec, late: int) -> float:
    """The weight of a contribution that missed `late` averages; 1 for a fresh one.

    FedAsync, arXiv:1903.03934, section 5.2, with t = late, a = `staleness_decay`, b = `staleness_free`: "constant": 1;
    "polynomial": (1 + t)^-a; "hinge": 1 up to b, then 1 / (a (t - b) + 1). FedBuff's 1 / sqrt(1 + t) is the polynomial
    with a = 1/2.
    """
    if spec.staleness_weight == "constant":
        return 1.0
    if spec.staleness_weight == "polynomial":
        return float((1.0 + late) ** -spec.staleness_decay)
    return 1.0 / (spec.staleness_decay * max(0, late - spec.staleness_free) + 1.0)


class Merge:
    """One average under way. Summed in float64, in the order in which contributions come.

    Args:
        spec: How to merge.
        current: Weights at the server.
        num_samples: Of each contribution, by satellite.
        late: Averages that each has missed.
    """

    def __init__(
        self, spec: LearnSpec, current: Mapping[str, Tensor], num_samples: Mapping[int, int], late: Mapping[int, int]
    ) -> None:
        self.spec = spec
        self.current = current
        weights = {k: count * staleness_factor(spec, late[k]) for k, count in num_samples.items()}
        total = sum(weights.values()) if spec.merge == "weighted" else sum(num_samples.values())
        self.weights = {k: weight / total for k, weight in weights.items()}
        self._sum: dict[str, Tensor] = {}

    def add(self, satellite: int, start: Mapping[str, Tensor], change: Mapping[str, Tensor]) -> None:
        """Add what a satellite changed from what it started from."""
        for name, value in change.items():
            way = value.double()
            if self.spec.merge == "mix":
                way = way + start[name].double() - self.current[name].double()
            if name not in self._sum:
                self._sum[name] = torch.zeros_like(way)
            self._sum[name] += self.weights[satellite] * way

    def result(self) -> Tensors:
        """The next weights, each tensor in the type it has."""
        rate = self.spec.merge_rate
        return {
            name: (self.current[name].double() + rate * value).to(self.current[name].dtype)
            for name, value in self._sum.items()
        }

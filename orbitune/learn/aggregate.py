"""Federated averaging (McMahan et al., arXiv:1602.05629, algorithm 1): the mean of models, weighted by samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one satellite brings: its tensors by name, and the number of samples it processed for them."""

    satellite: int
    num_samples: int
    tensors: Tensors


class RunningMean:
    """The mean of each tensor, weighted by samples, of contributions that come one after another.

    Summed in float64 in the order of satellite ids; only the sum is kept, so it does not matter how many there are.

    Args:
        num_samples: Of all contributions together.
    """

    def __init__(self, num_samples: int) -> None:
        assert num_samples > 0, "an average over no samples"
        self.num_samples = num_samples
        self._last = -1
        self._sum: Tensors = {}

    def add(self, one: Contribution) -> None:
        """Add the next contribution; its satellite id is above the last."""
        assert one.satellite > self._last, f"satellite {one.satellite} after {self._last}"
        self._last = one.satellite
        for name, value in one.tensors.items():
            if name not in self._sum:
                self._sum[name] = torch.zeros_like(value, dtype=torch.float64)
            self._sum[name] += one.num_samples / self.num_samples * value.double()

    def result(self, like: Mapping[str, Tensor]) -> Tensors:
        """The mean, each tensor in the type of its namesake."""
        return {name: value.to(like[name].dtype) for name, value in self._sum.items()}

    def moved(self, start: Mapping[str, Tensor]) -> Tensors:
        """`start` plus the mean, each tensor in the type it has there."""
        return {name: (start[name].double() + value).to(start[name].dtype) for name, value in self._sum.items()}


def weighted_mean(contributions: Iterable[Contribution]) -> Tensors:
    """The mean of each tensor, weighted by samples.

    The order of arrival does not matter; the mean of one contribution is that contribution, bit for bit.
    """
    ordered = sorted(contributions, key=lambda contribution: contribution.satellite)
    mean = RunningMean(sum(contribution.num_samples for contribution in ordered))
    for contribution in ordered:
        mean.add(contribution)
    return mean.result(ordered[0].tensors)


def difference(end: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensors:
    """How far each tensor has moved from `start`."""
    return {name: value - start[name] for name, value in end.items()}


def copy_of(parameters: Mapping[str, Tensor]) -> Tensors:
    """The values of the parameters now."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def write_into(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Give each parameter the value of its name."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])

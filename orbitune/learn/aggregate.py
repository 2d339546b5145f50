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


def weighted_mean(contributions: Iterable[Contribution]) -> Tensors:
    """The mean of each tensor, weighted by samples.

    Summed in float64 in the order of satellite ids, so the order of arrival does not matter; the mean of one
    contribution is that contribution, bit for bit.
    """
    ordered = sorted(contributions, key=lambda contribution: contribution.satellite)
    total = sum(contribution.num_samples for contribution in ordered)
    assert total > 0, "an average over no samples"
    mean = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in ordered[0].tensors.items()}
    for contribution in ordered:
        for name, value in contribution.tensors.items():
            mean[name] += contribution.num_samples / total * value.double()
    return {name: value.to(ordered[0].tensors[name].dtype) for name, value in mean.items()}


def copy_of(parameters: Mapping[str, nn.Parameter]) -> Tensors:
    """The values of the parameters now."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def write_into(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Give each parameter the value of its name."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])

"""The same small network with other weights for each of S satellites, run as one.

Channels (or features) of all satellites lie side by side, satellite by satellite: maps [b, S x C, H, W], vectors
[b, S x D]. What works on each channel or value by itself (activations, pooling, flattening) then needs no change, a
linear layer becomes a batch of products of matrices, and a convolution one with S groups.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbitune.learn.backbones.seam import Final


class StackedLinear(nn.Module):
    """Vectors [b, S x I] to [b, S x O], as `layer` on each of S; weight [S, O, I], bias [S, O]."""

    def __init__(self, layer: nn.Linear, count: int) -> None:
        super().__init__()
        self.weight = stack(layer.weight, count)
        bias: Tensor | None = layer.bias
        self.bias = None if bias is None else stack(bias, count)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        each = x.view(len(x), len(self.weight), -1).transpose(0, 1)  # (S, b, I)
        turned = self.weight.transpose(1, 2)
        out = torch.bmm(each, turned) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), each, turned)
        return out.transpose(0, 1).flatten(1)


class StackedConv2d(nn.Module):
    """Maps [b, S x I, H, W] to [b, S x O, h, w], as `layer` on each of S; weight [S, O, I, kh, kw], bias [S, O]."""

    def __init__(self, layer: nn.Conv2d, count: int) -> None:
        super().__init__()
        self.weight = stack(layer.weight, count)
        bias: Tensor | None = layer.bias
        self.bias = None if bias is None else stack(bias, count)
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        weight = self.weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        bias = None if self.bias is None else self.bias.flatten()
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, len(self.weight))


def stack(value: Tensor, count: int) -> nn.Parameter:
    """Room for `count` of them [S, ...], each with this value."""
    return nn.Parameter(value.detach().expand(count, *value.shape).clone(), value.requires_grad)


def can_stack(module: nn.Module) -> bool:
    """Whether all its layers with tensors of their own are ones that this file knows."""
    return all(
        type(layer) is nn.Linear or _plain_convolution(layer) for layer in module.modules() if _has_tensors(layer)
    )


def _has_tensors(layer: nn.Module) -> bool:
    return next(layer.parameters(recurse=False), None) is not None


def _plain_convolution(layer: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"


def stacked(module: nn.Module, count: int, shared: Set[nn.Module] = frozenset()) -> nn.Module:
    """A copy for `count` satellites; its parameters have the names of the original and one more axis in front.

    Modules in `shared` are not copied: they do not run.
    """
    if module in shared:
        return module
    if type(module) is nn.Linear:
        return StackedLinear(module, count)
    if type(module) is nn.Conv2d:
        return StackedConv2d(module, count)
    twin = copy.copy(module)  # not a deep copy: that would copy what is replaced
    twin._modules = {name: child and stacked(child, count, shared) for name, child in module._modules.items()}
    if isinstance(module, Final):
        twin._buffers = {
            name: per_channel(value, count) for name, value in module._buffers.items() if value is not None
        }
    return twin


def per_channel(value: Tensor, count: int) -> Tensor:
    """Values by channel [C, ...] for the channels of all satellites [S x C, ...]."""
    return value.repeat(count, *(1 for _ in value.shape[1:]))


def side_by_side(x: Tensor) -> Tensor:
    """Samples [S, b, C, ...] as [b, S x C, ...]; maps with channels last, which grouped convolutions are fastest on."""
    if x.ndim == 5:
        return x.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)
    return x.transpose(0, 1).flatten(1, 2)


def apart(x: Tensor, count: int) -> Tensor:
    """[b, S x C, ...] as [S, b, C, ...]."""
    return x.view(len(x), count, -1, *x.shape[2:]).transpose(0, 1)


@torch.no_grad()
def write_stack(parameters: Mapping[str, nn.Parameter], starts: Sequence[Mapping[str, Tensor]]) -> None:
    """Give each satellite its own values."""
    for name, value in parameters.items():
        value.copy_(torch.stack([start[name] for start in starts]))

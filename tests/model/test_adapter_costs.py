"""Adapters cost what PyTorch counts for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orbitune.model.partition import Head, Partition, adapter_bytes, backward_flops, forward_flops, params_bytes
from orbitune.model.profile import PartProfile, load_profile, shipped_profiles


class Adapted(nn.Module):
    """A frozen linear layer and its adapters, written out: y = W x + B A x."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.frozen = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
        self.a, self.b = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.as_tensor(self.frozen(tokens) + self.b(self.a(tokens)))


def counted(layers: nn.Module, tokens: Tensor) -> tuple[int, int]:
    with FlopCounterMode(display=False) as forward:
        out = layers(tokens)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_flops_and_bytes_are_those_of_layers_written_out(rank: int) -> None:
    num_tokens, width, hidden = 6, 16, 40
    plain = nn.Sequential(nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False))
    adapted = nn.Sequential(Adapted(width, hidden, rank), Adapted(hidden, width, rank))
    forward, backward = counted(plain, torch.rand(1, num_tokens, width, requires_grad=True))
    part = PartProfile(
        params_bytes=4.0 * 2 * width * hidden,
        activation_bytes=4.0 * num_tokens * width,
        saved_bytes=4.0 * num_tokens * (width + hidden),
        flops_forward=float(forward),
        flops_backward=float(backward),
        linear_dims=2.0 * (width + hidden),
        linear_weights=2.0 * width * hidden,
        tokens=float(num_tokens),
    ).with_lora(rank)
    flops = counted(adapted, torch.rand(1, num_tokens, width, requires_grad=True))
    assert (part.flops_forward, part.flops_backward) == flops
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert part.adapter_bytes == 4 * sum(parameter.numel() for parameter in trained)
    assert part.params_bytes == 4 * sum(parameter.numel() for parameter in adapted.parameters())
    between = 4.0 * 2 * num_tokens * rank  # what two layers keep between A and B
    assert between <= part.saved_bytes - 4.0 * num_tokens * (width + hidden) <= 2 * between


@pytest.mark.parametrize("name", shipped_profiles())
def test_linear_layers_explain_the_shipped_blocks(name: str) -> None:
    """Forward: 2 FLOPs per weight and token, and attention, 4 N^2 D; backward: twice that, and attention 10 N^2 D."""
    for block in load_profile(name).blocks:
        num_tokens, width = block.shape
        attention = num_tokens**2 * width
        assert block.flops_forward == 2 * block.linear_weights * num_tokens + 4 * attention
        assert block.input_backward_flops == 2 * block.linear_weights * num_tokens + 10 * attention
        assert block.linear_weights * 4 < block.params_bytes < block.linear_weights * 4 * 1.02


def test_only_blocks_get_adapters_and_a_cut_loses_none() -> None:
    profile = load_profile("galileo-nano")
    for cut in range(profile.num_cuts):
        plain, split = (Partition(profile, Head(128, 5), cut, rank) for rank in (0, 8))
        assert adapter_bytes(split.front) == cut * 4 * 8 * 2304  # four layers 128 -> 128, and 128 -> 512 -> 128
        assert adapter_bytes(split.parts) == 4 * 4 * 8 * 2304
        assert params_bytes(split.parts) - params_bytes(plain.parts) == adapter_bytes(split.parts)
        assert forward_flops(split.parts) - forward_flops(plain.parts) == 4 * 2 * 8 * 2304 * 96
        assert backward_flops(split.parts) < backward_flops(plain.parts)


def test_shape_at_the_cut_is_tokens_by_width() -> None:
    assert Partition(load_profile("galileo-nano"), Head(128, 5), 2).wire_shape == (96, 128)
    assert PartProfile(4.0, 40.0, 0.0, 0.0, 0.0).shape == (1, 10)

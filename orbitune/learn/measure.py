"""Measure what a backbone costs, with PyTorch's own counters, as the `ModelProfile` that planning reads.

FLOPs come from `torch.utils.flop_counter` (matrix products, convolutions and attention; 2 per multiply-add), kept
tensors from `torch.autograd.graph.saved_tensors_hooks`. Elementwise work is not counted, as is usual.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from orbitune.learn.backbone import Backbone
from orbitune.model.profile import ModelProfile, PartProfile

Shape = tuple[int, ...]


def _attention_forward(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """FLOPs of attention by PyTorch's own formula."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_backward(sent: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """FLOPs of its gradient, which computes the scores a second time, by PyTorch's own formula."""
    return int(sdpa_backward_flop_count(sent, query, key, value))  # type: ignore[no-untyped-call]


ATTENTION_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""PyTorch registers its attention formulas for its GPU kernels only; the CPU kernel does the same products."""


def measure_profile(
    backbone: Backbone, sample_shape: tuple[int, ...], name: str, source: str, sample_bytes: float
) -> ModelProfile:
    """Run one sample through every part, forward and backward, and write down what it costs.

    Args:
        backbone: The model, on the CPU.
        sample_shape: Shape of one normalised sample, for instance (11, 32, 32).
        name, source, sample_bytes: Copied into the profile.
    """
    sample = torch.zeros(1, *sample_shape)
    embedding, tokens = _measure_part(backbone.embedding, sample)
    blocks = []
    for block in backbone.blocks:
        part, tokens = _measure_part(block, tokens.requires_grad_())
        blocks.append(part)
    final, _ = _measure_part(backbone.final, tokens.requires_grad_())
    chip_px = sample_shape[-1]
    return ModelProfile(name, source, chip_px, sample_bytes, backbone.feature_width, embedding, tuple(blocks), final)


def _measure_part(part: nn.Module, received: Tensor) -> tuple[PartProfile, Tensor]:
    """Cost of one part and its output, detached. The backward pass goes as far as `received` asks for a gradient."""
    sizes: dict[int, int] = {}
    weights = {value.untyped_storage().data_ptr() for value in (*part.parameters(), *part.buffers())}

    def keep(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved), _counter() as forward:
        sent: Tensor = part(received)
    with _counter() as backward:
        torch.autograd.backward(sent, torch.ones_like(sent))
    part.zero_grad(set_to_none=True)
    cost = PartProfile(
        params_bytes=float(sum(value.numel() * value.element_size() for value in part.parameters())),
        activation_bytes=float(sent.numel() * sent.element_size()),
        saved_bytes=float(sum(sizes.values())),
        flops_forward=float(forward.get_total_flops()),
        flops_backward=float(backward.get_total_flops()),
    )
    return cost, sent.detach()


def _counter() -> FlopCounterMode:
    """A FLOP counter that also knows the CPU's attention kernel and prints nothing."""
    return FlopCounterMode(display=False, custom_mapping=ATTENTION_FORMULAS)

"""Measure what a backbone costs, with PyTorch's own counters, as the `ModelProfile` that planning reads.

FLOPs come from `torch.utils.flop_counter` (matrix products, convolutions and attention; 2 per multiply-add), kept
tensors from `torch.autograd.graph.saved_tensors_hooks`. Elementwise work is not counted, as is usual.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from orbitune.learn.backbones import Backbone, load_backbone
from orbitune.learn.model_spec import ModelSpec
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


def live_profile(
    spec: ModelSpec, channels: tuple[str, ...], chip_px: int, dense: bool, sample_bytes: float
) -> ModelProfile:
    """The profile of any model that can be loaded, measured on its architecture with random weights.

    What a model costs does not depend on its weights, so none are read: a directory with config.json is enough.

    Args:
        spec, channels, chip_px, dense: As for `load_backbone`.
        sample_bytes: Raw size of one sample as stored and downlinked.

    Raises:
        InputError, MissingExtra: As `load_backbone`.
    """
    backbone = load_backbone(replace(spec, weights="random", file=""), 0, channels, chip_px, dense)
    source = f"measured with PyTorch {torch.__version__} on images {list(backbone.inputs.sample_shape)}"
    profile = measure_profile(backbone, backbone.inputs.sample_shape, spec.label, source, sample_bytes)
    return replace(profile, chip_px=chip_px)


def measure_profile(
    backbone: Backbone, sample_shape: tuple[int, ...], name: str, source: str, sample_bytes: float
) -> ModelProfile:
    """Run one sample through every part, forward and backward, and write down what it costs.

    Args:
        backbone: The model, on the CPU.
        sample_shape: Shape of one prepared sample, for instance (11, 32, 32).
        name, source, sample_bytes: Copied into the profile.
    """
    sample = torch.zeros(1, *sample_shape)
    embedding, activation = _measure_part(backbone.embedding, sample)
    blocks = []
    for block in backbone.blocks:
        part, activation = _measure_part(block, activation.requires_grad_())
        blocks.append(_with_linear(part, block))
    final, _ = _measure_part(backbone.final, activation.requires_grad_())
    chip_px, shape = sample_shape[-1], backbone.feature_shape
    return ModelProfile(name, source, chip_px, sample_bytes, shape, embedding, tuple(blocks), final)


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
        if sent.requires_grad:  # else nothing in it is trained: reshaping alone, for instance
            torch.autograd.backward(sent, torch.ones_like(sent))
    part.zero_grad(set_to_none=True)
    cost = PartProfile(
        params_bytes=_bytes(list(part.parameters())),
        activation_bytes=_bytes([sent]),
        saved_bytes=float(sum(sizes.values())),
        flops_forward=float(forward.get_total_flops()),
        flops_backward=float(backward.get_total_flops()),
        tokens=float(sent.shape[1] if sent.ndim > 2 else 1),
    )
    return cost, sent.detach()


def _with_linear(part: PartProfile, block: nn.Module) -> PartProfile:
    """Add what adapters need to know of a block's linear layers; adapters that are there already count apart."""
    linear = [layer for name, layer in block.named_modules() if isinstance(layer, nn.Linear) and "lora_" not in name]
    adapters = [value for name, value in block.named_parameters() if "lora_" in name]
    return replace(
        part,
        linear_dims=float(sum(layer.in_features + layer.out_features for layer in linear)),
        linear_weights=float(sum(layer.weight.numel() for layer in linear)),
        adapter_bytes=_bytes(adapters),
    )


def _bytes(tensors: list[Any]) -> float:
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def _counter() -> FlopCounterMode:
    """A FLOP counter that also knows the CPU's attention kernel and prints nothing."""
    return FlopCounterMode(display=False, custom_mapping=ATTENTION_FORMULAS)

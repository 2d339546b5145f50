"""Profiles agree with PyTorch's counters, and the counters with attention written out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orbitune.learn.adapters import add_lora
from orbitune.learn.backbones import Backbone, load_backbone
from orbitune.learn.backbones.galileo import Attention, EncoderBlock, NormAndMean
from orbitune.learn.backbones.own_module import OwnFinal
from orbitune.learn.inputs import InputSpec
from orbitune.learn.measure import ATTENTION_FORMULAS, live_profile, measure_profile
from orbitune.learn.model_spec import ModelSpec
from orbitune.model.profile import ModelProfile, load_profile, profile_from_json, profile_to_json
from scripts.build_profiles import Architecture, block, embedding, final


class Patches(nn.Module):
    """Plain ViT embedding of small square images, with a class token and learned positions."""

    def __init__(self, channels: int, patch_px: int, grid: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, patch_px, patch_px)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, grid**2 + 1, width))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.project(images).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions


class GatedBlock(EncoderBlock):
    """The block of DINOv2-g: SwiGLU for the MLP, and layer scale."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__(width, num_heads, hidden)
        del self.mlp
        self.up, self.down = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.scale1 * self.attn(self.norm1(tokens))
        gate, value = self.up(self.norm2(tokens)).chunk(2, dim=-1)
        return tokens + self.scale2 * self.down(F.silu(gate) * value)


BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
RGB = ("red", "green", "blue")


def seam(embedding: nn.Module, blocks: list[nn.Module], width: int) -> Backbone:
    inputs = InputSpec(("red",), 8, 1.0, (0.0,), (1.0,))
    return Backbone(embedding, blocks, NormAndMean(width), (width,), inputs)


def measured(name: str, sample_shape: tuple[int, ...], backbone: Backbone) -> ModelProfile:
    return measure_profile(backbone, sample_shape, name, "measured", sample_bytes=20480.0)


def test_shipped_galileo_profile_is_the_measured_one() -> None:
    backbone = load_backbone(ModelSpec(), 0, BANDS, 32, dense=False)
    shipped = load_profile("galileo-nano")
    assert replace(shipped, source="measured") == measured("galileo-nano", (11, 32, 32), backbone)
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert replace(live_profile(ModelSpec(), BANDS, 32, False, 20480.0), source="") == replace(shipped, source="")


@settings(max_examples=15, deadline=None)
@given(
    channels=st.integers(1, 4),
    patch_px=st.sampled_from([4, 8]),
    grid=st.integers(1, 6),
    num_heads=st.sampled_from([1, 2, 4]),
    head_width=st.sampled_from([8, 16]),
    hidden=st.sampled_from([32, 96]),
    gated=st.booleans(),
)
def test_formulas_are_what_is_measured(
    channels: int, patch_px: int, grid: int, num_heads: int, head_width: int, hidden: int, gated: bool
) -> None:
    width = num_heads * head_width
    block_class = GatedBlock if gated else EncoderBlock
    parts: list[nn.Module] = [block_class(width, num_heads, hidden) for _ in range(2)]
    backbone = seam(Patches(channels, patch_px, grid, width), parts, width)
    shape = (channels, grid * patch_px, grid * patch_px)
    profile = measured("small", shape, backbone)
    architecture = Architecture(
        source="",
        chip_px=grid * patch_px,
        sample_bytes=0.0,
        sample_values=channels * (grid * patch_px) ** 2,
        num_patches=grid**2,
        num_extra_tokens=1,
        patch_params=(channels * patch_px**2 + 1) * width,
        position_params=(grid**2 + 2) * width,
        width=width,
        num_heads=num_heads,
        num_blocks=2,
        hidden=hidden,
        gated=gated,
        layer_scale=gated,
    )
    assert profile.embedding == embedding(architecture)
    assert profile.blocks == (block(architecture),) * 2
    assert profile.final == final(architecture)


class WrittenOut(Attention):
    """Attention as its matrix products, which PyTorch counts one by one and whose scores it keeps."""

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = (
            layer(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        shares = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1)
        return self.proj((shares @ v).transpose(1, 2).flatten(2))


def test_attention_formula_agrees_with_its_matrix_products() -> None:
    width, tokens = 32, 4**2 + 1
    fused, written = EncoderBlock(width, 4, 64), EncoderBlock(width, 4, 64)
    written.attn = WrittenOut(width, 4)
    written.load_state_dict(fused.state_dict())
    images = torch.rand(2, tokens, width)
    assert torch.allclose(fused(images), written(images), atol=1e-6)
    ours, theirs = (
        measured("one", (3, 32, 32), seam(Patches(3, 8, 4, width), [part], width)).blocks[0]
        for part in (fused, written)
    )
    assert ours.flops_forward == theirs.flops_forward
    # the fused kernel does not keep the scores: it computes them a second time, one product of N x N x D
    assert ours.flops_backward == theirs.flops_backward + 2 * tokens**2 * width
    assert ours.saved_bytes < theirs.saved_bytes


def test_frozen_images_need_no_gradient() -> None:
    profile = measured("galileo-nano", (11, 32, 32), load_backbone(ModelSpec(weights="random"), 0, BANDS, 32, False))
    assert profile.embedding.flops_backward == profile.embedding.flops_forward
    assert profile.embedding.saved_bytes == 11 * 32 * 32 * 4


# ------------------------------------------------------------------------------------------------ any live model

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
CONFIGS = {
    "vit": lambda: transformers.ViTConfig(**SMALL),
    "dinov2": lambda: transformers.Dinov2Config(**SMALL, use_swiglu_ffn=True),
    "dinov3": lambda: transformers.DINOv3ViTConfig(**SMALL, num_register_tokens=2),
    "swin": lambda: transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 4], window_size=4
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_parts_add_up_to_the_librarys_model(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]()
    config.save_pretrained(tmp_path)
    profile = live_profile(ModelSpec("transformers", source=str(tmp_path)), RGB, 20, False, 1200.0)
    model = transformers.AutoModel.from_config(config)
    parts = (profile.embedding, *profile.blocks, profile.final)
    unread = [value for key, value in model.named_parameters() if "pooler" in key or "mask_token" in key]
    size = sum(value.numel() for value in model.parameters()) - sum(value.numel() for value in unread)
    assert profile.params_bytes == 4 * size
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_FORMULAS) as counter:
        states = model(torch.zeros(1, 3, 32, 32)).last_hidden_state
    pooler = 2 * 16 * 16 if name == "vit" else 0  # a layer of the library's classifier that no feature passes
    assert sum(part.flops_forward for part in parts) == counter.get_total_flops() - pooler
    assert (profile.chip_px, profile.feature_shape) == (20, (states.shape[2],))
    assert profile.blocks[-1].shape == tuple(states.shape[1:])
    assert profile.name == f"transformers:{tmp_path}"


def test_activations_of_any_shape(tmp_path: Path) -> None:
    blocks: list[nn.Module] = [nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()), nn.Flatten(), nn.Linear(6 * 36, 5)]
    inputs = InputSpec(("red",), 8, 1.0, (0.0,), (1.0,))
    backbone = Backbone(nn.Conv2d(1, 4, 1), blocks, OwnFinal(nn.Identity(), (5,)), (5,), inputs)
    profile = measured("own", (1, 8, 8), backbone)
    assert [part.activation_bytes / 4 for part in profile.blocks] == [6 * 36, 6 * 36, 5]
    assert [part.tokens for part in (profile.embedding, *profile.blocks)] == [4, 6, 1, 1]
    assert [part.flops_forward for part in profile.blocks] == [2 * 36 * 6 * 36, 0, 2 * 6 * 36 * 5]
    assert [part.linear_dims for part in profile.blocks] == [0, 0, 6 * 36 + 5]


def test_nothing_to_train_in_front_costs_nothing_backward() -> None:
    inputs = InputSpec(("red",), 4, 1.0, (0.0,), (1.0,))
    backbone = Backbone(nn.Flatten(), [nn.Linear(16, 5)], OwnFinal(nn.Identity(), (5,)), (5,), inputs)
    assert measured("own", (1, 4, 4), backbone).embedding.flops_backward == 0


@pytest.mark.parametrize("dense", [False, True])
def test_profiles_survive_json(dense: bool) -> None:
    profile = live_profile(ModelSpec(), RGB, 16, dense, 768.0)
    assert profile_from_json(json.loads(profile_to_json(profile))) == profile
    assert profile.feature_shape == ((128, 2, 2) if dense else (128,))
    assert profile.final.activation_bytes == 4 * 128 * (4 if dense else 1)


@pytest.mark.parametrize("rank", [1, 8])
def test_adapters_cost_what_is_planned(rank: int) -> None:
    """Planning adds adapters to the profile of the model without them; here they are measured in it, itself frozen."""
    backbone = load_backbone(ModelSpec(), 0, BANDS, 32, dense=False)
    planned = [part.with_lora(rank) for part in measured("plain", (11, 32, 32), backbone).blocks]
    found = measured("lora", (11, 32, 32), add_lora(backbone, rank, 16.0, 0)).blocks
    for ours, theirs in zip(planned, found, strict=True):
        assert (ours.params_bytes, ours.adapter_bytes) == (theirs.params_bytes, theirs.adapter_bytes)
        assert (ours.flops_forward, ours.flops_backward) == (theirs.flops_forward, theirs.flops_backward)
        assert (ours.linear_dims, ours.linear_weights) == (theirs.linear_dims, theirs.linear_weights)
        assert ours.saved_bytes == pytest.approx(theirs.saved_bytes, rel=0.15)  # the goal of memory planning

"""Profiles agree with PyTorch's counters, and the counters with attention written out."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from orbitune.learn.backbone import Backbone, load_backbone
from orbitune.learn.galileo import Attention, EncoderBlock, NormAndMean
from orbitune.learn.measure import measure_profile
from orbitune.model.profile import ModelProfile, load_profile
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


def measured(name: str, sample_shape: tuple[int, ...], backbone: Backbone) -> ModelProfile:
    return measure_profile(backbone, sample_shape, name, "measured", sample_bytes=20480.0)


def test_shipped_galileo_profile_is_the_measured_one() -> None:
    backbone = load_backbone("galileo-nano", "pretrained", 0, 32)
    shipped = load_profile("galileo-nano")
    assert replace(shipped, source="measured") == measured("galileo-nano", (11, 32, 32), backbone)
    assert all(parameter.grad is None for parameter in backbone.parameters())


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
    parts = [block_class(width, num_heads, hidden) for _ in range(2)]
    backbone = Backbone(Patches(channels, patch_px, grid, width), parts, NormAndMean(width), width)
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
        measured("one", (3, 32, 32), Backbone(Patches(3, 8, 4, width), [part], NormAndMean(width), width)).blocks[0]
        for part in (fused, written)
    )
    assert ours.flops_forward == theirs.flops_forward
    # the fused kernel does not keep the scores: it computes them a second time, one product of N x N x D
    assert ours.flops_backward == theirs.flops_backward + 2 * tokens**2 * width
    assert ours.saved_bytes < theirs.saved_bytes


def test_frozen_images_need_no_gradient() -> None:
    profile = measured("galileo-nano", (11, 32, 32), load_backbone("galileo-nano", "random", 0, 32))
    assert profile.embedding.flops_backward == profile.embedding.flops_forward
    assert profile.embedding.saved_bytes == 11 * 32 * 32 * 4

"""The adapter for timm: on a module of the test's own with timm's interface, and without the library.

timm does not install beside the pinned PyTorch for CPUs without the step that `import_torchvision` takes, and is not
among the test dependencies. The stand-in follows the published interface of timm 1.0's VisionTransformer: the names of
its children, `_pos_embed`, `forward_features`, `forward_head`, `num_prefix_tokens`, `global_pool`.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from orbitune.errors import InputError, MissingExtra
from orbitune.learn.backbones import load_backbone
from orbitune.learn.backbones.galileo import EncoderBlock
from orbitune.learn.backbones.timm_models import cut_timm
from orbitune.learn.inputs import InputSpec
from orbitune.learn.model_spec import ModelSpec

WIDTH = 16
INPUTS = InputSpec(("red", "green", "blue"), 32, 1.0, (0.5,) * 3, (0.5,) * 3)


class PatchEmbed(nn.Module):
    patch_size = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).permute(0, 2, 3, 1)


class LikeTimm(nn.Module):
    num_prefix_tokens = 1
    embed_dim = WIDTH

    def __init__(self, global_pool: str, shift: float = 0.0) -> None:
        super().__init__()
        self.global_pool, self.shift = global_pool, shift
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, WIDTH))
        self.norm_pre = nn.LayerNorm(WIDTH)
        self.blocks = nn.Sequential(*(EncoderBlock(WIDTH, 2, 32) for _ in range(3)))
        self.norm = nn.Identity() if global_pool == "avg" else nn.LayerNorm(WIDTH)
        self.fc_norm = nn.LayerNorm(WIDTH) if global_pool == "avg" else nn.Identity()
        self.head = nn.Identity()

    def _pos_embed(self, patches: Tensor) -> Tensor:
        tokens = patches.flatten(1, 2)
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed

    def forward_features(self, images: Tensor) -> Tensor:
        tokens = self.blocks(self.norm_pre(self._pos_embed(self.patch_embed(images))))
        return self.norm(tokens) + self.shift

    def forward_head(self, tokens: Tensor, pre_logits: bool) -> Tensor:
        assert pre_logits
        return self.fc_norm(tokens[:, 1:].mean(dim=1) if self.global_pool == "avg" else tokens[:, 0])


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_the_cut_model_is_the_whole_one(pool: str) -> None:
    model = LikeTimm(pool).eval()
    images = torch.rand(2, 3, 32, 32)
    tokens = model.forward_features(images)
    pooled = model.forward_head(tokens, pre_logits=True)
    num_params = sum(value.numel() for value in model.parameters())
    backbone = cut_timm(model, INPUTS, False, ["head.weight"], "like timm")
    assert torch.equal(backbone(images), pooled)
    assert len(backbone.blocks) == 3 and backbone.unused_weights == ("head.weight",)
    assert sum(value.numel() for value in backbone.parameters()) == num_params
    assert not any(key.startswith("blocks") for key, _ in backbone.embedding.named_parameters())


def test_the_patches_are_a_map() -> None:
    model = LikeTimm("token").eval()
    images = torch.rand(2, 3, 32, 32)
    tokens = model.forward_features(images)
    dense = cut_timm(model, INPUTS, True, [], "like timm")
    assert dense.feature_shape == (WIDTH, 4, 4)
    assert torch.equal(dense(images)[:, :, 1, 2], tokens[:, 1 + 4 + 2])


def test_steps_that_the_cut_would_lose_are_noticed() -> None:
    with pytest.raises(InputError, match="like timm: its parts one after the other give features that differ by"):
        cut_timm(LikeTimm("token", shift=0.1).eval(), INPUTS, False, [], "like timm")


def test_models_without_the_parts_are_refused() -> None:
    with pytest.raises(InputError, match="convnet has no part named patch_embed, norm_pre, blocks"):
        cut_timm(nn.Sequential(nn.Conv2d(3, 4, 3)), INPUTS, False, [], "convnet")


@pytest.mark.parametrize("name", ["timm", "torchgeo"])
def test_without_the_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torchvision", name):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=rf"install the extra `{name}`"):
        load_backbone(ModelSpec(name, "random", "vit_tiny_patch16_224"), 0, INPUTS.channels, 32, False)


@pytest.mark.skipif(find_spec("timm") is None, reason="timm, an optional extra, is not installed")
def test_with_the_library() -> None:
    spec = ModelSpec("timm", "random", "vit_tiny_patch16_224", image_px=64)
    backbone = load_backbone(spec, 0, INPUTS.channels, 64, False)  # compared with timm's own forward pass inside
    assert len(backbone.blocks) == 12 and backbone.feature_shape == (192,)

"""Adapters against the formula of the paper, and against peft reading them back into the library's own models."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from orbitune.errors import InputError, MissingExtra
from orbitune.learn.adapters import adaptable, add_lora, merge_lora, save_adapter
from orbitune.learn.backbones import Backbone, load_backbone, seam
from orbitune.learn.backbones.own_module import OwnFinal
from orbitune.learn.inputs import InputSpec
from orbitune.learn.model_spec import ModelSpec

RGB = ("red", "green", "blue")
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
}


def galileo() -> Backbone:
    return load_backbone(ModelSpec(), 0, ("B02", "B03", "B04"), 16, dense=False)


def images_for(backbone: Backbone) -> Tensor:
    return torch.randn(2, *backbone.inputs.sample_shape, generator=torch.Generator().manual_seed(0))


def trained(backbone: Backbone, seed: int = 1) -> Backbone:
    """As if B had been trained."""
    source = torch.Generator().manual_seed(seed)
    for name, value in backbone.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.1, generator=source)
    return backbone


def test_a_new_adapter_changes_no_feature() -> None:
    backbone = galileo()
    before = backbone(images_for(backbone))
    assert torch.equal(add_lora(backbone, 4, 8.0, 0)(images_for(backbone)), before)


def test_every_linear_layer_of_the_blocks_is_adapted_and_nothing_else() -> None:
    backbone = galileo()
    names = adaptable(backbone)
    assert len(names) == 4 * 6
    count = sum(value.numel() for value in backbone.parameters())
    dims = sum(
        backbone.get_submodule(name).weight.shape[0] + backbone.get_submodule(name).weight.shape[1] for name in names
    )
    add_lora(backbone, 3, 8.0, 0)
    added = {key: value for key, value in backbone.named_parameters() if "lora_" in key}
    assert sum(value.numel() for value in added.values()) == 3 * dims
    assert sum(value.numel() for value in backbone.parameters()) == count + 3 * dims
    assert all(key.startswith("blocks.") for key in added)
    assert {key for key, value in backbone.named_parameters() if value.requires_grad} == set(added)


def test_the_layer_is_the_papers() -> None:
    """y = W x + b + alpha / rank B A x, section 4.1 of arXiv:2106.09685."""
    backbone = trained(add_lora(galileo(), 4, 6.0, 0)).double()
    layer: Any = backbone.get_submodule("blocks.1.mlp.fc1")
    x = torch.randn(5, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b = layer.lora_A.default.weight, layer.lora_B.default.weight
    expected = x @ layer.weight.T + layer.bias + 6.0 / 4 * x @ a.T @ b.T
    assert (layer(x) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_first_values_come_from_the_seed_alone(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again, other = (
        {key: value for key, value in add_lora(galileo().to(dtype), 4, 8.0, seed).named_parameters() if "lora_A" in key}
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) and first[key].dtype == dtype for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
    # uniform in +-1 / sqrt(inputs), as nn.Linear and peft start it
    bound = 128**-0.5
    values = torch.cat([value.detach().flatten() for key, value in first.items() if "fc2" not in key])
    assert values.abs().max() <= bound and values.std() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_merged_weights_give_the_same_features() -> None:
    plain = galileo()
    backbone = trained(add_lora(copy.deepcopy(plain), 4, 8.0, 0))
    merged = merge_lora(backbone)
    images = images_for(plain)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert (backbone(images) - plain(images)).abs().max() > 1e-3
    assert (merged(images) - backbone(images)).abs().max() < 1e-5
    assert (merge_lora(backbone.double())(images.double()) - backbone(images.double())).abs().max() < 1e-12


def test_copies_have_adapters_of_their_own() -> None:
    first = add_lora(galileo(), 4, 8.0, 0)
    second = trained(copy.deepcopy(first))
    images = images_for(first)
    assert not torch.equal(first(images), second(images))


CONFIGS = {
    "vit": lambda: transformers.ViTConfig(**SMALL),
    "dinov2": lambda: transformers.Dinov2Config(**SMALL),
    "dinov3": lambda: transformers.DINOv3ViTConfig(**SMALL),
    "swin": lambda: transformers.SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[1, 2], num_heads=[2, 4], window_size=4
    ),
}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21 asks for it
@pytest.mark.parametrize("name", CONFIGS)
def test_peft_reads_an_adapter_into_the_librarys_model(name: str, tmp_path: Path) -> None:
    transformers.AutoModel.from_config(CONFIGS[name]()).save_pretrained(tmp_path / "model")
    spec = ModelSpec("transformers", source=str(tmp_path / "model"))
    backbone = trained(add_lora(load_backbone(spec, 0, RGB, 16, False), 4, 8.0, 0))
    save_adapter(backbone, tmp_path / "adapter")
    model = transformers.AutoModel.from_pretrained(tmp_path / "model")
    images = images_for(backbone)
    with torch.no_grad():
        without = model(images).last_hidden_state
        adapted = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
        found = adapted(pixel_values=images).last_hidden_state
    pooled = found.mean(dim=1) if name == "swin" else found[:, 0]
    assert (found - without).abs().max() > 1e-3
    assert (pooled - backbone(images)).abs().max() <= 1e-6


def test_peft_reads_an_adapter_into_galileo(tmp_path: Path) -> None:
    backbone = trained(add_lora(galileo(), 2, 8.0, 0))
    save_adapter(backbone, tmp_path)
    adapted = peft.PeftModel.from_pretrained(galileo(), tmp_path)
    images = images_for(backbone)
    assert torch.equal(adapted(images), backbone(images))


def test_an_adapter_is_written_the_same_each_time(tmp_path: Path) -> None:
    backbone = add_lora(galileo(), 2, 8.0, 0)
    for folder in ("a", "b"):
        save_adapter(backbone, tmp_path / folder)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 8.0)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert len(load_file(tmp_path / "a" / "adapter_model.safetensors")) == 2 * 24


def own(*blocks: nn.Module) -> Backbone:
    inputs = InputSpec(("red",), 4, 1.0, (0.0,), (1.0,))
    return Backbone(nn.Flatten(2), blocks, OwnFinal(nn.Flatten(), (4,)), (4,), inputs)


def test_fused_attention_is_refused() -> None:
    """There adapters would silently do nothing."""
    for layer in (nn.TransformerEncoderLayer(16, 2, 8), nn.Sequential(nn.MultiheadAttention(16, 2))):
        with pytest.raises(InputError, match="does not call its linear layers"):
            add_lora(own(layer), 2, 2.0, 0)


def test_blocks_without_linear_layers_are_refused() -> None:
    with pytest.raises(InputError, match="have no linear layers; train head, encoder or full"):
        add_lora(own(nn.GELU()), 2, 2.0, 0)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(seam, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"peft cannot be imported .*orbitune\[models\]"):
        add_lora(galileo(), 2, 2.0, 0)

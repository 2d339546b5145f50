"""Cut models of transformers against the library's own forward pass, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from orbitune.errors import InputError, MissingExtra
from orbitune.learn.backbones import Backbone, load_backbone, seam
from orbitune.learn.model_spec import ModelSpec

RGB = ("red", "green", "blue")
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "vit": lambda: transformers.ViTConfig(**SMALL),
    "mae": lambda: transformers.ViTMAEConfig(**SMALL, mask_ratio=0.0),
    "dinov2": lambda: transformers.Dinov2Config(**(SMALL | {"image_size": 40})),
    "registers": lambda: transformers.Dinov2WithRegistersConfig(**SMALL, num_register_tokens=3),
    "dinov3": lambda: transformers.DINOv3ViTConfig(**SMALL, num_register_tokens=2),
    "dinov3-gated": lambda: transformers.DINOv3ViTConfig(**SMALL, use_gated_mlp=True),
    "swin": lambda: transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 4], window_size=4
    ),
}
EXTRA = {"vit": 1, "mae": 1, "dinov2": 1, "registers": 4, "dinov3": 3, "dinov3-gated": 1, "swin": 0}
NUM_BLOCKS = dict.fromkeys(CONFIGS, 3) | {"swin": 5}
"""Swin: two layers, the merging of patches, two layers."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory per family, with random weights none of which is zero."""
    folder = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, config in CONFIGS.items():
            model = transformers.AutoModel.from_config(config())
            for value in model.parameters():
                torch.nn.init.normal_(value, std=0.2)
            model.save_pretrained(folder / name)
    return folder


def load_cut(folder: Path, dense: bool = False, **changes: Any) -> Backbone:
    spec = ModelSpec(**{"name": "transformers", "source": str(folder), **changes})
    return load_backbone(spec, 0, RGB, 20, dense)


def library_tokens(folder: Path, name: str, images: Tensor) -> Tensor:
    """Tokens after the last norm, from the library alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    options: dict[str, Any] = {"interpolate_pos_encoding": True} if name in ("vit", "mae") else {}
    if name == "mae":  # keep all patches, in order
        options["noise"] = torch.arange((images.shape[-1] // 8) ** 2).float().expand(len(images), -1)
    with torch.no_grad():
        return model(images, **options).last_hidden_state


@pytest.mark.parametrize("image_px", [0, 48])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_are_the_librarys(published: Path, name: str, image_px: int) -> None:
    backbone = load_cut(published / name, image_px=image_px)
    images = torch.randn(2, *backbone.inputs.sample_shape, generator=torch.Generator().manual_seed(1))
    tokens = library_tokens(published / name, name, images)
    pooled = tokens[:, 0] if EXTRA[name] else tokens.mean(dim=1)
    assert (backbone(images) - pooled).abs().max() <= 1e-6
    assert len(backbone.blocks) == NUM_BLOCKS[name]
    dense = load_cut(published / name, dense=True, image_px=image_px)
    grid = dense.feature_shape[1]
    assert dense.feature_shape == (tokens.shape[2], grid, grid) and grid**2 == tokens.shape[1] - EXTRA[name]
    features = dense(images)
    places = torch.stack([features[:, :, row, column] for row in range(grid) for column in range(grid)], dim=1)
    assert (places - tokens[:, EXTRA[name] :]).abs().max() <= 1e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_counts(published: Path, name: str) -> None:
    """No tensor is carried that features do not depend on: such would be sent, averaged and never learn."""
    backbone = load_cut(published / name)
    images = torch.randn(1, *backbone.inputs.sample_shape, generator=torch.Generator().manual_seed(1))
    backbone(images).square().sum().backward()
    assert [key for key, value in backbone.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_float64_is_a_matter_of_rounding(published: Path, name: str) -> None:
    backbone = load_cut(published / name)
    images = torch.randn(1, *backbone.inputs.sample_shape, generator=torch.Generator().manual_seed(1))
    single = backbone(images)
    double = backbone.double()(images.double())
    assert double.dtype == torch.float64 and (double - single).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_random_weights_come_from_the_seed_alone(published: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((published / name / "config.json").read_text())
    spec = ModelSpec("transformers", "random", str(tmp_path))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (load_backbone(spec, seed, RGB, 20, False).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


# -------------------------------------------------------------------------------------------------- weight files


def test_a_classifier_in_the_file_is_reported_and_left(tmp_path: Path) -> None:
    transformers.ViTForImageClassification(CONFIGS["vit"]()).save_pretrained(tmp_path)
    assert load_cut(tmp_path).unused_weights == ("classifier.bias", "classifier.weight")


def test_a_decoder_in_the_file_is_reported_and_left(tmp_path: Path) -> None:
    config = transformers.ViTMAEConfig(**SMALL, decoder_hidden_size=16, decoder_num_attention_heads=2)
    transformers.ViTMAEForPreTraining(config).save_pretrained(tmp_path)
    unused = load_cut(tmp_path).unused_weights
    assert unused and all(key.startswith("decoder.") for key in unused)


def test_half_precision_and_shards_are_read_exactly(tmp_path: Path) -> None:
    model = transformers.AutoModel.from_config(CONFIGS["dinov2"]()).bfloat16()
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    model.save_pretrained(tmp_path / "one")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    shards, one = (load_cut(tmp_path / kind).state_dict() for kind in ("shards", "one"))
    assert all(value.dtype == torch.float32 and torch.equal(value, one[key]) for key, value in shards.items())
    assert torch.equal(one["embedding.layer.cls_token"], model.embeddings.cls_token.float())


def test_weights_may_lie_in_a_file_elsewhere(published: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.json").write_text((published / "vit" / "config.json").read_text())
    file = published / "vit" / "model.safetensors"
    beside, elsewhere = load_cut(published / "vit").state_dict(), load_cut(config, file=str(file)).state_dict()
    assert all(torch.equal(value, elsewhere[key]) for key, value in beside.items())


def refused(folder: Path, message: str, **changes: Any) -> None:
    with pytest.raises(InputError, match=message):
        load_cut(folder, **changes)


def test_weights_of_another_architecture(published: Path) -> None:
    file = str(published / "swin" / "model.safetensors")
    refused(published / "vit", r"not the weights .*: missing embeddings\.cls_token, .* unexpected", file=file)


def test_weights_of_a_deeper_model(published: Path, tmp_path: Path) -> None:
    deep = transformers.AutoModel.from_config(transformers.ViTConfig(**(SMALL | {"num_hidden_layers": 4})))
    deep.save_pretrained(tmp_path)
    file = str(tmp_path / "model.safetensors")
    refused(published / "vit", r"unexpected layers\.3\.attention\.\S+, .* more", file=file)


def test_weights_of_a_wider_model(published: Path, tmp_path: Path) -> None:
    transformers.AutoModel.from_config(transformers.ViTConfig(**(SMALL | {"hidden_size": 24}))).save_pretrained(
        tmp_path
    )
    file = str(tmp_path / "model.safetensors")
    refused(published / "vit", r"embeddings\.cls_token is \[1, 1, 24\], needed is \[1, 1, 16\]", file=file)


def test_missing_and_broken_weights(published: Path, tmp_path: Path) -> None:
    tensors = load_file(published / "vit" / "model.safetensors")
    kept = {key: value for key, value in tensors.items() if key != "layernorm.bias"}
    save_file(kept, tmp_path / "less.safetensors")
    refused(published / "vit", r"missing layernorm\.bias", file=str(tmp_path / "less.safetensors"))
    kept["layernorm.bias"] = torch.full((16,), float("nan"))
    save_file(kept, tmp_path / "nan.safetensors")
    refused(
        published / "vit", r"layernorm\.bias holds values that are not finite", file=str(tmp_path / "nan.safetensors")
    )


def test_a_pickle_is_never_opened(published: Path, tmp_path: Path) -> None:
    model = transformers.AutoModel.from_pretrained(published / "vit")
    (tmp_path / "config.json").write_text((published / "vit" / "config.json").read_text())
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    refused(tmp_path, r"pytorch_model\.bin: a pickle, .* convert it .* safetensors\.torch\.save_file")
    renamed = tmp_path / "weights.safetensors"
    renamed.write_bytes((tmp_path / "pytorch_model.bin").read_bytes())
    refused(tmp_path, r"weights\.safetensors: a pickle", file=str(renamed))


def test_a_directory_without_weights(published: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((published / "vit" / "config.json").read_text())
    refused(tmp_path, r"holds no model\.safetensors, only config\.json")


# ------------------------------------------------------------------------------------------------- other refusals


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused(
        Path("facebook/dinov2-small"), r"'facebook/dinov2-small': no directory .* `hf download facebook/dinov2-small`"
    )


def test_architectures_that_cannot_be_cut(tmp_path: Path) -> None:
    transformers.ConvNextConfig(num_stages=2, depths=[1, 1], hidden_sizes=[4, 8]).save_pretrained(tmp_path)
    refused(tmp_path, r"'convnext' cannot be cut here; those that can: vit, vit_mae, dinov2, .* name = 'module'")


@pytest.mark.parametrize("text", ["{", "{}", '{"model_type": "nothing"}', '{"model_type": "vit", "hidden_size": "x"}'])
def test_a_damaged_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    refused(tmp_path, r"config\.json is not one that transformers reads")


def test_sizes_that_are_no_whole_patches(published: Path) -> None:
    refused(published / "vit", r"model\.image_px = 33: .* patches of 8 px", image_px=33)


def test_images_without_colours(published: Path) -> None:
    with pytest.raises(InputError, match="red, green, blue cannot be had"):
        load_backbone(ModelSpec("transformers", source=str(published / "vit")), 0, ("B08",), 32, False)


def test_the_number_of_channels_must_agree(tmp_path: Path) -> None:
    transformers.ViTConfig(**SMALL, num_channels=4).save_pretrained(tmp_path)
    spec = ModelSpec("transformers", "random", str(tmp_path))
    four = ("B02", "B03", "B04", "B08")
    assert load_backbone(spec, 0, four, 32, False).inputs.channels == four
    with pytest.raises(InputError, match="reads 4 channels, the images hold 3"):
        load_backbone(spec, 0, RGB, 32, False)


def test_a_model_says_how_its_images_are_normalised(published: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((published / "vit" / "config.json").read_text())
    assert load_cut(tmp_path, weights="random").inputs.centre == (0.5, 0.5, 0.5)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [1, 2, 3], "image_std": [4, 5, 6]}))
    inputs = load_cut(tmp_path, weights="random").inputs
    assert (inputs.centre, inputs.spread) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [1], "image_std": [4]}))
    refused(tmp_path, "normalises 1 channels of 3", weights="random")


def test_without_the_library(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(seam, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"transformers cannot be imported .*orbitune\[models\]"):
        load_cut(published / "vit")

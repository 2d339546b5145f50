"""The shipped profiles agree with published figures and with the script that makes them."""

from __future__ import annotations

from importlib import resources

import pytest

from orbitune.errors import InputError
from orbitune.model.profile import ModelProfile, load_profile, profile_from_json, shipped_profiles
from scripts.build_profiles import ARCHITECTURES, as_json

# Millions of parameters of the encoder. ViT: table 1 of arXiv:2010.11929 gives 86, 307 and 632 for Base, Large and
# Huge; SpectralGPT-Base is a ViT-Base, and the encoders of Prithvi-EO-2.0 are a ViT-L and a ViT-H, which its names
# round to 300M and 600M. DINOv2: model card of vit_giant_patch14_dinov2.lvd142m in timm.
PUBLISHED_MILLIONS = {
    "vit-b-16": 86,
    "vit-l-16": 307,
    "spectralgpt-base": 86,
    "prithvi-eo-2.0-300m": 307,
    "prithvi-eo-2.0-600m": 632,
    "dinov2-g": 1136.5,
}


def total_forward(profile: ModelProfile) -> float:
    return profile.embedding.flops_forward + sum(block.flops_forward for block in profile.blocks)


@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    assert load_profile(name).params_bytes / 4e6 == pytest.approx(PUBLISHED_MILLIONS[name], rel=0.03)


# 17.6 and 61.6 GMAC for 224 px are in the model cards of vit_base_patch16_224 and vit_large_patch16_224 in timm
# (fvcore counts the products of attention too); the patch projection is part of both.
@pytest.mark.parametrize(("name", "giga_mac"), [("vit-b-16", 17.6), ("vit-l-16", 61.6)])
def test_forward_cost_is_the_published_one(name: str, giga_mac: float) -> None:
    assert total_forward(load_profile(name)) == pytest.approx(2e9 * giga_mac, rel=0.01)


def test_spectralgpt_sends_eight_times_what_it_sees() -> None:
    profile = load_profile("spectralgpt-base")
    assert profile.embedding.activation_bytes == 1024 * 768 * 4
    assert profile.embedding.activation_bytes == 8 * profile.sample_bytes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_files_are_what_the_script_writes(name: str) -> None:
    path = resources.files("orbitune.model") / "profiles" / f"{name}.json"
    assert path.read_text(encoding="utf-8") == as_json(name, ARCHITECTURES[name])


def test_every_profile_is_complete_and_named_after_its_file() -> None:
    assert set(shipped_profiles()) == set(ARCHITECTURES)
    for name in shipped_profiles():
        profile = load_profile(name)
        assert profile.name == name and "arXiv:" in profile.source
        assert all(part.flops_backward >= part.flops_forward for part in (profile.embedding, *profile.blocks))


def test_reading_leaves_the_content_alone() -> None:
    part = dict.fromkeys(("params_bytes", "activation_bytes", "saved_bytes", "flops_forward", "flops_backward"), 1.0)
    content = {
        "name": "two",
        "source": "test",
        "chip_px": 8,
        "sample_bytes": 1.0,
        "feature_shape": [1],
        "embedding": part,
        "blocks": {"repeat": 2} | part,
        "final": part,
    }
    assert profile_from_json(content) == profile_from_json(content)
    assert profile_from_json(content).num_cuts == 3


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no model profile 'resnet'.*galileo-nano"):
        load_profile("resnet")

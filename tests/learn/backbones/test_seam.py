"""What holds for every model: standardised features, bad weight files, models that are more than their parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import nn

from orbitune.errors import InputError
from orbitune.learn.backbones import Backbone, standardise, weights
from orbitune.learn.backbones.own_module import OwnFinal
from orbitune.learn.backbones.seam import check_equal, seeded
from orbitune.learn.inputs import InputSpec

INPUTS = InputSpec(("red", "green"), 8, 1.0, (0.0, 0.0), (1.0, 1.0))


def convolutions(dense: bool) -> Backbone:
    shape = (5, 4, 4) if dense else (5,)
    last = nn.Identity() if dense else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with seeded(0):
        parts = nn.Conv2d(2, 3, 2, 2), [nn.Conv2d(3, 5, 1)]
    return Backbone(*parts, OwnFinal(last, shape), shape, INPUTS).eval()


@pytest.mark.parametrize("dense", [False, True])
def test_standardised_features_have_mean_0_and_deviation_1_per_channel(dense: bool) -> None:
    backbone = convolutions(dense)
    images = torch.rand(150, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = backbone(images)
    standardise(backbone, images)
    first = backbone(images)
    others = [0, 2, 3] if dense else [0]
    assert first.mean(dim=others).abs().max() < 1e-4 and (first.std(dim=others) - 1).abs().max() < 1e-4
    rows = [values.flatten(1) for values in (plain.transpose(0, 1), first.transpose(0, 1))]
    for before, after in zip(*rows, strict=True):  # one shift and one scale per channel, the same everywhere
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 1 - 1e-5
    standardise(backbone, images)
    assert torch.equal(backbone(images), first)


def test_a_constant_feature_stays_small() -> None:
    """Its spread is nothing but rounding: blown up to unit spread it would be noise, divided by zero not a number."""
    backbone = convolutions(dense=False)
    with torch.no_grad():
        backbone.blocks[0].weight[2] = 0.0
    images = torch.rand(20, 2, 8, 8)
    standardise(backbone, images)
    assert backbone(images)[:, 2].abs().max() < 0.1


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(4)
    state = torch.get_rng_state()
    with seeded(1):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(1):
        assert torch.equal(torch.rand(3), first)


def test_a_model_that_is_more_than_its_parts_is_refused() -> None:
    backbone = convolutions(dense=False)
    check_equal(backbone, lambda images: backbone(images) * (1 + 1e-7), "mine")
    with pytest.raises(InputError, match=r"mine: .* features that differ by 0\.001"):
        check_equal(backbone, lambda images: backbone(images) * 1.001, "mine")
    with pytest.raises(InputError, match=r"mine: .* shape \[1, 5\] instead of \[1, 4\]"):
        check_equal(backbone, lambda images: backbone(images)[:, :4], "mine")


# ---------------------------------------------------------------------------------------------------- weight files


def test_all_floating_point_widths_are_read(tmp_path: Path) -> None:
    values = torch.tensor([1.5, -2.25])
    widths = {"half": values.half(), "bfloat": values.bfloat16(), "single": values, "double": values.double()}
    save_file(widths | {"count": torch.tensor([3])}, tmp_path / "w.safetensors")
    found = weights.read_tensors(tmp_path / "w.safetensors")
    assert {key: value.dtype for key, value in found.items()} == {
        "half": torch.float32,
        "bfloat": torch.float32,
        "single": torch.float32,
        "double": torch.float64,
        "count": torch.int64,
    }
    assert all(torch.equal(found[key].float(), values) for key in widths)


@settings(max_examples=60, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 200),
)
def test_no_damage_gets_past_the_reader(
    damage: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A damaged file is refused with our error, or its tensors are finite and whole."""
    content = bytearray(save({"a": torch.arange(6.0), "b": torch.ones(2, 3)}))
    for place, value in damage:
        content[place % len(content)] = value
    path = tmp_path_factory.mktemp("damage") / "w.safetensors"
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        found = weights.read_tensors(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert all(value.isfinite().all() for value in found.values() if value.is_floating_point())


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "last.ckpt", "weights.pkl"])
def test_pickles_are_refused_by_name_without_being_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=r"a pickle, .* convert it .* weights_only=True"):
            weights.read_weights(path)


def test_pickles_are_refused_by_what_they_hold(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "new.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    for name in ("new", "old"):
        with pytest.raises(InputError, match="a pickle"):
            weights.read_weights(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not an index"),
        ("[]", "not an index"),
        ('{"weight_map": {"a": 3}}', "outside its own directory"),
        (json.dumps({"weight_map": {"a": "../../other.safetensors"}}), "outside its own directory"),
        (json.dumps({"weight_map": {"a": "absent.safetensors"}}), "cannot be read"),
    ],
)
def test_bad_indices_of_shards(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=message):
        weights.read_weights(tmp_path)


def test_a_missing_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: cannot be read \(No such file"):
        weights.read_weights(tmp_path / "nowhere")

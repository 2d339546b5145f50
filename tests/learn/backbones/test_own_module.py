"""A user's own module, cut where it says, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from orbitune.errors import InputError
from orbitune.learn.backbones import Backbone, load_backbone
from orbitune.learn.model_spec import ModelSpec

RGB = ("red", "green", "blue")

SOURCE = '''
import torch
from torch import nn
from orbitune.learn.backbones.own_module import OwnFinal
from orbitune.learn.backbones.seam import Backbone
from orbitune.learn.inputs import InputSpec

def lenet():
    """Convolutions, no tokens; activations shrink from part to part."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 8, 5), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(8 * 5 * 5, 10),
    )

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)
        self.act = nn.GELU()
        self.deep = nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.GELU()

    def forward(self, x):
        return self.last(self.deep(self.act(self.stem(x))))

def named():
    return Named(), ["deep", "stem"]

def unnamed():
    return Named()

class Skips(Named):
    def forward(self, x):
        y = self.act(self.stem(x))
        return self.last(self.deep(y)) + self.deep(y)

def skips():
    return Skips(), ["stem"]

def tokens():
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(2))

def seamed():
    inputs = InputSpec(("green",), 8, 1.0, (0.5,), (0.25,))
    return Backbone(nn.Flatten(), [nn.Linear(64, 6)], OwnFinal(nn.Tanh(), (6,)), (6,), inputs)

def words():
    return "resnet"
'''


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Backbone]:
    """Loads a function of a module that lies in the working directory."""
    (tmp_path / "own_models.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_models", raising=False)

    def load_one(function: str, dense: bool = False, seed: int = 0, chip_px: int = 32, **changes: object) -> Backbone:
        spec = ModelSpec("module", "random", f"own_models:{function}")
        fields = {name: getattr(spec, name) for name in ModelSpec.__slots__}
        return load_backbone(ModelSpec(**(fields | changes)), seed, RGB, chip_px, dense)

    return load_one


def built(function: str) -> torch.nn.Module:
    """The user's own module, uncut, with the weights it has now."""
    return getattr(sys.modules["own_models"], function)()


def images(side: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_a_sequential_is_cut_after_each_child(load: Callable[..., Backbone]) -> None:
    backbone = load("lenet")
    whole = built("lenet").eval()
    copied = zip(backbone.parameters(), whole.parameters(), strict=True)
    with torch.no_grad():
        for ours, theirs in copied:
            theirs.copy_(ours)
    assert torch.equal(backbone(images()), whole(images()))
    assert [tuple(shape) for shape in shapes(backbone)] == [(2, 6, 14, 14), (2, 8, 5, 5), (2, 200), (2, 10)]
    assert backbone.feature_shape == (10,) and backbone.inputs.sample_shape == (3, 32, 32)
    assert not any(module.training for module in backbone.modules())


def shapes(backbone: Backbone) -> list[torch.Size]:
    """Shape of the activation after each part; none may have changed what came in."""
    found, value = [], images()
    for part in (backbone.embedding, *backbone.blocks, backbone.final):
        before = value.clone()
        sent = part(value)
        assert torch.equal(value, before)
        found.append(sent.shape)
        value = sent
    return found


def test_named_children_are_where_it_is_cut(load: Callable[..., Backbone]) -> None:
    backbone = load("named", dense=True)
    assert [tuple(shape[1:]) for shape in shapes(backbone)] == [(4, 8, 8), (6, 8, 8), (6, 8, 8)]
    assert backbone.source_names == {"blocks.0.act": "act", "blocks.0.deep": "deep"}
    elsewhere = load("unnamed", dense=True, cut_points=("stem", "act", "last"))
    assert len(elsewhere.blocks) == 2 and elsewhere.feature_shape == (6, 8, 8)
    assert torch.equal(elsewhere(images()), backbone(images()))


def test_a_backbone_is_taken_as_it_is(load: Callable[..., Backbone]) -> None:
    backbone = load("seamed")
    assert backbone.inputs.channels == ("green",)
    assert backbone(torch.rand(3, 1, 8, 8)).shape == (3, 6)


def test_the_images_may_be_resized(load: Callable[..., Backbone]) -> None:
    assert load("lenet", chip_px=64, image_px=32).inputs.size_px == 32


def test_first_weights_come_from_the_seed_alone(load: Callable[..., Backbone]) -> None:
    state = torch.get_rng_state()
    first, again, other = (load("lenet", seed=seed)(images()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("function", ["lenet", "seamed"])
def test_weights_from_a_file(load: Callable[..., Backbone], tmp_path: Path, function: str) -> None:
    load(function)  # so that the module is imported
    source = built(function)
    fixed = ("final.centre", "final.spread")
    tensors = {key: value for key, value in source.state_dict().items() if key not in fixed}
    save_file(tensors, tmp_path / "w.safetensors")
    found = load(function, seed=9, weights="pretrained", file="w.safetensors")
    values = [value for key, value in found.state_dict().items() if key not in fixed]
    assert len(values) == len(tensors)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(values, tensors.values(), strict=True))
    save_file(dict(list(tensors.items())[1:]), tmp_path / "less.safetensors")
    with pytest.raises(InputError, match="not the weights of this model: missing"):
        load(function, weights="pretrained", file="less.safetensors")


@pytest.mark.parametrize(
    ("function", "changes", "message"),
    [
        ("absent", {}, "cannot be imported .*'package.module:function'"),
        ("words", {}, "returned str; allowed are"),
        ("unnamed", {}, "says nowhere where it may be cut: .* it has stem, act, deep, last"),
        ("unnamed", {"cut_points": ("stem", "head")}, "has no part named head"),
        ("skips", {"dense": True}, "parts one after the other give features that differ"),
        ("named", {}, r"gives features \[6, 8, 8\] per image; this task needs one vector"),
        ("lenet", {"dense": True}, r"gives features \[10\] per image; this task needs a map"),
        ("tokens", {}, r"gives features \[4, 16\] per image"),
        ("lenet", {"chip_px": 64}, r"fail on images \[3, 64, 64\]"),
    ],
)
def test_refused(load: Callable[..., Backbone], function: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(function, **changes)


@pytest.mark.parametrize("source", ["no_such_module:f", "nocolon", ":f", "", "json:"])
def test_sources_that_are_no_functions(load: Callable[..., Backbone], source: str) -> None:
    with pytest.raises(InputError, match="cannot be imported"):
        load("lenet", source=source)

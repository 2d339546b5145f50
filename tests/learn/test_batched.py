"""Satellites trained together give what they give one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_rounds import same
from tiny_backbone import INPUTS, spec_of, tiny_task
from torch import Tensor, nn

from orbitune.errors import RunError
from orbitune.learn import batched
from orbitune.learn.backbones.seam import Backbone, Final
from orbitune.learn.learners import AveragingLearner
from orbitune.learn.rounds import make_learner, train
from orbitune.learn.spec import LearnSpec

STALE = [[(0, 0), (1, 0), (3, 0)], [(3, 0), (0, 1)], [(1, 1), (3, 2)]]


def learn(
    spec: LearnSpec, together: bool, dtype: torch.dtype = torch.float32, num_labels: int = 1
) -> tuple[AveragingLearner, list[dict[int, float]]]:
    backbone, num_classes, images, labels, holdings, tests = tiny_task(dtype)
    if num_labels > 1:
        labels = torch.nn.functional.one_hot(labels, num_classes).to(dtype)
    learner = make_learner(spec, backbone, num_classes, images, labels, holdings, tests)
    assert isinstance(learner, AveragingLearner) and learner._together
    learner._together = together
    losses: list[dict[int, float]] = []
    train(learner, 0.0, [1.0, 2.0, 3.0], 0, lambda record: losses.append(record.client_loss), STALE)
    return learner, losses


CASES = [
    {},
    {"optimizer": "adamw", "learning_rate": 0.01},
    {"momentum": 0.0},
    {"prox_mu": 0.5},
    {"accumulate": 3, "batch_size": 5},
    {"schedule": "cosine", "warmup_steps": 2, "rounds": 3},
    {"learner": "federated", "weight_decay": 0.0},
    {"server_optimizer": "adam"},
    {"update_codec": "int8"},
    {"cache": "features"},
    {"codec": "fp16", "cut": 1},
]


@pytest.mark.parametrize("changes", CASES)
def test_together_equals_one_after_another(changes: dict[str, object]) -> None:
    """Stale starts, unequal batches and all; bytes and losses too."""
    spec = spec_of(trains="head", local_steps=4, **changes)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        if dtype == torch.float64 and spec.codec != "fp32":
            continue
        (ours, our_losses), (loop, loop_losses) = (learn(spec, together, dtype) for together in (True, False))
        found, expected = ours.state(), loop.state()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            coarse = 1e-2 if name.startswith("residual.") else tolerance  # a residual sees where a value is rounded
            assert torch.allclose(found[name].double(), value.double(), rtol=0, atol=coarse), name
        for one, other in zip(our_losses, loop_losses, strict=True):
            assert one == pytest.approx(other, abs=10 * tolerance)


def test_several_labels_per_image() -> None:
    spec = spec_of(trains="head")
    (ours, _), (loop, _) = (learn(spec, together, torch.float64, num_labels=3) for together in (True, False))
    assert torch.allclose(ours.state()["model.head.weight"], loop.state()["model.head.weight"], rtol=0, atol=1e-12)


def test_it_repeats_bit_for_bit_and_in_any_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(trains="head", batch_size=3)  # all satellites have the same
    whole = learn(spec, True)[0].state()
    assert same(whole, learn(spec, True)[0].state())
    monkeypatch.setattr(batched, "STACK_BYTES", 1)
    alone = learn(spec, True)[0].state()
    assert all(torch.allclose(value.double(), whole[name].double(), atol=1e-6) for name, value in alone.items())


def test_portions_hold_satellites_of_one_batch_size_and_fit() -> None:
    learner, _ = learn(spec_of(trains="head"), True)
    portions = list(batched.chunks(learner.task, learner.draws, [0, 1, 3]))
    assert sorted(portions) == [[0], [1], [3]]
    equal, _ = learn(spec_of(trains="head", batch_size=3), True)
    assert list(batched.chunks(equal.task, equal.draws, [0, 1, 3])) == [[0, 1, 3]]


@pytest.mark.parametrize(
    "changes", [{"trains": "full", "learner": "federated"}, {"trains": "encoder", "server_encoder": "per_client"}]
)
def test_other_models_train_one_after_another(changes: dict[str, str]) -> None:
    learner = make_learner(spec_of(**changes), *tiny_task())
    assert isinstance(learner, AveragingLearner) and not learner._together


@pytest.mark.parametrize("together", [True, False])
def test_the_satellite_whose_numbers_leave_the_finite_is_named(together: bool) -> None:
    """And the learner is as after the last good round: it goes on from there."""
    backbone, num_classes, images, labels, holdings, tests = tiny_task(torch.float32)
    spec = spec_of(trains="head", batch_size=3, local_steps=13)
    learner = make_learner(spec, backbone, num_classes, images, labels, holdings, tests)
    assert isinstance(learner, AveragingLearner)
    learner._together = together
    learner.run_round(0)
    good = learner.state()
    kept = learner.task.inputs[41].clone()
    learner.task.inputs[41] = np.nan
    with pytest.raises(RunError, match=r"satellite 1: .* is not finite in a batch of 3 samples.*lower one"):
        train(learner, 0.0, [1.0, 2.0], 1, lambda record: None)
    assert same(learner.state(), good)
    learner.task.inputs[41] = kept
    train(learner, 0.0, [1.0, 2.0], 1, lambda record: None)


# ------------------------------------------------------------------------------- stacks of small networks


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Flattened(Final):
    def features(self, activation: Tensor) -> Tensor:
        return activation.flatten(1)


class Mixing(nn.Module):
    """Softmax over channels: side by side, satellites would mix."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.softmax(dim=1)


class Reshaped(nn.Module):
    """Knows how many values a sample has."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.reshape(len(maps), 4, 4, 4)


def small_network(block: nn.Module) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Backbone(Convolved(), [nn.Conv2d(4, 4, 1), block], Flattened((64,)), (64,), INPUTS).double().eval()


def train_network(block: nn.Module, together: bool | None, **changes: object) -> AveragingLearner:
    spec = spec_of(learner="federated", batch_size=3, optimizer="adamw", learning_rate=0.01, **changes)
    learner = make_learner(spec, small_network(block), *tiny_task()[1:])
    assert isinstance(learner, AveragingLearner)
    if together is not None:
        learner._together = together
        train(learner, 0.0, [1.0, 2.0, 3.0], 0, lambda record: None, STALE)
    return learner


@pytest.mark.parametrize("trains", ["full", "encoder"])
def test_whole_small_networks_train_together(trains: str) -> None:
    """Convolutions, with and without bias, pooling, standardised features; parts frozen."""
    assert train_network(nn.Tanh(), None, trains=trains)._together
    ours, loop = (train_network(nn.Tanh(), together, trains=trains).state() for together in (True, False))
    for name, value in loop.items():
        assert torch.allclose(ours[name].double(), value.double(), rtol=0, atol=1e-10), name


@pytest.mark.parametrize("block", [Mixing(), Reshaped(), nn.LayerNorm([4, 4, 4]), nn.Conv2d(4, 4, 1, groups=2)])
def test_networks_that_would_mix_satellites_train_one_after_another(block: nn.Module) -> None:
    assert not train_network(block, None)._together

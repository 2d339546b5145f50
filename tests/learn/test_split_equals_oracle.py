"""Split training equals plain training of the whole model, at every cut."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import plain_training as plain
import pytest
import torch
from tiny_backbone import HOLDINGS, NUM_BLOCKS, TEST_IDS, spec_of, tiny_backbone, tiny_samples

from orbitune.learn.backbone import Backbone, load_backbone
from orbitune.learn.rounds import Learner, make_learner
from orbitune.learn.spec import LearnSpec

NUM_STEPS = 20
RATE = {"sgd": 0.05, "adamw": 0.003}

GALILEO_RATE = {"sgd": 0.01, "adamw": 1e-4}
"""Rates at which rounding stays rounding. AdamW divides by the gradient's own size, so where gradients are near zero it
turns rounding into steps: at 1e-3 plain PyTorch ends up to 2e-3 away from itself, in float64, when only the order of
samples inside each batch is reversed."""

GALILEO_HOLDINGS = [np.arange(0, 6), np.arange(6, 8)]


@cache
def tiny(dtype: torch.dtype) -> tuple[Backbone, plain.Samples]:
    return tiny_backbone(dtype), (*tiny_samples(dtype), HOLDINGS)


@cache
def galileo(dtype: torch.dtype) -> tuple[Backbone, plain.Samples]:
    """The real model and weights on chips of one patch, few samples: the law does not depend on their number."""
    source = np.random.default_rng(2)
    images = torch.from_numpy(source.random((84, 11, 8, 8))).to(dtype)
    labels = torch.from_numpy(source.integers(3, size=84))
    return load_backbone("galileo-nano", "pretrained", 0, 8).to(dtype), (images, labels, GALILEO_HOLDINGS)


World = Callable[[torch.dtype], tuple[Backbone, plain.Samples]]


def spec_in(world: World, **changes: object) -> LearnSpec:
    rates = GALILEO_RATE if world is galileo else RATE
    return spec_of(learning_rate=rates[str(changes.get("optimizer", "sgd"))], **changes)


def start(world: World, dtype: torch.dtype, spec: LearnSpec) -> Learner:
    backbone, (images, labels, holdings) = world(dtype)
    return make_learner(spec, backbone, 3, images, labels, holdings, TEST_IDS)


@cache
def oracle(world: World, dtype: torch.dtype, trains: str, server_encoder: str, optimizer: str) -> plain.PlainModel:
    spec = spec_in(world, trains=trains, optimizer=optimizer)
    head = {key: start(world, dtype, spec).state()[f"model.head.{key}"] for key in ("weight", "bias")}
    backbone, samples = world(dtype)
    averaged = server_encoder == "per_client" or trains == "head"
    training = plain.federated_averaging if averaged else plain.central_training
    return training(plain.PlainModel(backbone, head), spec, samples, NUM_STEPS)


def run(learner: Learner) -> Learner:
    for round_index in range(NUM_STEPS // learner.spec.local_steps):
        learner.run_round(round_index)
    return learner


def train_split(
    world: World, dtype: torch.dtype, trains: str, server_encoder: str, optimizer: str, cut: int
) -> Learner:
    spec = spec_in(world, trains=trains, server_encoder=server_encoder, optimizer=optimizer, cut=cut)
    return run(start(world, dtype, spec))


@pytest.mark.parametrize("cut", range(NUM_BLOCKS + 1))
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
def test_float64(trains: str, server_encoder: str, optimizer: str, cut: int) -> None:
    found = train_split(tiny, torch.float64, trains, server_encoder, optimizer, cut).state()
    expected = oracle(tiny, torch.float64, trains, server_encoder, optimizer)
    assert plain.largest_absolute_difference(found, expected) < 1e-9


@pytest.mark.parametrize("cut", range(NUM_BLOCKS + 1))
@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
def test_fp32_sgd(trains: str, server_encoder: str, cut: int) -> None:
    found = train_split(tiny, torch.float32, trains, server_encoder, "sgd", cut).state()
    assert plain.largest_difference(found, oracle(tiny, torch.float32, trains, server_encoder, "sgd")) < 1e-5


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
def test_galileo(server_encoder: str, cut: int) -> None:
    """The real model at every cut, everything training, AdamW in float64."""
    found = train_split(galileo, torch.float64, "full", server_encoder, "adamw", cut).state()
    expected = oracle(galileo, torch.float64, "full", server_encoder, "adamw")
    assert plain.largest_absolute_difference(found, expected) < 1e-9


@pytest.mark.parametrize("cut", [0, 2, 4])
@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
def test_galileo_fp32_sgd(server_encoder: str, cut: int) -> None:
    found = train_split(galileo, torch.float32, "full", server_encoder, "sgd", cut).state()
    assert plain.largest_difference(found, oracle(galileo, torch.float32, "full", server_encoder, "sgd")) < 1e-5


def test_training_moves_every_trained_tensor() -> None:
    """Else agreement with the oracle would show nothing."""
    before = start(tiny, torch.float64, spec_of()).state()
    after = train_split(tiny, torch.float64, "full", "shared", "sgd", 1).state()
    still = [name for name in before if name.startswith("model.") and torch.equal(before[name], after[name])]
    assert not still


@pytest.mark.parametrize("cut", range(NUM_BLOCKS + 1))
@pytest.mark.parametrize(
    ("server_encoder", "whole"), [("shared", "central"), ("per_client", "federated")], ids=["shared", "per_client"]
)
@pytest.mark.parametrize("trains", ["encoder", "full"])
def test_the_cut_itself_changes_no_bit(trains: str, server_encoder: str, whole: str, cut: int) -> None:
    """With equal grouping fp32 training over the cut and in one place agree bit for bit, AdamW included."""
    split = train_split(tiny, torch.float32, trains, server_encoder, "adamw", cut).state()
    whole_state = train_whole(whole, trains).state()
    assert all(torch.equal(value, whole_state[name]) for name, value in split.items() if name.startswith("model."))


@cache
def train_whole(learner: str, trains: str) -> Learner:
    return run(start(tiny, torch.float32, spec_in(tiny, learner=learner, trains=trains, optimizer="adamw")))


@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
@pytest.mark.parametrize("whole", ["central", "federated"])
def test_the_references_are_what_they_say(whole: str, trains: str) -> None:
    """Central and federated training against the same plain loops."""
    spec = spec_in(tiny, learner=whole, trains=trains)
    learner = start(tiny, torch.float64, spec)
    first = learner.state()
    run(learner)
    head = {key: first[f"model.head.{key}"] for key in ("weight", "bias")}
    training = {"central": plain.central_training, "federated": plain.federated_averaging}[whole]
    backbone, samples = tiny(torch.float64)
    expected = training(plain.PlainModel(backbone, head), spec, samples, NUM_STEPS)
    assert plain.largest_absolute_difference(learner.state(), expected) < 1e-9
    assert not any(learner.wire.sent_bytes.values())

"""The loop: its records, its learning, its interruptions, its refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_backbone import HOLDINGS, NUM_CLASSES, TEST_IDS, spec_of, tiny_backbone, tiny_samples, tiny_task
from torch import nn

from orbitune.errors import InputError, RunError
from orbitune.learn import client
from orbitune.learn.aggregate import Tensors
from orbitune.learn.client import Batch
from orbitune.learn.rounds import Learner, RoundRecord, deterministic, make_learner, train
from orbitune.learn.spec import LearnSpec

ENDS_S = [10.0, 25.0, 31.0, 40.0]


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def curve(spec: LearnSpec, ends_s: list[float]) -> tuple[Learner, list[RoundRecord]]:
    learner, records = make_learner(spec, *tiny_task(torch.float32)), list[RoundRecord]()
    train(learner, 4.0, ends_s, 0, records.append)
    return learner, records


def test_records_follow_the_timeline() -> None:
    _, records = curve(spec_of(), ENDS_S)
    assert [record.round for record in records] == [0, 1, 2, 3, 4]
    assert [record.sim_time_s for record in records] == [4.0, *ENDS_S]
    assert records[0].loss is None and records[0].client_loss == {}
    assert all(record.client_loss.keys() == {0, 1, 3} for record in records[1:])  # satellite 2 holds nothing


@pytest.mark.parametrize("learner", ["split", "federated", "central"])
@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
def test_it_learns(learner: str, trains: str) -> None:
    """From about chance to much better, on samples nobody trained on."""
    _, records = curve(spec_of(learner=learner, trains=trains, learning_rate=0.2), list(range(20)))
    first, last = records[0], records[-1]
    assert abs(first.balanced_accuracy - 1 / NUM_CLASSES) < 0.25
    assert last.balanced_accuracy > (1.5 if trains == "head" else 2) / NUM_CLASSES
    assert last.test_loss < first.test_loss


def test_the_loss_is_that_of_the_samples_of_the_round() -> None:
    """One step from the start: cross-entropy of the untrained model, by satellite and weighted by samples."""
    spec = spec_of(local_steps=1, batch_size=100)
    backbone, _, images, labels, holdings, _ = tiny_task()
    learner = make_learner(spec, *tiny_task())
    weight, bias = (learner.state()[f"model.head.{name}"] for name in ("weight", "bias"))
    logits = backbone(images) @ weight.T + bias
    each = -torch.log_softmax(logits, 1)[torch.arange(len(labels)), labels].detach().numpy()
    result = learner.run_round(0)
    assert result.client_loss == pytest.approx({k: each[ids].mean() for k, ids in enumerate(holdings) if len(ids)})
    assert result.loss == pytest.approx(each[:54].mean())


def test_evaluation_equals_its_definition() -> None:
    learner = make_learner(spec_of(), *tiny_task())
    learner.run_round(0)
    found = learner.evaluate()
    model = learner.task.model  # type: ignore[attr-defined]
    images, labels = tiny_samples()
    logits = model(images[TEST_IDS])
    truth, guess = labels[TEST_IDS].numpy(), logits.argmax(1).numpy()
    assert found.accuracy == pytest.approx(np.mean(truth == guess))
    assert found.balanced_accuracy == pytest.approx(np.mean([np.mean(guess[truth == c] == c) for c in set(truth)]))
    assert found.loss == pytest.approx(nn.functional.cross_entropy(logits, labels[TEST_IDS]).item())


@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
def test_what_is_frozen_stays(trains: str) -> None:
    learner, _ = curve(spec_of(trains=trains, cut=1), ENDS_S)
    start = tiny_backbone(torch.float32)
    before, after = (dict(one.named_parameters()) for one in (start, learner.task.model.backbone))  # type: ignore[attr-defined]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    everything = set(before)
    encoder = {name for name in everything if not name.startswith("embedding.")}
    assert moved == {"head": set(), "encoder": encoder, "full": everything}[trains]


def test_the_given_backbone_is_not_touched() -> None:
    backbone, *rest = tiny_task()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    make_learner(spec_of(), backbone, *rest).run_round(0)
    assert same(before, backbone.state_dict())
    assert all(value.requires_grad for value in backbone.parameters())


def test_heads_start_from_the_seed_alone() -> None:
    torch.manual_seed(0)
    one = make_learner(spec_of(), *tiny_task()).state()
    torch.manual_seed(1)
    assert same(one, make_learner(spec_of(learner="central", cut=1), *tiny_task()).state())
    other = make_learner(spec_of(seed=4), *tiny_task()).state()
    assert not torch.equal(one["model.head.weight"], other["model.head.weight"])


def test_head_training_is_the_same_for_both_server_encoders() -> None:
    shared, per_client = (curve(spec_of(trains="head", server_encoder=s), ENDS_S)[0] for s in ("shared", "per_client"))
    assert same(shared.state(), per_client.state())


@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_interrupted_round_leaves_no_trace(
    optimizer: str, server_encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of round 3: the learner is as after round 2, and goes on to the uninterrupted end."""
    spec = spec_of(optimizer=optimizer, server_encoder=server_encoder, learning_rate=0.01)
    whole, _ = curve(spec, ENDS_S)
    two_rounds, _ = curve(spec, ENDS_S[:2])
    learner = make_learner(spec, *tiny_task(torch.float32))
    steps = 0
    real_groups = Batch.groups

    def groups(batch: Batch) -> object:
        nonlocal steps
        steps += 1
        if steps == 2 * 2 * 3 + 4:  # two rounds of two steps on three satellites, and a bit
            raise KeyboardInterrupt
        return real_groups(batch)

    monkeypatch.setattr(client.Batch, "groups", groups)
    with pytest.raises(KeyboardInterrupt):
        train(learner, 4.0, ENDS_S, 0, lambda record: None)
    assert same(learner.state(), two_rounds.state())
    records: list[RoundRecord] = []
    train(learner, 4.0, ENDS_S, 2, records.append)
    assert [record.round for record in records] == [3, 4]
    assert same(learner.state(), whole.state())


def test_determinism_is_a_wish_of_the_caller() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        deterministic(1)
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (1, True)
        curve(spec_of(), ENDS_S[:1])  # no operation of ours lacks a deterministic form
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


# ---------------------------------------------------------------------------------------- refusals


def test_divergence_is_said() -> None:
    with pytest.raises(RunError, match=r"diverged with learning_rate = 1e\+30 \(sgd\); start again with a lower one"):
        curve(spec_of(learning_rate=1e30), ENDS_S)


def test_labels_must_match_images() -> None:
    backbone, num_classes, images, labels, holdings, tests = tiny_task()
    with pytest.raises(InputError, match="84 images but 83 labels"):
        make_learner(spec_of(), backbone, num_classes, images, labels[:-1], holdings, tests)


def test_somebody_must_hold_something() -> None:
    backbone, num_classes, images, labels, _, tests = tiny_task()
    with pytest.raises(InputError, match="hold 0 samples"):
        make_learner(spec_of(), backbone, num_classes, images, labels, [np.arange(0)], tests)
    with pytest.raises(InputError, match="0 are for testing"):
        make_learner(spec_of(), backbone, num_classes, images, labels, HOLDINGS, np.arange(0))


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), nn.BatchNorm1d(4)])
def test_layers_that_depend_on_grouping_must_be_frozen(layer: nn.Module) -> None:
    backbone, *rest = tiny_task()
    backbone.blocks[0].add_module("odd", layer)
    with pytest.raises(InputError, match=f"'0.odd' is {type(layer).__name__}"):
        make_learner(spec_of(trains="encoder"), backbone, *rest)
    make_learner(spec_of(trains="head"), backbone, *rest)

"""Split training with an auxiliary head: against two plain PyTorch models that never see each other's gradients."""

from __future__ import annotations

import copy
from typing import Any

import plain_rounds
import pytest
import torch
from plain_training import PlainModel, plain_loss
from test_rounds import same
from tiny_backbone import HOLDINGS, NUM_CLASSES, WIDTH, spec_of, tiny_backbone, tiny_samples, tiny_task
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.auxiliary import AuxiliaryLearner
from orbitune.learn.rounds import RoundRecord, train
from orbitune.learn.spec import LearnSpec
from orbitune.learn.task import make_task

SAMPLES = (*tiny_samples(), HOLDINGS)
PLAN = [[(0, 0, 0), (1, 0, 1), (0, 1, 2)], [(3, 0, 3), (1, 2, 4)], [(3, 4, 5)]]


class PlainFront(nn.Module):
    """The satellite's part behind its own head."""

    def __init__(self, model: PlainModel, cut: int, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.embedding, self.blocks = model.backbone.embedding, model.backbone.blocks[:cut]
        self.head = nn.Linear(WIDTH, NUM_CLASSES).double()
        self.head.load_state_dict({"weight": weight, "bias": bias})

    def activations(self, images: Tensor) -> Tensor:
        value = self.embedding(images)
        for block in self.blocks:
            value = block(value)
        return torch.as_tensor(value)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.activations(images).mean(dim=1)))


class PlainRest(nn.Module):
    """The server's part."""

    def __init__(self, model: PlainModel, cut: int) -> None:
        super().__init__()
        self.blocks, self.final, self.head = model.backbone.blocks[cut:], model.backbone.final, model.head

    def forward(self, value: Tensor) -> Tensor:
        for block in self.blocks:
            value = block(value)
        return torch.as_tensor(self.head(self.final(value)))


def optimizer_of(module: nn.Module, spec: LearnSpec) -> torch.optim.Optimizer:
    """PyTorch's own, the head of either part faster."""
    head = [value for name, value in module.named_parameters() if name.startswith("head.")]
    body = [value for name, value in module.named_parameters() if not name.startswith("head.")]
    rate, decay = spec.learning_rate, spec.weight_decay
    groups: list[dict[str, Any]] = [{"params": body}, {"params": head, "lr": rate * spec.head_rate_factor}]
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, spec.momentum, weight_decay=decay)
    return torch.optim.AdamW(groups, rate, weight_decay=decay)


def spec_with(**changes: object) -> LearnSpec:
    fields = {"learner": "auxiliary", "merge": "mix", "merge_rate": 0.6, "cut": 1, "batch_size": 34}
    return spec_of(**{**fields, "learning_rate": 0.02, **changes})


def learner_of(spec: LearnSpec) -> AuxiliaryLearner:
    return AuxiliaryLearner(make_task(spec, *tiny_task()))


def replay(spec: LearnSpec) -> tuple[AuxiliaryLearner, list[RoundRecord]]:
    learner, records = learner_of(spec), list[RoundRecord]()
    train(learner, 0.0, [0.0, 1.0, 2.0], 0, records.append, PLAN)
    return learner, records


def plain(spec: LearnSpec) -> tuple[PlainFront, PlainRest]:
    start = learner_of(spec).state()
    model = PlainModel(tiny_backbone(), start)
    front = PlainFront(model, spec.cut, start["model.auxiliary.weight"], start["model.auxiliary.bias"])
    rest = PlainRest(model, spec.cut)
    at_server = optimizer_of(rest, spec)
    versions = [copy.deepcopy(front.state_dict())]
    trained = dict.fromkeys(range(len(HOLDINGS)), 0)
    for k, base, average in (one for row in PLAN for one in row):
        local = copy.deepcopy(front)
        local.load_state_dict(versions[base])
        on_board = optimizer_of(local, spec)
        for step in range(trained[k] * spec.local_steps, (trained[k] + 1) * spec.local_steps):
            ids = plain_rounds.drawn(spec, SAMPLES, k, step)
            with torch.no_grad():
                sent = local.activations(SAMPLES[0][ids])
            for optimizer, module, inputs in ((on_board, local, SAMPLES[0][ids]), (at_server, rest, sent)):
                optimizer.zero_grad()
                torch.autograd.backward(plain_loss(module(inputs), SAMPLES[1][ids]))
                optimizer.step()
        trained[k] += 1
        alpha = spec.merge_rate * (1 + average - base) ** -0.5
        versions.append({n: (1 - alpha) * value + alpha * local.state_dict()[n] for n, value in versions[-1].items()})
    front.load_state_dict(versions[-1])
    return front, rest


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_it_equals_two_plain_models(cut: int, optimizer: str) -> None:
    spec = spec_with(cut=cut, optimizer=optimizer)
    learner, records = replay(spec)
    front, rest = plain(spec)
    images = SAMPLES[0][:7]
    with torch.no_grad():
        assert torch.allclose(learner.task.predict(images), rest(front.activations(images)), atol=1e-9)
        assert torch.allclose(learner.front["auxiliary.weight"], front.head.weight, atol=1e-9)
    assert [set(record.client_loss) for record in records[1:]] == [{0, 1}, {1, 3}, {3}]


def test_both_parts_learn() -> None:
    spec = spec_with(learning_rate=0.1, merge_rate=1.0)
    learner = learner_of(spec)
    before = learner.evaluate().loss
    losses = [learner.run_round(index).loss for index in range(12)]
    assert losses[-1] is not None and losses[0] is not None and losses[-1] < 0.7 * losses[0]
    assert learner.evaluate().loss < before


@pytest.mark.parametrize("stop", [1, 2])
def test_a_stopped_training_goes_on_bit_for_bit(stop: int) -> None:
    spec = spec_with(optimizer="adamw", update_codec="top10", codec="fp16")
    whole, _ = replay(spec)
    first, states = learner_of(spec), []
    train(first, 0.0, [0.0, 1.0, 2.0], 0, lambda record: states.append(first.state()), PLAN)
    resumed = learner_of(spec)
    resumed.load_state(states[stop])
    train(resumed, 0.0, [0.0, 1.0, 2.0], stop, lambda record: None, PLAN)
    assert same(resumed.state(), whole.state())


def test_activations_come_down_once_and_no_gradient_goes_up() -> None:
    learner, _ = replay(spec_with())
    batches = [len(plain_rounds.drawn(learner.spec, SAMPLES, k, 0)) for row in PLAN for k, *_ in row]
    used = sum(batches) * learner.spec.local_steps
    assert learner.wire.sent_bytes["embedding"] == used * 4 * WIDTH * 8  # four tokens; the tiny model is in fp64
    assert sum(learner.wire.sent_bytes.values()) == learner.wire.sent_bytes["embedding"]


@pytest.mark.parametrize("changes", [{"trains": "head"}, {"trains": "encoder", "cut": 0}])
def test_a_front_that_never_changes_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="nothing trains in front"):
        learner_of(spec_with(**changes))

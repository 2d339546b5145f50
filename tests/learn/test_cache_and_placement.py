"""Caches and placements change what crosses, to the byte, and never a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from plain_training import PlainModel, central_training, federated_averaging, largest_absolute_difference
from tiny_backbone import (
    HOLDINGS,
    NUM_CLASSES,
    NUM_TOKENS,
    TEST_IDS,
    WIDTH,
    spec_of,
    tiny_backbone,
    tiny_samples,
    tiny_task,
)
from torch import Tensor, nn
from worlds import WORLDS, run

from orbitune.cost.transfer import wire_bytes
from orbitune.errors import InputError, RunError
from orbitune.imagery.batches import draw, first_uses
from orbitune.learn.aggregate import Tensors
from orbitune.learn.features import Kept
from orbitune.learn.learners import TaskLearner
from orbitune.learn.rounds import Learner, make_learner
from orbitune.learn.spec import LearnSpec

EMBEDDING, FEATURE = (NUM_TOKENS, WIDTH), (WIDTH,)
ALLOWED = {"head": ("features", "embeddings"), "lora": ("embeddings",), "encoder": ("embeddings",)}
CACHED = [(trains, cache) for trains, caches in ALLOWED.items() for cache in caches]


def numbers(learner: Learner) -> Tensors:
    """All of the state but what was sent."""
    counters = ("sent_bytes.", "samples.")
    return {name: value for name, value in learner.state().items() if not name.startswith(counters)}


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


# ----------------------------------------------------------------------------------------------- caches


@pytest.mark.parametrize("codec", ["fp32", "int8"])
@pytest.mark.parametrize(("trains", "cache"), CACHED)
@pytest.mark.parametrize("model", ["tiny", "vit"])
def test_a_cache_changes_no_bit(model: str, trains: str, cache: str, codec: str) -> None:
    world = WORLDS[model]
    changes: dict[str, object] = {"trains": trains, "codec": codec, "optimizer": "adamw", "cuts": (1,)}
    plain, cached = (world.learner(torch.float32, cache=name, **changes) for name in ("none", cache))
    for round_index in range(4):
        assert plain.run_round(round_index) == cached.run_round(round_index)
    assert same(numbers(plain), numbers(cached))
    assert plain.evaluate() == cached.evaluate()
    assert cached.wire.sent_bytes["embedding"] < plain.wire.sent_bytes["embedding"]


def uses(spec: LearnSpec, num_rounds: int) -> tuple[int, int]:
    """Samples used in all, and for the first time, as planning counts them."""
    steps = num_rounds * spec.local_steps
    first = sum(int(first_uses(len(ids), spec.batch_size, steps, spec.seed, k).sum()) for k, ids in enumerate(HOLDINGS))
    return steps * sum(min(len(ids), spec.batch_size) for ids in HOLDINGS), first


@pytest.mark.parametrize("codec", ["fp32", "int8", "top50"])
@pytest.mark.parametrize(("trains", "cache"), [*CACHED, ("head", "none"), ("lora", "none")])
def test_a_cached_sample_crosses_once(trains: str, cache: str, codec: str) -> None:
    """Satellite 0 holds more than a batch, so some of its samples cross in the first round and some later."""
    spec = spec_of(trains=trains, cache=cache, codec=codec, batch_size=10, cuts=(2,), local_steps=1)
    learner = make_learner(spec, *tiny_task(torch.float32))
    for round_index in range(3):
        learner.run_round(round_index)
        every, first = uses(spec, round_index + 1)
        embedded = every if cache == "none" else first
        returned = first if cache == "features" else every
        expected = {
            "embedding": embedded * wire_bytes(EMBEDDING, codec),
            "activation": returned * wire_bytes(EMBEDDING, codec),
            "feature": returned * wire_bytes(FEATURE, codec),
        }
        if trains != "head":
            expected["feature_gradient"] = every * wire_bytes(FEATURE, codec)
            expected["activation_gradient"] = every * wire_bytes(EMBEDDING, codec)
        assert Counter(learner.wire.sent_bytes) == Counter(expected)
    assert first < every


def test_a_repeated_round_crosses_as_it_would_have() -> None:
    """What was kept is part of the state: a round that is undone and done again counts the same bytes."""
    spec = spec_of(trains="head", cache="features", batch_size=10)
    learner = make_learner(spec, *tiny_task(torch.float32))
    learner.run_round(0)
    before = learner.state()
    learner.run_round(1)
    after = learner.state()
    learner.load_state(before)
    learner.run_round(1)
    assert same(after, learner.state())
    other = make_learner(spec, *tiny_task(torch.float32))
    other.load_state(before)
    other.run_round(1)
    assert same(after, other.state())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trains": "lora", "cache": "features"}, "the encoder changes at every step.*cache = 'embeddings'"),
        ({"trains": "full", "cache": "features"}, "take trains = 'head', or cache = 'none'"),
        ({"trains": "full", "cache": "embeddings"}, "'full': the embedding trains"),
        ({"trains": "encoder", "cut": 1, "cache": "embeddings"}, "some of the 1 blocks on satellite 0 train"),
        ({"trains": "lora", "satellite_cuts": (0, 0, 0, 2), "cache": "embeddings"}, "the 2 blocks on satellite 3"),
        ({"trains": "full", "learner": "central", "cache": "embeddings"}, "the embedding trains"),
    ],
)
def test_a_cache_that_would_change_numbers_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_learner(spec_of(**changes), *tiny_task())


# ----------------------------------------------------------------------------- work done once for all


class Counting(nn.Module):
    """Counts the samples that go through it, for all its copies."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        Counting.seen += len(images)
        return images


@pytest.mark.parametrize(("trains", "num_once"), [("head", 84 + 1), ("encoder", 84 + 1)])
def test_frozen_pieces_work_once_for_all_rounds_and_trainings(trains: str, num_once: int) -> None:
    """54 samples held, 30 for testing, and one that shows the shape; no more, however long and however often."""
    backbone, *rest = tiny_task(torch.float32)
    backbone.embedding = nn.Sequential(Counting(), backbone.embedding)
    kept: Kept = {}
    Counting.seen = 0
    states = []
    for learner in ("central", "federated"):
        spec = spec_of(learner=learner, trains=trains)
        shared = run(make_learner(spec, backbone, *rest, kept), 6)
        shared.evaluate()
        assert Counting.seen == num_once
        states.append((spec, shared.state()))
    for spec, state in states:
        assert same(run(make_learner(spec, backbone, *rest), 6).state(), state)


def test_work_is_shared_only_where_it_is_the_same() -> None:
    kept: Kept = {}
    specs = [
        spec_of(trains="head", codec="int8"),
        spec_of(trains="head", codec="fp16"),
        spec_of(trains="head", codec="fp16", cut=1),
        spec_of(trains="encoder", codec="fp16"),
        spec_of(trains="encoder", codec="fp16", cut=1),
        spec_of(trains="encoder", learner="central"),  # the embedding stays on board in both: shared
    ]
    for spec in specs:
        shared = run(make_learner(spec, *tiny_task(torch.float32), kept), 2)
        assert same(shared.state(), run(make_learner(spec, *tiny_task(torch.float32)), 2).state())
    assert len(kept) == 5


@pytest.mark.parametrize("trains", ["head", "encoder"])
def test_noise_is_drawn_once_for_what_never_changes(trains: str) -> None:
    """The same sample crosses with the same noise at every use, with and without a cache, and other trainings do not
    get to see it; the noise of gradients is drawn anew."""
    kept: Kept = {}
    noise: dict[str, object] = {"noise_multiplier": 0.5, "noise_clip": 2.0}
    noisy = [
        make_learner(spec_of(trains=trains, **changes), *tiny_task(torch.float32), kept)
        for changes in (noise, {**noise, "cache": "embeddings"}, {})
    ]
    plain, cached, silent = (run(learner, 6) for learner in noisy)
    assert same(numbers(plain), numbers(cached))
    assert len(kept) == 2
    assert not same(numbers(plain), numbers(silent))
    assert same(silent.state(), run(make_learner(spec_of(trains=trains), *tiny_task(torch.float32)), 6).state())


# ------------------------------------------------------------------------------------------- placements


@pytest.mark.parametrize("trains", ["lora", "encoder", "full"])
def test_each_boundary_of_a_pipeline_is_crossed_both_ways(trains: str) -> None:
    spec = spec_of(trains=trains, codec="int8", cuts=(1, 2))
    learner = make_learner(spec, *tiny_task(torch.float32))
    learner.run_round(0)
    samples, _ = uses(spec, 1)
    tokens, features = samples * wire_bytes(EMBEDDING, "int8"), samples * wire_bytes(FEATURE, "int8")
    back = tokens if trains == "full" else 0
    expected = {"embedding": tokens, "activation": 2 * tokens, "feature": features}
    expected |= {"feature_gradient": features, "activation_gradient": 2 * tokens, "embedding_gradient": back}
    assert learner.wire.sent_bytes == expected


def test_a_satellite_skips_the_boundaries_that_it_has_passed_itself() -> None:
    """Satellites 0 and 1 hand over after the embedding, then block 1; satellite 3 after block 2 only."""
    spec = spec_of(trains="encoder", cuts=(1,), satellite_cuts=(0, 0, 1, 2))
    learner = make_learner(spec, *tiny_task(torch.float32))
    learner.run_round(0)
    tokens = 4 * NUM_TOKENS * WIDTH
    early, late = ([min(len(HOLDINGS[k]), spec.batch_size) * spec.local_steps for k in ks] for ks in ((0, 1), (3,)))
    sent = learner.wire.sent_bytes
    assert sent["embedding"] == (sum(early) + sum(late)) * tokens
    assert sent["activation"] == sent["activation_gradient"] == sum(early) * tokens
    assert sent["embedding_gradient"] == sum(late) * tokens  # only satellite 3 has blocks that train


@pytest.mark.parametrize("codec", ["int8", "fp16"])
def test_a_coarse_codec_costs_more_the_more_often_it_is_used(codec: str) -> None:
    """Every further boundary rounds again, so numbers move away from the exact ones, but training goes on."""
    exact = run(WORLDS["tiny"].learner(torch.float32), 6).state()
    coarse = run(WORLDS["tiny"].learner(torch.float32, codec=codec, cuts=(1, 2)), 6).state()
    name = "model.backbone.blocks.0.mlp.1.weight"
    assert 0 < (coarse[name] - exact[name]).norm() < 0.02 * exact[name].norm()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cut": 3}, "cut = 3: the model has 2 blocks; a cut lies between 0 and 2"),
        ({"cuts": (1, 5)}, "cut = 5"),
        ({"satellite_cuts": (0, 1, 7, 0)}, "cut = 7"),
        ({"satellite_cuts": (0, 1)}, "2 cuts of single satellites for 4 satellites"),
    ],
)
def test_cuts_must_be_those_of_the_model(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_learner(spec_of(**changes), *tiny_task())


# ------------------------------------------------------------------------------------------- other tasks


def labels_of(task: str) -> Tensor:
    source = np.random.default_rng(4)
    if task == "multilabel":
        return torch.from_numpy((source.random((84, NUM_CLASSES)) < 0.4).astype(np.float32))
    labels = source.integers(-1, NUM_CLASSES, size=(84, 8, 8))
    labels[:3] = -1
    return torch.from_numpy(labels)


@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
@pytest.mark.parametrize("trains", ["head", "lora", "full"])
@pytest.mark.parametrize("task", ["multilabel", "segmentation"])
def test_other_tasks_equal_plain_training_too(task: str, trains: str, server_encoder: str) -> None:
    """Over a pipeline with own cuts, against PyTorch's own losses and interpolation."""
    images, _ = tiny_samples()
    backbone, labels = tiny_backbone(dense=task == "segmentation"), labels_of(task)
    spec = spec_of(trains=trains, server_encoder=server_encoder, cuts=(1,), satellite_cuts=(0, 1, 0, 2), batch_size=12)
    learner = make_learner(spec, backbone, NUM_CLASSES, images, labels, HOLDINGS, TEST_IDS)
    plain = PlainModel(backbone, learner.state(), spec.lora_alpha)
    training = federated_averaging if spec.averages else central_training
    expected = training(plain, spec, (images, labels, HOLDINGS), 6)
    assert largest_absolute_difference(run(learner, 6).state(), expected) < 1e-9
    wanted = {"macro_f1"} | ({"miou"} if task == "segmentation" else set())
    assert learner.evaluate().metrics.keys() == wanted


# ---------------------------------------------------------------------------------- numbers that are none


def poisoned(learner: Learner, value: float) -> nn.Parameter:
    """The first weight of the last layer before the head, made infinite or none."""
    assert isinstance(learner, TaskLearner)
    weight = learner.task.model.backbone.blocks[1].mlp[3].weight  # type: ignore[index, union-attr]
    assert isinstance(weight, nn.Parameter)
    with torch.no_grad():
        weight[0, 0] = value
    return weight


@pytest.mark.parametrize("learner", ["split", "central", "federated"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_none_stop_before_a_weight_moves(learner: str, value: float) -> None:
    made = make_learner(spec_of(learner=learner), *tiny_task(torch.float32))
    poisoned(made, value)
    before = made.state()
    with pytest.raises(RunError, match=r"satellite 0.*: (feature|loss) is not finite .* learning_rate = 0.05 \(sgd\)"):
        made.run_round(0)
    moved = [name for name, old in before.items() if not torch.equal(made.state()[name].nan_to_num(), old.nan_to_num())]
    assert not [name for name in moved if name.startswith(("model.", "optimizer."))]


class Explosive(torch.autograd.Function):
    """Says x forward and infinity backward."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0] * float("inf")


class ExplosiveBlock(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.as_tensor(self.block(Explosive.apply(tokens)))


@pytest.mark.parametrize(
    ("learner", "tensor"), [("split", "embedding gradient"), ("central", r"gradient of backbone\.embedding\.place")]
)
def test_a_gradient_that_is_none_is_named(learner: str, tensor: str) -> None:
    backbone, *rest = tiny_task(torch.float32)
    backbone.blocks[0] = ExplosiveBlock(backbone.blocks[0])
    made = make_learner(spec_of(learner=learner), backbone, *rest)
    before = made.state()
    with pytest.raises(RunError, match=f"satellite 0.*: {tensor} is not finite in a batch of"):
        made.run_round(0)
    moved = [name for name, old in before.items() if not torch.equal(made.state()[name], old)]
    assert not [name for name in moved if name.startswith(("model.", "optimizer."))]


def test_images_must_be_finite() -> None:
    backbone, num_classes, images, labels, holdings, tests = tiny_task()
    images[17, 0, 3, 3] = float("nan")
    with pytest.raises(InputError, match="image 17 holds values that are not finite"):
        make_learner(spec_of(), backbone, num_classes, images, labels, holdings, tests)


def test_first_uses_are_those_of_the_draws() -> None:
    """The two counts that the bytes above stand on agree: drawing step by step, and planning's own."""
    seen: Sequence[set[int]] = [set() for _ in HOLDINGS]
    for k, ids in enumerate(HOLDINGS):
        found = []
        for step in range(12):
            drawn = set(draw(ids, 10, step, 3, k).tolist())
            found.append(len(drawn - seen[k]))
            seen[k].update(drawn)
        assert found == first_uses(len(ids), 10, 12, 3, k).tolist()

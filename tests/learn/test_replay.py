"""Who takes part and from which weights: against plain PyTorch, and the laws of the merge."""

from __future__ import annotations

import numpy as np
import plain_rounds
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_training import PlainModel, largest_absolute_difference
from test_rounds import same
from tiny_backbone import HOLDINGS, spec_of, tiny_backbone, tiny_samples, tiny_task

from orbitune.errors import InputError, RunError
from orbitune.learn.replay import depth_of
from orbitune.learn.rounds import Learner, RoundRecord, make_learner, train
from orbitune.learn.spec import LearnSpec

SAMPLES = (*tiny_samples(), HOLDINGS)
HOLDERS = (0, 1, 3)

STALE = [[(0, 0), (1, 0), (3, 0)], [(3, 0), (0, 1)], [(1, 1)], [(0, 3), (1, 1), (3, 2)], [], [(0, 4), (3, 3)]]
"""Everybody; one late; one alone and late; three ages at once; nobody; and on."""

KINDS = [
    {"server_encoder": "shared", "cut": 1},
    {"server_encoder": "per_client", "cut": 1},
    {"trains": "head"},
    {"learner": "federated"},
    {"learner": "central"},
]


def replay(spec: LearnSpec, participation: list[list[tuple[int, int]]]) -> tuple[Learner, list[RoundRecord]]:
    learner, records = make_learner(spec, *tiny_task()), list[RoundRecord]()
    train(learner, 0.0, [float(end) for end in range(len(participation))], 0, records.append, participation)
    return learner, records


def oracle(spec: LearnSpec, participation: list[list[tuple[int, int]]]) -> PlainModel:
    model = PlainModel(tiny_backbone(), make_learner(spec, *tiny_task()).state())
    rounds = plain_rounds.averaging_rounds if spec.averages else plain_rounds.union_rounds
    return rounds(model, spec, SAMPLES, participation)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_stale_and_partial_rounds_equal_plain_ones(optimizer: str, kind: dict[str, str]) -> None:
    spec = spec_of(optimizer=optimizer, learning_rate=0.02, batch_size=8, **kind)
    learner, records = replay(spec, STALE)
    assert largest_absolute_difference(learner.state(), oracle(spec, STALE)) < 1e-9
    assert [set(record.client_loss) for record in records[1:]] == [{k for k, _ in pairs} for pairs in STALE]
    assert records[5].loss is None and records[5].test_loss == records[4].test_loss  # nobody: nothing moves


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_fresh_is_the_plain_round_bit_for_bit(kind: dict[str, str]) -> None:
    spec = spec_of(**kind)
    fresh = [[(k, index) for k in (3, 2, 0, 1)] for index in range(3)]  # satellite 2 holds nothing
    plain = make_learner(spec, *tiny_task())
    for index in range(3):
        plain.run_round(index)
    assert same(replay(spec, fresh)[0].state(), plain.state())


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_plan_equals_plain_rounds(data: st.DataObject) -> None:
    """Any subset of satellites, any age, for heads on features."""
    plan = [
        [(k, data.draw(st.integers(max(0, index - 3), index))) for k in data.draw(st.sets(st.sampled_from(HOLDERS)))]
        for index in range(4)
    ]
    spec = spec_of(trains="head", local_steps=1, batch_size=5)
    assert largest_absolute_difference(replay(spec, plan)[0].state(), oracle(spec, plan)) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_old_weights_are_kept_as_long_as_needed_and_no_longer(kind: dict[str, str]) -> None:
    learner, _ = replay(spec_of(**kind), STALE)
    kept = {name.split(".")[1] for name in learner.state() if name.startswith("past.")}
    assert depth_of(STALE) == 2 and kept == {"4", "5"}
    fresh, _ = replay(spec_of(**kind), [[(0, index)] for index in range(3)])
    assert not [name for name in fresh.state() if name.startswith("past.")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [1, 4])
def test_a_stopped_replay_goes_on_bit_for_bit(stop: int, kind: dict[str, str]) -> None:
    spec = spec_of(optimizer="adamw", learning_rate=0.01, server_optimizer="adam", update_codec="top10", **kind)
    whole, _ = replay(spec, STALE)
    ends = [float(end) for end in range(len(STALE))]
    first = make_learner(spec, *tiny_task())
    states = []
    train(first, 0.0, ends, 0, lambda record: states.append(first.state()), STALE)
    resumed = make_learner(spec, *tiny_task())
    resumed.load_state(states[stop])
    train(resumed, 0.0, ends, stop, lambda record: None, STALE)
    assert same(resumed.state(), whole.state())


@pytest.mark.parametrize(
    ("pairs", "said"),
    [([(0, 2)], "satellite 0 with base 2"), ([(1, 0), (1, 1)], "satellite 1"), ([(0, -1)], "base -1")],
)
def test_an_impossible_plan_is_refused(pairs: list[tuple[int, int]], said: str) -> None:
    learner = make_learner(spec_of(), *tiny_task())
    with pytest.raises(InputError, match=said):
        learner.run_round(1, pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_gone_are_missed(kind: dict[str, str]) -> None:
    learner = make_learner(spec_of(**kind), *tiny_task())
    learner.run_round(0)
    with pytest.raises(RunError, match=r"starts from average 0; kept are \[\]"):
        learner.run_round(1, [(0, 0)])


# ------------------------------------------------------------------------------------ compressed changes


@pytest.mark.parametrize("codec", ["int8", "top10"])
@pytest.mark.parametrize("kind", KINDS[:4])
def test_changes_go_through_the_compressor_with_memory(codec: str, kind: dict[str, str]) -> None:
    """Only of what satellites hold; what the server holds moves exactly."""
    from orbitune.learn.update_codec import Compressor

    spec = spec_of(update_codec=codec, batch_size=8, **kind)
    everything = spec.learner == "federated"
    on_board = ("head.", "backbone.embedding.", "backbone.blocks.0.") if spec.cut else ("head.", "backbone.embedding.")
    compressor = Compressor(codec)

    def send(satellite: int, change: plain_rounds.State) -> plain_rounds.State:
        crossing = {name: value for name, value in change.items() if everything or name.startswith(on_board)}
        return {**change, **compressor.cross(satellite, crossing)}

    model = PlainModel(tiny_backbone(), make_learner(spec, *tiny_task()).state())
    rounds = plain_rounds.averaging_rounds if spec.averages else plain_rounds.union_rounds
    expected = rounds(model, spec, SAMPLES, STALE, send=send)
    learner, _ = replay(spec, STALE)
    assert largest_absolute_difference(learner.state(), expected) < 1e-6
    assert int(learner.state()["sent_bytes.update"]) == compressor.sent_bytes > 0
    exact, _ = replay(spec_of(batch_size=8, **kind), STALE)
    assert not torch.equal(learner.state()["model.head.weight"], exact.state()["model.head.weight"])


def test_central_training_sends_no_updates() -> None:
    plain, _ = replay(spec_of(learner="central"), STALE)
    compressed, _ = replay(spec_of(learner="central", update_codec="top1"), STALE)
    assert same(plain.state(), compressed.state())


def test_error_feedback_brings_sparse_updates_home() -> None:
    """With one value in ten a round, training still reaches nearly the loss of exact updates."""
    losses = {}
    for codec in ("fp32", "top10"):
        learner = make_learner(spec_of(trains="head", update_codec=codec, learning_rate=0.1), *tiny_task())
        losses[codec] = [learner.run_round(index).loss for index in range(30)]
    assert np.mean(losses["top10"][-5:]) < 1.1 * np.mean(losses["fp32"][-5:])

"""FedAsync, FedBuff and FedSpace on the server: against plain PyTorch loops, one formula of a paper each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import plain_rounds
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_training import PlainModel, largest_absolute_difference
from test_rounds import same
from tiny_backbone import HOLDINGS, spec_of, tiny_backbone, tiny_samples, tiny_task

from orbitune.errors import InputError
from orbitune.learn.merge import staleness_factor
from orbitune.learn.replay import depth_of
from orbitune.learn.rounds import Learner, RoundRecord, make_learner, train
from orbitune.learn.spec import LearnSpec

SAMPLES = (*tiny_samples(), HOLDINGS)
HOLDERS = (0, 1, 3)

Plan = list[list[tuple[int, int, int]]]
State = plain_rounds.State

ONE_BY_ONE: Plan = [
    [(0, 0, 0), (0, 1, 1), (1, 0, 2)],  # satellite 0 twice before the others came
    [(3, 0, 3), (1, 3, 4), (3, 4, 5)],
    [(0, 2, 6), (3, 6, 7), (1, 5, 8)],
]
"""Every arrival is an average (satellite, base, average); everybody trains three times in all."""

BUFFERED: Plan = [
    [(0, 0, 0), (1, 0, 0)],
    [(3, 0, 1), (1, 1, 1), (0, 1, 2)],
    [(3, 2, 3), (0, 3, 3), (1, 2, 3)],
    [(3, 4, 4)],
]
"""Two, two, one; three ages at once; one alone at the end."""


def server_step(spec: LearnSpec, current: State, arrived: Sequence[tuple[State, State, int, int]]) -> State:
    """Textbook: for each arrival its local weights, the weights it started from, samples and staleness."""

    def s(late: int) -> float:
        a, b = spec.staleness_decay, spec.staleness_free
        if spec.staleness_weight == "polynomial":
            return float((late + 1) ** -a)
        return 1.0 if spec.staleness_weight == "constant" or late <= b else 1 / (a * (late - b) + 1)

    if spec.merge == "mix":
        ((local, _, _, late),) = arrived
        alpha = spec.merge_rate * s(late)
        return {name: (1 - alpha) * value + alpha * local[name] for name, value in current.items()}
    samples = sum(count for _, _, count, _ in arrived)
    weights = [s(late) * count / samples for _, _, count, late in arrived]
    if spec.merge == "weighted":
        weights = [weight / sum(weights) for weight in weights]
    moved = {}
    for name, value in current.items():
        changes = [local[name] - start[name] for local, start, _, _ in arrived]
        step = sum((weight * one for weight, one in zip(weights, changes, strict=True)), torch.zeros(()))
        moved[name] = value + spec.merge_rate * step
    return moved


def plain(spec: LearnSpec, plan: Plan) -> PlainModel:
    """Every satellite trains by itself, from the weights it holds, on its own next batches."""
    model = PlainModel(tiny_backbone(), make_learner(spec, *tiny_task()).state())
    versions = [copy.deepcopy(model.state_dict())]
    trained = dict.fromkeys(range(len(HOLDINGS)), 0)
    factors = plain_rounds.scheduled_factors(spec, 100 if spec.schedule == "constant" else spec.num_steps)
    flat = [one for row in plan for one in row]
    for average in sorted({average for *_, average in flat}):
        arrived = []
        for k, base, _ in sorted(one for one in flat if one[2] == average):
            local = copy.deepcopy(model)
            local.load_state_dict(versions[base])
            steps = range(trained[k] * spec.local_steps, (trained[k] + 1) * spec.local_steps)
            plain_rounds.train_locally(local, spec, SAMPLES, k, steps, factors)
            trained[k] += 1
            count = len(plain_rounds.drawn(spec, SAMPLES, k, 0)) * spec.local_steps
            arrived.append((local.state_dict(), versions[base], count, average - base))
        versions.append(server_step(spec, versions[-1], arrived))
    model.load_state_dict(versions[-1])
    return model


def replay(spec: LearnSpec, plan: Plan) -> tuple[Learner, list[RoundRecord]]:
    learner, records = make_learner(spec, *tiny_task()), list[RoundRecord]()
    train(learner, 0.0, [float(end) for end in range(len(plan))], 0, records.append, plan)
    return learner, records


def asynchronous(merge: str, **changes: object) -> LearnSpec:
    return spec_of(**{"learner": "federated", "merge": merge, "batch_size": 8, "learning_rate": 0.02, **changes})


WEIGHTS = [
    {"staleness_weight": "constant"},
    {"staleness_weight": "polynomial", "staleness_decay": 0.5},
    {"staleness_weight": "hinge", "staleness_decay": 10.0, "staleness_free": 1},
]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_fedasync_is_the_mixing_of_its_paper(optimizer: str, weight: dict[str, object]) -> None:
    spec = asynchronous("mix", optimizer=optimizer, merge_rate=0.6, prox_mu=0.1, **weight)
    learner, records = replay(spec, ONE_BY_ONE)
    assert largest_absolute_difference(learner.state(), plain(spec, ONE_BY_ONE)) < 1e-9
    assert [set(record.client_loss) for record in records[1:]] == [{k for k, *_ in row} for row in ONE_BY_ONE]


@pytest.mark.parametrize("merge", ["buffer", "weighted"])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("trains", ["full", "head"])
def test_fedbuff_and_fedspace_step_by_the_changes(trains: str, weight: dict[str, object], merge: str) -> None:
    """Heads train together in one stack, whole models one after the other."""
    spec = asynchronous(merge, trains=trains, merge_rate=0.7, **weight)
    learner, _ = replay(spec, BUFFERED)
    assert largest_absolute_difference(learner.state(), plain(spec, BUFFERED)) < 1e-9


@pytest.mark.parametrize("merge", ["buffer", "weighted"])
def test_everybody_fresh_with_rate_one_is_federated_averaging(merge: str) -> None:
    together = [[(k, index, index) for k in HOLDERS] for index in range(3)]
    plain_average = make_learner(asynchronous("mean"), *tiny_task())
    for index in range(3):
        plain_average.run_round(index)
    state = replay(asynchronous(merge), together)[0].state()
    for name, value in plain_average.state().items():
        if name.startswith("model."):
            assert torch.allclose(state[name], value, atol=1e-12)


def test_everybody_fresh_is_what_no_plan_means() -> None:
    spec = asynchronous("weighted", trains="head")
    silent = make_learner(spec, *tiny_task())
    for index in range(3):
        silent.run_round(index)
    together = [[(k, index, index) for k in HOLDERS] for index in range(3)]
    assert same(replay(spec, together)[0].state(), silent.state())


def test_schedules_follow_each_satellite() -> None:
    """Who trains for the third time is in its third round, whatever round it is for the others."""
    spec = asynchronous("mix", schedule="linear", rounds=3, merge_rate=0.5)
    learner, _ = replay(spec, ONE_BY_ONE)
    assert largest_absolute_difference(learner.state(), plain(spec, ONE_BY_ONE)) < 1e-9


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_any_plan_equals_the_plain_loop(data: st.DataObject) -> None:
    merge = data.draw(st.sampled_from(["buffer", "weighted"]))
    plan: Plan = []
    average = 0
    for _ in range(3):
        row = []
        for _ in range(data.draw(st.integers(1, 3))):
            who = sorted(data.draw(st.sets(st.sampled_from(HOLDERS), min_size=1)))
            row += [(k, data.draw(st.integers(max(0, average - 3), average)), average) for k in who]
            average += 1
        plan.append(row)
    spec = asynchronous(merge, trains="head", local_steps=1, batch_size=5)
    assert largest_absolute_difference(replay(spec, plan)[0].state(), plain(spec, plan)) < 1e-9


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("codec", ["fp32", "top10"])
def test_a_stopped_training_goes_on_bit_for_bit(codec: str, stop: int) -> None:
    spec = asynchronous("mix", merge_rate=0.6, update_codec=codec, server_optimizer="adam")
    whole, _ = replay(spec, ONE_BY_ONE)
    ends = [0.0, 1.0, 2.0]
    first, states = make_learner(spec, *tiny_task()), []
    train(first, 0.0, ends, 0, lambda record: states.append(first.state()), ONE_BY_ONE)
    resumed = make_learner(spec, *tiny_task())
    resumed.load_state(states[stop])
    train(resumed, 0.0, ends, stop, lambda record: None, ONE_BY_ONE)
    assert same(resumed.state(), whole.state())


def test_old_weights_are_kept_by_averages_not_by_rounds() -> None:
    assert depth_of(ONE_BY_ONE) == 4
    learner, _ = replay(asynchronous("mix"), ONE_BY_ONE)
    assert {name.split(".")[1] for name in learner.state() if name.startswith("past.")} == {"5", "6", "7", "8"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([(0, 0, 1)], "averages \\[1\\] after 0"),
        ([(0, 1, 0)], "satellite 0 with base 1"),
        ([(0, 0, 0), (0, 0, 0)], "satellite 0"),
    ],
)
def test_an_impossible_plan_is_refused(row: list[tuple[int, int, int]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_learner(asynchronous("mix"), *tiny_task()).run_round(0, row)


def test_triples_are_refused_where_everybody_waits() -> None:
    with pytest.raises(InputError, match="satellite 0"):
        make_learner(spec_of(learner="federated"), *tiny_task()).run_round(0, [(0, 0, 0)])


@given(st.integers(0, 1000), st.floats(0.0, 20.0), st.integers(0, 20))
def test_staleness_weighs_less_and_less(late: int, decay: float, free: int) -> None:
    def factor(weight: str) -> Callable[[int], float]:
        spec = spec_of(staleness_weight=weight, staleness_decay=decay, staleness_free=free)
        return lambda t: staleness_factor(spec, t)

    for weight in ("constant", "polynomial", "hinge"):
        s = factor(weight)
        assert s(0) == 1.0
        assert 0.0 <= s(late + 1) <= s(late) <= 1.0
    assert factor("hinge")(free) == 1.0

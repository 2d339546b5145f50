"""Schedules, accumulation, FedProx, FedAdam, half precision: against PyTorch's own and plain loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plain_rounds
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_training import PlainModel, largest_absolute_difference
from test_rounds import same
from tiny_backbone import HOLDINGS, spec_of, tiny_backbone, tiny_samples, tiny_task
from torch import Tensor

from orbitune.errors import InputError
from orbitune.imagery.batches import draw
from orbitune.learn.draws import Draws
from orbitune.learn.precision import check_precision
from orbitune.learn.rounds import Learner, make_learner
from orbitune.learn.schedule import rate_factor
from orbitune.learn.spec import LearnSpec

NUM_ROUNDS = 3
SAMPLES = (*tiny_samples(), HOLDINGS)


def run(spec: LearnSpec, dtype: torch.dtype = torch.float64) -> Learner:
    learner = make_learner(spec, *tiny_task(dtype))
    for round_index in range(NUM_ROUNDS):
        learner.run_round(round_index)
    return learner


def oracle(spec: LearnSpec, server: plain_rounds.Server = plain_rounds.plain_average) -> PlainModel:
    model = PlainModel(tiny_backbone(), make_learner(spec, *tiny_task()).state())
    everybody = [plain_rounds.everybody(SAMPLES, index) for index in range(NUM_ROUNDS)]
    if spec.averages:
        return plain_rounds.averaging_rounds(model, spec, SAMPLES, everybody, server)
    return plain_rounds.union_rounds(model, spec, SAMPLES, everybody)


# ------------------------------------------------------------------------------------------- schedules


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(2, 8) | st.just(0),
)
def test_schedules_are_those_of_torch(schedule: str, rounds: int, local_steps: int, warmup: int) -> None:
    total = rounds * local_steps
    spec = spec_of(schedule=schedule, rounds=rounds, local_steps=local_steps, warmup_steps=min(warmup, total // 2 * 2))
    if spec.warmup_steps in (0, total):
        return  # nothing to compare: a scheduler of torch has at least one step
    factors = [rate_factor(spec, step) for step in range(total)]
    assert factors == pytest.approx(plain_rounds.scheduled_factors(spec, total), abs=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_schedule_begins_at_the_full_rate_and_a_falling_one_ends_at_zero(schedule: str) -> None:
    spec = spec_of(schedule=schedule, rounds=5, local_steps=2)
    assert rate_factor(spec, 0) == 1
    assert rate_factor(spec, 10) == pytest.approx(1 if schedule == "constant" else 0)
    assert rate_factor(spec, 11) == rate_factor(spec, 10)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
def test_training_follows_the_schedule(server_encoder: str, optimizer: str, schedule: str) -> None:
    """Over the whole run, also where every round has a fresh optimiser."""
    changes = {"schedule": schedule, "warmup_steps": 3, "rounds": NUM_ROUNDS, "learning_rate": 0.01}
    spec = spec_of(server_encoder=server_encoder, optimizer=optimizer, **changes)
    assert largest_absolute_difference(run(spec).state(), oracle(spec)) < 1e-9


# ---------------------------------------------------------------------------------------- accumulation


@pytest.mark.parametrize("changes", [{}, {"server_encoder": "per_client"}, {"trains": "head"}])
def test_accumulated_batches_are_one_batch(changes: dict[str, str]) -> None:
    """Of all their samples, wherever the epochs end."""
    spec = spec_of(accumulate=3, batch_size=7, optimizer="adamw", learning_rate=0.01, **changes)
    learner = run(spec)
    assert largest_absolute_difference(learner.state(), oracle(spec)) < 1e-9


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(1, 3),
    st.lists(st.integers(0, 40), min_size=1, max_size=12),
)
def test_remembered_epochs_give_what_is_drawn_one_by_one(
    sizes: list[int], batch_size: int, accumulate: int, steps: list[int]
) -> None:
    """In any order of steps: a resumed run begins in the middle."""
    ends = np.cumsum(sizes)
    holdings = [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    draws = Draws(spec_of(batch_size=batch_size, accumulate=accumulate), holdings, torch.device("cpu"))
    for step in steps:
        for satellite, ids in enumerate(holdings):
            found = [batch.ids.tolist() for batch in draws.step(satellite, step)]
            numbers = range(step * accumulate, (step + 1) * accumulate)
            assert found == [draw(ids, batch_size, number, 3, satellite).tolist() for number in numbers]


# -------------------------------------------------------------------------------------------- FedProx


@pytest.mark.parametrize("trains", ["head", "full"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_prox_is_a_quadratic_in_the_loss(optimizer: str, trains: str) -> None:
    spec = spec_of(
        server_encoder="per_client", optimizer=optimizer, trains=trains, prox_mu=0.7, local_steps=3, learning_rate=0.02
    )
    assert largest_absolute_difference(run(spec).state(), oracle(spec)) < 1e-9


def test_a_strong_pull_holds_satellites_back() -> None:
    def moved(prox_mu: float) -> float:
        spec = spec_of(trains="head", prox_mu=prox_mu, local_steps=10, momentum=0.0)
        learner = make_learner(spec, *tiny_task())
        before = learner.state()
        learner.run_round(0)
        return float((learner.state()["model.head.weight"] - before["model.head.weight"]).norm())

    assert moved(0.0) > moved(3.0) > moved(9.0)


# -------------------------------------------------------------------------------------------- FedAdam


class NumpyAdam:
    """arXiv:2003.00295, algorithm 2, in NumPy."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.m: dict[str, np.ndarray] = {}
        self.v: dict[str, np.ndarray] = {}

    def __call__(self, current: dict[str, Tensor], change: dict[str, Tensor]) -> dict[str, Tensor]:
        after = dict(current)
        for name, tensor in change.items():
            delta = tensor.numpy()
            m = self.m[name] = 0.9 * self.m.get(name, 0.0 * delta) + 0.1 * delta
            v = self.v[name] = 0.99 * self.v.get(name, 0.0 * delta + 1e-6) + 0.01 * delta**2
            after[name] = torch.from_numpy(current[name].numpy() + self.rate * m / (np.sqrt(v) + 1e-3))
        return after


@pytest.mark.parametrize("changes", [{"server_encoder": "per_client"}, {"trains": "head"}, {"learner": "federated"}])
def test_fedadam(changes: dict[str, str]) -> None:
    spec = spec_of(server_optimizer="adam", server_rate=0.02, **changes)
    assert largest_absolute_difference(run(spec).state(), oracle(spec, NumpyAdam(0.02))) < 1e-9


def test_learners_that_do_not_average_have_no_server_step() -> None:
    plain = run(spec_of()).state()
    assert same(run(spec_of(server_optimizer="adam", prox_mu=1.0)).state(), plain)


# ------------------------------------------------------------------------------------- half precision


@pytest.mark.parametrize(
    "changes", [{}, {"server_encoder": "per_client"}, {"learner": "federated"}, {"trains": "head"}]
)
def test_bf16_is_near_fp32_and_keeps_fp32_weights(changes: dict[str, str]) -> None:
    fp32 = run(spec_of(**changes), torch.float32)
    bf16 = run(spec_of(precision="bf16", **changes), torch.float32)
    ours, exact = bf16.state(), fp32.state()
    moved = {name: value for name, value in exact.items() if name.startswith("model.") and "key.bias" not in name}
    for name, value in moved.items():
        assert ours[name].dtype == torch.float32
        assert 0 < (ours[name] - value).norm() / value.norm() < 0.05, name
    assert bf16.evaluate().loss == pytest.approx(fp32.evaluate().loss, rel=0.05)


def test_a_device_without_bf16_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"precision = 'bf16': the device 'mps' has no bfloat16; take precision = 'fp32'"
    ):
        check_precision("bf16", torch.device("mps"))
    check_precision("bf16", torch.device("cpu"))
    check_precision("fp32", torch.device("mps"))


@pytest.mark.parametrize("cuts", [(), (1,)])
def test_losses_are_whole_numbers_of_the_loss_in_fp32(cuts: Sequence[int]) -> None:
    """The loss itself is not rounded to eight bits."""
    learner = make_learner(spec_of(precision="bf16", cuts=tuple(cuts)), *tiny_task(torch.float32))
    batch = learner.draws.step(0, 0)[0]  # type: ignore[attr-defined]
    assert learner.gradients(batch).dtype == torch.float32  # type: ignore[attr-defined]

"""Rounds in plain PyTorch: who takes part, from which weights, with what schedule, pull and server step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from plain_training import PlainModel, Samples, new_optimizer, plain_loss, plain_name
from torch import Tensor, nn
from torch.optim import lr_scheduler

from orbitune.imagery.batches import draw
from orbitune.learn.spec import LearnSpec

Pairs = Sequence[tuple[int, int]]
State = dict[str, Tensor]
Server = Callable[[State, State], State]
Send = Callable[[int, State], State]


def scheduled_factors(spec: LearnSpec, num_steps: int) -> list[float]:
    """The learning rate of every step by PyTorch's own schedulers, from 1.0; at least two steps of warm-up, or none."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    falling = spec.rounds * spec.local_steps - spec.warmup_steps
    after: lr_scheduler.LRScheduler = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, 1.0),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, falling),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, falling),
    }[spec.schedule]()
    if spec.warmup_steps:
        rising = lr_scheduler.LinearLR(optimizer, 1 / spec.warmup_steps, 1.0, spec.warmup_steps - 1)
        after = lr_scheduler.SequentialLR(optimizer, [rising, after], [spec.warmup_steps])
    factors = []
    for _ in range(num_steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        after.step()
    return factors


def drawn(spec: LearnSpec, samples: Samples, satellite: int, step: int) -> NDArray[np.int64]:
    """All samples of a satellite at an optimiser step, accumulated batches joined to one."""
    batches = range(step * spec.accumulate, (step + 1) * spec.accumulate)
    return np.concatenate([draw(samples[2][satellite], spec.batch_size, b, spec.seed, satellite) for b in batches])


def everybody(samples: Samples, round_index: int) -> Pairs:
    return [(k, round_index) for k, ids in enumerate(samples[2]) if len(ids)]


def plain_average(current: State, change: State) -> State:
    return {name: value + change.get(name, torch.zeros(())) for name, value in current.items()}


def at_once(satellite: int, change: State) -> State:
    return change


def averaging_rounds(
    model: PlainModel,
    spec: LearnSpec,
    samples: Samples,
    participation: Sequence[Pairs],
    server: Server = plain_average,
    send: Send = at_once,
) -> PlainModel:
    """Local training from the weights each holds; the mean change, weighted by samples, goes to the server."""
    factors = scheduled_factors(spec, len(participation) * spec.local_steps)
    versions = [copy.deepcopy(model.state_dict())]
    for index, pairs in enumerate(participation):
        steps = range(index * spec.local_steps, (index + 1) * spec.local_steps)
        changes, weights = [], []
        for k, base in sorted(pairs):
            local = copy.deepcopy(model)
            local.load_state_dict(versions[base])
            train_locally(local, spec, samples, k, steps, factors)
            names = [name for name, value in local.named_parameters() if value.requires_grad]
            after = local.state_dict()
            changes.append(send(k, {name: after[name] - versions[base][name] for name in names}))
            weights.append(len(drawn(spec, samples, k, 0)))
        share = [weight / sum(weights) for weight in weights]
        mean = {
            name: sum((w * one[name] for w, one in zip(share, changes, strict=True)), torch.zeros(()))
            for name in (changes[0] if changes else {})
        }
        versions.append(server(versions[-1], mean) if changes else versions[-1])
    model.load_state_dict(versions[-1])
    return model


def train_locally(
    local: PlainModel, spec: LearnSpec, samples: Samples, k: int, steps: range, factors: Sequence[float]
) -> None:
    optimizer = new_optimizer(local, spec)
    rates = [group["lr"] for group in optimizer.param_groups]
    start = [value.detach().clone() for value in local.parameters()]
    for step in steps:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factors[step]
        ids = drawn(spec, samples, k, step)
        optimizer.zero_grad()
        far = sum((value - first).square().sum() for value, first in zip(local.parameters(), start, strict=True))
        (plain_loss(local(samples[0][ids]), samples[1][ids]) + spec.prox_mu / 2 * far).backward()
        optimizer.step()


def union_rounds(
    model: PlainModel, spec: LearnSpec, samples: Samples, participation: Sequence[Pairs], send: Send = at_once
) -> PlainModel:
    """One optimiser; every satellite's gradient at the weights it holds, the mean over the samples of all."""
    factors = scheduled_factors(spec, len(participation) * spec.local_steps)
    optimizer = new_optimizer(model, spec)
    rates = [group["lr"] for group in optimizer.param_groups]
    versions = [copy.deepcopy(model.state_dict())]
    for index, pairs in enumerate(participation):
        for step in range(index * spec.local_steps, (index + 1) * spec.local_steps) if pairs else ():
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factors[step]
            optimizer.zero_grad()
            num_samples = sum(len(drawn(spec, samples, k, step)) for k, _ in pairs)
            for k, base in sorted(pairs):
                add_gradient(
                    model, versions[base] if base < index else model.state_dict(), spec, samples, k, step, send
                )
            for value in model.parameters():
                if value.grad is not None:
                    value.grad /= num_samples
            optimizer.step()
        versions.append(copy.deepcopy(model.state_dict()))
    return model


def add_gradient(
    model: PlainModel, at: Mapping[str, Tensor], spec: LearnSpec, samples: Samples, k: int, step: int, send: Send
) -> None:
    held = copy.deepcopy(model)
    held.load_state_dict(at)
    held.zero_grad()
    ids = drawn(spec, samples, k, step)
    (plain_loss(held(samples[0][ids]), samples[1][ids]) * len(ids)).backward()
    found = {name: value.grad for name, value in held.named_parameters() if value.grad is not None}
    sent = send(k, found)
    for name, value in model.named_parameters():
        if name in sent:
            value.grad = sent[name] if value.grad is None else value.grad + sent[name]


def start_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trained tensors in a learner's state by the oracle's names."""
    return {plain_name(name): value for name, value in state.items() if name.startswith("model.")}

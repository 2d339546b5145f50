"""Many satellites' local steps at once, where what trains is small: one stack of weights, one operation for all.

A step of a small model costs less arithmetic than it costs to start its operations, so satellites are stacked (see
`stacked`). Sums over samples are grouped otherwise than in the loop over satellites, so results agree with it up to
rounding; they repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from orbitune.learn.aggregate import Contribution, Tensors, copy_of, write_into
from orbitune.learn.client import Batch, SatelliteLosses, make_optimizer, proximal_pull, take_step
from orbitune.learn.draws import Draws
from orbitune.learn.precision import arithmetic
from orbitune.learn.schedule import rate_factor
from orbitune.learn.split import CutModel
from orbitune.learn.stacked import apart, can_stack, side_by_side, stacked, write_stack
from orbitune.learn.task import Task

MOST_VALUES = 1_000_000
"""Larger models are busy with arithmetic in the loop already."""

STACK_BYTES = 12 * 2**20
"""What weights, their gradients and optimiser memory, and one batch of inputs may take at once. Measured, one thread:
a round of LeNet on 40 satellites takes 0.71 s of processor time with 2.5 MiB, 0.52 s with 12 and 0.66 s with 32."""


def pays(task: Task) -> bool:
    """Whether satellites train faster together: a small model, and nothing crosses while they train.

    A model's own code may do what mixes satellites that lie side by side; whether it does is tried on random images.
    """
    running = [*task.model.pieces[task.num_frozen :], task.model.head]
    small = sum(value.numel() for value in task.trained.values()) <= MOST_VALUES
    return small and not any(task.boundaries) and all(map(can_stack, running)) and _keeps_apart(task)


@torch.no_grad()
def _keeps_apart(task: Task) -> bool:
    """Whether a stack of two different satellites gives what each gives alone."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, *task.inputs.shape[1:], generator=source).to(task.inputs)
    own = copy_of(task.trained)
    starts = [own, {name: 0.5 * value + 0.01 for name, value in own.items()}]
    alone = []
    for start, samples in zip(starts, x, strict=True):
        write_into(task.trained, start)
        alone.append(task.predict(samples))
    write_into(task.trained, own)
    model, _ = stack_of(task, starts)
    try:
        together = apart(run(model, task.num_frozen, x), 2)
    except Exception:  # a user's code may fail in any way on shapes that it was not written for
        return False
    expected = torch.stack(alone)
    return together.shape == expected.shape and torch.allclose(together, expected, rtol=1e-3, atol=1e-4)


def stack_of(task: Task, starts: Sequence[Tensors]) -> tuple[CutModel, dict[str, nn.Parameter]]:
    """The model for several satellites, and what trains in it, with the weights each starts from."""
    model = stacked(task.model, len(starts), frozenset(task.model.pieces[: task.num_frozen]))
    assert isinstance(model, CutModel)
    weights = {name: value for name, value in model.named_parameters() if name in task.trained}
    write_stack(weights, starts)
    return model, weights


def run(model: CutModel, num_frozen: int, inputs: Tensor) -> Tensor:
    """Samples [S, b, ...] to logits side by side [b, S x K, ...]."""
    return torch.as_tensor(model.head(model.run(side_by_side(inputs), num_frozen, len(model.pieces))))


def train_together(
    task: Task, draws: Draws, starts: Mapping[int, Tensors], steps: range
) -> Iterator[tuple[Contribution, SatelliteLosses]]:
    """What `AveragingLearner` does satellite after satellite, many at once.

    Args:
        task: See `pays`.
        draws: Samples of each step.
        starts: Weights each satellite starts from, by rising id.
        steps: Optimiser steps, counted from the start of the training.

    Returns:
        What each satellite brings and its losses, by rising id.

    Raises:
        RunError: A loss or a gradient is not finite.
    """
    found = {}
    for chunk in chunks(task, draws, starts):
        for one, losses in _train_chunk(task, draws, {satellite: starts[satellite] for satellite in chunk}, steps):
            found[one.satellite] = (one, losses)
    return iter([found[satellite] for satellite in sorted(found)])


def chunks(task: Task, draws: Draws, satellites: Iterable[int]) -> Iterator[list[int]]:
    """Satellites with batches of one size, as many as fit into `STACK_BYTES`."""
    by_size: dict[int, list[int]] = {}
    for satellite in satellites:
        by_size.setdefault(draws.size(satellite), []).append(satellite)
    weights = 4 * sum(value.numel() * value.element_size() for value in task.trained.values())
    sample = task.inputs[0].numel() * task.inputs.element_size()
    for size, members in by_size.items():
        count = max(1, STACK_BYTES // (weights + size * sample))
        yield from (members[first : first + count] for first in range(0, len(members), count))


def _train_chunk(
    task: Task, draws: Draws, starts: Mapping[int, Tensors], steps: range
) -> Iterator[tuple[Contribution, SatelliteLosses]]:
    spec = task.spec
    model, weights = stack_of(task, list(starts.values()))
    begin = copy_of(weights) if spec.prox_mu else {}
    optimizer = make_optimizer(weights, spec)
    pull = partial(proximal_pull, weights, begin, spec.prox_mu) if spec.prox_mu else None
    losses: list[Tensor] = []
    for step in steps:
        optimizer.zero_grad()
        for batches in zip(*(draws.step(satellite, step) for satellite in starts), strict=True):
            losses.append(_gradients(task, model, weights, batches))
        take_step(optimizer, spec.accumulate * losses[-1].shape[1], rate_factor(spec, step), pull)
    joined = torch.cat(losses, dim=1)
    for index, satellite in enumerate(starts):
        tensors = {name: value.detach()[index] for name, value in weights.items()}
        yield Contribution(satellite, draws.samples_per_round(satellite), tensors), [(satellite, joined[index])]


def _gradients(task: Task, model: CutModel, weights: Mapping[str, nn.Parameter], batches: tuple[Batch, ...]) -> Tensor:
    """Add the gradients of each satellite's summed loss to its row of `.grad`; returns losses [S, b]."""
    for batch in batches:
        task.account.count(batch)
    ids = torch.stack([batch.ids for batch in batches])  # (S, b)
    with arithmetic(task.spec.precision, ids.device):
        logits = apart(run(model, task.num_frozen, task.inputs[ids]), len(batches))
        losses = task.objective.losses(logits.flatten(0, 1), task.labels[ids.flatten()]).view(ids.shape)
        torch.autograd.backward(losses.sum())
    _refuse_not_finite(task, weights, losses.detach(), batches)
    return losses.detach()


def _refuse_not_finite(
    task: Task, weights: Mapping[str, nn.Parameter], losses: Tensor, batches: tuple[Batch, ...]
) -> None:
    """Stop before a weight moves.

    Raises:
        RunError: A loss or a gradient of a satellite is not finite.
    """
    found = {"loss": losses}
    found |= {f"gradient of {name}": value.grad for name, value in weights.items() if value.grad is not None}
    for name, values in found.items():
        if not values.isfinite().all():
            index = int((~values.flatten(1).isfinite().all(dim=1)).nonzero()[0])
            raise task.diverged(batches[index], name)

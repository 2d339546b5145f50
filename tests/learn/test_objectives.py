"""Losses and figures of each task against their definitions, and heads against PyTorch's own layers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.objectives import (
    DECODER_WIDTH,
    Classification,
    MultiLabel,
    Objective,
    Segmentation,
    add,
    bilinear_weights,
    measure,
    objective_for,
)


def random_case(objective: Objective, seed: int, num_samples: int = 17) -> tuple[Tensor, Tensor]:
    """Logits and labels; some classes rare or absent, some pixels unknown."""
    source = np.random.default_rng(seed)
    odds = source.dirichlet(np.full(objective.num_classes, 0.5))
    match objective:
        case MultiLabel(num_classes):
            labels = torch.from_numpy((source.random((num_samples, num_classes)) < odds).astype(np.float32))
            return torch.from_numpy(source.normal(size=labels.shape)), labels
        case Segmentation(num_classes, (height, width)):
            labels = source.choice(num_classes, (num_samples, height, width), p=odds)
            labels[source.random(labels.shape) < 0.2] = -1
            labels[0] = -1
            logits = source.normal(size=(num_samples, num_classes, height, width))
            return torch.from_numpy(logits), torch.from_numpy(labels)
    labels = source.choice(objective.num_classes, num_samples, p=odds)
    return torch.from_numpy(source.normal(size=(num_samples, objective.num_classes))), torch.from_numpy(labels)


OBJECTIVES = [Classification(4), MultiLabel(4), Segmentation(4, (5, 6))]


def binary(truth: NDArray[np.bool_], answer: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Recall, F1 and intersection over union, counted one by one; not a number where nothing is to count."""
    both, either = np.sum(truth & answer), np.sum(truth | answer)
    recall = both / np.sum(truth) if truth.any() else math.nan
    total = np.sum(truth) + np.sum(answer)
    return recall, 2 * both / total if total else math.nan, both / either if either else math.nan


def defined(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The figures from their definitions, sample by sample and class by class."""
    if labels.is_floating_point():
        truth, answer = labels.numpy() > 0.5, logits.numpy() > 0
        yes = np.array([binary(truth[:, c], answer[:, c]) for c in range(truth.shape[1])])
        no = np.array([binary(~truth[:, c], ~answer[:, c]) for c in range(truth.shape[1])])
        both = np.nanmean(np.stack([yes[:, 0], no[:, 0]]), axis=0)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.double()).item()
        f1 = np.nanmean(yes[:, 1])
        return {"loss": loss, "accuracy": np.mean(truth == answer), "balanced_accuracy": both.mean(), "macro_f1": f1}
    known = labels.numpy() >= 0
    truth, answer = labels.numpy()[known], logits.argmax(dim=1).numpy()[known]
    each = np.array([binary(truth == c, answer == c) for c in range(logits.shape[1])])
    losses = [
        nn.functional.cross_entropy(one[None], of[None], ignore_index=-1).item() if (of >= 0).any() else 0.0
        for one, of in zip(logits, labels, strict=True)
    ]
    found = {"loss": np.mean(losses), "accuracy": np.mean(truth == answer), "balanced_accuracy": np.nanmean(each[:, 0])}
    iou = {"miou": np.nanmean(each[:, 2])} if labels.ndim == 3 else {}
    return {**found, "macro_f1": np.nanmean(each[:, 1]), **iou}


@given(st.sampled_from(OBJECTIVES), st.integers(0, 10_000), st.integers(1, 16))
def test_figures_are_their_definitions_however_samples_are_grouped(objective: Objective, seed: int, part: int) -> None:
    logits, labels = random_case(objective, seed)
    known = (labels >= 0).any() and (not labels.is_floating_point() or ((labels > 0.5) | (logits > 0)).any())
    expected = defined(logits, labels) if known else None
    joined = add(objective.tally(logits[:part], labels[:part]), objective.tally(logits[part:], labels[part:]))
    if expected is not None:
        assert objective.figures(joined) == pytest.approx(expected, abs=1e-12)
        assert measure(objective, logits, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
def test_a_sample_alone_has_the_loss_it_has_among_others(objective: Objective) -> None:
    logits, labels = random_case(objective, 3)
    together = objective.losses(logits, labels)
    alone = torch.cat([objective.losses(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-15)
    assert measure(objective, logits, labels)["loss"] == pytest.approx(together.mean().item())


def test_unknown_pixels_move_nothing() -> None:
    objective = Segmentation(4, (5, 6))
    logits, labels = random_case(objective, 4)
    logits.requires_grad_(True)
    objective.losses(logits, labels).sum().backward()
    gradient = logits.grad
    assert gradient is not None and gradient.isfinite().all()
    assert torch.equal(gradient.abs().sum(dim=1) == 0, labels == -1)


# ------------------------------------------------------------------------------------------- heads


@given(st.integers(1, 12), st.integers(1, 40))
def test_bilinear_weights_are_those_of_interpolate(from_px: int, to_px: int) -> None:
    maps = torch.from_numpy(np.random.default_rng(from_px).normal(size=(2, 3, from_px, from_px + 1)))
    rows, columns = bilinear_weights(from_px, to_px), bilinear_weights(from_px + 1, to_px + 3)
    expected = nn.functional.interpolate(maps, (to_px, to_px + 3), mode="bilinear", align_corners=False)
    torch.testing.assert_close(rows @ maps @ columns.T, expected, rtol=0, atol=1e-12)


def test_the_decoder_is_two_convolutions_and_interpolation() -> None:
    objective = Segmentation(5, (20, 21))
    decoder = objective.new_head((7, 4, 3), seed=2).double()
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 7, 4, 3)))
    own = dict(decoder.named_parameters())
    hidden = nn.functional.conv2d(features, own["reduce.weight"], own["reduce.bias"]).relu()
    coarse = nn.functional.conv2d(hidden, own["classify.weight"], own["classify.bias"])
    expected = nn.functional.interpolate(coarse, (20, 21), mode="bilinear", align_corners=False)
    torch.testing.assert_close(decoder(features), expected, rtol=0, atol=1e-12)
    assert sum(value.numel() for value in own.values()) == 8 * DECODER_WIDTH + 5 * (DECODER_WIDTH + 1)


@pytest.fixture
def only_deterministic() -> Iterator[None]:
    """An operation without a deterministic form raises."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def test_the_decoder_trains_deterministically(only_deterministic: None) -> None:
    gradients = []
    for _ in range(2):
        objective = Segmentation(5, (20, 21))
        decoder = objective.new_head((7, 4, 3), seed=2)
        _, labels = random_case(objective, 1, num_samples=3)
        features = torch.linspace(-1, 1, 3 * 7 * 4 * 3).view(3, 7, 4, 3).requires_grad_(True)
        objective.losses(decoder(features), labels).sum().backward()
        gradients.append([features.grad, *(value.grad for value in decoder.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize(("objective", "shape"), [(Classification(3), (9,)), (Segmentation(3, (8, 8)), (9, 2, 2))])
def test_heads_start_as_pytorch_starts_such_layers(objective: Objective, shape: tuple[int, ...]) -> None:
    """Uniform in +-1/sqrt(inputs), from the seed alone and not from the global generator."""
    one, other = (list(objective.new_head(shape, seed).parameters()) for seed in (1, 2))
    torch.manual_seed(7)
    assert all(torch.equal(a, b) for a, b in zip(one, objective.new_head(shape, 1).parameters(), strict=True))
    assert not torch.equal(one[0], other[0])
    assert all(value.dtype == torch.float32 for value in one)
    bound = 1 / math.sqrt(one[0][0].numel())
    assert 0.5 * bound < one[0].abs().max() <= bound


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (torch.tensor([0, 2]), Classification),
        (torch.tensor([[0.0, 1.0, 1.0]]), MultiLabel),
        (torch.tensor([[[0, -1], [1, 2]]]), Segmentation),
    ],
)
def test_the_form_of_the_labels_says_the_task(labels: Tensor, kind: type) -> None:
    assert isinstance(objective_for(labels, 3), kind)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), "from 0 to 3; with 3 classes they must be 0 to 2"),
        (torch.tensor([-1, 1]), "from -1 to 1; with 3 classes they must be 0 to 2"),
        (torch.full((1, 2, 2), -2), "they must be -1 to 2"),
        (torch.zeros(2, 4), r"shape \[2, 4\] of torch.float32; needed are .* 3 memberships"),
        (torch.zeros(2, 4, dtype=torch.long), r"shape \[2, 4\] of torch.int64"),
    ],
)
def test_labels_of_no_task_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        objective_for(labels, 3)


def test_a_head_needs_its_kind_of_features() -> None:
    with pytest.raises(InputError, match=r"\[8\]; segmentation needs a map"):
        Segmentation(3, (4, 4)).new_head((8,), 0)
    with pytest.raises(InputError, match=r"\[8, 2, 2\]; labels per image need one vector"):
        Classification(3).new_head((8, 2, 2), 0)

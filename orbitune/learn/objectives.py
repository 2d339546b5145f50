"""What is learned of an image: the head, the loss of each sample, and the figures that say how good it is.

Figures come from tallies: sums over samples, small whatever the number of samples and pixels, that add up group by
group. B samples, K classes, D features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbitune import seeds
from orbitune.errors import InputError

UNKNOWN = -1
"""Label of a pixel that nobody knows: it adds nothing to losses and figures."""

DECODER_WIDTH = 64
"""Channels inside the segmentation head; our choice: SETR (see `Decoder`) has 256, but here every satellite holds the
head and sends it each round, and 64 are several times the classes of the shipped sets."""

Tally = dict[str, Tensor]
"""Sums over samples by name, float64: "samples" and "loss", each of shape [], and counts of an objective's own."""


class Objective(Protocol):
    """A task in the sense of machine learning."""

    @property
    def num_classes(self) -> int:
        """K."""

    def new_head(self, feature_shape: tuple[int, ...], seed: int) -> nn.Module:
        """Features [B, *feature_shape] to logits, fp32, drawn from the seed alone.

        Raises:
            InputError: The backbone's features are not of the kind that this task needs.
        """

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each sample [B]."""

    def tally(self, logits: Tensor, labels: Tensor) -> Tally:
        """What `figures` needs of these samples; tallies of several groups add up."""

    def figures(self, tally: Mapping[str, Tensor]) -> dict[str, float]:
        """ "loss" (mean over samples), "accuracy", "balanced_accuracy" and "macro_f1"; what more, the class says."""


def measure(objective: Objective, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The figures of samples that are all at hand."""
    return objective.figures(objective.tally(logits, labels))


def add(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tally:
    """The tally of the samples of both."""
    return {name: value + other[name] for name, value in one.items()}


def objective_for(labels: Tensor, num_classes: int) -> Objective:
    """The objective that labels of this form call for.

    Args:
        labels: Classes [n] int64, class memberships [n, K] of 0 and 1 in floating point, or classes of pixels
            [n, H, W] int64 with -1 for unknown.

    Raises:
        InputError: They are of no such form, or name a class that there is not.
    """
    if labels.is_floating_point() and labels.shape[1:] == (num_classes,):
        return MultiLabel(num_classes)
    if labels.is_floating_point() or labels.ndim not in (1, 3):
        raise InputError(
            f"labels: shape {list(labels.shape)} of {labels.dtype}; needed are classes [n] or classes of pixels "
            f"[n, height, width] as whole numbers, or {num_classes} memberships of 0 or 1 per image"
        )
    lowest = UNKNOWN if labels.ndim == 3 else 0
    if labels.numel() and not lowest <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise InputError(
            f"labels: from {int(labels.min())} to {int(labels.max())}; with {num_classes} classes they must be "
            f"{lowest} to {num_classes - 1}"
        )
    if labels.ndim == 3:
        return Segmentation(num_classes, (labels.shape[1], labels.shape[2]))
    return Classification(num_classes)


# ------------------------------------------------------------------------------------ one class per image


@dataclass(frozen=True)
class Classification:
    """Each image is of one class: logits [B, K], labels [B]; cross-entropy."""

    num_classes: int

    def new_head(self, feature_shape: tuple[int, ...], seed: int) -> nn.Module:
        """A linear layer; see `Objective.new_head`."""
        return linear_head(feature_shape, self.num_classes, seed)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy [B]."""
        return F.cross_entropy(logits, labels, reduction="none")

    def tally(self, logits: Tensor, labels: Tensor) -> Tally:
        """See `Objective.tally`."""
        counts = confusion(logits.argmax(dim=1), labels, self.num_classes)
        return {**sums_of(self.losses(logits.double(), labels)), "confusion": counts}

    def figures(self, tally: Mapping[str, Tensor]) -> dict[str, float]:
        """See `Objective.figures`."""
        return {"loss": mean_loss(tally), **figures_of_confusion(tally["confusion"])}


# ------------------------------------------------------------------------------ several classes per image


@dataclass(frozen=True)
class MultiLabel:
    """Each image is of any number of classes: logits [B, K], labels [B, K] of 0 and 1; an own yes or no for each.

    "accuracy" is the share of right answers over all images and classes; "balanced_accuracy" the mean over classes of
    the mean of the shares right among yes and among no; "macro_f1" the mean over classes of F1. A class without a yes
    or without a no is judged by what it has; without a yes in labels and answers it has no F1 and is left out.
    """

    num_classes: int

    def new_head(self, feature_shape: tuple[int, ...], seed: int) -> nn.Module:
        """A linear layer; see `Objective.new_head`."""
        return linear_head(feature_shape, self.num_classes, seed)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy, mean over classes [B]."""
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(dim=1)

    def tally(self, logits: Tensor, labels: Tensor) -> Tally:
        """See `Objective.tally`; "confusion" [K, 2, 2] by class, truth and answer."""
        truth, answer = labels > 0.5, logits > 0
        cells = [(truth == t) & (answer == a) for t in (False, True) for a in (False, True)]
        counts = torch.stack([cell.double().sum(dim=0) for cell in cells], dim=1).view(-1, 2, 2)
        return {**sums_of(self.losses(logits.double(), labels)), "confusion": counts.cpu()}

    def figures(self, tally: Mapping[str, Tensor]) -> dict[str, float]:
        """See `Objective.figures` and the class."""
        counts = tally["confusion"]
        right = counts.diagonal(dim1=1, dim2=2)  # (K, no | yes)
        recalls = shares(right, counts.sum(dim=2))
        wrong = counts[:, 0, 1] + counts[:, 1, 0]
        return {
            "loss": mean_loss(tally),
            "accuracy": (right.sum() / counts.sum()).item(),
            "balanced_accuracy": recalls.nanmean(dim=1).nanmean().item(),
            "macro_f1": shares(2 * right[:, 1], 2 * right[:, 1] + wrong).nanmean().item(),
        }


# -------------------------------------------------------------------------------------- a class per pixel


@dataclass(frozen=True)
class Segmentation:
    """Each pixel is of one class or unknown: logits [B, K, H, W], labels [B, H, W]; cross-entropy.

    All figures are over the known pixels of all images together, with "miou", the mean over classes of intersection
    over union (Everingham et al. 2015, "The Pascal Visual Object Classes Challenge: A Retrospective", section 4.3).
    """

    num_classes: int
    label_px: tuple[int, int]

    def new_head(self, feature_shape: tuple[int, ...], seed: int) -> nn.Module:
        """A `Decoder`; see `Objective.new_head`."""
        if len(feature_shape) != 3:
            raise InputError(
                f"model: features of shape {list(feature_shape)}; segmentation needs a map of features (channels, "
                "height, width): take a model with dense features, or data with one label per image"
            )
        depth, height, width = feature_shape
        decoder = Decoder(depth, self.num_classes, (height, width), self.label_px)
        return start_layers(decoder, seed)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, mean over the known pixels of each image [B]; 0 where none is known."""
        known = labels != UNKNOWN
        # Picked with gather, not with F.cross_entropy: that has no deterministic form for maps on a GPU.
        picked = F.log_softmax(logits, dim=1).gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1)
        return -(picked * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp_min(1)

    def tally(self, logits: Tensor, labels: Tensor) -> Tally:
        """See `Objective.tally`."""
        known = labels != UNKNOWN
        counts = confusion(logits.argmax(dim=1)[known], labels[known], self.num_classes)
        return {**sums_of(self.losses(logits.double(), labels)), "confusion": counts}

    def figures(self, tally: Mapping[str, Tensor]) -> dict[str, float]:
        """See `Objective.figures` and the class."""
        counts = tally["confusion"]
        right = counts.diagonal()
        unions = counts.sum(dim=0) + counts.sum(dim=1) - right
        miou = shares(right, unions).nanmean().item()
        return {"loss": mean_loss(tally), **figures_of_confusion(counts), "miou": miou}


class Decoder(nn.Module):
    """Maps of features [B, D, h, w] to logits of pixels [B, K, H, W].

    1x1 convolution, ReLU, 1x1 convolution, bilinear up to the labels: the "naive upsampling" head of SETR
    (arXiv:2012.15840, section 3.3) without its batch norm, whose statistics would depend on how samples are grouped.
    (D + 1) x 64 + 65 x K values.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, depth: int, num_classes: int, feature_px: tuple[int, int], label_px: tuple[int, int]) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(depth, DECODER_WIDTH, 1, device="meta")
        self.classify = nn.Conv2d(DECODER_WIDTH, num_classes, 1, device="meta")
        self.to_empty(device="cpu")
        self.register_buffer("rows", bilinear_weights(feature_px[0], label_px[0]), persistent=False)
        self.register_buffer("columns", bilinear_weights(feature_px[1], label_px[1]), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        coarse = self.classify(F.relu(self.reduce(features)))
        upsampled: Tensor = self.rows.to(coarse) @ coarse @ self.columns.to(coarse).T
        return upsampled


def bilinear_weights(from_px: int, to_px: int) -> Tensor:
    """The matrix [to, from] of bilinear interpolation along one side, pixel centres at (i + 1/2) / n, edges held.

    Equals `F.interpolate(mode="bilinear", align_corners=False)`. As a product of matrices it has a gradient whose
    sums have one order on every device; that function's gradient on a GPU has not.
    """
    source = ((torch.arange(to_px, dtype=torch.float64) + 0.5) * from_px / to_px - 0.5).clamp(0, from_px - 1)
    return (1 - (source.unsqueeze(1) - torch.arange(from_px)).abs()).clamp_min(0)


# ------------------------------------------------------------------------------------ what several share


def linear_head(feature_shape: tuple[int, ...], num_classes: int, seed: int) -> nn.Module:
    """A linear layer over pooled features.

    Raises:
        InputError: The features are not pooled.
    """
    if len(feature_shape) != 1:
        raise InputError(
            f"model: features of shape {list(feature_shape)}; labels per image need one vector of features per image: "
            "take a model with pooled features, or data with labels per pixel"
        )
    return start_layers(nn.Linear(feature_shape[0], num_classes, device="meta").to_empty(device="cpu"), seed)


def start_layers(head: nn.Module, seed: int) -> nn.Module:
    """Draw all weights and biases uniform in +-1/sqrt(inputs), as PyTorch starts such layers, from our own stream."""
    source = torch.Generator().manual_seed(seeds.seed_for(seed, "head"))
    for layer in head.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for tensor in layer.parameters():
                nn.init.uniform_(tensor, -bound, bound, generator=source)
    return head


def sums_of(losses: Tensor) -> Tally:
    """The part of a tally that all objectives have."""
    return {"samples": torch.tensor(float(len(losses)), dtype=torch.float64), "loss": losses.double().sum().cpu()}


def mean_loss(tally: Mapping[str, Tensor]) -> float:
    """Mean over samples."""
    return (tally["loss"] / tally["samples"]).item()


def confusion(answers: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """How often class i was called class j [K, K]."""
    cells = (truth * num_classes + answers).cpu().flatten()
    return torch.bincount(cells, minlength=num_classes**2).double().view(num_classes, num_classes)


def figures_of_confusion(counts: Tensor) -> dict[str, float]:
    """Share right, mean over the classes there are of the share right, and mean of F1 over the classes that occur."""
    right = counts.diagonal()
    return {
        "accuracy": (right.sum() / counts.sum()).item(),
        "balanced_accuracy": shares(right, counts.sum(dim=1)).nanmean().item(),
        "macro_f1": shares(2 * right, counts.sum(dim=0) + counts.sum(dim=1)).nanmean().item(),
    }


def shares(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, not a number where the whole is 0."""
    return torch.where(whole > 0, part / whole.clamp_min(1), math.nan)

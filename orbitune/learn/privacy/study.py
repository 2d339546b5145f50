"""What a privacy study attacks, loaded: the model, the images of the satellites and those of the ground."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbitune.errors import InputError
from orbitune.imagery.imagery import Imagery, Selection, load_imagery
from orbitune.learn.backbones import Backbone, load_backbone, standardise
from orbitune.learn.inputs import prepare
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.objectives import objective_for
from orbitune.learn.privacy.assess import Target

MOST_PRIVATE = 64
"""Private images that are attacked, spread evenly over all; our choice: on the Brandenburg chips the standard error of
the mean PSNR is then below half a decibel."""

MOST_KNOWN = 512
"""Images of the ground that attacks learn from; our choice: all that the shipped scene has."""

LEAST_KNOWN = 10
"""Images of the ground without which no decoder can be trained: two of them check what the others taught."""


def load_target(
    model: ModelSpec, selection: Selection, num_satellites: int, seed: int
) -> tuple[Target, tuple[int, ...]]:
    """The start of a training as an attacker meets it: weights and head before the first step.

    Returns:
        What is attacked, and how many samples each satellite holds.

    Raises:
        InputError: Weights or images are missing or damaged, or the ground has too few images of its own.
        PlanError: There are fewer training images than satellites.
        MissingExtra: The model's library is not installed.
    """
    imagery = load_imagery(selection, num_satellites, seed)
    if len(imagery.unlabelled) < LEAST_KNOWN:
        raise InputError(
            f"{selection.dataset}: the ground has {len(imagery.unlabelled)} images of its own; attacks learn from at "
            f"least {LEAST_KNOWN}: add images without labels"
        )
    dense = imagery.task == "segmentation"
    backbone = load_backbone(model, seed, imagery.channels, imagery.chip_px, dense)
    known = _prepared(backbone, imagery, imagery.unlabelled)
    if model.weights == "pretrained":
        standardise(backbone, known)  # as `session.make_start` does
    held = np.sort(np.concatenate(imagery.train))
    held = held[evenly(len(held), MOST_PRIVATE).numpy()]
    labels = torch.from_numpy(imagery.labels)
    head = objective_for(labels, len(imagery.class_names)).new_head(backbone.feature_shape, seed)
    target = Target(
        pieces=(backbone.embedding, *backbone.blocks, backbone.final),
        head=head.requires_grad_(False).eval(),
        private=_prepared(backbone, imagery, imagery.images[held]),
        labels=labels[torch.from_numpy(held)],
        known=known[evenly(len(known), MOST_KNOWN)],
        seed=seed,
    )
    return target, imagery.holdings.num_train


def _prepared(backbone: Backbone, imagery: Imagery, images: NDArray[np.float32]) -> Tensor:
    return prepare(torch.from_numpy(images), imagery.channels, imagery.full_scale, backbone.inputs)


def evenly(count: int, most: int) -> Tensor:
    """At most `most` of `count` numbers, evenly."""
    return torch.from_numpy(np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)))

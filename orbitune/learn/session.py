"""From names to a learner that is ready to train: loads the weights and the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbitune.imagery.imagery import Imagery, Selection, load_imagery
from orbitune.learn.backbones import Backbone, load_backbone, standardise
from orbitune.learn.features import Kept
from orbitune.learn.inputs import prepare
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.rounds import Learner, make_learner
from orbitune.learn.spec import LearnSpec


@dataclass(frozen=True, eq=False)
class Start:
    """What trainings that are compared share: samples, weights to start from, and the work of frozen pieces.

    Attributes:
        backbone: Where training starts from; learners copy it.
        num_classes: Classes of the labels.
        images: Prepared for the backbone [n, C, P, P].
        labels: See `objectives.objective_for`.
        holdings: Samples of each satellite.
        test_ids: Samples to judge on.
        seed: What weights and holdings were drawn from.
        kept: Frozen work, done by the first training that needs it.
    """

    backbone: Backbone
    num_classes: int
    images: Tensor
    labels: Tensor
    holdings: Sequence[NDArray[np.int64]]
    test_ids: NDArray[np.int64]
    seed: int
    kept: Kept = field(default_factory=dict)

    def learner(self, spec: LearnSpec) -> Learner:
        """A training from here; see `rounds.make_learner`."""
        assert spec.seed == self.seed, f"training of seed {spec.seed} from a start of seed {self.seed}"
        return make_learner(
            spec, self.backbone, self.num_classes, self.images, self.labels, self.holdings, self.test_ids, self.kept
        )


def start(spec: LearnSpec, model: ModelSpec, selection: Selection, num_satellites: int, device: str = "cpu") -> Learner:
    """A learner over the chosen images, dealt out to the satellites, from pretrained or random weights.

    Raises:
        InputError: Weights or images are missing or damaged, or do not fit each other or the training.
        PlanError: There are fewer training images than satellites.
        MissingExtra: The model's library is not installed.
    """
    return make_start(model, selection, num_satellites, spec.seed, device).learner(spec)


def make_start(model: ModelSpec, selection: Selection, num_satellites: int, seed: int, device: str = "cpu") -> Start:
    """Load images and weights once for several trainings; raises what `start` raises.

    Args:
        model: Which model, and where its weights come from.
        selection: Which images, and how they are dealt out.
        num_satellites: To how many.
        seed: Root seed of weights, holdings and trainings.
        device: Where to train, in PyTorch's words: "cpu", "cuda".
    """
    imagery = load_imagery(selection, num_satellites, seed)
    backbone = prepared_backbone(model, imagery, seed, device)
    return Start(
        backbone=backbone,
        num_classes=len(imagery.class_names),
        images=prepared_images(backbone, imagery, imagery.images).to(device),
        labels=torch.from_numpy(imagery.labels).to(device),
        holdings=imagery.train,
        test_ids=imagery.test,
        seed=seed,
    )


def prepared_backbone(model: ModelSpec, imagery: Imagery, seed: int, device: str = "cpu") -> Backbone:
    """Where training starts from; features of pretrained weights are standardised on images that the ground owns.

    Raises:
        InputError, MissingExtra: As `start`.
    """
    dense = imagery.task == "segmentation"
    backbone = load_backbone(model, seed, imagery.channels, imagery.chip_px, dense).to(device)
    if model.weights == "pretrained":
        # Random features hardly vary at all; blown up to unit spread they make AdamW at 1e-3 diverge (measured).
        standardise(backbone, prepared_images(backbone, imagery, imagery.unlabelled).to(device))
    return backbone


def prepared_images(backbone: Backbone, imagery: Imagery, images: NDArray[np.float32]) -> Tensor:
    """Images in stored units as the backbone reads them."""
    return prepare(torch.from_numpy(images), imagery.channels, imagery.full_scale, backbone.inputs)

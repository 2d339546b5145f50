"""From names to a learner that is ready to train: loads the weights and the images."""

from __future__ import annotations

import torch

from orbitune.imagery.imagery import Selection, load_imagery
from orbitune.learn.backbone import load_backbone, standardise
from orbitune.learn.rounds import Learner, make_learner
from orbitune.learn.spec import LearnSpec


def start(spec: LearnSpec, model: str, weights: str, selection: Selection, num_satellites: int) -> Learner:
    """A learner over the chosen images, dealt out to the satellites, from pretrained or random weights.

    Raises:
        InputError: Weights or images are missing or damaged.
        PlanError: There are fewer training images than satellites.
    """
    imagery = load_imagery(selection, num_satellites, spec.seed)
    backbone = load_backbone(model, weights, spec.seed, selection.chip_px)
    if weights == "pretrained":
        # Random features hardly vary at all; blown up to unit spread they make AdamW at 1e-3 diverge (measured).
        standardise(backbone, torch.from_numpy(imagery.unlabelled))
    images, labels = torch.from_numpy(imagery.images), torch.from_numpy(imagery.labels)
    return make_learner(spec, backbone, len(imagery.class_names), images, labels, imagery.train, imagery.test)

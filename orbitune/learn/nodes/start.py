"""From names to nodes that are ready to work: loads the model, and the images of the satellites at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from orbitune.imagery.imagery import Imagery, Selection, load_imagery
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.nodes.satellite import Samples
from orbitune.learn.nodes.setting import make_setting
from orbitune.learn.nodes.stored import Store
from orbitune.learn.nodes.work import NodeWork, refuse
from orbitune.learn.objectives import objective_for
from orbitune.learn.rounds import deterministic
from orbitune.learn.session import prepared_backbone, prepared_images
from orbitune.learn.spec import LearnSpec


def make_work(
    nodes: Sequence[int], spec: LearnSpec, model: ModelSpec, selection: Selection, num_satellites: int
) -> NodeWork:
    """The nodes of one process.

    The process computes with one thread, so that its results repeat bit for bit. Of the images that are dealt out it
    keeps those of its own satellites; where one machine stands for many satellites, the files hold those of all.

    Args:
        nodes: Real ids: satellites are 0 to `num_satellites` - 1, stations and server follow.
        spec, model, selection, num_satellites: As for `session.start`.

    Raises:
        RunError: The spec asks for what real nodes cannot do.
        InputError, PlanError, MissingExtra: As `session.start`.
    """
    refuse(spec)
    deterministic(threads=1)
    imagery = load_imagery(selection, num_satellites, spec.seed)
    backbone = prepared_backbone(model, imagery, spec.seed)
    labels = torch.from_numpy(imagery.labels)
    objective = objective_for(labels, len(imagery.class_names))
    setting = make_setting(spec, backbone, objective, [len(ids) for ids in imagery.train])
    own = [node for node in nodes if node < num_satellites]
    samples = {
        node: Samples(prepared_images(backbone, imagery, imagery.images[imagery.train[node]]), labels[ids].clone())
        for node in own
        for ids in [torch.from_numpy(imagery.train[node])]
    }
    if spec.learner != "central":
        return NodeWork(nodes, setting, samples)
    store = Store.of(imagery, backbone.inputs)
    return NodeWork(nodes, setting, samples, store, {node: _stored(store, imagery, node) for node in own})


def _stored(store: Store, imagery: Imagery, node: int) -> tuple[bytes, bytes]:
    ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = imagery.train[node]
    return store.write(imagery.images[ids], imagery.labels[ids])

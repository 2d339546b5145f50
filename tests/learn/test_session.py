"""From names to a learner: the shipped scenes through a small transformer, to a map of classes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tiny_backbone import spec_of
from worlds import VIT

from orbitune.imagery.imagery import Selection
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.session import make_start


def test_a_start_gives_every_training_the_same_start(tmp_path: Path) -> None:
    """Images as the model wants them, labels as they are; two trainings share the frozen work and nothing else."""
    (tmp_path / "config.json").write_text(json.dumps({**VIT, "image_size": 32}))
    start = make_start(ModelSpec("transformers", "random", str(tmp_path)), Selection("dubai-scenes"), 3, seed=4)
    assert start.images.shape[1:] == (3, 32, 32)
    assert start.labels.shape == (len(start.images), 64, 64)
    spec = spec_of(trains="head", seed=4, learning_rate=0.5, local_steps=1, batch_size=16, cache="features")
    one, other = start.learner(spec), start.learner(spec)
    assert len(start.kept) == 1
    untrained = one.evaluate()
    for round_index in range(2):
        one.run_round(round_index)
    assert other.evaluate() == untrained
    assert one.evaluate().loss < untrained.loss
    assert one.evaluate().metrics["miou"] > 0
    held = torch.cat([torch.from_numpy(ids) for ids in start.holdings])
    assert not torch.isin(held, torch.from_numpy(start.test_ids)).any()

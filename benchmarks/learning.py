"""Many satellites on one machine: our engine, a plain PyTorch loop over the clients, and Flower's simulation.

lenet   40 satellites (5 planes of 8) with 100 images each, LeNet (62,006 parameters), batch 20, SGD at 0.1, one epoch a
        round: federated averaging of the whole model.
head    200 satellites with 50 images each and a frozen Vision Transformer: its features are computed once and given to
        all three alike; measured are rounds of one epoch on the head.

Images are made from a seed: one pattern per class under noise. All three start from the same weights, on one torch
thread. Flower runs in an environment of its own (its pins exclude ours); without one it is left out, and that is said:

    python -m venv .venv-flower && .venv-flower/bin/pip install -r constraints.txt
    .venv-flower/bin/pip install -c constraints.txt "flwr[simulation]==1.41.0" psutil
    FLOWER_PYTHON=.venv-flower/bin/python make bench-learning
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lenet import lenet
from record import record
from torch import Tensor, nn

from orbitune.learn import rounds
from orbitune.learn.backbones import Backbone, load_backbone, standardise
from orbitune.learn.backbones.seam import Final
from orbitune.learn.inputs import InputSpec
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.spec import LearnSpec

SEED = 20260
NUM_CLASSES = 10
PATTERN, NOISE = 0.5, 1.0
"""Our choice: hard enough that accuracy rises over the rounds and does not reach 1 in the first."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    `inputs` [satellites, samples, ...] and `test_inputs` are what `model` reads: images, or features of `backbone`. Our
    engine gets the backbone and the pictures [all samples, 3, 32, 32].
    """

    name: str
    batch_size: int
    rate: float
    rounds: int
    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    model: nn.Sequential
    backbone: Backbone
    pictures: Tensor
    test_pictures: Tensor

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return self.inputs.shape[1] // self.batch_size


Figures = dict[str, float]


def images(num: int, size_px: int, source: torch.Generator, patterns: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy patterns [num, 3, size, size] and their classes."""
    labels = torch.randint(NUM_CLASSES, (num,), generator=source)
    coarse = patterns[labels].repeat_interleave(size_px // 8, 2).repeat_interleave(size_px // 8, 3)
    return PATTERN * coarse + NOISE * torch.randn(num, 3, size_px, size_px, generator=source), labels


def lenet_case(num_rounds: int = 10) -> Case:
    """The whole of LeNet trains."""
    source = torch.Generator().manual_seed(SEED)
    patterns = torch.randn(NUM_CLASSES, 3, 8, 8, generator=source)
    inputs, labels = images(4000, 32, source, patterns)
    test_inputs, test_labels = images(1000, 32, source, patterns)
    torch.manual_seed(SEED)
    model = lenet()
    held = inputs.unflatten(0, (40, 100)), labels.unflatten(0, (40, 100))
    backbone = Backbone(model[:-1], [], AsFeatures((84,)), (84,), as_it_is(32))
    return Case("lenet", 20, 0.1, num_rounds, *held, test_inputs, test_labels, model, backbone, inputs, test_inputs)


def head_case(num_rounds: int = 10) -> Case:
    """A linear head on a small frozen Vision Transformer with random weights."""
    source = torch.Generator().manual_seed(SEED)
    patterns = torch.randn(NUM_CLASSES, 3, 8, 8, generator=source)
    pictures, labels = images(10_000, 32, source, patterns)
    test_pictures, test_labels = images(1000, 32, source, patterns)
    config = {"model_type": "vit", "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3,
              "intermediate_size": 768, "image_size": 32, "patch_size": 8}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        spec = ModelSpec("transformers", "random", folder)
        backbone = load_backbone(spec, SEED, ("red", "green", "blue"), 32, dense=False)
    standardise(backbone, pictures[:500])
    with torch.no_grad():
        features = torch.cat([backbone(group) for group in torch.cat([pictures, test_pictures]).split(250)])
    torch.manual_seed(SEED)
    held = features[:10_000].unflatten(0, (200, 50)), labels.unflatten(0, (200, 50))
    head = nn.Sequential(nn.Linear(192, NUM_CLASSES))
    return Case(
        "head", 10, 0.1, num_rounds, *held, features[10_000:], test_labels, head, backbone, pictures, test_pictures
    )


class AsFeatures(Final):
    """What comes in is the feature."""

    def features(self, activation: Tensor) -> Tensor:
        """As it is."""
        return activation


def as_it_is(size_px: int) -> InputSpec:
    """Colour images that need no normalisation."""
    return InputSpec(("red", "green", "blue"), size_px, 1.0, (0.0,) * 3, (1.0,) * 3)


def ours(case: Case) -> Figures:
    """Federated averaging in our engine; for the head case it computes the features itself, before the first round."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    whole = case.name == "lenet"
    spec = LearnSpec(
        "federated", "full" if whole else "head", "per_client", 0, "fp32", case.steps, case.batch_size, "sgd",
        case.rate, 0.0, 0.0, SEED, rounds=case.rounds, cache="none" if whole else "features",
    )  # fmt: skip
    num_satellites, each = case.labels.shape
    num_samples = num_satellites * each
    learner = rounds.make_learner(
        spec,
        case.backbone,
        NUM_CLASSES,
        torch.cat([case.pictures, case.test_pictures]),
        torch.cat([case.labels.flatten(), case.test_labels]),
        list(np.arange(num_samples).reshape(num_satellites, each)),
        np.arange(num_samples, num_samples + len(case.test_labels)),
    )
    head, last = learner.task.model.head, case.model[-1]
    head.load_state_dict(last.state_dict())
    return timed(case, learner.run_round, lambda: learner.evaluate().accuracy, began_s, began_cpu_s)


def plain_loop(case: Case) -> Figures:
    """What one writes by hand: for each client load the weights, train, add to the mean."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    state = {name: value.clone() for name, value in case.model.state_dict().items()}
    source = torch.Generator().manual_seed(SEED)

    def one_round(index: int) -> None:
        total = {name: torch.zeros_like(value) for name, value in state.items()}
        for inputs, labels in zip(case.inputs, case.labels, strict=True):
            case.model.load_state_dict(state)
            optimizer = torch.optim.SGD(case.model.parameters(), case.rate)
            for ids in torch.randperm(len(labels), generator=source).split(case.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(case.model(inputs[ids]), labels[ids]).backward()
                optimizer.step()
            for name, value in case.model.state_dict().items():
                total[name] += value / len(case.labels)
        state.update(total)

    def accuracy() -> float:
        case.model.load_state_dict(state)
        with torch.no_grad():
            right = case.model(case.test_inputs).argmax(1) == case.test_labels
        return float(right.double().mean())

    return timed(case, one_round, accuracy, began_s, began_cpu_s)


def timed(
    case: Case, one_round: Callable[[int], object], accuracy: Callable[[], float], began_s: float, began_cpu_s: float
) -> Figures:
    """Run all rounds; evaluation is outside the times of rounds and inside the totals."""
    round_s = []
    for index in range(case.rounds):
        start_s = time.perf_counter()
        one_round(index)
        round_s.append(time.perf_counter() - start_s)
    found = accuracy()
    return figures(found, time.process_time() - began_cpu_s, time.perf_counter() - began_s, round_s)


def figures(accuracy: float, cpu_s: float, wall_s: float, round_s: list[float]) -> Figures:
    """The steady round is the median of all but the first, which pays for what is made once."""
    return {
        "accuracy": round(accuracy, 4), "cpu_s": round(cpu_s, 3), "wall_s": round(wall_s, 3),
        "steady_round_s": round(statistics.median(round_s[1:]), 4),
    }  # fmt: skip


def flower(case: Case) -> Figures | None:
    """The same rounds in Flower's simulation, if there is an environment with it."""
    python = os.environ.get("FLOWER_PYTHON")
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        arrays = {name: getattr(case, name) for name in ("inputs", "labels", "test_inputs", "test_labels")}
        arrays |= {f"weight.{name}": value for name, value in case.model.state_dict().items()}
        for name, value in arrays.items():
            np.save(f"{folder}/{name}.npy", value.numpy())
        script = Path(__file__).parent / "flower_rounds.py"
        command = [python, script, case.name, folder, str(case.batch_size), str(case.rate), str(case.rounds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    found = figures(said["accuracy"], said["cpu_s"], said["wall_s"], said["round_s"])
    return found | {"wall_without_start_s": round(sum(said["round_s"][1:]) * case.rounds / (case.rounds - 1), 3)}


def main() -> None:
    """Both cases, three engines."""
    torch.set_num_threads(1)
    cases: dict[str, dict[str, Figures]] = {}
    rows = []
    for case in (lenet_case(), head_case()):
        first = {name: value.clone() for name, value in case.model.state_dict().items()}
        for name, engine in (("ours", ours), ("plain_loop", plain_loop), ("flower", flower)):
            case.model.load_state_dict(first)
            found = engine(case)
            if found is None:
                print(f"{case.name}: flower is left out, for FLOWER_PYTHON is not set (see the top of this file)")
                continue
            cases.setdefault(case.name, {})[name] = found
            rows.append({"case": case.name, "engine": name, **found})
    record("learning", rows, SEED, {"cases": cases})


if __name__ == "__main__":
    main()

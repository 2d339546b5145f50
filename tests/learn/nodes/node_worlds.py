"""Missions of the "tiny" preset with the tests' small vision transformer, carried out by nodes and in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from planned_run import Driver, Tamper
from safetensors.torch import load as load_tensors
from torch import Tensor

from orbitune.imagery.imagery import Holdings
from orbitune.learn.aggregate import Tensors
from orbitune.learn.inputs import prepare as prepare_images
from orbitune.learn.measure import measure_profile
from orbitune.learn.nodes.satellite import Samples
from orbitune.learn.nodes.setting import make_setting
from orbitune.learn.nodes.stored import Store
from orbitune.learn.nodes.work import NodeWork
from orbitune.learn.objectives import objective_for
from orbitune.learn.rounds import make_learner
from orbitune.learn.spec import LearnSpec
from orbitune.mission import Mission, learn_spec, prepare
from orbitune.model.partition import Head, Partition
from orbitune.plans import Planned, Silent, plan_method
from orbitune.scenario.load import load
from tests.learn.tiny_backbone import INPUTS, NUM_CLASSES, tiny_backbone

BASE = ("train.optimizer=sgd", "train.learning_rate=0.05", "train.rounds=2", "train.batch_size=5")

ONE_PLANE = ("shell.0.satellites=6", "shell.0.planes=1", "shell.0.phasing=0")

COUNTS = (9, 40, 3, 5, 7, 12, 4, 6, 8, 5, 10, 11)
"""Unequal on purpose: fewer than a batch, and more than a group of 32."""

NUM_TESTS = 4
STORED_BYTES = 2 * 8 * 8 * 2
STORE = Store(INPUTS.channels, 1.0, (2, 8, 8), np.dtype("<u2"), (), torch.int64, INPUTS)


@dataclass(frozen=True, eq=False)
class World:
    """What is trained where: a planned timeline, and the samples of each satellite."""

    mission: Mission
    planned: Planned
    spec: LearnSpec
    stored: NDArray[np.float32]
    labels: Tensor
    holdings: Sequence[NDArray[np.int64]]

    @property
    def satellites(self) -> range:
        return range(len(self.holdings))

    @property
    def server(self) -> int:
        return self.mission.system.nodes.server

    @property
    def images(self) -> Tensor:
        return prepare_images(torch.from_numpy(self.stored), INPUTS.channels, 1.0, INPUTS)

    def hosts(self, apart: bool = False) -> dict[int, NodeWork]:
        """Three processes as it were: half of the satellites, the other half, and the ground; or one for each node."""
        middle, end = len(self.holdings) // 2, self.server + 1
        groups = [range(middle), range(middle, len(self.holdings)), range(len(self.holdings), end)]
        if apart:
            groups = [range(node, node + 1) for node in range(end)]
        return {node: work for group in groups for work in [self.host(group)] for node in group}

    def host(self, nodes: Sequence[int]) -> NodeWork:
        objective = objective_for(self.labels, NUM_CLASSES)
        counts = [len(ids) for ids in self.holdings]
        setting = make_setting(self.spec, tiny_backbone(torch.float32), objective, counts)
        own = {node: self.holdings[node] for node in nodes if node < len(self.holdings)}
        samples = {node: Samples(self.images[ids], self.labels[ids]) for node, ids in own.items()}
        raw = {node: STORE.write(self.stored[ids], self.labels[ids].numpy()) for node, ids in own.items()}
        return NodeWork(nodes, setting, samples, STORE, raw if self.spec.learner == "central" else None)

    def drive(
        self, hosts: Mapping[int, NodeWork] | None = None, first_round: int = 0, tamper: Tamper | None = None
    ) -> Driver:
        """All rounds of the plan on real bytes."""
        timeline = self.planned.timeline
        driver = Driver(timeline, hosts or self.hosts(), bool(timeline.private), tamper)
        return driver.run(first_round, self.satellites)

    def reference(self, rounds: int) -> Tensors:
        """The same in one process."""
        tests = np.arange(len(self.stored) - NUM_TESTS, len(self.stored))
        learner = make_learner(
            self.spec, tiny_backbone(torch.float32), NUM_CLASSES, self.images, self.labels, self.holdings, tests
        )
        for index in range(rounds):
            learner.run_round(index)
        state = learner.state()
        return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


@cache
def _mission(*sets: str) -> Mission:
    return prepare(load("tiny", sets))


@cache
def world(method: str, *sets: str) -> World:
    """A mission planned for the small model and its samples."""
    rank = ("train.lora_rank=2",) if "train.trains=lora" in sets else ()
    scenario = load("tiny", (*BASE, *rank, *sets))
    places = tuple(one for one in sets if one.startswith(("shell", "time")))
    satellites = _mission(*places).system.nodes.num_satellites
    held = Holdings(COUNTS[:satellites], NUM_TESTS, tuple(map(str, range(NUM_CLASSES))), float(STORED_BYTES))
    profile = measure_profile(tiny_backbone(torch.float32), INPUTS.sample_shape, "tiny", "tests", float(STORED_BYTES))
    partition = Partition(profile, Head(profile.feature_shape[0], NUM_CLASSES), scenario.model.cut_after_block)
    mission = replace(_mission(*places), scenario=scenario, partition=partition, holdings=held)
    planned = plan_method(mission, method, Silent())
    source = np.random.default_rng(4)
    count = sum(held.num_train) + NUM_TESTS
    dealt = np.split(source.permutation(count - NUM_TESTS), np.cumsum(held.num_train)[:-1])
    stored = source.integers(0, 4, size=(count, 2, 8, 8)).astype(np.float32)
    labels = torch.from_numpy(source.integers(NUM_CLASSES, size=count))
    spec = learn_spec(scenario, planned.method, planned.job)
    return World(mission, planned, spec, stored, labels, [np.sort(ids) for ids in dealt])


def final_weights(run: Driver, nodes: Sequence[int]) -> Tensors:
    """What the nodes have together; where several have a tensor, they have the same."""
    found: Tensors = {}
    for node in nodes:
        for name, value in load_tensors(run.works[node].weights(node)).items():
            assert torch.equal(found.setdefault(name, value), value), f"{name} differs on node {node}"
    return found


def largest_difference(found: Tensors, expected: Tensors) -> float:
    """Relative to the norm of each tensor."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - value).norm().item() / value.norm().item()) for name, value in expected.items())

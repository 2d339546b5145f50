"""What a choice that changes numbers costs in accuracy: a short, real training of it and of the scenario as written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from orbitune.choose.limits import Limits
from orbitune.choose.numbers import Numbers, changes_numbers, numbers_of
from orbitune.choose.search import Answer, Search
from orbitune.choose.space import Point, Space
from orbitune.errors import PlanError
from orbitune.experiment import trainings
from orbitune.mission import Mission
from orbitune.plans import plan_method
from orbitune.runs import RunFolder
from orbitune.scenario.learning_keys import NO_DATASET
from orbitune.scenario.text import dump
from orbitune.training import train_all


@dataclass(frozen=True)
class Accuracies:
    """Test accuracy after equally many rounds, of the scenario as written and of a choice."""

    rounds: int
    written: float
    chosen: float

    @property
    def loss(self) -> float:
        """What the choice loses, as a share of all test samples; below 0 it gains."""
        return self.written - self.chosen


def accuracy(mission: Mission, point: Point, rounds: int) -> float:
    """Test accuracy after some rounds with these switches, trained for real.

    Raises:
        PlanError: The scenario has no images.
        MissingExtra: torch is not installed.
    """
    scenario = point.applied(mission.scenario)
    if scenario.data.dataset == NO_DATASET:
        raise PlanError("data.dataset = 'none' has no images to measure an accuracy on; leave --measure away")
    short = replace(scenario, train=replace(scenario.train, rounds=rounds))
    there = replace(mission, scenario=short, partition=replace(mission.partition, cut=point.cut))
    planned = plan_method(there, point.method)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder), short.name, dump(short), short.seed)
        work = trainings(there, planned, run, random_start=False)
        train_all(work, lambda label, row: None)
        return float(work[0].rows()[-1]["accuracy"])


def search_measured(
    mission: Mission,
    space: Space,
    limits: Limits,
    objective: str,
    rounds: int,
    allowed_loss: float,
    budget_s: float = inf,
    measure: Callable[[Mission, Point, int], float] = accuracy,
) -> tuple[Answer, list[Accuracies]]:
    """Search; train what would change the numbers; where it loses too much, search on without it.

    Each turn leaves out the numbers of the answer before it, of which a space has finitely many, so this ends.

    Args:
        budget_s: Seconds of wall time for all of it. What was found by then is still trained; if it loses too much,
            only points that need no training are searched, and the others are left unvisited.

    Returns:
        The answer, and every measurement in the order in which it was made. The last one is the answer's own, unless
        the answer changes no numbers.
    """
    started_s = time.monotonic()
    refused: set[Numbers] = set()
    measured: list[Accuracies] = []
    written: float | None = None
    while True:
        left_s = max(0.0, budget_s - (time.monotonic() - started_s))
        answer = _without(refused, Search(mission, space, limits, objective), left_s)
        if answer.best is None or not changes_numbers(answer.best.point, mission.scenario):
            return answer, measured
        written = measure(mission, Point.of(mission.scenario), rounds) if written is None else written
        measured.append(Accuracies(rounds, written, measure(mission, answer.best.point, rounds)))
        if measured[-1].loss <= allowed_loss:
            return answer, measured
        refused.add(numbers_of(answer.best.point, mission.scenario))


def _without(refused: set[Numbers], search: Search, left_s: float) -> Answer:
    """The best point whose numbers were not refused; without any time left, one that needs no training."""
    scenario = search.mission.scenario

    def wanted(point: Point) -> bool:
        return numbers_of(point, scenario) not in refused

    def timely(point: Point) -> bool:
        return left_s > 0.0 or not changes_numbers(point, scenario)

    return search.run(left_s, wanted, timely)

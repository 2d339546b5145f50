"""What a sweep was asked to do, as its folder keeps it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orbitune import __version__
from orbitune.errors import PlanError, RunError, ScenarioError
from orbitune.scenario.learning_keys import NO_DATASET
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.scenario.text import dump
from orbitune.sweep.grid import Axis, Point, count, points


@dataclass(frozen=True)
class Request:
    """`scenario` is the resolved file, before anything is varied; `version` is that of the Orbitune which began it."""

    name: str
    scenario: str
    axes: tuple[Axis, ...]
    methods: tuple[str, ...]
    train: bool = False
    version: str = __version__

    def points(self) -> Iterator[Point]:
        """All points in their order."""
        return points(self.axes)

    def at(self, point: Point) -> Scenario:
        """The scenario of a point.

        Raises:
            ScenarioError: The combination contradicts itself.
        """
        with tempfile.TemporaryDirectory(prefix="orbitune-sweep-") as folder:
            path = Path(folder) / "scenario.toml"
            path.write_text(self.scenario, encoding="utf-8")
            return load(path, point.sets)

    def __len__(self) -> int:
        return count(self.axes)

    def to_json(self) -> dict[str, Any]:
        """For request.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Request:
        """From request.json.

        Raises:
            RunError: It is damaged.
        """
        try:
            axes = tuple(Axis(axis["key"], tuple(axis["texts"]), axis["scale"]) for axis in content["axes"])
            known = {key: content[key] for key in ("name", "scenario", "train", "version")}
            return cls(axes=axes, methods=tuple(content["methods"]), **known)
        except (KeyError, TypeError) as error:
            raise RunError(f"the request of the sweep is damaged: {error!r}; start a new sweep") from error

    def difference(self, other: Request) -> str:
        """The first thing in which another request differs, in words; "" where they are equal."""
        mine, theirs = self.to_json(), other.to_json()
        return next((name for name in mine if mine[name] != theirs[name]), "")


def request_of(
    path_or_preset: str, sets: Sequence[str], axes: Sequence[Axis], methods: Sequence[str], train: bool = False
) -> Request:
    """Read the scenario and look for what can never work, before any work is done.

    A combination that contradicts itself is a result of the sweep; a value that its own key never takes is a mistake.

    Raises:
        ScenarioError: The scenario is wrong, a value is wrong for its key, or no combination is a scenario.
        PlanError: Training is wanted and there are no images.
        InputError: A file is missing.
    """
    scenario = _base(path_or_preset, sets, axes)
    _check_values(path_or_preset, sets, axes)
    varied = any(axis.key == "data.dataset" for axis in axes)
    if train and scenario.data.dataset == NO_DATASET and not varied:
        raise PlanError(
            f"{scenario.name}: data.dataset = 'none' has no images to train on; leave --train away, or set a data set"
        )
    return Request(scenario.name, dump(scenario), tuple(axes), tuple(methods), train)


def _base(path_or_preset: str, sets: Sequence[str], axes: Sequence[Axis]) -> Scenario:
    """The scenario before anything is varied; the first point where it has no value of its own for a varied key."""
    try:
        return load(path_or_preset, sets)
    except ScenarioError:
        return load(path_or_preset, [*sets, *next(points(axes)).sets])


def _check_values(path_or_preset: str, sets: Sequence[str], axes: Sequence[Axis]) -> None:
    """Look for each value at points that have it, until one is a scenario."""
    untried = {(axis.key, text) for axis in axes for text in axis.texts}
    wrong: dict[tuple[str, str], ScenarioError] = {}
    fine = False
    for point in points(axes):
        if untried.isdisjoint(point.texts):
            continue
        try:
            load(path_or_preset, [*sets, *point.sets])
        except ScenarioError as error:
            wrong |= {value: error for value in point.texts if value not in wrong and _blames(error, value[0])}
        else:
            untried, fine = untried.difference(point.texts), True
    first = next((wrong[value] for value in wrong if value in untried), None)
    if first is not None:
        raise first
    if not fine:
        load(path_or_preset, [*sets, *next(points(axes)).sets])  # says why


def _blames(error: ScenarioError, key: str) -> bool:
    """Whether a key is what is wrong; items of lists may be named in one place and numbered in the other."""
    return any(problem.key.rpartition(".")[2] == key.rpartition(".")[2] for problem in error.problems)

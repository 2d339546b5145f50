"""One point after the other, in whatever process: what goes into its line of the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from orbitune.errors import InputError, OrbituneError, PlanError, ScenarioError, TimelineRejected
from orbitune.mission import Mission
from orbitune.plans import add_ratios, plan_method, result_row
from orbitune.scenario.schema import Scenario
from orbitune.sweep.grid import Point
from orbitune.sweep.request import Request
from orbitune.sweep.sharing import Skies, outcome_key
from orbitune.timeline.collector import paused_collector

Row = dict[str, Any]

RESULTS = (PlanError, ScenarioError, InputError, TimelineRejected)
"""Refusals that are the result of a point; anything else ends the sweep."""


class Worker:
    """Works points of one request out, and keeps what the next one can use."""

    def __init__(self, request: Request, runs: Path | None = None) -> None:
        self.request, self.runs = request, runs
        self.skies = Skies({})
        self.outcomes: dict[str, Row | str] = {}

    def line(self, point: Point) -> str:
        """The point's line of JSON, without its end. The same point gives the same line in every process."""
        results: list[Row] = []
        refused: dict[str, str] = {}
        try:
            scenario = self.request.at(point)
            results, refused = self._trained(scenario, point) if self.request.train else self._planned(scenario)
        except RESULTS as error:
            refused = dict.fromkeys(self.request.methods, words(error))
        add_ratios(results)
        row = {"point": point.number, "values": point.values, "results": results, "refused": refused}
        return json.dumps(row, separators=(",", ":"))

    def _planned(self, scenario: Scenario) -> tuple[list[Row], dict[str, str]]:
        with paused_collector():
            mission = self.skies.prepare(scenario)
            return _sorted_out(self.request.methods, lambda name: self._outcome(mission, name))

    def _outcome(self, mission: Mission, name: str) -> Row | str:
        key = outcome_key(mission.scenario, name)
        if key is None:
            return _plan(mission, name)
        whole = f"{name} {key}"
        if whole not in self.outcomes:
            self.outcomes[whole] = _plan(mission, name)
        return deepcopy(self.outcomes[whole])  # ratios are written into the row

    def _trained(self, scenario: Scenario, point: Point) -> tuple[list[Row], dict[str, str]]:
        """Every method in a run folder of its own, so that one which refuses does not stop the others."""
        assert self.runs is not None, "whoever asks for training says where runs are kept"
        place = self.runs / f"{point.number:06d}"
        return _sorted_out(self.request.methods, lambda name: _train(scenario, name, place / name))


def _sorted_out(methods: Sequence[str], outcome: Callable[[str], Row | str]) -> tuple[list[Row], dict[str, str]]:
    outcomes = {name: outcome(name) for name in methods}
    results = [found for found in outcomes.values() if not isinstance(found, str)]
    return results, {name: found for name, found in outcomes.items() if isinstance(found, str)}


def _plan(mission: Mission, name: str) -> Row | str:
    """The method's row of results, or why there is none."""
    try:
        return result_row(mission, plan_method(mission, name), ())
    except RESULTS as error:
        return words(error)


def _train(scenario: Scenario, name: str, root: Path) -> Row | str:
    """The same with training, in a new run folder or in that of a sweep that was stopped."""
    from orbitune.experiment import Request as Run
    from orbitune.experiment import execute, start
    from orbitune.runs import RunFolder

    try:
        begun = sorted(path.parent for path in root.glob("*/request.json"))
        run = RunFolder.open(begun[0]) if begun else start(scenario, Run((name,)), root)
        row: Row = execute(run)["results"][0]
        return row
    except RESULTS as error:
        return words(error)


def words(error: OrbituneError) -> str:
    """Why a point has no result, without the names of files that differ from process to process."""
    if isinstance(error, ScenarioError):
        return "; ".join(f"{p.key} = {p.value!r} {p.message}" if p.value is not None else f"{p.key} {p.message}"
                         for p in error.problems)  # fmt: skip
    return str(error)

"""The whole story in one file: a scenario becomes a mission, methods become checked timelines, timelines are trained.

    scenario -> mission.prepare -> Mission -> plans.plan_method -> Planned (timeline, accepted by the checker; bound)
                                                                -> trainings (training.py does them) -> rows of metrics
             start, execute: all of it in a run folder -> compare.json

Planning needs no torch: it is imported in the processes that train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from orbitune.errors import PlanError, RunError
from orbitune.links.overview import overview
from orbitune.methods import METHODS
from orbitune.mission import Mission, learn_spec, model_spec, participation_of, prepare, selection
from orbitune.plans import (
    Planned,
    Progress,
    Row,
    Silent,
    add_ratios,
    first_round,
    judge,
    plan_method,
    plan_only,
    result_row,
)
from orbitune.runs import SCHEMA_VERSION, RunFolder
from orbitune.scenario import build
from orbitune.scenario.learning_keys import NO_DATASET
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.scenario.text import dump
from orbitune.statements import assumptions, checks
from orbitune.training import Training, train_all


@dataclass(frozen=True)
class Request:
    """What a run was asked to do; stored in the run folder so that it can be resumed.

    `random_start` trains the collaborative method a second time from random weights; `companions` are presets that
    are planned beside the run and never trained.
    """

    methods: tuple[str, ...]
    train: bool = True
    random_start: bool = False
    companions: tuple[str, ...] = ()


def start(scenario: Scenario, request: Request, root: Path) -> RunFolder:
    """Make a run folder under `root` and note in it what is to be done.

    Raises:
        PlanError: There are no images to train on, or not even one round can be planned.
        RunError: The folder cannot be written.
    """
    if request.train and scenario.data.dataset == NO_DATASET:
        raise PlanError(
            f"{scenario.name}: data.dataset = 'none' has no images to train on; use `orbitune plan`, or set a data set"
        )
    mission = prepare(scenario)
    for name in request.methods:
        first_round(mission, name)  # what can never be planned leaves no folder behind
    run = RunFolder.create(root, scenario.name, dump(scenario), scenario.seed)
    run.write_json("request.json", asdict(request))
    run.event("started", methods=list(request.methods))
    return run


def requested(run: RunFolder) -> Request:
    """What an existing run was asked to do."""
    content = run.read_json("request.json")
    try:
        request = Request(tuple(content.pop("methods")), companions=tuple(content.pop("companions")), **content)
        unknown = set(request.methods) - set(METHODS)
        if unknown:
            raise TypeError(f"unknown method {sorted(unknown)[0]!r}")
        return request
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.path / 'request.json'} is damaged: {error}; start a new run") from error


def execute(run: RunFolder, progress: Progress | None = None) -> Row:
    """Do, or go on with, what a run folder asks for, and write compare.json.

    Everything already there and complete is kept: timelines are read and judged again, training goes on from its
    last checkpoint to the same weights as if it had never stopped.
    """
    heard = progress or Silent()
    scenario, request = load(run.path / "scenario.toml"), requested(run)
    mission = prepare(scenario)
    if not run.has("contacts.json"):
        run.write_json("contacts.json", _overview(mission))
    plans = [_planned(mission, name, run, heard) for name in request.methods]
    work = [trainings(mission, planned, run, request.random_start) for planned in plans] if request.train else []
    train_all([training for each in work for training in each], partial(_trained, heard, scenario.train.rounds))
    rows = [_result(mission, planned, run) for planned in plans]
    add_ratios(rows)
    content = {
        "schema_version": SCHEMA_VERSION,
        "scenario": scenario.name,
        "results": rows,
        "planned": [_companion(name, request.methods, heard) for name in request.companions],
        "assumptions": assumptions(scenario),
        "checks": checks(scenario),
    }
    run.write_json("compare.json", content)
    run.event("finished")
    return content


def _overview(mission: Mission) -> Row:
    scenario = mission.scenario
    stations = build.build_stations(scenario)
    return overview(build.build_constellation(scenario), stations, mission.system.contacts, scenario.time.start_utc)


def trainings(mission: Mission, planned: Planned, run: RunFolder, random_start: bool) -> list[Training]:
    """What has to be trained for one method: from the scenario's weights and, if wanted, from random ones."""
    scenario, name = mission.scenario, planned.method.name
    starts = {name: scenario.model.weights}
    if random_start and name == "collaborative":
        starts[f"{name}@random"] = "random"
    return [
        Training(
            run=run.path,
            label=label,
            spec=learn_spec(scenario, planned.method, planned.job),
            model=replace(model_spec(scenario), weights=weights),
            selection=selection(scenario),
            num_satellites=len(planned.job.samples),
            start_s=planned.timeline.phase_s("deploy"),
            round_ends_s=planned.timeline.round_ends_s(),
            participation=participation_of(planned.method, planned.timeline, mission.system.nodes.num_satellites),
        )
        for label, weights in starts.items()
    ]


def _trained(progress: Progress, rounds: int, label: str, row: Row) -> None:
    progress.trained(label, row, rounds)


def _result(mission: Mission, planned: Planned, run: RunFolder) -> Row:
    name = planned.method.name
    row = result_row(mission, planned, run.rows(f"methods/{name}/metrics.jsonl"))
    run.write_json(f"methods/{name}/summary.json", row)
    run.event("method finished", method=name, sim_time_s=row["time_s"])
    return row


def _planned(mission: Mission, name: str, run: RunFolder, progress: Progress) -> Planned:
    if run.has(f"methods/{name}/timeline.jsonl.gz"):
        return judge(mission, name, run.read_timeline(name), progress)
    planned = plan_method(mission, name, progress)
    run.write_timeline(name, planned.timeline)
    return planned


def _companion(preset: str, methods: Sequence[str], progress: Progress) -> Row:
    scenario = load(preset)
    return {"scenario": preset, "model": scenario.model.name, "results": plan_only(scenario, methods, progress)}

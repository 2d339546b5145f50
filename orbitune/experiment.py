"""The whole story in one file: a scenario becomes a mission, methods become checked timelines, timelines are trained.

    scenario -> mission.prepare -> Mission -> plans.plan_method -> Planned (timeline, accepted by the checker; bound)
                                                                -> trainings (training.py does them) -> rows of metrics
             start, execute: all of it in a run folder -> compare.json

With several seeds the physics stay (orbits, contacts, machines); the draw of samples, weights and data changes. The
first seed's files lie as those of a run with one seed, those of each further one under seeds/<seed>/methods/.

Planning needs no torch: it is imported in the processes that train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from orbitune.errors import PlanError, RunError
from orbitune.imagery.imagery import holdings
from orbitune.learn.spread_cluster import Workers
from orbitune.links.overview import overview
from orbitune.methods import METHODS
from orbitune.mission import Mission, learn_spec, model_spec, participation_of, prepare, selection
from orbitune.plans import (
    Planned,
    Progress,
    Row,
    Silent,
    add_ratios,
    attempt,
    first_round,
    judge,
    learned,
    over_seeds,
    plan_method,
    plan_only,
    plan_row,
    round_costs,
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
    are planned beside the run and never trained. `seeds` are several to repeat everything with; () is the scenario's.
    """

    methods: tuple[str, ...]
    train: bool = True
    random_start: bool = False
    companions: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


def start(scenario: Scenario, request: Request, root: Path) -> RunFolder:
    """Make a run folder under `root` and note in it what is to be done.

    Raises:
        PlanError: There are no images to train on, or none of the methods can plan even one round.
        RunError: The folder cannot be written.
    """
    if request.train and scenario.data.dataset == NO_DATASET:
        raise PlanError(
            f"{scenario.name}: data.dataset = 'none' has no images to train on; use `orbitune plan`, or set a data set"
        )
    if request.seeds:
        scenario = replace(scenario, seed=request.seeds[0])
    mission = prepare(scenario)
    attempt(request.methods, lambda name: first_round(mission, name))  # what can never be planned leaves no folder
    run = RunFolder.create(root, scenario.name, dump(scenario), scenario.seed)
    run.write_json("request.json", asdict(request))
    run.event("started", methods=list(request.methods))
    return run


def requested(run: RunFolder) -> Request:
    """What an existing run was asked to do."""
    content = run.read_json("request.json")
    try:
        methods, companions = tuple(content.pop("methods")), tuple(content.pop("companions"))
        request = Request(methods, companions=companions, seeds=tuple(content.pop("seeds", ())), **content)
        unknown = set(request.methods) - set(METHODS)
        if unknown:
            raise TypeError(f"unknown method {sorted(unknown)[0]!r}")
        if not all(isinstance(seed, int) for seed in request.seeds):
            raise TypeError(f"seeds {list(request.seeds)}")
        return request
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.path / 'request.json'} is damaged: {error}; start a new run") from error


@dataclass(frozen=True)
class Case:
    """One method with one seed: where it is kept, what planning says of it, what rounds cost, what is to be trained."""

    folder: RunFolder
    seed: int
    row: Row
    costs: tuple[Row, ...]
    work: tuple[Training, ...]

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.row["method"])


def execute(run: RunFolder, progress: Progress | None = None, workers: Workers | None = None) -> Row:
    """Do, or go on with, what a run folder asks for, and write compare.json; trainings are done by `workers`.

    Everything already there and complete is kept: timelines are read and judged again, training goes on from its
    last checkpoint to the same weights as if it had never stopped. Methods that cannot work here are named in
    `refused`, and the others go on.

    Raises:
        PlanError: None of the methods can work.
    """
    heard = progress or Silent()
    scenario, request = load(run.path / "scenario.toml"), requested(run)
    mission = prepare(scenario)
    if not run.has("contacts.json"):
        run.write_json("contacts.json", sky(mission))
    missions = [reseeded(mission, seed) for seed in request.seeds or (scenario.seed,)]
    cases, refused = attempt(request.methods, lambda name: _cases(missions, name, run, request, heard))
    train_all([training for found in cases.values() for case in found for training in case.work],
              partial(_trained, heard, scenario.train.rounds), workers)  # fmt: skip
    content = {
        "schema_version": SCHEMA_VERSION,
        "scenario": scenario.name,
        "seeds": [each.scenario.seed for each in missions],
        "results": _results(list(cases.values()), run),
        "refused": refused,
        "planned": [_companion(name, request.methods, heard) for name in request.companions],
        "assumptions": assumptions(scenario),
        "checks": checks(scenario),
    }
    run.write_json("compare.json", content)
    run.event("finished")
    return content


def reseeded(mission: Mission, seed: int) -> Mission:
    """The same sky, machines and model with another seed: other satellites hold other samples."""
    scenario, count = replace(mission.scenario, seed=seed), mission.system.nodes.num_satellites
    if seed == mission.scenario.seed:
        return mission
    held = mission.holdings
    if scenario.data.dataset != NO_DATASET:
        held = holdings(selection(scenario), count, seed)
    return replace(mission, scenario=scenario, holdings=held)


def _cases(
    missions: Sequence[Mission], name: str, run: RunFolder, request: Request, progress: Progress
) -> tuple[Case, ...]:
    """A method planned with every seed.

    Raises:
        PlanError: It cannot work with one of them.
    """
    found: list[Case] = []
    for mission in missions:
        try:
            found.append(_case(mission, name, run, request, progress))
        except PlanError as error:
            if not found:
                raise
            raise PlanError(f"with seed {mission.scenario.seed}: {error}") from error
    return tuple(found)


def _case(mission: Mission, name: str, run: RunFolder, request: Request, progress: Progress) -> Case:
    """One method with one seed, planned; its timeline, which is large, stays on disk."""
    seed, further = mission.scenario.seed, request.seeds[1:]
    folder = RunFolder(run.path / "seeds" / str(seed)) if seed in further else run
    planned = _planned(mission, name, folder, progress)
    work: list[Training] = []
    if request.train:
        note = f", seed {seed}" if len(request.seeds) > 1 else ""
        work = [replace(one, note=note) for one in trainings(mission, planned, folder, request.random_start)]
    costs = round_costs(mission, planned) if work else []
    return Case(folder, seed, plan_row(mission, planned), tuple(costs), tuple(work))


def sky(mission: Mission) -> Row:
    """What contacts.json has: nodes, ground tracks and passes, for the map and for names in the report."""
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


def _results(cases: Sequence[Sequence[Case]], run: RunFolder) -> list[Row]:
    """A row for each method: the figures of the first seed and, where there are several, the spread over all."""
    table = [[_row(case) for case in found] for found in cases]
    for of_one_seed in zip(*table, strict=True):
        add_ratios(of_one_seed)
    for found, rows in zip(cases, table, strict=True):
        for case, row in zip(found, rows, strict=True):
            _keep(case, row, run)
    return [rows[0] | {"over_seeds": over_seeds(rows) if len(rows) > 1 else None} for rows in table]


def _row(case: Case) -> Row:
    """One method's line with one seed, but for its ratios, which need the other methods'."""
    return learned(case.row, case.costs, case.folder.rows(f"methods/{case.method}/metrics.jsonl"))


def _keep(case: Case, row: Row, run: RunFolder) -> None:
    """Write down the complete line of one method with one seed."""
    case.folder.write_json(f"methods/{case.method}/summary.json", row)
    run.event("method finished", method=case.method, seed=case.seed, sim_time_s=row["time_s"])


def _planned(mission: Mission, name: str, run: RunFolder, progress: Progress) -> Planned:
    if run.has(f"methods/{name}/timeline.jsonl.gz"):
        return judge(mission, name, run.read_timeline(name), progress)
    planned = plan_method(mission, name, progress)
    run.write_timeline(name, planned.timeline)
    return planned


def _companion(preset: str, methods: Sequence[str], progress: Progress) -> Row:
    scenario = load(preset)
    return {"scenario": preset, "model": scenario.model.name, "results": plan_only(scenario, methods, progress)}

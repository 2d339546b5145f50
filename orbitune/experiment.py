"""The whole story in one file: a scenario becomes a mission, methods become checked timelines, timelines are trained.

    scenario -> prepare -> Mission -> plan_method -> Planned (timeline, accepted by the checker; lower bound)
                                                  -> trainings (training.py does them) -> rows of metrics
             start, execute: all of it in a run folder -> compare.json

Planning needs no torch: it is imported in the processes that train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from orbitune.cost.system import System
from orbitune.errors import PlanError, RunError
from orbitune.imagery.batches import batch_size_of
from orbitune.imagery.imagery import Holdings, Selection, holdings
from orbitune.learn.spec import LearnSpec
from orbitune.links.contacts import KINDS
from orbitune.links.overview import overview
from orbitune.methods import METHODS, Job, Method, Ways, plan
from orbitune.model.partition import Partition
from orbitune.model.profile import load_profile
from orbitune.runs import SCHEMA_VERSION, RunFolder
from orbitune.scenario import build
from orbitune.scenario.learning_keys import NO_DATASET
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.scenario.text import dump
from orbitune.statements import assumptions, checks
from orbitune.timeline.activity import Timeline
from orbitune.timeline.bounds import Bound, lower_bound
from orbitune.timeline.summary import energy_j, limiting
from orbitune.timeline.usage import binding, by_stage
from orbitune.timeline.verify import verify
from orbitune.training import Training, train_all

Row = dict[str, Any]

UNUSED_ALPHA = 1.0
"""Stands where samples are not dealt out by Dirichlet; nothing reads it then."""


class Progress(Protocol):
    """Who wants to hear how it goes: the console, or nobody."""

    def planned(self, method: str, round: int, rounds: int, sim_s: float) -> None:
        """A round was planned; it ends at `sim_s`."""

    def checked(self, method: str, activities: int) -> None:
        """The checker accepted a timeline."""

    def trained(self, run: str, row: Row, rounds: int) -> None:
        """A round was trained; `row` is its line of metrics."""


class Silent:
    """Progress for nobody."""

    def planned(self, method: str, round: int, rounds: int, sim_s: float) -> None:
        """Nothing."""

    def checked(self, method: str, activities: int) -> None:
        """Nothing."""

    def trained(self, run: str, row: Row, rounds: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Mission:
    """A scenario with its orbits, contacts, machines and image counts worked out.

    `left_out` has a sentence for each element set of a file that could not be used.
    """

    scenario: Scenario
    system: System
    partition: Partition
    holdings: Holdings
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One method on one mission: its timeline, accepted by the checker, and the bound no schedule can beat."""

    method: Method
    job: Job
    timeline: Timeline
    bound: Bound


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


def prepare(scenario: Scenario) -> Mission:
    """Work out contacts, machines, the cut model and who holds how many images.

    Raises:
        PlanError, InputError: The scenario cannot be done, or a file it names is missing or damaged.
    """
    constellation = build.build_constellation(scenario)
    held = _holdings(scenario, len(constellation))
    system, partition = build.build_system(scenario, constellation), build.partition(scenario)
    return Mission(scenario, system, partition, held, constellation.left_out)


def selection(scenario: Scenario) -> Selection:
    """Which images the scenario asks for, and how they are dealt out."""
    data = scenario.data
    assert data.assignment is not None, "the schema requires it wherever there is a data set"
    alpha = data.dirichlet_alpha if data.dirichlet_alpha is not None else UNUSED_ALPHA
    return Selection(scene=data.dataset, how=data.assignment, alpha=alpha)


def _holdings(scenario: Scenario, num_satellites: int) -> Holdings:
    data = scenario.data
    if data.dataset != NO_DATASET:
        return holdings(selection(scenario), num_satellites, scenario.seed)
    assert data.samples_per_satellite is not None and data.num_classes is not None, "required without a data set"
    counts = (data.samples_per_satellite,) * num_satellites
    return Holdings(counts, 0, tuple(map(str, range(data.num_classes))), load_profile(scenario.model.name).sample_bytes)


def job_of(mission: Mission) -> Job:
    """The job as the scenario words it; a method may still fix some of its switches."""
    train, method = mission.scenario.train, mission.scenario.method
    return Job(
        system=mission.system,
        partition=mission.partition,
        trains=train.trains,
        server_encoder=train.server_encoder,
        rounds=train.rounds,
        local_steps=train.local_steps,
        samples=mission.holdings.num_train,
        batch=tuple(batch_size_of(count, train.batch_size) for count in mission.holdings.num_train),
        optimizer=train.optimizer,
        momentum=train.momentum,
        codec=method.codec,
        ways=Ways(method.intra_orbit, method.satellite_ground, method.inter_orbit, method.slot_s),
        preloaded=method.preloaded,
        deliver_to=method.deliver_to,
        overlap=method.overlap,
    )


def plan_method(mission: Mission, name: str, progress: Progress | None = None) -> Planned:
    """Plan one method, have the checker judge the timeline, and bound it.

    Raises:
        PlanError: The method cannot work on this mission.
        TimelineRejected: The checker found a rule broken; nothing of the plan is used then.
    """
    heard = progress or Silent()
    method = METHODS[name]
    job = method.prepare(job_of(mission))
    timeline = plan(method, job, lambda index, now: heard.planned(name, index + 1, job.rounds, now))
    return judge(mission, name, timeline, heard)


def judge(mission: Mission, name: str, timeline: Timeline, progress: Progress | None = None) -> Planned:
    """Let the checker accept or refuse a timeline, planned now or read from a run, and bound it."""
    method = METHODS[name]
    job = method.prepare(job_of(mission))
    verify(timeline, mission.system)
    (progress or Silent()).checked(name, len(timeline.activities))
    needs = method.needs(job, timeline.rounds)
    if timeline.stopped:
        needs = [need for need in needs if need.phase != "deliver"]  # what was not scheduled must not raise the bound
    return Planned(method, job, timeline, lower_bound(needs, mission.system))


def _learn_spec(mission: Mission, planned: Planned) -> LearnSpec:
    """What the method trains and how, without a word of orbits."""
    train, job = mission.scenario.train, planned.job
    return LearnSpec(
        learner=planned.method.learner,
        trains=job.trains,
        server_encoder=job.server_encoder,
        cut=job.partition.cut,
        codec=job.codec,
        local_steps=job.local_steps,
        batch_size=train.batch_size,
        optimizer=job.optimizer,
        learning_rate=train.learning_rate,
        head_rate_factor=train.head_rate_factor,
        momentum=job.momentum,
        weight_decay=train.weight_decay,
        seed=mission.scenario.seed,
    )


def result_row(mission: Mission, planned: Planned, metrics: Sequence[Row]) -> Row:
    """One method's line of the results table; ratios are added when all methods are known."""
    timeline, target = planned.timeline, mission.scenario.train.target_accuracy
    sent = timeline.link_bytes()
    reached = next((row["sim_time_s"] for row in metrics if row["accuracy"] >= target), None)
    return {
        "method": planned.method.name,
        "rounds": timeline.rounds,
        "time_s": timeline.time_s,
        **{f"{phase}_s": timeline.phase_s(phase) for phase in ("deploy", "train", "deliver")},
        "bound_s": planned.bound.time_s,
        "bound": planned.bound.name,
        "verified": True,
        "ratio_to_onboard": None,
        "ratio_to_onboard_per_pass": None,
        "target_accuracy": target,
        "time_to_target_s": reached,
        "final_accuracy": metrics[-1]["accuracy"] if metrics else None,
        "bytes": {kind: sent.get(kind, 0) for kind in KINDS},
        "energy_j": energy_j(timeline, mission.system),
        "limiting": limiting(timeline),
        "binding": binding(timeline, mission.system),
        "stages": timeline.stage_s(),
        "stopped": timeline.stopped,
    }


def add_ratios(rows: Sequence[Row]) -> None:
    """Fill in both ratios to the on-board method; they stay null where there is nothing to compare."""
    reference = next((row for row in rows if row["method"] == "onboard"), None)
    if reference is None:
        return
    for row in rows:
        if row["rounds"] == reference["rounds"] and not row["stopped"] and not reference["stopped"]:
            row["ratio_to_onboard_per_pass"] = row["time_s"] / reference["time_s"]
        if row["time_to_target_s"] is not None and reference["time_to_target_s"]:
            row["ratio_to_onboard"] = row["time_to_target_s"] / reference["time_to_target_s"]


def first_round(mission: Mission, name: str) -> Row:
    """Plan one round of a method: whatever would stop it is raised here."""
    scenario = mission.scenario
    once = replace(mission, scenario=replace(scenario, train=replace(scenario.train, rounds=1)))
    return result_row(once, plan_method(once, name), ())


def plan_only(scenario: Scenario, methods: Sequence[str], progress: Progress | None = None) -> list[Row]:
    """Results of planning alone, and where the time of each method goes (`where`, stage by stage).

    Raises:
        PlanError: One of the methods cannot work on this scenario.
    """
    return planned_rows(prepare(scenario), methods, progress)


def planned_rows(mission: Mission, methods: Sequence[str], progress: Progress | None = None) -> list[Row]:
    """The same for a mission that is worked out already."""
    rows = [planned_row(mission, plan_method(mission, name, progress)) for name in methods]
    add_ratios(rows)
    return rows


def planned_row(mission: Mission, planned: Planned) -> Row:
    """A results row with the seconds of each stage, their share, and the resource that is busiest in it."""
    total_s = planned.timeline.time_s or 1.0
    where = [
        {"stage": stage, "time_s": seconds, "share": seconds / total_s, "busiest": use.name, "busy": use.share}
        for stage, seconds, use in by_stage(planned.timeline, mission.system)
    ]
    return result_row(mission, planned, ()) | {"where": where}


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
            spec=_learn_spec(mission, planned),
            model=scenario.model.name,
            weights=weights,
            selection=selection(scenario),
            num_satellites=len(planned.job.samples),
            start_s=planned.timeline.phase_s("deploy"),
            round_ends_s=planned.timeline.round_ends_s(),
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

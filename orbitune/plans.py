"""Methods on a mission: planned, judged by the checker, bounded, and put into rows of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from orbitune.cost.system import System
from orbitune.links.contacts import KINDS
from orbitune.methods import METHODS, Job, Method, plan
from orbitune.methods.in_orbit import placed
from orbitune.mission import Mission, configured, job_of, prepare
from orbitune.scenario.schema import Scenario
from orbitune.timeline.activity import Timeline
from orbitune.timeline.battery import lowest_charge
from orbitune.timeline.bounds import Bound, lower_bound
from orbitune.timeline.summary import energy_j, limiting
from orbitune.timeline.usage import binding, by_stage
from orbitune.timeline.verify import verify

Row = dict[str, Any]


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
class Planned:
    """One method on one mission: its timeline, accepted by the checker, and the bound no schedule can beat."""

    method: Method
    job: Job
    timeline: Timeline
    bound: Bound


def method_and_job(mission: Mission, name: str) -> tuple[Method, Job]:
    """The method of that name with its encoder where the scenario places it, and the job as it wants it.

    Raises:
        PlanError: The method cannot do such a job.
    """
    job = job_of(mission)
    method = placed(configured(METHODS[name], mission.scenario), job)
    return method, method.prepare(job)


def plan_method(mission: Mission, name: str, progress: Progress | None = None) -> Planned:
    """Plan one method, have the checker judge the timeline, and bound it.

    Raises:
        PlanError: The method cannot work on this mission.
        TimelineRejected: The checker found a rule broken; nothing of the plan is used then.
    """
    heard = progress or Silent()
    method, job = method_and_job(mission, name)
    timeline = plan(method, job, lambda index, now: heard.planned(name, index + 1, job.rounds, now))
    return judge(mission, name, timeline, heard)


def judge(mission: Mission, name: str, timeline: Timeline, progress: Progress | None = None) -> Planned:
    """Let the checker accept or refuse a timeline, planned now or read from a run, and bound it."""
    method, job = method_and_job(mission, name)
    verify(timeline, mission.system)
    (progress or Silent()).checked(name, len(timeline.activities))
    needs = method.needs(job, timeline.rounds)
    if timeline.stopped:
        needs = [need for need in needs if need.phase != "deliver"]  # what was not scheduled must not raise the bound
    return Planned(method, job, timeline, lower_bound(needs, mission.system))


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
        "lowest_charge": _lowest_charge(timeline, mission.system),
        "limiting": limiting(timeline),
        "binding": binding(timeline, mission.system),
        "stages": timeline.stage_s(),
        "stopped": timeline.stopped,
    }


def _lowest_charge(timeline: Timeline, system: System) -> Row | None:
    """Least charge of any battery as a share of what it holds, whose and when; null without batteries."""
    lowest = lowest_charge(timeline, system)
    if lowest is None:
        return None
    return {"share": lowest.share, "satellite": system.nodes.name(lowest.satellite), "time_s": lowest.time_s}


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

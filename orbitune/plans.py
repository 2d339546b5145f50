"""Methods on a mission: planned, judged by the checker, bounded, and put into rows of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, Protocol, TypeVar

from orbitune.cost.system import System
from orbitune.errors import PlanError, TimelineRejected
from orbitune.links.contacts import KINDS
from orbitune.methods import METHODS, Job, Method, plan
from orbitune.methods.in_orbit import placed
from orbitune.mission import Mission, configured, job_of, prepare
from orbitune.scenario.schema import Scenario
from orbitune.timeline.activity import Timeline
from orbitune.timeline.battery import lowest_charge
from orbitune.timeline.bounds import Bound, lower_bound
from orbitune.timeline.excerpt import excerpt, phase_start_s, system_from
from orbitune.timeline.spent import SCARCE, spent_by
from orbitune.timeline.summary import energy_j, limiting
from orbitune.timeline.usage import binding, by_stage
from orbitune.timeline.verify import verify

Row = dict[str, Any]

Refused = dict[str, str]
"""Methods that cannot work on a mission, and why; the same words as in a sweep."""

Worked = TypeVar("Worked")


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
        PlanError: The method cannot work on this mission, or a node would have to keep more than its memory holds.
        TimelineRejected: The checker found another rule broken; nothing of the plan is used then.
    """
    heard = progress or Silent()
    method, job = method_and_job(mission, name)
    timeline = plan(method, job, lambda index, now: heard.planned(name, index + 1, job.rounds, now))
    try:
        return judge(mission, name, timeline, heard)
    except TimelineRejected as rejected:
        if rejected.rule != "memory":
            raise
        raise PlanError(
            f'{name}: {rejected.message}; use a smaller train.batch_size, method.overlap = "stream", or more memory_gb'
        ) from None


def judge(mission: Mission, name: str, timeline: Timeline, progress: Progress | None = None) -> Planned:
    """Let the checker accept or refuse a timeline, planned now or read from a run, and bound it."""
    method, job = method_and_job(mission, name)
    verify(timeline, mission.system)
    (progress or Silent()).checked(name, len(timeline.activities))
    needs = method.needs(job, timeline.rounds)
    if timeline.stopped:
        needs = [need for need in needs if need.phase != "deliver"]  # what was not scheduled must not raise the bound
    return Planned(method, job, timeline, lower_bound(needs, mission.system))


def attempt(names: Iterable[str], work: Callable[[str], Worked]) -> tuple[dict[str, Worked], Refused]:
    """What comes of each method; one that cannot work does not stop the others.

    Raises:
        PlanError: None of them can work.
    """
    worked: dict[str, Worked] = {}
    refused: Refused = {}
    for name in names:
        try:
            worked[name] = work(name)
        except PlanError as error:
            refused[name] = str(error)
    if refused and not worked:
        raise PlanError(nobody(refused))
    return worked, refused


def nobody(refused: Refused) -> str:
    """Why no method is left: the one reason, or all of them by name."""
    if len(refused) == 1:
        return next(iter(refused.values()))
    return "none of the methods can work here: " + "; ".join(f"{name}: {why}" for name, why in refused.items())


# -- rows of results -------------------------------------------------------------------------------------------------


def result_row(mission: Mission, planned: Planned, metrics: Sequence[Row]) -> Row:
    """One method's line of the results table; ratios are added when all methods are known."""
    return learned(plan_row(mission, planned), round_costs(mission, planned) if metrics else (), metrics)


def plan_row(mission: Mission, planned: Planned) -> Row:
    """What planning alone says of a method; `learned` adds what training says."""
    timeline = planned.timeline
    sent = timeline.link_bytes()
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
        "target_accuracy": mission.scenario.train.target_accuracy,
        "bytes": {kind: sent.get(kind, 0) for kind in KINDS},
        "sent_bytes": sum(sent.get(kind, 0) for kind in SCARCE),
        "energy_j": energy_j(timeline, mission.system),
        "lowest_charge": _lowest_charge(timeline, mission.system),
        "limiting": limiting(timeline),
        "binding": binding(timeline, mission.system),
        "stages": timeline.stage_s(),
        "stopped": timeline.stopped,
    }


def round_costs(mission: Mission, planned: Planned) -> list[Row]:
    """What was used up when training began (row 0) and when each round had ended (rows 1, 2, ...)."""
    timeline = planned.timeline
    moments_s = (timeline.phase_s("deploy"), *timeline.round_ends_s())
    spent = spent_by(timeline, mission.system, moments_s)
    return [{"bytes": one.bytes, "sent_bytes": one.scarce_bytes, "energy_j": one.energy_j} for one in spent]


def learned(row: Row, costs: Sequence[Row], metrics: Sequence[Row]) -> Row:
    """A row with what training adds: accuracy over time, bytes and energy, and when the target was first reached."""
    curve = [
        {"round": one["round"], "time_s": one["sim_time_s"], "accuracy": one["accuracy"], **costs[one["round"]]}
        for one in metrics
    ]
    reached: Row = next((one for one in curve if one["accuracy"] >= row["target_accuracy"]), {})
    return row | {
        "time_to_target_s": reached.get("time_s"),
        "bytes_to_target": reached.get("sent_bytes"),
        "energy_to_target_j": reached.get("energy_j"),
        "final_accuracy": curve[-1]["accuracy"] if curve else None,
        "curve": curve,
        "over_seeds": None,
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
        complete = row["rounds"] == reference["rounds"] and not row["stopped"] and not reference["stopped"]
        if complete and reference["time_s"]:
            row["ratio_to_onboard_per_pass"] = row["time_s"] / reference["time_s"]
        if row["time_to_target_s"] is not None and reference["time_to_target_s"]:
            row["ratio_to_onboard"] = row["time_to_target_s"] / reference["time_to_target_s"]


# -- over seeds ------------------------------------------------------------------------------------------------------

OVER_SEEDS = (
    "time_s", "deploy_s", "train_s", "deliver_s", "bound_s", "final_accuracy", "time_to_target_s", "bytes_to_target",
    "energy_to_target_j", "ratio_to_onboard", "ratio_to_onboard_per_pass", "sent_bytes", "energy_j",
)  # fmt: skip
"""Figures of which the spread over seeds is given."""


def over_seeds(rows: Sequence[Row]) -> Row:
    """Mean and spread of one method's rows, one row a seed: of each of `OVER_SEEDS`, and of bytes by kind."""
    found: Row = {key: _figure([row[key] for row in rows]) for key in OVER_SEEDS}
    return found | {"bytes": {kind: _figure([row["bytes"][kind] for row in rows]) for kind in KINDS}}


def _figure(values: Sequence[float | None]) -> Row:
    """Seeds without a value (a target that was missed) count in no mean; `sd` is the sample's, from two values on."""
    known = [value for value in values if value is not None]
    return {
        "values": list(values),
        "count": len(known),
        "mean": fmean(known) if known else None,
        "min": min(known, default=None),
        "max": max(known, default=None),
        "sd": stdev(known) if len(known) > 1 else None,
    }


# -- planning alone --------------------------------------------------------------------------------------------------


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


def sorted_out(
    mission: Mission, methods: Sequence[str], phase: str | None = None, progress: Progress | None = None
) -> tuple[list[Row], Refused]:
    """Rows of the methods that can work, of the whole job or of one phase of it, and why the others cannot.

    Raises:
        PlanError: None of them can work.
    """

    def row(name: str) -> Row:
        planned = plan_method(mission, name, progress)
        return planned_row(mission, planned) if phase is None else phase_row(mission, planned, phase)

    worked, refused = attempt(methods, row)
    rows = list(worked.values())
    if phase in (None, "train"):  # passes over the samples are made in training alone
        add_ratios(rows)
    return rows, refused


def planned_row(mission: Mission, planned: Planned) -> Row:
    """A results row with the seconds of each stage, their share, and the resource that is busiest in it."""
    total_s = planned.timeline.time_s or 1.0
    where = [
        {"stage": stage, "time_s": seconds, "share": seconds / total_s, "busiest": use.name, "busy": use.share}
        for stage, seconds, use in by_stage(planned.timeline, mission.system)
    ]
    return result_row(mission, planned, ()) | {"where": where}


def phase_row(mission: Mission, planned: Planned, phase: str) -> Row:
    """The row of one phase as if it were the whole job: checked alone, bounded alone, times from its own start.

    It begins where the whole job has come to by then: `starts_s`, with the contacts of that hour.
    """
    start_s = phase_start_s(planned.timeline, phase)
    alone = replace(mission, system=system_from(mission.system, start_s))
    part = excerpt(planned.timeline, phase)
    verify(part, alone.system)
    needs = [need for need in planned.method.needs(planned.job, planned.timeline.rounds) if need.phase == phase]
    bound = lower_bound(needs if part.spans else [], alone.system)  # nothing was scheduled, nothing is bounded
    row = planned_row(alone, replace(planned, timeline=part, bound=bound))
    return row | {"rounds": planned.timeline.rounds, "phase": phase, "starts_s": start_s}

"""What `orbitune launch` left in a run folder: the executed timeline beside the planned one, and how they differ."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orbitune.errors import InputError
from orbitune.runs import UNREADABLE, RunFolder
from orbitune.timeline.activity import Timeline

LAUNCH = "launch.json"

EXECUTED = "executed.jsonl.gz"


@dataclass(frozen=True)
class StageTimes:
    """One stage over the whole job; `judged` where it lasts long enough beside the engine's own calls for a ratio."""

    stage: str
    planned_s: float
    executed_s: float
    judged: bool


@dataclass(frozen=True)
class Event:
    """Something that happened on the way: a fault, a member lost, a new plan."""

    sim_s: float
    what: str


@dataclass(frozen=True)
class Execution:
    """A plan that was carried out. Times are simulated seconds, but `wall_s`.

    Attributes:
        time_scale: Simulated seconds per real second.
        round_ratio: Executed over planned time of the rounds.
        overruns: Computations that took longer than planned.
        weight_difference: Largest relative difference of final weights to training in one process; None if not asked.
        call_overhead_s: What one call of the engine costs by itself.
    """

    method: str
    engine: str
    time_scale: float
    wall_s: float
    planned_s: float
    executed_s: float
    round_ratio: float | None
    stages: tuple[StageTimes, ...]
    overruns: int
    events: tuple[Event, ...]
    weight_difference: float | None
    call_overhead_s: float
    planned: Timeline
    executed: Timeline


def read_execution(run: RunFolder) -> Execution | None:
    """What was executed; None where a run was only planned and trained.

    Raises:
        InputError: A file is missing or damaged.
    """
    if not run.has(LAUNCH):
        return None
    found = run.read_json(LAUNCH)
    try:
        return _execution(run, found, _method(run, found))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.path / LAUNCH} is damaged: it lacks or garbles {error}; resume the launch") from error


def _method(run: RunFolder, found: Mapping[str, Any]) -> str:
    """The method that was carried out: named, or the one that left an executed timeline."""
    names = [name for name in run.methods() if run.has(f"methods/{name}/{EXECUTED}")]
    name = str(found.get("method") or (names[0] if names else ""))
    if name not in names:
        raise InputError(f"{run.path} has no methods/{name or '<method>'}/{EXECUTED}; resume the launch")
    return name


def _execution(run: RunFolder, found: Mapping[str, Any], method: str) -> Execution:
    difference = found.get("max_weight_difference")
    return Execution(
        method=method,
        engine=str(found["engine"]),
        time_scale=float(found["time_scale"]),
        wall_s=float(found["wall_s"]),
        planned_s=float(found["planned_s"]),
        executed_s=float(found["executed_s"]),
        round_ratio=None if found.get("round") is None else float(found["round"]),
        stages=tuple(
            StageTimes(str(row["stage"]), float(row["planned_s"]), float(row["executed_s"]), bool(row["judged"]))
            for row in found["stages"]
        ),
        overruns=int(found.get("overruns", 0)),
        events=tuple(Event(float(row["sim_s"]), str(row["what"])) for row in found.get("events", ())),
        weight_difference=None if difference is None else float(difference),
        call_overhead_s=float(found.get("call_overhead_s", 0.0)),
        planned=run.read_timeline(method),
        executed=_executed(run, method),
    )


def _executed(run: RunFolder, method: str) -> Timeline:
    path = run.path / "methods" / method / EXECUTED
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return Timeline.from_jsonl(file)
    except UNREADABLE as error:
        raise InputError(f"{path} is damaged ({str(error) or 'it is empty'}); resume the launch") from error

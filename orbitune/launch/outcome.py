"""What came of a real run: executed against planned, the model it trained, and what one process would have trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from orbitune.execute.record import Compared, compare, executed, own_seconds
from orbitune.experiment import trainings
from orbitune.files import write_whole
from orbitune.launch.state import Request, State
from orbitune.launch.supervise import EXECUTED_ROWS
from orbitune.mission import Mission
from orbitune.plans import Planned, Row, result_row
from orbitune.runs import SCHEMA_VERSION, RunFolder
from orbitune.statements import assumptions, checks
from orbitune.timeline.activity import Timeline

OUTCOME = "launch.json"
"""What is planned and executed, in the run folder; it is there when the run is finished."""

EXECUTED = "executed"
"""Name of the executed timeline in a method's folder."""

JUDGED_FROM = 20.0
"""A stage is held to its plan where it lasts this many times as long as a call of the engine; below, the call's own
time is more than a twentieth of it and says nothing about the plan."""


@dataclass(frozen=True)
class Attempted:
    """A plan that was carried out, wholly or until a fault, and what was done of it; in the mission's numbers."""

    first_round: int
    planned: Timeline
    executed: Timeline
    rows: tuple[Row, ...]


def write_outcome(
    run: RunFolder,
    mission: Mission,
    planned: Planned,
    request: Request,
    state: State,
    check_weights: bool,
) -> Row:
    """Write launch.json, compare.json, the executed timeline and the trained weights; returns what is in launch.json.

    Args:
        run, mission, planned, request, state: Of the finished run.
        check_weights: Whether to train the same rounds in this process and compare.
    """
    attempts = _attempts(run, request.method, state)
    run.write_timeline(request.method, _joined(attempts), EXECUTED)
    curve, difference = _judged(run, mission, planned, state, check_weights)
    run.keep_rows(f"methods/{request.method}/metrics.jsonl", curve)
    stages, rounds = _compared(attempts, state)
    call_s = state.call_s * request.time_scale
    content: Row = {
        "schema_version": SCHEMA_VERSION,
        "scenario": mission.scenario.name,
        "method": request.method,
        "engine": request.engine,
        "time_scale": request.time_scale,
        "sites": request.sites,
        "wall_s": state.wall_s,
        "planned_s": planned.timeline.time_s,
        "executed_s": max(span.end_s for span in attempts[-1].executed.spans),
        "seen_s": state.seen_s or None,
        "round": _ratio(rounds),
        "stages": [_stage_row(stage, count, call_s) for stage, count in stages],
        "call_overhead_s": call_s,
        "overruns": state.overruns,
        "events": state.events,
        "max_weight_difference": difference,
        "final_accuracy": curve[-1]["accuracy"],
    }
    _write_comparison(run, mission, planned, curve)
    run.write_json(OUTCOME, content)
    run.event("finished")
    return content


# -- planned against executed -----------------------------------------------------------------------------------------


def _attempts(run: RunFolder, method: str, state: State) -> list[Attempted]:
    rows: dict[int, list[Row]] = defaultdict(list)
    for row in run.rows(f"methods/{method}/{EXECUTED_ROWS}"):
        rows[int(row["attempt"])].append(row)
    found = []
    for number in range(1, state.attempt + 1):
        plan = run.read_timeline(method, f"attempt-{number}")
        told = run.read_json(f"methods/{method}/attempt-{number}.json")
        found.append(Attempted(int(told["first_round"]), plan, executed(plan, rows[number]), tuple(rows[number])))
    return found


def _kept(attempts: Sequence[Attempted], state: State) -> list[Attempted]:
    """Of each attempt, what counted: the rounds that were finished before the next began."""
    ends = [one.first_round for one in attempts[1:]] + [state.rounds_done]
    found = []
    for attempt, end in zip(attempts, ends, strict=True):
        last = attempt is attempts[-1]
        both = []
        for timeline in (attempt.planned, attempt.executed):
            spans = (span for span in timeline.spans if last or (span.phase == "train" and span.round < end))
            both.append(replace(timeline, spans=tuple(spans)))
        found.append(replace(attempt, planned=both[0], executed=both[1]))
    return found


def _compared(attempts: Sequence[Attempted], state: State) -> tuple[list[tuple[Compared, int]], list[Compared]]:
    """Stages, each with how often it came, and rounds."""
    planned_s: dict[str, float] = defaultdict(float)
    executed_s: dict[str, float] = defaultdict(float)
    times: dict[str, int] = defaultdict(int)
    rounds: list[Compared] = []
    for one in _kept(attempts, state):
        rounds += compare(one.planned, one.executed)[1]
        for stage in own_seconds(one.planned, one.rows):
            planned_s[stage.name] += stage.planned_s
            executed_s[stage.name] += stage.executed_s
            times[stage.name] += 1
    return [(Compared(name, planned_s[name], executed_s[name]), times[name]) for name in planned_s], rounds


def _ratio(rounds: Sequence[Compared]) -> float:
    return sum(one.executed_s for one in rounds) / sum(one.planned_s for one in rounds)


def _stage_row(stage: Compared, times: int, call_s: float) -> Row:
    return {
        "stage": stage.name,
        "planned_s": stage.planned_s,
        "executed_s": stage.executed_s,
        "ratio": stage.ratio,
        "error_s": stage.error_s,
        "times": times,
        "judged": stage.planned_s / times > JUDGED_FROM * call_s,
    }


def _joined(attempts: Sequence[Attempted]) -> Timeline:
    """Everything that was done, one attempt after the other; an attempt's spans end where the next one begins."""
    last = attempts[-1].executed
    activities = tuple(activity for one in attempts for activity in one.executed.activities)
    spans = []
    for number, one in enumerate(attempts):
        later = (span.start_s for following in attempts[number + 1 :] for span in following.executed.spans)
        until_s = min(later, default=inf)
        own = (span for span in one.executed.spans if span.start_s < until_s)
        spans += [replace(span, end_s=min(span.end_s, until_s)) for span in own]
    return replace(last, activities=activities, spans=tuple(spans), initial=attempts[0].executed.initial)


# -- what was trained -------------------------------------------------------------------------------------------------


def _judged(
    run: RunFolder, mission: Mission, planned: Planned, state: State, check_weights: bool
) -> tuple[list[dict[str, Any]], float | None]:
    """The learning curve, from the states after each round, and the largest difference to one process."""
    from orbitune.learn.outcome import Judge

    (training,) = trainings(mission, planned, run, random_start=False)
    judge = Judge(training.spec, training.model, training.selection, training.num_satellites)
    folder = run.path / "methods" / planned.method.name
    ends_s = [planned.timeline.phase_s("deploy"), *state.round_ends_s]
    curve = [judge.row(0, ends_s[0], ())]
    for number in range(1, state.rounds_done + 1):
        curve.append(judge.row(number, ends_s[number], _states(folder, number)))
    weights = _states(folder, state.rounds_done)
    write_whole(folder / "weights.safetensors", judge.joined(weights))
    if not check_weights:
        return curve, None
    fresh = [[(satellite, index) for satellite in row] for index, row in enumerate(state.participation)]
    return curve, judge.largest_difference(weights, fresh)


def _states(folder: Path, rounds: int) -> list[bytes]:
    """The server's first: it may keep the head that it once passed on, and the satellites' is the one that counts."""
    names = (f"round-{rounds:04d}-{role}.safetensors" for role in ("server", "satellite"))
    return [(folder / "rounds" / name).read_bytes() for name in names]


def _write_comparison(run: RunFolder, mission: Mission, planned: Planned, curve: Sequence[Row]) -> None:
    content = {
        "schema_version": SCHEMA_VERSION,
        "scenario": mission.scenario.name,
        "results": [result_row(mission, planned, curve)],
        "planned": [],
        "assumptions": assumptions(mission.scenario),
        "checks": checks(mission.scenario),
    }
    run.write_json("compare.json", content)

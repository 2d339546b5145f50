"""Why a point was chosen, in words: against the scenario as written, and with each switch flipped alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from orbitune.choose.limits import Limits
from orbitune.choose.numbers import changes_numbers
from orbitune.choose.search import Answer, Found, evaluate, job_at
from orbitune.choose.space import FREE, KEYS, NUMBERS, Point, Space, Value, why_refused
from orbitune.errors import PlanError
from orbitune.mission import Mission
from orbitune.timeline.usage import binding

UNITS = {"time": "s", "bytes": "bytes", "energy": "J"}
SAME = 1e-6
"""Relative: values this close are shown as equal."""


@dataclass(frozen=True)
class Neighbour:
    """One switch at another value, all else as chosen.

    Attributes:
        factor: Its value over the chosen one's; None where it cannot be had, and `why` says why.
    """

    switch: str
    value: Value
    factor: float | None
    why: str = ""


def look(mission: Mission, limits: Limits, objective: str, point: Point) -> Found | str:
    """Plan one point to its end, or say why it cannot be had."""
    if why := why_refused(point.applied(mission.scenario)):
        return why
    try:
        method, job = job_at(mission, point, limits)
    except PlanError as error:
        return str(error)
    if breach := limits.breach(point, job):
        return breach
    found = evaluate(point, method, job, objective, limits)
    assert found is not None, "nothing is given up without a value to beat"
    return found


def neighbours(
    mission: Mission, space: Space, limits: Limits, objective: str, best: Found, budget_s: float = inf
) -> Iterator[Neighbour]:
    """Each switch of the space flipped alone: all its other values, and the cut one block up and down."""
    started_s = time.monotonic()
    for name, values in space.values.items():
        if name not in ("method", *best.point.reads):
            continue
        for value in values:
            own = getattr(best.point, name)
            if value == own or (name == "cut" and abs(int(value) - int(own)) > 1):
                continue
            if time.monotonic() - started_s > budget_s:
                yield Neighbour(name, value, None, "time was up")
                continue
            found = look(mission, limits, objective, replace(best.point, **{name: value}))  # type: ignore[arg-type]
            if isinstance(found, str):
                yield Neighbour(name, value, None, found)
            else:
                yield Neighbour(name, value, found.value / best.value if best.value > 0.0 else 1.0)


def words(
    mission: Mission, answer: Answer, objective: str, found: list[Neighbour], written: Found | str | None
) -> list[str]:
    """The answer as sentences; `written`: the scenario's own switches, planned."""
    best, unit = answer.best, UNITS[objective]
    if best is None:
        return [_nothing(answer), *_excluded(answer)]
    said = [f"Chosen: {', '.join(f'{name} {getattr(best.point, name)}' for name in _shown(best.point))}."]
    if isinstance(written, Found):
        said.append(f"{best.value:.4g} {unit}; the scenario as written: {written.value:.4g} {unit} "
                    f"({_times(written.value / best.value)}).")  # fmt: skip
    elif written:
        said.append(f"{best.value:.4g} {unit}; the scenario as written cannot be had: {written}.")
    said.append(_certainty(answer, unit))
    said += [_neighbour_words(name, best.point, found) for name in KEYS if any(one.switch == name for one in found)]
    said.append(f"What binds now: {binding(best.timeline, best.job.system)}.")
    if changed := changes_numbers(best.point, mission.scenario):
        said.append(f"{', '.join(changed)} change what is learned: this needs a measured accuracy curve.")
    return [*said, *_excluded(answer)]


def _nothing(answer: Answer) -> str:
    if answer.proven:
        return "Nothing in the space keeps to the constraints."
    return f"Time was up before any point was accepted; {answer.tally.unvisited} were not visited: give it more time."


def _shown(point: Point) -> list[str]:
    return ["method", *(name for name in (*FREE, *NUMBERS) if name in point.reads)]


def _certainty(answer: Answer, unit: str) -> str:
    tally = answer.tally
    visited = tally.planned + tally.given_up
    counts = f"{visited} of {tally.total} points planned, {tally.bounded} passed over by their bounds"
    if tally.dominated:
        counts += f", {tally.dominated} because overlap is never later"
    if answer.proven:
        return f"Proven best of its space: {counts}."
    return (
        f"Time was up: no point can be below {answer.least:.4g} {unit}, which is {answer.gap:.1%} less; {counts}, "
        f"{tally.unvisited} not visited."
    )


def _neighbour_words(name: str, point: Point, found: list[Neighbour]) -> str:
    others = [one for one in found if one.switch == name]
    can = sorted((one for one in others if one.factor is not None), key=lambda one: one.factor or 0.0)
    shown = [f"{one.value} {_times(one.factor)}" for one in can if one.factor is not None]
    shown += [f"{one.value} cannot be had" for one in others if one.factor is None]
    return f"{name} {getattr(point, name)}; alone at another value: {', '.join(shown)}."


def _times(factor: float | None) -> str:
    assert factor is not None
    return "makes no difference" if abs(factor - 1.0) <= SAME else f"x {factor:.3g}"


def _excluded(answer: Answer) -> list[str]:
    rows = sorted(answer.tally.excluded.items(), key=lambda item: -item[1])
    return [f"{count} points excluded: {why}" for why, count in rows]


def to_json(answer: Answer, objective: str, found: list[Neighbour], mission: Mission) -> dict[str, Any]:
    """The answer for programs."""
    best, tally = answer.best, answer.tally
    return {
        "objective": objective,
        "unit": UNITS[objective],
        "chosen": None if best is None else {name: getattr(best.point, name) for name in KEYS},
        "sets": [] if best is None else best.point.sets(mission.scenario),
        "value": None if best is None else best.value,
        "least_possible": None if answer.least == inf else answer.least,
        "proven": answer.proven,
        "gap": answer.gap,
        "points": {"total": tally.total, "planned": tally.planned, "given_up": tally.given_up,
                   "bounded": tally.bounded, "dominated": tally.dominated, "unvisited": tally.unvisited,
                   "excluded": sum(tally.excluded.values())},
        "excluded": [{"why": why, "points": count} for why, count in tally.excluded.items()],
        "neighbours": [{"switch": one.switch, "value": one.value, "factor": one.factor, "why": one.why}
                       for one in found],
        "changes_numbers": [] if best is None else changes_numbers(best.point, mission.scenario),
        "seconds": answer.seconds,
    }  # fmt: skip

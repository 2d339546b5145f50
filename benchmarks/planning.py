"""How long planning takes: contacts, schedule, checker and bound, per method, with growing constellations and rounds.

One process, CPU seconds. The columns add up to what `orbitune plan` spends on a method.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from record import Row, record

from orbitune.errors import PlanError
from orbitune.methods import METHODS, plan
from orbitune.mission import Mission, job_of, prepare
from orbitune.scenario.load import load
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.verify import verify

SIZES = ((66, 6), (132, 12))
ROUNDS = (3, 6)

P = ParamSpec("P")
R = TypeVar("R")


def timed(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> tuple[R, float]:
    """What `work` returns, and its CPU seconds."""
    began_s = time.process_time()
    return work(*args, **kwargs), round(time.process_time() - began_s, 2)


def row_of(name: str, mission: Mission, contacts_cpu_s: float) -> Row | None:
    """One method on one mission; None where the method refuses it."""
    method = METHODS[name]
    try:
        job = method.prepare(job_of(mission))
    except PlanError as error:
        print(f"{name}: {error}")
        return None
    timeline, plan_cpu_s = timed(plan, method, job)
    _, verify_cpu_s = timed(verify, timeline, job.system)
    _, bound_cpu_s = timed(lower_bound, method.needs(job, job.rounds), job.system)
    return {
        "satellites": len(job.samples),
        "rounds": job.rounds,
        "method": name,
        "activities": len(timeline.activities),
        "contacts_cpu_s": contacts_cpu_s,
        "plan_cpu_s": plan_cpu_s,
        "verify_cpu_s": verify_cpu_s,
        "bound_cpu_s": bound_cpu_s,
    }


def main() -> None:
    """Every method, at every size and number of rounds."""
    rows = []
    for satellites, planes in SIZES:
        for rounds in ROUNDS:
            sets = (f"shell.0.satellites={satellites}", f"shell.0.planes={planes}", f"train.rounds={rounds}")
            scenario = load("demo", sets)
            mission, contacts_cpu_s = timed(prepare, scenario)
            found = [row_of(name, mission, contacts_cpu_s) for name in METHODS]
            rows += [row for row in found if row is not None]
    record("planning", rows, scenario.seed)


if __name__ == "__main__":
    main()

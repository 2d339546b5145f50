"""Orbitune: plan, simulate and run the fine-tuning of vision foundation models across satellites.

    import orbitune as ot

    mission = ot.prepare(ot.load("demo", ["train.rounds=2"]))
    planned = ot.plan_method(mission, "collaborative")     # scheduled, accepted by the checker, bounded
    print(planned.timeline.time_s, planned.bound.time_s)

Names are imported when they are first asked for, so `import orbitune` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbitune.experiment import Request as Request
    from orbitune.experiment import execute as execute
    from orbitune.experiment import start as start
    from orbitune.methods import METHODS as METHODS
    from orbitune.mission import Mission as Mission
    from orbitune.mission import prepare as prepare
    from orbitune.plans import Planned as Planned
    from orbitune.plans import plan_method as plan_method
    from orbitune.plans import plan_only as plan_only
    from orbitune.report import write_report as write_report
    from orbitune.runs import RunFolder as RunFolder
    from orbitune.scenario.load import load as load
    from orbitune.timeline.activity import Timeline as Timeline
    from orbitune.timeline.bounds import lower_bound as lower_bound
    from orbitune.timeline.verify import verify as verify

__version__ = "0.1.0"

_HOME = {
    "METHODS": "methods",
    "Mission": "mission",
    "Planned": "plans",
    "Request": "experiment",
    "RunFolder": "runs",
    "Timeline": "timeline.activity",
    "execute": "experiment",
    "load": "scenario.load",
    "lower_bound": "timeline.bounds",
    "plan_method": "plans",
    "plan_only": "plans",
    "prepare": "mission",
    "start": "experiment",
    "verify": "timeline.verify",
    "write_report": "report",
}
"""Where each public name lives."""

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'orbitune' has no attribute '{name}'")
    return getattr(import_module(f"orbitune.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

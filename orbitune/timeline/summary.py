"""What a checked timeline says in numbers: energy, and the stage that limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbitune.cost.system import System
from orbitune.timeline.activity import Timeline
from orbitune.timeline.battery import loads_of


def energy_by_satellite_j(timeline: Timeline, system: System) -> NDArray[np.float64]:
    """Joules that each satellite spends on computing, sending and receiving, shape [S].

    Idle power and the sun are not counted: only what the job adds.
    """
    loads = loads_of(timeline, system)
    spent_j = loads.power_w * (loads.end_s - loads.start_s)
    total_j: NDArray[np.float64] = np.zeros(system.nodes.num_satellites)
    np.add.at(total_j, loads.satellite, spent_j)
    return total_j


def energy_j(timeline: Timeline, system: System) -> float:
    """Joules that all satellites together spend on computing, sending and receiving; the ground is not counted."""
    return float(energy_by_satellite_j(timeline, system).sum())


def limiting(timeline: Timeline) -> str:
    """The stage that takes most of the time, with its share."""
    stages = timeline.stage_s()
    total = sum(stages.values())
    if total <= 0.0:
        return "nothing takes time"
    stage = max(stages, key=lambda name: stages[name])
    return f"{stage} ({stages[stage] / total:.0%} of the time)"

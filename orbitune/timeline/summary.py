"""What a checked timeline says in numbers: energy, and the stage that limits."""

from __future__ import annotations

from orbitune.cost.system import System
from orbitune.timeline.activity import Timeline


def energy_j(timeline: Timeline, system: System) -> float:
    """Joules that the satellites spend on computing, sending and receiving, all satellites together.

    Idle power, the ground and the sun are not counted: only what the job adds.
    """
    total = 0.0
    satellites = system.nodes.satellites
    for activity in timeline.activities:
        duration_s = activity.end_s - activity.start_s
        if activity.kind == "compute" and activity.node in satellites:
            total += duration_s * system.satellite.power_w
        elif activity.kind == "send":
            if activity.node in satellites:
                total += duration_s * system.radios.transmit_w[activity.link]
            if activity.peer in satellites:
                total += duration_s * system.radios.receive_w
    return total


def limiting(timeline: Timeline) -> str:
    """The stage that takes most of the time, with its share."""
    stages = timeline.stage_s()
    total = sum(stages.values())
    if total <= 0.0:
        return "nothing takes time"
    stage = max(stages, key=lambda name: stages[name])
    return f"{stage} ({stages[stage] / total:.0%} of the time)"

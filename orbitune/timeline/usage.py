"""How busy each resource is, and which one binds: what a designer would have to add to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orbitune.cost.system import System
from orbitune.timeline.activity import Activity, Timeline

BUSY = 0.5
"""A resource at work for less than half of the time binds nobody, our choice: what is left is waiting and distance."""


@dataclass(frozen=True, slots=True)
class Use:
    """A resource by name, and the part of some time in which it is at work, from 0 to 1."""

    name: str
    share: float


def longest_stage(timeline: Timeline) -> str:
    """The stage that takes most of the time, all rounds together; "" where nothing takes time."""
    stages = timeline.stage_s()
    return max(stages, key=lambda name: stages[name]) if any(stages.values()) else ""


def busiest(timeline: Timeline, system: System, stage: str) -> Use:
    """The resource that works most during one stage of all rounds.

    Resources are computers, antennas of a station and ground terminals of a satellite (each counted as one resource
    of its number), links in rings and between planes, and backhaul. Linear in the number of activities.
    """
    busy_s: dict[tuple[str, int, int], float] = {}
    for activity in timeline.activities:
        if activity.stage == stage and activity.kind != "merge":
            for key, count in _resources(activity, system):
                busy_s[key] = busy_s.get(key, 0.0) + (activity.end_s - activity.start_s) / count
    length_s = timeline.stage_s().get(stage, 0.0)
    if not busy_s or length_s <= 0.0:
        return Use("nothing", 0.0)
    key = max(busy_s, key=lambda one: busy_s[one])
    return Use(_name(key, system), min(1.0, busy_s[key] / length_s))


def binding(timeline: Timeline, system: System) -> str:
    """The resource that binds the longest stage, in words."""
    stage = longest_stage(timeline)
    use = busiest(timeline, system, stage)
    if use.share >= BUSY:
        return f"{use.name} (at work {use.share:.0%} of '{stage}')"
    return f"waiting and distance in '{stage}' (the busiest resource, {use.name}, is at work {use.share:.0%} of it)"


def _resources(activity: Activity, system: System) -> Iterator[tuple[tuple[str, int, int], int]]:
    """What an activity occupies, and of how many equal ones."""
    node, peer = activity.node, activity.peer
    if activity.kind == "compute":
        yield ("compute", node, node), 1
    elif activity.link in ("downlink", "uplink"):
        satellite, station = (node, peer) if activity.link == "downlink" else (peer, node)
        yield (activity.link, station, station), system.num_terminals(station, "ground")
        yield (activity.link, satellite, satellite), system.num_terminals(satellite, "ground")
    else:
        yield (activity.link, node, peer), 1


def _name(key: tuple[str, int, int], system: System) -> str:
    kind, node, peer = key
    nodes = system.nodes
    if kind == "compute":
        return "the server's computer" if node == nodes.server else f"computer of {_satellite(node, system)}"
    if kind in ("downlink", "uplink"):
        way = "down" if kind == "downlink" else "up"
        if node in nodes.stations:
            return f"station antennas at {nodes.name(node)} ({way})"
        return f"{kind} of {_satellite(node, system)}"
    what = {"isl_intra": "ring link", "isl_inter": "link between planes", "backhaul": "backhaul"}[kind]
    return f"{what} {nodes.name(node)} to {nodes.name(peer)}"


def _satellite(node: int, system: System) -> str:
    return f"{system.nodes.name(node)} (plane {system.nodes.plane_of[node]})"


def by_stage(timeline: Timeline, system: System) -> Iterable[tuple[str, float, Use]]:
    """Each stage with its seconds over all rounds and its busiest resource, in order of first appearance."""
    for stage, seconds in timeline.stage_s().items():
        yield stage, seconds, busiest(timeline, system, stage)

"""What would help most: the same job planned again with one thing doubled at a time.

Contacts stay as they are; rates, antennas, terminals and computers change. Every figure is that of a timeline which the
checker accepted. Cost: one plan of the first round for each lever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from orbitune.cost.system import System
from orbitune.links.contacts import KINDS
from orbitune.mission import Mission
from orbitune.plans import plan_method

Change = Callable[[System], System]


@dataclass(frozen=True)
class Lever:
    """A change, and the time of one round with it over the time without it; below 1 it helps."""

    name: str
    factor: float


def _rate(kind: str) -> Change:
    def doubled(system: System) -> System:
        plan = system.contacts
        chosen = plan.kind == KINDS.index(kind)
        return replace(system, contacts=replace(plan, rate_bps=np.where(chosen, 2.0, 1.0) * plan.rate_bps))

    return doubled


def _antennas(system: System) -> System:
    more = tuple(count + 1 for count in system.terminals.station_antennas)
    return replace(system, terminals=replace(system.terminals, station_antennas=more))


def _terminals(system: System) -> System:
    more = system.terminals.satellite_ground + 1
    return replace(system, terminals=replace(system.terminals, satellite_ground=more))


def _satellites(system: System) -> System:
    computers = (system.satellite, *system.satellites)
    one, *each = (replace(computer, flops_per_s=2.0 * computer.flops_per_s) for computer in computers)
    return replace(system, satellite=one, satellites=tuple(each))


def _server(system: System) -> System:
    return replace(system, server=replace(system.server, flops_per_s=2.0 * system.server.flops_per_s))


LEVERS: Mapping[str, Change] = {
    "twice the downlink rate": _rate("downlink"),
    "twice the uplink rate": _rate("uplink"),
    "twice the rate in planes": _rate("isl_intra"),
    "twice the rate between planes": _rate("isl_inter"),
    "twice the backhaul": _rate("backhaul"),
    "one more antenna at every station": _antennas,
    "one more ground terminal on every satellite": _terminals,
    "twice the computer on board": _satellites,
    "twice the computer on the ground": _server,
}
"""What is tried, by the words it is reported with."""


def levers(mission: Mission, name: str) -> list[Lever]:
    """All levers for one method, what helps most first; the time is that of deployment, one round and delivery.

    Raises:
        PlanError: The method cannot work on this mission.
    """
    train = replace(mission.scenario.train, rounds=1)
    once = replace(mission, scenario=replace(mission.scenario, train=train))
    base_s = plan_method(once, name).timeline.time_s
    found = []
    for words, change in LEVERS.items():
        time_s = plan_method(replace(once, system=change(once.system)), name).timeline.time_s
        found.append(Lever(words, time_s / base_s if base_s > 0.0 else 1.0))
    return sorted(found, key=lambda lever: lever.factor)

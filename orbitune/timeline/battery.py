"""Batteries of a finished timeline: the charge over time, its lowest point, and the check (rule `battery` of `verify`).

A satellite draws idle power all the time, the power of its computer while it computes, that of a transmitter for each
send and that of a receiver for each that it hears. It is charged in sunlight. The charge is looked at from the start
to the end of the contact plan, or of the last activity if that is later: a night that a job has left no charge for is
its fault even if the job is done by then. Cost: n log n in activities and edges of sunlight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.cost.energy import CHARGE_TOLERANCE_J, JOULES_PER_WH, PowerBudget
from orbitune.cost.system import System
from orbitune.errors import TimelineRejected
from orbitune.timeline.activity import Timeline
from orbitune.timeline.rejection import describe, node_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Loads:
    """What the activities draw from satellites, equal-length columns sorted by (satellite, order in the timeline).

    Attributes:
        satellite: Who draws.
        activity: Number of the activity in the timeline.
        power_w: How much, beside idle power.
    """

    satellite: Ints
    activity: Ints
    start_s: Floats
    end_s: Floats
    power_w: Floats

    def of(self, satellite: int) -> slice:
        """The rows of one satellite."""
        first, last = np.searchsorted(self.satellite, [satellite, satellite + 1]).tolist()
        return slice(first, last)


@dataclass(frozen=True)
class Lowest:
    """The lowest charge of all satellites: as a share of the capacity, of which satellite, and when."""

    share: float
    satellite: int
    time_s: float


def loads_of(timeline: Timeline, system: System) -> Loads:
    """What every activity draws from the satellites that take part in it."""
    rows = []
    satellites = system.nodes.satellites
    for number, activity in enumerate(timeline.activities):
        if activity.kind == "compute" and activity.node in satellites:
            rows.append(
                (activity.node, number, activity.start_s, activity.end_s, system.computer(activity.node).power_w)
            )
        elif activity.kind == "send":
            for satellite, power_w in system.draws_w(activity.node, activity.peer, activity.link):
                rows.append((satellite, number, activity.start_s, activity.end_s, power_w))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return Loads(
        table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), *(table[:, column] for column in (2, 3, 4))
    )


def charge_over_time(budget: PowerBudget, loads: Loads, satellite: int, until_s: float) -> tuple[Floats, Floats]:
    """Moments [N] from 0 to `until_s`, and the charge in joules at each [N]; between them it is linear, or full."""
    idle_s, rise_w = budget.idle_changes(satellite)
    mine = loads.of(satellite)
    start_s, end_s, power_w = loads.start_s[mine], loads.end_s[mine], loads.power_w[mine]
    change_s = np.concatenate([idle_s, start_s, end_s])
    order = np.argsort(change_s, kind="stable")
    time_s = np.minimum(change_s[order], until_s)
    net_w = np.cumsum(np.concatenate([rise_w, -power_w, power_w])[order])
    time_s = np.append(time_s, until_s)
    return time_s, budget.charge_j(time_s, net_w)


def lowest_charge(timeline: Timeline, system: System) -> Lowest | None:
    """The lowest charge of all, of equals that of the first satellite; None where charge is not modelled."""
    if system.power is None:
        return None
    loads, until_s = loads_of(timeline, system), _until_s(timeline, system)
    found = []
    for satellite in system.nodes.satellites:
        time_s, charge_j = charge_over_time(system.power, loads, satellite, until_s)
        row = int(np.argmin(charge_j))
        found.append((float(charge_j[row]), satellite, float(time_s[row])))
    least_j, satellite, moment_s = min(found)
    return Lowest(least_j / system.power.capacity_j, satellite, moment_s)


def check_battery(timeline: Timeline, system: System) -> None:
    """Rule `battery`. The charge may be `CHARGE_TOLERANCE_J` below the floor."""
    if system.power is None:
        return
    loads, until_s = loads_of(timeline, system), _until_s(timeline, system)
    for satellite in system.nodes.satellites:
        time_s, charge_j = charge_over_time(system.power, loads, satellite, until_s)
        low = charge_j < system.power.floor_j - CHARGE_TOLERANCE_J
        if low.any():
            row = int(np.argmax(low))
            _refuse(timeline, system, loads, satellite, float(time_s[row]), float(charge_j[row]))


def _until_s(timeline: Timeline, system: System) -> float:
    return max([system.contacts.horizon_s, *(activity.end_s for activity in timeline.activities)])


def _refuse(timeline: Timeline, system: System, loads: Loads, satellite: int, moment_s: float, charge_j: float) -> None:
    """Say when it first does not last, and what drew last until then."""
    assert system.power is not None
    mine = loads.of(satellite)
    before = np.flatnonzero(loads.start_s[mine] < moment_s)
    last = "nothing was done before"
    if len(before):
        number = int(loads.activity[mine][before[np.argmax(loads.end_s[mine][before])]])
        last = f"the last to draw was {describe(timeline.activities[number], system.nodes)}"
    raise TimelineRejected(
        "battery",
        f"battery of {node_name(satellite, system.nodes)} falls to {charge_j / JOULES_PER_WH:.6g} Wh at "
        f"{moment_s:.6f} s, floor {system.power.floor_j / JOULES_PER_WH:.6g} Wh; {last}",
    )

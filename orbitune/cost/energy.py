"""What keeps a satellite alive: panels, battery, and what everything on board draws all the time.

The balance of a battery is its charge E, with dE/dt = solar power in sunlight - idle power - power of what runs, kept
from rising above the capacity (what panels give to a full battery is lost): the energy balance of Wertz and Larson,
Space Mission Analysis and Design (3rd ed., 1999), section 11.4. All powers are constant in pieces, so the charge is
linear in pieces and its lowest values lie at the ends of pieces. Powers count at the bus: what cells, pointing and
converters lose is in `solar_w`, what the battery loses while it is charged and discharged in `idle_w` and `solar_w`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.links.contacts import Nodes
from orbitune.links.eclipse import Eclipses

Floats = NDArray[np.float64]

JOULES_PER_WH = 3600.0
"""A watt-hour in joules, exact (a watt for 3600 s)."""

CHARGE_TOLERANCE_J = 1e-3
"""Two charges closer than this are the same: the checker's time tolerance of 1 microsecond at a kilowatt. Rounding is
far below: a running sum of 10^8 J (100 W for 11 days) is good to 1.5e-8 J."""


@dataclass(frozen=True)
class Sunlight:
    """When one satellite is in sunlight: spans [N] in time order, which do not overlap."""

    start_s: Floats
    end_s: Floats


@dataclass(frozen=True)
class PowerBudget:
    """Power and battery of every satellite; all satellites are equal but for their sunlight.

    Attributes:
        idle_w: Drawn at every moment, whatever the satellite does.
        solar_w: What the panels give to the bus in sunlight.
        capacity_j: What the battery holds when full.
        floor_j: What must always be left in it.
        start_j: What is in it at the start.
        sunlight: Of each satellite, by its number.
    """

    idle_w: float
    solar_w: float
    capacity_j: float
    floor_j: float
    start_j: float
    sunlight: tuple[Sunlight, ...]

    def __post_init__(self) -> None:
        assert 0.0 <= self.floor_j <= self.start_j <= self.capacity_j, self
        assert min(self.idle_w, self.solar_w) >= 0.0, self

    def idle_changes(self, satellite: int) -> tuple[Floats, Floats]:
        """Moments [N], sorted, and by how many watts the power to the battery changes at each, with nothing to do."""
        lit = self.sunlight[satellite]
        time_s = np.concatenate([[0.0], lit.start_s, lit.end_s])
        rise_w = np.concatenate(
            [[-self.idle_w], np.full(len(lit.start_s), self.solar_w), np.full(len(lit.end_s), -self.solar_w)]
        )
        order = np.argsort(time_s, kind="stable")
        return time_s[order], rise_w[order]

    def charge_j(self, time_s: Floats, net_w: Floats) -> Floats:
        """Charge at each of the moments `time_s` [N], with net power `net_w` [N - 1] to the battery between them.

        The recursion E' = min(capacity, E + gain) unrolled: E is the running sum S of gains plus the least of the
        charge at the start and of (capacity - S) so far. That is Lindley's recursion for a queue (Proc. Cambridge
        Phil. Soc. 48, 277, 1952) turned upside down: what is missing from a full battery waits like a queue.
        """
        total = np.concatenate([[0.0], np.cumsum(net_w * np.diff(time_s))])
        room = np.concatenate([[self.start_j], self.capacity_j - total[1:]])
        charge: Floats = total + np.minimum.accumulate(room)
        return charge


def power_budget(
    found: Eclipses,
    nodes: Nodes,
    horizon_s: float,
    *,
    idle_w: float,
    solar_w: float,
    capacity_j: float,
    floor_share: float,
    start_share: float,
) -> PowerBudget:
    """The budget of a constellation whose eclipses are known.

    Args:
        found: From `orbitune.links.eclipse.eclipses`, over the same horizon.
        floor_share: What must be left in the battery, as a share of its capacity from 0 to 1.
        start_share: What is in it at the start, likewise.

    Raises:
        PlanError: The charge starts below the floor, or falls below it although nobody computes or sends.
    """
    if start_share < floor_share:
        raise PlanError(
            f"satellite.battery_start_percent = {100 * start_share:g} is below satellite.battery_floor_percent = "
            f"{100 * floor_share:g}; start with more charge, or lower the floor"
        )
    sunlight = sunlight_of(found, nodes.num_satellites, horizon_s)
    budget = PowerBudget(idle_w, solar_w, capacity_j, floor_share * capacity_j, start_share * capacity_j, sunlight)
    for satellite in nodes.satellites:
        _require_alive(budget, nodes, satellite, horizon_s)
    return budget


def sunlight_of(found: Eclipses, num_satellites: int, horizon_s: float) -> tuple[Sunlight, ...]:
    """What eclipses leave of the time from 0 to the horizon, satellite by satellite."""
    edges = np.searchsorted(found.satellite, np.arange(num_satellites + 1))
    spans = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        start_s = np.concatenate([[0.0], found.end_s[first:last]])
        end_s = np.concatenate([found.start_s[first:last], [horizon_s]])
        spans.append(Sunlight(start_s[start_s < end_s], end_s[start_s < end_s]))
    return tuple(spans)


def _require_alive(budget: PowerBudget, nodes: Nodes, satellite: int, horizon_s: float) -> None:
    change_s, rise_w = budget.idle_changes(satellite)
    time_s = np.concatenate([change_s, [horizon_s]])
    charge_j = budget.charge_j(time_s, np.cumsum(rise_w))
    lowest = int(np.argmin(charge_j))
    if charge_j[lowest] < budget.floor_j - CHARGE_TOLERANCE_J:
        wh, floor_wh = charge_j[lowest] / JOULES_PER_WH, budget.floor_j / JOULES_PER_WH
        raise PlanError(
            f"the battery of {nodes.name(satellite)} falls to {wh:.4g} Wh at {time_s[lowest]:.0f} s with nothing to "
            f"do, and must keep {floor_wh:.4g} Wh: {budget.idle_w:g} W are drawn all the time and panels give "
            f"{budget.solar_w:g} W in sunlight; raise satellite.solar_power_w or satellite.battery_wh, or lower "
            "satellite.idle_power_w or satellite.battery_floor_percent"
        )

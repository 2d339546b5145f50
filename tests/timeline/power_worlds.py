"""Systems that live on batteries, and an integral of their charge that takes small steps instead of thinking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orbitune.cost.energy import PowerBudget, Sunlight
from orbitune.cost.system import Radios, System

Load = tuple[float, float, float]
"""Start and end in seconds, and watts."""


def lit(*spans: tuple[float, float]) -> Sunlight:
    """Sunlight in these spans."""
    return Sunlight(np.array([start for start, _ in spans]), np.array([end for _, end in spans]))


def orbits(first_dawn_s: float, day_s: float, night_s: float, horizon_s: float) -> Sunlight:
    """Night until the first dawn, then day and night in turns."""
    dawns_s = np.arange(first_dawn_s, horizon_s, day_s + night_s)
    return Sunlight(dawns_s, np.minimum(dawns_s + day_s, horizon_s))


def powered(system: System, capacity_j: float, floor: float = 0.3, start: float = 0.4) -> System:
    """Strong computers and radios on a small battery, in nights of 80 s and days of 120 s; dawn at 80 s or later."""
    horizon_s = system.contacts.horizon_s
    sunlight = tuple(orbits(80.0 + 7.0 * number, 120.0, 80.0, horizon_s) for number in system.nodes.satellites)
    return replace(
        system,
        power=PowerBudget(0.2, 10.0, capacity_j, floor * capacity_j, start * capacity_j, sunlight),
        satellite=replace(system.satellite, power_w=40.0),
        radios=Radios(dict.fromkeys(system.radios.transmit_w, 20.0), 5.0),
    )


def stepped_j(budget: PowerBudget, satellite: int, loads: Sequence[Load], until_s: int, parts: int) -> np.ndarray:
    """The charge after each step of 1/parts s, exact where everything begins and ends on a step."""
    middle_s = (np.arange(until_s * parts) + 0.5) / parts
    sun = budget.sunlight[satellite]
    sunny = ((sun.start_s[:, None] < middle_s) & (middle_s < sun.end_s[:, None])).any(axis=0)
    net_w = np.where(sunny, budget.solar_w, 0.0) - budget.idle_w
    for start_s, end_s, power_w in loads:
        net_w = net_w - np.where((start_s < middle_s) & (middle_s < end_s), power_w, 0.0)
    charge_j, found = budget.start_j, [budget.start_j]
    for gain_j in (net_w / parts).tolist():
        charge_j = min(budget.capacity_j, charge_j + gain_j)
        found.append(charge_j)
    return np.array(found)

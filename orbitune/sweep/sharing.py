"""What points have in common and is worked out once: contact plans, and methods that a varied key cannot reach.

Both are used only where the outcome is equal to the bit (tests/sweep/test_sweep_sharing.py holds them against the full
way).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orbitune.errors import OrbituneError
from orbitune.links.contacts import KINDS, ContactPlan
from orbitune.mission import Mission, prepare
from orbitune.scenario.link_keys import Links
from orbitune.scenario.schema import Scenario
from orbitune.units import mbps

MOST_PLANS = 4
"""Contact plans that a process keeps, our choice: points come in families, so one is enough nearly always, and that of
a thousand satellites takes hundreds of megabytes."""

GLIMPSE_H = 0.05
"""Length of the sky that is searched for a mission whose contacts are known already: three steps of the usual grid."""

UNREACHED = {"download": "sustained_gflops"}
"""Keys of [satellite] that a method never reads: with `download` satellites compute nothing."""


def sky_key(scenario: Scenario) -> str:
    """Equal for scenarios whose contacts have the same times; fixed rates may differ."""
    unset: dict[str, Any] = dict.fromkeys(_fixed_rates(scenario.links))
    links = replace(scenario.links, **unset)
    return repr((scenario.time, scenario.shell, scenario.ground_station, links, scenario.fault))


def _fixed_rates(links: Links) -> dict[str, str]:
    """Keys of the rates that hold for whole contacts, with the kind of link that they belong to."""
    radios = {f"{side}_rate_mbps": side for side in ("downlink", "uplink")}
    found = {key: side for key, side in radios.items() if getattr(links, f"{side}_rate_model") == "fixed"}
    if links.isl_rate_model == "fixed":
        found |= {"isl_intra_rate_mbps": "isl_intra", "isl_inter_rate_mbps": "isl_inter"}
    return found | {"backhaul_rate_mbps": "backhaul"}


def with_rates(plan: ContactPlan, links: Links) -> ContactPlan:
    """The same contacts at the fixed rates of these keys; what a link budget gave stays."""
    rate_bps = plan.rate_bps.copy()
    for key, kind in _fixed_rates(links).items():
        rate_bps[plan.kind == KINDS.index(kind)] = mbps(getattr(links, key))
    return replace(plan, rate_bps=np.ascontiguousarray(rate_bps))


@dataclass
class Skies:
    """The contact plans that a process has worked out."""

    plans: dict[str, tuple[ContactPlan, tuple[str, ...]]]

    def prepare(self, scenario: Scenario) -> Mission:
        """As `orbitune.mission.prepare`, with the contacts of an earlier point where they are the same.

        Raises:
            OrbituneError: As there.
        """
        key = sky_key(scenario)
        if key in self.plans:
            known = self._from_known(scenario, *self.plans[key])
            if known is not None:
                return known
        mission = prepare(scenario)
        self.plans.pop(key, None)  # one that could not be used makes way for itself, not for another
        while len(self.plans) >= MOST_PLANS:
            self.plans.pop(next(iter(self.plans)))
        self.plans[key] = mission.system.contacts, mission.left_out
        return mission

    def _from_known(self, scenario: Scenario, plan: ContactPlan, left_out: tuple[str, ...]) -> Mission | None:
        """Everything but the contacts worked out anew, under a glimpse of the sky; None where that cannot be.

        Batteries need the sunlight of the whole time, of which a glimpse knows the first minutes only.
        """
        if scenario.satellite.battery_wh > 0.0:
            return None
        short = replace(scenario.time, duration_h=min(GLIMPSE_H, scenario.time.duration_h))
        try:
            glimpse = prepare(replace(scenario, time=short))
        except OrbituneError:
            return None  # the full way says what is wrong
        if glimpse.system.nodes != plan.nodes:
            return None
        system = replace(glimpse.system, contacts=with_rates(plan, scenario.links))
        return replace(glimpse, scenario=scenario, system=system, left_out=left_out)


def outcome_key(scenario: Scenario, method: str) -> str | None:
    """Equal for scenarios in which a method gives the same row; None where nothing is known to be left unread."""
    name = UNREACHED.get(method)
    if name is None or any(getattr(shell, name) for shell in scenario.shell):
        return None
    usual: dict[str, Any] = {name: 1.0}
    return repr(replace(scenario, satellite=replace(scenario.satellite, **usual)))


def family(scenario: Scenario, methods: Sequence[str]) -> tuple[str, str]:
    """Points of one family share most when one process does them all: the contacts first, then whole outcomes."""
    outcomes = [found for method in methods if (found := outcome_key(scenario, method)) is not None]
    return sky_key(scenario), outcomes[0] if outcomes else ""

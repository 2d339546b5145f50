"""Every key of a scenario, declared once: type, unit, range, choices, default and meaning.

Validation, the nearest name in an error, the comments of a resolved scenario and the tables of docs/schema.md all read
the declarations here and in the files imported below. Values stay in the units their names say; `build` turns them
into SI.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from orbitune.scenario.keys import key, keys_of
from orbitune.scenario.learning_keys import Data, Method, Model, Train
from orbitune.scenario.link_keys import Fault, Links
from orbitune.scenario.sky_keys import GroundStation, Shell, Time

LARGEST_SEED = 2**63 - 1
"""Largest integer that every TOML reader keeps (TOML 1.0, section Integer)."""

_SPEED: dict[str, Any] = {"unit": "GFLOP/s", "high": 10**9, "above": True}
_MEMORY: dict[str, Any] = {"unit": "GB", "high": 10**6, "above": True}
_POWER: dict[str, Any] = {"unit": "W", "high": 10**5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Satellite:
    """The computer and the radios of every satellite."""

    sustained_gflops: float = key("what it sustains in training, fp32, not a data-sheet peak", **_SPEED)
    memory_gb: float = key("memory for weights, activations and optimiser state", **_MEMORY)
    compute_power_w: float = key("drawn while computing", **_POWER)
    downlink_power_w: float = key("drawn while sending to a station", **_POWER)
    isl_power_w: float = key("drawn while sending to a satellite", **_POWER)
    receive_power_w: float = key("drawn while receiving", **_POWER)
    battery_wh: float = key("what the battery holds; 0: energy limits nothing", default=0.0, unit="Wh", high=10**6)
    idle_power_w: float = key("drawn all the time", default=0.0, **_POWER)
    solar_power_w: float = key("from the panels in sunlight, after losses", default=0.0, **_POWER)
    battery_floor_percent: float = key(
        "charge that is never gone below; cycled by 30 %, cells last years in low orbit",
        default=70.0,
        unit="%",
        high=100,
    )
    battery_start_percent: float = key("charge at the start", default=100.0, unit="%", high=100)


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The computer on the ground."""

    sustained_gflops: float = key("what it sustains in training, fp32", **_SPEED)
    memory_gb: float = key("memory for weights, activations and optimiser state", **_MEMORY)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A complete scenario: every key has its value, whichever file it came from."""

    name: str = key("name of the run", form="name")
    seed: int = key("root of all random streams", default=0, high=LARGEST_SEED)
    time: Time
    shell: tuple[Shell, ...]
    ground_station: tuple[GroundStation, ...]
    links: Links
    fault: tuple[Fault, ...] = ()
    satellite: Satellite
    server: Server
    model: Model
    data: Data
    train: Train
    method: Method


SECTIONS: dict[str, type] = {
    "time": Time,
    "shell": Shell,
    "ground_station": GroundStation,
    "links": Links,
    "fault": Fault,
    "satellite": Satellite,
    "server": Server,
    "model": Model,
    "data": Data,
    "train": Train,
    "method": Method,
}
"""Sections in the order they are written."""

ARRAYS = ("shell", "ground_station", "fault")
"""Sections that are lists: [[shell]], [[ground_station]], [[fault]]."""

OPTIONAL = ("fault",)
"""Lists that may be empty."""


@cache
def key_names() -> tuple[str, ...]:
    """All keys with their section, list items as number 0: "shell.0.planes"."""
    top = [found.name for found in keys_of(Scenario)]
    return (*top, "extends", *(f"{place}.{k.name}" for place, section in _places() for k in keys_of(section)))


def _places() -> list[tuple[str, type]]:
    return [(f"{name}.0" if name in ARRAYS else name, section) for name, section in SECTIONS.items()]

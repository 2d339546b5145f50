"""Every key of a scenario, declared once: type, unit, range, choices, default and meaning.

Validation, the nearest name in an error, the comments of a resolved scenario and the tables of docs/schema.md all read
the declarations below. Values stay in the units their names say; `build` turns them into SI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from orbitune.imagery.assign import HOW
from orbitune.imagery.scene import SCENES
from orbitune.model.partition import OPTIMIZER_COPIES, TRAINS
from orbitune.model.profile import shipped_profiles
from orbitune.orbit.constellation import WALKER_KINDS

NO_DATASET = "none"
"""`data.dataset` of a scenario that is planned and not trained."""

REQUIRED = ...
"""Default of a key that has none."""

LARGEST_SEED = 2**63 - 1
"""Largest integer that every TOML reader keeps (TOML 1.0, section Integer)."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a scenario.

    Attributes:
        doc: What it means, in one line.
        default: Its value where nothing is written; `REQUIRED` where it has to be written.
        unit: Unit as printed, "" for none.
        low, high: Inclusive range of a number. With `above`, `low` itself is not allowed.
        choices: Allowed words, empty for any.
        form: What a text must look like: "utc", "name", "station" or "tle" (see `check`).
        only_if: (other key of the section, its values) with which this key means something; elsewhere it is left out.
        name, kind: Filled in from the declaration; `kind` is bool, int, float or str.
    """

    doc: str
    default: object = REQUIRED
    unit: str = ""
    low: float = 0
    high: float = 0
    above: bool = False
    choices: tuple[str, ...] = ()
    form: str = ""
    only_if: tuple[str, tuple[object, ...]] | None = None
    name: str = ""
    kind: type = str

    @property
    def required(self) -> bool:
        """Whether it must be written wherever it applies."""
        return self.default is REQUIRED

    @property
    def left_out(self) -> object:
        """Its value in a scenario where it does not apply."""
        return None if self.required else self.default

    def applies(self, values: Mapping[str, object]) -> bool:
        """Whether it means something beside these values of its section; unknown values count as fitting."""
        return self.only_if is None or values.get(self.only_if[0], self.only_if[1][0]) in self.only_if[1]

    @property
    def allowed(self) -> str:
        """What may be written, in words that continue "must be ..."."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return FORM_WORDS[self.form]
        number = "a whole number" if self.kind is int else "a number"
        return f"{number} {self.range_words} {self.unit}".rstrip()

    @property
    def range_words(self) -> str:
        """The range of a number: "from 1 to 16", "above 0 and at most 2160"."""
        low, high = _number(self.low), _number(self.high)
        return f"above {low} and at most {high}" if self.above else f"from {low} to {high}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


FORM_WORDS = {
    "": "a text",
    "utc": 'a UTC time from 1957 to 2056 such as "2025-03-20T00:00:00Z"',
    "name": "a name of small letters, digits and hyphens",
    "station": "a name of letters, digits, spaces, hyphens and apostrophes",
    "tle": "the path of a TLE file, counted from this file, or the name of a shipped one",
}


def key(doc: str, **rules: Any) -> Any:
    """A dataclass field that carries its `Key`."""
    declared = Key(doc, **rules)
    if declared.only_if is None and declared.required:
        return field(metadata={"key": declared})
    return field(default=declared.left_out, metadata={"key": declared})


@cache
def keys_of(section: type) -> tuple[Key, ...]:
    """The keys of a section in the order of their declaration."""
    hints = get_type_hints(section)
    return tuple(
        replace(f.metadata["key"], name=f.name, kind=_plain_type(hints[f.name]))
        for f in fields(section)
        if "key" in f.metadata
    )


def _plain_type(hint: Any) -> type:
    """`int` for int and for int | None."""
    found: type = next((part for part in get_args(hint) if part is not NoneType), hint)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Time:
    """The stretch of time that is planned."""

    start_utc: str = key("first moment; all seconds of a run count from it", form="utc")
    duration_h: float = key("length of the contact plan", unit="h", high=2160, above=True)
    search_step_s: float = key("grid of the contact search; edges are refined below it", unit="s", low=10, high=120)


_WALKER = ("kind", WALKER_KINDS)
_TLE = ("kind", ("tle",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shell:
    """One group of satellites: a Walker pattern i:t/p/f, or the element sets of a file."""

    kind: str = key("how the orbits are given", choices=(*WALKER_KINDS, "tle"))
    satellites: int | None = key("number of satellites (t)", low=1, high=10000, only_if=_WALKER)
    planes: int | None = key("number of planes (p); divides satellites", low=1, high=1000, only_if=_WALKER)
    phasing: int | None = key("phasing between planes (f), below planes", high=999, only_if=_WALKER)
    altitude_km: float | None = key("above the equatorial radius", unit="km", low=200, high=36000, only_if=_WALKER)
    inclination_deg: float | None = key("inclination", unit="deg", high=180, only_if=_WALKER)
    raan_deg: float = key("node of the first plane", default=0.0, unit="deg", high=360, only_if=_WALKER)
    tle_file: str | None = key("file of two-line element sets", form="tle", only_if=_TLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundStation:
    """A place with antennas, joined to the ground server by backhaul."""

    name: str = key("name, used once", form="station")
    latitude_deg: float = key("geodetic latitude, north is positive", unit="deg", low=-90, high=90)
    longitude_deg: float = key("longitude, east is positive", unit="deg", low=-180, high=180)
    altitude_m: float = key("above the WGS 84 ellipsoid", default=0.0, unit="m", low=-500, high=9000)
    antennas: int = key("satellites it can serve in one moment", default=1, low=1, high=1000)
    min_elevation_deg: float = key("elevation mask", default=10.0, unit="deg", high=89)


_RATE: dict[str, Any] = {"unit": "Mbit/s", "high": 10**6, "above": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """What links can do; a rate holds for the whole of a contact, in each direction."""

    downlink_rate_mbps: float = key("satellite to station", **_RATE)
    uplink_rate_mbps: float = key("station to satellite", **_RATE)
    isl_intra_rate_mbps: float = key("between neighbours in a plane", **_RATE)
    isl_inter_rate_mbps: float = key("between planes", **_RATE)
    backhaul_rate_mbps: float = key("between a station and the server", **_RATE)
    grazing_altitude_km: float = key("lowest height of an inter-satellite ray", unit="km", high=1000)
    isl_inter_max_range_km: float = key("longest link between planes", unit="km", high=100000, above=True)
    isl_inter_enabled: bool = key("whether satellites of neighbouring planes hold links")
    hop_latency_ms: float = key("added to each hop beside the time of light", unit="ms", high=1000)
    full_duplex: bool = key("whether a terminal sends and receives at once")
    satellite_ground_terminals: int = key("stations a satellite can point at in one moment", low=1, high=16)
    satellite_inter_terminals: int = key("satellites of other planes it can point at in one moment", low=1, high=16)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The computer on the ground."""

    sustained_gflops: float = key("what it sustains in training, fp32", **_SPEED)
    memory_gb: float = key("memory for weights, activations and optimiser state", **_MEMORY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The foundation model and where it is cut."""

    name: str = key("profile of the model", choices=shipped_profiles())
    weights: str = key("what training starts from", choices=("pretrained", "random"))
    cut_after_block: int = key("blocks on board; 0 cuts after the embedding", high=1000)


_SCENE = ("dataset", SCENES)
_PLANNED = ("dataset", (NO_DATASET,))


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The imagery the satellites hold."""

    dataset: str = key("shipped scene, or none: plan without training", choices=(*SCENES, NO_DATASET))
    assignment: str | None = key("which satellite holds which chip", choices=HOW, only_if=_SCENE)
    dirichlet_alpha: float | None = key(
        "concentration: 0.1 is one or two classes each", high=1000, above=True, only_if=("assignment", ("dirichlet",))
    )
    samples_per_satellite: int | None = key("images each satellite holds", low=1, high=10**7, only_if=_PLANNED)
    num_classes: int | None = key("classes the head tells apart", low=2, high=10**5, only_if=_PLANNED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """What is trained, and how."""

    trains: str = key("head; encoder and head; or everything", choices=TRAINS)
    server_encoder: str = key(
        "one encoder for all samples, or one copy per satellite, averaged",
        default="shared",
        choices=("shared", "per_client"),
        only_if=("trains", ("encoder", "full")),
    )
    rounds: int = key("global aggregations", low=1, high=100000)
    local_steps: int = key("optimiser steps per round", low=1, high=10000)
    batch_size: int = key("samples of one satellite in one step", low=1, high=65536)
    optimizer: str = key("optimiser", choices=tuple(OPTIMIZER_COPIES))
    learning_rate: float = key("learning rate", high=10, above=True)
    head_rate_factor: float = key(
        "times faster that the head learns than the rest",
        default=1.0,
        high=1000,
        above=True,
        only_if=("trains", ("encoder", "full")),
    )
    momentum: float = key("momentum", default=0.0, high=0.999, only_if=("optimizer", ("sgd",)))
    weight_decay: float = key("weight decay", default=0.0, high=1)
    target_accuracy: float = key("accuracy at which the times of methods are compared", high=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """The scheme and its three communication strategies."""

    name: str = key("scheme", choices=("collaborative", "reconstructed", "onboard", "download"))
    codec: str = key("number format on the links", choices=("fp32", "fp16"))
    intra_orbit: str = key("way around a plane", choices=("none", "relay", "ring", "bidirectional"))
    satellite_ground: str = key("way between satellites and stations", choices=("direct", "max_flow"))
    inter_orbit: str = key("way between planes", choices=("via_ground", "earliest_tree"))
    slot_s: float = key("time step of the flow network of max_flow", unit="s", low=1, high=3600)
    preloaded: bool = key("whether satellites hold the weights before the start")
    deliver_to: str = key("who holds the trained model at the end", choices=("server", "satellites"))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A complete scenario: every key has its value, whichever file it came from."""

    name: str = key("name of the run", form="name")
    seed: int = key("root of all random streams", default=0, high=LARGEST_SEED)
    time: Time
    shell: tuple[Shell, ...]
    ground_station: tuple[GroundStation, ...]
    links: Links
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
    "satellite": Satellite,
    "server": Server,
    "model": Model,
    "data": Data,
    "train": Train,
    "method": Method,
}
"""Sections in the order they are written."""

ARRAYS = ("shell", "ground_station")
"""Sections that are lists: [[shell]], [[ground_station]]."""


@cache
def key_names() -> tuple[str, ...]:
    """All keys with their section, list items as number 0: "shell.0.planes"."""
    top = [found.name for found in keys_of(Scenario)]
    return (*top, "extends", *(f"{place}.{k.name}" for place, section in _places() for k in keys_of(section)))


def _places() -> list[tuple[str, type]]:
    return [(f"{name}.0" if name in ARRAYS else name, section) for name, section in SECTIONS.items()]

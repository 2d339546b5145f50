"""Every key of a scenario, declared once: type, unit, range, choices, default and meaning.

Validation, the nearest name in an error, the comments of a resolved scenario and the tables of docs/schema.md all read
the declarations below. Values stay in the units their names say; `build` turns them into SI.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from orbitune.imagery.assign import HOW
from orbitune.imagery.scene import SCENES
from orbitune.links.isl import POLICIES
from orbitune.model.partition import OPTIMIZER_COPIES, TRAINS
from orbitune.model.profile import shipped_profiles
from orbitune.orbit.catalogue import LEAVE_OUT, REFUSE
from orbitune.orbit.constellation import WALKER_KINDS
from orbitune.scenario.keys import key, keys_of

NO_DATASET = "none"
"""`data.dataset` of a scenario that is planned and not trained."""

LARGEST_SEED = 2**63 - 1
"""Largest integer that every TOML reader keeps (TOML 1.0, section Integer)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Time:
    """The stretch of time that is planned."""

    start_utc: str = key("first moment; all seconds of a run count from it", form="utc")
    duration_h: float = key("length of the contact plan", unit="h", high=2160, above=True)
    search_step_s: float = key("grid of the contact search; edges are refined below it", unit="s", low=10, high=120)


_WALKER = ("kind", WALKER_KINDS)
_CATALOGUE = ("kind", ("elements",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shell:
    """One group of satellites: a Walker pattern, published element sets, or a table of orbits of your own.

    `walker = "53:1584/72/39"` is short for the four keys inclination_deg, satellites, planes and phasing (i:t/p/f).
    """

    kind: str = key("how the orbits are given", choices=(*WALKER_KINDS, "elements", "custom"))
    satellites: int | None = key("number of satellites (t)", low=1, high=100000, only_if=_WALKER)
    planes: int | None = key("number of planes (p); divides satellites", low=1, high=1000, only_if=_WALKER)
    phasing: int | None = key("phasing between planes (f), below planes", high=999, only_if=_WALKER)
    altitude_km: float | None = key(
        "mean semi-major axis (Brouwer, as SGP4 uses it) above the equatorial radius of 6378.135 km",
        unit="km",
        low=200,
        high=36000,
        only_if=_WALKER,
    )
    inclination_deg: float | None = key("inclination", unit="deg", high=180, only_if=_WALKER)
    raan_deg: float = key("node of the first plane", default=0.0, unit="deg", high=360, only_if=_WALKER)
    elements_file: str | None = key(
        "element sets (TLE, or OMM as CSV, JSON or XML); with custom, a table of mean elements at the start (CSV)",
        form="elements",
        only_if=("kind", ("elements", "custom")),
    )
    unusable: str = key(
        "what to do with decayed, repeated and stale element sets; what is left out is always listed",
        default=REFUSE,
        choices=(REFUSE, LEAVE_OUT),
        only_if=_CATALOGUE,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundStation:
    """A place with antennas, joined to the ground server by backhaul."""

    name: str = key("name, used once", form="station")
    latitude_deg: float = key("geodetic latitude, north is positive", unit="deg", low=-90, high=90)
    longitude_deg: float = key("longitude, east is positive", unit="deg", low=-180, high=180)
    altitude_m: float = key("above the WGS 84 ellipsoid", default=0.0, unit="m", low=-500, high=9000)
    antennas: int = key("satellites it can serve in one moment", default=1, low=1, high=1000)
    min_elevation_deg: float = key("elevation mask", default=10.0, unit="deg", high=89)
    horizon_mask_deg: tuple[tuple[float, float], ...] = key(
        "elevation mask by azimuth (clockwise from north), straight between the points, on top of min_elevation_deg",
        default=(),
        unit="deg",
        form="mask",
    )


ANY_RANGE_RATE_M_S, ANY_SLEW_DEG_S = 20e3, 180.0
"""Beyond what satellites do: two in low orbit never part faster than 16 km/s, no terminal turns faster than this."""

_LINKED = ("isl_inter_policy", ("grid", "nearest", "visible"))
_RATE: dict[str, Any] = {"unit": "Mbit/s", "high": 10**6, "above": True}


def _radio(switch: str) -> dict[str, dict[str, Any]]:
    """The keys of a radio link budget, which mean something where `switch` says "rf"."""
    only_if = (switch, ("rf",))
    return {
        "eirp": {"unit": "dBW", "low": -50, "high": 100, "only_if": only_if},
        "g_over_t": {"unit": "dB/K", "low": -50, "high": 60, "only_if": only_if},
        "frequency": {"unit": "GHz", "low": 0.1, "high": 100, "only_if": only_if},
        "bandwidth": {"unit": "MHz", "high": 10000, "above": True, "only_if": only_if},
        "margin": {"default": 3.0, "unit": "dB", "high": 40, "only_if": only_if},
        "gas": {"default": 0.0, "unit": "dB", "high": 40, "only_if": only_if},
    }


_DOWN, _UP = _radio("downlink_rate_model"), _radio("uplink_rate_model")
_OPTICAL = ("isl_rate_model", ("optical",))
_ITU = ("weather", ("itu",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """What links can do. A fixed rate holds for a whole contact; a budget gives pieces of a pass their own rates."""

    downlink_rate_model: str = key(
        "a fixed rate, or a radio link budget with adaptive DVB-S2X", default="fixed", choices=("fixed", "rf")
    )
    downlink_rate_mbps: float | None = key("satellite to station", only_if=("downlink_rate_model", ("fixed",)), **_RATE)
    downlink_eirp_dbw: float | None = key("power and gain of the satellite", **_DOWN["eirp"])
    downlink_g_over_t_db_k: float | None = key("figure of merit of a station", **_DOWN["g_over_t"])
    downlink_frequency_ghz: float | None = key("carrier", **_DOWN["frequency"])
    downlink_bandwidth_mhz: float | None = key("occupied, symbols times 1.2", **_DOWN["bandwidth"])
    downlink_margin_db: float = key("set aside for pointing, polarisation and the modem", **_DOWN["margin"])
    downlink_gas_zenith_db: float = key("loss of the clear air at the zenith", **_DOWN["gas"])
    uplink_rate_model: str = key("the same for the way up", default="fixed", choices=("fixed", "rf"))
    uplink_rate_mbps: float | None = key("station to satellite", only_if=("uplink_rate_model", ("fixed",)), **_RATE)
    uplink_eirp_dbw: float | None = key("power and gain of a station", **_UP["eirp"])
    uplink_g_over_t_db_k: float | None = key("figure of merit of the satellite", **_UP["g_over_t"])
    uplink_frequency_ghz: float | None = key("carrier", **_UP["frequency"])
    uplink_bandwidth_mhz: float | None = key("occupied, symbols times 1.2", **_UP["bandwidth"])
    uplink_margin_db: float = key("set aside for pointing, polarisation and the modem", **_UP["margin"])
    uplink_gas_zenith_db: float = key("loss of the clear air at the zenith", **_UP["gas"])
    weather: str = key(
        "losses of radio links in the air: the zenith loss above, or ITU-R rain, cloud, gas and scintillation for each "
        "station (extra itu)",
        default="none",
        choices=("none", "itu"),
    )
    weather_availability_percent: float | None = key(
        "share of the year in which the loss is not exceeded", unit="%", low=50, high=99.999, only_if=_ITU
    )
    station_antenna_m: float = key(
        "diameter of a station's antenna, which smooths scintillation",
        default=5.0,
        unit="m",
        low=0.1,
        high=100,
        only_if=_ITU,
    )
    isl_rate_model: str = key(
        "fixed rates between satellites, or an optical link budget", default="fixed", choices=("fixed", "optical")
    )
    isl_intra_rate_mbps: float | None = key(
        "between neighbours in a plane", only_if=("isl_rate_model", ("fixed",)), **_RATE
    )
    isl_inter_rate_mbps: float | None = key("between planes", only_if=("isl_rate_model", ("fixed",)), **_RATE)
    optical_power_w: float | None = key("sent by a laser terminal", unit="W", high=1000, above=True, only_if=_OPTICAL)
    optical_aperture_m: float | None = key("of both telescopes", unit="m", high=10, above=True, only_if=_OPTICAL)
    optical_wavelength_nm: float = key("wavelength", default=1550.0, unit="nm", low=300, high=12000, only_if=_OPTICAL)
    optical_photons_per_bit: float | None = key("sensitivity of the receiver", high=10**6, above=True, only_if=_OPTICAL)
    optical_max_rate_mbps: float | None = key(
        "greatest rate; with less light, a half, a quarter ... of it", only_if=_OPTICAL, **_RATE
    )
    optical_pointing_error_urad: float = key("off the axis", default=0.0, unit="urad", high=10000, only_if=_OPTICAL)
    optical_losses_db: float = key("optics, coupling and margin", default=3.0, unit="dB", high=60, only_if=_OPTICAL)
    backhaul_rate_mbps: float = key("between a station and the server", **_RATE)
    grazing_altitude_km: float = key("lowest height of an inter-satellite ray", unit="km", high=1000)
    isl_intra_enabled: bool = key("whether neighbours in a plane hold links", default=True)
    isl_inter_policy: str = key(
        "who links to whom between planes: nobody; the neighbour in the next plane; the nearest in sight, chosen anew; "
        "everybody in sight, chosen by the schedule",
        choices=POLICIES,
    )
    isl_inter_max_range_km: float | None = key(
        "longest link between planes", unit="km", high=100000, above=True, only_if=_LINKED
    )
    isl_inter_max_range_rate_m_s: float = key(
        "fastest change of a link's length (Doppler); satellites in low orbit stay below 16000",
        default=ANY_RANGE_RATE_M_S,
        unit="m/s",
        high=ANY_RANGE_RATE_M_S,
        above=True,
        only_if=_LINKED,
    )
    isl_inter_max_slew_deg_s: float = key(
        "fastest turn of a terminal, seen from its nadir-pointing satellite",
        default=ANY_SLEW_DEG_S,
        unit="deg/s",
        high=ANY_SLEW_DEG_S,
        above=True,
        only_if=_LINKED,
    )
    isl_inter_polar_cutoff_deg: float = key(
        "latitude beyond which links between planes are off",
        default=90.0,
        unit="deg",
        high=90,
        above=True,
        only_if=_LINKED,
    )
    isl_inter_cross_seam: bool = key(
        "whether links may join planes that fly against each other",
        default=False,
        only_if=("isl_inter_policy", ("nearest", "visible")),
    )
    isl_inter_repoint_s: float = key(
        "time between two choices of the nearest",
        default=60.0,
        unit="s",
        low=1,
        high=3600,
        only_if=("isl_inter_policy", ("nearest",)),
    )
    isl_inter_acquisition_s: float = key(
        "from pointing at a new partner to the first bit; windows begin that much later",
        default=0.0,
        unit="s",
        high=600,
        only_if=_LINKED,
    )
    hop_latency_ms: float = key("added to each hop beside the time of light", unit="ms", high=1000)
    full_duplex: bool = key("whether a terminal sends and receives at once")
    satellite_ground_terminals: int = key("stations a satellite can point at in one moment", low=1, high=16)
    satellite_inter_terminals: int = key("satellites of other planes it can point at in one moment", low=1, high=16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A node or a link that is out of order for a while: its contacts are cut out of the plan."""

    node: str = key("name of a satellite or a ground station", form="node")
    link_to: str = key("name of the other end, where only one link is out", default="", form="node")
    from_h: float = key("when it begins", default=0.0, unit="h", high=2160)
    until_h: float = key("when it is over; the longest plan ends at 2160", default=2160.0, unit="h", high=2160)


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
    satellite_ground: str = key(
        "way between satellites and stations", choices=("direct", "gateway", "max_flow", "quickest")
    )
    inter_orbit: str = key(
        "way between planes",
        choices=("via_ground", "chain", "earliest_tree", "mixed_tree", "sharded", "quickest", "exact"),
    )
    overlap: str = key(
        "stages one after the other, or micro-batches that flow through them; changes times, never numbers",
        default="none",
        choices=("none", "stream"),
    )
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

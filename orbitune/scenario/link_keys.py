"""Keys of the links, and of what may be out of order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orbitune.links.isl import POLICIES
from orbitune.scenario.keys import key

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

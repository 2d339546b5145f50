"""Keys of time, satellites and ground stations."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.orbit.catalogue import LEAVE_OUT, REFUSE
from orbitune.orbit.constellation import WALKER_KINDS
from orbitune.scenario.keys import key


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
    sustained_gflops: float = key(
        "computer of these satellites; 0 for that of [satellite]", default=0.0, unit="GFLOP/s", high=10**9
    )
    memory_gb: float = key("memory of these satellites; 0 for that of [satellite]", default=0.0, unit="GB", high=10**6)
    cut_after_block: int = key("cut on these satellites; -1 for model.cut_after_block", default=-1, low=-1, high=1000)


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

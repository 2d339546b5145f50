"""Constellations, stations and link figures that the contact tests share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from orbitune.links.isl import IslSpec
from orbitune.links.plan import LinkSpec
from orbitune.links.rates import FixedRate
from orbitune.orbit.catalogue import catalogue, read_elements
from orbitune.orbit.constellation import Constellation, WalkerShell, build_walker
from orbitune.orbit.geometry import GroundStation

# Degrees and metres of ten real sites, from the equator to the poles, so that short and long passes occur.
SITES = {
    "Svalbard": (78.23, 15.39, 450.0),
    "Fairbanks": (64.86, -147.85, 180.0),
    "Wallops": (37.94, -75.46, 10.0),
    "Hawaii": (19.01, -155.66, 370.0),
    "Singapore": (1.35, 103.82, 20.0),
    "Awarua": (-46.53, 168.38, 5.0),
    "Punta Arenas": (-52.94, -70.85, 30.0),
    "Hartebeesthoek": (-25.89, 27.69, 1540.0),
    "Kiruna": (67.88, 21.06, 400.0),
    "Bengaluru": (13.03, 77.57, 900.0),
}


@dataclass(frozen=True)
class Case:
    """Satellites and the moment around which to look at them."""

    constellation: Constellation
    start_utc: str


def walker(kind: str, satellites: int, planes: int, phasing: int, altitude_km: float, inclination_deg: float) -> Case:
    shell = WalkerShell(kind, satellites, planes, phasing, altitude_km * 1e3, math.radians(inclination_deg))
    return Case(build_walker([shell], "2025-06-01T00:00:00Z"), "2025-06-01T00:00:00Z")


@pytest.fixture(scope="session")
def stations() -> list[GroundStation]:
    """Ten stations with masks of 10 degrees."""
    return [
        GroundStation(name, math.radians(latitude), math.radians(longitude), altitude_m, math.radians(10.0))
        for name, (latitude, longitude, altitude_m) in SITES.items()
    ]


def elements(path: Path, start_utc: str) -> Case:
    return Case(catalogue(read_elements(path), start_utc, 86_400.0, 30.0, "refuse"), start_utc)


@pytest.fixture(scope="session")
def cases(repository: Path) -> dict[str, Case]:
    """Three Walker patterns and two files of real element sets near their epochs."""
    tle = repository / "orbitune" / "data" / "tle"
    return {
        "star": walker("walker-star", 66, 6, 2, 780.0, 86.4),
        "delta": walker("walker-delta", 72, 6, 1, 550.0, 53.0),
        "sun-synchronous": walker("walker-delta", 24, 3, 1, 500.0, 97.4),
        "planet": elements(tle / "planet_sample.tle", "2022-04-23T12:00:00Z"),
        "iridium": elements(tle / "iridium_sample.tle", "2022-09-14T12:00:00Z"),
    }


@pytest.fixture(scope="session")
def link_spec() -> LinkSpec:
    return LinkSpec(
        downlink=FixedRate(200e6),
        uplink=FixedRate(20e6),
        isl_intra=FixedRate(1e9),
        isl_inter=FixedRate(500e6),
        backhaul_rate_bps=10e9,
        isl=IslSpec(policy="grid", grazing_altitude_m=80e3, max_range_m=4500e3),
        hop_latency_s=0.005,
    )

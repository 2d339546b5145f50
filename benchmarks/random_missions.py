"""Missions drawn at random that could fly: real stations, ring constellations, rates and sizes within sourced ranges.

Every mission is an ordinary scenario, written as a file and read back, so what is drawn passes the same rules as what a
user writes. Mission `number` of a seed depends on these two alone.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np

from orbitune.methods.base import FP32_BYTES
from orbitune.mission import Mission, prepare
from orbitune.model.profile import load_profile
from orbitune.scenario.link_keys import Fault, Links
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.scenario.sky_keys import GroundStation, Shell
from orbitune.scenario.text import dump
from orbitune.seeds import generator
from orbitune.units import BITS_PER_BYTE, EARTH_RADIUS_M, gigabytes, km, mbps

BASE = "demo-spectralgpt"
"""Whatever is not drawn: computers, powers, grazing altitude, hop latency, longest link; sources are given there."""

NETWORKS = ("ksat-like", "ssc-like", "aws-like", "demo")
"""Stations are drawn from one of these networks, whose presets give the source of each place."""

SATELLITES = (12, 72)
PLANES = (1, 8)
STATIONS = (2, 10)

DOWNLINK_MBPS = (12.5, 4000.0)
"""From Planet's X band of 2016 to Ka band of Earth observation satellites (LeoDOS, "Ground-satellite links")."""

UPLINK_MBPS = (0.25, 54.0)
"""From Planet's S band of 2016 to the 54 MHz of AWS Ground Station's S-band uplink at one bit per second and hertz."""

ISL_MBPS = (100.0, 100_000.0)
"""Up to Starlink's optical terminals; the lower end is chosen, no rate of a link between imaging satellites was found.
Links between planes get a tenth of it up to all of it: chosen."""

BACKHAUL_MBPS = (100.0, 10_000.0)
"""Chosen: from a leased line to fibre."""

ALTITUDE_KM = (500.0, 1200.0)
"""From Starlink's and Planet's heights to OneWeb's."""

INCLINATION_DEG = {"star": (80.0, 90.0), "delta": (45.0, 70.0)}
"""Around Iridium (86.4) and OneWeb (87.9); around Kuiper (51.9) and Starlink's shells (53 to 70)."""

MODELS = ("galileo-nano", "spectralgpt-base", "vit-b-16", "vit-l-16")
SAMPLES = (8, 512)
"""Images of a satellite that cross in one go, chosen: from a batch to a pass full of them."""

MODEL_BYTES = (3e4, 3.4e8)
"""What is averaged: from a linear head of ten classes to all of a ViT-B in fp32 (85 M weights)."""

BUSY_S = 3600.0
"""Chosen: amounts are cut so that all antennas together could carry them in an hour. More needs another network."""

MEMORY_SHARE = 0.25
"""Chosen: all embeddings of a plane fit this share of one satellite's memory, or an all-gather would be refused."""

READY_S = (0.1, 60.0)
"""Chosen: satellites have their images within this time of each other, in every second mission all at once."""

SSO_AXIS_KM = 12352.0
"""cos i = -(a / 12352 km)^3.5: the node of a circular orbit turns with the Sun (Wikipedia, "Sun-synchronous orbit",
from the secular rate of J2)."""


@dataclass(frozen=True)
class Draw:
    """A mission, and what has to be moved in it.

    Attributes:
        number: Which of the seed's missions it is.
        kind: "star", "delta" or "sun-synchronous".
        samples: Images of each satellite [S].
        ready_s: Since when each satellite has its images [S].
        model_bytes: Size of what is averaged.
    """

    number: int
    kind: str
    mission: Mission
    samples: tuple[int, ...]
    ready_s: tuple[float, ...]
    model_bytes: int

    @property
    def scenario(self) -> Scenario:
        """What was drawn, as a user could have written it."""
        return self.mission.scenario

    @property
    def sample_bytes(self) -> float:
        """Bytes of one image's activations at the cut."""
        return float(self.mission.partition.wire_bytes)

    @property
    def feature_bytes(self) -> float:
        """Bytes of one image's pooled feature."""
        return float(self.mission.partition.profile.feature_width * FP32_BYTES)


def draw(seed: int, number: int) -> Draw:
    """Mission `number` of a seed, with its contacts worked out."""
    rng = generator(seed, "random missions", number)
    kind = str(rng.choice(["star", "delta", "sun-synchronous"]))
    base = load(BASE)
    shell, stations = _shell(rng, kind), _stations(rng)
    links = _links(rng, base.links)
    scenario = replace(
        base,
        name=f"random-{number}",
        seed=number,
        time=replace(base.time, start_utc=_moment(rng), duration_h=24.0),
        shell=(shell,),
        ground_station=stations,
        links=links,
        fault=_faults(rng, shell),
        model=replace(base.model, name=str(rng.choice(MODELS))),
    )
    mission = prepare(_checked(_with_work(rng, scenario)))
    return _loaded(rng, number, kind, mission)


def _checked(scenario: Scenario) -> Scenario:
    """The scenario, written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.toml"
        path.write_text(dump(scenario), encoding="utf-8")
        return load(path)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Every factor is as likely as every other; three digits."""
    return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


def _moment(rng: np.random.Generator) -> str:
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=int(rng.integers(365 * 86_400)))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def least_ring(altitude_m: float, grazing_m: float) -> int:
    """Satellites that a plane needs so that rays between neighbours stay above the grazing altitude."""
    half_rad = math.acos((EARTH_RADIUS_M + grazing_m) / (EARTH_RADIUS_M + altitude_m))
    return math.ceil(math.pi / half_rad) + 1  # one more, for orbits are not quite round


def _shell(rng: np.random.Generator, kind: str) -> Shell:
    """Planes that hold rings; fewer planes where rings need many satellites."""
    altitude_km = round(float(rng.uniform(*ALTITUDE_KM)))
    least = least_ring(km(altitude_km), km(load(BASE).links.grazing_altitude_km))
    about = int(rng.integers(SATELLITES[0], SATELLITES[1] + 1))
    planes = int(rng.integers(PLANES[0], min(PLANES[1], about // least) + 1))
    ring = about // planes
    if kind == "sun-synchronous":
        axis_km = altitude_km + EARTH_RADIUS_M / 1e3
        inclination_deg = math.degrees(math.acos(-((axis_km / SSO_AXIS_KM) ** 3.5)))
    else:
        inclination_deg = float(rng.uniform(*INCLINATION_DEG[kind]))
    return Shell(
        kind="walker-star" if kind == "star" else "walker-delta",
        satellites=planes * ring,
        planes=planes,
        phasing=int(rng.integers(planes)),
        altitude_km=float(altitude_km),
        inclination_deg=round(inclination_deg, 2),
        raan_deg=float(rng.integers(360)),
    )


def _stations(rng: np.random.Generator) -> tuple[GroundStation, ...]:
    network = _network(str(rng.choice(NETWORKS)))
    count = int(rng.integers(STATIONS[0], min(STATIONS[1], len(network)) + 1))
    rows = sorted(rng.choice(len(network), count, replace=False).tolist())
    return tuple(replace(network[row], antennas=int(rng.choice([1, 1, 1, 2]))) for row in rows)


@cache
def _network(preset: str) -> tuple[GroundStation, ...]:
    return load(preset).ground_station


def _links(rng: np.random.Generator, base: Links) -> Links:
    isl_mbps = log_uniform(rng, *ISL_MBPS)
    return replace(
        base,
        downlink_rate_mbps=log_uniform(rng, *DOWNLINK_MBPS),
        uplink_rate_mbps=log_uniform(rng, *UPLINK_MBPS),
        isl_intra_rate_mbps=isl_mbps,
        isl_inter_rate_mbps=log_uniform(rng, isl_mbps / 10.0, isl_mbps),
        isl_inter_policy=str(rng.choice(["grid", "grid", "nearest", "visible"])),
        backhaul_rate_mbps=log_uniform(rng, *BACKHAUL_MBPS),
        full_duplex=bool(rng.random() < 0.8),
        satellite_ground_terminals=int(rng.choice([1, 1, 1, 2])),
        satellite_inter_terminals=int(rng.integers(1, 5)),
    )


def _faults(rng: np.random.Generator, shell: Shell) -> tuple[Fault, ...]:
    """In one mission of ten a ring is broken for good, between its first two satellites."""
    if rng.random() >= 0.1:
        return ()
    assert shell.planes is not None
    plane = int(rng.integers(shell.planes))
    return (Fault(node=f"sat-{plane:02d}-00", link_to=f"sat-{plane:02d}-01"),)


def _with_work(rng: np.random.Generator, scenario: Scenario) -> Scenario:
    """A round takes a batch of each satellite, no more than antennas can carry in an hour and satellites can keep."""
    shell = scenario.shell[0]
    assert scenario.links.downlink_rate_mbps is not None and shell.satellites is not None and shell.planes is not None
    sample_bytes = load_profile(scenario.model.name).embedding.activation_bytes
    room = BUSY_S * _antennas(scenario) * mbps(scenario.links.downlink_rate_mbps) / BITS_PER_BYTE
    kept = gigabytes(scenario.satellite.memory_gb) * MEMORY_SHARE
    most = max(1, int(min(room / shell.satellites, kept * shell.planes / shell.satellites) / sample_bytes))
    batch = min(int(log_uniform(rng, *SAMPLES)), most)
    return replace(
        scenario,
        data=replace(scenario.data, samples_per_satellite=batch),
        train=replace(scenario.train, batch_size=batch, local_steps=1, rounds=1, trains="head"),
        method=replace(
            scenario.method,
            intra_orbit="bidirectional",
            satellite_ground="quickest",
            inter_orbit="quickest",
            preloaded=True,
        ),
    )


def _antennas(scenario: Scenario) -> int:
    return sum(station.antennas for station in scenario.ground_station)


def _loaded(rng: np.random.Generator, number: int, kind: str, mission: Mission) -> Draw:
    """What there is to move: every satellite has half to all of a batch."""
    scenario, count = mission.scenario, mission.system.nodes.num_satellites
    assert scenario.links.uplink_rate_mbps is not None and scenario.shell[0].planes is not None
    batch = scenario.train.batch_size
    samples = tuple(int(value) for value in rng.integers((batch + 1) // 2, batch + 1, size=count))
    spread_s = log_uniform(rng, *READY_S) * float(rng.random() < 0.5)
    ready_s = tuple(float(value) for value in np.round(rng.uniform(0.0, spread_s, size=count), 3))
    room = BUSY_S * _antennas(scenario) * mbps(scenario.links.uplink_rate_mbps) / BITS_PER_BYTE
    model_bytes = min(log_uniform(rng, *MODEL_BYTES), room / scenario.shell[0].planes)
    return Draw(number, kind, mission, samples, ready_s, int(model_bytes))

"""From scenario values to the objects of the layers below, in SI. The only place where scenario units are converted."""

from __future__ import annotations

import math
from functools import reduce
from importlib import resources
from pathlib import Path

import numpy as np

from orbitune.cost.system import Computer, Radios, System, Terminals
from orbitune.errors import PlanError
from orbitune.imagery.chips import CLASSES
from orbitune.links.contacts import ContactPlan
from orbitune.links.plan import LinkSpec, find_contacts
from orbitune.model.partition import Head, Partition
from orbitune.model.profile import load_profile
from orbitune.orbit import geometry
from orbitune.orbit.constellation import Constellation, WalkerShell, build_walker, element_age_days
from orbitune.orbit.tle import read_tle
from orbitune.scenario.schema import NO_DATASET, Scenario, Server, Shell
from orbitune.units import gigabytes, gigaflops, hours, km, mbps, milliseconds

RING_TERMINALS = 2
"""A satellite of a ring points at its neighbours ahead and behind, all the time."""

OLDEST_ELEMENTS_DAYS = 30.0
"""SGP4 drifts by 1 to 3 km per day from the epoch (Vallado et al., AIAA 2006-6753); after a month passes are off by
many seconds and decayed satellites fly on, so such a plan would look right and be wrong."""


def build_constellation(scenario: Scenario) -> Constellation:
    """The satellites: those of Walker shells first, then those of TLE files, each in the order of the scenario.

    Raises:
        InputError: A TLE file cannot be read or is damaged.
        PlanError: Element sets are too old for the start, or a name occurs twice.
    """
    walkers = [walker_shell(shell) for shell in scenario.shell if shell.kind != "tle"]
    parts = [build_walker(walkers, scenario.time.start_utc)] if walkers else []
    for shell in scenario.shell:
        if shell.kind == "tle":
            parts.append(_element_sets(shell, scenario.time.start_utc))
    whole = reduce(_joined, parts)
    if len(set(whole.names)) < len(whole.names):
        repeated = sorted({name for name in whole.names if whole.names.count(name) > 1})
        raise PlanError(f"two satellites have one name: {', '.join(repeated[:5])}; rename one in its TLE file")
    return whole


def walker_shell(shell: Shell) -> WalkerShell:
    """One Walker shell in SI."""
    assert shell.satellites is not None and shell.planes is not None and shell.phasing is not None
    assert shell.altitude_km is not None and shell.inclination_deg is not None
    return WalkerShell(
        shell.kind,
        shell.satellites,
        shell.planes,
        shell.phasing,
        km(shell.altitude_km),
        math.radians(shell.inclination_deg),
        math.radians(shell.raan_deg),
    )


def tle_path(tle_file: str) -> Path:
    """The file behind `shell.tle_file`: an absolute path, or a shipped file by its bare name."""
    path = Path(tle_file)
    return path if path.is_absolute() else Path(str(resources.files("orbitune") / "data" / "tle" / tle_file))


def _element_sets(shell: Shell, start_utc: str) -> Constellation:
    assert shell.tle_file is not None
    path = tle_path(shell.tle_file)
    constellation = read_tle(path)
    ages = np.abs(element_age_days(constellation, start_utc))
    if ages.max() > OLDEST_ELEMENTS_DAYS:
        worst = int(ages.argmax())
        raise PlanError(
            f"{path}: the elements of {constellation.names[worst]} are {ages[worst]:.0f} days from time.start_utc = "
            f"{start_utc}; at most {OLDEST_ELEMENTS_DAYS:g} are allowed. Move the start or fetch elements of its time"
        )
    return constellation


def _joined(first: Constellation, second: Constellation) -> Constellation:
    """Two constellations as one; satellites and planes of the second are numbered on."""
    satellites, planes = len(first), len(first.planes)
    return Constellation(
        first.names + second.names,
        first.planes + tuple(tuple(member + satellites for member in plane) for plane in second.planes),
        first.has_rings + second.has_rings,
        first.next_plane + tuple(None if plane is None else plane + planes for plane in second.next_plane),
        first.elements + second.elements,
    )


def build_stations(scenario: Scenario) -> tuple[geometry.GroundStation, ...]:
    """The ground stations in SI, in the order of the scenario."""
    return tuple(
        geometry.GroundStation(
            station.name,
            math.radians(station.latitude_deg),
            math.radians(station.longitude_deg),
            station.altitude_m,
            math.radians(station.min_elevation_deg),
            station.antennas,
        )
        for station in scenario.ground_station
    )


def link_spec(scenario: Scenario) -> LinkSpec:
    """Rates, ranges and delays of the links in SI."""
    links = scenario.links
    return LinkSpec(
        downlink_rate_bps=mbps(links.downlink_rate_mbps),
        uplink_rate_bps=mbps(links.uplink_rate_mbps),
        isl_intra_rate_bps=mbps(links.isl_intra_rate_mbps),
        isl_inter_rate_bps=mbps(links.isl_inter_rate_mbps),
        backhaul_rate_bps=mbps(links.backhaul_rate_mbps),
        grazing_altitude_m=km(links.grazing_altitude_km),
        isl_inter_max_range_m=km(links.isl_inter_max_range_km),
        hop_latency_s=milliseconds(links.hop_latency_ms),
        isl_inter_links=links.isl_inter_enabled,
    )


def build_contacts(scenario: Scenario) -> ContactPlan:
    """Who can talk to whom over the scenario's horizon; no key of [method] or [train] changes it.

    Raises:
        InputError, PlanError: As `build_constellation`, or SGP4 refuses a satellite.
    """
    return find_contacts(
        build_constellation(scenario),
        build_stations(scenario),
        link_spec(scenario),
        scenario.time.start_utc,
        hours(scenario.time.duration_h),
        scenario.time.search_step_s,
    )


def build_system(scenario: Scenario) -> System:
    """Contacts and machines: all that planning may use.

    Energy counts satellites only, which live on what their panels give; the server's power is 0.
    """
    satellite, links = scenario.satellite, scenario.links
    return System(
        contacts=build_contacts(scenario),
        satellite=_computer(satellite.sustained_gflops, satellite.memory_gb, satellite.compute_power_w),
        server=_server(scenario.server),
        terminals=Terminals(
            satellite_ground=links.satellite_ground_terminals,
            satellite_intra=RING_TERMINALS,
            satellite_inter=links.satellite_inter_terminals,
            station_antennas=tuple(station.antennas for station in scenario.ground_station),
            full_duplex=links.full_duplex,
        ),
        radios=Radios(
            transmit_w={
                "downlink": satellite.downlink_power_w,
                "isl_intra": satellite.isl_power_w,
                "isl_inter": satellite.isl_power_w,
            },
            receive_w=satellite.receive_power_w,
        ),
    )


def _server(server: Server) -> Computer:
    return _computer(server.sustained_gflops, server.memory_gb, power_w=0.0)


def _computer(sustained_gflops: float, memory_gb: float, power_w: float) -> Computer:
    return Computer(gigaflops(sustained_gflops), gigabytes(memory_gb), power_w)


def partition(scenario: Scenario) -> Partition:
    """The model cut in two, with a head for the classes of the data."""
    profile = load_profile(scenario.model.name)
    classes = scenario.data.num_classes if scenario.data.dataset == NO_DATASET else len(CLASSES)
    assert classes is not None
    return Partition(profile, Head(profile.feature_width, classes), scenario.model.cut_after_block)

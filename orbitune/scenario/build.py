"""From scenario values to the objects of the layers below, in SI. The only place where scenario units are converted."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from functools import reduce
from importlib import resources
from pathlib import Path

from orbitune.cost.energy import JOULES_PER_WH, PowerBudget, power_budget
from orbitune.cost.system import Computer, Radios, System, Terminals
from orbitune.errors import PlanError
from orbitune.links.contacts import ContactPlan, Nodes
from orbitune.links.eclipse import eclipses
from orbitune.links.faults import Outage, without
from orbitune.links.isl import IslSpec
from orbitune.links.plan import LinkSpec, find_contacts
from orbitune.links.rates import FixedRate, OpticalRate, RateModel, RfRate
from orbitune.links.weather import attenuation_table
from orbitune.orbit import geometry
from orbitune.orbit.catalogue import catalogue, read_elements
from orbitune.orbit.constellation import WALKER_KINDS, Constellation, WalkerShell, build_walker, join
from orbitune.orbit.custom import read_custom
from orbitune.scenario.link_keys import ANY_RANGE_RATE_M_S, ANY_SLEW_DEG_S, Fault, Links
from orbitune.scenario.schema import Scenario, Server
from orbitune.scenario.sky_keys import Shell, Time
from orbitune.units import (
    gigabytes,
    gigaflops,
    gigahertz,
    hours,
    km,
    mbps,
    megahertz,
    microradians,
    milliseconds,
    nanometres,
    percent,
)

OPTICAL_HALVINGS = 7
"""Rates of a laser terminal below its greatest: each half of the one above, down to a 128th (CCSDS 142.0-B-1 stretches
slots by powers of two). Finer steps make many more contacts of a window and carry a few per cent more."""

RING_TERMINALS = 2
"""A satellite of a ring points at its neighbours ahead and behind, all the time."""

OLDEST_ELEMENTS_DAYS = 30.0
"""SGP4 drifts by 1 to 3 km per day from the epoch (Vallado et al., AIAA 2006-6753); after a month passes are off by
many seconds and decayed satellites fly on, so such a plan would look right and be wrong."""


def build_constellation(scenario: Scenario) -> Constellation:
    """The satellites: those of Walker shells first, then those of files, each in the order of the scenario.

    Raises:
        InputError: A file cannot be read or is damaged.
        PlanError: Element sets cannot be used, or a name occurs twice.
    """
    walkers = [walker_shell(shell) for shell in scenario.shell if shell.kind in WALKER_KINDS]
    parts = [build_walker(walkers, scenario.time.start_utc)] if walkers else []
    parts += [_from_file(shell, scenario.time) for shell in scenario.shell if shell.kind not in WALKER_KINDS]
    whole = reduce(join, parts)
    if len(set(whole.names)) < len(whole.names):
        repeated = sorted(name for name, count in Counter(whole.names).items() if count > 1)
        raise PlanError(f"two satellites have one name: {', '.join(repeated[:5])}; rename one in its file")
    return whole


def shell_of(scenario: Scenario) -> tuple[Shell, ...]:
    """The shell of each satellite, in the order of `build_constellation`."""
    found: list[Shell] = []
    for shell in _in_order(scenario):
        count = shell.satellites if shell.kind in WALKER_KINDS else len(_from_file(shell, scenario.time))
        assert count is not None
        found += [shell] * count
    return tuple(found)


def _in_order(scenario: Scenario) -> list[Shell]:
    """Walker shells first, as `build_constellation` has them."""
    return sorted(scenario.shell, key=lambda shell: shell.kind not in WALKER_KINDS)


def satellite_cuts(scenario: Scenario) -> tuple[int, ...]:
    """The cut of each satellite, where a shell has one of its own; empty where all have that of the model."""
    if all(shell.cut_after_block < 0 for shell in scenario.shell):
        return ()
    common = scenario.model.cut_after_block
    return tuple(common if shell.cut_after_block < 0 else shell.cut_after_block for shell in shell_of(scenario))


def _computers(scenario: Scenario) -> tuple[Computer, ...]:
    """The computer of each satellite, where a shell has one of its own; empty where all are alike."""
    if not any(shell.sustained_gflops or shell.memory_gb for shell in scenario.shell):
        return ()
    usual = scenario.satellite
    return tuple(
        _computer(
            shell.sustained_gflops or usual.sustained_gflops,
            shell.memory_gb or usual.memory_gb,
            usual.compute_power_w,
        )
        for shell in shell_of(scenario)
    )


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


def elements_path(elements_file: str) -> Path:
    """The file behind `shell.elements_file`: an absolute path, or a shipped file by its bare name."""
    path = Path(elements_file)
    return path if path.is_absolute() else Path(str(resources.files("orbitune") / "data" / "tle" / elements_file))


def _from_file(shell: Shell, time: Time) -> Constellation:
    assert shell.elements_file is not None
    path = elements_path(shell.elements_file)
    if shell.kind == "custom":
        return read_custom(path, time.start_utc)
    return catalogue(read_elements(path), time.start_utc, hours(time.duration_h), OLDEST_ELEMENTS_DAYS, shell.unusable)


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
            tuple((math.radians(azimuth), math.radians(mask)) for azimuth, mask in station.horizon_mask_deg),
        )
        for station in scenario.ground_station
    )


def link_spec(scenario: Scenario) -> LinkSpec:
    """Rates, limits and delays of the links in SI.

    Raises:
        MissingExtra: The scenario wants ITU-R weather and `itur` is not installed.
    """
    links, stations = scenario.links, build_stations(scenario)
    return LinkSpec(
        downlink=_radio_rate(links, "downlink", stations),
        uplink=_radio_rate(links, "uplink", stations),
        isl_intra=_isl_rate(links, links.isl_intra_rate_mbps),
        isl_inter=_isl_rate(links, links.isl_inter_rate_mbps),
        backhaul_rate_bps=mbps(links.backhaul_rate_mbps),
        isl=isl_spec(links),
        hop_latency_s=milliseconds(links.hop_latency_ms),
        rings=links.isl_intra_enabled,
    )


def isl_spec(links: Links) -> IslSpec:
    """Which satellites may be linked, in SI."""
    longest_km = links.isl_inter_max_range_km
    return IslSpec(
        policy=links.isl_inter_policy,
        grazing_altitude_m=km(links.grazing_altitude_km),
        max_range_m=math.inf if longest_km is None else km(longest_km),
        max_range_rate_m_s=_or_no_limit(links.isl_inter_max_range_rate_m_s, ANY_RANGE_RATE_M_S),
        max_slew_rad_s=_or_no_limit(math.radians(links.isl_inter_max_slew_deg_s), math.radians(ANY_SLEW_DEG_S)),
        polar_cutoff_rad=math.radians(links.isl_inter_polar_cutoff_deg),
        cross_seam=links.isl_inter_cross_seam,
        terminals=links.satellite_inter_terminals,
        repoint_s=links.isl_inter_repoint_s,
        acquisition_s=links.isl_inter_acquisition_s,
    )


def _or_no_limit(value: float, highest: float) -> float:
    """The top of a key's range means that there is no limit, and then nothing has to be computed."""
    return math.inf if value >= highest else value


def _radio_rate(links: Links, side: str, stations: tuple[geometry.GroundStation, ...]) -> RateModel:
    """The rate model of downlinks or uplinks."""

    def value(name: str) -> float:
        return float(getattr(links, f"{side}_{name}"))

    if getattr(links, f"{side}_rate_model") == "fixed":
        return FixedRate(mbps(value("rate_mbps")))
    frequency_hz = gigahertz(value("frequency_ghz"))
    weather = None
    if links.weather == "itu":
        assert links.weather_availability_percent is not None
        availability = percent(links.weather_availability_percent)
        weather = attenuation_table(stations, frequency_hz, availability, links.station_antenna_m)
    return RfRate(
        eirp_dbw=value("eirp_dbw"),
        g_over_t_db_k=value("g_over_t_db_k"),
        frequency_hz=frequency_hz,
        bandwidth_hz=megahertz(value("bandwidth_mhz")),
        margin_db=value("margin_db"),
        gas_zenith_db=value("gas_zenith_db") if weather is None else 0.0,
        weather=weather,
    )


def _isl_rate(links: Links, rate_mbps: float | None) -> RateModel:
    """The rate model of inter-satellite links of one kind."""
    if links.isl_rate_model == "fixed":
        assert rate_mbps is not None
        return FixedRate(mbps(rate_mbps))
    assert links.optical_power_w is not None and links.optical_aperture_m is not None
    assert links.optical_photons_per_bit is not None and links.optical_max_rate_mbps is not None
    return OpticalRate(
        power_w=links.optical_power_w,
        transmit_aperture_m=links.optical_aperture_m,
        receive_aperture_m=links.optical_aperture_m,
        wavelength_m=nanometres(links.optical_wavelength_nm),
        photons_per_bit=links.optical_photons_per_bit,
        max_rate_bps=mbps(links.optical_max_rate_mbps),
        pointing_error_rad=microradians(links.optical_pointing_error_urad),
        losses_db=links.optical_losses_db,
        halvings=OPTICAL_HALVINGS,
    )


def build_contacts(scenario: Scenario, constellation: Constellation | None = None) -> ContactPlan:
    """Who can talk to whom over the scenario's horizon; no key of [method] or [train] changes it.

    `constellation` is that of `build_constellation`, from a caller who has it already.

    Raises:
        InputError, PlanError: As `build_constellation`, SGP4 refuses a satellite, or a fault names no node.
        MissingExtra: As `link_spec`.
    """
    plan = find_contacts(
        constellation or build_constellation(scenario),
        build_stations(scenario),
        link_spec(scenario),
        scenario.time.start_utc,
        hours(scenario.time.duration_h),
        scenario.time.search_step_s,
    )
    return without(plan, [_outage(fault, plan.nodes) for fault in scenario.fault])


def _outage(fault: Fault, nodes: Nodes) -> Outage:
    other = _node(fault.link_to, nodes) if fault.link_to else None
    return Outage(_node(fault.node, nodes), other, hours(fault.from_h), hours(fault.until_h))


def _node(name: str, nodes: Nodes) -> int:
    names = (*nodes.satellite_names, *nodes.station_names)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"names are such as {names[0]} and {names[-1]}"
        raise PlanError(f"fault: there is no satellite or ground station {name!r}; {hint}")
    return names.index(name)


def _power(scenario: Scenario, constellation: Constellation, plan: ContactPlan) -> PowerBudget | None:
    """Panels, batteries and sunlight; None where the scenario has no batteries.

    Raises:
        PlanError: The battery is below its floor at the start, or idle power alone empties it.
    """
    satellite, time = scenario.satellite, scenario.time
    if not satellite.battery_wh:
        return None
    return power_budget(
        eclipses(constellation, time.start_utc, plan.horizon_s, time.search_step_s),
        plan.nodes,
        plan.horizon_s,
        idle_w=satellite.idle_power_w,
        solar_w=satellite.solar_power_w,
        capacity_j=satellite.battery_wh * JOULES_PER_WH,
        floor_share=percent(satellite.battery_floor_percent),
        start_share=percent(satellite.battery_start_percent),
    )


def build_system(scenario: Scenario, constellation: Constellation | None = None) -> System:
    """Contacts and machines: all that planning may use.

    Energy counts satellites only, which live on what their panels give; the server's power is 0.
    """
    satellite, links = scenario.satellite, scenario.links
    whole = constellation or build_constellation(scenario)
    contacts = build_contacts(scenario, whole)
    return System(
        contacts=contacts,
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
        satellites=_computers(scenario),
        power=_power(scenario, whole, contacts),
    )


def _server(server: Server) -> Computer:
    return _computer(server.sustained_gflops, server.memory_gb, power_w=0.0)


def _computer(sustained_gflops: float, memory_gb: float, power_w: float) -> Computer:
    return Computer(gigaflops(sustained_gflops), gigabytes(memory_gb), power_w)

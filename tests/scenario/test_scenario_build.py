"""From scenario units to the SI objects of the layers below."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orbitune.errors import InputError, PlanError, ScenarioError
from orbitune.links.rates import FixedRate, OpticalRate, RfRate
from orbitune.mission import prepare
from orbitune.orbit.catalogue import read_elements
from orbitune.scenario.build import (
    OLDEST_ELEMENTS_DAYS,
    build_constellation,
    build_contacts,
    build_stations,
    build_system,
    elements_path,
    link_spec,
)
from orbitune.scenario.load import load


def test_units_are_converted() -> None:
    """Each number by hand from the values that are set here."""
    scenario = load(
        "tiny",
        [
            "links.downlink_rate_mbps=2",
            "links.uplink_rate_mbps=3",
            "links.isl_intra_rate_mbps=4",
            "links.isl_inter_rate_mbps=5",
            "links.backhaul_rate_mbps=6",
            "links.grazing_altitude_km=7",
            "links.isl_inter_max_range_km=8",
            "links.hop_latency_ms=9",
            "links.isl_inter_policy=nearest",
            "links.isl_inter_max_range_rate_m_s=10",
            "links.isl_inter_max_slew_deg_s=90",
            "links.isl_inter_polar_cutoff_deg=60",
            "links.isl_inter_cross_seam=true",
            "links.isl_inter_repoint_s=11",
            "links.isl_inter_acquisition_s=12",
            "links.satellite_inter_terminals=3",
        ],
    )
    spec = link_spec(scenario)
    rates = [spec.downlink, spec.uplink, spec.isl_intra, spec.isl_inter]
    assert rates == [FixedRate(2e6), FixedRate(3e6), FixedRate(4e6), FixedRate(5e6)]
    assert spec.backhaul_rate_bps == 6e6
    assert spec.hop_latency_s == pytest.approx(0.009)
    isl = spec.isl
    assert (isl.policy, isl.grazing_altitude_m, isl.max_range_m) == ("nearest", 7000.0, 8000.0)
    assert (isl.max_range_rate_m_s, isl.repoint_s, isl.acquisition_s) == (10.0, 11.0, 12.0)
    assert isl.max_slew_rad_s == pytest.approx(math.pi / 2)
    assert isl.polar_cutoff_rad == pytest.approx(math.pi / 3)
    assert (isl.cross_seam, isl.terminals) == (True, 3)


def test_the_top_of_a_range_means_no_limit() -> None:
    isl = link_spec(load("tiny")).isl
    assert (isl.max_range_rate_m_s, isl.max_slew_rad_s) == (math.inf, math.inf)


RADIO = ("links.downlink_rate_model=rf", "links.downlink_eirp_dbw=13", "links.downlink_g_over_t_db_k=30",
         "links.downlink_frequency_ghz=8.2", "links.downlink_bandwidth_mhz=100")  # fmt: skip
LASER = ("links.isl_rate_model=optical", "links.optical_power_w=1", "links.optical_aperture_m=0.1",
         "links.optical_photons_per_bit=100", "links.optical_max_rate_mbps=10000")  # fmt: skip


def test_budgets_are_converted() -> None:
    spec = link_spec(load("tiny", [*RADIO, "links.downlink_gas_zenith_db=0.3", *LASER]))
    radio = spec.downlink
    assert isinstance(radio, RfRate)
    assert (radio.eirp_dbw, radio.g_over_t_db_k, radio.margin_db, radio.gas_zenith_db) == (13.0, 30.0, 3.0, 0.3)
    assert radio.frequency_hz == pytest.approx(8.2e9)
    assert radio.bandwidth_hz == pytest.approx(100e6)
    laser = spec.isl_inter
    assert isinstance(laser, OpticalRate)
    assert laser == spec.isl_intra
    assert (laser.power_w, laser.receive_aperture_m, laser.max_rate_bps) == (1.0, 0.1, 10e9)
    assert laser.wavelength_m == pytest.approx(1550e-9)


def test_a_fault_is_cut_out_of_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(
        'extends = "tiny"\n[[fault]]\nnode = "sat-00-03"\nfrom_h = 2\nuntil_h = 4\n'
        '[[fault]]\nnode = "sat-01-00"\nlink_to = "Svalbard"\n'
    )
    plan = build_contacts(load(path))
    ill = plan.nodes.satellite_names.index("sat-00-03")
    for contact in plan:
        if ill in (contact.source, contact.target):
            assert contact.end_s <= 2 * 3600 or contact.start_s >= 4 * 3600
    link = (plan.nodes.satellite_names.index("sat-01-00"), plan.nodes.num_satellites)
    assert plan.nodes.name(link[1]) == "Svalbard"
    assert link not in plan.by_link
    assert link in build_contacts(load("tiny")).by_link


def test_a_fault_of_an_unknown_node_names_near_ones(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text('extends = "tiny"\n[[fault]]\nnode = "Svalbad"\n')
    with pytest.raises(PlanError, match="did you mean Svalbard"):
        build_contacts(load(path))


def test_machines_are_converted() -> None:
    sets = [
        "satellite.sustained_gflops=2",
        "satellite.memory_gb=3",
        "satellite.compute_power_w=4",
        "satellite.downlink_power_w=5",
        "satellite.isl_power_w=6",
        "satellite.receive_power_w=7",
        "server.sustained_gflops=8",
        "server.memory_gb=9",
        "links.full_duplex=false",
        "links.satellite_ground_terminals=3",
        "links.satellite_inter_terminals=4",
        "ground_station.Wallops.antennas=5",
        "time.duration_h=1",
    ]
    system = build_system(load("tiny", sets))
    assert (system.satellite.flops_per_s, system.satellite.memory_bytes, system.satellite.power_w) == (2e9, 3e9, 4)
    assert (system.server.flops_per_s, system.server.memory_bytes) == (8e9, 9e9)
    assert system.radios.transmit_w == {"downlink": 5, "isl_intra": 6, "isl_inter": 6}
    assert system.radios.receive_w == 7
    assert system.terminals.station_antennas == (1, 5, 1)
    assert (system.terminals.satellite_ground, system.terminals.satellite_inter) == (3, 4)
    assert system.terminals.full_duplex is False


def test_stations_stand_where_the_scenario_says() -> None:
    """Latitude, longitude and height against the same place computed by skyfield."""
    from skyfield.api import wgs84

    for ours, written in zip(build_stations(load("demo")), load("demo").ground_station, strict=True):
        theirs = wgs84.latlon(written.latitude_deg, written.longitude_deg, written.altitude_m).itrs_xyz.m
        assert ours.position_m == pytest.approx(theirs, abs=1e-3)
        assert math.degrees(ours.min_elevation_rad) == pytest.approx(written.min_elevation_deg)


def test_the_demo_sites_are_on_land_of_their_continents() -> None:
    """A sign slipped in a coordinate would move a site to another hemisphere."""
    signs = {
        station.name: (station.latitude_deg > 0, station.longitude_deg > 0) for station in load("demo").ground_station
    }
    north_east = {"Svalbard", "Kiruna", "Singapore", "Bengaluru"}
    north_west = {"Fairbanks", "Wallops", "Hawaii"}
    assert {name for name, sign in signs.items() if sign == (True, True)} == north_east
    assert {name for name, sign in signs.items() if sign == (True, False)} == north_west
    assert signs["Awarua"] == signs["Hartebeesthoek"] == (False, True)
    assert signs["Punta Arenas"] == (False, False)


def test_the_demo_is_six_planes_of_eleven() -> None:
    constellation = build_constellation(load("demo"))
    assert [len(plane) for plane in constellation.planes] == [11] * 6


def test_walker_shells_come_first_and_files_are_numbered_on(tmp_path: Path) -> None:
    text = """extends = "planet-sample"
[[shell]]
kind = "elements"
elements_file = "planet_sample.tle"
[[shell]]
kind = "walker-delta"
satellites = 12
planes = 3
phasing = 1
altitude_km = 550
inclination_deg = 53
"""
    path = tmp_path / "mixed.toml"
    path.write_text(text)
    constellation = build_constellation(load(path))
    published = read_elements(elements_path("planet_sample.tle"))
    assert len(constellation) == 12 + len(published)
    assert constellation.names[12:] == tuple(found.name for found in published)
    assert sorted(member for plane in constellation.planes for member in plane) == list(range(len(constellation)))
    assert constellation.has_rings == (True,) * 3 + (False,) * len(published)
    assert constellation.next_plane == (1, 2, 0) + (None,) * len(published)
    assert constellation.elements[12:] and constellation.elements[12].satnum == published[0].record.satnum


def test_old_elements_are_refused() -> None:
    with pytest.raises(PlanError, match=f"{OLDEST_ELEMENTS_DAYS:g} are allowed"):
        build_constellation(load("planet-sample", ["time.start_utc=2023-04-23T12:00:00Z"]))


def test_a_damaged_tle_file_is_an_input_error(tmp_path: Path) -> None:
    lines = elements_path("planet_sample.tle").read_text().splitlines()
    lines[1] = lines[1][:-1] + str((int(lines[1][-1]) + 1) % 10)
    (tmp_path / "broken.tle").write_text("\n".join(lines) + "\n")
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "planet-sample"\n[[shell]]\nkind = "elements"\nelements_file = "broken.tle"\n')
    with pytest.raises(InputError, match="checksum"):
        build_constellation(load(mine))


def test_contacts_cover_the_horizon_and_do_not_depend_on_the_method() -> None:
    first = build_contacts(load("tiny"))
    second = build_contacts(load("tiny", ["method.name=download", "method.intra_orbit=none", "train.rounds=9"]))
    assert first.horizon_s == 12 * 3600
    assert np.array_equal(first.start_s, second.start_s)
    assert np.array_equal(first.kind, second.kind)
    assert len(first.of_kind("isl_intra")) == 24, "twelve satellites in two rings, both directions, all the time"


def test_the_partition_has_the_cut_and_the_classes() -> None:
    cut = prepare(load("demo", ["model.cut_after_block=2"])).partition
    assert (cut.profile.name, cut.cut, cut.head.num_classes) == ("galileo-nano", 2, 5)
    planned = prepare(load("demo-spectralgpt", ["data.num_classes=19"])).partition
    assert (planned.profile.name, planned.head.num_classes) == ("spectralgpt-base", 19)
    assert planned.head.feature_width == planned.profile.feature_width


@settings(max_examples=25)
@given(number=st.integers(2, 14), altitude_km=st.integers(300, 3000), grazing_km=st.integers(0, 250))
def test_a_ring_is_refused_exactly_where_no_link_of_it_exists(number: int, altitude_km: int, grazing_km: int) -> None:
    """The rule is circle geometry; the contacts come from SGP4 orbits. 40 km around the edge are left out: the Earth's
    flattening and the J2 swing of the radius move the ray by up to about that."""
    ray_km = (6378.135 + altitude_km) * math.cos(math.pi / number) - 6378.135
    assume(abs(ray_km - grazing_km) > 40 and grazing_km < altitude_km)
    sets = [
        f"shell.0.satellites={number}",
        "shell.0.planes=1",
        "shell.0.phasing=0",
        f"shell.0.altitude_km={altitude_km}",
        f"links.grazing_altitude_km={grazing_km}",
        "time.duration_h=3",
    ]
    try:
        load("tiny", sets)
        accepted = True
    except ScenarioError as error:
        assert [problem.key for problem in error.problems] == ["shell.0.planes"]
        accepted = False
    plan = build_contacts(load("tiny", [*sets, "method.intra_orbit=none"]))
    assert accepted == (len(plan.of_kind("isl_intra")) > 0)

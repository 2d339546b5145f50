"""A scenario key that can be changed without any output changing is a bug. The saved scenario does not count as output.

Each key is changed from one value to another, beside whatever makes it matter; then a timeline, a result, a map or a
learning curve must differ.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from orbitune.errors import PlanError
from orbitune.experiment import trainings
from orbitune.launch.faults import started_again
from orbitune.links.exchange import csv_text
from orbitune.links.overview import overview
from orbitune.mission import prepare, profile_of
from orbitune.model.profile import profile_to_json
from orbitune.plans import plan_method, result_row
from orbitune.runs import RunFolder
from orbitune.scenario import build
from orbitune.scenario.load import load
from orbitune.scenario.schema import key_names
from orbitune.training import train
from tests.laws import own_models

LONG = ("links.downlink_rate_mbps=0.5", "links.uplink_rate_mbps=0.5", "time.duration_h=24")
"""Slow enough that a transfer outlives one slot and one satellite, so that stations are contended for."""
NEAR = ("ground_station.1.latitude_deg=74", "ground_station.1.longitude_deg=20")
"""A second station in sight of the same satellites."""
THREE_PLANES = ("shell.0.satellites=18", "shell.0.planes=3", "links.isl_inter_rate_mbps=0.1")
UNEQUAL = (*THREE_PLANES, "links.isl_inter_rate_mbps=100", "links.downlink_rate_mbps=2", "train.local_steps=1",
           "method.inter_orbit=quickest")  # fmt: skip
"""Slow enough that planes wait for passes of different lengths."""
HUNGRY = ("satellite.idle_power_w=1", "satellite.solar_power_w=20", "satellite.battery_floor_percent=10")
PLANNED = ("model.name=vit-b-16", "data.dataset=none", "data.samples_per_satellite=50", "data.num_classes=10")
OWN = ("model.name=module", "model.source=tests.laws.own_models:narrow", "model.weights=random",
       "model.cut_points=['stem', 'first', 'second']")  # fmt: skip
"""A model of one's own, measured for the plan."""
HEAD = ("train.trains=head",)
APART = (*HEAD, "train.local_steps=3", "train.learning_rate=1e-2")
"""Satellites train apart and are averaged."""
NOISY = ("method.noise_multiplier=1", "method.noise_clip=10", "train.trains=encoder")
TLE = ("method.intra_orbit=none", "method.inter_orbit=via_ground")

Change = tuple[str, str, tuple[str, ...]]
"""One value, another, and what has to stand beside them."""

PLANS: dict[str, Change] = {
    "name": ("one", "two", ()),
    "time.start_utc": ("2025-03-20T00:00:00Z", "2025-03-20T01:00:00Z", ()),
    "time.duration_h": ("12", "13", ()),
    "time.search_step_s": ("60", "90", ()),
    "shell.0.kind": ("walker-star", "walker-delta", ()),
    "shell.0.satellites": ("12", "14", ()),
    "shell.0.planes": ("2", "1", ("shell.0.phasing=0",)),
    "shell.0.phasing": ("0", "1", ()),
    "shell.0.altitude_km": ("1200", "1210", ()),
    "shell.0.inclination_deg": ("87.9", "80", ()),
    "shell.0.raan_deg": ("0", "30", ()),
    "shell.0.sustained_gflops": ("0", "100", ()),
    "shell.0.memory_gb": ("0", "0.0001", ()),
    "shell.0.cut_after_block": ("-1", "2", HEAD),
    "ground_station.0.name": ("Svalbard", "Longyearbyen", ()),
    "ground_station.0.latitude_deg": ("78", "70", ()),
    "ground_station.0.longitude_deg": ("15", "25", ()),
    "ground_station.0.altitude_m": ("0", "3000", ()),
    "ground_station.0.antennas": ("1", "2", LONG),
    "ground_station.0.min_elevation_deg": ("5", "15", ()),
    "links.downlink_rate_mbps": ("160", "80", ()),
    "links.uplink_rate_mbps": ("10", "5", ()),
    "links.isl_intra_rate_mbps": ("1000", "500", ()),
    "links.isl_inter_rate_mbps": ("100", "50", ()),
    "links.backhaul_rate_mbps": ("1000", "500", ()),
    "links.grazing_altitude_km": ("0", "150", (*THREE_PLANES, "links.isl_inter_max_range_km=20000")),
    "links.isl_inter_max_range_km": ("5400", "3000", THREE_PLANES),
    "links.isl_inter_policy": ("grid", "none", ("method.inter_orbit=via_ground",)),
    "links.hop_latency_ms": ("1", "2", ()),
    "links.full_duplex": ("true", "false", ()),
    "links.satellite_ground_terminals": ("1", "2", (*LONG, *NEAR)),
    "links.satellite_inter_terminals": ("1", "2", THREE_PLANES),
    "satellite.sustained_gflops": ("1590", "800", ()),
    "satellite.memory_gb": ("64", "0.0001", ()),
    "satellite.compute_power_w": ("60", "30", ()),
    "satellite.downlink_power_w": ("20", "10", ()),
    "satellite.isl_power_w": ("15", "10", ()),
    "satellite.receive_power_w": ("5", "3", ()),
    "satellite.battery_wh": ("0", "20", HUNGRY),
    "satellite.idle_power_w": ("1", "2", (*HUNGRY, "satellite.battery_wh=20")),
    "satellite.solar_power_w": ("20", "30", (*HUNGRY, "satellite.battery_wh=20")),
    "satellite.battery_floor_percent": ("10", "99.99", (*HUNGRY, "satellite.battery_wh=20")),
    "satellite.battery_start_percent": ("100", "5", (*HUNGRY, "satellite.battery_wh=20")),
    "server.sustained_gflops": ("46800", "20000", ()),
    "server.memory_gb": ("640", "0.01", ()),
    "model.name": ("vit-b-16", "vit-l-16", PLANNED[1:]),
    "model.cut_after_block": ("0", "2", ()),
    "model.source": ("tests.laws.own_models:narrow", "tests.laws.own_models:wide", OWN),
    "model.cut_points": ("['stem', 'first', 'second']", "['first', 'second']", OWN),
    "model.image_px": ("0", "64", OWN),
    "data.chip_px": ("32", "64", ()),
    "data.dataset": ("brandenburg", "none", ("data.samples_per_satellite=50", "data.num_classes=10")),
    "data.assignment": ("place", "dirichlet", ("data.dirichlet_alpha=0.1",)),
    "data.dirichlet_alpha": ("0.1", "10", ("data.assignment=dirichlet",)),
    "data.samples_per_satellite": ("5", "6", (*PLANNED, "method.name=download")),
    "data.num_classes": ("10", "20", PLANNED),
    "train.trains": ("encoder", "full", ()),
    "train.server_encoder": ("shared", "per_client", ("train.local_steps=2",)),
    "train.rounds": ("2", "3", ()),
    "train.lora_rank": ("4", "8", ("train.trains=lora",)),
    "train.accumulate": ("1", "2", ()),
    "train.satellites_per_round": ("0", "5", ("method.inter_orbit=via_ground",)),
    "train.staleness": ("0", "1", (*UNEQUAL, "train.rounds=3")),
    "train.quorum": ("0.5", "1", (*UNEQUAL, "train.rounds=3", "train.staleness=1")),
    "train.local_steps": ("1", "2", ()),
    "train.batch_size": ("4", "5", ()),
    "method.name": ("collaborative", "onboard", ()),
    "method.codec": ("fp32", "fp16", ()),
    "method.placement": ("ground", "compute_satellite", ()),
    "method.cache": ("none", "embeddings", ()),
    "method.update_codec": ("fp32", "fp16", ("method.inter_orbit=via_ground",)),
    "method.intra_orbit": ("ring", "bidirectional", ()),
    "method.satellite_ground": ("direct", "max_flow", ()),
    "method.inter_orbit": ("via_ground", "earliest_tree", ()),
    "method.overlap": ("none", "stream", ()),
    "method.slot_s": ("20", "45", LONG),
    "method.fedleo_sink": ("scheduled", "random", ("method.name=fedleo",)),
    "method.fedbuff_share": ("0.25", "1", ("method.name=fedbuff",)),
    "method.fedbuff_max_staleness": ("4", "1", ("method.name=fedbuff", "method.fedbuff_share=0.1")),
    "method.fedspace_stretch_h": ("6", "0.2", ("method.name=fedspace",)),
    "method.preloaded": ("true", "false", ()),
    "method.deliver_to": ("server", "satellites", ()),
}

CURVES: dict[str, Change] = {
    "seed": ("1", "2", ()),
    "model.weights": ("pretrained", "random", ()),
    "train.optimizer": ("adamw", "sgd", ("train.learning_rate=1e-3",)),
    "train.learning_rate": ("3e-4", "1e-3", ()),
    "train.head_rate_factor": ("10", "1", ()),
    "train.momentum": ("0", "0.9", ("train.optimizer=sgd", "train.learning_rate=1e-3", "train.local_steps=3")),
    "train.weight_decay": ("0", "0.5", ()),
    "train.target_accuracy": ("0", "1", ()),
    "model.month": ("2", "8", ()),
    "train.lora_alpha": ("16", "32", ("train.trains=lora", "train.local_steps=2")),
    "train.schedule": ("constant", "linear", ("train.local_steps=2",)),
    "train.warmup_steps": ("0", "4", ()),
    "train.prox_mu": ("0", "10", APART),
    "train.server_optimizer": ("average", "adam", APART),
    "train.server_rate": ("0.01", "0.1", (*APART, "train.server_optimizer=adam")),
    "train.precision": ("fp32", "bf16", ()),
    "method.fedasync_rate": ("0.6", "0.3", ("method.name=fedasync", *HEAD)),
    "method.staleness_weight": ("polynomial", "constant", ("method.name=fedasync", *HEAD)),
    "method.noise_multiplier": ("0", "1", NOISY[1:]),
    "method.noise_clip": ("10", "1", NOISY),
    "method.noise_gradient_clip": ("1", "0.01", NOISY),
}

LINKED = ("shell.0.satellites=18", "shell.0.planes=3")
NEAREST = (*LINKED, "links.isl_inter_policy=nearest")
RADIO_DOWN = ("links.downlink_rate_model=rf", "links.downlink_eirp_dbw=8", "links.downlink_g_over_t_db_k=28",
              "links.downlink_frequency_ghz=8.2", "links.downlink_bandwidth_mhz=100")  # fmt: skip
RADIO_UP = ("links.uplink_rate_model=rf", "links.uplink_eirp_dbw=40", "links.uplink_g_over_t_db_k=-15",
            "links.uplink_frequency_ghz=2.05", "links.uplink_bandwidth_mhz=10")  # fmt: skip
LASER = (*LINKED, "links.isl_rate_model=optical", "links.optical_power_w=0.02", "links.optical_aperture_m=0.05",
         "links.optical_photons_per_bit=100", "links.optical_max_rate_mbps=10000")  # fmt: skip
ITU = (*RADIO_DOWN, "links.weather=itu", "links.weather_availability_percent=99")
NEEDS_ITUR = {"links.weather", "links.weather_availability_percent", "links.station_antenna_m"}

CONTACTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ground_station.0.horizon_mask_deg": ((), ("ground_station.0.horizon_mask_deg=[[0, 40], [180, 5]]",)),
    "links.downlink_rate_model": ((), RADIO_DOWN),
    "links.downlink_eirp_dbw": (RADIO_DOWN, (*RADIO_DOWN, "links.downlink_eirp_dbw=11")),
    "links.downlink_g_over_t_db_k": (RADIO_DOWN, (*RADIO_DOWN, "links.downlink_g_over_t_db_k=31")),
    "links.downlink_frequency_ghz": (RADIO_DOWN, (*RADIO_DOWN, "links.downlink_frequency_ghz=26")),
    "links.downlink_bandwidth_mhz": (RADIO_DOWN, (*RADIO_DOWN, "links.downlink_bandwidth_mhz=50")),
    "links.downlink_margin_db": (RADIO_DOWN, (*RADIO_DOWN, "links.downlink_margin_db=0")),
    "links.downlink_gas_zenith_db": (RADIO_DOWN, (*RADIO_DOWN, "links.downlink_gas_zenith_db=0.5")),
    "links.uplink_rate_model": ((), RADIO_UP),
    "links.uplink_eirp_dbw": (RADIO_UP, (*RADIO_UP, "links.uplink_eirp_dbw=43")),
    "links.uplink_g_over_t_db_k": (RADIO_UP, (*RADIO_UP, "links.uplink_g_over_t_db_k=-12")),
    "links.uplink_frequency_ghz": (RADIO_UP, (*RADIO_UP, "links.uplink_frequency_ghz=7")),
    "links.uplink_bandwidth_mhz": (RADIO_UP, (*RADIO_UP, "links.uplink_bandwidth_mhz=5")),
    "links.uplink_margin_db": (RADIO_UP, (*RADIO_UP, "links.uplink_margin_db=0")),
    "links.uplink_gas_zenith_db": (RADIO_UP, (*RADIO_UP, "links.uplink_gas_zenith_db=0.5")),
    "links.weather": (RADIO_DOWN, ITU),
    "links.weather_availability_percent": (ITU, (*ITU, "links.weather_availability_percent=99.9")),
    "links.station_antenna_m": (ITU, (*ITU, "links.station_antenna_m=0.5")),
    "links.isl_intra_enabled": ((), ("links.isl_intra_enabled=false", "method.intra_orbit=none")),
    "links.isl_rate_model": (LINKED, LASER),
    "links.optical_power_w": (LASER, (*LASER, "links.optical_power_w=0.2")),
    "links.optical_aperture_m": (LASER, (*LASER, "links.optical_aperture_m=0.1")),
    "links.optical_wavelength_nm": (LASER, (*LASER, "links.optical_wavelength_nm=800")),
    "links.optical_photons_per_bit": (LASER, (*LASER, "links.optical_photons_per_bit=1000")),
    "links.optical_max_rate_mbps": (LASER, (*LASER, "links.optical_max_rate_mbps=9000")),
    "links.optical_pointing_error_urad": (LASER, (*LASER, "links.optical_pointing_error_urad=20")),
    "links.optical_losses_db": (LASER, (*LASER, "links.optical_losses_db=10")),
    "links.isl_inter_max_range_rate_m_s": (LINKED, (*LINKED, "links.isl_inter_max_range_rate_m_s=500")),
    "links.isl_inter_max_slew_deg_s": (LINKED, (*LINKED, "links.isl_inter_max_slew_deg_s=0.05")),
    "links.isl_inter_polar_cutoff_deg": (LINKED, (*LINKED, "links.isl_inter_polar_cutoff_deg=60")),
    "links.isl_inter_acquisition_s": (LINKED, (*LINKED, "links.isl_inter_acquisition_s=30")),
    "links.isl_inter_cross_seam": (NEAREST, (*NEAREST, "links.isl_inter_cross_seam=true")),
    "links.isl_inter_repoint_s": (NEAREST, (*NEAREST, "links.isl_inter_repoint_s=600")),
    "fault.0.node": (("fault=[{node='Svalbard'}]",), ("fault=[{node='sat-00-00'}]",)),
    "fault.0.link_to": (("fault=[{node='Svalbard'}]",), ("fault=[{node='Svalbard', link_to='sat-00-00'}]",)),
    "fault.0.from_h": (("fault=[{node='Svalbard'}]",), ("fault=[{node='Svalbard', from_h=2}]",)),
    "fault.0.until_h": (("fault=[{node='Svalbard'}]",), ("fault=[{node='Svalbard', until_h=2}]",)),
}
"""Keys of the contact plan: two scenarios that differ in the key alone, or in a switch and what belongs to it."""

FILES = {"extends", "model.file", "model.profile", "data.folder", "shell.0.elements_file", "shell.0.unusable"}
"""Keys that name files; each has a test of its own below."""


def _sets(key: str, value: str, beside: tuple[str, ...]) -> tuple[str, ...]:
    first = [f"{key}={value}"]
    if key == "data.dataset" and value == "brandenburg":
        return tuple(first)
    if key == "data.assignment" and value != "dirichlet":
        return tuple(first)
    return (*beside, *first)


def outputs(sets: tuple[str, ...], preset: str = "tiny") -> str:
    """Everything that planning puts out, as one text; a refusal counts as an output."""
    scenario = load(preset, ("train.rounds=2", *sets) if preset == "tiny" else sets)
    try:
        mission = prepare(scenario)
        planned = plan_method(mission, scenario.method.name)
    except PlanError as refusal:
        return str(refusal)
    stations = build.build_stations(scenario)
    shown = overview(build.build_constellation(scenario), stations, mission.system.contacts, scenario.time.start_utc)
    result = result_row(mission, planned, ()) | {"scenario": scenario.name}
    return "\n".join([json.dumps(result), json.dumps(shown), *planned.timeline.to_jsonl()])


@pytest.fixture(scope="module")
def work(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs, with a folder of pictures in it."""
    folder = tmp_path_factory.mktemp("curves")
    (folder / "pictures").symlink_to(pictures)
    return folder


@functools.cache
def curve(work: Path, sets: tuple[str, ...]) -> str:
    """What one short training puts out, and the results row it leads to."""
    images = ("data.dataset=folder", "data.assignment=iid", f"data.folder={work / 'pictures'}")
    scenario = load("tiny", (*images, "train.rounds=1", "train.batch_size=1", *sets))
    mission = prepare(scenario)
    planned = plan_method(mission, scenario.method.name)
    run = RunFolder.create(work, "curve", "", scenario.seed)
    (training,) = trainings(mission, planned, run, random_start=False)
    train(training, lambda row: None)
    rows = training.rows()
    for row in rows:
        del row["wall_s"]
    return json.dumps([rows, result_row(mission, planned, rows)])


def test_every_key_is_here() -> None:
    assert {*PLANS, *CONTACTS, *CURVES, *FILES, "train.lost_satellites"} == set(key_names())


@pytest.mark.parametrize("key", PLANS)
def test_a_key_of_the_plan_matters(key: str) -> None:
    one, other, beside = PLANS[key]
    assert outputs(_sets(key, one, beside)) != outputs(_sets(key, other, beside))


@functools.cache
def contacts(sets: tuple[str, ...]) -> str:
    return csv_text(build.build_contacts(load("tiny", ("time.duration_h=6", *sets))))


@pytest.mark.parametrize("key", CONTACTS)
def test_a_key_of_the_contact_plan_matters(key: str) -> None:
    if key in NEEDS_ITUR:
        pytest.importorskip("itur", reason="rain, clouds and gases need the extra itu")
    one, other = CONTACTS[key]
    assert contacts(one) != contacts(other)


@pytest.mark.parametrize("key", CURVES)
def test_a_key_of_learning_matters(key: str, work: Path) -> None:
    one, other, beside = CURVES[key]
    assert curve(work, _sets(key, one, beside)) != curve(work, _sets(key, other, beside))


def test_a_profile_of_ones_own_matters(tmp_path: Path) -> None:
    """Doubling the FLOPs in the file doubles the time of a plan that computes."""
    text = profile_to_json(profile_of(load("tiny", OWN)))
    content = json.loads(text)
    for block in content["blocks"]:
        block["flops_forward"] *= 100
    (tmp_path / "profile.json").write_text(text)
    (tmp_path / "slow.json").write_text(json.dumps(content))
    quick, slow = (outputs((*OWN, f"model.profile={tmp_path / name}")) for name in ("profile.json", "slow.json"))
    assert quick == outputs(OWN) != slow


def test_weights_of_ones_own_matter(work: Path, tmp_path: Path) -> None:
    for name, value in (("one", 0.01), ("other", 0.02)):
        tensors = {key: torch.full_like(tensor, value) for key, tensor in own_models.coloured().state_dict().items()}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    pretrained = (*OWN, "model.source=tests.laws.own_models:coloured", "model.weights=pretrained")
    one, other = (curve(work, (*pretrained, f"model.file={tmp_path}/{name}.safetensors")) for name in ("one", "other"))
    assert one != other


def test_the_folder_of_images_matters(tmp_path: Path) -> None:
    for name, count in (("few", 40), ("many", 60)):
        for number in range(count):
            place = tmp_path / name / ("field" if number % 2 else "town")
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (number, 2 * number, 50)).save(place / f"{number}.png")
    beside = ("data.dataset=folder", "data.assignment=iid")
    few, many = (outputs((*beside, f"data.folder={tmp_path / name}")) for name in ("few", "many"))
    assert few != many


def test_what_is_done_about_lost_satellites_matters() -> None:
    """Real runs only; what comes of it is in tests/launch."""
    assert started_again(["plane-0", "ground"], "wait") != started_again(["plane-0", "ground"], "leave_out")


def test_what_is_extended_matters(tmp_path: Path) -> None:
    found = set()
    for preset in ("tiny", "planet-sample"):
        path = tmp_path / f"{preset}.toml"
        path.write_text(f'name = "mine"\nextends = "{preset}"\n[train]\nrounds = 1\n')
        found.add(outputs((), str(path)))
    assert len(found) == 2


def test_the_tle_file_matters() -> None:
    beside = ("time.start_utc=2022-09-14T00:00:00Z", "train.rounds=1", "time.duration_h=48")
    iridium = outputs((*beside, "shell.0.elements_file=iridium_sample.tle"), "planet-sample")
    planet = outputs(("train.rounds=1",), "planet-sample")
    assert iridium != planet


def test_leaving_out_unusable_elements_matters(tmp_path: Path) -> None:
    """A file with one satellite twice: an error, or a constellation that says what it left out."""
    sets = build.elements_path("planet_sample.tle").read_text().splitlines()
    (tmp_path / "twice.tle").write_text("\n".join([*sets, *sets[:3]]) + "\n")
    path = tmp_path / "mine.toml"
    path.write_text('extends = "planet-sample"\n[[shell]]\nkind = "elements"\nelements_file = "twice.tle"\n')
    with pytest.raises(PlanError, match="leave_out"):
        build.build_constellation(load(path))
    constellation = build.build_constellation(load(path, ["shell.0.unusable=leave_out"]))
    assert len(constellation) == len(sets) // 3
    assert len(constellation.left_out) == 1

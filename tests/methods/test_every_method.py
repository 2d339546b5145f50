"""What holds for every method, whichever it is: each new one is tested by being listed in METHODS."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from orbitune.errors import PlanError
from orbitune.experiment import Request, start
from orbitune.methods import METHODS
from orbitune.mission import Mission, prepare
from orbitune.plans import Planned, add_ratios, plan_method, result_row
from orbitune.scenario.load import load
from orbitune.timeline.activity import PHASES

SWITCHES = {
    "encoder": ("train.trains=encoder",),
    "head": ("train.trains=head", "train.local_steps=3"),
    "full": ("train.trains=full", "train.local_steps=2"),
    "per_client": ("train.trains=full", "train.server_encoder=per_client", "train.local_steps=2"),
    "later cut": ("train.trains=encoder", "model.cut_after_block=2"),
    "last cut": ("train.trains=full", "model.cut_after_block=4"),
    "alone": ("time.duration_h=96", "method.intra_orbit=none", "method.inter_orbit=via_ground"),
    "direct": ("time.duration_h=96", "method.satellite_ground=direct", "method.inter_orbit=via_ground"),
    "relay": ("method.intra_orbit=relay",),
    "one way": ("method.intra_orbit=ring", "method.codec=fp16"),
    "preloaded": ("method.preloaded=true", "method.deliver_to=satellites"),
    "delivered": ("train.trains=head", "method.deliver_to=satellites"),
}


@functools.cache
def _planned(name: str, switch: str) -> tuple[Mission, Planned]:
    sets = SWITCHES[switch]
    if name == "reconstructed":
        sets = tuple(change for change in sets if not change.startswith("method.") or "deliver" in change)
    if name == "sfl_leo" and not {"train.trains=full", "model.cut_after_block=2"} & set(sets):
        sets = (*sets, "train.trains=full")  # something in front of the cut has to train through outages
    mission = prepare(load("tiny", ("train.rounds=2", *sets)))
    return mission, plan_method(mission, name)


every = pytest.mark.parametrize("switch", SWITCHES)
methods = pytest.mark.parametrize("name", METHODS)

ONE_BY_ONE = {"fedavg", "fedasync", "fedbuff", "fedspace", "sfl_leo"}
"""Every satellite waits for its own passes, so an hour or two is not enough for any round."""

together = pytest.mark.parametrize("name", [name for name in METHODS if name not in ONE_BY_ONE])

MODELS_COUNT = {"fedavg", "fedisl", "fedleo"}
"""Models are averaged on the ground alone, so what they weigh is part of the needs down and up."""


@methods
@every
def test_the_checker_accepts_it_and_nothing_beats_the_bound(name: str, switch: str) -> None:
    _, planned = _planned(name, switch)  # plan_method raises where the checker refuses
    assert planned.timeline.rounds == 2
    assert 0.0 < planned.bound.time_s <= planned.timeline.time_s + 1e-6


@methods
@every
def test_the_bound_counts_the_work_that_is_scheduled(name: str, switch: str) -> None:
    _, planned = _planned(name, switch)
    needs, activities = planned.method.needs(planned.job, planned.timeline.rounds), planned.timeline.activities
    combines = name not in MODELS_COUNT and any(need.kind == "combine" for need in needs)
    flops = sum(sum(need.total.values()) for need in needs if need.kind == "compute")
    assert flops == pytest.approx(sum(activity.flops for activity in activities))
    for kind, link in (("down", "downlink"), ("up", "uplink")):
        for phase in PHASES:
            needed = sum(sum(need.total.values()) for need in needs if (need.kind, need.phase) == (kind, phase))
            sent = [a.payload for a in activities if a.payload and (a.link, a.phase) == (link, phase)]
            if phase == "train" and combines:  # which leaves open how models are averaged
                sent = [payload for payload in sent if payload.kind != "update"]
            assert needed == pytest.approx(sum(payload.size for payload in sent))


@methods
@every
def test_stages_add_up_to_the_whole(name: str, switch: str) -> None:
    timeline = _planned(name, switch)[1].timeline
    assert sum(timeline.stage_s().values()) == pytest.approx(timeline.time_s, abs=1e-6)
    assert sum(timeline.phase_s(phase) for phase in PHASES) == pytest.approx(timeline.time_s, abs=1e-6)


@methods
def test_the_same_mission_gives_the_same_timeline(name: str) -> None:
    mission, planned = _planned(name, "encoder")
    again = plan_method(prepare(mission.scenario), name)
    assert list(again.timeline.to_jsonl()) == list(planned.timeline.to_jsonl())


@methods
@every
def test_private_kinds_stay_on_board(name: str, switch: str) -> None:
    timeline = _planned(name, switch)[1].timeline
    sent = {activity.payload.kind for activity in timeline.activities if activity.payload and activity.kind == "send"}
    assert sent.isdisjoint(timeline.private)
    assert ("image" in sent) == (name == "download")


@together
def test_a_plan_that_ends_too_soon_says_so(name: str) -> None:
    slow = ("satellite.sustained_gflops=0.2", "server.sustained_gflops=0.2")  # rounds of minutes in a plan of an hour
    timeline = plan_method(prepare(load("tiny", ("train.rounds=200", "time.duration_h=1", *slow))), name).timeline
    assert 0 < timeline.rounds < 200
    assert "lengthen time.duration_h" in timeline.stopped


@together
def test_a_plan_without_room_for_one_round_is_refused(name: str) -> None:
    mission = prepare(
        load("tiny", ("time.duration_h=1", "satellite.sustained_gflops=1e-4", "server.sustained_gflops=1e-4"))
    )
    with pytest.raises(PlanError, match=r"lengthen time\.duration_h"):
        plan_method(mission, name)


def test_each_satellite_has_its_own_encoder_on_the_server() -> None:
    memory = {}
    for encoder in ("shared", "per_client"):
        sets = ("train.trains=encoder", f"train.server_encoder={encoder}", "train.rounds=1")
        mission = prepare(load("tiny", sets))
        activities = plan_method(mission, "collaborative").timeline.activities
        memory[encoder] = max(a.memory_bytes for a in activities if a.node == mission.system.nodes.server)
    encoder_bytes = sum(part.params_bytes for part in mission.partition.rest)
    copies = mission.system.nodes.num_satellites - 1
    assert memory["per_client"] - memory["shared"] >= copies * encoder_bytes * 3  # weights, and AdamW's two moments


def test_a_small_server_computes_again_and_keeps_the_embeddings_for_it() -> None:
    sets = ("train.trains=encoder", "train.rounds=1", "train.local_steps=1", "train.batch_size=8")
    large = plan_method(prepare(load("tiny", sets)), "collaborative").timeline
    mission = prepare(load("tiny", (*sets, "server.memory_gb=0.1")))  # all activations need 0.3 GB
    small = plan_method(mission, "collaborative").timeline
    server = mission.system.nodes.server
    (encode, backward), (encode_large, backward_large) = (
        [a for a in timeline.activities if a.node == server and a.kind == "compute"] for timeline in (small, large)
    )
    assert encode.flops == encode_large.flops
    assert backward.flops == backward_large.flops + encode.flops
    assert set(encode.needs) < set(backward.needs)
    assert encode.memory_bytes > sum(payload.size for payload in encode.needs)


def test_what_is_kept_between_computations_has_to_fit() -> None:
    """A batch of embeddings that waits on board; nothing that computes needs as much."""
    mission = prepare(load("tiny", ("train.batch_size=64", "satellite.memory_gb=0.01", "method.overlap=none")))
    with pytest.raises(
        PlanError, match=r"sat-.* needs 12582912 bytes .* has 10000000; use a smaller train\.batch_size"
    ):
        plan_method(mission, "collaborative")


@methods
def test_what_does_not_fit_is_refused_with_numbers(name: str) -> None:
    mission = prepare(load("tiny", ("train.trains=full", "satellite.memory_gb=0.001", "server.memory_gb=0.001")))
    with pytest.raises(PlanError, match=r"needs \d+\.\d+ GB on .*memory_gb = 0\.001"):
        plan_method(mission, name)


@pytest.mark.parametrize("name", ["collaborative", "onboard", "download"])
def test_stations_that_never_see_a_satellite_are_a_clear_error(name: str) -> None:
    low = ("shell.0.inclination_deg=5", "ground_station.2.latitude_deg=80", "ground_station.1.latitude_deg=85")
    mission = prepare(load("tiny", low))
    with pytest.raises(PlanError, match=r"never|no station"):
        plan_method(mission, name)


def test_halving_the_codec_halves_what_crosses_the_cut() -> None:
    full = prepare(load("tiny", ("method.codec=fp32", "method.preloaded=true")))
    half = prepare(load("tiny", ("method.codec=fp16", "method.preloaded=true")))
    sizes = []
    for mission in (full, half):
        sent = plan_method(mission, "collaborative").timeline.activities
        sizes.append(
            sum(a.payload.size for a in sent if a.payload and a.payload.kind == "embedding" and a.link == "downlink")
        )
    assert sizes[0] == 2 * sizes[1]


def test_every_byte_of_every_image_comes_down_once_for_download() -> None:
    mission, planned = _planned("download", "encoder")
    down = sum(a.payload.size for a in planned.timeline.activities
               if a.payload and a.payload.kind == "image" and a.link == "downlink")  # fmt: skip
    assert down == sum(mission.holdings.num_train) * mission.partition.profile.sample_bytes


def test_ratios_refer_to_onboard_and_stay_null_without_it() -> None:
    rows = [result_row(*_planned(name, "encoder"), metrics=()) for name in ("collaborative", "onboard")]
    add_ratios(rows[:1])
    assert rows[0]["ratio_to_onboard_per_pass"] is None
    add_ratios(rows)
    assert rows[1]["ratio_to_onboard_per_pass"] == 1.0
    assert rows[0]["ratio_to_onboard_per_pass"] == pytest.approx(rows[0]["time_s"] / rows[1]["time_s"])
    assert rows[0]["ratio_to_onboard"] is None  # nothing was trained


def test_a_target_reached_before_training_has_a_ratio_of_nothing() -> None:
    rows = [result_row(*_planned(name, "encoder"), metrics=()) for name in ("download", "onboard")]
    rows[0]["time_to_target_s"], rows[1]["time_to_target_s"] = 0.0, 4.0
    add_ratios(rows)
    assert rows[0]["ratio_to_onboard"] == 0.0
    assert rows[1]["ratio_to_onboard"] == 1.0


def test_one_method_has_to_work(tmp_path: Path) -> None:
    """A server too small for the encoder is no reason to refuse training on board, beside it or alone."""
    scenario = load("tiny", ("server.memory_gb=0.001",))
    with pytest.raises(PlanError, match=r"server\.memory_gb"):
        start(scenario, Request(("collaborative",)), tmp_path)
    with pytest.raises(PlanError, match=r"none of the methods can work here: collaborative: .*; download: "):
        start(scenario, Request(("collaborative", "download")), tmp_path)
    assert not list(tmp_path.iterdir())
    assert start(scenario, Request(("onboard", "collaborative")), tmp_path).has("request.json")


def test_energy_is_power_times_time_for_work_on_board_alone() -> None:
    mission, planned = _planned("onboard", "preloaded")
    computed = sum(a.flops for a in planned.timeline.activities if a.kind == "compute")
    satellite, radios = mission.system.satellite, mission.system.radios
    row = result_row(mission, planned, ())
    compute_j = computed / satellite.flops_per_s * satellite.power_w
    sent_s = {kind: count * 8 / rate for kind, count, rate in (
        ("isl_intra", row["bytes"]["isl_intra"], 1e9), ("isl_inter", row["bytes"]["isl_inter"], 1e8))}  # fmt: skip
    sent_j = sum(seconds * (radios.transmit_w[kind] + radios.receive_w) for kind, seconds in sent_s.items())
    assert row["bytes"]["downlink"] == row["bytes"]["uplink"] == 0  # nothing has to be brought or fetched
    assert row["energy_j"] == pytest.approx(compute_j + sent_j, rel=1e-6)

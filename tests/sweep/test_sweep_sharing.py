"""What points share equals, to the bit, what each would have worked out alone."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from orbitune.cost.energy import PowerBudget
from orbitune.links.contacts import ContactPlan
from orbitune.mission import Mission, prepare
from orbitune.plans import plan_method, result_row
from orbitune.scenario.link_keys import Fault
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.sweep.sharing import Skies, outcome_key, sky_key

SAME_SKY = [
    ["links.downlink_rate_mbps=33"],
    ["links.uplink_rate_mbps=7", "links.backhaul_rate_mbps=50"],
    ["links.isl_intra_rate_mbps=77", "links.isl_inter_rate_mbps=11"],
    ["satellite.sustained_gflops=3", "server.memory_gb=12", "satellite.receive_power_w=9"],
    ["train.rounds=3", "train.batch_size=3", "method.codec=fp16", "seed=5"],
    ["model.cut_after_block=1", "data.assignment=dirichlet", "data.dirichlet_alpha=0.5"],
    ["satellite.battery_wh=30", "satellite.solar_power_w=60", "satellite.idle_power_w=10"],
]

RF = [
    "links.downlink_rate_model=rf",
    "links.downlink_eirp_dbw=11",
    "links.downlink_g_over_t_db_k=15",
    "links.downlink_frequency_ghz=8",
    "links.downlink_bandwidth_mhz=80",
]


def same(one: Mission, other: Mission) -> bool:
    """Equal in everything; contact plans hold arrays, which know no plain equality."""
    return (
        one.scenario == other.scenario
        and one.partition == other.partition
        and one.holdings == other.holdings
        and one.left_out == other.left_out
        and same_plan(one.system.contacts, other.system.contacts)
        and same_power(one.system.power, other.system.power)
        and all(
            getattr(one.system, field.name) == getattr(other.system, field.name)
            for field in fields(one.system)
            if field.name not in ("contacts", "power")
        )
    )


def same_power(one: PowerBudget | None, other: PowerBudget | None) -> bool:
    """Likewise: sunlight is held in arrays."""
    if one is None or other is None:
        return one is other
    lit = [[span.tolist() for sun in power.sunlight for span in (sun.start_s, sun.end_s)] for power in (one, other)]
    return lit[0] == lit[1] and replace(one, sunlight=()) == replace(other, sunlight=())


def same_plan(one: ContactPlan, other: ContactPlan) -> bool:
    columns = [field.name for field in fields(one)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) if name not in ("nodes", "horizon_s")
               else getattr(one, name) == getattr(other, name) for name in columns)  # fmt: skip


def tiny(*sets: str) -> Scenario:
    return load("tiny", sets)


@pytest.mark.parametrize(
    ("base", "sets"), [*(([], sets) for sets in SAME_SKY), *((RF, sets) for sets in SAME_SKY[1:4])]
)
def test_contacts_of_an_earlier_point_give_the_same_mission(base: list[str], sets: list[str]) -> None:
    skies = Skies({})
    first, second = tiny(*base), tiny(*base, *sets)
    assert sky_key(first) == sky_key(second)
    skies.prepare(first)
    assert same(skies.prepare(second), prepare(second))
    assert len(skies.plans) == 1


def test_batteries_charge_in_the_sunlight_of_the_whole_time() -> None:
    """Also where both points have one: the second is no worse off than it would be alone."""
    battery = ("time.duration_h=6", "satellite.battery_wh=30", "satellite.battery_floor_percent=50",
               "satellite.solar_power_w=60", "satellite.idle_power_w=10", "train.rounds=1")  # fmt: skip
    skies, rates = Skies({}), ("40", "20")
    missions = [skies.prepare(tiny(*battery, f"links.downlink_rate_mbps={rate}")) for rate in rates]
    for mission in missions:
        power = mission.system.power
        assert power is not None and all(sun.end_s[-1] > 5 * 3600 for sun in power.sunlight)
    ours, alone = missions[1], prepare(missions[1].scenario)
    assert result_row(ours, plan_method(ours, "onboard"), ()) == result_row(alone, plan_method(alone, "onboard"), ())


def test_faults_are_part_of_the_sky() -> None:
    skies = Skies({})
    station = tiny().ground_station[0].name
    broken = replace(tiny(), fault=(Fault(node=station, until_h=1.0),))
    faster = replace(broken, links=replace(broken.links, downlink_rate_mbps=99.0))
    skies.prepare(broken)
    assert same(skies.prepare(faster), prepare(faster))
    assert not same_plan(skies.prepare(faster).system.contacts, prepare(tiny()).system.contacts)


@pytest.mark.parametrize(
    "change",
    [
        "time.duration_h=5",
        "shell.0.altitude_km=1250",
        "ground_station.0.min_elevation_deg=15",
        "links.hop_latency_ms=9",
    ],
)
def test_another_sky_is_worked_out_anew(change: str) -> None:
    assert sky_key(tiny()) != sky_key(tiny(change))
    skies = Skies({})
    skies.prepare(tiny())
    assert same(skies.prepare(tiny(change)), prepare(tiny(change)))


def test_old_skies_are_let_go() -> None:
    skies = Skies({})
    for hours in range(3, 9):
        skies.prepare(tiny(f"time.duration_h={hours}"))
    assert len(skies.plans) == 4


@pytest.mark.parametrize("overlap", ["none", "stream"])
@pytest.mark.parametrize("cache", ["none", "features"])
def test_download_does_not_read_the_computer_on_board(overlap: str, cache: str) -> None:
    changes = [f"method.overlap={overlap}", f"method.cache={cache}", "train.trains=head"]
    rows = []
    for speed in ("0.5", "40", "9000"):
        scenario = tiny(*changes, f"satellite.sustained_gflops={speed}")
        mission = prepare(scenario)
        rows.append(result_row(mission, plan_method(mission, "download"), ()))
        assert outcome_key(scenario, "download") == outcome_key(tiny(*changes), "download") is not None
    assert rows[0] == rows[1] == rows[2]


def test_what_may_be_read_is_not_shared() -> None:
    assert outcome_key(tiny(), "onboard") is None
    assert outcome_key(tiny("links.downlink_rate_mbps=3"), "download") != outcome_key(tiny(), "download")
    assert outcome_key(tiny("shell.0.sustained_gflops=3"), "download") is None

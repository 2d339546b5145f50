"""Lower bounds on cases that can be worked out by hand: there they must be exact."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from small_systems import contact, ring, system_of

from orbitune.cost.system import System
from orbitune.timeline.bounds import Need, bounds_by_stage, lower_bound

SAT_FLOPS_PER_S, SERVER_FLOPS_PER_S = 1e3, 1e6


def one_satellite(*, cable_delay_s: float = 0.0, cable: bool = True) -> System:
    """Satellite 0, station 1, server 2; two passes of 1,000 and 2,000 byte/s."""
    links = [
        contact(0, 1, "downlink", 100.0, 200.0, 8e3, 0.5),
        contact(0, 1, "downlink", 1_000.0, 1_100.0, 16e3, 0.5),
        contact(1, 0, "uplink", 100.0, 200.0, 8e3, 0.25),
    ]
    return system_of([[0]], 1, links, cable=cable, cable_delay_s=cable_delay_s)


def compute(node: int, flops: float, grain: float | None = None, **kwargs: object) -> Need:
    return Need("compute", "train", 0, "compute", {node: flops}, {node: grain or flops}, **kwargs)  # type: ignore[arg-type]


def move(kind: str, size: float, grain: float | None = None, **kwargs: object) -> Need:
    groups = kwargs.pop("groups", ((0,),))
    return Need(kind, "train", 0, kind, {0: size}, {0: grain or size}, groups, **kwargs)  # type: ignore[arg-type]


def seconds(needs: list[Need], system: System) -> float:
    return lower_bound(needs, system).time_s


def test_nothing_to_do_takes_no_time() -> None:
    bound = lower_bound([], one_satellite())
    assert (bound.time_s, bound.name) == (0.0, "nothing to do")


def test_computing_alone_takes_flops_over_speed() -> None:
    bound = lower_bound([compute(0, 5e3), compute(0, 7e3)], one_satellite())
    assert bound.time_s == pytest.approx(12.0, abs=1e-12)
    assert bound.name == "compute of the satellites (SAT-0)"


def test_the_server_is_its_own_resource() -> None:
    bound = lower_bound([compute(2, 5e6), compute(0, 1e3)], one_satellite())
    assert bound.time_s == pytest.approx(6.0)
    assert bound.name == "chain of rounds (83% of it: compute of the server)"


def test_one_downlink_is_wait_plus_bytes_over_rate_plus_delays() -> None:
    bound = lower_bound([move("down", 30_000.0)], one_satellite(cable_delay_s=0.125))
    assert bound.time_s == pytest.approx(100.0 + 30.0 + 0.5 + 0.125, abs=1e-6)
    assert bound.name.startswith("downlink")


def test_one_uplink_starts_after_the_cable() -> None:
    needs = [compute(2, 110e6), move("up", 30_000.0)]
    expected = 110.0 + 0.125 + 30.0 + 0.25
    assert seconds(needs, one_satellite(cable_delay_s=0.125)) == pytest.approx(expected, abs=1e-6)


def test_a_transfer_goes_on_in_the_next_pass() -> None:
    assert seconds([move("down", 150_000.0)], one_satellite()) == pytest.approx(1_000.0 + 25.0 + 0.5, abs=1e-6)


def test_a_pass_filled_to_the_last_byte_is_enough() -> None:
    assert seconds([move("down", 100_000.0)], one_satellite()) == pytest.approx(200.5, abs=1e-6)


def test_no_capacity_left_is_infinite() -> None:
    assert seconds([move("down", 300_001.0)], one_satellite()) == inf
    assert seconds([move("down", 1.0)], one_satellite(cable=False)) == inf
    assert seconds([compute(2, 190e6), move("up", 20_000.0)], one_satellite()) == inf


def test_samples_flow_through_the_chain() -> None:
    # 10 samples: embed 20 s each, down 1 s each, encode 0.5 s each. The last is embedded at 200 s, when the pass ends.
    needs = [compute(0, 200e3, 20e3), move("down", 10_000.0, 1_000.0), compute(2, 5e6, 0.5e6)]
    assert seconds(needs, one_satellite()) == pytest.approx(1_000.0 + 0.5 + 0.5 + 0.5, abs=1e-6)
    # Half as many: the last one is embedded at 100 s, the first pass carries all of them.
    needs = [compute(0, 100e3, 20e3), move("down", 5_000.0, 1_000.0), compute(2, 2.5e6, 0.5e6)]
    assert seconds(needs, one_satellite()) == pytest.approx(100.0 + 5.0 + 0.5 + 0.5, abs=1e-6)


def test_the_backhaul_is_a_limit_too() -> None:
    links = [contact(0, 1, "downlink", 0.0, 3_000.0, 8e3)]
    system = system_of([[0]], 1, links, cable_bps=4e3)
    bound = lower_bound([move("down", 10_000.0)], system)
    assert bound.time_s == pytest.approx(20.0, abs=1e-6)
    assert bound.name == "downlink: backhaul"


def test_antennas_are_shared() -> None:
    links = [contact(s, 3, "downlink", 0.0, 3_000.0, 8e3 * (s + 1)) for s in (0, 1, 2)]
    need = Need("down", "train", 0, "down", {0: 1e4, 1: 1e4, 2: 1e4}, {0: 1.0, 1: 1.0, 2: 1.0}, ((0,), (1,), (2,)))
    # The fastest two of 1, 2 and 3 kbyte/s at once; the slowest satellite alone; the fastest one alone.
    assert seconds([need], system_of([[0], [1], [2]], 1, links, antennas=2)) == pytest.approx(10.0, abs=1e-6)
    assert seconds([need], system_of([[0], [1], [2]], 1, links, antennas=1)) == pytest.approx(10.0, abs=1e-6)
    heavy = Need("down", "train", 0, "down", {0: 1e4, 1: 2e4, 2: 6e4}, need.grain, need.groups)
    assert seconds([heavy], system_of([[0], [1], [2]], 1, links, antennas=1)) == pytest.approx(30.0, abs=1e-6)


def test_a_group_may_use_all_its_members() -> None:
    links = [contact(s, 2, "downlink", 0.0, 3_000.0, 8e3) for s in (0, 1)]
    system = system_of([[0, 1]], 1, links, antennas=2)
    assert seconds([move("down", 10_000.0, groups=((0, 1),))], system) == pytest.approx(5.0, abs=1e-6)
    assert seconds([move("down", 10_000.0, groups=((0,),))], system) == pytest.approx(10.0, abs=1e-6)


def test_a_cable_carries_the_same_bytes_once_for_all_groups() -> None:
    """Three satellites want one megabyte over a slow cable: a copy each takes three times as long as one to share."""
    links = [contact(3, s, "uplink", 0.0, 3_000.0, 8e9) for s in (0, 1, 2)]
    system = system_of([[0], [1], [2]], 1, links, antennas=3, cable_bps=8e5)
    sizes = dict.fromkeys((0, 1, 2), 1e6)
    own = Need("up", "deploy", 0, "up", sizes, sizes, ((0,), (1,), (2,)))
    assert seconds([own], system) == pytest.approx(30.0, abs=0.1)
    assert seconds([replace(own, one_copy=True)], system) == pytest.approx(10.0, abs=0.1)


# -- combine ---------------------------------------------------------------------------------------------------------


def combine(groups: tuple[tuple[int, ...], ...], size: float, round_: int = 0) -> Need:
    sizes = dict.fromkeys(range(len(groups)), size)
    return Need("combine", "train", round_, "combine", sizes, sizes, groups)


def test_one_satellite_has_nothing_to_combine() -> None:
    needs = [compute(0, 3e3), combine(((0,),), 1e9), compute(0, 3e3)]
    assert seconds(needs, one_satellite()) == pytest.approx(6.0)


def test_two_neighbours_exchange_a_model() -> None:
    system = system_of([[0, 1]], 0, ring([0, 1], 8e3, 0.5))
    trains = Need("compute", "train", 0, "train", {0: 3e3, 1: 3e3}, {0: 1.0, 1: 1.0})
    expected = 3.0 + 2.0 + 0.5  # each sends its model to the other, both at once
    assert seconds([trains, combine(((0, 1),), 2_000.0)], system) == pytest.approx(expected, abs=1e-6)
    three_rounds = [need for number in range(3) for need in (trains, combine(((0, 1),), 2_000.0, number))]
    assert seconds(three_rounds, system) == pytest.approx(3 * expected, abs=1e-6)


def test_who_does_not_train_only_listens() -> None:
    system = system_of([[0, 1]], 0, ring([0, 1], 8e3, 0.5))
    assert seconds([compute(0, 3e3), combine(((0, 1),), 2_000.0)], system) == pytest.approx(5.5, abs=1e-6)


def test_planes_that_never_meet_use_the_ground() -> None:
    links = [
        contact(0, 2, "downlink", 100.0, 200.0, 8e3, 0.5),
        contact(2, 0, "uplink", 700.0, 800.0, 8e3, 0.5),
        contact(1, 2, "downlink", 400.0, 500.0, 8e3, 0.5),
        contact(2, 1, "uplink", 400.0, 500.0, 8e3, 0.5),
    ]
    system = system_of([[0], [1]], 1, links)
    trains = Need("compute", "train", 0, "train", {0: 3e3, 1: 3e3}, {0: 1.0, 1: 1.0})
    needs = [trains, combine(((0,), (1,)), 2_000.0)]
    # Satellite 0 hears last: the station knows everything at 402.5 s, its window opens at 700 s.
    assert seconds(needs, system) == pytest.approx(700.0 + 2.0 + 0.5, abs=1e-6)
    assert seconds([*needs, trains, combine(((0,), (1,)), 2_000.0)], system) == inf


def test_stages_end_one_after_the_other() -> None:
    system = system_of([[0, 1]], 0, ring([0, 1], 8e3, 0.5))
    trains = Need("compute", "train", 0, "train", {0: 3e3, 1: 4e3}, {0: 1.0, 1: 1.0})
    # Both train for their own time; then satellite 0 waits for the model of satellite 1, 2 s on the link.
    ends_s = bounds_by_stage([trains, combine(((0, 1),), 2_000.0)], system)
    assert ends_s[("train", 0, "train")] == pytest.approx(4.0)
    assert ends_s[("train", 0, "combine")] == pytest.approx(6.5, abs=1e-6)


# -- ahead of time ---------------------------------------------------------------------------------------------------


def test_what_needs_no_weights_is_done_ahead() -> None:
    round_0 = [compute(0, 900e3), combine(((0,),), 1.0)]
    after = [*round_0, move("down", 50_000.0), compute(2, 1e6)]
    assert seconds(after, one_satellite()) == pytest.approx(1_000.0 + 25.0 + 0.5 + 1.0, abs=1e-6)
    ahead = [*round_0, move("down", 50_000.0, after_weights=False), compute(2, 1e6)]
    assert seconds(ahead, one_satellite()) == pytest.approx(900.0)  # in the first pass, while it trains


def test_ahead_of_time_is_still_in_total() -> None:
    needs = [move("down", 50_000.0, after_weights=False), compute(2, 1e6)] * 3
    assert seconds(needs, one_satellite()) == pytest.approx(1_000.0 + 25.0 + 0.5 + 1.0, abs=1e-6)


# -- what must not wait ----------------------------------------------------------------------------------------------


def late_listener(planes: list[list[int]]) -> System:
    """Satellite 0 always sees the station, satellite 1 only from 500 s on; a ring joins those of one plane."""
    links = [link for plane in planes for link in ring(plane, 8e3, 0.0)]
    for satellite, start_s in ((0, 0.0), (1, 500.0)):
        links += [
            contact(satellite, 2, "downlink", start_s, 3_000.0, 8e3),
            contact(2, satellite, "uplink", start_s, 3_000.0, 8e3),
        ]
    return system_of(planes, 1, links)


@pytest.mark.parametrize("planes", [[[0], [1]], [[0, 1]]])
def test_nobody_waits_for_a_satellite_that_only_listens(planes: list[list[int]]) -> None:
    alone, models = ((0,), (1,)), dict.fromkeys((0, 1), 1_000.0)
    needs = [Need("up", "deploy", 0, "deploy", models, models, alone)]
    for number in range(3):
        needs += [
            Need("compute", "train", number, "embed", {0: 1e3}, {0: 1e3}),
            Need("down", "train", number, "down", {0: 1e3}, {0: 1e3}, alone),
            Need("compute", "train", number, "encode", {3: 1e6}, {3: 1e6}),
            Need("up", "train", number, "up", {0: 1e3}, {0: 1e3}, alone),
            Need("compute", "train", number, "train", {0: 1e3}, {0: 1e3}),
            Need("combine", "train", number, "combine", {0: 1e3}, {0: 1e3}, tuple(map(tuple, planes))),
        ]
    ends_s = bounds_by_stage(needs, late_listener(planes))
    assert ends_s["deploy", 0, "deploy"] == pytest.approx(501.0, abs=1e-6)
    assert ends_s["train", 2, "train"] == pytest.approx(1.0 + 3 * 5.0, abs=1e-6)


def test_a_branch_on_the_ground_does_not_hold_up_the_next_round_on_board() -> None:
    system = late_listener([[0, 1]])
    needs = [
        Need("compute", "train", 0, "train", {1: 1e3}, {1: 1e3}),
        Need("down", "train", 0, "gradients", {0: 1e3}, {0: 1e3}, ((1,),)),
        Need("compute", "train", 0, "backward", {3: 1e6}, {3: 1e6}),
        Need("combine", "train", 0, "combine", {0: 1e3}, {0: 1e3}, ((0, 1),)),
        Need("compute", "train", 1, "train", {1: 1e3}, {1: 1e3}),
        Need("compute", "train", 1, "forward", {3: 1e6}, {3: 1e6}),
    ]
    ends_s = bounds_by_stage(needs, system)
    assert ends_s["train", 0, "backward"] == pytest.approx(502.0, abs=1e-6)
    assert ends_s["train", 1, "train"] == pytest.approx(2.0, abs=1e-6)
    assert ends_s["train", 1, "forward"] == pytest.approx(503.0, abs=1e-6)  # the server waits for its own last round


def test_work_done_ahead_of_others_is_not_counted_behind_them() -> None:
    # The second computation may run first: only the sum since the first start is sure.
    needs = [compute(0, 5e3), combine(((0,),), 1.0), compute(0, 7e3, after_weights=False), compute(2, 1e6)]
    assert seconds(needs, one_satellite()) == pytest.approx(12.0)
    assert seconds(needs[:1] + needs[2:], one_satellite()) == pytest.approx(12.0)

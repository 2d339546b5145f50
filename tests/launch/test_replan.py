"""The rest of a mission is a mission: numbered anew, with what contacts are left, and planned under the same rules."""

from __future__ import annotations

import pytest

from orbitune.errors import PlanError
from orbitune.mission import Mission, job_of, prepare
from orbitune.plans import plan_method
from orbitune.replan import node_ids, rest_of
from orbitune.scenario.load import load

AT_S = 100.0


@pytest.fixture(scope="module")
def mission() -> Mission:
    return prepare(load("tiny", ["train.rounds=3"]))


def test_every_contact_of_the_rest_is_one_of_the_whole(mission: Mission) -> None:
    left = [satellite for satellite in mission.system.nodes.satellites if satellite != 1]
    rest = rest_of(mission, left, [], AT_S, rounds_done=1)
    ids = node_ids(mission, rest)
    whole = sorted(
        (one.source, one.target, one.kind, round(max(one.start_s, AT_S), 6), round(one.end_s, 6), one.rate_bps)
        for one in mission.system.contacts
        if 1 not in (one.source, one.target) and one.end_s > AT_S
    )
    found = sorted(
        (
            ids[one.source],
            ids[one.target],
            one.kind,
            round(one.start_s + AT_S, 6),
            round(one.end_s + AT_S, 6),
            one.rate_bps,
        )
        for one in rest.system.contacts
    )
    assert found == whole
    names = rest.system.nodes.satellite_names
    assert names == tuple(mission.system.nodes.satellite_names[satellite] for satellite in left)


def test_planes_keep_their_order(mission: Mission) -> None:
    rest = rest_of(mission, [satellite for satellite in mission.system.nodes.satellites if satellite != 1], [], 0.0, 0)
    planes = [tuple(rest.satellites[one] for one in plane) for plane in rest.system.nodes.planes]
    assert planes == [tuple(one for one in plane if one != 1) for plane in mission.system.nodes.planes]


def test_the_rest_is_planned_and_accepted(mission: Mission) -> None:
    rest = rest_of(mission, [0, *range(2, mission.system.nodes.num_satellites)], [], AT_S, rounds_done=1)
    planned = plan_method(rest, "collaborative")
    assert planned.timeline.rounds == 2
    assert planned.timeline.time_s >= planned.bound.time_s


def test_a_link_that_is_gone_is_not_used(mission: Mission) -> None:
    rest = rest_of(mission, mission.system.nodes.satellites, [(0, 1)], 0.0, rounds_done=0)
    sends = plan_method(rest, "collaborative").timeline.activities
    assert all((one.node, one.peer) != (0, 1) for one in sends if one.kind == "send")


def test_who_comes_back_is_sent_the_weights(mission: Mission) -> None:
    rest = rest_of(mission, mission.system.nodes.satellites, [], 0.0, rounds_done=1, preloaded=False)
    assert plan_method(rest, "collaborative").timeline.phase_s("deploy") > 0


def test_first_uses_of_the_rest_follow_the_whole_order_of_batches() -> None:
    whole = prepare(load("tiny", ["train.rounds=3", "method.cache=embeddings", "train.trains=encoder"]))
    rest = rest_of(whole, whole.system.nodes.satellites, [], 0.0, rounds_done=1)
    steps = len(job_of(whole).first_uses) // 3
    # The cache is empty after a fault, so a batch of the rest brings at least what it would have brought.
    before, after = job_of(whole).first_uses[steps:], job_of(rest).first_uses
    assert len(after) == len(before)
    assert all(
        one >= other for new, old in zip(after, before, strict=True) for one, other in zip(new, old, strict=True)
    )


def test_nobody_left_is_said(mission: Mission) -> None:
    with pytest.raises(PlanError, match="no satellite is left"):
        rest_of(mission, [], [], 0.0, 0)

"""Programs: nothing of a timeline is lost or twice, and numbers are those of the mission."""

from __future__ import annotations

from dataclasses import replace

import pytest
from execute_worlds import by_plane, plan

from orbitune.execute.program import BEFORE_ROUNDS, Program, programs, translated
from orbitune.strategies.ring import VALUE_BYTES
from orbitune.timeline.activity import Payload


def test_hosts_share_a_timeline_out() -> None:
    timeline, system = plan("collaborative")
    parts = programs(timeline, system, by_plane(system))
    indices = sorted(index for part in parts.values() for index in part.indices)
    assert indices == list(range(len(timeline.activities)))
    for host, part in parts.items():
        assert {activity.node for activity in part.part.activities} <= {
            node for node, name in by_plane(system).items() if name == host
        }
        for index, activity in zip(part.indices, part.part.activities, strict=True):
            planned = timeline.activities[index]
            assert activity.phase == "deliver" or activity == planned
            assert replace(activity, payload=planned.payload) == planned
            if activity.kind == "send":
                assert part.windows[activity.node, activity.peer, activity.link]
    assert sum(len(part.part.initial) for part in parts.values()) == len(timeline.initial)
    assert sum(len(part.part.promises) for part in parts.values()) == len(timeline.promises)


@pytest.mark.parametrize("sets", [(), ("method.overlap=stream",)])
def test_programs_survive_their_bytes(sets: tuple[str, ...]) -> None:
    timeline, system = plan("collaborative", *sets)
    for part in programs(timeline, system, by_plane(system), 3, 2, 1000.0).values():
        assert Program.from_bytes(part.to_bytes()) == part


def test_promises_belong_to_the_round_that_they_end() -> None:
    timeline, system = plan("collaborative", "method.overlap=stream")
    last = len(timeline.round_ends_s())
    for part in programs(timeline, system, by_plane(system)).values():
        for promise, due in zip(part.part.promises, part.due_rounds, strict=True):
            if promise.payload.kind == "weights":
                assert due == BEFORE_ROUNDS
            elif promise.payload.kind == "delivered_update":
                assert due == last
            else:  # two local steps a round, each with an average of its own
                assert due == promise.payload.version // 2


def test_a_plan_for_fewer_is_told_in_the_numbers_of_the_mission() -> None:
    timeline, system = plan("collaborative")
    ids = tuple(node + 10 for node in range(len(system.nodes)))
    host_of = {node + 10: host for node, host in by_plane(system).items()}
    same, moved = programs(timeline, system, by_plane(system)), programs(timeline, system, host_of, 1, 4, 500.0, ids)

    def renamed(payload: Payload | None) -> Payload | None:
        return payload and replace(payload, origins=frozenset(one + 10 for one in payload.origins))

    for host, part in moved.items():
        assert part.participants == tuple(range(10, 22)) and part.first_round == 4
        assert part.round_ends_s == tuple(end_s + 500.0 for end_s in same[host].round_ends_s)
        for ours, theirs in zip(part.part.activities, same[host].part.activities, strict=True):
            assert (ours.node, ours.start_s) == (theirs.node + 10, theirs.start_s + 500.0)
            assert ours.payload == renamed(theirs.payload) and ours.needs == tuple(map(renamed, theirs.needs))
        assert {(source - 10, target - 10, kind) for source, target, kind in part.windows} == set(same[host].windows)


@pytest.mark.parametrize("sets", [("method.intra_orbit=ring",), ("method.inter_orbit=sharded",)])
def test_sums_are_cut_between_values(sets: tuple[str, ...]) -> None:
    timeline, _ = plan("onboard", *sets)
    made = [activity.makes[0] for activity in timeline.activities if activity.kind == "merge"]
    assert min(payload.size for payload in made) < max(payload.end_byte for payload in made)
    assert all(payload.start_byte % VALUE_BYTES == payload.end_byte % VALUE_BYTES == 0 for payload in made)


def test_a_plan_of_the_whole_mission_is_its_own_translation() -> None:
    timeline, system = plan("collaborative")
    assert translated(timeline, system, tuple(range(len(system.nodes))), 0.0, 0) == timeline
    later = translated(timeline, system, tuple(range(len(system.nodes))), 100.0, 2)
    assert later.time_s == timeline.time_s + 100.0 and later.activities[-1].round == timeline.activities[-1].round + 2

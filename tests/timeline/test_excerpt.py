"""A phase by itself: the checker accepts it, no bound beats it, phases add up; what is spent adds up to the whole."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest

from orbitune.methods import METHODS
from orbitune.mission import Mission, prepare
from orbitune.plans import Planned, plan_method
from orbitune.scenario.load import load
from orbitune.timeline.activity import PHASES
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.excerpt import excerpt, phase_start_s, system_from
from orbitune.timeline.spent import spent_by
from orbitune.timeline.summary import energy_j
from orbitune.timeline.verify import verify

CASES = {
    "full": ("train.trains=full", "train.rounds=2"),
    "streamed": ("train.trains=full", "train.rounds=2", "method.overlap=stream", "method.deliver_to=satellites"),
    "battery": ("train.trains=full", "train.rounds=2", "satellite.battery_wh=20"),
}
PARAMETERS = [(case, name) for case in ("full", "streamed") for name in METHODS] + [("battery", "onboard")]


@cache
def mission_of(case: str) -> Mission:
    return prepare(load("tiny", CASES[case]))


@cache
def planned_of(case: str, name: str) -> Planned:
    return plan_method(mission_of(case), name)


@pytest.mark.parametrize(("case", "name"), PARAMETERS)
def test_phases_are_accepted_alone_and_add_up(case: str, name: str) -> None:
    mission, planned = mission_of(case), planned_of(case, name)
    timeline, moved = planned.timeline, 0
    needs = planned.method.needs(planned.job, timeline.rounds)
    for phase in PHASES:
        alone = system_from(mission.system, phase_start_s(timeline, phase))
        part = excerpt(timeline, phase)
        verify(part, alone)
        assert part.time_s == pytest.approx(timeline.phase_s(phase), abs=1e-6)
        assert lower_bound([need for need in needs if need.phase == phase], alone).time_s <= part.time_s + 1e-6
        moved += sum(part.link_bytes().values())
    assert moved == sum(timeline.link_bytes().values())


@pytest.mark.parametrize(("case", "name"), PARAMETERS)
def test_what_is_spent_grows_to_the_whole(case: str, name: str) -> None:
    mission, timeline = mission_of(case), planned_of(case, name).timeline
    every = max(1, len(timeline.activities) // 9)
    ends_s = {activity.end_s for activity in timeline.activities[::every]}
    spent = spent_by(timeline, mission.system, sorted({0.0, timeline.time_s} | ends_s))
    for before, after in pairwise(spent):
        assert before.energy_j <= after.energy_j + 1e-9
        assert all(before.bytes[kind] <= after.bytes[kind] for kind in before.bytes)
    assert spent[0].energy_j == 0.0
    assert {kind: size for kind, size in spent[-1].bytes.items() if size} == timeline.link_bytes()
    assert spent[-1].energy_j == pytest.approx(energy_j(timeline, mission.system))


def test_a_send_under_way_counts_for_what_is_done() -> None:
    mission, timeline = mission_of("full"), planned_of("full", "onboard").timeline
    first = next(one for one in timeline.activities if one.kind == "send" and one.link == "uplink")
    others = [one for one in timeline.activities if one is not first and one.start_s < first.end_s]
    middle_s = (first.start_s + first.end_s) / 2
    (spent,) = spent_by(timeline, mission.system, (middle_s,))
    shares = [min(1.0, max(0.0, (middle_s - one.start_s) / (one.end_s - one.start_s))) * one.payload.size
              for one in (first, *others) if one.kind == "send" and one.payload and one.link == "uplink"]  # fmt: skip
    assert spent.bytes["uplink"] == pytest.approx(sum(shares), abs=1.0)

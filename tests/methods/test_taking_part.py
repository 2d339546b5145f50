"""Rounds in which not everybody takes part: drawn satellites, and late planes within their bound."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from orbitune.errors import PlanError, TimelineRejected
from orbitune.experiment import trainings
from orbitune.imagery.batches import taking_part
from orbitune.mission import Mission, prepare
from orbitune.plans import Planned, plan_method
from orbitune.runs import RunFolder
from orbitune.scenario.load import load
from orbitune.timeline.participation import TakingPart, participation
from orbitune.timeline.verify import verify

PLANES = ("shell.0.satellites=18", "shell.0.planes=3", "links.downlink_rate_mbps=2", "train.local_steps=1")
APART = (*PLANES, "method.inter_orbit=quickest", "train.rounds=6")
DRAWN = (*PLANES, "method.inter_orbit=via_ground", "train.rounds=4")


@cache
def mission(preset: str, *sets: str) -> Mission:
    return prepare(load(preset, sets))


def rows_of(planned: Planned, where: Mission) -> tuple[TakingPart, ...]:
    rows = participation(planned.timeline, where.system.nodes.num_satellites)
    assert rows is not None, "nobody was ever late"
    return rows


@pytest.mark.parametrize("staleness", [1, 2, 4])
@pytest.mark.parametrize("trains", ["head", "lora", "encoder", "full"])
def test_late_planes_are_counted_within_their_bound(trains: str, staleness: int) -> None:
    where = mission("tiny", *APART, f"train.trains={trains}", f"train.staleness={staleness}")
    planned = plan_method(where, "collaborative")  # accepted by the checker, or it raises
    rows = rows_of(planned, where)
    assert planned.timeline.rounds == len(rows) == 6
    late = max(index - base for index, row in enumerate(rows) for _, base in row)
    assert 0 < late <= staleness
    assert len(rows[-1]) == 18, "every plane is in the last average"
    assert min(map(len, rows)) >= 9, "half of the planes make a quorum"
    assert planned.bound.time_s <= planned.timeline.time_s


def test_a_contribution_is_counted_once_and_starts_from_the_average_before_its_last() -> None:
    """Every satellite flies on from the average it was counted in, so its bases tell its whole history."""
    where = mission("tiny", *APART, "train.trains=head", "train.staleness=2")
    last_counted: dict[int, int] = {}
    for index, row in enumerate(rows_of(plan_method(where, "collaborative"), where)):
        for satellite, base in row:
            assert base == last_counted.get(satellite, -1) + 1
            last_counted[satellite] = index


@pytest.mark.parametrize("staleness", [1, 2])
def test_the_checker_enforces_the_bound(staleness: int) -> None:
    where = mission("tiny", *APART, "train.trains=encoder", f"train.staleness={staleness}")
    timeline = plan_method(where, "collaborative").timeline
    with pytest.raises(TimelineRejected, match=r"spans|staleness"):
        verify(replace(timeline, staleness=staleness - 1), where.system)


def test_not_waiting_for_late_satellites_saves_hours_where_passes_are_rare() -> None:
    """Sixteen satellites without links between them, each waiting for its own passes."""
    sets = ("train.rounds=3", "train.trains=head", "train.local_steps=1", "method.overlap=none", "time.duration_h=48")
    waiting, going_on = (
        plan_method(mission("planet-sample", *sets, f"train.staleness={bound}"), "collaborative") for bound in (0, 1)
    )
    assert going_on.timeline.time_s < 0.6 * waiting.timeline.time_s


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_contacts_that_end_under_way_leave_whole_rounds_of_late_planes(share: float) -> None:
    """What nobody counted by then is no part of the plan, which the checker accepts."""
    sets = (*APART, "train.trains=encoder", "train.staleness=2", "method.slot_s=1")
    whole = plan_method(mission("tiny", *sets), "collaborative").timeline
    where = mission("tiny", *sets, f"time.duration_h={share * whole.time_s / 3600}")
    planned = plan_method(where, "collaborative")
    assert 0 < planned.timeline.rounds < whole.rounds
    assert f"after {planned.timeline.rounds} of 6 rounds" in planned.timeline.stopped
    assert len(rows_of(planned, where)) == planned.timeline.rounds


@pytest.mark.parametrize("method", ["onboard", "download"])
def test_nobody_is_late_where_all_is_averaged_at_once_or_nothing(method: str) -> None:
    sets = ("train.local_steps=1", "train.rounds=2", "method.inter_orbit=quickest")
    waiting, going_on = (plan_method(mission("tiny", *sets, f"train.staleness={n}"), method).timeline for n in (0, 1))
    assert going_on == waiting


@pytest.mark.parametrize("method", ["collaborative", "onboard", "download"])
@pytest.mark.parametrize("trains", ["head", "encoder"])
def test_drawn_satellites_are_those_that_train_in_several_steps(method: str, trains: str) -> None:
    sets = (*DRAWN, f"train.trains={trains}", "train.satellites_per_round=5", "train.local_steps=2")
    where = mission("tiny", *sets)
    planned = plan_method(where, method)
    rows = rows_of(planned, where)
    assert [tuple(who for who, _ in row) for row in rows] == [
        taking_part(18, 5, index, where.scenario.seed) for index in range(4)
    ]
    assert all(base == index for index, row in enumerate(rows) for _, base in row)
    (training,) = trainings(where, planned, RunFolder(Path()), random_start=False)
    assert training.participation == rows


def test_bringing_images_down_trains_on_as_many_as_all_others() -> None:
    sets = (*DRAWN, "train.trains=head", "train.satellites_per_round=5")
    drawn, everybody = (plan_method(mission("tiny", *one), "download").timeline for one in (sets, sets[:-1]))
    flops = [sum(activity.flops for activity in timeline.activities) for timeline in (drawn, everybody)]
    assert flops[0] / flops[1] == pytest.approx(5 / 18)


def test_drawing_satellites_is_refused_where_the_encoder_is_in_orbit() -> None:
    sets = (*DRAWN, "train.trains=head", "train.satellites_per_round=5", "method.placement=compute_satellite")
    with pytest.raises(PlanError, match="satellites_per_round"):
        plan_method(mission("tiny", *sets), "collaborative")


@pytest.mark.parametrize("method", ["collaborative", "onboard"])
@pytest.mark.parametrize("trains", ["head", "full"])
def test_drawn_satellites_are_those_that_train(method: str, trains: str) -> None:
    where = mission("tiny", *DRAWN, f"train.trains={trains}", "train.satellites_per_round=5")
    planned = plan_method(where, method)
    rows = rows_of(planned, where)
    drawn = [tuple(satellite for satellite, _ in row) for row in rows]
    assert drawn == [taking_part(18, 5, index, where.scenario.seed) for index in range(4)]
    assert all(base == index for index, row in enumerate(rows) for _, base in row), "all from the last average"
    trained = Counter(a.node for a in planned.timeline.activities for made in a.makes
                      if a.kind == "compute" and made.kind == "update")  # fmt: skip
    assert trained == Counter(satellite for row in drawn for satellite in row)
    assert planned.bound.time_s <= planned.timeline.time_s


def test_everybody_has_the_last_average_of_drawn_satellites() -> None:
    where = mission("tiny", *DRAWN, "train.trains=head", "train.satellites_per_round=2", "method.deliver_to=satellites")
    timeline = plan_method(where, "onboard").timeline
    last = [
        promise for promise in timeline.promises if promise.payload.kind == "update" and promise.payload.version == 3
    ]
    assert {promise.node for promise in last} >= set(range(18))


def test_cached_features_of_drawn_satellites_cross_once() -> None:
    sets = (
        *DRAWN,
        "train.trains=head",
        "train.satellites_per_round=5",
        "method.cache=features",
        "train.local_steps=30",
    )
    where = mission("tiny", *sets)
    planned = plan_method(where, "collaborative")
    new = sum(map(sum, planned.job.first_uses))
    sent = sum(a.payload.size for a in planned.timeline.activities
               if a.payload and a.payload.kind == "embedding" and a.link == "downlink")  # fmt: skip
    assert sent == pytest.approx(new * planned.job.wire_bytes)
    assert 0 < new < 4 * 5 * 30 * where.scenario.train.batch_size, "some samples were used twice"


def test_training_replays_who_took_part() -> None:
    where = mission("tiny", *APART, "train.trains=head", "train.staleness=1")
    planned = plan_method(where, "collaborative")
    (training,) = trainings(where, planned, RunFolder(Path()), random_start=False)
    assert training.participation == rows_of(planned, where)
    waiting = mission("tiny", *APART, "train.trains=head")
    (training,) = trainings(waiting, plan_method(waiting, "collaborative"), RunFolder(Path()), random_start=False)
    assert training.participation is None

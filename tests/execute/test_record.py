"""What was carried out, beside the plan: equal where everything was on time, and late where it was late."""

from __future__ import annotations

import pytest

from orbitune.execute.record import Row, compare, executed, own_seconds
from orbitune.mission import prepare
from orbitune.plans import plan_method
from orbitune.scenario.load import load
from orbitune.timeline.activity import Timeline

LATE_S = 0.25


@pytest.fixture(scope="module")
def plan() -> Timeline:
    return plan_method(prepare(load("tiny", ["train.rounds=1"])), "collaborative").timeline


def rows_of(plan: Timeline, late_stage: str = "") -> list[Row]:
    """Times as planned, those of one stage later."""
    rows = []
    for index, one in enumerate(plan.activities):
        late_s = LATE_S * (one.stage == late_stage)
        arrive_s = one.arrive_s + late_s if one.kind == "send" else 0.0
        rows.append(
            {"activity": index, "start_s": one.start_s + late_s, "end_s": one.end_s + late_s, "arrive_s": arrive_s}
        )
    return rows


def test_what_was_on_time_is_the_plan(plan: Timeline) -> None:
    assert executed(plan, rows_of(plan)).spans == plan.spans
    assert all(one.executed_s == pytest.approx(one.planned_s) for one in own_seconds(plan, rows_of(plan)))


def test_a_stage_that_moved_as_a_whole_took_as_long_as_planned(plan: Timeline) -> None:
    rows = rows_of(plan, "bring down feature gradients")
    assert all(one.executed_s == pytest.approx(one.planned_s) for one in own_seconds(plan, rows))
    stages, rounds = compare(plan, executed(plan, rows))
    late = next(stage for stage in stages if stage.name == "bring down feature gradients")
    assert late.error_s > 0  # it ended later than planned, and the stretches together still fill the round
    assert sum(stage.executed_s for stage in stages) == pytest.approx(
        executed(plan, rows).time_s - plan.spans[0].start_s
    )
    assert rounds[0].executed_s >= rounds[0].planned_s


def test_one_late_activity_makes_its_stage_longer(plan: Timeline) -> None:
    rows = rows_of(plan)
    last = max(
        (row for row, one in zip(rows, plan.activities, strict=True) if one.stage == "share embeddings in planes"),
        key=lambda row: row["arrive_s"],
    )
    late = {**last, "arrive_s": last["arrive_s"] + LATE_S}
    found = own_seconds(plan, [late if row is last else row for row in rows])
    assert sum(one.error_s for one in found) == pytest.approx(LATE_S)

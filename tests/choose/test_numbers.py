"""Which points learn the same numbers, and what is searched where those of an answer are refused."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitune.choose.explain import to_json, words
from orbitune.choose.limits import Limits
from orbitune.choose.measure import search_measured
from orbitune.choose.numbers import changes_numbers, numbers_of
from orbitune.choose.reads import READS
from orbitune.choose.search import Search
from orbitune.choose.space import VALUES, Point, Space, Value, space_of
from orbitune.mission import Mission, prepare
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario

SETS = ("train.rounds=2", "train.batch_size=1", "train.local_steps=1", "train.trains=head", "data.dataset=none",
        "data.num_classes=7", "data.samples_per_satellite=2", "method.inter_orbit=via_ground", "method.cache=none",
        "method.satellite_ground=max_flow")  # fmt: skip

TINY = load("tiny")
NOISED = replace(TINY, method=replace(TINY.method, noise_multiplier=0.5))


@pytest.fixture(scope="module")
def mission() -> Mission:
    return prepare(load("tiny", SETS))


def changed(point: Point, own: Point, scenario: Scenario = TINY) -> list[str]:
    return changes_numbers(point, own.applied(scenario))


def points() -> st.SearchStrategy[Point]:
    values = {name: st.sampled_from(found) for name, found in VALUES.items()}
    return st.builds(Point, method=st.sampled_from([*READS, "sfl_leo"]), cut=st.integers(0, 2), **values)


@settings(max_examples=300, deadline=None)
@given(points(), points(), st.booleans())
def test_something_is_said_to_change_them_where_they_differ_and_nothing_else(
    point: Point, own: Point, noised: bool
) -> None:
    scenario = own.applied(NOISED if noised else TINY)
    found = changes_numbers(point, scenario)
    assert bool(found) == (numbers_of(point, scenario) != numbers_of(own, scenario))
    assert set(found) <= {"method", *point.differences(own)}
    assert changes_numbers(own, scenario) == []


def test_without_a_cut_there_is_no_noise() -> None:
    split = replace(Point.of(TINY), trains="head")
    whole = replace(split, method="onboard")
    assert changed(whole, split) == changed(split, whole) == []
    assert changed(whole, split, NOISED) == changed(split, whole, NOISED) == ["method"]
    assert changed(replace(whole, method="fedavg"), whole, NOISED) == []


@pytest.mark.parametrize("method", ["onboard", "fedavg"])
def test_methods_that_wait_for_everybody_have_no_late_planes(method: str) -> None:
    late = replace(Point.of(TINY), trains="head", staleness=1)
    waits = replace(late, method=method)
    assert changed(waits, late) == changed(late, waits) == ["method"]
    assert changed(waits, replace(late, staleness=0)) == []
    assert changed(replace(waits, staleness=2, intra_orbit="ring"), waits) == []


def test_of_a_whole_model_more_is_compressed_than_of_a_part() -> None:
    split = replace(Point.of(TINY), trains="encoder", server_encoder="per_client", update_codec="int8")
    assert changed(replace(split, method="onboard"), split) == ["method"]
    head = replace(split, trains="head")
    assert changed(replace(head, method="onboard"), head) == changed(replace(head, cut=2), head) == []


def test_overlap_makes_nobody_late() -> None:
    late = replace(Point.of(TINY), staleness=1, overlap="none")
    assert changed(replace(late, overlap="stream"), late) == []


# -- searched without what was refused -------------------------------------------------------------------------------


def late_space(mission: Mission, **ways: tuple[Value, ...]) -> Space:
    """Planes may be late or not, and of all else only some ways are open."""
    own = Point.of(mission.scenario)
    closed: dict[str, tuple[Value, ...]] = {name: (getattr(own, name),) for name in space_of(mission).values}
    return Space(mission.scenario, {**closed, "staleness": (0, 1), **ways}, ())


def test_nothing_is_measured_twice(mission: Mission) -> None:
    """Nor for ever, where the answer does not take the first way of its place."""
    space = late_space(mission, intra_orbit=("relay", "ring", "bidirectional"))
    seen: Counter[Point] = Counter()

    def measure(mission: Mission, point: Point, rounds: int) -> float:
        seen[point] += 1
        assert seen[point] == 1
        return 0.1 if point.staleness else 0.9

    answer, measured = search_measured(mission, space, Limits(), "time", 1, 0.1, measure=measure)
    assert answer.best is not None and answer.best.point.staleness == 0
    assert 1 <= len(measured) == len(seen) - 1


def test_other_ways_of_what_was_refused_are_searched(mission: Mission) -> None:
    """They have other planes late, so they learn other numbers."""
    space = late_space(mission, inter_orbit=("mixed_tree", "via_ground"))

    def measure(mission: Mission, point: Point, rounds: int) -> float:
        return 0.1 if point.staleness and point.inter_orbit == "mixed_tree" else 0.9

    answer, measured = search_measured(mission, space, Limits(), "time", 1, 0.1, measure=measure)
    assert answer.best is not None and len(measured) == 2
    assert (answer.best.point.staleness, answer.best.point.inter_orbit) == (1, "via_ground")
    waiting = Search(mission, replace(space, values={**space.values, "staleness": (0,)}), Limits(), "time").run()
    assert waiting.best is not None and waiting.best.value > answer.best.value


def test_one_budget_for_all_turns() -> None:
    """Measurements take their part of it; with nothing left, only what needs none is searched."""
    mission = prepare(load("tiny", SETS))
    kept = ["cut", "placement", "cache", "overlap", "intra_orbit", "satellite_ground", "inter_orbit"]
    space = space_of(mission, allow=["codec"], keep=kept)

    def measure(mission: Mission, point: Point, rounds: int) -> float:
        time.sleep(0.6)
        return 0.9 if point.codec == "fp32" else 0.1

    answer, measured = search_measured(mission, space, Limits(), "bytes", 1, 0.1, 1.0, measure)
    assert len(measured) <= 1 and len(space.values["codec"]) > 3
    assert answer.best is not None and answer.best.point.codec == "fp32"
    assert not answer.proven and answer.tally.unvisited > 0 and answer.least < answer.best.value
    assert answer.tally.total + len(measured) == len(space)


def test_time_may_be_up_before_anything_is_accepted(mission: Mission) -> None:
    space = late_space(mission)
    only_late = replace(space, values={**space.values, "staleness": (1,)})
    answer, measured = search_measured(mission, only_late, Limits(), "time", 1, 0.1, 0.0, measure=lambda *_: 0.9)
    assert answer.best is None and not answer.proven and measured == []
    assert "Time was up" in words(mission, answer, "time", [], None)[0]
    assert to_json(answer, "time", [], mission)["value"] is None

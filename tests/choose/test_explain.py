"""The answer in words and on the command line, and what a measured accuracy does to it."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from click.testing import CliRunner

from orbitune.choose.explain import look, neighbours, words
from orbitune.choose.limits import Limits
from orbitune.choose.measure import accuracy, search_measured
from orbitune.choose.numbers import changes_numbers, numbers_of
from orbitune.choose.search import Found, Search
from orbitune.choose.space import Point, Space, space_of
from orbitune.cli.choose_command import choose
from orbitune.errors import PlanError
from orbitune.mission import Mission, prepare
from orbitune.plans import plan_only
from orbitune.scenario.load import load

KEPT = "cut,placement,overlap,satellite_ground,inter_orbit"
SETS = ("train.rounds=1", "train.batch_size=2", "train.local_steps=1", "train.trains=head")


@pytest.fixture(scope="module")
def mission() -> Mission:
    return prepare(load("tiny", SETS))


@pytest.fixture(scope="module")
def space(mission: Mission) -> Space:
    return space_of(mission, keep=KEPT.split(","))


def test_neighbours_differ_in_one_switch_and_none_is_better(mission: Mission, space: Space) -> None:
    answer = Search(mission, space, Limits(), "time").run()
    assert answer.best is not None
    found = list(neighbours(mission, space, Limits(), "time", answer.best))
    assert {one.switch for one in found} == {"cache", "intra_orbit"}
    for one in found:
        flipped = replace(answer.best.point, **{one.switch: one.value})  # type: ignore[arg-type]
        again = look(mission, Limits(), "time", flipped)
        assert isinstance(again, Found) and one.factor == again.value / answer.best.value >= 1.0
    said = " ".join(words(mission, answer, "time", found, look(mission, Limits(), "time", Point.of(mission.scenario))))
    assert "Proven best" in said and "the scenario as written" in said and "What binds now" in said


def test_printed_settings_give_the_printed_time() -> None:
    asked = ["tiny", *(word for one in SETS for word in ("--set", one)), "--keep", KEPT, "--json"]
    result = CliRunner().invoke(choose, asked, catch_exceptions=False)
    content = json.loads(result.output)
    again = plan_only(load("tiny", (*SETS, *content["sets"])), ["collaborative"])[0]
    assert content["proven"] and content["value"] == content["result"]["time_s"] == again["time_s"]
    assert content["points"]["total"] == sum(count for name, count in content["points"].items() if name != "total")
    assert content["changes_numbers"] == [] and content["accuracy"] == []


def test_table_says_how_to_use_it() -> None:
    asked = ["tiny", *(word for one in SETS for word in ("--set", one)), "--keep", KEPT, "--quick"]
    result = CliRunner().invoke(choose, asked, catch_exceptions=False)
    assert result.exit_code == 0 and "tiny: least time" in result.output and "Proven best" in result.output


def test_nothing_fits() -> None:
    with pytest.raises(PlanError, match=r"Nothing in the space keeps to the constraints.*memory"):
        CliRunner().invoke(choose, ["tiny", "--keep", KEPT, "--max-memory", "1e-6"], catch_exceptions=False)


def test_a_loss_needs_a_measurement() -> None:
    result = CliRunner().invoke(choose, ["tiny", "--accuracy-loss", "0.01"])
    assert result.exit_code == 2 and "--measure" in result.output


def test_numbers_change_with_the_cut_only_where_something_is_compressed(mission: Mission) -> None:
    scenario, own = mission.scenario, Point.of(mission.scenario)
    deeper, smaller = replace(own, cut=2), replace(own, codec="int8")
    copies = replace(own, server_encoder="per_client")
    assert changes_numbers(deeper, scenario) == []
    assert changes_numbers(smaller, scenario) == ["codec"]
    assert changes_numbers(replace(smaller, cut=2), scenario) == ["codec", "cut"]
    assert numbers_of(replace(smaller, cut=2), scenario) != numbers_of(smaller, scenario)
    assert numbers_of(deeper, scenario) == numbers_of(copies, scenario) == numbers_of(own, scenario)


def test_what_loses_too_much_is_searched_without() -> None:
    """The measurement is replaced by one that knows its answer; `test_accuracy_is_trained` measures for real."""
    mission = prepare(load("tiny", SETS))
    space = space_of(mission, allow=["codec"], keep=[*KEPT.split(","), "cache", "intra_orbit"])
    known = {"fp32": 0.9}

    def measure(mission: Mission, point: Point, rounds: int) -> float:
        return known.get(point.codec, 0.5)

    strict, measured = search_measured(mission, space, Limits(), "bytes", 1, 0.1, inf, measure)
    assert strict.best is not None and strict.best.point.codec == "fp32"
    assert len(measured) == len(space.values["codec"]) - 1 and all(one.loss > 0.1 for one in measured)
    known["int8"] = 0.85
    milder, measured = search_measured(mission, space, Limits(), "bytes", 1, 0.1, inf, measure)
    assert milder.best is not None and strict.best.value > milder.best.value
    assert milder.best.point.codec == "int8" and measured[-1].loss == pytest.approx(0.05)


@pytest.mark.exhaustive
def test_accuracy_is_trained(mission: Mission, tmp_path: Path) -> None:
    """For as many rounds as asked, as the command that trains has it."""
    pytest.importorskip("torch")
    from orbitune.experiment import Request, execute, start

    own = Point.of(mission.scenario)
    scenario = replace(mission.scenario, train=replace(mission.scenario.train, rounds=3))
    trained = execute(start(scenario, Request((own.method,)), tmp_path))["results"][0]
    assert accuracy(mission, own, 3) == trained["final_accuracy"]


def test_no_accuracy_without_images(tmp_path: Path) -> None:
    mission = prepare(load("demo-spectralgpt"))
    with pytest.raises(PlanError, match="no images"):
        accuracy(mission, Point.of(mission.scenario), 1)

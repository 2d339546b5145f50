"""Choosing for methods other than the collaborative one, and among several."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks.choose import every_timeline, worth
from orbitune.choose.least import family_of, least
from orbitune.choose.limits import Limits, private_of
from orbitune.choose.numbers import changes_numbers
from orbitune.choose.reads import READS, SWITCHES, WAYS
from orbitune.choose.search import OBJECTIVES, Found, Search, evaluate, job_at
from orbitune.choose.space import VALUES, Point, Space, Value, space_of
from orbitune.cost.transfer import CODECS
from orbitune.errors import InputError, PlanError
from orbitune.methods import Ways
from orbitune.mission import Mission, prepare
from orbitune.plans import plan_method
from orbitune.scenario.load import load

OTHERS = tuple(name for name in READS if name != "collaborative")

SMALL = """
name = "small"
extends = "tiny"
[train]
trains = "head"
rounds = 1
batch_size = 1
local_steps = 1
[data]
dataset = "none"
samples_per_satellite = 2
num_classes = 7
[method]
cache = "none"
inter_orbit = "via_ground"
deliver_to = "satellites"
"""

FEW: dict[str, tuple[Value, ...]] = {
    "cut": (0, 2),
    "placement": ("ground",),
    "cache": ("none", "features"),
    "overlap": ("stream", "none"),
    "intra_orbit": ("bidirectional", "none"),
    "satellite_ground": ("max_flow", "direct"),
    "inter_orbit": ("via_ground", "earliest_tree"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("choose") / "scenario.toml"
    file.write_text(SMALL, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def mission(path: Path) -> Mission:
    return prepare(load(path))


def few(mission: Mission, *methods: str) -> Space:
    whole = space_of(mission, methods=methods)
    return replace(whole, values={name: FEW.get(name, own) for name, own in whole.values.items()})


@pytest.mark.parametrize("method", [pytest.param("onboard", marks=pytest.mark.exhaustive), *OTHERS[1:]])
def test_nothing_beats_the_answer_over_all_switches(method: str, path: Path, mission: Mission) -> None:
    """Switches that the search leaves alone are tried as well."""
    space = few(mission, method)
    played = list(every_timeline(path, mission, {**space.values, "cut": (0,)}, method))
    for objective in OBJECTIVES:
        answer = Search(mission, space, Limits(), objective).run()
        everything = [worth(cut, timeline, mission, objective) for cut, timeline in played]
        assert answer.best is not None and answer.proven and answer.best.point.method == method
        assert answer.best.value == pytest.approx(min(everything), rel=1e-12)
        assert answer.tally.total == len(space) <= len(everything)


@pytest.mark.parametrize("method", OTHERS)
def test_switches_that_are_left_alone_make_no_difference(method: str, mission: Mission) -> None:
    """For the timeline, to the bit."""
    others: dict[str, Any] = {**VALUES, "cut": (2,), "codec": CODECS[:2], "server_encoder": ("per_client",)}
    base = replace(Point.of(mission.scenario), method=method)
    scenario = base.applied(mission.scenario)
    expected = plan_method(replace(mission, scenario=scenario), method).timeline
    for name in set(SWITCHES) - set(base.reads) - {"staleness", "update_codec"}:
        point = replace(base, **{name: next(value for value in others[name] if value != getattr(base, name))})
        there = replace(mission, scenario=point.applied(mission.scenario),
                        partition=replace(mission.partition, cut=point.cut))  # fmt: skip
        assert plan_method(there, method).timeline == expected, name


@pytest.mark.parametrize("method", OTHERS)
def test_points_of_a_branch_have_the_same_needs(method: str, mission: Mission) -> None:
    found: dict[object, object] = {}
    space = few(mission, method)
    for place in space.places():
        planned, job = job_at(mission, place, Limits())
        for ways in product(*(VALUES[name][::2] for name in WAYS[1:])):
            around, down, between = map(str, ways)
            asked = replace(job, ways=Ways(around, down, between, job.ways.slot_s))
            try:
                needs = planned.needs(planned.prepare(asked), job.rounds)
            except PlanError:
                continue
            assert found.setdefault((place.cache, family_of(asked)), needs) == needs


@pytest.mark.parametrize("method", OTHERS)
def test_no_point_is_below_its_bounds(method: str, mission: Mission) -> None:
    search = Search(mission, few(mission, method), Limits(), "time")
    for branch in search.branches():
        needs = branch.method.needs(branch.method.prepare(branch.job), branch.job.rounds)
        for leaf in branch.leaves[::3]:
            for objective in OBJECTIVES:
                found = evaluate(leaf, branch.method, branch.job, objective, Limits())
                assert isinstance(found, Found)
                assert found.value >= least(objective, needs, branch.job.system) > 0.0


def test_the_best_of_several_methods(mission: Mission) -> None:
    alone = [Search(mission, few(mission, name), Limits(), "bytes").run() for name in ("onboard", "fedavg")]
    space = few(mission, "onboard", "fedavg")
    both = Search(mission, space, Limits(), "bytes").run()
    assert both.best is not None and both.proven
    assert both.best.value == min(one.best.value for one in alone if one.best)
    assert len(space) == sum(one.tally.total for one in alone)
    assert f"method.name={both.best.point.method}" in both.best.point.sets(mission.scenario)


def test_methods_that_learn_the_same_change_no_numbers(mission: Mission) -> None:
    """With a frozen encoder, split training is federated averaging; a shared encoder and all images in one place are
    something else."""

    def changed(point: Point, own: Point) -> list[str]:
        return changes_numbers(point, own.applied(mission.scenario))

    head = Point.of(mission.scenario)
    assert head.method == "collaborative" and head.trains == "head"
    assert changed(replace(head, method="onboard", cache="features"), head) == []
    assert changed(replace(head, method="download"), head) == ["method"]
    encoder = replace(head, trains="encoder", server_encoder="shared")
    assert changed(replace(encoder, method="onboard"), encoder) == ["method"]
    copies = replace(encoder, server_encoder="per_client")
    assert changed(replace(copies, method="fedavg"), copies) == []
    compressed = replace(copies, codec="int8")
    assert changed(replace(compressed, method="fedavg"), compressed) == ["method"]


def test_who_is_late_depends_on_the_ways(mission: Mission) -> None:
    late = replace(Point.of(mission.scenario), staleness=1, intra_orbit="ring")
    assert changes_numbers(replace(late, intra_orbit="relay"), late.applied(mission.scenario)) == ["intra_orbit"]


def test_images_tell_everything(mission: Mission) -> None:
    limits = Limits(private=private_of(["feature"]))
    answer = Search(mission, few(mission, "download"), limits, "time").run()
    assert answer.best is None
    assert "private: feature would leave the satellite" in answer.tally.excluded


@pytest.mark.parametrize("method", ["reconstructed", "fedasync", "sfl_leo"])
def test_nothing_to_choose(method: str, mission: Mission) -> None:
    with pytest.raises(InputError, match=f"nothing can be chosen for {method}; choose for collaborative, onboard"):
        space_of(mission, methods=(method,))

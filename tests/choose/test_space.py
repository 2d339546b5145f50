"""What is searched, what is left as it is, and what may leave a satellite."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from orbitune.choose.limits import Limits, leaving, private_of
from orbitune.choose.search import job_at
from orbitune.choose.space import FREE, NUMBERS, Point, space_of, why_refused
from orbitune.errors import InputError
from orbitune.mission import Mission, prepare
from orbitune.plans import plan_method
from orbitune.scenario.load import load


@pytest.fixture(scope="module")
def mission() -> Mission:
    return prepare(load("tiny", ["train.rounds=1"]))


def test_only_what_keeps_the_numbers_is_searched_unasked(mission: Mission) -> None:
    space = space_of(mission)
    own = Point.of(mission.scenario)
    assert all(space.values[name] == (getattr(own, name),) for name in NUMBERS)
    assert all(len(space.values[name]) > 1 for name in FREE)
    assert len(space) == sum(1 for place in space.places() for _ in space.leaves(place))


def test_allowed_and_kept(mission: Mission) -> None:
    space = space_of(mission, allow=["codec", "trains"], keep=["cut", "inter_orbit"])
    assert set(space.values["codec"]) >= {"fp32", "int8"} and set(space.values["trains"]) >= {"head", "full"}
    assert space.values["cut"] == (0,) and space.values["inter_orbit"] == ("earliest_tree",)


def test_copies_of_a_frozen_encoder_are_one_point(mission: Mission) -> None:
    space = space_of(mission, allow=["trains", "server_encoder"])
    heads = [place for place in space.places() if place.trains == "head"]
    assert {place.server_encoder for place in heads} == {mission.scenario.train.server_encoder}


@pytest.mark.parametrize(("allow", "keep"), [(["cut"], []), ([], ["colour"])])
def test_unknown_switches_are_refused(allow: list[str], keep: list[str], mission: Mission) -> None:
    with pytest.raises(InputError, match="there are"):
        space_of(mission, allow, keep)


def test_what_is_compressed_ties_the_cut() -> None:
    mission = prepare(load("tiny", ["method.codec=int8"]))
    space = space_of(mission)
    assert space.values["cut"] == (0,) and len(space.values["placement"]) == 1
    assert any("compressed" in why for why in space.held)
    assert len(space_of(mission, allow=["codec"]).values["cut"]) > 1


def test_ways_that_the_rules_refuse_are_left_out() -> None:
    mission = prepare(load("tiny", ["links.isl_inter_policy=none", "method.inter_orbit=via_ground"]))
    space = space_of(mission)
    assert "chain" not in space.values["inter_orbit"] and "via_ground" in space.values["inter_orbit"]
    assert any("inter_orbit = 'chain'" in why for why in space.held)


def test_what_is_printed_makes_the_same_scenario(mission: Mission) -> None:
    point = replace(Point.of(mission.scenario), cut=2, cache="features", trains="head", inter_orbit="quickest")
    again = load("tiny", ["train.rounds=1", *point.sets(mission.scenario)])
    assert Point.of(again).differences(point) == []
    assert why_refused(point.applied(mission.scenario)) == ""
    assert why_refused(replace(point, trains="full").applied(mission.scenario)) != ""


def test_private_words() -> None:
    assert private_of(["embedding@2", "update", "embedding@1"]) == {"embedding": 2.0, "update": inf}
    for wrong in ("image", "embedding@", "update@1", "embedding@x"):
        with pytest.raises(InputError, match="--private"):
            private_of([wrong])
    limits = Limits(private=private_of(["embedding@2", "update"]))
    assert limits.kept_private(3) == ("update",) and set(limits.kept_private(2)) == {"embedding", "update"}


@pytest.mark.parametrize("placement", ["ground", "compute_satellite"])
@pytest.mark.parametrize(("trains", "cut"), [("head", 0), ("encoder", 0), ("encoder", 1), ("full", 0)])
def test_what_leaves_is_what_a_plan_sends(placement: str, trains: str, cut: int, mission: Mission) -> None:
    """No more and no less; weights nobody has trained and models of the server are of no satellite's samples alone."""
    point = replace(Point.of(mission.scenario), placement=placement, trains=trains, cut=cut)
    there = replace(mission, scenario=point.applied(mission.scenario), partition=replace(mission.partition, cut=cut))
    timeline = plan_method(there, "collaborative").timeline
    sent = {activity.payload.kind for activity in timeline.activities if activity.kind == "send" and activity.payload}
    assert set(leaving(point, job_at(mission, point, Limits())[1])) == sent - {"weights", "model"}

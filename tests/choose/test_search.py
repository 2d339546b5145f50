"""The search against trying everything, and the laws that its pruning rests on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from benchmarks.choose import SEED, Played, case, every_timeline, worth
from orbitune import plans
from orbitune.choose.least import family_of, least
from orbitune.choose.limits import Limits, private_of
from orbitune.choose.search import OBJECTIVES, Found, Search, evaluate, job_at
from orbitune.choose.space import Point, Space, Value, space_of
from orbitune.errors import InputError, PlanError, TimelineRejected
from orbitune.methods import Ways
from orbitune.mission import Mission, prepare
from orbitune.plans import Planned, plan_only
from orbitune.scenario.load import load
from orbitune.timeline.activity import Timeline

FEW: dict[str, tuple[Value, ...]] = {
    "cut": (0, 2),
    "placement": ("ground", "compute_satellite"),
    "cache": ("features",),
    "overlap": ("stream", "none"),
    "intra_orbit": ("bidirectional", "none"),
    "satellite_ground": ("max_flow", "direct"),
    "inter_orbit": ("via_ground", "earliest_tree"),
}


Everything = list[tuple[int, Played]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("choose") / "scenario.toml"
    text = 'name = "small"\nextends = "tiny"\n[train]\ntrains = "head"\nrounds = 1\nbatch_size = 1\nlocal_steps = 1\n'
    file.write_text(
        text + '[data]\ndataset = "none"\nsamples_per_satellite = 2\nnum_classes = 7\n[method]\ncache = "features"\n',
        encoding="utf-8",
    )
    return file


@pytest.fixture(scope="module")
def mission(path: Path) -> Mission:
    return prepare(load(path))


@pytest.fixture(scope="module")
def space(mission: Mission) -> Space:
    whole = space_of(mission)
    return replace(whole, values={name: FEW.get(name, own) for name, own in whole.values.items()})


@pytest.fixture(scope="module")
def played(path: Path, mission: Mission, space: Space) -> Everything:
    """Every point, planned without the search."""
    return list(every_timeline(path, mission, space.values))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_beats_the_answer(objective: str, played: Everything, mission: Mission, space: Space) -> None:
    answer = Search(mission, space, Limits(), objective).run()
    everything = [worth(cut, timeline, mission, objective) for cut, timeline in played]
    assert answer.best is not None and answer.proven and answer.gap == 0.0
    assert answer.best.value == pytest.approx(min(everything), rel=1e-12)
    assert answer.tally.total == len(everything) == len(space)


def test_nothing_beats_the_answer_where_something_is_private(
    played: Everything, mission: Mission, space: Space
) -> None:
    limits = Limits(private=private_of(["embedding@0"]))
    answer = Search(mission, space, limits, "time").run()
    everything = [worth(cut, timeline, mission, "time", ["embedding@0"]) for cut, timeline in played]
    assert answer.best is not None and answer.best.value == min(everything)
    assert answer.best.point.cut == 2
    assert sum(count for why, count in answer.tally.excluded.items() if "private: embedding" in why) > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_random_scenarios(number: int, tmp_path: Path) -> None:
    drawn = case(SEED, number)
    file = tmp_path / "scenario.toml"
    file.write_text(drawn.text, encoding="utf-8")
    mission = prepare(load(file))
    whole = space_of(mission)
    space = replace(whole, values={name: drawn.narrowed.get(name, own) for name, own in whole.values.items()})
    answer = Search(mission, space, Limits(private=private_of(drawn.private)), drawn.objective).run()
    everything = [
        worth(cut, timeline, mission, drawn.objective, drawn.private)
        for cut, timeline in every_timeline(file, mission, space.values)
    ]
    assert min(everything) == (inf if answer.best is None else answer.best.value)


def test_points_of_a_branch_have_the_same_needs_and_none_is_below_their_bounds(mission: Mission, space: Space) -> None:
    """For every point of places with and without the ground, with and without a cache."""
    below: dict[tuple[object, ...], tuple[object, dict[str, float]]] = {}
    for cut, placement in itertools.product((0, 2), ("ground", "compute_satellite")):
        place = replace(next(space.places()), cut=cut, placement=placement, cache="features")
        method, job = job_at(mission, place, Limits())
        for leaf in space.leaves(place):
            ways = Ways(leaf.intra_orbit, leaf.satellite_ground, leaf.inter_orbit, job.ways.slot_s)
            asked = replace(job, ways=ways, overlap=leaf.overlap)
            needs, key = method.needs(asked, job.rounds), (cut, placement, family_of(asked))
            if key not in below:
                below[key] = needs, {name: least(name, needs, job.system) for name in OBJECTIVES}
            assert below[key][0] == needs
            if leaf.overlap == "none":
                for name in OBJECTIVES:
                    found = evaluate(leaf, method, job, name, Limits())
                    assert isinstance(found, str) or (found is not None and found.value >= below[key][1][name])


def test_overlap_is_never_later(mission: Mission, space: Space) -> None:
    place = next(space.places())
    method, job = job_at(mission, place, Limits())
    times = {leaf: evaluate(leaf, method, job, "time", Limits()) for leaf in space.leaves(place)}
    for leaf, found in times.items():
        plain = times[replace(leaf, overlap="none")]
        assert isinstance(found, Found) and isinstance(plain, Found) and found.value <= plain.value


def test_a_point_is_given_up_only_if_it_cannot_win(mission: Mission, space: Space) -> None:
    place = next(space.places())
    method, job = job_at(mission, place, Limits())
    full = evaluate(place, method, job, "time", Limits())
    assert isinstance(full, Found)
    assert evaluate(place, method, job, "time", Limits(), below=full.value * 1.001) == full
    assert evaluate(place, method, job, "time", Limits(), below=full.value / 2.0) is None


@pytest.fixture(scope="module")
def streamed() -> Mission:
    """Waits for a station more than it does anything else, so cuts into micro-batches differ by little."""
    sets = ("train.rounds=1", "train.batch_size=32", "train.local_steps=1", "train.trains=head", "data.dataset=none",
            "data.num_classes=7", "data.samples_per_satellite=32", "links.downlink_rate_mbps=10",
            "links.isl_intra_rate_mbps=10", "satellite.sustained_gflops=10", "method.satellite_ground=direct",
            "method.overlap=stream", "model.cut_after_block=1")  # fmt: skip
    return prepare(load("tiny", sets))


def test_giving_up_changes_no_value(streamed: Mission) -> None:
    """Of a point with several cuts into micro-batches, of which some are given up."""
    point = Point.of(streamed.scenario)
    method, job = job_at(streamed, point, Limits())
    full = evaluate(point, method, job, "time", Limits())
    assert isinstance(full, Found)
    shares = (0.9, 1.0 - 1e-6, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 1.0 + 1e-6, 1.1)
    found = [evaluate(point, method, job, "time", Limits(), below=full.value * share) for share in shares]
    assert found[0] is None and found[-1] == full
    assert all(one is None or one == full for one in found)
    assert all(isinstance(one, Found) for one, share in zip(found, shares, strict=True) if share > 1.0)


def test_among_equals_the_scenario_stays_as_it_is(streamed: Mission) -> None:
    """Here both ways between planes give one and the same plan."""
    own = Point.of(streamed.scenario)
    whole = space_of(streamed)
    values = {name: (getattr(own, name),) for name in whole.values} | {"inter_orbit": ("mixed_tree", "earliest_tree")}
    answer = Search(streamed, replace(whole, values=values), Limits(), "time").run()
    assert answer.best is not None and answer.best.point == own
    again = plan_only(own.applied(streamed.scenario), [own.method])[0]
    assert answer.best.value == again["time_s"]


def test_without_time_the_gap_is_given(mission: Mission, space: Space) -> None:
    answer = Search(mission, space, Limits(), "time").run(budget_s=0.0)
    proven = Search(mission, space, Limits(), "time").run()
    assert answer.best is not None and proven.best is not None
    assert answer.best.point == replace(Point.of(mission.scenario), overlap="stream")
    assert answer.least <= proven.best.value <= answer.best.value
    assert answer.tally.total == proven.tally.total
    assert answer.gap == pytest.approx(1.0 - answer.least / answer.best.value)


def test_energy_and_memory_are_kept_to(played: Everything, mission: Mission, space: Space) -> None:
    frugal = Search(mission, space, Limits(), "energy").run()
    assert frugal.best is not None
    fits = Search(mission, space, Limits(energy_j=frugal.best.value), "time").run()
    within = [worth(cut, timeline, mission, "time", (), frugal.best.value) for cut, timeline in played]
    assert fits.best is not None and fits.best.value == min(within)
    assert any(why.startswith("energy: needs") for why in fits.tally.excluded)
    nothing = Search(mission, space, Limits(energy_j=frugal.best.value * 0.999), "time").run()
    assert nothing.best is None and nothing.proven and sum(nothing.tally.excluded.values()) > 0
    tiny = Search(mission, space, Limits(memory_bytes=1e3), "time").run()
    assert tiny.best is None and any("memory" in why for why in tiny.tally.excluded)


def test_what_the_checker_rejects_is_one_point_that_cannot_be_had(
    path: Path, mission: Mission, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is planned without the search."""

    def plan_method(there: Mission, method: str) -> Planned:
        if there.scenario.model.cut_after_block == 2:
            raise TimelineRejected("twice", "sent once more")
        return plans.plan_method(there, method)

    monkeypatch.setattr("benchmarks.choose.plan_method", plan_method)
    values = {name: found if name == "cut" else found[:1] for name, found in space.values.items()}
    (_, planned), (cut, rejected) = every_timeline(path, mission, values)
    assert isinstance(planned, Timeline) and isinstance(rejected, TimelineRejected)
    assert worth(cut, rejected, mission, "time") == inf


def test_unknown_objective_is_refused(mission: Mission, space: Space) -> None:
    with pytest.raises(InputError, match="time, bytes, energy"):
        Search(mission, space, Limits(), "beauty")


def test_job_of_a_place_that_cannot_be(mission: Mission, space: Space) -> None:
    place = replace(next(space.places()), trains="encoder", cache="features")
    with pytest.raises(PlanError, match="cache"):
        job_at(mission, place, Limits())

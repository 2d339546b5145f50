"""The page "Add a strategy of your own": its example is taken from the page as it stands, registered, and judged."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategy_worlds import HORIZON_S, both_ways, ring_rows, system
from test_inter_orbit import accept, models, run, worlds

from orbitune.cost.system import System
from orbitune.errors import PlanError
from orbitune.plans import plan_only
from orbitune.scenario.load import load
from orbitune.strategies import inter_orbit
from orbitune.timeline.simulate import HorizonEnd, Schedule

LONGEST = 40
"""The page promises something short: lines of the example that are not blank."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def page(repository: Path) -> Path:
    return repository / "docs" / "add-a-strategy.md"


@pytest.fixture(scope="module")
def name(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example in a file of its own and its line carried out, as the page says; taken back at the end."""
    source, line = blocks(page, "python")
    way = re.findall(r'"(\w+)"', line)[0]
    path = tmp_path_factory.mktemp("own") / f"{way}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(way, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[way] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    exec(line, {"WAYS": inter_orbit.WAYS, way: getattr(module, way)})
    yield way
    del inter_orbit.WAYS[way], sys.modules[way]


def test_the_example_is_short(page: Path) -> None:
    source, line = blocks(page, "python")
    assert len([row for row in source.splitlines() if row.strip()]) <= LONGEST
    assert len(line.splitlines()) == 1


@given(sky=worlds(), size=st.integers(1, 5000), data=st.data())
def test_the_example_passes_the_conformance_list(name: str, sky: System, size: int, data: st.DataObject) -> None:
    held = models(sky, size, [data.draw(st.floats(0, 40)) for _ in sky.nodes.planes])
    schedule, again = Schedule(sky), Schedule(sky)
    try:
        got = run(schedule, held, name)
    except HorizonEnd:
        return
    assert got == run(again, held, name) and schedule.activities == again.activities
    accept(schedule, held, got)


def test_the_example_takes_the_time_that_one_can_work_out(name: str) -> None:
    """Two planes of two, 1 s a hop: one hop to the hub, then three satellites get it, the last after two hops."""
    rings = [[0, 1], [2, 3]]
    rows = [row for ring in rings for row in ring_rows(ring, 8e3, 0.0)]
    rows += both_ways(0, 2, "isl_inter", 0.0, HORIZON_S, 8e3, 0.0)
    schedule = Schedule(system(rings, 0, rows))
    held = models(schedule.system, 1000, [0.0, 0.0])
    got = run(schedule, held, name)
    accept(schedule, held, got)
    assert {satellite: round(part.since_s, 6) for satellite, part in got.items()} == {0: 1.0, 1: 2.0, 2: 2.0, 3: 3.0}


def test_the_example_says_what_it_cannot_do(name: str) -> None:
    rows = [row for ring in ([0, 1], [2, 3]) for row in ring_rows(ring, 8e3, 0.0)]
    apart = Schedule(system([[0, 1], [2, 3]], 1, rows))
    with pytest.raises(PlanError, match=f'"{name}" cannot combine them') as refused:
        run(apart, models(apart.system, 10, [0.0, 0.0]), name)
    assert not isinstance(refused.value, HorizonEnd)
    late = Schedule(system([[0, 1], [2, 3]], 1, [*rows, *both_ways(1, 2, "isl_inter", 0.0, 50.0, 8e3, 0.0)]))
    with pytest.raises(HorizonEnd, match="lengthen"):
        run(late, models(late.system, 10, [60.0, 60.0]), name)


def test_the_example_plans_a_scenario_that_the_checker_accepts_and_the_bound_measures(name: str, page: Path) -> None:
    assert f'inter_orbit = "{name}"' in blocks(page, "toml")[0]
    scenario = load("tiny", ("train.rounds=1",))
    scenario = replace(scenario, method=replace(scenario.method, inter_orbit=name))
    (row,) = plan_only(scenario, ["collaborative"])
    assert row["verified"] and row["stopped"] == ""
    assert 0.0 < row["bound_s"] <= row["time_s"]

"""What `--vary` takes, and the order of the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.errors import InputError, RunError, ScenarioError
from orbitune.sweep.grid import Axis, count, parse_axes, parse_axis, points
from orbitune.sweep.request import Request, request_of


def test_lists_ranges_and_logarithmic_ranges() -> None:
    assert parse_axis("links.downlink_rate_mbps=1,10,100").values() == [1, 10, 100]
    assert parse_axis("links.downlink_rate_mbps=1:2:3") == Axis(
        "links.downlink_rate_mbps", ("1.0", "1.5", "2.0"), "linear"
    )
    assert parse_axis("satellite.sustained_gflops = log:1:1000:4").values() == [1.0, 10.0, 100.0, 1000.0]
    assert parse_axis("method.codec=fp32,fp16").texts == ("fp32", "fp16")
    assert parse_axis("time.start_utc=2025-03-20T00:00:00Z").texts == ("2025-03-20T00:00:00Z",)
    assert parse_axis('model.cut_points=["a","b"],["a"]').texts == ('["a","b"]', '["a"]')


def test_whole_numbers_stay_whole_and_come_once() -> None:
    assert parse_axis("train.local_steps=log:1:10:8").texts == ("1", "2", "3", "4", "5", "7", "10")


@given(st.floats(1e-3, 1e3), st.floats(1.001, 1e4), st.integers(2, 40))
def test_a_range_keeps_its_ends_and_its_steps(low: float, times: float, number: int) -> None:
    high = low * times
    linear = numbers(f"{low!r}:{high!r}:{number}")
    log = numbers(f"log:{low!r}:{high!r}:{number}")
    assert (linear[0], linear[-1]) == (log[0], log[-1]) == (low, high)
    np.testing.assert_allclose(linear, np.linspace(low, high, number), rtol=1e-9)
    np.testing.assert_allclose(log, np.geomspace(low, high, number), rtol=1e-9)


def numbers(spec: str) -> list[float]:
    """The values of a range."""
    return [float(value) for value in parse_axis(f"links.downlink_rate_mbps={spec}").values()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.rounds", "KEY=SPEC"),
        ("train.rounds=", "KEY=SPEC"),
        ("satellite.memory_gb=1:2", "no range"),
        ("satellite.memory_gb=2:1:3", "goes up"),
        ("satellite.memory_gb=1:2:1", "2 to"),
        ("satellite.memory_gb=log:0:2:3", "begins above 0"),
    ],
)
def test_a_wrong_spec_says_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_axis(text)


def test_a_grid_has_one_of_each_key_and_an_end() -> None:
    with pytest.raises(InputError, match="nothing is varied"):
        parse_axes([])
    with pytest.raises(InputError, match="given twice"):
        parse_axes(["train.rounds=1", "train.rounds=2"])
    with pytest.raises(InputError, match="more than"):
        parse_axes(["links.downlink_rate_mbps=1:2:1000", "links.uplink_rate_mbps=1:2:1000"])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_last_key_varies_first_and_every_point_comes_once(sizes: list[int]) -> None:
    axes = [Axis(f"k{n}", tuple(map(str, range(size))), "list") for n, size in enumerate(sizes)]
    found = list(points(axes))
    assert [point.number for point in found] == list(range(count(axes)))
    assert sorted(point.texts for point in found) == [point.texts for point in found]
    assert len({point.texts for point in found}) == math.prod(sizes)


def test_a_value_that_its_key_never_takes_is_refused_at_once() -> None:
    with pytest.raises(ScenarioError, match="downlink_rate_mbps = 0"):
        request_of("tiny", [], parse_axes(["links.downlink_rate_mbps=10,0"]), ("onboard",))
    with pytest.raises(ScenarioError, match="did you mean"):
        request_of("tiny", [], parse_axes(["links.downlink_rate=10"]), ("onboard",))


def test_a_combination_that_contradicts_itself_is_not() -> None:
    axes = parse_axes(["shell.0.planes=2,3", "shell.0.satellites=12,14"])
    request = request_of("tiny", ["method.intra_orbit=none"], axes, ("onboard",))
    assert len(request) == 4


def test_a_request_comes_back_from_its_folder() -> None:
    request = request_of("tiny", [], parse_axes(["train.rounds=1,2"]), ("onboard", "download"))
    assert Request.from_json(request.to_json() | {"schema_version": 1}) == request
    assert request.difference(request) == ""
    with pytest.raises(RunError, match="damaged"):
        Request.from_json({"axes": [{}]})

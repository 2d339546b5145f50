"""Model updates on the link: planned size, and nothing lost for ever."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from torch import Tensor

from orbitune.cost.transfer import UPDATE_CODECS, UPDATE_PERCENT, update_bytes
from orbitune.errors import InputError, RunError
from orbitune.learn.update_codec import REMEMBERS, Compressor

LOSSY = [name for name in UPDATE_CODECS if name != "fp32"]
updates = st.dictionaries(
    st.sampled_from(["head.weight", "head.bias", "blocks.0.query.weight"]),
    arrays(np.float32, array_shapes(max_dims=3), elements=st.floats(-1e6, 1e6, width=32)),
    max_size=3,
)


def update_of(seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {"head.weight": torch.randn(7, 30, generator=source), "head.bias": torch.randn(7, generator=source)}


@given(updates, st.sampled_from(UPDATE_CODECS))
def test_length_is_the_planned_length(values: dict[str, NDArray[np.float32]], name: str) -> None:
    update = {key: torch.from_numpy(value) for key, value in values.items()}
    shapes = [tuple(value.shape) for value in update.values()]
    assert len(Compressor(name).encode(update)) == update_bytes(shapes, name)


def test_a_large_tensor_has_long_places() -> None:
    update = {"weight": torch.randn(300, 300, generator=torch.Generator().manual_seed(1))}
    assert len(Compressor("top1").encode(update)) == update_bytes([(300, 300)], "top1") == 900 * (4 + 4)


@given(updates)
def test_fp32_is_exact(values: dict[str, NDArray[np.float32]]) -> None:
    update = {key: torch.from_numpy(value) for key, value in values.items()}
    compressor = Compressor("fp32")
    arrived = compressor.cross(0, update)
    assert list(arrived) == list(update) and all(torch.equal(arrived[name], update[name]) for name in update)
    assert compressor.state() == {}


@pytest.mark.parametrize("name", sorted(UPDATE_PERCENT))
def test_the_largest_arrive_as_they_are(name: str) -> None:
    sent = update_of(3)["head.weight"]
    arrived = Compressor(name).cross(0, {"w": sent})["w"]
    num_kept = math.ceil(sent.numel() * UPDATE_PERCENT[name] / 100)
    order = np.sort(np.abs(sent.numpy()).ravel())[::-1]
    expected = np.where(np.abs(sent.numpy()) >= order[num_kept - 1], sent.numpy(), 0)
    assert np.array_equal(arrived.numpy(), expected)


@pytest.mark.parametrize("name", LOSSY)
def test_all_that_was_sent_and_is_kept_is_all_there_was(name: str) -> None:
    """Sum of what arrived + residual = sum of the updates (Karimireddy, equation of e_t, summed over t)."""
    compressor = Compressor(name)
    total, arrived = torch.zeros(7, 30, dtype=torch.float64), torch.zeros(7, 30, dtype=torch.float64)
    for step in range(30):
        update = update_of(step)
        total += update["head.weight"].double()
        arrived += compressor.cross(4, update)["head.weight"].double()
    kept = compressor.state().get("4.head.weight", torch.zeros(7, 30))
    assert (name in REMEMBERS) == ("4.head.weight" in compressor.state())
    tolerance = 1e-5 if name in REMEMBERS else 30 * 4 * 2.0**-8
    assert (total - arrived - kept).abs().max() < tolerance


def descent(compressor: Compressor | None, steps: int = 2000) -> float:
    """Distance to the minimum of a badly scaled quadratic after gradient steps sent through a compressor."""
    rates = torch.logspace(-1, 0, 50)
    position = torch.ones(50)
    for _ in range(steps):
        step = {"x": -0.02 * rates * position}
        if compressor is None:
            order = step["x"].abs().argsort(descending=True)
            step["x"][order[1:]] = 0
        else:
            step = compressor.cross(0, step)
        position = position + step["x"]
    return float(position.norm())


def test_memory_brings_small_steps_home() -> None:
    """One value in fifty a step: with memory the small directions, too, go on at their own rate (arXiv:1901.09847)."""
    with_memory = descent(Compressor("top1"))
    plain = descent(Compressor("fp32"))
    assert with_memory < 2 * plain + 0.05
    assert descent(None) > 2 * with_memory


@pytest.mark.parametrize("name", REMEMBERS)
def test_a_resumed_compressor_goes_on_as_if_nothing_had_happened(name: str) -> None:
    one = Compressor(name)
    for satellite in (0, 3):
        one.cross(satellite, update_of(satellite))
    other = Compressor(name)
    other.load(one.state())
    for satellite in (0, 3, 5):
        ours, theirs = one.cross(satellite, update_of(9)), other.cross(satellite, update_of(9))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert one.state().keys() == other.state().keys()


def test_satellites_do_not_share_memory() -> None:
    compressor = Compressor("top10")
    compressor.cross(0, update_of(1))
    alone = Compressor("top10").cross(1, update_of(2))
    assert torch.equal(compressor.cross(1, update_of(2))["head.weight"], alone["head.weight"])


@pytest.mark.parametrize("name", UPDATE_CODECS)
def test_nan_is_refused_and_the_memory_is_safe(name: str) -> None:
    compressor = Compressor(name)
    compressor.cross(0, update_of(1))
    before = {key: value.clone() for key, value in compressor.state().items()}
    wrong = update_of(2)
    wrong["head.bias"][3] = math.nan
    with pytest.raises(RunError, match=r"update of head\.bias"):
        compressor.cross(0, wrong)
    assert all(torch.equal(value, before[key]) for key, value in compressor.state().items())


def test_bytes_are_counted_and_a_foreign_state_is_refused() -> None:
    compressor = Compressor("int8")
    compressor.cross(0, update_of(1))
    compressor.cross(2, update_of(2))
    assert compressor.sent_bytes == 2 * update_bytes([(7, 30), (7,)], "int8")
    with pytest.raises(InputError, match="restore the checkpoint"):
        compressor.load({"weight": torch.zeros(3)})
    with pytest.raises(RunError, match="send it again"):
        compressor.decode(b"123", update_of(1))

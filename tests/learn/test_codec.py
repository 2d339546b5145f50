"""How tensors are written on the link: exact or coarse as promised, and of the planned size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from orbitune.cost.transfer import CODECS, TOKEN_PERCENT, wire_bytes
from orbitune.errors import RunError
from orbitune.learn.codec import Codec, Wire

FP32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
fp32_arrays = arrays(np.float32, array_shapes(max_dims=4), elements=FP32)
token_arrays = arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=FP32)


def sent(values: NDArray[np.float32], codec: str) -> NDArray[np.float32]:
    """What arrives of a batch."""
    like = torch.from_numpy(values)
    arrived = Codec(codec).decode(Codec(codec).encode(like), like)
    assert arrived.shape == like.shape and arrived.dtype == like.dtype
    return np.asarray(arrived.numpy(), dtype=np.float32)


@given(fp32_arrays, st.sampled_from(CODECS))
def test_length_is_the_planned_length(values: NDArray[np.float32], codec: str) -> None:
    payload = Codec(codec).encode(torch.from_numpy(values))
    assert len(payload) == len(values) * wire_bytes(values.shape[1:], codec)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(96, 128), (5, 128), (128,), (16, 8, 8), (70000, 2)])
def test_length_of_real_shapes(shape: tuple[int, ...], codec: str) -> None:
    values = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    assert len(Codec(codec).encode(values)) == 2 * wire_bytes(shape, codec)


@given(token_arrays, st.sampled_from(CODECS), st.data())
def test_a_payload_can_be_cut_between_samples(values: NDArray[np.float32], codec: str, data: st.DataObject) -> None:
    """Micro-batches are byte ranges of the payload of their batch: each must read as its samples alone."""
    first = data.draw(st.integers(0, len(values)))
    batch, payload = torch.from_numpy(values), Codec(codec).encode(torch.from_numpy(values))
    edge = len(payload) // len(values) * first
    arrived = [Codec(codec).decode(part, like) for part, like in (
        (payload[:edge], batch[:first]), (payload[edge:], batch[first:]))]  # fmt: skip
    assert np.array_equal(torch.cat(arrived).numpy(), sent(values, codec))


@given(fp32_arrays)
def test_fp32_is_exact(values: NDArray[np.float32]) -> None:
    assert np.array_equal(sent(values, "fp32"), values)


@pytest.mark.parametrize(
    ("codec", "largest", "half_step", "smallest"),
    [("fp16", 65504.0, 2.0**-11, 2.0**-25), ("bf16", (2 - 2.0**-7) * 2.0**127, 2.0**-8, 2.0**-134)],
)
@given(values=fp32_arrays)
def test_half_numbers_round_to_the_nearest_and_saturate(
    codec: str, largest: float, half_step: float, smallest: float, values: NDArray[np.float32]
) -> None:
    """Half a unit in the last place is 2^-11 (2^-8) of a normal number; below, half of the smallest subnormal."""
    arrived = sent(values, codec).astype(np.float64)
    expected = np.clip(values.astype(np.float64), -largest, largest)
    assert np.all(np.abs(arrived - expected) <= np.maximum(np.abs(expected) * half_step, smallest))


@given(fp32_arrays)
def test_int8_is_within_half_a_step_of_its_row(values: NDArray[np.float32]) -> None:
    """A step is 1/127 of the largest magnitude of the row: a token, a channel, or a whole vector."""
    arrived = sent(values, "int8").astype(np.float64)
    axes = tuple(range(2, values.ndim)) if values.ndim > 2 else tuple(range(1, values.ndim))
    steps = np.abs(values.astype(np.float64)).max(axis=axes, keepdims=True) / 127
    assert np.all(np.abs(arrived - values) <= np.maximum(steps * (0.5 + 1e-4), np.finfo(np.float32).tiny))


def test_int8_rows_do_not_disturb_each_other() -> None:
    """A token a million times smaller than its neighbour keeps its two digits, gradients of 1e-12 too."""
    values = np.random.default_rng(2).normal(size=(3, 4, 50)).astype(np.float32)
    values *= np.array([1e6, 1.0, 1e-6, 1e-12], np.float32)[:, None]
    error = np.linalg.norm(sent(values, "int8") - values, axis=2) / np.linalg.norm(values, axis=2)
    assert np.all(error < 0.01)


@given(token_arrays, st.sampled_from(sorted(TOKEN_PERCENT)))
def test_top_tokens_arrive_and_the_others_are_zero(values: NDArray[np.float32], codec: str) -> None:
    arrived, dense = sent(values, codec), sent(values, "fp16")
    num_kept = math.ceil(values.shape[1] * TOKEN_PERCENT[codec] / 100)
    norms = np.linalg.norm(values.astype(np.float64), axis=2)
    for sample in range(len(values)):
        alike = np.all(arrived[sample] == dense[sample], axis=1)
        empty = ~np.any(arrived[sample], axis=1)
        assert np.all(alike | empty) and alike.sum() >= num_kept
        assert np.all(norms[sample][~alike] <= np.sort(norms[sample])[::-1][num_kept - 1] * (1 + 1e-5))


@pytest.mark.parametrize("shape", [(40, 64), (64, 40)])
def test_low_rank_is_the_truncated_svd(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(4).normal(size=(3, *shape)).astype(np.float32)
    left, singular, right = np.linalg.svd(values.astype(np.float64), full_matrices=False)
    best = (left[:, :, :16] * singular[:, None, :16]) @ right[:, :16]
    arrived = sent(values, "rank16")
    assert np.linalg.norm(arrived - best) < 2e-3 * np.linalg.norm(best)  # two factors rounded to 2^-11
    assert np.linalg.norm(values - arrived) == pytest.approx(np.sqrt((singular[:, 16:] ** 2).sum()), rel=1e-3)


def test_what_has_low_rank_crosses_whole() -> None:
    source = np.random.default_rng(5)
    values = (source.normal(size=(2, 60, 16)) @ source.normal(size=(2, 16, 90))).astype(np.float32)
    assert np.linalg.norm(sent(values, "rank16") - values) < 2e-3 * np.linalg.norm(values)


@pytest.mark.parametrize("codec", ["top50", "top25", "rank16"])
@pytest.mark.parametrize("shape", [(7, 30), (7, 4, 5, 5), (7, 3, 2)])
def test_without_tokens_or_gain_values_go_as_fp16(codec: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(6).normal(size=shape).astype(np.float32)
    if len(shape) != 3 or codec == "rank16":
        assert np.array_equal(sent(values, codec), sent(values, "fp16"))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_models_keep_their_type(codec: str, dtype: torch.dtype) -> None:
    values = torch.randn(2, 40, 48, generator=torch.Generator().manual_seed(2)).to(dtype)
    arrived = Codec(codec).decode(Codec(codec).encode(values), values)
    assert arrived.dtype == dtype and arrived.shape == values.shape


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_by_name(codec: str, wrong: float) -> None:
    values = torch.zeros(2, 3, 4)
    values[1, 2, 0] = wrong
    wire = Wire(Codec(codec))
    with pytest.raises(RunError, match="1 of 24 values of the feature gradient are not finite"):
        wire.cross("feature_gradient", values)
    assert not any(wire.sent_bytes.values())


@pytest.mark.parametrize("codec", CODECS)
def test_a_payload_of_the_wrong_length_is_refused(codec: str) -> None:
    values = torch.ones(2, 40, 48)
    with pytest.raises(RunError, match="send it again"):
        Codec(codec).decode(Codec(codec).encode(values)[:-1], values)


def test_float64_models_send_float64() -> None:
    sent = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    assert torch.equal(Codec("fp32").decode(Codec("fp32").encode(sent), sent), sent)


def test_strided_and_empty_tensors_cross() -> None:
    wire = Wire(Codec("fp32"))
    sent = torch.arange(6.0).view(2, 3).T
    assert torch.equal(wire.cross("feature", sent), sent)
    assert wire.cross("feature", torch.zeros(0, 3)).shape == (0, 3)
    assert wire.sent_bytes["feature"] == 24

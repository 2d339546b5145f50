"""Sizes on the link, worked out by hand; what learning really sends is compared in tests/learn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.cost.transfer import CODECS, UPDATE_CODECS, update_bytes, wire_bytes

SHAPES = st.lists(st.integers(1, 300), min_size=1, max_size=3).map(tuple)

BY_HAND = {
    "fp32": 96 * 128 * 4,
    "fp16": 96 * 128 * 2,
    "bf16": 96 * 128 * 2,
    "int8": 96 * (128 + 4),
    "top50": 48 * (2 + 128 * 2),
    "top25": 24 * (2 + 128 * 2),
    "rank16": 16 * (96 + 128) * 2,
}
"""Tokens of Galileo nano at 32 pixels, [96, 128]."""


@pytest.mark.parametrize("codec", CODECS)
def test_tokens(codec: str) -> None:
    assert wire_bytes((96, 128), codec) == BY_HAND[codec]


@given(SHAPES, st.sampled_from(CODECS))
def test_no_codec_is_longer_than_fp32_and_its_scales(shape: tuple[int, ...], codec: str) -> None:
    values = 1
    for side in shape:
        values *= side
    assert 0 < wire_bytes(shape, codec) <= 4 * values + 4 * shape[0]


@given(st.integers(1, 100_000), st.sampled_from(CODECS))
def test_a_number_of_values_is_a_vector(values: int, codec: str) -> None:
    assert wire_bytes(float(values), codec) == wire_bytes((values,), codec)


@given(st.lists(SHAPES, max_size=4), st.sampled_from(UPDATE_CODECS))
def test_an_update_is_the_sum_of_its_tensors(shapes: list[tuple[int, ...]], codec: str) -> None:
    assert update_bytes(shapes, codec) == sum(update_bytes([shape], codec) for shape in shapes)


def test_updates() -> None:
    """A head of 5 classes on 128 features: weight [5, 128] and bias [5]."""
    shapes = [(5, 128), (5,)]
    assert update_bytes(shapes, "fp32") == 645 * 4
    assert update_bytes(shapes, "fp16") == update_bytes(shapes, "bf16") == 645 * 2
    assert update_bytes(shapes, "int8") == 645 + (5 + 1) * 4
    assert update_bytes(shapes, "top10") == (64 + 1) * (2 + 4)
    assert update_bytes(shapes, "top1") == (7 + 1) * (2 + 4)
    assert update_bytes([(1000, 1000)], "top1") == 10_000 * (4 + 4)

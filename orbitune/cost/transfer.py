"""How many bytes a tensor takes on a link, for planning; `learn.codec` and `learn.update_codec` send exactly these.

Both sides know the shape of every tensor from the plan, so only what they cannot know is sent: the values, the scales
of int8, the places of what is left out. A sample's tensor is a vector (D,), tokens (N, D) or maps (D, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

VALUE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
"""Bytes per value of the codecs that send every value by itself: binary32 and binary16 of IEEE 754-2019, table 3.5,
and bfloat16, the upper half of a binary32."""

SCALE_BYTES = 4
"""int8 sends the scale of each row as binary32: gradients reach far below what a half number can hold."""

TOKEN_PERCENT = {"top50": 50, "top25": 25}
"""Share of a sample's tokens that is sent, those with the largest norm; our choice: a half and a quarter."""

RANKS = {"rank16": 16}
"""Rank that is sent of a sample's tokens; our choice: an eighth of the 128 columns of the smallest model shipped."""

UPDATE_PERCENT = {"top10": 10, "top1": 1}
"""Share of a tensor's values that is sent; our choice, milder than the 0.1 % of Lin et al. (arXiv:1712.01887)."""

CODECS = (*VALUE_BYTES, "int8", *TOKEN_PERCENT, *RANKS)
"""How activations and their gradients can be written."""

UPDATE_CODECS = (*VALUE_BYTES, "int8", *UPDATE_PERCENT)
"""How model updates can be written."""

Shape = tuple[int, ...]


def wire_bytes(shape: Shape | float, codec: str) -> float:
    """Bytes of one sample's tensor under a codec of `CODECS`.

    Args:
        shape: Of one sample, without the batch; a plain number of values stands for a vector of that length.
        codec: "top50", "top25" and "rank16" need tokens (N, D); any other shape goes as fp16.
    """
    whole = shape if isinstance(shape, tuple) else (round(shape),)
    values = math.prod(whole)
    if codec in VALUE_BYTES:
        return float(values * VALUE_BYTES[codec])
    if codec == "int8":
        return float(values + SCALE_BYTES * num_rows(whole))
    if (kept := kept_tokens(whole, codec)) is not None:
        return float(kept * (index_bytes(whole[0]) + whole[1] * VALUE_BYTES["fp16"]))
    if (rank := kept_rank(whole, codec)) is not None:
        return float(rank * sum(whole) * VALUE_BYTES["fp16"])
    assert codec in CODECS, codec
    return float(values * VALUE_BYTES["fp16"])


def update_bytes(shapes: Iterable[Shape | float], codec: str) -> float:
    """Bytes of a model update: the tensors of these shapes, each under a codec of `UPDATE_CODECS`.

    The values of "top10" and "top1" are binary32, each with its place in the flattened tensor.
    """
    assert codec in UPDATE_CODECS, codec
    if codec not in UPDATE_PERCENT:
        return sum(wire_bytes(shape, codec) for shape in shapes)
    sizes = [math.prod(shape) if isinstance(shape, tuple) else round(shape) for shape in shapes]
    return float(sum(kept_values(size, codec) * (index_bytes(size) + VALUE_BYTES["fp32"]) for size in sizes))


def num_rows(shape: Shape) -> int:
    """Rows that have a scale of their own: the first axis (a token, a channel, an output); a vector is one row."""
    return shape[0] if len(shape) > 1 else 1


def kept_tokens(shape: Shape, codec: str) -> int | None:
    """How many of a sample's N tokens are sent, rounded up; None where the codec does not choose tokens."""
    if codec not in TOKEN_PERCENT or len(shape) != 2:
        return None
    return -(-shape[0] * TOKEN_PERCENT[codec] // 100)


def kept_rank(shape: Shape, codec: str) -> int | None:
    """Rank of the two factors (N, r) and (r, D) that are sent; None where they would not be smaller than all values."""
    if codec not in RANKS or len(shape) != 2:
        return None
    rank = min(RANKS[codec], *shape)
    return rank if rank * sum(shape) < math.prod(shape) else None


def kept_values(size: int, codec: str) -> int:
    """How many of a tensor's `size` values are sent, rounded up: at least one of any tensor that is not empty."""
    return -(-size * UPDATE_PERCENT[codec] // 100)


def index_bytes(size: int) -> int:
    """Bytes of a place among `size`: an unsigned 16-bit number where it fits, else 32 bits."""
    return 2 if size <= 1 << 16 else 4

"""Tensors as little-endian bytes and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from orbitune.errors import RunError

Layout = Sequence[tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of each tensor in a payload, in order."""

_LITTLE_ENDIAN = {
    torch.float64: "<f8",
    torch.float32: "<f4",
    torch.float16: "<f2",
    torch.bfloat16: "<i2",  # NumPy has no bfloat16: its bits travel as an integer
    torch.int8: "<i1",
    torch.uint16: "<u2",
    torch.int32: "<i4",
}


def to_bytes(tensors: Iterable[Tensor]) -> bytes:
    """The values of each tensor in row-major order, one tensor after the other."""
    return b"".join(_values(tensor).tobytes() for tensor in tensors)


def to_records(tensors: Sequence[Tensor]) -> bytes:
    """The same of tensors [n, ...], sample after sample, so that any range of whole samples can be cut out.

    What several samples are written as is what each is written as, one after the other.
    """
    if len(tensors) == 1 or len(tensors[0]) == 0:
        return to_bytes(tensors)
    rows = [np.frombuffer(_values(tensor).tobytes(), np.uint8).reshape(len(tensor), -1) for tensor in tensors]
    return np.concatenate(rows, axis=1).tobytes()


def _values(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    plain = tensor.detach().cpu()
    bits = plain.contiguous().view(torch.int16) if plain.dtype == torch.bfloat16 else plain
    written: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = bits.numpy()
    return written.astype(_LITTLE_ENDIAN[tensor.dtype], copy=False)


def from_bytes(payload: bytes, layout: Layout) -> list[Tensor]:
    """New tensors on the CPU.

    Raises:
        RunError: The payload is not as long as the layout says.
    """
    sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in layout]
    if sum(sizes) != len(payload):
        raise RunError(f"a payload of {len(payload)} bytes arrived where {sum(sizes)} were expected; send it again")
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return [_read(payload, start, dtype, shape) for start, (dtype, shape) in zip(starts, layout, strict=True)]


def from_records(payload: bytes, layout: Layout) -> list[Tensor]:
    """New tensors [n, ...] on the CPU from what `to_records` wrote; raises what `from_bytes` raises."""
    count = layout[0][1][0]
    sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in layout]
    if len(layout) == 1 or count == 0 or sum(sizes) != len(payload):
        return from_bytes(payload, layout)
    rows = np.frombuffer(payload, np.uint8).reshape(count, -1)
    edges = np.cumsum([size // count for size in sizes[:-1]])
    return from_bytes(b"".join(part.tobytes() for part in np.split(rows, edges, axis=1)), layout)


def _read(payload: bytes, start: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    stored = np.dtype(_LITTLE_ENDIAN[dtype])
    values = np.frombuffer(payload, stored, math.prod(shape), start).astype(stored.newbyteorder("="))
    return torch.from_numpy(values).view(dtype).view(shape)

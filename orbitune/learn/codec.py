"""The link as learning sees it: tensors become bytes, are counted, and become tensors again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PAYLOAD_KINDS = ("embedding", "feature", "feature_gradient", "embedding_gradient")
"""All that may cross the cut, named as payloads of a timeline. Images and labels are not among them."""

FP16_MAX = 65504.0
"""Largest finite binary16 number (IEEE 754-2019, table 3.5): (2 - 2^-10) x 2^15."""

WIRE_TYPES = {"fp32": "<f4", "fp16": "<f2"}
"""Little-endian layout of each codec, as NumPy writes it."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How values are written on the link; both sides know the shape from the plan, so only values are sent.

    "fp32" is exact. "fp16" rounds to nearest and saturates at +-65504 where the value is larger. A float64 model
    (tests compare such with their oracle) sends "fp32" in float64, so that the codec stays exact there.
    """

    name: str

    def encode(self, tensor: Tensor) -> bytes:
        """The values in row-major order, little endian."""
        values = tensor.detach()
        if self.name == "fp16":
            values = values.clamp(-FP16_MAX, FP16_MAX)
        written: bytes = values.cpu().numpy().astype(self._layout(tensor.dtype)).tobytes()
        return written

    def decode(self, payload: bytes, like: Tensor) -> Tensor:
        """A new tensor with the shape, dtype and device of `like` and the values that were sent."""
        values = np.frombuffer(payload, self._layout(like.dtype)).reshape(like.shape)
        return torch.from_numpy(values.astype(np.float64 if like.dtype == torch.float64 else np.float32)).to(
            like.device
        )

    def _layout(self, dtype: torch.dtype) -> str:
        exact_float64 = self.name == "fp32" and dtype == torch.float64
        return "<f8" if exact_float64 else WIRE_TYPES[self.name]


class Wire:
    """Everything that passes between satellites and server goes through `cross`, and is counted.

    Attributes:
        codec: How values are written.
        sent_bytes: Bytes sent so far, by payload kind.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.sent_bytes = dict.fromkeys(PAYLOAD_KINDS, 0)

    def cross(self, kind: str, tensor: Tensor) -> Tensor:
        """Send a tensor to the other side of the cut: what arrives is detached and as coarse as the codec."""
        payload = self.codec.encode(tensor)
        self.sent_bytes[kind] += len(payload)
        return self.codec.decode(payload, tensor)

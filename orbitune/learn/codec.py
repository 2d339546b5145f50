"""The link as learning sees it: tensors become bytes, are counted, and become tensors again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from orbitune.cost.transfer import CODECS, index_bytes, kept_rank, kept_tokens, num_rows
from orbitune.errors import RunError
from orbitune.learn.tensor_bytes import Layout, from_records, to_records

PAYLOAD_KINDS = (
    "embedding",
    "feature",
    "feature_gradient",
    "embedding_gradient",
    "activation",
    "activation_gradient",
)
"""All that may cross a cut, named as payloads of a timeline; the last two pass between the nodes of a pipelined
encoder. Images and labels are not among them."""

INT8_MAX = 127
"""Largest step of symmetric int8; -128 is not used, so that a value and its negative are equally coarse
(Jacob et al., arXiv:1712.05877, section 3.1 and appendix B, for weights)."""


class Format(Protocol):
    """How a batch of tensors [n, *shape] is laid out on the wire."""

    def layout(self, count: int, shape: tuple[int, ...]) -> Layout:
        """Type and shape of all that is sent."""

    def write(self, values: Tensor) -> list[Tensor]:
        """What is sent, of that layout."""

    def read(self, sent: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Values [n, *shape] as the receiver has them."""


@dataclass(frozen=True, slots=True)
class EveryValue:
    """Each value by itself, rounded to nearest; beyond the largest finite number it saturates."""

    dtype: torch.dtype

    def layout(self, count: int, shape: tuple[int, ...]) -> Layout:
        """All values."""
        return [(self.dtype, (count, *shape))]

    def write(self, values: Tensor) -> list[Tensor]:
        """Clamped where the type is narrower than that of the values."""
        return [narrow(values, self.dtype)]

    def read(self, sent: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """As they came."""
        return sent[0]


@dataclass(frozen=True, slots=True)
class Int8:
    """Symmetric 8-bit steps of 1/127 of the largest magnitude in a row; a row is what `num_rows` says."""

    def layout(self, count: int, shape: tuple[int, ...]) -> Layout:
        """Scale of every row, and all steps."""
        return [(torch.float32, (count, num_rows(shape), 1)), (torch.int8, (count, *shape))]

    def write(self, values: Tensor) -> list[Tensor]:
        """Steps rounded to nearest; a row of zeros has scale zero."""
        rows = _rows(narrow(values, torch.float32))
        scales = _largest_magnitude(rows) / INT8_MAX
        steps = (rows / scales.clamp_min(torch.finfo(torch.float32).tiny)).round_().clamp_(-INT8_MAX, INT8_MAX)
        return [scales, steps.to(torch.int8).view(values.shape)]

    def read(self, sent: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Steps times scale."""
        scales, steps = sent
        return (_rows(steps.float()) * scales).view(-1, *shape) if steps.numel() else steps.float()


def _rows(values: Tensor) -> Tensor:
    """Batch [n, *shape] as [n, rows, values of a row]."""
    count, shape = len(values), tuple(values.shape[1:])
    return values.reshape(count, num_rows(shape), math.prod(shape) // max(num_rows(shape), 1))


def _largest_magnitude(rows: Tensor) -> Tensor:
    """Of each row [n, rows, 1]; 0 where a row is empty."""
    if rows.numel() == 0:
        return rows.new_zeros(*rows.shape[:2], 1)
    low, high = torch.aminmax(rows, dim=2, keepdim=True)
    return torch.maximum(high, -low)


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The `kept` tokens of each sample with the largest norm, as fp16 with their places; the others arrive as zero.

    Source: the largest entries of what crosses the cut, as in Zheng et al., arXiv:2305.18469, section 3, here whole
    tokens. The gradient that comes back is not masked: it is sent for the tokens where it is largest itself.
    """

    kept: int

    def layout(self, count: int, shape: tuple[int, ...]) -> Layout:
        """Places, rising, and tokens."""
        place = torch.uint16 if index_bytes(shape[0]) == 2 else torch.int32
        return [(place, (count, self.kept)), (torch.float16, (count, self.kept, shape[1]))]

    def write(self, values: Tensor) -> list[Tensor]:
        """Among tokens of equal norm the first ones."""
        norms = torch.linalg.vector_norm(values, dim=2)
        places = norms.argsort(dim=1, descending=True, stable=True)[:, : self.kept].sort(dim=1).values
        tokens = values.gather(1, places[:, :, None].expand(-1, -1, values.shape[2]))
        place = torch.uint16 if index_bytes(values.shape[1]) == 2 else torch.int32
        return [places.to(place), narrow(tokens, torch.float16)]

    def read(self, sent: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Zeros with the tokens at their places."""
        places, tokens = sent[0].long(), sent[1].float()
        places = places[:, :, None].expand(-1, -1, shape[1])
        return tokens.new_zeros(len(tokens), *shape).scatter_(1, places, tokens)


@dataclass(frozen=True, slots=True)
class LowRank:
    """The truncated singular value decomposition of each sample's [N, D] matrix, as two fp16 factors.

    Best of all matrices of that rank (Eckart and Young, Psychometrika 1 (1936)). Found through the eigenvectors of the
    smaller Gram matrix in float64, without random projections, so equal inputs give equal bytes.
    """

    rank: int

    def layout(self, count: int, shape: tuple[int, ...]) -> Layout:
        """Factors [n, N, r] and [n, r, D]."""
        return [(torch.float16, (count, shape[0], self.rank)), (torch.float16, (count, self.rank, shape[1]))]

    def write(self, values: Tensor) -> list[Tensor]:
        """The orthonormal factor is that of the shorter side; the other one carries the singular values."""
        wide = values.shape[1] <= values.shape[2]
        matrices = (values if wide else values.mT).double()
        _, vectors = torch.linalg.eigh(matrices @ matrices.mT)  # rising eigenvalues
        left = vectors[:, :, -self.rank :]
        right = left.mT @ matrices
        factors = (left, right) if wide else (right.mT, left.mT)
        return [narrow(factor, torch.float16) for factor in factors]

    def read(self, sent: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Their product."""
        return sent[0].float() @ sent[1].float()


def narrow(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values in another floating type, saturated at its largest finite number."""
    limit = torch.finfo(dtype).max
    return (values.clamp(-limit, limit) if limit < torch.finfo(values.dtype).max else values).to(dtype)


DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Codec:
    """How a batch of tensors is written on the link; both sides know the shapes from the plan.

    A float64 model (tests compare such with their oracle) sends "fp32" in float64, so that the codec stays exact
    there; all other codecs are as coarse for it as for a float32 model.

    Attributes:
        name: One of `cost.transfer.CODECS`; sizes are those of `cost.transfer.wire_bytes`. "top50", "top25" and
            "rank16" need tokens [n, N, D]; any other tensor goes as fp16.
    """

    name: str

    def __post_init__(self) -> None:
        assert self.name in CODECS, self.name

    def encode(self, tensor: Tensor, kind: str = "tensor") -> bytes:
        """What is sent of a batch [n, *shape], sample after sample, little endian.

        Raises:
            RunError: The `kind` of payload, named in the message, holds values that are not finite.
        """
        refuse_not_finite(kind, tensor)
        values = tensor.detach()
        values = values if values.dtype == torch.float64 else values.float()
        return to_records(self._format(values).write(values))

    def decode(self, payload: bytes, like: Tensor) -> Tensor:
        """A new tensor with the shape, dtype and device of `like` and the values that were sent.

        Raises:
            RunError: The payload has another length than that of such a tensor.
        """
        form, shape = self._format(like), tuple(like.shape[1:])
        sent = [part.to(like.device) for part in from_records(payload, form.layout(len(like), shape))]
        return form.read(sent, shape).to(like.dtype)

    def _format(self, tensor: Tensor) -> Format:
        shape = tuple(tensor.shape[1:])
        if self.name == "fp32" and tensor.dtype == torch.float64:
            return EveryValue(torch.float64)
        if self.name == "int8":
            return Int8()
        if (kept := kept_tokens(shape, self.name)) is not None:
            return TopTokens(kept)
        if (rank := kept_rank(shape, self.name)) is not None:
            return LowRank(rank)
        return EveryValue(DTYPES.get(self.name, torch.float16))


def refuse_not_finite(kind: str, tensor: Tensor) -> None:
    """Stop before a value that is no number spreads.

    Raises:
        RunError: It is there.
    """
    if tensor.numel() == 0:
        return
    low, high = torch.aminmax(tensor.detach())  # both are NaN where any value is
    if not (math.isfinite(low) and math.isfinite(high)):
        wrong = int((~tensor.isfinite()).sum())
        raise RunError(
            f"{wrong} of {tensor.numel()} values of the {kind.replace('_', ' ')} are not finite; nothing was sent. "
            "Training diverged: lower train.learning_rate, or go back to the last checkpoint"
        )


class Noise(Protocol):
    """What a satellite may do to a tensor before it leaves; see `orbitune.learn.privacy.noise`."""

    def apply(self, kind: str, tensor: Tensor, position: int) -> Tensor:
        """The tensor to send; `position` counts what was sent of this kind before, so that a resumed run goes on."""


class Wire:
    """Everything that passes between satellites and server goes through `cross`, and is counted.

    Attributes:
        codec: How values are written.
        noise: What is added before, if anything.
        sent_bytes: Bytes sent so far, by payload kind.
    """

    def __init__(self, codec: Codec, noise: Noise | None = None) -> None:
        self.codec = codec
        self.noise = noise
        self.sent_bytes = dict.fromkeys(PAYLOAD_KINDS, 0)

    def cross(self, kind: str, tensor: Tensor) -> Tensor:
        """Send a batch of tensors to the other side of the cut: what arrives is detached and as coarse as the codec.

        Raises:
            RunError: A value is not finite.
        """
        sent = tensor
        if self.noise is not None:
            refuse_not_finite(kind, tensor)
            sent = self.noise.apply(kind, tensor.detach(), self.sent_bytes[kind])
        payload = self.codec.encode(sent, kind)
        self.sent_bytes[kind] += len(payload)
        return self.codec.decode(payload, tensor)

"""Model updates on the link: changes of weights, tensor by tensor, with a memory of what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orbitune.cost.transfer import UPDATE_CODECS, UPDATE_PERCENT, index_bytes, kept_values
from orbitune.errors import InputError
from orbitune.learn.codec import DTYPES, EveryValue, Format, Int8, refuse_not_finite
from orbitune.learn.tensor_bytes import Layout, from_bytes, to_bytes

Update = Mapping[str, Tensor]
"""Changes of weights by tensor name; sent in the order of the names."""

REMEMBERS = ("int8", *UPDATE_PERCENT)
"""Codecs whose error can be as large as a value itself, and so would never be made good without a memory; the half
numbers lose at most 2^-8 of each value."""


@dataclass(frozen=True, slots=True)
class Largest:
    """The `kept` values of a tensor with the largest magnitude, as fp32 with their places; the others arrive as zero.

    Source: Stich et al., arXiv:1809.07599, definition 2.1 (top_k).
    """

    kept: int

    def layout(self, count: int, shape: tuple[int, ...]) -> Layout:
        """Places in the flattened tensor, rising, then values."""
        return [(_place(torch.Size(shape).numel()), (count, self.kept)), (torch.float32, (count, self.kept))]

    def write(self, values: Tensor) -> list[Tensor]:
        """Selection takes time linear in the number of values; among equal magnitudes any may be chosen."""
        flat = values.flatten(1)
        places = flat.abs().topk(self.kept, dim=1, sorted=False).indices.sort(dim=1).values
        return [places.to(_place(flat.shape[1])), flat.gather(1, places).float()]

    def read(self, sent: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Zeros with the values at their places."""
        places, values = sent[0].long(), sent[1]
        return values.new_zeros(len(values), torch.Size(shape).numel()).scatter_(1, places, values).view(-1, *shape)


def _place(size: int) -> torch.dtype:
    return torch.uint16 if index_bytes(size) == 2 else torch.int32


class Compressor:
    """Writes the updates of satellites; what a codec leaves out of one update is added to that satellite's next.

    Error feedback: with residual e and update g, send c = C(g + e) and keep e' = g + e - c (Seide et al.,
    "1-Bit Stochastic Gradient Descent", Interspeech 2014, section 3; Karimireddy et al., arXiv:1901.09847,
    algorithm 2, with the learning rate inside g). It is kept for the codecs of `REMEMBERS`.

    Attributes:
        name: One of `cost.transfer.UPDATE_CODECS`; sizes are those of `cost.transfer.update_bytes`.
        sent_bytes: Bytes sent so far.
    """

    def __init__(self, name: str) -> None:
        assert name in UPDATE_CODECS, name
        self.name = name
        self.sent_bytes = 0
        self._residuals: dict[int, dict[str, Tensor]] = {}

    def cross(self, satellite: int, update: Update) -> dict[str, Tensor]:
        """Send a satellite's update and return what arrives; its residual moves on.

        Raises:
            RunError: A value is not finite; the residual stays as it was.
        """
        kept = self._residuals.get(satellite, {})
        wanted = {
            name: value.detach() + kept[name] if name in kept else value.detach() for name, value in update.items()
        }
        payload = self.encode(wanted)
        arrived = self.decode(payload, wanted)
        self.sent_bytes += len(payload)
        if self.name in REMEMBERS:
            self._residuals[satellite] = {**kept, **{name: wanted[name] - arrived[name] for name in wanted}}
        return arrived

    def encode(self, update: Update) -> bytes:
        """What is sent of an update, little endian, without memory.

        Raises:
            RunError: A value is not finite.
        """
        for name in sorted(update):
            refuse_not_finite(f"update of {name}", update[name])
        written = [self._format(update[name]).write(update[name].detach()[None]) for name in sorted(update)]
        return to_bytes(part for parts in written for part in parts)

    def decode(self, payload: bytes, like: Update) -> dict[str, Tensor]:
        """New tensors with the names, shapes, types and devices of `like`.

        Raises:
            RunError: The payload has another length than that of such tensors.
        """
        layouts = {name: self._format(like[name]).layout(1, tuple(like[name].shape)) for name in sorted(like)}
        parts = iter(from_bytes(payload, [part for layout in layouts.values() for part in layout]))
        sent = {name: [next(parts).to(like[name].device) for _ in layout] for name, layout in layouts.items()}
        read = {name: self._format(like[name]).read(sent[name], tuple(like[name].shape)) for name in layouts}
        return {name: read[name][0].to(like[name].dtype) for name in like}

    def _format(self, tensor: Tensor) -> Format:
        if self.name in UPDATE_PERCENT:
            return Largest(kept_values(tensor.numel(), self.name))
        if self.name == "fp32" and tensor.dtype == torch.float64:
            return EveryValue(torch.float64)  # exact for the float64 models of tests, as `codec.Codec`
        return Int8() if self.name == "int8" else EveryValue(DTYPES[self.name])

    def state(self) -> dict[str, Tensor]:
        """Residuals as tensors for a checkpoint, named "<satellite>.<tensor>"."""
        return {f"{owner}.{name}": value for owner, kept in self._residuals.items() for name, value in kept.items()}

    def load(self, state: Update) -> None:
        """Go on from the residuals of `state`.

        Raises:
            InputError: A name is not one that `state` gives.
        """
        residuals: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            owner, _, name = key.partition(".")
            if not owner.isdecimal() or not name:
                raise InputError(f"update residual '{key}' is not named <satellite>.<tensor>; restore the checkpoint")
            residuals.setdefault(int(owner), {})[name] = value.clone()
        self._residuals = residuals

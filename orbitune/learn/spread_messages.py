"""What the driver of a spread training and its workers tell each other: tensors as safetensors, all else as JSON.

    begin  {"training", "setting": fields of `Setting`, "weights": name} -> {}: what the next shares belong to
    take   {"name", "from", "bytes"}, body a part -> {}: tensors that several shares need, see `Parcel`
    work   {"training", "what", "details", "parcels", "drop", "over"}, body tensors -> {..., "bytes"}, body a part of
           the tensors that come back; see `spread_shares` for what can be asked
    rest   {"from"} -> body: the next part of them

A reply with "error" carries what the training raised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, nn

from orbitune.engine.protocol import Header
from orbitune.errors import InputError, MissingExtra, OrbituneError, PlanError, RunError
from orbitune.imagery.imagery import Selection
from orbitune.learn.aggregate import Tensors
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.spec import LearnSpec

PART_BYTES = 64 * 2**20
"""Largest body of a message. Our choice: a quarter of what engines take, so that a worker with several parts in its
hands, and the engine's own copies of them, stay below one such limit."""

RAISED = {kind.__name__: kind for kind in (InputError, PlanError, RunError, MissingExtra)}
"""Errors that cross as what they are."""


@dataclass(frozen=True)
class Setting:
    """One training, in plain values: what is learned how, by which model, from which images, on how many satellites.

    `name` is its own among all that share workers.
    """

    name: str
    spec: LearnSpec
    model: ModelSpec
    selection: Selection
    num_satellites: int

    @property
    def start(self) -> str:
        """Settings with equal ones start from the same images and weights."""
        fields = self.header()
        return json.dumps([fields["model"], fields["selection"], self.num_satellites, self.spec.seed], sort_keys=True)

    def header(self) -> Header:
        """All of it as JSON values; a folder of images as it is found from anywhere on the same files."""
        folder = self.selection.folder
        fields = asdict(self)
        fields["selection"]["folder"] = None if folder is None else str(folder.resolve())
        return dict(json.loads(json.dumps(fields)))  # lists where there are tuples

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Setting:
        """What `header` wrote."""
        folder = header["selection"]["folder"]
        selection = Selection(**{**header["selection"], "folder": None if folder is None else Path(folder)})
        spec, model = LearnSpec(**_plain(header["spec"])), ModelSpec(**_plain(header["model"]))
        return cls(header["name"], spec, model, selection, header["num_satellites"])


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where our specs have tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


@dataclass(frozen=True, eq=False)
class Parcel:
    """Tensors that several shares of work need. A worker gets them once and keeps them while the driver does."""

    name: str
    body: bytes


@dataclass(frozen=True, eq=False)
class Answer:
    """What comes back of a share of work."""

    header: Header
    tensors: Tensors


def to_body(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors of any device and type."""
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def from_body(body: bytes) -> Tensors:
    """Copies on the CPU, which may be changed."""
    return {name: value.clone() for name, value in load(body).items()}


def below(place: int | str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Those named "PLACE/NAME", by name."""
    start = f"{place}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def at(place: int | str, tensors: Mapping[str, Tensor]) -> Tensors:
    """The same tensors as "PLACE/NAME"."""
    return {f"{place}/{name}": value for name, value in tensors.items()}


def weights_of(model: nn.Module) -> Tensors:
    """All tensors of a model by name, what never trains included; one that is used twice, once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def said(error: OrbituneError) -> Header:
    """An error as a reply."""
    return {"error": [type(error).__name__, str(error)]}


def raise_again(header: Header) -> None:
    """Raise what a reply carries, if anything."""
    if "error" in header:
        kind, words = header["error"]
        raise RAISED.get(kind, RunError)(words)

"""What a host's nodes really do: the border to the learning side, which alone knows torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from orbitune.engine.protocol import Header
from orbitune.errors import InputError
from orbitune.imagery.imagery import Selection
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.spec import LearnSpec
from orbitune.timeline.activity import Activity, Payload

Read = Callable[[Payload], bytes]
"""The bytes of a payload that the node holds."""

LEARNING = "orbitune.learn.nodes:make_work"

RAW = ("image", "label")
"""Kinds of payload whose bytes the learning side has itself."""


class Work(Protocol):
    """The learning of some nodes. All numbers are those of the whole mission; called from one thread."""

    def begin(self, first_round: int, ids: tuple[int, ...], participants: tuple[int, ...]) -> None:
        """A program starts: versions in payloads count from `first_round`."""

    def initial(self, node: int, payload: Payload) -> bytes:
        """Bytes of a payload that is held at the start."""

    def compute(self, node: int, activity: Activity, read: Read) -> Mapping[Payload, bytes]:
        """Do a computation; returns the bytes of each payload that it makes."""

    def merge(self, node: int, activity: Activity, read: Read) -> Mapping[Payload, bytes]:
        """Sum up partial averages."""

    def finish_round(self, node: int, round_index: int, promised: Sequence[Payload], read: Read) -> None:
        """The computations of a round are done at this node, and it holds what was promised: take the average over.

        Rounds count within the program, as versions do."""

    def deliver(self, node: int, payload: Payload) -> bytes:
        """Bytes of an average as weights, for the user; after the last round is finished at this node."""

    def finish_delivery(self, node: int, promised: Sequence[Payload], read: Read) -> None:
        """All that was to be delivered to a node is there."""

    def save(self, node: int) -> bytes:
        """The state of a node between rounds."""

    def load(self, node: int, saved: bytes) -> None:
        """Go back to such a state."""

    def weights(self, node: int) -> bytes:
        """The trained tensors that a node holds, as safetensors."""


def make_work(header: Header) -> Work:
    """The work that a host's header asks for: learning, unless "work" names another "package.module:function"."""
    name = str(header.get("work", LEARNING))
    module, _, function = name.partition(":")
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"work = {name!r}: {error}; give a function as package.module:function") from error
    return cast(Work, make(*_inputs(header)))


def _inputs(header: Header) -> tuple[tuple[int, ...], LearnSpec, ModelSpec, Selection, int]:
    selection = header["selection"]
    folder = selection.get("folder")
    return (
        tuple(header["nodes"]),
        LearnSpec(**_plain(header["spec"])),
        ModelSpec(**_plain(header["model"])),
        Selection(**{**_plain(selection), "folder": None if folder is None else Path(folder)}),
        int(header["num_satellites"]),
    )


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where our specs have tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}

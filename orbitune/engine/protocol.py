"""What every engine does: place a worker on a member, let members call each other with bytes, notice who is gone.

A *member* is a process (or, with the `local` engine, an object) that runs one *worker*. Engines carry a JSON header
and raw bytes; nothing is pickled by us, and nothing here knows what the bytes mean.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

from orbitune.errors import RunError

Header = dict[str, Any]
"""JSON values only: what `json.dumps` writes and reads back the same."""

DRIVER = "driver"
"""Name under which the process that owns the engine calls its members."""

MAX_BODY_BYTES = 256 * 2**20
"""Largest body of one call. Our choice: above the 87 M parameters of ViT-B in half precision (174 MB), and small
enough that a member with 1 GB can hold what a stranger sends. Whoever has more to say says it in several calls."""


class Reply(NamedTuple):
    """What a call returns."""

    header: Header
    body: bytes = b""


class Unreachable(RunError):
    """The member is gone, was never there, or cannot be reached now."""


class TimedOut(RunError):
    """No reply came in time; whether the call was done is unknown, so whoever repeats it must be recognisable."""


class CallFailed(RunError):
    """The worker itself raised; the message is its own."""


class Worker(Protocol):
    """What runs on a member."""

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        """Answer one call. Several may come at once, each in a thread of its own."""

    def close(self) -> None:
        """Stop all threads and let go of everything; called once."""


class Peers(Protocol):
    """How a worker reaches the other members."""

    @property
    def name(self) -> str:
        """Own name; the others see it as sender."""

    def call(
        self, member: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        """Call a member and wait for its reply.

        Args:
            member: Whom.
            method: Which of the worker's methods.
            header: JSON values.
            body: At most `MAX_BODY_BYTES`.
            timeout_s: Real seconds to wait; None is as long as the member lives.

        Raises:
            Unreachable, TimedOut, CallFailed: See there.
        """


class Engine(Peers, Protocol):
    """A group of members. The process that owns it is `DRIVER`."""

    @property
    def kind(self) -> str:
        """ "local", "ray" or "flare"."""

    def place(self, member: str, factory: str, header: Header, body: bytes = b"") -> None:
        """Start a worker as a new member, or anew as one that was lost; returns when it answers.

        Args:
            member: Its name, not in use by a living member.
            factory: "package.module:function"; there, `function(peers, header, body)` returns the worker.
            header, body: For the factory.

        Raises:
            RunError: It cannot be started; the message says why.
        """

    def alive(self, member: str) -> bool:
        """Whether the member's process is there, as far as can be seen from here."""

    def kill(self, member: str) -> None:
        """End the member at once, without asking it, as a fault would."""

    def close(self) -> None:
        """End all members and whatever was started for them; leaves no process and no port."""


def make_worker(factory: str, peers: Peers, header: Header, body: bytes) -> Worker:
    """Find the factory by its name and let it make the worker."""
    module, _, function = factory.partition(":")
    return cast(Worker, getattr(import_module(module), function)(peers, header, body))


def check_message(header: Header, body: bytes) -> None:
    """Refuse what could not travel.

    Raises:
        RunError: The body is too long, or the header does not survive JSON.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RunError(f"a message of {len(body)} bytes; at most {MAX_BODY_BYTES} travel at once, send it in parts")
    if json.loads(json.dumps(header)) != header:
        raise RunError(
            f"header {sorted(header)} holds values that JSON changes; use strings, numbers, lists and objects"
        )

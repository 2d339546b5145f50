"""What a call is on the way, alike for every engine: JSON text and bytes there, JSON text and bytes back."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import NamedTuple, cast

from orbitune.engine.protocol import DRIVER, CallFailed, Header, Reply, Worker, check_message
from orbitune.errors import InputError, OrbituneError


class Outcome(NamedTuple):
    """What comes back: the reply's header as JSON text and its body, or why there is none."""

    done: bool
    text: str
    body: bytes = b""


def pack(header: Header, body: bytes) -> str:
    """The header as the text that travels.

    Raises:
        RunError: The message could not travel, see `check_message`.
    """
    check_message(header, body)
    return json.dumps(header)


def unpack(text: str) -> Header:
    """The header that was packed."""
    return cast(Header, json.loads(text))


def answer(worker: Worker, sender: str, method: str, text: str, body: bytes) -> Outcome:
    """Let the worker handle one call; whatever it raises becomes words."""
    try:
        reply = worker.handle(sender, method, unpack(text), body)
        return Outcome(True, pack(reply.header, reply.body), reply.body)
    except Exception as error:
        return Outcome(False, reason(error))


def reply_of(member: str, method: str, outcome: Outcome) -> Reply:
    """The reply in an outcome.

    Raises:
        CallFailed: The worker raised.
    """
    if not outcome.done:
        raise CallFailed(f"{member}, {method}: {outcome.text}")
    return Reply(unpack(outcome.text), outcome.body)


def reason(error: BaseException) -> str:
    """An error in a line: ours as it is; another's with its kind and the line it came from, for whoever repairs it."""
    if isinstance(error, OrbituneError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def check_name(member: str) -> None:
    """Refuse names that cannot be those of members.

    Raises:
        InputError: It is empty, or the driver's.
    """
    if not member or member == DRIVER:
        raise InputError(f"member {member!r}: give it a name, other than {DRIVER!r}, which is the process that calls")

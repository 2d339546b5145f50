"""Frames between two members of a federation: numbered, and signed with a key that only those two hold.

FLARE encrypts a message for its receiver, but does not tell the receiver's code whether it really did, and recognises
no repetition. So each pair of members agrees on a key when they first speak (see `flare_answers`), and from then on
a frame counts only with the right signature and a number that was not there before.

    4 bytes   length of the text, big endian
    text      JSON object: what the frame is about
    body      raw bytes
    32 bytes  HMAC-SHA256 (RFC 2104) over all before
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, NamedTuple, cast

from orbitune.engine.protocol import MAX_BODY_BYTES
from orbitune.errors import RunError

MAX_TEXT_BYTES = 2**20
"""Largest text of a frame. Our choice: headers are a few hundred bytes, and lists of activities a few ten thousand."""

MAX_FRAME_BYTES = 4 + MAX_TEXT_BYTES + MAX_BODY_BYTES + 32
"""Whatever is longer is refused before it is looked at."""

KEY_BYTES = 32
"""Length of a key: that of the hash, as RFC 2104 section 3 advises."""

WINDOW = 4096
"""How far behind the highest number a frame may be, since calls overtake each other. Our choice: far above the
number of calls that one member has under way."""


class Frame(NamedTuple):
    """What a frame says."""

    fields: dict[str, Any]
    body: bytes


def seal(key: bytes, fields: dict[str, Any], body: bytes = b"") -> bytes:
    """The bytes of a frame.

    Raises:
        RunError: The fields are longer than `MAX_TEXT_BYTES`.
    """
    text = json.dumps(fields).encode()
    if len(text) > MAX_TEXT_BYTES:
        raise RunError(
            f"a header of {len(text)} bytes; at most {MAX_TEXT_BYTES} travel, put large things into the body"
        )
    head = len(text).to_bytes(4, "big") + text
    return b"".join((head, body, _signature(key, head, body)))


def unseal(key: bytes, data: bytes) -> Frame:
    """What a frame says, after its signature was found right.

    Raises:
        RunError: It is no frame, too long, or not signed with this key.
    """
    end = _end_of_text(data)
    view = memoryview(data)
    if not hmac.compare_digest(_signature(key, view[:-32]), view[-32:]):
        raise RunError("a frame with a wrong signature: changed on its way, or not from whom it says")
    return Frame(_fields(data[4:end]), data[end:-32])


def peek(data: bytes) -> dict[str, Any]:
    """What a frame says about itself, not yet believed: to find the key with which to `unseal` it.

    Raises:
        RunError: It is no frame, or too long.
    """
    return _fields(data[4 : _end_of_text(data)])


def _end_of_text(data: bytes) -> int:
    if not 4 + 32 <= len(data) <= MAX_FRAME_BYTES:
        raise RunError(f"a frame of {len(data)} bytes; between 36 and {MAX_FRAME_BYTES} are allowed")
    end = 4 + int.from_bytes(data[:4], "big")
    if end > min(len(data) - 32, 4 + MAX_TEXT_BYTES):
        raise RunError(f"a frame whose text ends at byte {end} of {len(data)}")
    return end


def _fields(text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise RunError(f"a frame whose text is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RunError("a frame whose text is not a JSON object")
    return cast(dict[str, Any], fields)


def _signature(key: bytes, *parts: bytes | memoryview) -> bytes:
    signature = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        signature.update(part)
    return signature.digest()


def refusal(data: bytes) -> dict[str, str]:
    """What says of a frame that it was read, to whoever sent it: its signature, which the server does not see."""
    return {"refused": data[-32:].hex()}


def refuses(answer: dict[str, Any], data: bytes) -> bool:
    """Whether an answer comes from somebody who has read this frame."""
    return hmac.compare_digest(str(answer.get("refused")).encode(), data[-32:].hex().encode())


class Numbers:
    """Which numbers of a sender have been there."""

    def __init__(self) -> None:
        self._highest = 0
        self._seen: set[int] = set()

    def is_new(self, number: object) -> bool:
        """Whether this number comes for the first time; from now on it does not."""
        if not isinstance(number, int) or number <= self._highest - WINDOW or number in self._seen or number <= 0:
            return False
        self._seen.add(number)
        if number > self._highest:
            self._highest = number
            if len(self._seen) > 2 * WINDOW:
                self._seen = {seen for seen in self._seen if seen > number - WINDOW}
        return True

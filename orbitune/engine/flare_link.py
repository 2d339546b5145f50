"""A member's place in FLARE's network of cells, and nothing else that touches FLARE's messages.

All frames go as raw bytes (FLARE's own serialisation is not asked for), encrypted by FLARE for the certificate of the
receiver and signed with that of the sender (`secure=True`), so the server that relays them reads none of them.
"""

from __future__ import annotations

import logging

from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.message import Message

from orbitune.engine.flare_answers import Answers
from orbitune.engine.flare_frames import MAX_FRAME_BYTES
from orbitune.engine.protocol import TimedOut, Unreachable
from orbitune.errors import RunError

CHANNEL = "orbitune"
TOPIC = "frame"
_LOG = logging.getLogger(__name__)


class Link:
    """Frames over a cell."""

    def __init__(self, cell: CoreCell) -> None:
        self._cell = cell

    def send(self, member: str, data: bytes, limit_s: float) -> bytes:
        """See `flare_calls.Send`."""
        request = Message(payload=data)
        reply = self._cell.send_request(CHANNEL, TOPIC, member, request, timeout=limit_s, secure=True, optional=True)
        code = reply.get_header(MessageHeaderKey.RETURN_CODE, ReturnCode.OK)
        if code == ReturnCode.TIMEOUT:
            raise TimedOut(f"{member} has not answered within {limit_s:.1f} s")
        if code != ReturnCode.OK or not isinstance(reply.payload, bytes | bytearray | memoryview):
            reason = reply.get_header(MessageHeaderKey.ERROR, "")
            raise Unreachable(f"{member} cannot be reached: FLARE says {code} {reason}".rstrip())
        return bytes(reply.payload)

    def listen(self, answers: Answers) -> None:
        """Answer the frames that arrive from now on."""
        self._cell.register_request_cb(CHANNEL, TOPIC, self._receive, answers)

    @staticmethod
    def _receive(message: Message, answers: Answers) -> Message | None:
        """Answer a frame, or say nothing where it is not believed: whoever sent it knows, or should not.

        FLARE encrypts a reply if and only if the request says of itself that it was encrypted, so that is demanded.
        """
        origin, data = str(message.get_header(MessageHeaderKey.ORIGIN)), message.payload
        try:
            if not message.get_header(MessageHeaderKey.SECURE, False):
                raise RunError("a frame that is not encrypted")
            if not isinstance(data, bytes | bytearray | memoryview) or len(data) > MAX_FRAME_BYTES:
                raise RunError(f"no bytes, or more than {MAX_FRAME_BYTES}")
            return Message(payload=answers.receive(origin, bytes(data)))
        except RunError as error:
            _LOG.warning("refused from %s: %s", origin, error)
            return None

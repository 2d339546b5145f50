"""A component for FLARE's server that keeps, changes and repeats what is relayed. Imports no test library."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.message import Message


class Spy(FLComponent):
    """Does to the next long message what files in a folder ask for, and forgets them."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.cell: Any = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.SYSTEM_START:
            self.cell = fl_ctx.get_engine().get_cell().core_cell
            self.cell.set_message_interceptor(self.see)

    def see(self, message: Message) -> None:
        if message.get_header(MessageHeaderKey.CHANNEL) != "orbitune":
            return
        with (self.folder / "relayed").open("ab") as file:
            file.write(message.payload)
        if len(message.payload) < 2000:
            return
        if self.asked("change"):
            changed = bytearray(message.payload)
            changed[-500] ^= 1
            message.payload = bytes(changed)
        if self.asked("repeat"):
            target = message.get_header(MessageHeaderKey.DESTINATION)
            again = Message(copy.deepcopy(message.headers), bytes(message.payload))
            _, endpoint = self.cell._find_endpoint(target, again)
            again.add_headers({MessageHeaderKey.FROM_CELL: "server", MessageHeaderKey.TO_CELL: target})
            self.cell._send_to_endpoint(endpoint, again)

    def asked(self, what: str) -> bool:
        found = (self.folder / what).exists()
        (self.folder / what).unlink(missing_ok=True)
        return found

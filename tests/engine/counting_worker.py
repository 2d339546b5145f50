"""A worker that remembers what was delivered to it. Imports no test library."""

from __future__ import annotations

import hashlib
from pathlib import Path

from orbitune.engine.protocol import Header, Peers, Reply


class CountingWorker:
    def __init__(self, peers: Peers, header: Header, body: bytes) -> None:
        self.peers, self.header = peers, header
        self.taken: list[str] = []

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        if method == "take":
            self.taken.append(hashlib.sha256(body).hexdigest())
        elif method == "send":
            return self.peers.call(header["to"], "take", {}, body)
        return Reply({"taken": self.taken, "sender": sender})

    def close(self) -> None:
        with Path(self.header["closed"]).open("a", encoding="utf-8") as file:
            file.write("closed\n")


def make(peers: Peers, header: Header, body: bytes) -> CountingWorker:
    return CountingWorker(peers, header, body)

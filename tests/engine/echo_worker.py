"""A worker for the laws of engines: it answers, waits, fails, passes on and sums. Imports no test library."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from orbitune.engine.protocol import Header, Peers, Reply
from orbitune.engine.ring import Ring
from orbitune.errors import RunError


class EchoWorker:
    def __init__(self, peers: Peers, header: Header, body: bytes) -> None:
        self.peers, self.header, self.body = peers, header, body
        self.ring = Ring(peers, timeout_s=header.get("ring_timeout_s", 10.0))
        self.barriers: dict[str, threading.Barrier] = {}
        self.lock = threading.Lock()
        time.sleep(header.get("start_s", 0.0))

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        if method == "ring":
            return self.ring.deliver(sender, header, body)
        reply = getattr(self, method)(header, body)
        assert isinstance(reply, Reply)
        return Reply({"sender": sender} | reply.header, reply.body)

    def close(self) -> None:
        if "closed" in self.header:
            with Path(self.header["closed"]).open("a", encoding="utf-8") as file:
                file.write("closed\n")

    def echo(self, header: Header, body: bytes) -> Reply:
        return Reply({"header": header, "name": self.peers.name}, body)

    def made_with(self, header: Header, body: bytes) -> Reply:
        return Reply({"header": self.header}, self.body)

    def process(self, header: Header, body: bytes) -> Reply:
        threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
        return Reply({"pid": os.getpid(), "omp": os.environ.get("OMP_NUM_THREADS"), "torch_threads": threads})

    def wait(self, header: Header, body: bytes) -> Reply:
        time.sleep(header["seconds"])
        return Reply({})

    def meet(self, header: Header, body: bytes) -> Reply:
        """Answer when that many calls are inside at once."""
        with self.lock:
            barrier = self.barriers.setdefault(header["name"], threading.Barrier(header["calls"]))
        barrier.wait(10.0)
        return Reply({})

    def fail(self, header: Header, body: bytes) -> Reply:
        raise ValueError(header["words"])

    def refuse(self, header: Header, body: bytes) -> Reply:
        raise RunError(header["words"])

    def unsayable(self, header: Header, body: bytes) -> Reply:
        return Reply({"tuple": (1, 2)})

    def pass_on(self, header: Header, body: bytes) -> Reply:
        """Call another member; what it raises comes back by name."""
        began_s = time.monotonic()
        try:
            reply = self.peers.call(header["to"], header["method"], header["header"], body, header.get("timeout_s"))
        except RunError as error:
            took_s = time.monotonic() - began_s
            return Reply({"error": type(error).__name__, "words": str(error), "took_s": took_s})
        return Reply({"reply": reply.header}, reply.body)

    def time_calls(self, header: Header, body: bytes) -> Reply:
        """Call another member often, for measurements."""
        took_s = []
        for _ in range(header["calls"]):
            began_s = time.perf_counter()
            self.peers.call(header["to"], "echo", {}, body)
            took_s.append(time.perf_counter() - began_s)
        return Reply({"took_s": took_s})

    def sum(self, header: Header, body: bytes) -> Reply:
        """Sum over members what each has; numbers in the body."""
        values = np.frombuffer(body, "<f4").reshape(header["shape"])
        total = self.ring.sum(values, header["members"], header["epoch"])
        return Reply({"shape": list(total.shape)}, total.tobytes())


def make(peers: Peers, header: Header, body: bytes) -> EchoWorker:
    if header.get("import_torch"):
        __import__("torch")
    if "refuse" in header:
        raise RunError(header["refuse"])
    return EchoWorker(peers, header, body)

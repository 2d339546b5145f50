"""What a call costs on each engine that is installed: from the driver to a member, and between two members.

A call carries a body there and back. Members run on this machine: `local` in this process, `ray` and `flare` in one
each. The bodies are a word of control, the activations of 32 images of 50 tokens of width 192 in single precision, and
an adapter with its optimiser.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from record import record, table

from orbitune.engine import engines, make_engine
from orbitune.engine.protocol import Engine, Header, Peers, Reply
from orbitune.errors import MissingExtra

FACTORY = "engines:make"
BODIES = {1_000: 200, 4 * 32 * 50 * 192: 60, 10 * 2**20: 20}
"""Bytes of a body, and how many calls are timed with it after some that are not."""
WARM_UP = 5
MEMBERS = ("a", "b")


class Echo:
    """Gives back what it gets, and times others who do."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        if method == "time":
            return Reply({"took_s": took_s(self.peers, header["to"], body, header["calls"])})
        if method == "memory":
            if header["torch"]:
                import torch  # noqa: F401
            return Reply({"rss_mb": memory_mb("VmRSS", "status"), "pss_mb": memory_mb("Pss", "smaps_rollup")})
        return Reply({}, body)

    def close(self) -> None:
        """Nothing to let go of."""


def make(peers: Peers, header: Header, body: bytes) -> Echo:
    return Echo(peers)


def took_s(peers: Peers, member: str, body: bytes, calls: int) -> list[float]:
    """Seconds of each of that many calls, one after the other."""
    found = []
    for _ in range(WARM_UP + calls):
        began_s = time.perf_counter()
        reply = peers.call(member, "echo", {}, body)
        found.append(time.perf_counter() - began_s)
        assert reply.body == body
    return found[WARM_UP:]


def memory_mb(key: str, file: str) -> float:
    """Of this process: resident, or with what it shares divided among those who share it (Linux, proc(5))."""
    lines = Path(f"/proc/self/{file}").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024 / 1e6


@contextmanager
def started(kind: str) -> Iterator[tuple[Engine, dict[str, float]]]:
    """The engine with its members, and how long it took to get there."""
    options: dict[str, Any] = {"members": MEMBERS, "factories": [FACTORY]} if kind == "flare" else {}
    began_s = time.perf_counter()
    with closing(make_engine(kind, **options)) as engine:
        up_s = time.perf_counter()
        for member in MEMBERS:
            engine.place(member, FACTORY, {})
        placed_s = (time.perf_counter() - up_s) / len(MEMBERS)
        yield engine, {"start_s": up_s - began_s, "place_member_s": placed_s}


def call_rows(engine: Engine) -> Iterator[dict[str, Any]]:
    """A row for each path and size."""
    for size, calls in BODIES.items():
        body = os.urandom(size)
        member_s = engine.call("a", "time", {"to": "b", "calls": calls}, body).header["took_s"]
        for path, times in (("driver-member", took_s(engine, "a", body, calls)), ("member-member", member_s)):
            yield {
                "engine": engine.kind,
                "path": path,
                "body_bytes": size,
                "calls": calls,
                "best_ms": 1e3 * min(times),
                "median_ms": 1e3 * statistics.median(times),
            }


def member_row(engine: Engine, began: dict[str, float]) -> dict[str, Any]:
    """What a member is, where it is a process: memory as it starts, and with torch imported."""
    row: dict[str, Any] = {"engine": engine.kind, **began}
    for name, torch in (("", False), ("torch_", True)) if engine.kind != "local" else ():
        found = engine.call("a", "memory", {"torch": torch}).header
        row |= {f"{name}{key}": value for key, value in found.items()}
    return row


def installed() -> dict[str, str]:
    """Releases of the engines' packages."""
    found = {}
    for package in ("ray", "nvflare"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Every engine that is there."""
    rows, members = [], []
    for kind in engines():
        try:
            with started(kind) as (engine, began):
                members.append(member_row(engine, began))
                rows += list(call_rows(engine))
        except MissingExtra as missing:
            print(f"{kind} is left out: {missing}", file=sys.stderr)
    print(table(members) + "\n")
    record("engines", rows, seed=0, top={"engine_versions": installed(), "members": members})


if __name__ == "__main__":
    main()

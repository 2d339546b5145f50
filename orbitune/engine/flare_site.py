"""What runs in the FLARE client process of a site: one worker, made when the driver asks for it.

FLARE loads `Site` as a component of the site's own `local/resources.json`, which its owner can read and change. The
site takes no code from anybody: the driver names a factory, and functions for it to import, and only those are taken
that `OURS` lists, or the owner in that file.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

from orbitune.engine.calls import Outcome, answer, pack, unpack
from orbitune.engine.flare_answers import Answers
from orbitune.engine.flare_calls import Calls
from orbitune.engine.flare_kits import ANY
from orbitune.engine.flare_link import Link
from orbitune.engine.flare_processes import TETHER
from orbitune.engine.protocol import DRIVER, Header, Reply, Worker, make_worker
from orbitune.errors import RunError

OURS = ("orbitune.execute.host:make_host", "orbitune.learn.nodes:make_work")
"""What every site runs for the driver: the worker of a launch, and its learning. Not all that Orbitune has: other
workers of it import what a call names."""


class SitePeers:
    """The other members, as the worker of this site reaches them."""

    def __init__(self, name: str, calls: Calls) -> None:
        self._name, self._calls = name, calls

    @property
    def name(self) -> str:
        return self._name

    def call(
        self, member: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        return self._calls.call(member, "worker", method, header, body, timeout_s)


class Host:
    """The worker of a site, and what the driver may do with it."""

    def __init__(self, peers: SitePeers, factories: tuple[str, ...]) -> None:
        self._peers, self._factories = peers, factories
        self._worker: Worker | None = None
        self._owner = ""
        self._lock = threading.Lock()

    def handle(self, scope: str, sender: str, method: str, text: str, body: bytes) -> Outcome | None:
        """Carry out a call, see `flare_answers.Handle`."""
        if scope == "worker":
            worker = self._worker
            return None if worker is None else answer(worker, sender, method, text, body)
        if sender != DRIVER:
            return Outcome(False, f"{sender} may not {method} a worker; only {DRIVER} may")
        if method == "place":
            self._place(unpack(text), body)
        elif method == "leave":
            self.leave()
        return Outcome(True, pack({"owner": self._owner}, b""))  # "here" asks for this alone

    def _place(self, header: Header, body: bytes) -> None:
        factory, owner = str(header["factory"]), str(header["owner"])
        for function in (factory, *named_in(header["header"])):
            if not allowed(function, self._factories):
                raise RunError(
                    f"{self._peers.name} does not run {function}: it takes {', '.join(OURS)} and what its owner names "
                    f"under 'factories' in its local/resources.json, which is {', '.join(self._factories) or 'nothing'}"
                )
        with self._lock:
            if self._worker is not None and self._owner == owner:
                raise RunError(f"{self._peers.name} has a living worker")
            self._end()  # of a driver that is gone: one run at a time, the newest counts
            self._worker = make_worker(factory, self._peers, header["header"], body)
            self._owner = owner

    def leave(self) -> None:
        """End the worker; the site stays."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        worker, self._worker, self._owner = self._worker, None, ""
        if worker is not None:
            worker.close()


def named_in(header: Header) -> list[str]:
    """Functions, as "package.module:function", that a factory's header makes it import: see "work" in
    `orbitune.execute.work`, and the source of a model in `orbitune.learn.model_spec`."""
    found = [str(header["work"])] if "work" in header else []
    model = header.get("model")
    if isinstance(model, dict) and model.get("name") == "module":
        found.append(str(model.get("source")))
    return found


def allowed(function: str, named: tuple[str, ...]) -> bool:
    """Whether a site runs a function: one of `OURS`, or one that its owner names."""
    return function in OURS or function in named or ANY in named


class Site(FLComponent):  # type: ignore[misc] # FLARE ships no types
    """The component that makes a FLARE client a member.

    Args:
        factories: Further functions, as "package.module:function", that the owner of this site lets the driver name,
            as a factory or in the header for one; `ANY` lets it name all.
    """

    def __init__(self, factories: list[str] | None = None) -> None:
        super().__init__()
        self._factories = tuple(factories or ())
        self._host: Host | None = None
        Tether.tie()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """FLARE tells what happens to its client."""
        if event_type == EventType.SYSTEM_START:
            self._open(fl_ctx)
        elif event_type == EventType.SYSTEM_END and self._host is not None:
            self._host.leave()

    def _open(self, fl_ctx: FLContext) -> None:
        cell: Any = fl_ctx.get_engine().get_cell()
        name = cell.get_fqcn()
        link = Link(cell.core_cell)
        self._host = Host(SitePeers(name, Calls(link.send)), self._factories)
        link.listen(Answers(self._host.handle))


class Tether(FLComponent):  # type: ignore[misc] # FLARE ships no types
    """Ends a process of FLARE together with the engine that started it, however that ends."""

    def __init__(self) -> None:
        super().__init__()
        self.tie()

    @staticmethod
    def tie() -> None:
        """From now on this process ends when its standard input does, where `TETHER` says so."""
        if os.environ.get(TETHER):
            threading.Thread(target=_end_with_input, name="tether", daemon=True).start()


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)

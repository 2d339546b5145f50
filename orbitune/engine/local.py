"""The engine without an engine: every member is a worker in this process. Deterministic, quick, and the reference."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, InvalidStateError

from orbitune.engine.calls import Outcome, answer, check_name, pack, reason, reply_of, unpack
from orbitune.engine.protocol import DRIVER, Header, Reply, TimedOut, Unreachable, Worker, make_worker
from orbitune.errors import RunError


class _Member:
    """A worker, and the calls to it and from it that are under way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker: Worker | None = None
        self.ended = threading.Event()
        self._calls: set[Future[Outcome]] = set()
        self._lock = threading.Lock()

    def join(self, call: Future[Outcome]) -> None:
        """Let a call end when this member does.

        Raises:
            Unreachable: It has ended already.
        """
        with self._lock:
            if self.ended.is_set():
                raise Unreachable(f"{self.name} has been ended")
            self._calls.add(call)
        call.add_done_callback(self._leave)

    def _leave(self, call: Future[Outcome]) -> None:
        with self._lock:
            self._calls.discard(call)

    def end(self) -> None:
        """Cut all calls, then close the worker; once."""
        with self._lock:
            if self.ended.is_set():
                return
            self.ended.set()
            calls = list(self._calls)
        for call in calls:
            with contextlib.suppress(InvalidStateError):  # it was answered at this very moment
                call.set_exception(Unreachable(f"{self.name} has been ended"))
        if self.worker is not None:
            self.worker.close()


class LocalEngine:
    """Members in this process. A call runs in a thread of its own, so that it can time out and be cut by a kill.

    A killed worker is closed and cut off from the others. What it was just computing goes on to its end, since a
    thread cannot be killed, but nobody hears of it.
    """

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}
        self._driver = _Member(DRIVER)
        self._lock = threading.Lock()

    @property
    def kind(self) -> str:
        return "local"

    @property
    def name(self) -> str:
        return DRIVER

    def place(self, member: str, factory: str, header: Header, body: bytes = b"") -> None:
        check_name(member)
        text = pack(header, body)
        new = _Member(member)
        with self._lock:
            if self._driver.ended.is_set():
                raise RunError(f"{member} cannot be placed: the engine is closed")
            if self.alive(member):
                raise RunError(f"{member} cannot be placed: there is a living member of that name")
            self._members[member] = new
        try:
            new.worker = make_worker(factory, _LocalPeers(self, new), unpack(text), body)
        except Exception as error:
            new.end()
            raise RunError(f"{member} cannot be placed: {factory}: {reason(error)}") from error
        if new.ended.is_set():  # killed while it was being made
            new.worker.close()

    def call(
        self, member: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        return self.call_from(self._driver, member, method, header, body, timeout_s)

    def call_from(
        self, sender: _Member, member: str, method: str, header: Header, body: bytes, timeout_s: float | None
    ) -> Reply:
        """A call by a member or the driver, see `Peers.call`."""
        text = pack(header, body)
        called = self._members.get(member)
        if called is None or called.worker is None:
            raise Unreachable(f"{member} was never placed; there are {', '.join(sorted(self._members)) or 'none'}")
        call: Future[Outcome] = Future()
        try:
            called.join(call)
            sender.join(call)
        except Unreachable:
            call.cancel()
            raise
        inputs = call, called.worker, sender.name, method, text, body
        threading.Thread(target=_run, args=inputs, name=f"{member}.{method}", daemon=True).start()
        try:
            return reply_of(member, method, call.result(timeout_s))
        except TimeoutError:
            raise TimedOut(f"{member} has not answered {method} within {timeout_s} s") from None

    def alive(self, member: str) -> bool:
        found = self._members.get(member)
        return found is not None and not found.ended.is_set()

    def kill(self, member: str) -> None:
        if member in self._members:
            with contextlib.suppress(Exception):  # nobody asks how a fault went
                self._members[member].end()

    def close(self) -> None:
        with self._lock:
            self._driver.end()
        with contextlib.ExitStack() as ends:  # all of them, also where one of them raises
            for member in self._members.values():
                ends.callback(member.end)


class _LocalPeers:
    """The other members, as one of them reaches them."""

    def __init__(self, engine: LocalEngine, member: _Member) -> None:
        self._engine, self._member = engine, member

    @property
    def name(self) -> str:
        return self._member.name

    def call(
        self, member: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        return self._engine.call_from(self._member, member, method, header, body, timeout_s)


def _run(call: Future[Outcome], worker: Worker, sender: str, method: str, text: str, body: bytes) -> None:
    outcome = answer(worker, sender, method, text, body)
    with contextlib.suppress(InvalidStateError):  # it was cut meanwhile
        call.set_result(outcome)

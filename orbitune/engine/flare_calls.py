"""The calling half of a member in a federation: opens sessions, sends frames, asks again, notices who is gone."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any, NamedTuple

from orbitune.engine.calls import Outcome, pack, reply_of
from orbitune.engine.flare_answers import HOLD_S, NOBODY, PENDING, UNKNOWN_CALL, UNKNOWN_SESSION
from orbitune.engine.flare_frames import peek, refuses, seal, unseal
from orbitune.engine.protocol import Header, Reply, TimedOut, Unreachable
from orbitune.errors import RunError

PROBE_S = 1.0
"""How often a member that has not answered is looked for, real seconds. Our choice: so a lost one is noticed within
a second or two, at 1 KB per look."""

STEP_S = 0.2
"""How often a waiting call looks whether it should go on, real seconds. Our choice: that costs nothing."""

SLACK_S = 15.0
"""How much longer than the other side's `HOLD_S` a frame may take, real seconds, before it is taken for lost. Our
choice: above one retransmission of a busy link, far below a lunch break."""

SLOWEST_BYTES_PER_S = 1e6
"""Slowest link on which a body is still waited for. Our choice: 8 Mbit/s; whoever has less sends smaller parts."""

Send = Callable[[str, bytes, float], bytes]
"""Carries a frame to a member and its answer back: (member, frame, seconds) -> answer. Raises Unreachable or
TimedOut."""


class _Session:
    """A member, the key shared with it, and the numbers of calls that it has not answered."""

    def __init__(self, name: str, key: bytes) -> None:
        self.name, self.key = name, key
        self._numbers = itertools.count(1)
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def number(self, is_call: bool) -> tuple[int, int]:
        """The next number, and the lowest whose result is still wanted."""
        with self._lock:
            number = next(self._numbers)
            if is_call:
                self._open.add(number)
            return number, min(self._open, default=number)

    def settle(self, number: int) -> None:
        with self._lock:
            self._open.discard(number)

    def probe(self) -> bytes:
        """A frame that asks whether the process of this session is there."""
        number, settled = self.number(is_call=False)
        return seal(self.key, {"kind": "probe", "session": self.name, "number": number, "settled": settled})


class _Call(NamedTuple):
    """A call under way."""

    member: str
    fields: dict[str, Any]
    body: bytes
    deadline: float | None

    def left_s(self) -> float:
        """Seconds that remain.

        Raises:
            TimedOut: None do.
        """
        left_s = float("inf") if self.deadline is None else self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimedOut(f"{self.member} has not answered {self.fields['method']} in time")
        return left_s


class Calls:
    """Calls members. `ended(member)` says at once, where somebody knows, that its process is gone."""

    def __init__(self, send: Send, ended: Callable[[str], bool] = lambda member: False) -> None:
        self._send, self._ended = send, ended
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def call(
        self, member: str, scope: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        """See `Peers.call`; `scope` is "worker" or "site"."""
        fields = {"kind": "call", "scope": scope, "method": method, "text": pack(header, body)}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        call = _Call(member, fields, body, deadline)
        for _ in range(3):
            session = self._session(call)
            outcome = self._carry(session, call)
            if outcome is not None:
                return reply_of(member, method, outcome)
            with self._lock:  # it knows nothing of this session: it was started anew, and has not seen the call
                if self._sessions.get(member) is session:
                    del self._sessions[member]
        raise Unreachable(f"{member} cannot be reached: it is started anew again and again")

    def close(self) -> None:
        """Let all calls end."""
        self._closed.set()

    def _session(self, call: _Call) -> _Session:
        with self._lock:
            known = self._sessions.get(call.member)
        if known is not None:
            return known
        nonce = secrets.token_hex(16)
        hello = seal(b"", {"kind": "hello", "nonce": nonce})
        while (data := self._ask(call, hello, None, SLACK_S)) is None:
            pass  # `_ask` ends it when the time is over or the member gone
        said = peek(data)
        if said.get("kind") != "welcome" or said.get("nonce") != nonce:
            raise Unreachable(f"{call.member} answers a hello with something else")
        session = _Session(said["session"], bytes.fromhex(said["key"]))
        with self._lock:
            return self._sessions.setdefault(call.member, session)

    def _carry(self, session: _Session, call: _Call) -> Outcome | None:
        """The outcome of a call; None when the member does not know the session, and so has not carried it out."""
        while True:
            number, settled = session.number(is_call=True)
            try:
                kind, outcome = self._follow(session, call, number, settled)
            finally:
                session.settle(number)
            if kind == NOBODY:
                raise Unreachable(f"{call.member} cannot be reached: its site is there, but no worker has been placed")
            if kind != UNKNOWN_CALL:  # otherwise it was lost on its way, and is not taken any more should it come late
                return outcome

    def _follow(self, session: _Session, call: _Call, number: int, settled: int) -> tuple[str, Outcome | None]:
        """Send a call, and ask for its outcome until the answer is not "pending"."""
        base = {"session": session.name, "settled": settled}
        fields, body, sent = call.fields | base | {"number": number}, call.body, False
        while True:
            hold_s = min(HOLD_S, call.left_s())
            data = seal(session.key, fields | {"hold_s": hold_s}, body)
            answer = self._ask(call, data, session, hold_s + SLACK_S + len(data) / SLOWEST_BYTES_PER_S)
            kind, outcome = _read(session, answer, fields["number"], data)
            if kind == UNKNOWN_SESSION and sent:
                raise Unreachable(f"{call.member} cannot be reached: it was started anew while it worked")
            if kind != PENDING:
                return kind, outcome
            sent = True
            number_of_wait, _ = session.number(is_call=False)
            fields, body = base | {"kind": "wait", "call": number, "number": number_of_wait}, b""

    def _ask(self, call: _Call, data: bytes, session: _Session | None, limit_s: float) -> bytes | None:
        """Send a frame; its answer, or None when none came.

        Raises:
            Unreachable: The member is gone, or this side is closed.
            TimedOut: The time of the call is over.
        """
        asked = _in_background(self._send, call.member, data, limit_s)
        probe: Future[bytes] | None = None
        look = b""
        probed_s = time.monotonic()
        while not asked.done():
            wait({asked, probe or asked}, min(STEP_S, call.left_s()), FIRST_COMPLETED)
            if self._closed.is_set() or self._ended(call.member):
                raise Unreachable(f"{call.member} cannot be reached: it has been ended, or this engine has")
            if probe is not None and probe.done():
                _check_probe(call.member, probe, look)
                probe = None
            if probe is None and session is not None and time.monotonic() - probed_s > PROBE_S:
                probed_s, look = time.monotonic(), session.probe()
                probe = _in_background(self._send, call.member, look, SLACK_S)
        with suppress(TimedOut):
            return asked.result()
        return None


def _check_probe(member: str, probe: Future[bytes], look: bytes) -> None:
    """Raises Unreachable when a probe did not find the process that is working for us."""
    with suppress(TimedOut):  # it may be busy
        if _is_unknown(peek(probe.result()), look):
            raise Unreachable(f"{member} cannot be reached: it was started anew")


def _is_unknown(said: dict[str, Any], data: bytes) -> bool:
    """Whether an answer says that the session of a frame is unknown, and comes from somebody who has read the frame."""
    return said.get("kind") == UNKNOWN_SESSION and refuses(said, data)


def _read(session: _Session, answer: bytes | None, number: int, data: bytes) -> tuple[str, Outcome | None]:
    """The kind of an answer to a frame, and the outcome in it. One that never came, or is not believed, is as if
    "pending"."""
    try:
        if answer is None:
            return PENDING, None
        if _is_unknown(peek(answer), data):
            return UNKNOWN_SESSION, None
        fields, body = unseal(session.key, answer)
    except RunError:
        return PENDING, None
    if fields["number"] != number:  # the answer to another frame
        return PENDING, None
    if fields["kind"] in ("done", "failed"):
        return str(fields["kind"]), Outcome(fields["kind"] == "done", fields["text"], body)
    return str(fields["kind"]), None


def _in_background(send: Send, member: str, data: bytes, limit_s: float) -> Future[bytes]:
    """Send in a thread of its own, since FLARE cannot be interrupted while it waits."""
    result: Future[bytes] = Future()

    def run() -> None:
        try:
            result.set_result(send(member, data, limit_s))
        except RunError as error:
            result.set_exception(error)
        except Exception as error:
            result.set_exception(Unreachable(f"{member} cannot be reached: {type(error).__name__}: {error}"))

    threading.Thread(target=run, name=f"to {member}", daemon=True).start()
    return result

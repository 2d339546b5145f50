"""The answering half of a member in a federation: recognises who speaks, refuses repetitions, keeps results.

A caller says hello and gets a session: a name and a key, chosen here at random. The reply is encrypted by FLARE for
the certificate of that caller alone, so whoever signs with the key afterwards is the caller. Sessions live in memory:
after a restart every old frame is unknown, and a recorded hello only yields a key that its thief cannot read.

A frame of an unknown session can only be answered without a key, and the caller will open a new session and send the
call again; so the answer shows that its sender has read the frame, which the server that relays it cannot. Nor can the
server let a session be forgotten that calls came in: repeated hellos push out each other alone.

A call that takes long is answered "pending", and the caller asks again; so a reply lost on its way is not lost, and no
call is carried out twice.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from orbitune.engine.calls import Outcome, reason
from orbitune.engine.flare_frames import KEY_BYTES, Frame, Numbers, peek, refusal, seal, unseal
from orbitune.errors import RunError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""Names of members. FLARE splits a name at its dots into a family, and gives consoles names with a leading underscore,
for which it does not compare name and certificate; so neither is allowed."""

MAX_CALLS = 64
"""Calls of one member that may be under way here at once. Our choice: FLARE answers with 100 threads a process
(`FRAME_THREAD_POOL_SIZE` of its conn_manager), and some must stay free."""

SESSIONS_EACH = 4
"""Sessions of one member that are kept, and as many in which it has not spoken yet; the oldest goes. Our choice: one is
in use, two when it has just restarted."""

HOLD_S = 5.0
"""Longest wait before "pending", real seconds. Our choice: the price is a frame of 1 KB for each."""

PENDING, NOBODY = "pending", "nobody"
UNKNOWN_CALL, UNKNOWN_SESSION = "unknown call", "unknown session"
"""Kinds of answers other than an outcome."""

Handle = Callable[[str, str, str, str, bytes], Outcome | None]
"""What carries out a call: (scope, sender, method, header text, body) -> outcome, or None where nobody is there to."""


class _Session:
    """A caller, its key, and its calls whose results are still wanted."""

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.id = secrets.token_hex(16)
        self.key = secrets.token_bytes(KEY_BYTES)
        self.numbers = Numbers()
        self.used = False
        self.calls: dict[int, Future[Outcome | None]] = {}
        self.lock = threading.Lock()

    def admit(self, number: object, settled: object) -> None:
        """Let a frame in, and forget the calls whose results the caller has.

        Raises:
            RunError: It was there before.
        """
        with self.lock:
            if not self.numbers.is_new(number):
                raise RunError(f"frame {number} of {self.caller} has been here before")
            if isinstance(settled, int):
                for call in [call for call in self.calls if call < settled]:
                    del self.calls[call]


class Answers:
    """Answers frames."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._sessions: dict[str, _Session] = {}
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def receive(self, origin: str, data: bytes) -> bytes:
        """The frame with which to answer a frame that came from `origin`.

        Raises:
            RunError: It is not believed; nothing was done, and nothing should be said.
        """
        fields = peek(data)
        if fields.get("kind") == "hello":
            return self._welcome(origin, fields)
        with self._lock:
            session = self._sessions.get(str(fields.get("session")))
        unknown = seal(b"", {"kind": UNKNOWN_SESSION} | refusal(data))
        if session is None:
            return unknown
        frame = unseal(session.key, data)
        if session.caller != origin:
            raise RunError(f"a frame from {origin} in a session of {session.caller}")
        if not self._use(session):
            return unknown
        session.admit(frame.fields.get("number"), frame.fields.get("settled"))
        return self._answer(session, frame)

    def _welcome(self, origin: str, fields: dict[str, Any]) -> bytes:
        if not NAME.fullmatch(origin):
            raise RunError(f"a hello from {origin!r}, which is no name of a member")
        session = _Session(origin)
        with self._lock:
            self._sessions[session.id] = session
            self._forget(origin, used=False)
        nonce = str(fields.get("nonce"))[:64]
        said = {"kind": "welcome", "session": session.id, "key": session.key.hex(), "nonce": nonce}
        return seal(b"", said)

    def _use(self, session: _Session) -> bool:
        """Its caller has spoken in a session; whether it is still known."""
        with self._lock:
            known = session.id in self._sessions
            if known and not session.used:
                session.used = True
                self._sessions[session.id] = self._sessions.pop(session.id)  # the newest of those in use
                self._forget(session.caller, used=True)
            return known

    def _forget(self, caller: str, used: bool) -> None:
        """Forget the oldest sessions of a caller, of those that are in use or of those that are not."""
        kept = [known.id for known in self._sessions.values() if (known.caller, known.used) == (caller, used)]
        for surplus in kept[:-SESSIONS_EACH]:
            del self._sessions[surplus]

    def _answer(self, session: _Session, frame: Frame) -> bytes:
        about = {"number": frame.fields["number"]}
        if frame.fields["kind"] == "probe":
            return seal(session.key, about | {"kind": "here"})
        call = self._call_of(session, frame)
        if call is None:
            return seal(session.key, about | {"kind": UNKNOWN_CALL})
        try:
            outcome = call.result(min(HOLD_S, float(frame.fields["hold_s"])))
        except TimeoutError:
            return seal(session.key, about | {"kind": PENDING})
        if outcome is None:
            return seal(session.key, about | {"kind": NOBODY})
        try:
            return _seal_outcome(session.key, about, outcome)
        except RunError as error:  # its header is too long
            return _seal_outcome(session.key, about, Outcome(False, str(error)))

    def _call_of(self, session: _Session, frame: Frame) -> Future[Outcome | None] | None:
        """The call that a frame starts or asks about."""
        fields = frame.fields
        if fields["kind"] == "call":
            return self._start(session, frame)
        asked = fields.get("call")
        with session.lock:
            if fields["kind"] == "wait" and asked not in session.calls:
                session.numbers.is_new(asked)  # should the call itself still arrive, it comes too late
            return session.calls.get(asked) if isinstance(asked, int) else None

    def _start(self, session: _Session, frame: Frame) -> Future[Outcome | None]:
        call: Future[Outcome | None] = Future()
        caller = session.caller
        with self._lock, session.lock:
            if max(self._running[caller], len(session.calls)) >= MAX_CALLS:  # at work, and results not fetched
                call.set_result(Outcome(False, f"{MAX_CALLS} calls of {caller} are under way here, wait"))
                return call
            inputs = call, caller, frame
            threading.Thread(target=self._run, args=inputs, name=str(frame.fields["method"]), daemon=True).start()
            self._running[caller] += 1
            session.calls[frame.fields["number"]] = call
        return call

    def _run(self, call: Future[Outcome | None], caller: str, frame: Frame) -> None:
        fields = frame.fields
        try:
            outcome = self._handle(fields["scope"], caller, fields["method"], fields["text"], frame.body)
        except Exception as error:
            outcome = Outcome(False, reason(error))
        finally:
            with self._lock:
                self._running[caller] -= 1
        call.set_result(outcome)


def _seal_outcome(key: bytes, about: dict[str, Any], outcome: Outcome) -> bytes:
    kind = "done" if outcome.done else "failed"
    return seal(key, about | {"kind": kind, "text": outcome.text}, outcome.body)

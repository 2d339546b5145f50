"""The sessions of the flare engine over a network of plain functions, which loses, changes and repeats frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.engine import flare_answers, flare_calls
from orbitune.engine.calls import Outcome
from orbitune.engine.flare_answers import MAX_CALLS, SESSIONS_EACH, Answers
from orbitune.engine.flare_calls import Calls
from orbitune.engine.flare_frames import MAX_FRAME_BYTES, MAX_TEXT_BYTES, WINDOW, Numbers, peek, seal, unseal
from orbitune.engine.protocol import CallFailed, Header, TimedOut, Unreachable
from orbitune.errors import RunError

KEY = bytes(range(32))
FIELDS = st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=4)


@given(fields=FIELDS, body=st.binary())
def test_a_frame_comes_out_as_it_went_in(fields: Header, body: bytes) -> None:
    assert unseal(KEY, seal(KEY, fields, body)) == (fields, body)
    assert peek(seal(KEY, fields, body)) == fields


@given(fields=FIELDS, body=st.binary(), data=st.data())
def test_no_changed_bit_is_believed(fields: Header, body: bytes, data: st.DataObject) -> None:
    frame = bytearray(seal(KEY, fields, body))
    at = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[at // 8] ^= 1 << at % 8
    with pytest.raises(RunError):
        unseal(KEY, bytes(frame))


@given(st.binary(max_size=60))
def test_what_is_no_frame_is_refused(noise: bytes) -> None:
    with pytest.raises(RunError):
        unseal(KEY, noise)


def test_a_cut_frame_and_another_key_are_refused() -> None:
    frame = seal(KEY, {"kind": "call"}, b"body")
    for end in range(len(frame)):
        with pytest.raises(RunError):
            unseal(KEY, frame[:end])
    with pytest.raises(RunError, match="wrong signature"):
        unseal(bytes(32), frame)


def test_sizes_are_bounded() -> None:
    with pytest.raises(RunError, match=f"at most {MAX_TEXT_BYTES}"):
        seal(KEY, {"text": "x" * MAX_TEXT_BYTES})
    with pytest.raises(RunError, match=f"{MAX_FRAME_BYTES} are allowed"):
        peek(bytes(MAX_FRAME_BYTES + 1))


@given(st.lists(st.integers(-3, 300), max_size=200))
def test_each_number_is_new_once(numbers: list[int]) -> None:
    window = Numbers()
    for at, number in enumerate(numbers):
        assert window.is_new(number) == (number > 0 and number not in numbers[:at])


def test_numbers_that_fell_out_of_the_window_are_never_new() -> None:
    window = Numbers()
    for number in range(1, 4 * WINDOW, 2):
        assert window.is_new(number)
    newest = 4 * WINDOW - 1
    assert not any(window.is_new(number) for number in range(1, newest - WINDOW))
    assert window.is_new(newest - 1) and not window.is_new(newest - 1)


# -- two members and a wire between them ------------------------------------------------------------------------------


class Wire:
    """Carries frames of "caller" to the Answers of "worker", and keeps them all."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.frames: list[bytes] = []
        self.answers = Answers(self.handle)
        self.meddle: Callable[[bytes], bytes] = bytes
        self.meddle_back: Callable[[bytes], bytes] = bytes

    def handle(self, scope: str, sender: str, method: str, text: str, body: bytes) -> Outcome:
        self.done.append(method)
        if method.startswith("slow"):
            time.sleep(0.3)
        if method == "long":
            return Outcome(True, '"' + "x" * MAX_TEXT_BYTES + '"')
        return Outcome(True, text, body)

    def send(self, member: str, data: bytes, limit_s: float) -> bytes:
        if member != "worker":
            raise Unreachable(f"no {member}")
        self.frames.append(data)
        try:
            return self.meddle_back(self.answers.receive("caller", self.meddle(data)))
        except RunError as error:
            raise TimedOut(str(error)) from None  # an answer that is not believed is none

    def last(self, kind: str) -> bytes:
        return next(frame for frame in reversed(self.frames) if peek(frame)["kind"] == kind)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def calls(wire: Wire) -> Calls:
    return Calls(wire.send)


def lose_first(kind: str, times: int = 1) -> Callable[[bytes], bytes]:
    """Meddling that loses the first frames of a kind."""
    left = [times]

    def lose(data: bytes) -> bytes:
        if peek(data)["kind"] == kind and left[0]:
            left[0] -= 1
            raise TimedOut("lost")
        return data

    return lose


def test_a_call_and_its_reply(wire: Wire, calls: Calls) -> None:
    assert calls.call("worker", "worker", "echo", {"a": 1}, b"b") == ({"a": 1}, b"b")
    with pytest.raises(Unreachable):
        calls.call("nobody", "worker", "echo", {})
    with pytest.raises(CallFailed, match=f"at most {MAX_TEXT_BYTES}"):
        calls.call("worker", "worker", "long", {})


def test_a_repeated_frame_is_refused(wire: Wire, calls: Calls) -> None:
    calls.call("worker", "worker", "once", {})
    for frame in list(wire.frames):
        if peek(frame)["kind"] != "hello":
            with pytest.raises(RunError, match="has been here before"):
                wire.answers.receive("caller", frame)
    assert wire.done == ["once"]


def test_a_repeated_hello_gives_away_nothing(wire: Wire, calls: Calls) -> None:
    calls.call("worker", "worker", "once", {})
    welcome = peek(wire.answers.receive("caller", wire.last("hello")))
    with pytest.raises(RunError, match="wrong signature"):  # the old frame in the new session
        wire.answers.receive("caller", wire.last("call").replace(*_sessions(wire, welcome["session"])))
    assert wire.done == ["once"]


def _sessions(wire: Wire, new: str) -> tuple[bytes, bytes]:
    return peek(wire.last("call"))["session"].encode(), new.encode()


def test_a_frame_in_the_session_of_another_is_refused(wire: Wire, calls: Calls) -> None:
    calls.call("worker", "worker", "once", {})
    key = next(iter(calls._sessions.values())).key
    frame = seal(key, peek(wire.last("call")) | {"number": 99})
    with pytest.raises(RunError, match="in a session of caller"):
        wire.answers.receive("thief", frame)
    assert wire.done == ["once"]


@pytest.mark.parametrize("name", ["", "driver.child", "_admin_1", "a b", "x" * 64])
def test_only_members_get_a_session(wire: Wire, name: str) -> None:
    with pytest.raises(RunError, match="no name of a member"):
        wire.answers.receive(name, seal(b"", {"kind": "hello", "nonce": "1"}))


def test_a_changed_frame_is_not_delivered_and_the_call_is_asked_for_again(wire: Wire, calls: Calls) -> None:
    calls.call("worker", "worker", "before", {})
    changed = [0]

    def change(data: bytes) -> bytes:
        if peek(data)["kind"] == "call" and not changed[0]:
            changed[0] = 1
            return data[:-33] + bytes([data[-33] ^ 1]) + data[-32:]
        return data

    wire.meddle = change
    assert calls.call("worker", "worker", "after", {}, b"body").body == b"body"
    assert wire.done == ["before", "after"]


UNKNOWN = {"kind": "unknown session"}


@pytest.mark.parametrize("proof", [{}, {"refused": None}, {"refused": 32 * "00"}])
def test_a_server_that_says_the_session_is_unknown_is_not_believed(
    wire: Wire, calls: Calls, proof: dict[str, object]
) -> None:
    """It relays the call, keeps the reply, and says what it likes instead: the call must not be sent again."""
    calls.call("worker", "worker", "before", {})
    forged = [2]

    def forge(data: bytes) -> bytes:
        forged[0] -= 1
        return seal(b"", UNKNOWN | proof) if forged[0] >= 0 else data

    wire.meddle_back = forge
    assert calls.call("worker", "worker", "after", {}, b"body").body == b"body"
    assert wire.done == ["before", "after"]


def test_a_server_that_says_so_of_a_call_at_work_is_not_believed(
    wire: Wire, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flare_calls, "PROBE_S", 0.05)
    wire.meddle_back = lambda data: seal(b"", UNKNOWN) if peek(data)["kind"] == "here" else data
    assert calls.call("worker", "worker", "slow", {}, b"body").body == b"body"


def test_repeated_hellos_do_not_make_a_call_one_of_an_unknown_session(wire: Wire, calls: Calls) -> None:
    calls.call("worker", "worker", "once", {})
    for _ in range(2 * SESSIONS_EACH):
        wire.answers.receive("caller", wire.last("hello"))
    with pytest.raises(RunError, match="has been here before"):
        wire.answers.receive("caller", wire.last("call"))
    calls.call("worker", "worker", "again", {})
    assert wire.done == ["once", "again"]


def test_a_changed_answer_is_not_believed(wire: Wire, calls: Calls) -> None:
    calls.call("worker", "worker", "before", {})
    changed = [0]

    def change(data: bytes) -> bytes:
        if not changed[0]:
            changed[0] = 1
            return data[:-33] + bytes([data[-33] ^ 1]) + data[-32:]
        return data

    wire.meddle_back = change
    assert calls.call("worker", "worker", "after", {}, b"body").body == b"body"
    assert wire.done == ["before", "after"]


@pytest.mark.parametrize("lost", ["hello", "call"])
def test_a_lost_frame_is_made_good_and_nothing_is_done_twice(wire: Wire, calls: Calls, lost: str) -> None:
    wire.meddle = lose_first(lost)
    assert calls.call("worker", "worker", "once", {}, b"body").body == b"body"
    assert wire.done == ["once"]
    for frame in wire.frames:  # should the lost one arrive after all
        if peek(frame)["kind"] == "call":
            with pytest.raises(RunError, match="has been here before"):
                wire.answers.receive("caller", frame)
    assert wire.done == ["once"]


def test_a_lost_answer_is_made_good_and_nothing_is_done_twice(wire: Wire, calls: Calls) -> None:
    wire.meddle_back = lose_first("done")
    assert calls.call("worker", "worker", "once", {}, b"body").body == b"body"
    assert wire.done == ["once"]


def test_a_long_call_is_asked_for_until_it_is_done(wire: Wire, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flare_answers, "HOLD_S", 0.05)
    assert calls.call("worker", "worker", "slow", {}, b"body").body == b"body"
    assert len(wire.frames) > 4 and wire.done == ["slow"]


def test_a_call_times_out(wire: Wire, calls: Calls) -> None:
    with pytest.raises(TimedOut, match="worker has not answered slow"):
        calls.call("worker", "worker", "slow", {}, timeout_s=0.1)


def test_a_member_started_anew_is_greeted_anew(wire: Wire, calls: Calls) -> None:
    calls.call("worker", "worker", "before", {})
    wire.answers = Answers(wire.handle)
    assert calls.call("worker", "worker", "after", {}, b"body").body == b"body"
    assert wire.done == ["before", "after"]


def test_a_call_does_not_survive_its_member(wire: Wire, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flare_answers, "HOLD_S", 0.1)
    monkeypatch.setattr(flare_calls, "PROBE_S", 0.05)
    threading.Timer(0.2, lambda: setattr(wire, "answers", Answers(wire.handle))).start()
    with pytest.raises(Unreachable, match="started anew"):
        calls.call("worker", "worker", "slow", {})
    assert wire.done == ["slow"]


def greet(wire: Wire) -> tuple[bytes, Header]:
    """A new session: its key, and the fields of a call in it that takes long."""
    welcome = peek(wire.answers.receive("caller", seal(b"", {"kind": "hello", "nonce": "1"})))
    fields = {"kind": "call", "session": welcome["session"], "settled": 0, "hold_s": 0.0}
    fields |= {"scope": "worker", "method": "slow", "text": "{}"}
    return bytes.fromhex(welcome["key"]), fields


def test_sessions_and_calls_are_bounded(wire: Wire) -> None:
    for _ in range(3 * SESSIONS_EACH):
        greet(wire)
    assert len(wire.answers._sessions) == SESSIONS_EACH
    for _ in range(3 * SESSIONS_EACH):
        key, fields = greet(wire)
        wire.answers.receive("caller", seal(key, fields | {"number": 1, "kind": "probe"}))
    assert len(wire.answers._sessions) == 2 * SESSIONS_EACH - 1


@pytest.mark.parametrize("settled", [0, 10**9])
@pytest.mark.parametrize("sessions", [1, 2])
def test_no_member_has_more_calls_at_work_than_allowed(wire: Wire, settled: int, sessions: int) -> None:
    """However many sessions it has, and whatever it says that it does not wait for."""
    release, at_work = threading.Event(), [0]

    def handle(*_: object) -> Outcome:
        at_work[0] += 1
        assert release.wait(10.0)
        return Outcome(True, "{}")

    wire.answers = Answers(handle)
    greeted = [greet(wire) for _ in range(sessions)]
    kinds = []
    for number in range(1, MAX_CALLS + 3):
        key, fields = greeted[number % sessions]
        answer = wire.answers.receive("caller", seal(key, fields | {"number": number, "settled": settled}))
        kinds.append(peek(answer)["kind"])
    assert kinds == ["pending"] * MAX_CALLS + ["failed"] * 2
    assert at_work == [MAX_CALLS]
    release.set()
    key, fields = greet(wire)
    deadline_s = time.monotonic() + 10.0
    while wire.answers._running["caller"] and time.monotonic() < deadline_s:
        time.sleep(0.01)
    answer = wire.answers.receive("caller", seal(key, fields | {"number": 1, "hold_s": 5.0}))
    assert peek(answer)["kind"] == "done"

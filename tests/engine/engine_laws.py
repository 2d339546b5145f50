"""What holds for every engine. A test file says `class TestRay(EngineLaws)` and which engine its fixture starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import listening, running

from orbitune.engine.protocol import MAX_BODY_BYTES, CallFailed, Engine, Reply, TimedOut, Unreachable
from orbitune.errors import InputError, RunError

MAKE = "echo_worker:make"
MEMBERS = ("a", "b", "c")

SCRIPT = """
import json, sys, time
sys.path[:0] = {path}
from orbitune.engine import make_engine
if __name__ == "__main__":
    engine = make_engine({kind!r}, **{options!r})
    engine.place("a", "echo_worker:make", {{"closed": {closed!r}}})
    print("up", flush=True)
    sys.stdin.readline()
    engine.close()
    engine.close()
    print("down", flush=True)
    sys.stdin.readline()
"""
"""A driver of its own, so that what it leaves behind is told from what the tests' own engine has."""


class EngineLaws:
    """Subclass with `kind` and, if need be, `options`. The fixture `engine` (conftest.py) has MEMBERS placed."""

    kind: str
    needs = "orbitune"
    """Module without which its tests are skipped."""
    options: dict[str, Any] = {}  # noqa: RUF012
    lingering: tuple[str, ...] = ()
    """Command lines of processes that are known to outlive a killed driver for a while."""
    here = False
    """Whether the members are in the driver's own process."""

    # -- calls -----------------------------------------------------------------------------------------------------

    def test_header_and_body_come_back(self, engine: Engine) -> None:
        header = {"text": "é\n", "number": 0.1, "big": 2**60, "none": None, "list": [1, [True, {}]], "object": {"": ""}}
        for body in (b"", b"\x00\xff", os.urandom(3_000_000)):
            reply = engine.call("a", "echo", header, body)
            assert reply.header == {"sender": "driver", "header": header, "name": "a"}
            assert reply.body == body

    def test_a_worker_is_made_with_what_was_sent(self, engine: Engine) -> None:
        for member in MEMBERS:
            made = engine.call(member, "made_with", {})
            assert (made.header["header"]["member"], made.body) == (member, member.encode())

    def test_calls_of_one_member_run_at_once(self, engine: Engine) -> None:
        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(engine.call, "a", "meet", {"name": "eight", "calls": 8}) for _ in range(8)]
            for call in calls:
                call.result(10.0)

    def test_members_call_each_other_in_a_circle(self, engine: Engine) -> None:
        innermost = {"to": "a", "method": "echo", "header": {"end": 1}}
        inner = {"to": "c", "method": "pass_on", "header": innermost}
        reply = engine.call("a", "pass_on", {"to": "b", "method": "pass_on", "header": inner}, b"body")
        at_b = reply.header["reply"]
        at_c = at_b["reply"]
        assert (at_b["sender"], at_c["sender"], at_c["reply"]["sender"]) == ("a", "b", "c")
        assert (at_c["reply"]["header"], at_c["reply"]["name"], reply.body) == ({"end": 1}, "a", b"body")

    def test_what_cannot_travel_is_refused(self, engine: Engine) -> None:
        with pytest.raises(RunError, match="send it in parts"):
            engine.call("a", "echo", {}, bytes(MAX_BODY_BYTES + 1))
        with pytest.raises(RunError, match="JSON"):
            engine.call("a", "echo", {"keys": {1: 2}})
        with pytest.raises(CallFailed, match="JSON"):
            engine.call("a", "unsayable", {})

    # -- errors ----------------------------------------------------------------------------------------------------

    def test_a_workers_error_arrives_with_its_message(self, engine: Engine) -> None:
        with pytest.raises(CallFailed, match=r"ValueError: 17 is odd \(echo_worker.py:"):
            engine.call("a", "fail", {"words": "17 is odd"})
        with pytest.raises(CallFailed, match=r"a, refuse: no room, give more$"):
            engine.call("a", "refuse", {"words": "no room, give more"})
        passed = engine.call("b", "pass_on", {"to": "a", "method": "fail", "header": {"words": "odd"}})
        assert passed.header["error"] == "CallFailed" and "odd" in passed.header["words"]

    def test_a_call_times_out_and_the_member_lives_on(self, engine: Engine) -> None:
        began_s = time.monotonic()
        with pytest.raises(TimedOut, match="a has not answered wait"):
            engine.call("a", "wait", {"seconds": 1.5}, timeout_s=0.3)
        assert 0.25 < time.monotonic() - began_s < 1.4
        passed = {"to": "a", "method": "wait", "header": {"seconds": 1.0}, "timeout_s": 0.2}
        assert engine.call("b", "pass_on", passed).header["error"] == "TimedOut"
        assert engine.call("a", "echo", {}, b"there").body == b"there"

    def test_nobody_is_there(self, engine: Engine) -> None:
        with pytest.raises(Unreachable, match="nobody was never placed"):
            engine.call("nobody", "echo", {})
        passed = engine.call("a", "pass_on", {"to": "nobody", "method": "echo", "header": {}})
        assert passed.header["error"] == "Unreachable"
        assert not engine.alive("nobody")
        engine.kill("nobody")

    def test_what_cannot_be_placed(self, engine: Engine) -> None:
        with pytest.raises(RunError, match=r"x cannot be placed.*no such thing"):
            engine.place("x", MAKE, {"refuse": "no such thing"})
        with pytest.raises(RunError, match=r"x cannot be placed.*echo_worker:nothing"):
            engine.place("x", "echo_worker:nothing", {})
        with pytest.raises(RunError, match="a living member of that name"):
            engine.place("a", MAKE, {})
        with pytest.raises(InputError, match="member 'driver'"):
            engine.place("driver", MAKE, {})
        assert not engine.alive("x")

    # -- faults ----------------------------------------------------------------------------------------------------

    def test_a_killed_member_is_unreachable_and_can_be_placed_again(self, engine: Engine) -> None:
        with ThreadPoolExecutor(2) as threads:
            waiting = threads.submit(engine.call, "c", "wait", {"seconds": 20.0})
            passed = {"to": "c", "method": "wait", "header": {"seconds": 20.0}}
            between = threads.submit(engine.call, "a", "pass_on", passed)
            time.sleep(0.3)
            began_s = time.monotonic()
            engine.kill("c")
            with pytest.raises(Unreachable):
                waiting.result(10.0)
            assert between.result(10.0).header["error"] == "Unreachable"
        assert not engine.alive("c")
        with pytest.raises(Unreachable):
            engine.call("c", "echo", {}, timeout_s=10.0)
        assert self.from_a(engine, "c").header["error"] == "Unreachable"
        assert time.monotonic() - began_s < 5.0
        self.bring_back(engine, "c")

    def from_a(self, engine: Engine, member: str) -> Reply:
        return engine.call("a", "pass_on", {"to": member, "method": "echo", "header": {}, "timeout_s": 10.0}, b"again")

    def bring_back(self, engine: Engine, member: str) -> None:
        """The new one answers everybody at once."""
        engine.place(member, MAKE, {"member": member, "ring_timeout_s": 10.0}, member.encode())
        assert engine.alive(member)
        assert engine.call(member, "echo", {}, b"back").body == b"back"
        assert self.from_a(engine, member).body == b"again"

    # -- sums over a ring ------------------------------------------------------------------------------------------

    def sums(self, engine: Engine, values: dict[str, np.ndarray], epoch: int) -> dict[str, np.ndarray]:
        """The sum as each member has it; it may fail on each."""
        ring = {"members": list(values), "epoch": epoch, "shape": list(next(iter(values.values())).shape)}

        def ask(member: str) -> np.ndarray:
            reply = engine.call(member, "sum", ring, values[member].tobytes(), timeout_s=20.0)
            return np.frombuffer(reply.body, "<f4").reshape(reply.header["shape"])

        with ThreadPoolExecutor(len(values)) as threads:
            asked = {member: threads.submit(ask, member) for member in values}
        return {member: call.result() for member, call in asked.items() if call.exception() is None}

    @pytest.mark.parametrize("shape", [(1,), (2, 3), (1000, 7), (0,)])
    def test_a_ring_sums_as_numpy_does(self, engine: Engine, shape: tuple[int, ...]) -> None:
        stream = np.random.default_rng(7)
        for members in (("a",), ("b", "a"), ("c", "a", "b")):
            epoch = self.epochs()
            values = {member: stream.standard_normal(shape, dtype=np.float32) for member in members}
            totals = self.sums(engine, values, epoch)
            assert set(totals) == set(members)
            exact = np.sum([value.astype(np.float64) for value in values.values()], axis=0)
            size = np.sum([np.abs(value) for value in values.values()], axis=0)
            for total in totals.values():
                assert total.tobytes() == totals[members[0]].tobytes()
                assert np.all(np.abs(total - exact) <= len(members) * np.finfo(np.float32).eps * size)

    def test_a_lost_member_ends_the_epoch_for_all(self, engine: Engine) -> None:
        first = self.epochs()
        values = {member: np.full(5, number, np.float32) for number, member in enumerate(MEMBERS)}
        assert len(self.sums(engine, values, first)) == 3
        assert len(self.sums(engine, values, first)) == 3  # a second one in the same epoch
        engine.kill("b")
        began_s = time.monotonic()
        ring = {"members": list(values), "epoch": first + 1, "shape": [5]}
        with ThreadPoolExecutor(2) as threads:
            for call in [threads.submit(engine.call, who, "sum", ring, values[who].tobytes()) for who in ("a", "c")]:
                with pytest.raises(CallFailed, match=r"cannot be reached|has ended|has been ended|epoch .* is over"):
                    call.result(10.0)
        assert time.monotonic() - began_s < 8.0, "told, before they had to wait out the ring's 10 s"
        totals = self.sums(engine, {who: values[who] for who in ("a", "c")}, first + 2)
        assert [total.tolist() for total in totals.values()] == [[2.0] * 5] * 2
        self.bring_back(engine, "b")
        assert len(self.sums(engine, values, first + 3)) == 3

    def epochs(self) -> int:
        """Above all epochs before, since members outlive a test."""
        return time.monotonic_ns() // 1000

    # -- the end ---------------------------------------------------------------------------------------------------

    def begin(self, tmp_path: Path) -> subprocess.Popen[str]:
        """A driver with a member in a process of its own."""
        pytest.importorskip(self.needs)
        here = Path(__file__).resolve()
        path = [str(here.parent), str(here.parents[2])]
        script = tmp_path / "driver.py"
        closed = str(tmp_path / "closed")
        script.write_text(
            SCRIPT.format(path=path, kind=self.kind, options=self.options, closed=closed), encoding="utf-8"
        )
        process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline() != "up\n":
            pytest.fail(process.communicate()[1])
        return process

    def test_close_leaves_no_process_and_no_port(self, tmp_path: Path) -> None:
        process = self.begin(tmp_path)
        started = running(process.pid) - {process.pid}
        ports = listening(started | {process.pid})
        assert self.here == (not started)
        assert {address for address, _ in ports} <= {"127.0.0.1"}
        out, error = process.stdin, process.stdout
        assert out is not None and error is not None
        out.write("\n")
        out.flush()
        assert error.readline() == "down\n"
        assert not started & running(), "there when close returned"
        assert not listening({process.pid})
        said = process.communicate("\n", timeout=20.0)
        assert (process.returncode, said) == (0, ("", ""))
        assert (tmp_path / "closed").read_text() == "closed\n", "once"

    def test_nothing_outlives_a_killed_driver(self, tmp_path: Path) -> None:
        process = self.begin(tmp_path)
        started = running(process.pid)
        process.kill()
        process.communicate()
        deadline_s = time.monotonic() + 20.0
        while (left := self.names(started & running())) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert not left

    def names(self, pids: set[int]) -> list[str]:
        """Command lines of those that should not be there."""
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip() for pid in pids]
        return [line for line in lines if line not in self.lingering]

"""Hosts on the engine in this process, in real time: programs, faults, states, and threads that end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from execute_worlds import by_plane, plan

from orbitune.cost.system import System
from orbitune.engine.local import LocalEngine
from orbitune.engine.protocol import CallFailed, Header
from orbitune.execute.program import fields_of, programs
from orbitune.imagery.imagery import Selection
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.spec import LearnSpec
from orbitune.timeline.activity import Timeline, whole

SPEC = LearnSpec("split", "lora", "shared", 0, "fp32", 1, 4, "sgd", 0.1, 0.0, 0.0, 1)
SCALE = 2.5
"""Simulated seconds per real second: three rounds in a second and a half."""


class Crew:
    """Three hosts and what a driver does with them."""

    def __init__(self, engine: LocalEngine, system: System, folder: Path, work: str) -> None:
        self.engine, self.system, self._folder, self._work = engine, system, folder, work
        self.host_of = by_plane(system)
        self.hosts = list(dict.fromkeys(self.host_of.values()))
        self.rows: list[dict[str, Any]] = []
        self.epoch_s = 0.0

    def place(self, host: str) -> None:
        header: Header = {
            "nodes": [node for node, name in self.host_of.items() if name == host],
            "host_of": {str(node): name for node, name in self.host_of.items()},
            "folder": str(self._folder),
            "spec": json.loads(json.dumps(asdict(SPEC))),
            "model": json.loads(json.dumps(asdict(ModelSpec()))),
            "selection": asdict(Selection()),
            "num_satellites": self.system.nodes.num_satellites,
            "work": f"checked_sums:{self._work}",
        }
        self.engine.place(host, "orbitune.execute.host:make_host", header)

    def call(self, host: str, method: str, body: bytes = b"", **header: Any) -> Header:
        return self.engine.call(host, method, header, body, 30.0).header

    def start(self, timeline: Timeline, attempt: int, first_round: int = 0, start_s: float = 0.0) -> None:
        parts = programs(timeline, self.system, self.host_of, attempt, first_round, start_s)
        for host in self.hosts:
            self.call(host, "program", parts[host].to_bytes(), attempt=attempt)
        self.epoch_s = self.epoch_s or time.time() + 0.1
        for host in self.hosts:
            self.call(host, "go", attempt=attempt, epoch_s=self.epoch_s, scale=SCALE, offset_s=0.0)

    def watch(self, rounds: int | None = None) -> list[Header]:
        """Until all is done, so many rounds are finished, or something is wrong."""
        for _ in range(400):
            time.sleep(0.05)
            told = [self.call(host, "status") for host in self.hosts]
            for host in self.hosts:
                text = self.engine.call(host, "executed", {}).body.decode()
                self.rows += map(json.loads, text.splitlines())
            enough = rounds is not None and min(one["rounds"] for one in told) >= rounds
            if enough or any(one["error"] for one in told) or all(one["done"] == one["total"] for one in told):
                return told
        raise AssertionError(told)


@contextmanager
def crew(system: System, folder: Path, work: str = "make_sums") -> Iterator[Crew]:
    before = set(threading.enumerate())
    engine = LocalEngine()
    try:
        found = Crew(engine, system, folder, work)
        for host in found.hosts:
            found.place(host)
        yield found
    finally:
        engine.close()
    deadline_s = time.time() + 5.0
    while (left := set(threading.enumerate()) - before) and time.time() < deadline_s:
        time.sleep(0.02)
    assert not left, left


def test_a_plan_is_carried_out_in_real_time(tmp_path: Path) -> None:
    timeline, system = plan("collaborative")
    with crew(system, tmp_path) as hosts:
        hosts.start(timeline, 1)
        told = hosts.watch()
        assert [one["error"] for one in told] == [None] * 3 and {one["rounds"] for one in told} == {3}
        assert sorted(row["activity"] for row in hosts.rows) == list(range(len(timeline.activities)))
        for row in hosts.rows:
            planned = timeline.activities[row["activity"]]
            assert row["start_s"] >= planned.start_s - 1e-9 and row["end_s"] >= planned.end_s - 1e-9
        assert hosts.engine.call("plane-0", "weights", {"node": 3}).body == b"[0, 1, 2]"


def test_a_host_that_was_killed_comes_back(tmp_path: Path) -> None:
    timeline, system = plan("collaborative")
    rest, _ = plan("collaborative", "train.rounds=2", "method.preloaded=true")
    with crew(system, tmp_path) as hosts:
        hosts.start(timeline, 1)
        assert min(one["rounds"] for one in hosts.watch(rounds=1)) == 1
        hosts.engine.kill("plane-0")
        for host in ("plane-1", "ground"):
            hosts.call(host, "stop", attempt=1)
        hosts.place("plane-0")
        for host in hosts.hosts:
            hosts.call(host, "restore", round=1)
            with pytest.raises(CallFailed, match="no state of node"):
                hosts.call(host, "restore", round=7)
        hosts.start(rest, 2, first_round=1, start_s=(time.time() + 0.3 - hosts.epoch_s) * SCALE)
        told = hosts.watch()
        assert [one["error"] for one in told] == [None] * 3 and {one["rounds"] for one in told} == {3}
        for host, node in (("plane-0", 0), ("plane-1", 11), ("ground", 15)):
            assert hosts.engine.call(host, "weights", {"node": node}).body == b"[0, 1, 2]"


def test_messages_of_other_attempts_and_repetitions_do_nothing(tmp_path: Path) -> None:
    timeline, system = plan("collaborative")
    with crew(system, tmp_path) as hosts:
        sent = fields_of(whole("embedding", {7}, 0, 100))
        chunk = {"activity": 5, "source": 8, "target": 2, "payload": sent, "offset": 0, "arrive_s": 1e6}
        assert hosts.call("plane-0", "deliver", b"x" * 100, attempt=1, **chunk) == {"stale": True}
        for host, part in programs(timeline, system, hosts.host_of, 2).items():
            hosts.call(host, "program", part.to_bytes(), attempt=2)
        assert hosts.call("plane-0", "deliver", b"x" * 100, attempt=1, **chunk) == {"stale": True}
        first = hosts.call("plane-0", "deliver", b"x" * 100, attempt=2, **chunk)
        again = hosts.call("plane-0", "deliver", b"x" * 100, attempt=2, **{**chunk, "arrive_s": 2e6})
        assert first == again == {"arrive_s": 1e6}
        with pytest.raises(CallFailed, match="not on plane-0"):
            hosts.call("plane-0", "deliver", b"x" * 100, attempt=2, **{**chunk, "target": 8})
        with pytest.raises(CallFailed, match="attempt 1"):
            hosts.call("plane-0", "go", attempt=1, epoch_s=0.0, scale=1.0, offset_s=0.0)


def test_what_fails_inside_is_told(tmp_path: Path) -> None:
    timeline, system = plan("collaborative")
    with crew(system, tmp_path, "make_broken") as hosts:
        hosts.start(timeline, 1)
        assert any("no sums today" in str(one["error"]) for one in hosts.watch())


def test_states_of_another_run_are_not_begun_with(tmp_path: Path) -> None:
    timeline, system = plan("collaborative")
    stale = tmp_path / "plane-0" / "node-3.round-00000"
    stale.parent.mkdir()
    stale.write_bytes(b"[9]")
    with crew(system, tmp_path) as hosts:
        for host, part in programs(timeline, system, hosts.host_of, 1).items():
            hosts.call(host, "program", part.to_bytes(), attempt=1)
        assert stale.read_bytes() == b"[]"
        hosts.call("plane-0", "restore", round=0)
        assert hosts.engine.call("plane-0", "weights", {"node": 3}).body == b"[]"


def test_states_that_the_driver_does_not_have_yet_are_kept(tmp_path: Path) -> None:
    _, system = plan("collaborative")
    with crew(system, tmp_path) as hosts:
        for done in range(9):
            hosts.call("plane-0", "import", b"[]", node=4, round=done)
            if done == 6:
                assert hosts.engine.call("plane-0", "export", {"node": 4, "round": 1}).body == b"[]"
                hosts.call("plane-0", "status", settled=5)
                hosts.call("plane-0", "status")
        # The last one settled, the one before it, which is repeated where only the delivery is left, and all later.
        assert [int(path.name[-5:]) for path in sorted((tmp_path / "plane-0").glob("node-4.*"))] == [4, 5, 6, 7, 8]


def test_states_travel_to_who_lacks_them(tmp_path: Path) -> None:
    _, system = plan("collaborative")
    with crew(system, tmp_path) as hosts:
        hosts.call("plane-0", "import", b"[0, 1]", node=4, round=2)
        assert hosts.engine.call("plane-0", "export", {"node": 4, "round": 2}).body == b"[0, 1]"
        assert hosts.engine.call("plane-0", "weights", {"node": 4}).body == b"[0, 1]"
        with pytest.raises(CallFailed, match="no state of node 5 after 2 rounds"):
            hosts.call("plane-0", "export", node=5, round=2)
        with pytest.raises(CallFailed, match="keeps no state of node 8"):
            hosts.call("plane-0", "export", node=8, round=2)

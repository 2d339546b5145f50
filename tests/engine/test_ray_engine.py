from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_laws import EngineLaws
from processes import running

from orbitune.engine import make_engine
from orbitune.engine.protocol import Engine, Unreachable
from orbitune.errors import MissingExtra, RunError


class TestRay(EngineLaws):
    kind = "ray"
    needs = "ray"
    # Both see within 2 s that they are alone, and then try for a minute to tell the driver that is no more
    # (ray/_private/process_watcher.py, report_raylet_error_logs, of 2.60).
    lingering = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")

    def test_each_member_is_a_process_with_one_thread(self, engine: Engine) -> None:
        found = [engine.call(member, "process", {}).header for member in ("a", "b", "c")]
        assert len({one["pid"] for one in found} | {os.getpid()}) == 4
        assert {one["omp"] for one in found} == {"1"}

    def test_a_process_killed_from_outside_is_noticed(self, engine: Engine) -> None:
        os.kill(engine.call("c", "process", {}).header["pid"], signal.SIGKILL)
        began_s = time.monotonic()
        with pytest.raises(Unreachable):
            engine.call("c", "echo", {})
        while engine.alive("c") and time.monotonic() - began_s < 5.0:
            time.sleep(0.01)
        self.bring_back(engine, "c")

    def test_another_driver_joins_by_address_and_leaves_the_cluster_alone(
        self, engine: Engine, repository: Path
    ) -> None:
        import ray

        address = ray.get_runtime_context().gcs_address
        command = [sys.executable, "tests/engine/join_cluster.py", address]
        done = subprocess.run(command, cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)},
                              capture_output=True, text=True)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        deadline_s = time.monotonic() + 5.0
        while found["pid"] in running() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert found["pid"] not in running()
        assert "h cannot be placed: no answer within 1 s; it asks for {'host-7': 1}" in found["refused"]
        assert engine.call("a", "echo", {}, b"still here").body == b"still here"

    def test_a_second_cluster_in_one_process_is_refused(self, engine: Engine) -> None:
        with pytest.raises(RunError, match="connected to a Ray cluster already"):
            make_engine("ray")
        assert engine.alive("a")


CLOSED_IN_BETWEEN = """
import sys, threading, time
sys.path[:0] = {path}
from orbitune.engine import make_engine
from orbitune.errors import RunError

def start() -> None:
    try:
        engine.place("slow", "echo_worker:make", {{"start_s": 60.0}})
    except RunError as error:
        print(error)

if __name__ == "__main__":
    engine = make_engine("ray")
    thread = threading.Thread(target=start)
    thread.start()
    time.sleep(2.0)
    engine.close()
    thread.join()
    import ray
    print(ray.is_initialized())
"""
"""Asked for anything without a cluster, Ray starts one, and ends the process a minute after that one is gone."""


def test_closing_while_a_member_starts_leaves_ray_for_good(repository: Path) -> None:
    pytest.importorskip("ray")
    script = CLOSED_IN_BETWEEN.format(path=[str(Path(__file__).parent), str(repository)])
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, timeout=60.0)
    said = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(said)) == (0, "", 2)
    assert said[0].startswith("slow cannot be placed: ")
    assert said[1] == "False"


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'orbitune\[ray\]'"):
        make_engine("ray")


def test_an_address_where_nobody_answers() -> None:
    pytest.importorskip("ray")
    with pytest.raises(RunError, match="write HOST:PORT"):
        make_engine("ray", address="somewhere")
    with pytest.raises(RunError, match="no Ray cluster answers"):
        make_engine("ray", address="127.0.0.1:9")

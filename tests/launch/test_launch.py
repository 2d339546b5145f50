"""Real runs come to the weights of one process, on time where the machine keeps up, and through faults."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from orbitune.launch.run import requested, resumed
from orbitune.launch.state import State
from orbitune.launch.supervise import Supervisor, Watched
from tests.launch.real_runs import Fault, begin, drop, finish, kill

EQUAL = 1e-5
"""Largest difference of a trained tensor to one process, in its norm."""


def hit(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    go = Supervisor._go

    def armed(supervisor: Supervisor, attempt: object) -> None:
        go(supervisor, attempt)  # type: ignore[arg-type]
        fault.arm(supervisor)

    monkeypatch.setattr(Supervisor, "_go", armed)


def whats(content: dict[str, object]) -> list[str]:
    return [event["what"] for event in content["events"]]  # type: ignore[attr-defined]


def test_a_run_is_the_plan_and_the_training(tmp_path: Path) -> None:
    run = begin(tmp_path, "local")
    content = finish(run)
    assert content["max_weight_difference"] < EQUAL
    assert content["events"] == []
    plan, done = run.read_timeline("collaborative"), run.read_timeline("collaborative", "executed")
    assert done.link_bytes() == plan.link_bytes()
    assert len(done.activities) == len(plan.activities)
    assert min(one.start_s for one in done.activities) >= min(one.start_s for one in plan.activities) - 1e-9
    assert content["executed_s"] >= plan.time_s - 1e-6
    assert content["seen_s"] >= plan.time_s, "by the driver's own clock nothing was done before its time"
    assert content["seen_s"] >= content["executed_s"] - 1e-6
    assert json.loads((run.path / "launch.json").read_text()) == json.loads(json.dumps(content))
    assert [row["round"] for row in run.rows("methods/collaborative/metrics.jsonl")] == [0, 1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("members")]


@pytest.mark.exhaustive  # benchmarks/kills.py does the same at twenty moments
@pytest.mark.parametrize(("host", "share"), [("ground", 0.7)])
def test_a_host_that_is_killed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, share: float
) -> None:
    hit(monkeypatch, Fault(share, kill(host)))
    content = finish(begin(tmp_path, "local"))
    assert whats(content) == [f"lost {host}"]
    assert content["max_weight_difference"] < EQUAL


def test_rounds_go_on_without_a_lost_host_until_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hit(monkeypatch, Fault(0.2, kill("plane-1")))
    # Slow enough that a process can be started again before the last round.
    run = begin(tmp_path, "local", "train.lost_satellites=leave_out", "train.rounds=4", scale=0.15)
    content = finish(run)
    state = State.load(run)
    everybody = set(range(12))
    assert whats(content) == ["lost plane-1", "plane-1 is back"]
    assert set(state.participation[0]) < everybody  # the round that was repeated, without the lost plane
    assert set(state.participation[-1]) == everybody
    assert content["max_weight_difference"] < EQUAL  # to one process in which the same satellites take part


def test_a_link_that_is_gone_is_planned_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hit(monkeypatch, Fault(0.0, drop(0, 1)))
    run = begin(tmp_path, "local", "train.rounds=1")
    content = finish(run)
    assert "link 0 to 1 is gone" in whats(content)
    assert content["max_weight_difference"] < EQUAL
    sends = run.read_timeline("collaborative", f"attempt-{State.load(run).attempt}").activities
    assert all((one.node, one.peer) != (0, 1) for one in sends)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    def stop(watched: Watched) -> None:
        if watched.rounds == 1:
            raise KeyboardInterrupt

    run = begin(tmp_path, "local")
    with pytest.raises(KeyboardInterrupt):
        finish(run, stop)
    assert State.load(run).rounds_done == 1
    content = finish(resumed(run.path, engine=None, address=None))
    assert requested(run).engine == "local"
    assert content["max_weight_difference"] < EQUAL
    assert State.load(run).attempt == 2

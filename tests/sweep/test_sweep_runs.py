"""Sweeps as a user has them: whole, stopped, killed, resumed, on other engines."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orbitune.errors import InputError, RunError
from orbitune.mission import prepare
from orbitune.plans import plan_only
from orbitune.runs import RunFolder
from orbitune.scenario.load import load
from orbitune.sweep.execute import Engine, execute
from orbitune.sweep.folder import new_folder, open_folder
from orbitune.sweep.grid import parse_axes
from orbitune.sweep.request import Request, request_of

METHODS = ("collaborative", "onboard", "download")
SETS = ["method.overlap=none", "train.rounds=1"]
VARY = ["links.downlink_rate_mbps=1,30", "satellite.sustained_gflops=log:1:100:3", "shell.0.altitude_km=300,1200"]


@pytest.fixture(scope="module")
def request_() -> Request:
    return request_of("tiny", SETS, parse_axes(VARY), METHODS)


@pytest.fixture(scope="module")
def whole(request_: Request, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """One sweep on two processes, from start to end."""
    folder = new_folder(request_, tmp_path_factory.mktemp("sweeps") / "whole")
    execute(folder, request_, Engine(workers=2))
    return folder


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    return folder.rows("points.jsonl")


def test_every_point_is_what_planning_it_alone_gives(whole: RunFolder) -> None:
    for row in lines(whole):
        sets = [*SETS, *(f"{key}={value}" for key, value in row["values"].items())]
        if row["values"]["shell.0.altitude_km"] == 300:
            assert row["results"] == [] and set(row["refused"]) == set(METHODS)
            assert "too few to see each other" in row["refused"]["onboard"]
            continue
        alone = plan_only(load("tiny", sets), METHODS)
        assert row["results"] == [{key: row[key] for key in row if key != "where"} for row in alone]
        assert row["refused"] == {}


def test_the_tables_have_every_point_and_method(whole: RunFolder) -> None:
    assert [row["point"] for row in lines(whole)] == list(range(12))
    with (whole.path / "points.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 12 * len(METHODS)
    assert {row["method"] for row in table if row["refused"] == ""} == set(METHODS)
    found = whole.read_json("sweep.json")
    assert found["done"] == found["points"] == 12 and found["refused"] == dict.fromkeys(METHODS, 6)
    assert sum(found["fastest"].values()) == 6 and found["rejected"] == 0


def test_one_method_may_refuse_alone(tmp_path: Path) -> None:
    axes = parse_axes(["satellite.memory_gb=0.000001,8"])
    request = request_of("tiny", SETS, axes, METHODS)
    folder = new_folder(request, tmp_path / "sweep")
    execute(folder, request, Engine(workers=1))
    small, large = lines(folder)
    assert "onboard" in small["refused"] and [row["method"] for row in small["results"]] == ["download"]
    assert large["refused"] == {} and small["results"][0]["ratio_to_onboard_per_pass"] is None


def test_resuming_does_what_is_missing_and_nothing_twice(whole: RunFolder, request_: Request, tmp_path: Path) -> None:
    text = (whole.path / "points.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    folder = new_folder(request_, tmp_path / "sweep")
    (folder.path / "points.jsonl").write_text(text[7] + text[2] + text[5][:200], encoding="utf-8")
    heard: list[tuple[int, int]] = []
    opened, stored = open_folder(folder.path, request_)
    execute(opened, stored, Engine(workers=2), lambda done, total: heard.append((done, total)))
    assert heard == [(number, 12) for number in range(3, 13)]
    for name in ("points.jsonl", "points.csv", "sweep.json"):
        assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()
    execute(opened, stored, Engine(workers=2), lambda done, total: pytest.fail("nothing was left to do"))


def test_another_request_or_version_is_refused(whole: RunFolder, request_: Request, tmp_path: Path) -> None:
    other = request_of("tiny", SETS, parse_axes(["links.downlink_rate_mbps=1,31"]), METHODS)
    with pytest.raises(RunError, match="axes differs"):
        open_folder(whole.path, other)
    with pytest.raises(RunError, match="not empty"):
        new_folder(request_, whole.path)
    with pytest.raises(RunError, match="no folder of a sweep"):
        open_folder(tmp_path)
    folder = new_folder(request_, tmp_path / "old")
    folder.write_json("request.json", folder.read_json("request.json") | {"version": "0.0.1"})
    with pytest.raises(RunError, match=r"begun by Orbitune 0\.0\.1"):
        open_folder(folder.path)
    folder.write_text("request.json", '{"axes": 3}')
    with pytest.raises(RunError, match="damaged"):
        open_folder(folder.path)


def test_an_engine_says_what_it_cannot_do(request_: Request) -> None:
    with pytest.raises(InputError, match="there are local, ray"):
        Engine("spark").count(request_, 3)
    with pytest.raises(InputError, match="--engine ray"):
        Engine(address="somewhere:1").count(request_, 3)
    assert Engine(workers=8).count(request_, 3) == 3


# -- stopped from outside ----------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from orbitune.sweep.execute import Engine, execute
from orbitune.sweep.folder import open_folder

if __name__ == "__main__":
    execute(*open_folder(Path(sys.argv[1])), Engine(workers=2), lambda done, total: print(done, flush=True))
"""


def begin(folder: RunFolder, tmp_path: Path) -> subprocess.Popen[str]:
    """A sweep in a process of its own, until its first point is done."""
    script = tmp_path / "go.py"
    script.write_text(SCRIPT, encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, str(script), str(folder.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": root})  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "1"
    return process


def children(pid: int) -> list[int]:
    """Worker processes of a sweep: its children that run the spawned main."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def gone(pids: list[int]) -> bool:
    """Whether none of the processes works any more, after ten seconds at most."""
    for _ in range(100):
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def finish(folder: RunFolder, whole: RunFolder) -> None:
    """Resume, and compare with the sweep that was never stopped."""
    execute(*open_folder(folder.path), Engine(workers=2))
    assert (folder.path / "points.jsonl").read_bytes() == (whole.path / "points.jsonl").read_bytes()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGTERM, signal.SIGKILL))]
)
def test_stopped_at_any_moment_nothing_is_left_and_nothing_lost(
    number: signal.Signals, whole: RunFolder, request_: Request, tmp_path: Path
) -> None:
    folder = new_folder(request_, tmp_path / "sweep")
    process = begin(folder, tmp_path)
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert gone(workers)
    assert 1 <= len(lines(folder)) < 12
    finish(folder, whole)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_a_killed_worker_is_named_and_the_sweep_goes_on_later(
    whole: RunFolder, request_: Request, tmp_path: Path
) -> None:
    folder = new_folder(request_, tmp_path / "sweep")
    process = begin(folder, tmp_path)
    workers = children(process.pid)
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert "RunError: a worker process ended with code -9 at point" in said
    assert gone(workers)
    finish(folder, whole)


def test_two_processes_do_not_work_on_one_folder(request_: Request, tmp_path: Path) -> None:
    from orbitune.sweep.folder import at_work

    folder = new_folder(request_, tmp_path / "sweep")
    with at_work(folder), pytest.raises(RunError, match="another process"):
        execute(folder, request_, Engine(workers=1))


# -- engines -----------------------------------------------------------------------------------------------------------


def test_ray_gives_the_same_bytes(whole: RunFolder, request_: Request, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = new_folder(request_, tmp_path / "sweep")
    execute(folder, request_, Engine("ray", workers=2))
    for name in ("points.jsonl", "points.csv", "sweep.json"):
        assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_without_ray_it_says_how_to_get_it(request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orbitune.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"orbitune\[ray\]"):
        execute(new_folder(request_, tmp_path / "sweep"), request_, Engine("ray", workers=1))


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trained_points_have_accuracies_and_run_folders(tmp_path: Path, pictures: Path) -> None:
    pytest.importorskip("torch")
    from orbitune.errors import PlanError

    axes = parse_axes(["links.downlink_rate_mbps=5,50"])
    images = ["data.dataset=folder", "data.assignment=iid", f"data.folder={pictures}"]
    request = request_of("tiny", [*SETS, *images], axes, ("onboard",), train=True)
    folder = new_folder(request, tmp_path / "sweep")
    execute(folder, request, Engine())
    accuracies = [row["results"][0]["final_accuracy"] for row in lines(folder)]
    assert accuracies[0] == accuracies[1] is not None  # a rate changes times, never numbers
    assert len(list(folder.path.glob("runs/*/onboard/*/compare.json"))) == 2
    with pytest.raises(PlanError, match="no images to train on"):
        request_of("paper", [], axes, ("onboard",), train=True)


def test_a_mission_is_prepared_only_once_a_sky(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    from orbitune.sweep import sharing
    from orbitune.sweep.work import Worker

    horizons: list[float] = []

    def counted(scenario: Any) -> Any:
        horizons.append(scenario.time.duration_h)
        return prepare(scenario)

    monkeypatch.setattr(sharing, "prepare", counted)
    worker = Worker(request_)
    for point in request_.points():
        json.loads(worker.line(point))
    assert sum(hours > sharing.GLIMPSE_H for hours in horizons) == 1

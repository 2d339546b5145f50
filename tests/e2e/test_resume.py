"""A run that is stopped at any moment goes on to the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FEW = ["tiny", "--set", "train.rounds=10", "--set", "train.batch_size=1", "--set", "train.trains=full"]
WAIT_S = 120


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """`orbitune train` in a process group of its own."""
    command = [sys.executable, "-m", "orbitune", "train", *arguments, "--runs", str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def only_run(root: Path) -> Path:
    (path,) = root.iterdir()
    return path


def checkpoint(run: Path) -> bytes:
    return (run / "methods/collaborative/checkpoint.safetensors").read_bytes()


def curve(run: Path) -> list[str]:
    """The metrics without the wall clock."""
    lines = (run / "methods/collaborative/metrics.jsonl").read_text().splitlines()
    return [line.partition('"wall_s"')[0] for line in lines]


def wait_for_rounds(root: Path, rounds: int) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        found = list(root.glob("*/methods/collaborative/metrics.jsonl"))
        if found and found[0].read_text().count("\n") > rounds:
            return
        time.sleep(0.02)
    raise AssertionError(f"no round {rounds} within {WAIT_S} s")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, with_pictures: tuple[str, ...]) -> Path:
    root = tmp_path_factory.mktemp("whole")
    process = start(root, *FEW, *with_pictures)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    return only_run(root)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)])
def test_a_stopped_training_resumes_to_the_same_weights(
    tmp_path: Path, uninterrupted: Path, with_pictures: tuple[str, ...], how: signal.Signals
) -> None:
    process = start(tmp_path, *FEW, *with_pictures)
    wait_for_rounds(tmp_path, 2)
    os.kill(process.pid, how)  # the parent alone: what it started has to notice
    _, errors = process.communicate(timeout=WAIT_S)
    run = only_run(tmp_path)
    assert "Traceback" not in errors
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert f"--resume {run}" in errors
    assert not (run / "compare.json").exists(), "it was too late to interrupt anything"

    again = start(tmp_path, "--resume", str(run))
    _, errors = again.communicate(timeout=WAIT_S)
    assert again.returncode == 0, errors
    assert checkpoint(run) == checkpoint(uninterrupted)
    assert curve(run) == curve(uninterrupted)


def test_resuming_a_finished_run_changes_nothing(uninterrupted: Path) -> None:
    before = checkpoint(uninterrupted)
    process = start(uninterrupted.parent, "--resume", str(uninterrupted))
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    assert checkpoint(uninterrupted) == before


def test_a_damaged_checkpoint_is_one_clear_error(uninterrupted: Path) -> None:
    path = uninterrupted / "methods/collaborative/checkpoint.safetensors"
    whole = path.read_bytes()
    metrics = uninterrupted / "methods/collaborative/metrics.jsonl"
    rows = metrics.read_text()
    metrics.write_text("".join(rows.splitlines(keepends=True)[:-1]))  # so that there is something left to do
    path.write_bytes(whole[:-100])
    try:
        process = start(uninterrupted.parent, "--resume", str(uninterrupted))
        _, errors = process.communicate(timeout=WAIT_S)
    finally:
        path.write_bytes(whole)
        metrics.write_text(rows)
    assert process.returncode == 3
    assert "checkpoint.safetensors" in errors
    assert "Traceback" not in errors

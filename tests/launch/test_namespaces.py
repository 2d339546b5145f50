"""A real run over two hosts that only a network joins, which the kernel cuts in the middle of a transfer."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.namespaces import Network, cut, mend, network, why_not
from tests.launch.real_runs import SMALL

pytestmark = pytest.mark.slow

PORT = 6379
CUT_S = 3.0
SCALE = 0.1
"""Simulated seconds a second: one round and what is around it take ten."""

WINDOW_BYTES = 10 * 1460
"""What TCP sends before anything is confirmed (RFC 6928)."""

EQUAL = 1e-5
"""Largest difference of a trained tensor to one process, in its norm."""

START = ("-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=0", "--disable-usage-stats")


STARTED = "Ray runtime started"
START_S = 120.0
"""Our choice: twenty times what a quiet machine needs."""


def wait_for(words: str, log: Path) -> None:
    """Wait until something was said."""
    deadline_s = time.monotonic() + START_S
    while words not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline_s, log.read_text(encoding="utf-8")
        time.sleep(0.1)


@pytest.fixture
def hosts() -> Iterator[Network]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with network("sky", "ground") as made:
        yield made


@pytest.fixture
def variables(repository: Path) -> dict[str, str]:
    """A cluster is guarded by a word that whoever joins it has to know, and this one has its own."""
    return {
        "PYTHONPATH": str(repository),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@pytest.fixture
def cluster(hosts: Network, variables: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Address of a Ray cluster whose head is one host, which the other one joins."""
    pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="orbitune-ray-")  # short, because the names of sockets lie in it
    address = f"{hosts.address('sky')}:{PORT}"
    here = {host: [sys.executable, *START, f"--node-ip-address={hosts.address(host)}"] for host in hosts.hosts}
    head = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder}"]
    hosts.start("sky", [*here["sky"], *head], tmp_path / "head.txt", **variables)
    try:
        wait_for(STARTED, tmp_path / "head.txt")
        hosts.start("ground", [*here["ground"], f"--address={address}"], tmp_path / "joined.txt", **variables)
        wait_for(STARTED, tmp_path / "joined.txt")
        yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cut_is_silence_and_nothing_is_left_of_hosts(hosts: Network) -> None:
    reach = f"import socket; socket.create_connection(('{hosts.address('sky')}', 9), timeout=1.0)"

    def what_happens() -> str:
        command = hosts.command("ground", [sys.executable, "-c", reach])
        return subprocess.run(command, capture_output=True, text=True).stderr.splitlines()[-1]

    assert "ConnectionRefusedError" in what_happens()
    cut(hosts.switch)
    assert "TimeoutError" in what_happens()
    mend(hosts.switch)
    assert "ConnectionRefusedError" in what_happens()
    hosts.remove()
    assert hosts.key not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout


def test_a_run_goes_through_a_cut_in_the_middle_of_a_transfer(
    hosts: Network, cluster: str, variables: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    places = {"plane-0": "sky", "plane-1": "sky", "ground": "ground"}
    said = [f"--place={host}={hosts.address(place)}" for host, place in places.items()]
    sets = [f"--set={one}" for one in (*SMALL, "train.rounds=1")]
    options = ["--engine=ray", f"--address={cluster}", f"--time-scale={SCALE}", "--check-weights", "--json"]
    command = [
        sys.executable, "-m", "tests.launch.cut_launch", hosts.switch, str(CUT_S), str(tmp_path / "cut.json"),
        "launch", "tiny", *options, f"--runs={tmp_path / 'runs'}", *said, *sets,
    ]  # fmt: skip
    done = subprocess.run(
        hosts.command("sky", command), cwd=repository, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    content = json.loads(done.stdout)
    cut = json.loads((tmp_path / "cut.json").read_text())
    # Ends of both links are the switch's own, which may say a word of its own to whoever is there (IPv6).
    assert cut["passed"] < cut["offered"] / 20
    assert cut["offered"] > WINDOW_BYTES, "a transfer, not only signs of life"
    assert content["max_weight_difference"] < EQUAL
    assert content["executed_s"] > content["planned_s"] + CUT_S * SCALE / 2

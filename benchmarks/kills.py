"""Real runs in which a host dies at a random moment: each has to end with the weights of one process, and in silence.

Kill number n is of seed n, for the scenario and for its moment, and of one kind in turn: a host of satellites or the
one of the server at any time, either end of a transfer between hosts in the middle of it, and whoever sums up or sends
on an average in the middle of that. The scenario waits for lost satellites.

    python benchmarks/kills.py [--kills N] [--first SEED] [--engine ray|local]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import numpy as np
from record import record

from orbitune.errors import OrbituneError
from orbitune.launch.members import GROUND
from orbitune.launch.run import execute, start
from orbitune.launch.state import Request
from orbitune.launch.supervise import Attempt, Supervisor
from orbitune.scenario.load import load
from orbitune.seeds import generator
from orbitune.timeline.activity import Activity, Timeline

KINDS = ("satellite", "server", "transfer", "aggregation")
KILLS = 20

SETS = (
    "train.rounds=2",
    "train.local_steps=1",
    "train.optimizer=sgd",
    "train.learning_rate=1e-4",
    "train.lost_satellites=wait",
)
"""Few steps, by a rule and at a rate with which rounding does not grow into another training."""

SCALE = 0.25
"""Simulated seconds a second: the plan takes about six, and as much again after the kill."""

TO_GO_S = 10.0
"""Processes that are there so long after a run are orphans. Our choice, as `ray_engine.TO_CLOSE_S`."""

MARK = "ORBITUNE_BENCH_KILLS"
"""Environment variable by which a process is known as one of a run, whoever its parent is by now."""

LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp (Linux, include/net/tcp_states.h)."""


@dataclass(frozen=True)
class Kill:
    """Whom, when in simulated seconds, and what is planned for that moment."""

    host: str
    at_s: float
    during: str


def chosen(kind: str, timeline: Timeline, host_of: Mapping[int, str], seed: int) -> Kill:
    """A moment of a plan, drawn at random."""
    draw = generator(seed, "kills", kind)
    if kind in ("satellite", "server"):
        hosts = sorted({*host_of.values()} - {GROUND}) if kind == "satellite" else [GROUND]
        at_s = float(draw.uniform(0.0, timeline.time_s))
        return Kill(str(draw.choice(hosts)), at_s, stage_at(timeline, at_s))
    wanted = between_hosts if kind == "transfer" else averages
    found = [one for one in timeline.activities if one.phase == "train" and wanted(one, host_of)]
    hit = found[int(draw.integers(len(found)))]
    ends = [hit.node, hit.peer] if kind == "transfer" else [hit.node]
    return Kill(host_of[int(draw.choice(ends))], (hit.start_s + hit.end_s) / 2, hit.stage)


def between_hosts(one: Activity, host_of: Mapping[int, str]) -> bool:
    return one.kind == "send" and host_of[one.node] != host_of[one.peer]


def averages(one: Activity, host_of: Mapping[int, str]) -> bool:
    """Whether it sums up contributions, or carries them or their sum."""
    return one.kind == "merge" or (one.payload is not None and one.payload.kind in ("update", "model"))


def stage_at(timeline: Timeline, at_s: float) -> str:
    return next((span.stage for span in timeline.spans if at_s <= span.end_s), "")


def struck(kind: str, seed: int, told: list[Kill]) -> type[Supervisor]:
    """A supervisor whose first attempt is hit, and which hears nothing of it but what the engine says."""

    class Struck(Supervisor):
        def _go(self, attempt: Attempt) -> None:
            super()._go(attempt)
            if not told:
                told.append(chosen(kind, attempt.planned.timeline, self.members.host_of, seed))
                threading.Thread(target=self._strike, args=(told[0],), daemon=True).start()

        def _strike(self, kill: Kill) -> None:
            time.sleep(max(0.0, (kill.at_s - self.now_s()) / self.request.time_scale))
            self.members.engine.kill(kill.host)

    return Struck


def outcome(seed: int, engine: str) -> dict[str, Any]:
    """One run and its kill."""
    kind, told = KINDS[seed % len(KINDS)], list[Kill]()
    scenario = load("tiny", [*SETS, f"seed={seed}"])
    request = Request(scenario.method.name, engine, "", SCALE, "plane")
    content: dict[str, Any] = {}
    error, began_s = "", time.monotonic()
    os.environ[MARK] = uuid4().hex
    own = ports({os.getpid()})
    with tempfile.TemporaryDirectory(prefix="orbitune-kills-") as root:
        try:
            run = start(scenario, request, Path(root))
            with patch("orbitune.launch.run.Supervisor", struck(kind, seed, told)):
                content = execute(run, lambda watched: None, check_weights=True)
        except OrbituneError as failure:
            error = str(failure)
    kill = told[0] if told else Kill("", 0.0, "")
    return {
        "seed": seed,
        "engine": engine,
        "kind": kind,
        "host": kill.host,
        "at_s": kill.at_s,
        "during": kill.during,
        "finished": bool(content),
        "answered": ", ".join(event["what"] for event in content.get("events", [])),
        "weight_difference": content.get("max_weight_difference"),
        "wall_s": time.monotonic() - began_s,
        **left(own),
        "error": error,
    }


# -- what is left of a run --------------------------------------------------------------------------------------------


def left(own: set[str]) -> dict[str, int]:
    """Processes of the run that are still there, and ports on which they or we listen."""
    end_s = time.monotonic() + TO_GO_S
    while (orphans := marked(os.environ[MARK])) and time.monotonic() < end_s:
        time.sleep(0.1)
    return {"orphans": len(orphans), "ports": len(ports({*orphans, os.getpid()}) - own)}


def marked(mark: str) -> set[int]:
    """Numbers of all processes that were started with this mark; we ourselves were not."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue  # gone, or somebody else's
    return found


def ports(pids: set[int]) -> set[str]:
    """Addresses on which these processes take connections, as the kernel writes them."""
    sockets = {target for pid in pids for target in open_files(pid)}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        if (path := Path(f"/proc/net/{table}")).exists()
        for line in path.read_text(encoding="utf-8").splitlines()[1:]
    ]
    return {fields[1] for fields in rows if fields[3] == LISTEN and f"socket:[{fields[9]}]" in sockets}


def open_files(pid: int) -> list[str]:
    try:
        return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(description="Real runs in which a host dies at a random moment.")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--first", type=int, default=0, help="seed of the first kill; the others follow")
    parser.add_argument("--engine", choices=("ray", "local"), default="ray")
    asked = parser.parse_args()
    rows = []
    for seed in range(asked.first, asked.first + asked.kills):
        rows.append(outcome(seed, asked.engine))
        print(f"{len(rows)} of {asked.kills}: {rows[-1]}", flush=True)
    differences = [row["weight_difference"] for row in rows if row["weight_difference"] is not None]
    top = {
        "kills": len(rows),
        "finished": sum(row["finished"] for row in rows),
        "max_weight_difference": float(np.max(differences)) if differences else None,
        "orphans": sum(row["orphans"] for row in rows),
        "ports": sum(row["ports"] for row in rows),
    }
    record("kills", rows, seed=asked.first, top=top)


if __name__ == "__main__":
    main()

"""What each engine that is installed costs, and whether a real run on it is the plan and the training of one process.

calls        A body there and back, from the driver to a member and between two: a word of control, the activations of
             32 images of 50 tokens of width 192 in single precision, and an adapter with its optimiser.
split_step   One step of split training of the real model between two members, see `split_worker`; as fast as it goes.
round        A whole small mission of 40 satellites through `orbitune launch`, at a simulated pace: executed against
             planned, and weights against those of the other engines and of one process.

Members run on this machine: `local` in this process, `ray` and `flare` in one each.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from record import record, table
from safetensors.numpy import load as load_tensors

from orbitune.engine import engines, make_engine
from orbitune.engine.protocol import Engine, Header, Peers, Reply
from orbitune.errors import MissingExtra
from orbitune.launch.run import execute, start
from orbitune.launch.state import Request
from orbitune.mission import learn_spec, model_spec, prepare, selection
from orbitune.plans import plan_method
from orbitune.runs import RunFolder
from orbitune.scenario.load import load

FACTORY = "engines:make"
BODIES = {1_000: 200, 4 * 32 * 50 * 192: 60, 10 * 2**20: 20}
"""Bytes of a body, and how many calls are timed with it after some that are not."""
WARM_UP = 5
MEMBERS = ("a", "b")

SPLIT = "split_worker:make"
BATCH = 8
STEPS = 30
"""Steps that are timed."""

ROUND = (
    "shell.0.satellites=40",
    "shell.0.planes=4",
    "train.rounds=1",
    "train.local_steps=1",
    "train.optimizer=sgd",
    "train.learning_rate=1e-4",
    "server.sustained_gflops=1000",
)
"""One step of every satellite, by a rule with which rounding does not grow into another training. The ground's computer
is planned as one that needs four real seconds, at `TIME_SCALE`, for the 120 samples of the round there and back: quiet
cores need about one (`learn.client.GROUP`). The preset's machine would be given a tenth of a second."""

TIME_SCALE = 0.015
"""Simulated seconds a second, with which the mission takes a minute and a half. Our choice: a call, of milliseconds,
is then below a hundredth of the shortest stage in which bytes travel."""


class Echo:
    """Gives back what it gets, and times others who do."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        if method == "time":
            return Reply({"took_s": took_s(self.peers, header["to"], body, header["calls"])})
        if method == "memory":
            if header["torch"]:
                import torch  # noqa: F401
            return Reply({"rss_mb": memory_mb("VmRSS", "status"), "pss_mb": memory_mb("Pss", "smaps_rollup")})
        return Reply({}, body)

    def close(self) -> None:
        """Nothing to let go of."""


def make(peers: Peers, header: Header, body: bytes) -> Echo:
    return Echo(peers)


def took_s(peers: Peers, member: str, body: bytes, calls: int) -> list[float]:
    """Seconds of each of that many calls, one after the other."""
    found = []
    for _ in range(WARM_UP + calls):
        began_s = time.perf_counter()
        reply = peers.call(member, "echo", {}, body)
        found.append(time.perf_counter() - began_s)
        assert reply.body == body
    return found[WARM_UP:]


def memory_mb(key: str, file: str) -> float:
    """Of this process: resident, or with what it shares divided among those who share it (Linux, proc(5))."""
    lines = Path(f"/proc/self/{file}").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024 / 1e6


@contextmanager
def started(kind: str, factory: str, headers: Mapping[str, Header]) -> Iterator[tuple[Engine, dict[str, float]]]:
    """The engine with its members, and how long it took to get there."""
    options: dict[str, Any] = {"members": tuple(headers), "factories": [factory]} if kind == "flare" else {}
    began_s = time.perf_counter()
    with closing(make_engine(kind, **options)) as engine:
        up_s = time.perf_counter()
        for member, header in headers.items():
            engine.place(member, factory, header)
        placed_s = (time.perf_counter() - up_s) / len(headers)
        yield engine, {"start_s": up_s - began_s, "place_member_s": placed_s}


def call_rows(engine: Engine) -> Iterator[dict[str, Any]]:
    """A row for each path and size."""
    for size, calls in BODIES.items():
        body = os.urandom(size)
        member_s = engine.call("a", "time", {"to": "b", "calls": calls}, body).header["took_s"]
        for path, times in (("driver-member", took_s(engine, "a", body, calls)), ("member-member", member_s)):
            yield {
                "engine": engine.kind,
                "path": path,
                "body_bytes": size,
                "calls": calls,
                "best_ms": 1e3 * min(times),
                "median_ms": 1e3 * statistics.median(times),
            }


def member_row(engine: Engine, began: dict[str, float]) -> dict[str, Any]:
    """What a member is, where it is a process: memory as it starts, and with torch imported."""
    row: dict[str, Any] = {"engine": engine.kind, **began}
    for name, torch in (("", False), ("torch_", True)) if engine.kind != "local" else ():
        found = engine.call("a", "memory", {"torch": torch}).header
        row |= {f"{name}{key}": value for key, value in found.items()}
    return row


def installed() -> dict[str, str]:
    """Releases of the engines' packages."""
    found = {}
    for package in ("ray", "nvflare"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# -- a split step -----------------------------------------------------------------------------------------------------


def learning_header() -> Header:
    """What both members of a split step have to know: the model, images and cut of the tiny preset."""
    mission = prepare(load("tiny"))
    planned = plan_method(mission, mission.scenario.method.name)
    header = {
        "nodes": [int(np.argmax(planned.job.samples))],
        "spec": asdict(learn_spec(mission.scenario, planned.method, planned.job)),
        "model": asdict(model_spec(mission.scenario)),
        "selection": asdict(selection(mission.scenario)),
        "num_satellites": mission.system.nodes.num_satellites,
    }
    plain: Header = json.loads(json.dumps(header))
    return plain


def split_row(kind: str) -> dict[str, Any]:
    """One step, timed where it begins and ends: on board."""
    header = learning_header()
    with started(kind, SPLIT, {"satellite": header, "ground": header}) as (engine, _):
        asked = {"ground": "ground", "batch": BATCH, "steps": STEPS}
        steps = engine.call("satellite", "steps", asked).header["steps"]
    step_ms, compute_ms = ([1e3 * step[key] for step in steps] for key in ("step_s", "compute_s"))
    beside_ms = [step - compute for step, compute in zip(step_ms, compute_ms, strict=True)]
    return {
        "engine": kind,
        "batch": BATCH,
        "steps": STEPS,
        "best_ms": min(step_ms),
        "median_ms": statistics.median(step_ms),
        "compute_median_ms": statistics.median(compute_ms),
        "engine_median_ms": statistics.median(beside_ms),
        "bytes": steps[0]["bytes"],
    }


# -- a round ----------------------------------------------------------------------------------------------------------


def carried_out(kind: str, root: Path) -> tuple[RunFolder, dict[str, Any]]:
    """The mission on an engine; returns its folder and its outcome."""
    scenario = load("tiny", ROUND)
    run = start(scenario, Request(scenario.method.name, kind, "", TIME_SCALE, "plane"), root / kind)
    return run, execute(run, lambda watched: None, check_weights=True)


def round_row(run: RunFolder, content: Mapping[str, Any]) -> dict[str, Any]:
    """What it took."""
    executed = run.read_timeline(content["method"], "executed")
    return {
        "engine": content["engine"],
        "satellites": len(executed_satellites(executed.activities)),
        "wall_s": content["wall_s"],
        "planned_s": content["planned_s"],
        "executed_s": content["executed_s"],
        "seen_s": content["seen_s"],
        "time_scale": content["time_scale"],
        "link_bytes": sum(executed.link_bytes().values()),
        "call_ms": 1e3 * content["call_overhead_s"] / content["time_scale"],
        "executed_over_planned": content["round"],
        "overruns": content["overruns"],
        "faults": len(content["events"]),
        "difference_to_one_process": content["max_weight_difference"],
    }


def executed_satellites(activities: Sequence[Any]) -> set[int]:
    """Those that embedded something."""
    return {one.node for one in activities if one.kind == "compute" and one.stage == "embed"}


def stage_rows(outcomes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each stage and for the round: executed over planned by engine, or where a stage is too short to be
    held against its plan by that, the simulated seconds that it took longer."""
    found = [{"stage": "round", **{kind: content["round"] for kind, content in outcomes.items()}}]
    first = next(iter(outcomes.values()))
    for place, stage in enumerate(first["stages"]):
        row: dict[str, Any] = {"stage": stage["stage"], "planned_s": stage["planned_s"]}
        for kind, content in outcomes.items():
            told = content["stages"][place]
            row |= {kind: told["ratio"] if told["judged"] else None, f"{kind}_error_s": told["error_s"]}
        found.append(row)
    return found


def farthest(rows: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> dict[str, float]:
    """Of each stage and the round, the engine's ratio that is farthest from 1; no stage that is too short on all."""
    ratios = {str(row["stage"]): [row[kind] for kind in kinds if row[kind] is not None] for row in rows}
    return {stage: max(found, key=lambda ratio: abs(ratio - 1.0)) for stage, found in ratios.items() if found}


def weight_rows(runs: Mapping[str, RunFolder], method: str) -> list[dict[str, Any]]:
    """Each two engines: the largest over all tensors of |a - b| / |b|, and whether all bits are the same."""
    written = {kind: (run.path / f"methods/{method}/weights.safetensors").read_bytes() for kind, run in runs.items()}
    return [
        {
            "engine": first,
            "other": second,
            "difference": largest_difference(written[first], written[second]),
            "bit_identical": written[first] == written[second],
        }
        for first, second in combinations(written, 2)
    ]


def largest_difference(ours: bytes, theirs: bytes) -> float:
    """Of two files of the same tensors; norms are Euclidean, over a tensor."""
    a, b = load_tensors(ours), load_tensors(theirs)
    assert set(a) == set(b)
    gaps = {name: float(np.linalg.norm(a[name].astype(float) - b[name])) for name in b}
    return max(gap / (float(np.linalg.norm(b[name].astype(float))) or 1.0) for name, gap in gaps.items())


# -- all of it --------------------------------------------------------------------------------------------------------


def there() -> list[str]:
    """Engines that are installed."""
    found = []
    for kind in engines():
        try:
            make_engine(kind).close()
        except MissingExtra as missing:
            print(f"{kind} is left out: {missing}", file=sys.stderr)
            continue
        found.append(kind)
    return found


def main() -> None:
    """Every engine that is there."""
    kinds = there()
    print(f"calls, split steps and a round on {', '.join(kinds)}: about three minutes each", file=sys.stderr)
    calls, members = [], []
    for kind in kinds:
        with started(kind, FACTORY, {member: {} for member in MEMBERS}) as (engine, began):
            members.append(member_row(engine, began))
            calls += list(call_rows(engine))
    steps = [split_row(kind) for kind in kinds]
    with tempfile.TemporaryDirectory(prefix="orbitune-bench-") as root:
        done = {kind: carried_out(kind, Path(root)) for kind in kinds}
        outcomes = {kind: content for kind, (_, content) in done.items()}
        rounds = [round_row(run, content) for run, content in done.values()]
        weights = weight_rows({kind: run for kind, (run, _) in done.items()}, outcomes[kinds[0]]["method"])
    stages = stage_rows(outcomes)
    for rows in (members, calls, steps, rounds, weights):
        print(table(rows) + "\n")
    top = {
        "engine_versions": installed(),
        "members": members,
        "calls": calls,
        "split_step": steps,
        "round": rounds,
        "executed_over_planned": farthest(stages, kinds),
        "max_weight_difference": max((row["difference"] for row in weights), default=0.0),
        "weights": weights,
    }
    record("engines", stages, seed=0, top=top)


if __name__ == "__main__":
    main()

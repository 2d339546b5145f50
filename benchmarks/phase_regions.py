"""Where `reconstructed` takes 0.33 of on-board training: the computer on board at which it does, case by case.

Preset `paper`, one round, stages one after the other. For each case both methods are planned with computers from 10 to
10,000 GFLOP/s; the ratio of their times rises with the computer, and the one at which it passes a level is found
between two of them on logarithmic scales. Cases change one thing at a time: what trains, the downlink, how much of the
time stations see satellites, the server, the uplink. Every plan is accepted by the checker.

    python benchmarks/phase_regions.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log
from multiprocessing import get_context

from record import record

from orbitune.methods.onboard import LocalWork
from orbitune.mission import job_of
from orbitune.plans import plan_method
from orbitune.scenario.load import load
from orbitune.scenario.schema import Scenario
from orbitune.sweep.sharing import Skies

SPEEDS = tuple(10.0 * 10 ** (step / 2) for step in range(7))
"""GFLOP/s, half a decade apart: the ratio is close to a power of the computer in between."""

LEVELS = (1.0, 0.67, 0.60, 0.33)
PROCESSES = 2

Row = dict[str, str | float | None]


@dataclass(frozen=True)
class Case:
    """One change of the preset; `stations` and `antennas` make the contact share."""

    words: str
    sets: tuple[str, ...] = ()
    stations: int | None = None
    antennas: int = 1

    def at(self, speed: float) -> Scenario:
        """The scenario with a computer on board of so many GFLOP/s."""
        sets = ("train.rounds=1", "method.overlap=none", "time.duration_h=48", f"satellite.sustained_gflops={speed}")
        scenario = load("paper", (*sets, *self.sets))
        chosen = scenario.ground_station[: self.stations]
        return replace(scenario, ground_station=tuple(replace(one, antennas=self.antennas) for one in chosen))


def cases() -> list[Case]:
    """What trains over the downlink, then single changes for the head and the encoder."""
    found = [
        Case(f"{trains}, downlink {rate} Mbit/s", (f"train.trains={trains}", f"links.downlink_rate_mbps={rate}"))
        for trains in ("head", "lora", "encoder", "full")
        for rate in (40, 160, 640, 10000)
    ]
    for trains in ("head", "encoder"):
        own = f"train.trains={trains}"
        found += [Case(f"{trains}, {count} stations", (own,), stations=count) for count in (2, 5)]
        found += [Case(f"{trains}, 4 antennas a station", (own,), antennas=4)]
        found += [Case(f"{trains}, server x 10", (own, "server.sustained_gflops=468000"))]
        found += [Case(f"{trains}, uplink 100 Mbit/s", (own, "links.uplink_rate_mbps=100"))]
        found += [Case(f"{trains}, flown with its weights", (own, "method.preloaded=true"))]
    return found


def row(case: Case) -> Row:
    """The computers at which the levels are passed, for training alone and for the whole job."""
    ratios: dict[str, list[float]] = {"train": [], "job": []}
    skies, flops = Skies({}), 0.0
    for speed in SPEEDS:
        mission = skies.prepare(case.at(speed))
        ours, board = (plan_method(mission, name).timeline for name in ("reconstructed", "onboard"))
        ratios["train"].append(ours.phase_s("train") / board.phase_s("train"))
        ratios["job"].append(ours.time_s / board.time_s)
        flops = LocalWork.of(job_of(mission), 0).train_flops(0)
    at = {f"{what}_{level}_at_gflops": crossing(found, level) for what, found in ratios.items() for level in LEVELS}
    return {"case": case.words, "onboard_round_tflop": flops / 1e12, "reconstructed_train_s": ours.phase_s("train"),
            "least_train_ratio": min(ratios["train"]), **at}  # fmt: skip


def crossing(ratios: Sequence[float], level: float) -> float | None:
    """The largest computer up to which the ratio is at most that; None where it is above it everywhere, or nowhere."""
    for (slow, low), (fast, high) in reversed(list(pairwise(zip(SPEEDS, ratios, strict=True)))):
        if low <= level < high:
            share = log(level / low) / log(high / low)
            return exp(log(slow) + share * log(fast / slow))
    return None


def main() -> None:
    """All cases, printed and kept in benchmarks/out/phase_regions.json."""
    began_s = time.monotonic()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(row, cases()))
    top = {"preset": "paper", "rounds": 1, "wall_s": time.monotonic() - began_s, "load_average": os.getloadavg()[1]}
    record("phase_regions", rows, seed=2026, top=top)


if __name__ == "__main__":
    main()

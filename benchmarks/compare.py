"""The paper's question on preset `paper`: times over on-board training, for each set of things that train.

For each of head, lora, encoder and full: `reconstructed` (what is known of arXiv:2504.10403), `collaborative` with the
switches that leave the numbers alone (stream, cache, quickest ways) and `onboard`, all with the same samples and steps;
times from timelines that the checker accepted. The model of the preset cannot be trained here, so accuracy stands for
itself: the same three schemes train Galileo nano on preset `tiny`, and the difference is in points.

    python benchmarks/compare.py [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from record import OUT, record

from orbitune.experiment import trainings
from orbitune.mission import Mission, prepare
from orbitune.plans import plan_method
from orbitune.runs import RunFolder
from orbitune.scenario.load import load
from orbitune.training import train

TRAINS = ("head", "lora", "encoder", "full")
CACHE = {"head": "features", "lora": "embeddings", "encoder": "embeddings", "full": "none"}
"""The most that may be kept without changing a number."""

OURS = ("method.overlap=stream", "method.satellite_ground=quickest", "method.inter_orbit=quickest")


def time_s(mission: Mission, name: str) -> float:
    """Seconds of the whole job, checked."""
    return plan_method(mission, name).timeline.time_s


def planned(trains: str, rounds: int) -> dict[str, float]:
    """The three ratios of one set."""
    common = (f"train.trains={trains}", f"train.rounds={rounds}")
    plain = prepare(load("paper", (*common, "method.overlap=none")))
    ours = prepare(load("paper", (*common, *OURS, f"method.cache={CACHE[trains]}")))
    reconstructed, onboard = time_s(plain, "reconstructed"), time_s(ours, "onboard")
    collaborative = time_s(ours, "collaborative")
    return {
        "reconstructed_s": round(reconstructed, 2),
        "onboard_s": round(onboard, 2),
        "ours_s": round(collaborative, 2),
        "reconstructed_over_onboard": round(reconstructed / onboard, 4),
        "ours_over_onboard": round(collaborative / onboard, 4),
        "ours_over_reconstructed": round(collaborative / reconstructed, 4),
    }


def accuracy(trains: str, name: str, cache: str) -> float:
    """Final accuracy of a short training on preset tiny."""
    overlap = "none" if name == "reconstructed" else "stream"
    sets = (f"train.trains={trains}", "train.rounds=4", f"method.cache={cache}", f"method.overlap={overlap}")
    mission = prepare(load("tiny", sets))
    with TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder), "compare", "", mission.scenario.seed)
        (training, *_) = trainings(mission, plan_method(mission, name), run, random_start=False)
        train(training, lambda row: None)
        return float(training.rows()[-1]["accuracy"])


def choice() -> dict[str, object]:
    """What `benchmarks/choose.py` found, if it was run."""
    path = OUT / "choose.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return {key: found.get(key) for key in ("choose_checked", "choose_beaten")}


def main() -> None:
    """All sets, as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    readings: dict[str, dict[str, float]] = {}
    for trains in TRAINS:
        began_s = time.perf_counter()
        plain, ours = (accuracy(trains, *how) for how in (("reconstructed", "none"), ("collaborative", CACHE[trains])))
        readings[trains] = planned(trains, rounds) | {"accuracy_difference": round(100 * (ours - plain), 3)}
        print(f"{trains}: {time.perf_counter() - began_s:.0f} s of work", flush=True)
    rows = [{"trains": trains, **found} for trains, found in readings.items()]
    record("compare", rows, seed=0, top={"preset": "paper", "rounds": rounds, "readings": readings, **choice()})


if __name__ == "__main__":
    main()

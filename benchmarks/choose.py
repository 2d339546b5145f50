"""Whether `choose` finds what trying everything finds, on random small scenarios.

Each scenario is drawn (rings of six satellites, stations, rates, computers, model, what trains), and of each switch a
few values, so that all points can be simulated. `every_timeline` does that without a line of the search: it writes each
point as changes to the scenario file, reads that, plans it with the planner that all commands share, and holds the
user's constraints against the timeline itself. `choose_beaten` counts scenarios in which any point is better than the
answer, or in which one of the two finds something and the other nothing.

The first 36 choose among the switches of the collaborative method, the next ten for the methods of `OTHERS` in turn;
all switches are tried with these, too, so that one which the search takes for idle shows. The last have larger batches
and are searched for time: there streaming has several cuts to try, of which the search gives some up.

    python benchmarks/choose.py [SCENARIOS]
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from orbitune.choose.limits import Limits, private_of
from orbitune.choose.reads import WAYS
from orbitune.choose.search import Answer, Search
from orbitune.choose.space import VALUES, Space, Value, space_of
from orbitune.errors import PlanError, ScenarioError, TimelineRejected
from orbitune.mission import Mission, prepare
from orbitune.plans import plan_method
from orbitune.scenario.build_model import partition
from orbitune.scenario.load import load
from orbitune.seeds import generator
from orbitune.timeline.activity import Timeline
from orbitune.timeline.summary import energy_j

SEED = 2026
COLLABORATIVE = 36
OTHERS = ("onboard", "download", "fedavg", "fedisl", "fedleo")
STREAMED = 12
SCENARIOS = COLLABORATIVE + 2 * len(OTHERS) + STREAMED
PROCESSES = 2

Played = Timeline | TimelineRejected | None
"""What planning a point comes to: nothing where it cannot be planned to its end, and what the checker rejects is an
error of the planner, which costs the point but not the comparison."""

Row = dict[str, str | int | float | bool | None]

SAME = 1e-9
"""Relative: two plans of the same job are equal to the last bit, so anything below this would be a better point."""

STATIONS = (("Svalbard", 78.23, 15.41), ("Wallops", 37.95, -75.46), ("Hartebeesthoek", -25.89, 27.71),
            ("Singapore", 1.40, 103.83))  # fmt: skip
"""As in the preset "tiny", and one near the equator."""

MEMORY_GB = (0.02, 0.05, 64.0)
"""Chosen: with the smallest, galileo-nano's deeper cuts and its encoder in orbit do not fit on board."""

BATCHES = (4, 8, 16)
"""Chosen: of streamed scenarios, so that there are 3 to 5 numbers of micro-batches."""


@dataclass(frozen=True)
class Case:
    """A random scenario, which values are searched, for which method, and for what."""

    number: int
    method: str
    text: str
    objective: str
    narrowed: Mapping[str, tuple[Value, ...]]
    private: tuple[str, ...]
    energy_share: float


def case(seed: int, number: int) -> Case:
    """Case `number` of a seed."""
    rng = generator(seed, "choose", number)
    if number >= SCENARIOS - STREAMED:
        return _streamed(rng, number)
    trains = str(rng.choice(["head", "lora", "encoder", "full"]))
    single = str(rng.choice(["intra_orbit", "satellite_ground", "inter_orbit"]))
    few = {name: _some(rng, name, 1 if name == single else 2) for name in ("placement", "cache", *WAYS[1:])}
    narrowed = few | {"cut": tuple(sorted(rng.choice(5, 2, replace=False).tolist())), "overlap": VALUES["overlap"]}
    private = ("embedding@0", "embedding_gradient@1")[int(rng.integers(2))]
    return Case(
        number=number,
        method="collaborative" if number < COLLABORATIVE else OTHERS[(number - COLLABORATIVE) % len(OTHERS)],
        text=_scenario(rng, trains),
        objective=("time", "bytes", "energy", "time")[number % 4],
        narrowed=narrowed,
        private=(private,) if rng.random() < 0.4 else (),
        energy_share=float(rng.uniform(0.9, 3.0)) if rng.random() < 0.3 else inf,
    )


def _streamed(rng: np.random.Generator, number: int) -> Case:
    """Larger batches, all of which cross the cut in micro-batches, and ways that often take nearly the same time."""
    counts = {"intra_orbit": 2, "satellite_ground": 1, "inter_orbit": 4}
    narrowed: dict[str, tuple[Value, ...]] = {name: _some(rng, name, count) for name, count in counts.items()}
    narrowed |= {"cut": (int(rng.integers(5)),), "placement": ("ground",), "cache": ("none",), "overlap": ("stream",)}
    text = _scenario(rng, str(rng.choice(["head", "lora", "encoder"])), int(rng.choice(BATCHES)))
    return Case(number, "collaborative", text, "time", narrowed, (), inf)


def _some(rng: np.random.Generator, name: str, count: int) -> tuple[Value, ...]:
    known = VALUES[name]
    return tuple(known[row] for row in sorted(rng.choice(len(known), count, replace=False).tolist()))


def _scenario(rng: np.random.Generator, trains: str, batch: int = 0) -> str:
    """The rings of six of the preset "tiny"; stations, rates (log-uniform) and computers drawn.

    Args:
        batch: Samples of a batch; 0 draws 1 or 2.
    """
    planes = int(rng.integers(1, 3))
    chosen = sorted(rng.choice(len(STATIONS), int(rng.integers(1, 4)), replace=False).tolist())
    stations = "\n".join(
        f'[[ground_station]]\nname = "{name}"\nlatitude_deg = {latitude}\nlongitude_deg = {longitude}'
        for name, latitude, longitude in (STATIONS[row] for row in chosen)
    )

    def rate(low: float, high: float) -> float:
        return float(f"{10 ** rng.uniform(np.log10(low), np.log10(high)):.3g}")

    return f"""
name = "random-choose"
extends = "tiny"
seed = {int(rng.integers(1000))}
[[shell]]
kind = "walker-star"
satellites = {6 * planes}
planes = {planes}
phasing = 0
altitude_km = 1200.0
inclination_deg = {float(rng.integers(50, 99))}
raan_deg = {float(rng.integers(360))}
{stations}
[links]
downlink_rate_mbps = {rate(1, 1000)}
uplink_rate_mbps = {rate(0.25, 54)}
isl_intra_rate_mbps = {rate(1, 10000)}
isl_inter_rate_mbps = {rate(1, 1000)}
[satellite]
sustained_gflops = {rate(0.01, 1000)}
memory_gb = {rng.choice(MEMORY_GB)}
[data]
dataset = "none"
samples_per_satellite = {max(6, batch)}
num_classes = 7
[train]
trains = "{trains}"
rounds = {int(rng.integers(1, 3))}
local_steps = 1
batch_size = {batch or int(rng.integers(1, 3))}
[method]
preloaded = {str(bool(rng.random() < 0.7)).lower()}
deliver_to = "{rng.choice(["server", "satellites"])}"
inter_orbit = "via_ground"
"""


# -- without the search ----------------------------------------------------------------------------------------------

SECTION = {"cut": "model.cut_after_block"} | {
    name: f"method.{name}"
    for name in ("placement", "cache", "overlap", "intra_orbit", "satellite_ground", "inter_orbit")
}


def every_timeline(
    path: Path, mission: Mission, values: Mapping[str, Sequence[Value]], method: str = "collaborative"
) -> Iterator[tuple[int, Played]]:
    """The cut of each point and what planning it comes to."""
    names = list(SECTION)
    for chosen in itertools.product(*(values[name] for name in names)):
        sets = [f"{SECTION[name]}={value}" for name, value in zip(names, chosen, strict=True)]
        sets.append(f"method.name={method}")
        try:
            scenario = load(path, sets)
            there = replace(mission, scenario=scenario, partition=partition(scenario, mission.holdings))
            timeline = plan_method(there, method).timeline
        except (ScenarioError, PlanError):
            yield 0, None
            continue
        except TimelineRejected as rejected:
            yield 0, rejected
            continue
        yield scenario.model.cut_after_block, None if timeline.stopped else timeline


def worth(
    cut: int, timeline: Played, mission: Mission, objective: str, private: Sequence[str] = (),
    energy_limit_j: float = inf,
) -> float:  # fmt: skip
    """The value of a point, infinity if it breaks a constraint."""
    if not isinstance(timeline, Timeline) or tells(timeline, private, cut):
        return inf
    spent_j = energy_j(timeline, mission.system)
    return value_of(timeline, objective, spent_j) if spent_j <= energy_limit_j else inf


def tells(timeline: Timeline, private: Sequence[str], cut: int) -> bool:
    """Whether anything is sent of a kind that must stay on board at this cut, or images, from which all is made."""
    sent = {activity.payload.kind for activity in timeline.activities if activity.kind == "send" and activity.payload}
    kinds = [(kind, int(deepest or 99)) for kind, _, deepest in (word.partition("@") for word in private)]
    return any(cut <= deepest and not sent.isdisjoint((kind, "image")) for kind, deepest in kinds)


def value_of(timeline: Timeline, objective: str, spent_j: float) -> float:
    """Seconds, joules, or bytes of everything that is sent but over cables."""
    if objective == "time":
        return max(span.end_s for span in timeline.spans)
    if objective == "energy":
        return spent_j
    sends = [activity for activity in timeline.activities if activity.kind == "send" and activity.link != "backhaul"]
    return float(sum(activity.payload.size for activity in sends if activity.payload))


# -- both ------------------------------------------------------------------------------------------------------------


def compared(number: int) -> Row:
    """One case, searched and tried out."""
    drawn = case(SEED, number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.toml"
        path.write_text(drawn.text, encoding="utf-8")
        mission = prepare(load(path))
        whole = space_of(mission, methods=(drawn.method,))
        values = {name: drawn.narrowed.get(name, own) for name, own in whole.values.items()}
        limit_j = _energy_limit(mission, replace(whole, values=values), drawn)
        limits = Limits(energy_j=limit_j, private=private_of(drawn.private))
        answer = Search(mission, replace(whole, values=values), limits, drawn.objective).run()
        started_s = time.monotonic()
        played = list(every_timeline(path, mission, values, drawn.method))
        every_s = time.monotonic() - started_s
    found = [worth(*point, mission, drawn.objective, drawn.private, limit_j) for point in played]
    rejected = sum(isinstance(timeline, TimelineRejected) for _, timeline in played)
    return _row(drawn, answer, found, rejected, every_s)


def _energy_limit(mission: Mission, space: Space, drawn: Case) -> float:
    """So much of what the frugal point spends that some points keep to it and others do not; or none do."""
    if drawn.energy_share == inf:
        return inf
    least = Search(mission, space, Limits(), "energy").run()
    return inf if least.best is None else least.best.value * drawn.energy_share


def _row(drawn: Case, answer: Answer, found: Sequence[float], rejected: int, every_s: float) -> Row:
    best, chosen = min(found), inf if answer.best is None else answer.best.value
    tally = answer.tally
    return {
        "number": drawn.number,
        "method": drawn.method,
        "objective": drawn.objective,
        "constraints": " ".join([*drawn.private, *(["energy"] if drawn.energy_share < inf else [])]) or "memory",
        "points": len(found),
        "counted": tally.total,
        "feasible": sum(value < inf for value in found),
        "rejected": rejected,
        "planned": tally.planned,
        "given_up": tally.given_up,
        "bounded": tally.bounded,
        "search_s": answer.seconds,
        "every_s": every_s,
        "chosen": None if chosen == inf else chosen,
        "best": None if best == inf else best,
        "proven": answer.proven,
        "agrees": chosen == best or abs(chosen - best) <= SAME * best,
    }


def main(scenarios: int) -> None:
    """Compare all cases, print them, and keep them in benchmarks/out/choose.json."""
    from record import record

    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(compared, range(scenarios)))
    top = totals(rows)
    record("choose", rows, SEED, top)
    print(f"seed {SEED}, scenarios 0 to {scenarios - 1}")
    print(", ".join(f"{name} {value:.6g}" for name, value in top.items()))


def totals(rows: Sequence[Row]) -> dict[str, float]:
    """`choose_answered`: in so many scenarios some point keeps to the constraints."""
    return {
        "choose_checked": len(rows),
        "choose_answered": sum(row["best"] is not None for row in rows),
        "choose_beaten": sum(not row["agrees"] for row in rows),
        "points_planned": sum(int(row["planned"] or 0) + int(row["given_up"] or 0) for row in rows),
        "points_rejected": sum(int(row["rejected"] or 0) for row in rows),
        "points_total": sum(int(row["points"] or 0) for row in rows),
        "search_s": sum(float(row["search_s"] or 0) for row in rows),
        "every_s": sum(float(row["every_s"] or 0) for row in rows),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SCENARIOS)

"""How good the three strategies are: against the best way, against bounds, against what is known of the paper.

1. 200 random missions (`random_missions`): every way of every strategy (`strategy_trials`), over the earliest of all
   ways and over the bound; whole rounds of `collaborative` on every twentieth. Ways that refuse are counted, and their
   times are missing from the quantiles of their own row only.
2. The preset `paper`, switch by switch from `reconstructed` to ours, one round and the whole job, and what the length
   of its slots does to `reconstructed`.
3. What planning costs, one process each: CPU seconds and peak memory.

Every timeline goes through the checker (`rejected`), and no time may lie below its bound (`below_bound`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import numpy as np
from random_missions import Draw, draw
from record import Row, record, table
from strategy_trials import Trial, trials

from orbitune.errors import PlanError, TimelineRejected
from orbitune.methods import METHODS, Job, Ways, plan
from orbitune.methods.exchange import exchanges_of
from orbitune.mission import Mission, job_of, prepare
from orbitune.scenario.load import load
from orbitune.strategies.quickest import Quickest
from orbitune.strategies.quickest_gather import gather_down
from orbitune.timeline.activity import Held, Timeline
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify

SEED = 2026
MISSIONS = 200
ROUND_EVERY = 20
PROCESSES = 2

ROUND_BATCH = 16
"""Images of a satellite in a whole round, at most: SpectralGPT's batch for EuroSAT. `stream` tries micro-batches down
to single images, so its planning grows with them."""

SAME = 1e-6
"""Relative: a time this close to its bound, or to the best, is not below it. Links deliver to a microsecond."""

OURS = Ways("bidirectional", "quickest", "quickest", 60.0)

SLOTS_S = (10.0, 30.0, 60.0, 120.0, 300.0)


# -- random missions -------------------------------------------------------------------------------------------------


def of_mission(number: int) -> list[Trial]:
    """All trials of one mission; whole rounds too if it is its turn."""
    mission = draw(SEED, number)
    return trials(mission) + (_rounds(mission) if number % ROUND_EVERY == 0 else [])


def _rounds(drawn: Draw) -> list[Trial]:
    """One round of `collaborative`, training the head or the encoder too, and of `reconstructed`."""
    job = replace(job_of(drawn.mission), ways=OURS)
    job = replace(job, batch=tuple(min(size, ROUND_BATCH) for size in job.batch))
    found = [
        _round(drawn, f"round, {trains}", overlap, "collaborative", replace(job, trains=trains, overlap=overlap))
        for trains in ("head", "encoder")
        for overlap in ("none", "stream")
    ]
    plain = replace(job, ways=Ways("ring", "max_flow", "via_ground", 60.0))
    return [*found, _round(drawn, "round, head", "reconstructed", "reconstructed", plain)]


def _round(drawn: Draw, strategy: str, way: str, method: str, job: Job) -> Trial:
    began_s = time.process_time()
    judged = judge(method, job)
    cpu_s = time.process_time() - began_s
    return Trial(
        drawn.number, strategy, way, judged.round_s, judged.round_bound_s, 0.0, cpu_s, judged.refused, judged.rejected
    )


@dataclass(frozen=True)
class Judged:
    """A planned job: its end, that of its rounds, and their bounds; or why there is none."""

    job_s: float | None
    round_s: float | None
    job_bound_s: float
    round_bound_s: float
    refused: str = ""
    rejected: str = ""


def judge(name: str, job: Job) -> Judged:
    """Plan with one method, check and bound; the rounds' bound leaves out delivery."""
    method = METHODS[name]
    job = method.prepare(job)
    needs = method.needs(job, job.rounds)
    job_bound_s = lower_bound(needs, job.system).time_s
    bound_s = lower_bound([need for need in needs if need.phase != "deliver"], job.system).time_s
    try:
        timeline = plan(method, job)
    except PlanError as error:
        return Judged(None, None, job_bound_s, bound_s, refused=str(error))
    if timeline.stopped:
        return Judged(None, None, job_bound_s, bound_s, refused=timeline.stopped)
    times_s = (timeline.time_s, timeline.phase_s("deploy") + timeline.phase_s("train"))
    return Judged(*times_s, job_bound_s, bound_s, rejected=rejection(timeline, job))


def rejection(timeline: Timeline, job: Job) -> str:
    """What the checker has against a timeline; nothing if it accepts."""
    try:
        verify(timeline, job.system)
    except TimelineRejected as error:
        return str(error)
    return ""


def all_trials() -> list[Trial]:
    """Every mission, in `PROCESSES` processes, with a line of progress now and then."""
    began_s, found = time.perf_counter(), list[Trial]()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for done, of_one in enumerate(pool.map(of_mission, range(MISSIONS)), 1):
            found += of_one
            if done % 20 == 0:
                print(f"{done} of {MISSIONS} missions, {time.perf_counter() - began_s:.0f} s", flush=True)
    return found


def way_rows(found: Sequence[Trial]) -> list[Row]:
    """One row for each way of each strategy."""
    best = best_s(found)
    groups: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in found:
        groups[trial.strategy, trial.way].append(trial)
    return [_way_row(*names, group, best) for names, group in sorted(groups.items(), key=lambda item: item[0][0])]


def best_s(found: Iterable[Trial]) -> dict[tuple[int, str], float]:
    """By mission and strategy, the earliest that any way was done, among those the checker accepts."""
    best: dict[tuple[int, str], float] = {}
    for trial in found:
        if trial.time_s is not None and not trial.rejected:
            key = (trial.mission, trial.strategy)
            best[key] = min(trial.time_s, best.get(key, trial.time_s))
    return best


def _way_row(strategy: str, way: str, group: Sequence[Trial], best: dict[tuple[int, str], float]) -> Row:
    done = [(trial, trial.time_s) for trial in group if trial.time_s is not None]
    over_best = [time_s / best[trial.mission, strategy] for trial, time_s in done if (trial.mission, strategy) in best]
    over_bound = [time_s / floor_s(trial) for trial, time_s in done if floor_s(trial) > 0.0]
    return {
        "way": f"{strategy}: {way}",
        "done": len(done),
        "refused": len(group) - len(done),
        **_quantiles("best", over_best),
        **_quantiles("bound", over_bound),
        "cpu_median_s": float(np.median([trial.cpu_s for trial in group])),
        "below_bound": sum(is_below(trial) for trial in group),
        "rejected": sum(bool(trial.rejected) for trial in group),
    }


def floor_s(trial: Trial) -> float:
    """The greater of what `lower_bound` says and what the linear program of `quickest` certifies."""
    return max(trial.bound_s, trial.certified_s)


def is_below(trial: Trial) -> bool:
    """Whether a result beats a bound, which would prove one of them wrong."""
    return trial.time_s is not None and trial.time_s < floor_s(trial) * (1.0 - SAME)


def _quantiles(name: str, values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return dict.fromkeys((f"{name}_median", f"{name}_p90", f"{name}_worst"))
    median, p90, worst = np.quantile(values, (0.5, 0.9, 1.0)).tolist()
    return {f"{name}_median": median, f"{name}_p90": p90, f"{name}_worst": worst}


def by_way(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Strategy, way, and what its times are over the best."""
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        strategy, way = str(row["way"]).split(": ")
        found[strategy][way] = {key: row[f"best_{key}"] for key in ("median", "p90", "worst")}
    return dict(found)


# -- the preset `paper` ----------------------------------------------------------------------------------------------

SWITCHES = (
    ("reconstructed", "reconstructed", Ways("ring", "max_flow", "via_ground", 60.0), "none"),
    ("ring -> bidirectional", "collaborative", Ways("bidirectional", "max_flow", "via_ground", 60.0), "none"),
    ("max_flow -> quickest", "collaborative", Ways("bidirectional", "quickest", "via_ground", 60.0), "none"),
    ("via_ground -> quickest", "collaborative", OURS, "none"),
    ("overlap none -> stream", "collaborative", OURS, "stream"),
)
"""Each on top of those before it."""


def paper_rows() -> tuple[list[Row], list[Row]]:
    """The switches one after the other, and `reconstructed` with other slots."""
    mission = prepare(load("paper"))
    steps = [
        (words, method, replace(job_of(mission), ways=ways, overlap=overlap))
        for words, method, ways, overlap in SWITCHES
    ]
    plain = SWITCHES[0][2]
    slots = [(f"slot of {slot_s:g} s", "reconstructed", replace(job_of(mission), ways=replace(plain, slot_s=slot_s)))
             for slot_s in SLOTS_S]  # fmt: skip
    certified_s = certificate_s(mission)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(partial(_paper_row, certified_s), [*steps, *slots]))
    first = rows[0]
    return [_over(row, first) for row in rows[: len(steps)]], [_over(row, first) for row in rows[len(steps) :]]


def _paper_row(certified_s: float, step: tuple[str, str, Job]) -> dict[str, str | float | int | None]:
    words, method, job = step
    once = judge(method, replace(job, rounds=1, preloaded=True))
    whole = judge(method, job)
    return {
        "switch": words,
        "round_s": once.round_s,
        "round_over_bound": _ratio(once.round_s, once.round_bound_s),
        "round_over_certificate": _ratio(once.round_s, max(certified_s, once.round_bound_s)),
        "job_s": whole.job_s,
        "job_over_bound": _ratio(whole.job_s, whole.job_bound_s),
        "refused": bool(once.refused) + bool(whole.refused),
        "rejected": bool(once.rejected) + bool(whole.rejected),
        "below_bound": sum(
            time_s is not None and time_s < bound_s * (1.0 - SAME)
            for time_s, bound_s in (
                (once.round_s, max(certified_s, once.round_bound_s)), (whole.job_s, whole.job_bound_s)
            )
        ),
    }  # fmt: skip


def _over(row: dict[str, str | float | int | None], first: dict[str, str | float | int | None]) -> Row:
    return row | {
        f"{what}_over_reconstructed": _ratio(row[f"{what}_s"], first[f"{what}_s"]) for what in ("round", "job")
    }


def _ratio(time_s: object, over_s: object) -> float | None:
    return time_s / over_s if isinstance(time_s, float) and isinstance(over_s, float) and over_s > 0.0 else None


def certificate_s(mission: Mission) -> float:
    """When all embeddings of a round can be down at the earliest, by the linear program, had they been there at once.

    Over rings, passes and backhaul; planes do not relay for each other, which `lower_bound` takes for granted too.
    """
    job = job_of(mission)
    exchange = exchanges_of(job, 0)[0]
    held = {s: [Held(exchange.data("embedding", s), 0.0)] for s in mission.system.nodes.satellites}
    certificates: list[Quickest] = []
    gather_down(
        Schedule(mission.system), job.rings, held, "quickest", OURS.intra_orbit, 60.0, certificates=certificates
    )
    return certificates[0].bound_s


# -- what planning costs ---------------------------------------------------------------------------------------------

COSTS: dict[str, tuple[str, tuple[str, ...], Ways, str]] = {
    "66 x 10, greedy": ("demo", ("train.rounds=1",), Ways("bidirectional", "max_flow", "earliest_tree", 60.0), "none"),
    "66 x 10, quickest": ("demo", ("train.rounds=1",), OURS, "none"),
    "66 x 10, stream": ("demo", ("train.rounds=1",), OURS, "stream"),
    "1584 x 10, greedy": ("starlink-shell1", ("train.rounds=1", "time.duration_h=6"),
                          Ways("bidirectional", "max_flow", "earliest_tree", 60.0), "none"),
    "1584 x 10, quickest": ("starlink-shell1", ("train.rounds=1", "time.duration_h=6"), OURS, "none"),
    "66 x 10, 100 rounds": ("demo", ("train.rounds=100",), Ways("bidirectional", "max_flow", "earliest_tree", 60.0),
                            "none"),
}  # fmt: skip
"""Preset, changes, ways and overlap; greedy is maximum flow and the tree. The demo trains the encoder, so that a round
has two exchanges, shell 1 of Starlink likewise."""


def cost(name: str) -> Row:
    """CPU seconds and peak memory of one plan: contacts, schedule, checker, bound. The process must be fresh."""
    preset, sets, ways, overlap = COSTS[name]
    began_s = [time.process_time()]

    def lap() -> float:
        began_s.append(time.process_time())
        return began_s[-1] - began_s[-2]

    mission = prepare(load(preset, sets))
    contacts_cpu_s = lap()
    method = METHODS["collaborative"]
    job = method.prepare(replace(job_of(mission), ways=ways, overlap=overlap))
    timeline = plan(method, job)
    plan_cpu_s = lap()
    rejected = bool(rejection(timeline, job))
    verify_cpu_s = lap()
    lower_bound(method.needs(job, timeline.rounds), job.system)
    bound_cpu_s = lap()
    return {
        "plan of": name,
        "activities": len(timeline.activities),
        "contacts_cpu_s": contacts_cpu_s,
        "plan_cpu_s": plan_cpu_s,
        "verify_cpu_s": verify_cpu_s,
        "bound_cpu_s": bound_cpu_s,
        "total_cpu_s": sum((contacts_cpu_s, plan_cpu_s, verify_cpu_s, bound_cpu_s)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,  # Linux counts in KiB
        "rejected": int(rejected),
    }


def cost_rows() -> list[Row]:
    """Each in a process of its own."""
    rows = []
    for name in COSTS:
        ran = subprocess.run([sys.executable, __file__, "cost", name], check=True, capture_output=True, text=True)
        rows.append(json.loads(ran.stdout))
        print(f"planned {name}: {rows[-1]['total_cpu_s']:.1f} s", flush=True)
    return rows


# -- all of it -------------------------------------------------------------------------------------------------------


def main() -> None:
    """The three parts; `cost NAME` is what a child does."""
    if sys.argv[1:2] == ["cost"]:
        print(json.dumps(cost(sys.argv[2])))
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # two processes on two cores; children read it before they load NumPy
    print(f"seed {SEED}: {MISSIONS} random missions")
    found = all_trials()
    switches, slots = paper_rows()
    costs = cost_rows()
    ways = way_rows(found)
    print()
    for rows in (switches, slots, costs):
        print(table(rows), end="\n\n")
    for line in sorted(
        {f"{trial.strategy}, {trial.way}: {reason[:140]}" for trial in found if (reason := trial.rejected)}
    ):
        print(f"rejected: {line}")
    record("strategies", ways, SEED, summary(found, ways, switches, slots, costs))


def summary(
    found: Sequence[Trial], ways: Sequence[Row], switches: Sequence[Row], slots: Sequence[Row], costs: Sequence[Row]
) -> dict[str, object]:
    """The top of the file."""
    total = {row["plan of"]: row["total_cpu_s"] for row in costs}
    ours = switches[-1]
    return {
        "scenarios": len({trial.mission for trial in found}),
        "rejected": sum(bool(t.rejected) for t in found)
        + sum(int(r["rejected"] or 0) for r in (*switches, *slots, *costs)),
        "below_bound": sum(map(is_below, found)) + sum(int(r["below_bound"] or 0) for r in (*switches, *slots)),
        "refused": sum(bool(trial.refused) for trial in found),
        "round_over_bound": ours["round_over_bound"],
        "round_over_certificate": ours["round_over_certificate"],
        "ours_over_reconstructed": ours["round_over_reconstructed"],
        "job_over_bound": ours["job_over_bound"],
        "job_over_reconstructed": ours["job_over_reconstructed"],
        "plan_66_cpu_s": total["66 x 10, greedy"],
        "plan_1584_cpu_s": total["1584 x 10, greedy"],
        "plan_100_rounds_cpu_s": total["66 x 10, 100 rounds"],
        "ways": by_way(ways),
        "switches": switches,
        "slots": slots,
        "costs": costs,
    }


if __name__ == "__main__":
    main()

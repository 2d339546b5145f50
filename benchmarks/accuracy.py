"""How well training over the cut learns: against central training, other codecs, random weights; several seeds.

Everything trains for the same number of passes over the same samples. `central` is plain training of the whole model in
one place; `federated` averages heads (or models) after each round; `iid` deals samples out at random, `place` gives
each satellite a region of the scene (or tiles of the city). Accuracy in percent, mean and spread over seeds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from record import record

from orbitune.imagery.imagery import Selection
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.session import Start, make_start
from orbitune.learn.spec import LearnSpec

SEEDS = (1, 2, 3)
NUM_SATELLITES = 8
ROUNDS = 12

HEAD = LearnSpec(
    learner="split", trains="head", server_encoder="shared", cut=0, codec="fp32", local_steps=10, batch_size=16,
    optimizer="sgd", learning_rate=0.1, momentum=0.0, weight_decay=0.0, seed=0, rounds=ROUNDS, cache="features",
)  # fmt: skip
"""The head on features that are kept: the paper's case."""

SHARED = replace(HEAD, trains="encoder", cache="embeddings", optimizer="adamw", learning_rate=3e-4,
                 head_rate_factor=10.0, batch_size=8, local_steps=2)  # fmt: skip
"""One encoder on the ground for all."""


@dataclass(frozen=True)
class Question:
    """One row: a data set, how it is dealt out, what trains from which weights, and the figure that is asked for."""

    words: str
    dataset: str
    how: str
    spec: LearnSpec
    weights: str = "pretrained"
    figure: str = "accuracy"


def questions() -> list[Question]:
    """All rows, each beside what it is compared with."""
    found = []
    for dataset in ("brandenburg", "dubai-patches"):
        for how in ("iid", "place"):
            found += [
                Question("head, central", dataset, how, central(HEAD)),
                Question("head, federated over the cut", dataset, how, HEAD),
                Question("head, federated over the cut, int8", dataset, how, replace(HEAD, codec="int8")),
            ]
        found.append(Question("head, federated, random weights", dataset, "iid", HEAD, "random"))
    lora = replace(SHARED, trains="lora", learning_rate=3e-3, head_rate_factor=1.0)
    untrained = replace(HEAD, rounds=1, learning_rate=1e-12)
    found += [
        Question("encoder, central", "brandenburg", "iid", central(SHARED)),
        Question("encoder, shared over the cut", "brandenburg", "iid", SHARED),
        Question("encoder, shared over the cut, int8", "brandenburg", "iid", replace(SHARED, codec="int8")),
        Question("adapters, shared over the cut", "brandenburg", "iid", lora),
        Question("segmentation head, federated", "dubai-scenes", "iid", HEAD, figure="miou"),
        Question("segmentation head, untrained", "dubai-scenes", "iid", untrained, figure="miou"),
    ]
    return found


def central(spec: LearnSpec) -> LearnSpec:
    """The same samples in one place."""
    return replace(spec, learner="central", codec="fp32", cache="none")


def score(question: Question, start: Start, seed: int) -> float:
    """Train and judge, in percent."""
    learner = start.learner(replace(question.spec, seed=seed))
    for index in range(question.spec.rounds):
        learner.run_round(index)
    found = learner.evaluate()
    return 100.0 * (found.accuracy if question.figure == "accuracy" else found.metrics[question.figure])


def starts() -> Callable[[Question, int], Start]:
    """What trainings share, made once for each data set, way of dealing out, weights and seed."""
    made: dict[tuple[str, str, str, int], Start] = {}

    def of(question: Question, seed: int) -> Start:
        key = (question.dataset, question.how, question.weights, seed)
        if key not in made:
            made.clear()  # frozen work of one is large; rows that share it stand together
            selection = Selection(question.dataset, question.how)
            made[key] = make_start(ModelSpec(weights=question.weights), selection, NUM_SATELLITES, seed)
        return made[key]

    return of


def main() -> None:
    """Every question for every seed."""
    torch.set_num_threads(1)
    start_of, rows = starts(), questions()
    scores: dict[Question, list[float]] = {row: [] for row in rows}
    began_s = time.perf_counter()
    for seed in SEEDS:
        for row in rows:
            scores[row].append(score(row, start_of(row, seed), seed))
            print(f"{time.perf_counter() - began_s:6.0f} s  seed {seed}  {row.dataset} {row.how}: {row.words}  "
                  f"{scores[row][-1]:.1f}", flush=True)  # fmt: skip
    record("accuracy", [
        {"data": row.dataset, "dealt out": row.how, "what": row.words, "figure": row.figure,
         "mean_percent": round(statistics.mean(found), 2), "spread_percent": round(max(found) - min(found), 2)}
        for row, found in scores.items()
    ], SEEDS[0], {"seeds": SEEDS, "satellites": NUM_SATELLITES, "rounds": ROUNDS})  # fmt: skip


if __name__ == "__main__":
    main()

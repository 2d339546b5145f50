"""Doing, or going on with, a sweep: who works out which point, and what is written when.

request_of -> new_folder -> execute -> points.jsonl, points.csv, sweep.json
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from orbitune.errors import InputError
from orbitune.runs import RunFolder
from orbitune.sweep.crew import Crew, local_crew
from orbitune.sweep.families import families
from orbitune.sweep.folder import POINTS, at_work, done, tidy
from orbitune.sweep.grid import Point
from orbitune.sweep.ray_crew import ray_crew
from orbitune.sweep.request import Request
from orbitune.sweep.tables import csv_text, summary

ENGINES = ("local", "ray")

OnPoint = Callable[[int, int], None]
"""Is told how many points are done, of how many."""


@dataclass(frozen=True)
class Engine:
    """Where points are worked out. `workers` 0 takes every processor, or one where each point trains."""

    name: str = "local"
    workers: int = 0
    address: str | None = None

    def count(self, request: Request, waiting: int) -> int:
        """How many workers, never more than there are points.

        Raises:
            InputError: A number below 0, or an address without Ray.
        """
        if self.name not in ENGINES or self.workers < 0:
            raise InputError(
                f"engine {self.name!r} with {self.workers} workers: there are {', '.join(ENGINES)}, 0 or more"
            )
        if self.address and self.name != "ray":
            raise InputError("--address is that of a Ray cluster; add --engine ray")
        usual = 1 if request.train else os.cpu_count() or 1
        return max(1, min(self.workers or usual, waiting))

    def crew(self, folder: RunFolder, request: Request, workers: int) -> AbstractContextManager[Crew]:
        """The workers."""
        runs = (folder.path / "runs").resolve()
        if self.name == "ray":
            return ray_crew(request, workers, runs, self.address)
        return local_crew(request, workers, runs)


def execute(folder: RunFolder, request: Request, engine: Engine, on_point: OnPoint | None = None) -> dict[str, Any]:
    """Work out the points that are not done yet and write the tables; returns the content of sweep.json.

    Raises:
        RunError: A worker died, or the folder cannot be written or is in use. What is done stays done.
        KeyboardInterrupt: As it came; no process is left, and what is done stays done.
    """
    with at_work(folder):
        rows = done(folder, request)
        tidy(folder, rows)
        waiting = [point for point in request.points() if point.number not in rows]
        if waiting:
            workers = engine.count(request, len(waiting))
            with engine.crew(folder, request, workers) as crew:
                _work(folder, crew, workers, families(request, waiting), rows, len(request), on_point)
        tidy(folder, rows)
        ordered = [rows[number] for number in sorted(rows)]
        content = summary(request, ordered)
        folder.write_text("points.csv", csv_text(request, ordered))
        folder.write_json("sweep.json", content)
    return content


def _work(
    folder: RunFolder,
    crew: Crew,
    workers: int,
    work: Iterable[list[Point]],
    rows: dict[int, dict[str, Any]],
    total: int,
    on_point: OnPoint | None,
) -> None:
    """Each worker goes through a family of points; when all families are begun, it helps with the longest."""
    waiting = deque(map(deque, work))
    hands: list[deque[Point]] = [deque() for _ in range(workers)]
    busy = 0
    for worker in range(workers):
        busy += _give(crew, worker, hands, waiting)
    while busy:
        worker, line = crew.take()
        row = json.loads(line)
        folder.append(POINTS, row)
        rows[row["point"]] = row
        if on_point is not None:
            on_point(len(rows), total)
        busy += _give(crew, worker, hands, waiting) - 1


def _give(crew: Crew, worker: int, hands: list[deque[Point]], waiting: deque[deque[Point]]) -> int:
    """Give the worker its next point; 0 where nothing is left."""
    if not hands[worker] and waiting:
        hands[worker] = waiting.popleft()
    if not hands[worker]:
        longest = max(hands, key=len)
        if longest:
            hands[worker].append(longest.pop())
    if not hands[worker]:
        return 0
    crew.give(worker, hands[worker].popleft())
    return 1

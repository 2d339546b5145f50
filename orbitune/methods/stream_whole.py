"""Rounds with `overlap = "stream"` where the model is not cut: training on board, and raw images that come down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

from orbitune.methods.averaging import Sum
from orbitune.methods.base import Job
from orbitune.methods.stream_average import Averaging
from orbitune.methods.stream_queue import Queue, Work
from orbitune.methods.stream_routes import Down, Routes
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

URGENCY = 0
"""Everything belongs to one round."""


@dataclass(frozen=True)
class Task:
    """A computation on board: FLOPs, what it needs, what it makes and the memory that it takes."""

    flops: float
    needs: tuple[Payload, ...]
    makes: tuple[Payload, ...]
    memory_bytes: float


def train_and_average(
    job: Job, schedule: Schedule, tasks: Mapping[int, Sequence[Task]], made: Sum, start_s: float
) -> float:
    """Each satellite does its tasks in turn; a ring averages as soon as its own members are done.

    Args:
        tasks: Of each satellite; the last one makes its contribution to the average.
        made: The average.

    Returns:
        The end in seconds.
    """
    schedule.stage = "train and average, streamed"
    queue = Queue(URGENCY)

    def averaged(combined: dict[int, Held], end_s: float) -> None:
        queue.until_s = end_s

    averaging = Averaging(job, schedule, queue, URGENCY, averaged, made)

    def begin(satellite: int, number: int, ready_s: float) -> None:
        own = tasks[satellite]
        if number == len(own):
            averaging.add(satellite, own[-1].makes[0], ready_s)
            return
        task = own[number]
        queue.add(Work(schedule, URGENCY, satellite, task.flops, ready_s, task.needs, _always(task.makes),
                       _always(task.memory_bytes), partial(begin, satellite, number + 1)))  # fmt: skip

    for satellite in tasks:
        begin(satellite, 0, start_s)
    queue.run()
    return schedule.span(start_s, queue.until_s)


T = TypeVar("T")


def _always(value: T) -> Callable[[], T]:
    return lambda: value


def bring_in_parts(
    job: Job, schedule: Schedule, payloads: Mapping[int, Sequence[Payload]], parts: int, noun: str, start_s: float
) -> float:
    """Bring each satellite's payloads to the server in so many parts, each the way on which it is there first."""
    schedule.stage = f"bring down {noun}, streamed"
    queue, routes, arrivals_s = Queue(URGENCY), Routes(job, schedule), [start_s]
    for satellite, own in payloads.items():
        for payload in own:
            for part in _cut(payload, parts):
                queue.add(Down(queue, routes, URGENCY, part, satellite, start_s, arrivals_s.append, _ignore))
    queue.run()
    return schedule.span(start_s, max(arrivals_s))


def _cut(payload: Payload, parts: int) -> list[Payload]:
    edges = [payload.size * number // parts for number in range(parts + 1)]
    return [payload.part(low, high) for low, high in pairwise(edges) if low < high]


def _ignore(node: int, since_s: float, heading: int) -> None:
    """Nothing goes on in a later round."""

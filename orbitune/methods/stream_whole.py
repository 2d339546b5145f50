"""Rounds with `overlap = "stream"` where the model is not cut: training on board, and raw images that come down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from orbitune.methods.base import Job
from orbitune.methods.stream_average import Averaging
from orbitune.methods.stream_queue import Queue, Work
from orbitune.methods.stream_routes import Down, Routes
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

URGENCY = 0
"""Everything belongs to one round."""


def train_and_average(
    job: Job,
    schedule: Schedule,
    flops: Mapping[int, float],
    needs: Callable[[int], tuple[Payload, ...]],
    updates: Mapping[int, Payload],
    memory_bytes: Mapping[int, float],
    start_s: float,
) -> float:
    """Each satellite trains; a ring averages as soon as its own members are done. Returns the end in seconds."""
    schedule.stage = "train and average, streamed"
    queue = Queue(URGENCY)

    def averaged(combined: dict[int, Held], end_s: float) -> None:
        queue.until_s = end_s

    averaging = Averaging(job, schedule, queue, URGENCY, averaged)

    def trained(satellite: int) -> Callable[[float], None]:
        return lambda since_s: averaging.add(satellite, updates[satellite], since_s)

    for satellite, amount in flops.items():
        queue.add(Work(schedule, URGENCY, satellite, amount, start_s, needs(satellite), _always((updates[satellite],)),
                       _always(memory_bytes[satellite]), trained(satellite)))  # fmt: skip
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

"""Where a host does its real work: one thread, because torch keeps state by thread and cores are few."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from queue import PriorityQueue
from threading import Thread
from typing import TypeVar

from orbitune.errors import RunError

T = TypeVar("T")
Job = Callable[[], None]

NOW, LAST = float("-inf"), float("inf")

LOOK_S = 0.5
"""Real seconds after which somebody who waits looks whether the bench is closed."""


class Bench:
    """Does jobs one after the other, those with the least number first. A job must not raise."""

    def __init__(self, name: str) -> None:
        self._jobs: PriorityQueue[tuple[float, int, Job | None]] = PriorityQueue()
        self._order = count()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, rank: float, job: Job) -> None:
        """Enter a job."""
        self._jobs.put((rank, next(self._order), job))

    def do(self, job: Callable[[], T]) -> T:
        """Have something done before all that waits, and wait for it; raises what it raises."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(job())
            except BaseException as error:
                answer.set_exception(error)

        self.put(NOW, run)
        while True:
            try:
                return answer.result(LOOK_S)
            except TimeoutError:
                if not answer.done() and not self._thread.is_alive():
                    raise RunError("the host is closed; nothing is done there any more") from None

    def close(self) -> None:
        """Stop after the job that is being done; those that wait are dropped."""
        self._jobs.put((NOW, -1, None))
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()[2]) is not None:
            job()

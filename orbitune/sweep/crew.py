"""Who works points out: processes of this machine. Ray (ray_crew.py) offers the same two calls.

A worker never writes into the folder of the sweep: it hands its line to the parent, who alone appends. So a worker may
die at any moment and nothing is torn, lost or there twice.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

from orbitune.errors import OrbituneError, RunError
from orbitune.sweep.grid import Point
from orbitune.sweep.request import Request
from orbitune.sweep.work import Worker

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One thread for each process: sums in one order, and no processes that wait for one another."""


class Crew(Protocol):
    """Workers 0 .. n-1, each with one point at a time."""

    def give(self, worker: int, point: Point) -> None:
        """Let an idle worker begin a point."""

    def take(self) -> tuple[int, str]:
        """Wait until some worker has finished; returns its number and the line of its point."""


@dataclass
class _Hand:
    """A process, the pipe to it, and what it is doing."""

    process: SpawnProcess
    pipe: Any
    point: Point | None = None


class LocalCrew:
    """Processes of this machine."""

    def __init__(self, hands: list[_Hand]) -> None:
        self._hands = hands

    def give(self, worker: int, point: Point) -> None:
        """Let an idle process begin a point."""
        hand = self._hands[worker]
        hand.point = point
        try:
            hand.pipe.send(point)
        except OSError:
            raise _dead(hand) from None

    def take(self) -> tuple[int, str]:
        """The next line.

        Raises:
            OrbituneError: As the worker raised it.
            RunError: A process died without a word, for instance for want of memory.
        """
        busy = {hand.pipe: number for number, hand in enumerate(self._hands) if hand.point is not None}
        pipe = connection.wait(list(busy))[0]
        hand = self._hands[busy[pipe]]
        try:
            said = hand.pipe.recv()
        except (EOFError, OSError):
            raise _dead(hand) from None
        if isinstance(said, OrbituneError):
            raise said
        worked, text = said
        if not worked:
            assert hand.point is not None, "only busy ones are listened to"
            raise RuntimeError(f"{hand.point.words} failed:\n{text}")
        hand.point = None
        return busy[pipe], text


def _dead(hand: _Hand) -> RunError:
    hand.process.join()
    at = f" at {hand.point.words}" if hand.point else ""
    return RunError(f"a worker process ended with code {hand.process.exitcode}{at}, perhaps for want of memory")


@contextmanager
def local_crew(request: Request, workers: int, runs: Path) -> Iterator[LocalCrew]:
    """That many processes; none is left behind, however this ends. SIGTERM counts as Ctrl-C."""
    hands: list[_Hand] = []
    with _polite_end():
        try:
            for _ in range(workers):
                hands.append(_hire(request, runs))
            yield LocalCrew(hands)
        finally:
            for hand in hands:
                hand.process.terminate()
            for hand in hands:
                hand.process.join()
                hand.pipe.close()


@contextmanager
def _polite_end() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _hire(request: Request, runs: Path) -> _Hand:
    """Start one process: with one thread, and deaf to Ctrl-C, which is for the parent."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(request, runs, theirs))
    kept = {name: os.environ.get(name) for name in THREADS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.environ.update(dict.fromkeys(THREADS, "1"))
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    theirs.close()  # or the end of the worker would never show
    return _Hand(process, ours)


def _serve(request: Request, runs: Path, pipe: Any) -> None:
    """A process's whole life: a point in, a line out."""
    _follow_parent()
    worker = Worker(request, runs)
    try:
        while True:
            point = pipe.recv()
            pipe.send((True, worker.line(point)))
    except EOFError:
        return
    except OrbituneError as error:
        pipe.send(error)
    except Exception:
        pipe.send((False, traceback.format_exc()))
    except KeyboardInterrupt:
        return  # told to go in the middle of a training, which has stopped its own processes by now


def _follow_parent() -> None:
    """End when the parent does, at whatever moment; and end politely, so that a training stops its own processes."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a child"

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()

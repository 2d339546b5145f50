"""Real runs of a small mission, and faults in the middle of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orbitune.launch.run import execute, start
from orbitune.launch.state import Request
from orbitune.launch.supervise import Supervisor, Watched
from orbitune.plans import Row
from orbitune.runs import RunFolder
from orbitune.scenario.load import load

SMALL = ("train.rounds=2", "train.local_steps=1", "train.optimizer=sgd", "train.learning_rate=1e-4")
"""Few steps, at a rate with which rounding does not grow into another training."""

SCALE = 0.4
"""Simulated seconds a second: the small mission takes about six."""


def begin(root: Path, engine: str, *sets: str, scale: float = SCALE) -> RunFolder:
    """A run that has not begun."""
    scenario = load("tiny", [*SMALL, *sets])
    return start(scenario, Request(scenario.method.name, engine, "", scale, "plane"), root)


def finish(run: RunFolder, heard: Callable[[Watched], None] = lambda watched: None) -> Row:
    """From where it stands to its end, held against the same rounds in one process."""
    return execute(run, heard, check_weights=True)


@dataclass
class Fault:
    """Something done to a run at a share of its first plan's time; waits for nobody."""

    share: float
    do: Callable[[Supervisor], None]
    done: bool = False

    def arm(self, supervisor: Supervisor) -> None:
        """Called when an attempt has begun; the first one is the one that is hit."""
        if self.done:
            return
        self.done = True
        (attempt,) = supervisor.attempts.values()
        due_s = self.share * attempt.planned.timeline.time_s / supervisor.request.time_scale
        timer = threading.Timer(due_s, self.do, [supervisor])
        timer.daemon = True
        timer.start()


def kill(host: str) -> Callable[[Supervisor], None]:
    """End a host's process as a fault would."""
    return lambda supervisor: supervisor.members.engine.kill(host)


def drop(node: int, peer: int) -> Callable[[Supervisor], None]:
    """A link that stops for good."""

    def do(supervisor: Supervisor) -> None:
        host = supervisor.members.host_of[node]
        header = {"kind": "drop", "node": node, "peer": peer, "from_s": supervisor.now_s()}
        supervisor.members.must({host: (header, b"")}, "fault")

    return do

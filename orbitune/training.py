"""Trains what was planned in as many processes as there are processors, each with one torch thread.

Processes rather than threads of torch: results do not depend on the number of cores, and a busy machine costs its share
of time instead of a standstill (OpenMP threads wait for one another). A process does one training after another, since
starting torch takes longer than a small training. What a training leaves in the run folder is whole at every moment, so
stopping a process loses at most the round it is in.

On a Ray cluster (`learn.spread`) all run folders, learners and checkpoints stay with this process, a thread for each
training; the cluster's workers do shares of the work of all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from orbitune.errors import InputError, OrbituneError, RunError
from orbitune.files import remove_leftovers
from orbitune.imagery.imagery import Selection
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.spec import LearnSpec
from orbitune.learn.spread_cluster import Workers
from orbitune.runs import RunFolder

if TYPE_CHECKING:
    from orbitune.learn.rounds import Learner
    from orbitune.learn.spread import Spread

Row = dict[str, Any]
Participation = tuple[tuple[tuple[int, int] | tuple[int, int, int], ...], ...]
"""By round of training, who is counted in which average, as `learn.replay.TakingPart` has it."""

POLL_S = 0.5
"""How often the parent looks whether a process has died without a word."""

AT_ONCE = 8
"""Trainings that share a cluster's workers at a time. Our choice: enough that workers have something to do while one
training adds up, and no more models than that in the memory of the machine that leads."""


@dataclass(frozen=True)
class Training:
    """One training of a run: where it is kept, what is learned from what, when its rounds end and who takes part.

    `note` tells trainings of one label apart where they are spoken of, for instance by their seed.
    """

    run: Path
    label: str
    spec: LearnSpec
    model: ModelSpec
    selection: Selection
    num_satellites: int
    start_s: float
    round_ends_s: tuple[float, ...]
    participation: Participation | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """What it is called among the trainings of a run."""
        return f"{self.label}{self.note}"

    @property
    def metrics(self) -> str:
        """Name of its metrics in the run folder."""
        return f"methods/{self.label}/metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Its checkpoint."""
        return self.run / "methods" / self.label / "checkpoint.safetensors"

    def rows(self) -> list[Row]:
        """Its metrics so far, one row a round; row 0 is before training."""
        return RunFolder(self.run).rows(self.metrics)

    def finished(self) -> bool:
        """Whether nothing is left to do. The last row alone does not prove it: its checkpoint is written after it.

        Raises:
            InputError: The last checkpoint is damaged.
        """
        last = len(self.round_ends_s)
        if not self.checkpoint.is_file() or _rounds(self.rows()) != list(range(last + 1)):
            return False
        from orbitune.learn import checkpoint

        return checkpoint.rounds_done(self.checkpoint) == last


def alone(training: Training) -> Learner:
    """What trains in this process."""
    from orbitune.learn import session

    return session.start(training.spec, training.model, training.selection, training.num_satellites)


def train(training: Training, on_row: Callable[[Row], None], learner_of: Callable[[Training], Learner] = alone) -> None:
    """Train from the last checkpoint, if there is one, to the same weights as without a stop."""
    from orbitune.learn import rounds

    rounds.deterministic(threads=1)
    run = RunFolder(training.run)
    with run.locked(f"methods/{training.label}/lock"):
        if not training.finished():  # whoever held the lock may have done it
            _train(training, run, on_row, learner_of)


def _train(
    training: Training, run: RunFolder, on_row: Callable[[Row], None], learner_of: Callable[[Training], Learner]
) -> None:
    from orbitune.learn import checkpoint, rounds

    remove_leftovers(training.checkpoint)
    done = checkpoint.rounds_done(training.checkpoint) if training.checkpoint.is_file() else 0
    run.keep_rows(training.metrics, _rows_before(training, done))
    learner = learner_of(training)
    if training.checkpoint.is_file():
        checkpoint.load(training.checkpoint, learner)

    def on_round(record: rounds.RoundRecord) -> None:
        """First the row, then the checkpoint: a row without its checkpoint is dropped when the run goes on."""
        row = asdict(record)
        on_row(row)
        run.append(training.metrics, row)
        checkpoint.save(training.checkpoint, learner, record.round)

    rounds.train(learner, training.start_s, training.round_ends_s, done, on_round, training.participation)


def _rows_before(training: Training, done: int) -> list[Row]:
    """The metrics that belong to a checkpoint after `done` rounds; none where training starts.

    Raises:
        InputError: Some are missing; they are written before the checkpoint, so someone has lost them.
    """
    if done == 0:
        return []
    rows = [row for row in training.rows() if row.get("round", done + 1) <= done]
    if _rounds(rows) != list(range(done + 1)):
        raise InputError(
            f"{training.run / training.metrics} has rounds {_rounds(rows)} and the checkpoint has {done} rounds; "
            f"restore it, or remove {training.checkpoint} to train {training.label} again from its start"
        )
    return rows


def _rounds(rows: Sequence[Row]) -> list[object]:
    return [row.get("round") for row in rows]


def train_all(
    trainings: Sequence[Training], on_row: Callable[[str, Row], None], workers: Workers | None = None
) -> None:
    """Do every training that is not finished, as many at once as there are processors, or on a cluster.

    Raises:
        OrbituneError: As a training raised it; the others are stopped and can be resumed.
        RunError: A process died without a word, for instance for want of memory.
        KeyboardInterrupt: As it came, or SIGTERM did; the processes are stopped.
    """
    chosen = workers or Workers()
    waiting = [training for training in trainings if not training.finished()]
    if chosen.engine == "ray" and waiting:
        _train_on_cluster(waiting, on_row, chosen)
        return
    context = multiprocessing.get_context("spawn")
    said: Any = context.Queue()
    taken = context.Value("q", 0)
    running: dict[int, SpawnProcess] = {}
    with _stopping(running):
        for number in range(min(len(waiting), chosen.count or os.cpu_count() or 1)):
            process = context.Process(target=_work, args=(number, waiting, taken, said), daemon=True)
            with _without_ctrl_c():
                process.start()
            running[number] = process
        at: dict[int, str] = {}
        while running:
            _listen(said, running, at, on_row)


@contextmanager
def _stopping(running: dict[int, SpawnProcess]) -> Iterator[None]:
    """Leave no process behind, however this ends; the polite way to end a process counts as Ctrl-C."""
    in_charge = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_charge else None
    try:
        yield
    finally:
        for process in running.values():
            process.terminate()
            process.join()
        if in_charge:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back while a process starts, which inherits this: Ctrl-C is for the parent, who stops the others."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Begun:
    """Said when a training begins."""


class _Done:
    """A process's last word."""


def _listen(
    said: Any, running: dict[int, SpawnProcess], at: dict[int, str], on_row: Callable[[str, Row], None]
) -> None:
    """Take one word from the processes, or notice that one has died without its last word.

    `at` has the training that each process has begun.
    """
    dead = [number for number, process in running.items() if process.exitcode is not None]
    try:
        number, name, what = said.get(timeout=0 if dead else POLL_S)
    except Empty:
        if dead:  # before we listened, so whatever they had to say was there to be heard
            raise RunError(
                f"the process training {at.get(dead[0], 'nothing yet')} ended with code "
                f"{running[dead[0]].exitcode}, perhaps for want of memory; the run can be resumed"
            ) from None
        return
    if isinstance(what, OrbituneError):
        raise what
    if isinstance(what, str):
        raise RuntimeError(f"training {name} failed:\n{what}")
    if isinstance(what, _Done):
        running.pop(number).join()
    elif isinstance(what, _Begun):
        at[number] = name
    else:
        on_row(name, what)


def _work(number: int, waiting: Sequence[Training], taken: Any, said: Any) -> None:
    """A process's whole life: it takes trainings until none is left."""
    while True:
        with taken.get_lock():
            place = taken.value
            taken.value += 1
        if place >= len(waiting):
            said.put((number, "", _Done()))
            return
        _do(waiting[place], lambda name, what: said.put((number, name, what)))


def _do(training: Training, say: Callable[[str, object], None]) -> None:
    """One training. The process goes when its parent goes; a resumed run waits for it at the lock."""
    parent = multiprocessing.parent_process()

    def tell(row: Row) -> None:
        if parent is not None and not parent.is_alive():
            os._exit(1)
        say(training.name, row)

    say(training.name, _Begun())
    try:
        train(training, tell)
    except OrbituneError as error:
        say(training.name, error)
    except BaseException:
        say(training.name, traceback.format_exc())


# ------------------------------------------------------------------------------------------ on a Ray cluster


def _train_on_cluster(waiting: Sequence[Training], on_row: Callable[[str, Row], None], workers: Workers) -> None:
    """See `train_all`; rows are handed on by this thread, whichever training they are of."""
    from orbitune.learn.spread import Spread

    said: queue.SimpleQueue[tuple[str, Row]] = queue.SimpleQueue()
    running: list[Future[None]] = []
    with ThreadPoolExecutor(min(len(waiting), AT_ONCE)) as threads:
        # The crew ends first: whoever waits for workers hears of it. Ray takes SIGTERM for itself while it starts.
        with workers.crew() as crew, _stopping({}), _none_of(running):
            spread = Spread(crew)
            running += [threads.submit(_train_spread, training, spread, said.put) for training in waiting]
            while not all(one.done() for one in running) or not said.empty():
                _hand_on(said, on_row)
                for one in running:
                    if one.done():
                        one.result()


def _train_spread(training: Training, spread: Spread, say: Callable[[tuple[str, Row]], None]) -> None:
    """One training, in a thread that waits for workers most of the time."""
    from orbitune.learn.spread_messages import Setting

    name = str(training.checkpoint.resolve())
    setting = Setting(name, training.spec, training.model, training.selection, training.num_satellites)
    try:
        train(training, lambda row: say((training.name, row)), lambda _: spread.learner(setting))
    finally:
        spread.crew.over(setting)


def _hand_on(said: queue.SimpleQueue[tuple[str, Row]], on_row: Callable[[str, Row], None]) -> None:
    try:
        on_row(*said.get(timeout=POLL_S))
    except Empty:
        return


@contextmanager
def _none_of(running: list[Future[None]]) -> Iterator[None]:
    """Begin nothing more, however this ends."""
    try:
        yield
    finally:
        for one in running:
            one.cancel()

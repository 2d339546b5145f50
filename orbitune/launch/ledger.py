"""What a real run writes down while it goes on, and the lock that keeps a second process from doing the same."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from orbitune.errors import RunError
from orbitune.files import write_whole
from orbitune.runs import RunFolder

LOCK = "launch.lock"


@contextlib.contextmanager
def alone(run: RunFolder) -> Iterator[None]:
    """Be the only process that carries a run out. The system lets go of the lock when its holder dies.

    Raises:
        RunError: Another process does, or the file cannot be made.
    """
    path = run.path / LOCK
    with _writing(path):
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{run.path} is being carried out by another process; wait until it ends, or stop it first"
            ) from None
        except OSError as error:
            raise RunError(f"cannot lock {path}: {error.strerror}; choose another --runs folder") from error
        yield


class Ledger:
    """Executed rows, and the states after each round, in a method's folder of the run.

    All of it is on the disk before a call returns, since launch-state.json, which is written next, counts on it.
    """

    def __init__(self, folder: Path, rows: str) -> None:
        self._folder, self._rows = folder, folder / rows

    def add_rows(self, lines: Iterable[bytes]) -> None:
        """Add lines that hosts told; a line that a crash cut short stays by itself.

        Raises:
            RunError: The disk is full, or forbids it.
        """
        if not (text := b"".join(lines)):
            return
        with _writing(self._rows), self._rows.open("ab+") as file:
            file.write(b"\n" * _is_cut_short(self._rows) + text)
            file.flush()
            os.fsync(file.fileno())

    def keep(self, rounds: int, role: str, state: bytes) -> None:
        """Keep the state after so many rounds, of "satellite" or "server".

        Raises:
            RunError: The disk is full, or forbids it.
        """
        path = self._path(rounds, role)
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, state)

    def kept(self, rounds: int, role: str) -> bytes:
        """That state.

        Raises:
            RunError: It is not there.
        """
        path = self._path(rounds, role)
        try:
            return path.read_bytes()
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}; restore it, or start a new run") from error

    def _path(self, rounds: int, role: str) -> Path:
        return self._folder / "rounds" / f"round-{rounds:04d}-{role}.safetensors"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; free some space or allow it, then go on") from error


def _is_cut_short(path: Path) -> bool:
    """Whether a file's last line has no end."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"

"""The states of a host's nodes after each round, on disk, so that a host that was killed can come back."""

from __future__ import annotations

import re
from pathlib import Path

from orbitune.errors import RunError
from orbitune.files import remove_leftovers, write_whole

KEPT_ROUNDS = 3
"""Rounds of which states are kept. Our choice: hosts that stream are at most one round apart, one more is being
written, and one is to spare."""


class States:
    """A folder with a file for each node and round; written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, node: int, rounds: int, state: bytes, clear: bool = True) -> None:
        """Keep the state of a node after so many whole rounds, and with `clear` only those of the last few.

        Raises:
            RunError: It cannot be written.
        """
        path = self._path(node, rounds)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, state)
            for old in self._rounds(node) if clear else ():
                if old <= rounds - KEPT_ROUNDS:
                    self._path(node, old).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error}; make room or choose another run folder") from error

    def read(self, node: int, rounds: int) -> bytes:
        """The state of a node after so many whole rounds.

        Raises:
            RunError: It is not kept here.
        """
        try:
            return self._path(node, rounds).read_bytes()
        except OSError:
            kept = ", ".join(map(str, sorted(self._rounds(node)))) or "none"
            raise RunError(
                f"no state of node {node} after {rounds} rounds in {self._folder}; there are those after: {kept}"
            ) from None

    def has(self, node: int, rounds: int) -> bool:
        """Whether that state is kept."""
        return self._path(node, rounds).is_file()

    def forget_after(self, node: int, rounds: int) -> None:
        """Remove later states, which a new attempt will make anew, and what a killed writer left."""
        for later in self._rounds(node):
            if later > rounds:
                self._path(node, later).unlink(missing_ok=True)
        remove_leftovers(self._path(node, rounds))

    def _rounds(self, node: int) -> list[int]:
        found = (re.fullmatch(r".*\.round-(\d+)", path.name) for path in self._folder.glob(f"node-{node}.round-*"))
        return [int(match[1]) for match in found if match]

    def _path(self, node: int, rounds: int) -> Path:
        return self._folder / f"node-{node}.round-{rounds:05d}"

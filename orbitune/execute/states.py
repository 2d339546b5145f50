"""The states of a host's nodes after each round, on disk, so that a host that was killed can come back."""

from __future__ import annotations

import re
from pathlib import Path

from orbitune.errors import RunError
from orbitune.files import remove_leftovers, write_whole

SPARE_ROUNDS = 1
"""Rounds before the last one settled of which states are kept as well: where a fault leaves nothing but the delivery,
the last round is repeated."""


class States:
    """A folder with a file for each node and round; written whole or not at all.

    What it costs: the states of all nodes of a host, each as large as what it trains with the memory of the optimiser
    (AdamW: three times what it trains). There are those of the last round settled, of the one before it, and of all
    rounds that are ahead of the driver: one or two as a rule, all that are left where the driver stalls for so long.

    Attributes:
        settled: Whole rounds whose outcome the driver has, so that nobody asks for states before them any more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.settled = 0

    def write(self, node: int, rounds: int, state: bytes) -> None:
        """Keep the state of a node after so many whole rounds, and remove those that are settled.

        Raises:
            RunError: It cannot be written.
        """
        path = self._path(node, rounds)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, state)
            for old in self._rounds(node):
                if old < self.settled - SPARE_ROUNDS:
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

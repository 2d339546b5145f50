"""What is to happen in simulated time, in order; one thread at a time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf

Deed = Callable[[], None]


class Agenda:
    """Deeds by the simulated second at which they are due; equals in the order in which they were entered.

    A host may be late: `now_s` is the moment that a deed is due at, `read_s` what the clock showed when it was got to.
    So a late thread delays nothing by itself, and only what really comes too late (bytes, or the result of work) moves
    the rest.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Deed]] = []
        self._order = count()
        self.now_s = -inf
        self.read_s = -inf

    def add(self, time_s: float, deed: Deed) -> None:
        """Enter a deed."""
        heappush(self._due, (time_s, next(self._order), deed))

    def next_s(self) -> float:
        """When the next one is due; infinity if there is none."""
        return self._due[0][0] if self._due else inf

    def run(self, until_s: float) -> None:
        """Do all that is due by a moment, also what comes up meanwhile."""
        self.read_s = until_s
        while self._due and self._due[0][0] <= until_s:
            self.now_s, _, deed = heappop(self._due)
            deed()

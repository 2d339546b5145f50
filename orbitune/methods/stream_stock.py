"""Data that stays where it came to (`cache`), while micro-batches flow: how far each satellite's stock is complete.

Later micro-batches may overtake earlier ones, and a batch may hold any sample that crossed before: it waits until the
stock is complete up to the last of them.
"""

from __future__ import annotations

from collections import defaultdict

from orbitune.methods.stream_queue import Then


class Stock:
    """Samples of one satellite in the order of first uses, as far as they are there without a gap."""

    def __init__(self) -> None:
        self._complete, self._since_s = 0, 0.0
        self._beyond: dict[int, tuple[int, float]] = {}
        self._waiting: list[tuple[int, Then]] = []

    def land(self, first: int, last: int, since_s: float) -> None:
        """Samples `first` to `last` are there; heard twice, it counts once."""
        if first >= self._complete:
            self._beyond.setdefault(first, (last, since_s))
        while self._complete in self._beyond:
            self._complete, landed_s = self._beyond.pop(self._complete)
            self._since_s = max(self._since_s, landed_s)
        ready = [then for count, then in self._waiting if count <= self._complete]
        self._waiting = [(count, then) for count, then in self._waiting if count > self._complete]
        for then in ready:
            then(self._since_s)

    def when(self, count: int, then: Then) -> None:
        """Go on as soon as the first `count` samples are there."""
        if count <= self._complete:
            then(self._since_s)
        else:
            self._waiting.append((count, then))

    def forget(self) -> None:
        """Nobody waits any more: a round is over, and what was begun ahead is begun anew."""
        self._waiting.clear()


class Stocks(defaultdict[int, Stock]):
    """One for each satellite."""

    def __init__(self) -> None:
        super().__init__(Stock)

    def forget(self) -> None:
        """See `Stock.forget`."""
        for stock in self.values():
            stock.forget()

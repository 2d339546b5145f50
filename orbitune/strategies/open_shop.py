"""Timetables in which nobody is in two places at once: preemptive open-shop scheduling.

Links are pairs of nodes, all times whole ticks, so that sums are exact and the last tick comes out right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Link = tuple[int, int]


def open_shop(ticks: Mapping[Link, int], places: Mapping[int, int]) -> list[tuple[Link, int, int]]:
    """A preemptive timetable: each link is served `ticks` ticks, each node at most `places` links at once.

    Returns:
        (link, start, end) in ticks. The end of the last is the least possible: the most ticks of any link, or those of
        any node divided by its places, rounded up.

    Reference: Gonzalez and Sahni, "Open shop scheduling to minimize finish time", J. ACM 23(4), 1976, for one place
    each; for more, the integer decomposition property of bipartite b-matchings (Schrijver, Combinatorial Optimization,
    2003, section 21).
    """
    shop = _Shop({link: amount for link, amount in ticks.items() if amount}, dict(places))
    while shop.left:
        shop.advance()
    return shop.served


@dataclass
class _Shop:
    """A timetable under construction: from `now` on, `left` is to be served within `rest` ticks."""

    left: dict[Link, int]
    places: dict[int, int]
    now: int = 0
    since: dict[Link, int] = field(default_factory=dict)
    served: list[tuple[Link, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.links_of: dict[int, list[Link]] = {}
        for link in self.left:
            for node in link:
                self.links_of.setdefault(node, []).append(link)
        self.load = {node: sum(self.left[link] for link in links) for node, links in self.links_of.items()}
        self.busy = dict.fromkeys(self.load, 0)
        least = [-(-load // self.places[node]) for node, load in self.load.items()]
        self.rest = max([*least, *self.left.values()], default=0)

    def advance(self) -> None:
        """Choose who talks, and let them until somebody else must have a turn."""
        self._settle()
        self._fill()
        for node in self.busy:
            while self.busy[node] < self._needed(node):
                self._augment(node)
        self._pass(self._step())

    def _needed(self, node: int) -> int:
        """How many links of a node must talk now for it to be done within `rest`."""
        return self.load[node] - self.places[node] * (self.rest - 1)

    def _settle(self) -> None:
        """Links that need all of the rest talk until the end, and are no longer anybody's concern."""
        for link in [link for link, amount in self.left.items() if amount == self.rest]:
            self.served.append((link, self.since.get(link, self.now), self.now + self.rest))
            if link in self.since:
                self._hush(link)
            for node in link:
                self.places[node] -= 1
                self.load[node] -= self.rest
                self.links_of[node].remove(link)
            del self.left[link]
        for node, links in self.links_of.items():
            while self.busy[node] > self.places[node]:
                self._stop(next(link for link in links if link in self.since))

    def _fill(self) -> None:
        """Whoever is free talks, the longest share first."""
        for link in sorted(self.left, key=lambda link: (-self.left[link], link)):
            if link not in self.since and all(self.busy[node] < self.places[node] for node in link):
                self._start(link)

    def _augment(self, node: int) -> None:
        """Let one more link of `node` talk, along an alternating path (Berge 1957): add, drop, add, drop ..."""
        paths: dict[int, tuple[Link, ...]] = {node: ()}
        queue = deque([node])
        while queue:
            here = queue.popleft()
            for add in self.links_of[here]:
                if add in self.since:
                    continue
                middle = _across(add, here)
                if self.busy[middle] < self.places[middle]:
                    return self._switch((*paths[here], add))
                for drop in self.links_of[middle]:
                    there = _across(drop, middle)
                    if drop in self.since and there not in paths:
                        paths[there] = (*paths[here], add, drop)
                        if self.busy[there] > self._needed(there):
                            return self._switch(paths[there])
                        queue.append(there)
        raise AssertionError("a timetable exists whenever no node has more than places * rest left")

    def _switch(self, path: Iterable[Link]) -> None:
        for link in path:
            if link in self.since:
                self._stop(link)
            else:
                self._start(link)

    def _start(self, link: Link) -> None:
        self.since[link] = self.now
        for node in link:
            self.busy[node] += 1

    def _hush(self, link: Link) -> int:
        for node in link:
            self.busy[node] -= 1
        return self.since.pop(link)

    def _stop(self, link: Link) -> None:
        start = self._hush(link)
        if start < self.now:
            self.served.append((link, start, self.now))

    def _step(self) -> int:
        """For how long all may go on as they are."""
        step = self.rest
        for link, amount in self.left.items():
            step = min(step, amount if link in self.since else self.rest - amount)
        for node, busy in self.busy.items():
            if idle := self.places[node] - busy:
                step = min(step, (self.places[node] * self.rest - self.load[node]) // idle)
        return step

    def _pass(self, step: int) -> None:
        self.now += step
        self.rest -= step
        for link in list(self.since):
            self.left[link] -= step
            for node in link:
                self.load[node] -= step
            if not self.left[link]:
                del self.left[link]
                self._stop(link)
                for node in link:
                    self.links_of[node].remove(link)


def _across(link: Link, node: int) -> int:
    return link[1] if link[0] == node else link[0]

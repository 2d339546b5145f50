"""How soon, and how late, whole payloads can travel from node to node, if nothing else is booked meanwhile.

Leaving later never means arriving earlier on any link, so labels that are settled in order of time are final:
Dijkstra's algorithm holds (Cooke and Halsey, "The shortest route through a network with time-dependent internodal
transit times", J. Math. Anal. Appl. 14, 1966). Run backwards from a deadline it gives the latest departures.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from orbitune.links.contacts import Contact
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE


@dataclass(frozen=True, slots=True)
class Link:
    """The contacts of one directed link in time order, as lists. Nothing is sent before `free_s`, nor before contact
    number `first`."""

    start_s: list[float]
    end_s: list[float]
    byte_s: list[float]
    delay_s: list[float]
    free_s: float
    first: int

    def arrival_s(self, size: int, ready_s: float) -> float:
        """When the last of `size` bytes arrives that set out from `ready_s` on; infinity if never."""
        now_s = ready_s if ready_s > self.free_s else self.free_s
        row = bisect_right(self.end_s, now_s)
        arrive_s = 0.0
        for number in range(row, len(self.end_s)):
            begin_s = max(now_s, self.start_s[number])
            done_s = begin_s + size * self.byte_s[number]
            if done_s <= self.end_s[number]:
                return max(arrive_s, done_s + self.delay_s[number])
            if (room := int((self.end_s[number] - begin_s) / self.byte_s[number])) > 0:
                size -= min(room, size)
                arrive_s = max(arrive_s, self.end_s[number] + self.delay_s[number])
                if not size:
                    return arrive_s
        return inf

    @property
    def at_once(self) -> tuple[float, float, float, float]:
        """What needs no more than the first contact: from when on, seconds per byte, until when, and the delay."""
        if self.first == len(self.end_s):
            return inf, 0.0, -inf, 0.0
        from_s = max(self.free_s, self.start_s[self.first])
        return from_s, self.byte_s[self.first], self.end_s[self.first], self.delay_s[self.first]

    def departure_s(self, size: int, deadline_s: float) -> float:
        """How late `size` bytes may set out so that the last arrives by a deadline; minus infinity if never."""
        for number in range(bisect_left(self.start_s, deadline_s) - 1, -1, -1):
            done_s = min(self.end_s[number], deadline_s - self.delay_s[number])
            begin_s = done_s - size * self.byte_s[number]
            first_s = max(self.start_s[number], self.free_s)
            if begin_s >= first_s:
                return begin_s
            size -= max(0, min(size, int((done_s - first_s) / self.byte_s[number])))
            if not size:
                return first_s
            if self.end_s[number] <= self.free_s:
                break
        return -inf


Out = tuple[int, float, float, float, float, Link]
"""A neighbour, `Link.at_once` of the link there, and the link."""


class Hops:
    """All links among some nodes, as they are booked now.

    Args:
        nodes: Satellites, and where ground hops are allowed stations and the server too.
        start_s: Nothing happens before.
    """

    def __init__(self, schedule: Schedule, nodes: Iterable[int], start_s: float) -> None:
        self.nodes = frozenset(nodes)
        self.links: dict[tuple[int, int], Link] = {}
        self.out: dict[int, list[Out]] = {node: [] for node in self.nodes}
        self._into: dict[int, list[tuple[int, Link]]] = {node: [] for node in self.nodes}
        for (source, target), contacts in schedule.system.contacts.by_link.items():
            if source in self.nodes and target in self.nodes:
                link = _link(schedule, contacts, start_s)
                self.links[source, target] = link
                self.out[source].append((target, *link.at_once, link))
                self._into[target].append((source, link))

    def earliest(self, size: int, since_s: Mapping[int, float]) -> tuple[dict[int, float], dict[int, int]]:
        """When a payload held somewhere from some moments on can be at each node, and from where it came there."""
        best, came = dict(since_s), {}
        queue = sorted((time_s, node) for node, time_s in since_s.items())
        while queue:
            now_s, here = heappop(queue)
            if now_s > best[here]:
                continue
            for there, from_s, byte_s, until_s, delay_s, link in self.out[here]:
                known_s = best.get(there, inf)
                if known_s <= now_s:
                    continue
                done_s = (now_s if now_s > from_s else from_s) + size * byte_s
                arrive_s = done_s + delay_s if done_s <= until_s else link.arrival_s(size, now_s)
                if arrive_s < known_s:
                    best[there], came[there] = arrive_s, here
                    heappush(queue, (arrive_s, there))
        return best, came

    def latest(self, size: int, goal: int, deadline_s: float) -> tuple[dict[int, float], dict[int, int]]:
        """How late a payload may leave each node to be at the goal by a deadline, and to where it goes from there."""
        best, onward = {goal: deadline_s}, {}
        queue = [(-deadline_s, goal)]
        while queue:
            minus_s, here = heappop(queue)
            if -minus_s < best[here]:
                continue
            for before, link in self._into[here]:
                known_s = best.get(before, -inf)
                if known_s < -minus_s and (leave_s := link.departure_s(size, -minus_s)) > known_s:
                    best[before], onward[before] = leave_s, here
                    heappush(queue, (-leave_s, before))
        return best, onward


def _link(schedule: Schedule, contacts: tuple[Contact, ...], start_s: float) -> Link:
    source, target = contacts[0].source, contacts[0].target
    columns = schedule.columns(source, target)
    first = bisect_right(columns.end_s, start_s)
    free_s = _free_s(schedule, source, target, contacts[first:], start_s)
    return Link(columns.start_s, columns.end_s, columns.byte_s, columns.delay_s, free_s, first)


def _free_s(schedule: Schedule, source: int, target: int, ahead: tuple[Contact, ...], start_s: float) -> float:
    """From when on link and terminals are free: when the first byte would set out, where it need not wait."""
    arrive_s = schedule.probe(source, target, 1, start_s)
    for contact in ahead:
        leave_s = arrive_s - contact.delay_s - BITS_PER_BYTE / contact.rate_bps
        if leave_s <= contact.end_s:
            return start_s if leave_s <= max(start_s, contact.start_s) + 1e-9 else leave_s
    return start_s

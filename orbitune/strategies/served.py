"""Which load is served next, and over which link: the way `direct` between satellites and stations."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from math import inf

from orbitune.strategies.sky import (
    Load,
    out_of_time,
)
from orbitune.timeline.simulate import Schedule


def first_served(
    schedule: Schedule, loads: Sequence[Load], kind: str, end_s: Callable[[Load, int, int], float]
) -> Iterator[tuple[Load, int, int]]:
    """Each load with its best satellite and station, the earliest to complete first.

    The caller books each before it asks for the next. Bookings only ever make the others later, so a link whose time
    still holds when it is the earliest is indeed the next. Links begin with a guess that is never too late.
    """
    queue = [(*link, True) for number, load in enumerate(loads) if load.left
             for link in _links_of(schedule, load, number, kind)]  # fmt: skip
    heapify(queue)
    served: set[int] = set()
    while queue:
        time_s, number, satellite, station, guessed = queue[0]
        if number in served:
            heappop(queue)
            continue
        now_s = end_s(loads[number], satellite, station)
        if now_s > time_s or guessed:
            heapreplace(queue, (now_s, number, satellite, station, False))
            continue
        served.add(number)
        if time_s == inf:
            raise out_of_time(schedule, [loads[number]], kind)
        yield loads[number], satellite, station


def _links_of(schedule: Schedule, load: Load, number: int, kind: str) -> Iterator[tuple[float, int, int, int]]:
    """Each link that can carry a load, and before when it will not have done so."""
    by_link = schedule.system.contacts.by_link
    for satellite in load.members:
        for station in schedule.system.nodes.stations:
            link = (satellite, station) if kind == "downlink" else (station, satellite)
            if link in by_link:
                columns = schedule.columns(*link)
                row = bisect_right(columns.end_s, load.complete_s)
                start_s = columns.start_s[row] if row < len(columns.start_s) else inf
                yield max(load.complete_s, start_s), number, satellite, station

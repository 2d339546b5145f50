"""What way `quickest` sees of the sky: cells of time and links in which nothing changes.

Links that share no satellite and no station have nothing to do with each other. So time is not cut for all of them
at every contact edge: a cell is a connected set of links and the stretch of time in which just these are up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orbitune.links.contacts import Contact
from orbitune.strategies.fluid import Program
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE


@dataclass(frozen=True, slots=True)
class Window:
    """The usable part of a satellite-ground contact."""

    contact: Contact
    satellite: int
    station: int
    start_s: float
    end_s: float

    @property
    def bytes_per_s(self) -> float:
        return self.contact.rate_bps / BITS_PER_BYTE


@dataclass(frozen=True, slots=True)
class Cell:
    """Windows that are open together, by number."""

    start_s: float
    end_s: float
    windows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """A load (by number) has a contact for itself from `start_s` to `end_s`."""

    load: int
    contact: Contact
    start_s: float
    end_s: float


def windows_of(
    schedule: Schedule, kind: str, satellites: Iterable[int], since_s: Mapping[int, float], last_s: float
) -> list[Window]:
    """Windows between some satellites and the stations, from `since_s` (by station) to `last_s`."""
    plan = schedule.system.contacts
    rows = plan.of_kind(kind)
    ends = (plan.source, plan.target) if kind == "downlink" else (plan.target, plan.source)
    first_s = min(since_s.values(), default=0.0)
    near = (plan.end_s[rows] > first_s) & (plan.start_s[rows] < last_s) & np.isin(ends[0][rows], list(satellites))
    found = []
    for row in rows[near].tolist():
        contact = plan[row]
        satellite, station = int(ends[0][row]), int(ends[1][row])
        start_s = max(contact.start_s, since_s[station], schedule.link_free_s(contact.source, contact.target))
        end_s = min(contact.end_s, last_s)
        if start_s < end_s:
            found.append(Window(contact, satellite, station, start_s, end_s))
    return found


def cells_of(windows: Sequence[Window], cuts: Iterable[tuple[float, int]]) -> list[Cell]:
    """Cells in order of their ends. `cuts` are moments (s, node) at which something changes for a node."""
    opens: dict[float, list[int]] = {}
    closes: dict[float, list[int]] = {}
    touched: dict[float, list[int]] = {}
    for number, window in enumerate(windows):
        opens.setdefault(window.start_s, []).append(number)
        closes.setdefault(window.end_s, []).append(number)
    for time_s, node in cuts:
        touched.setdefault(time_s, []).append(node)
    graph = _Graph(windows)
    for time_s in sorted({*opens, *closes, *touched}):
        graph.change(time_s, opens.get(time_s, ()), closes.get(time_s, ()), touched.get(time_s, ()))
    return graph.closed


class _Graph:
    """The links that are up now, in connected groups that know since when they are as they are."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self.windows = windows
        self.closed: list[Cell] = []
        self._group_of: dict[int, tuple[float, set[int]]] = {}

    def change(self, time_s: float, opens: Sequence[int], closes: Sequence[int], touched: Sequence[int]) -> None:
        """Windows open and close; whoever is linked with them, or is touched, begins a new cell."""
        nodes = {node for number in (*opens, *closes) for node in self._ends(number)}
        links = set(opens)
        for node in sorted(nodes.union(touched)):
            if node not in self._group_of:
                continue
            start_s, group = self._group_of[node]
            if start_s < time_s:
                self.closed.append(Cell(start_s, time_s, tuple(sorted(group))))
            links |= group
            for end in {end for number in group for end in self._ends(number)}:
                del self._group_of[end]
        for group in self._groups(links.difference(closes)):
            for number in group:
                for node in self._ends(number):
                    self._group_of[node] = (time_s, group)

    def _ends(self, number: int) -> tuple[int, int]:
        return self.windows[number].satellite, self.windows[number].station

    def _groups(self, links: set[int]) -> Iterator[set[int]]:
        at: dict[int, list[int]] = {}
        for number in sorted(links):
            for node in self._ends(number):
                at.setdefault(node, []).append(number)
        seen: set[int] = set()
        for first in at:
            if first in seen:
                continue
            group: set[int] = set()
            queue = [first]
            seen.add(first)
            while queue:
                for number in at[queue.pop()]:
                    group.add(number)
                    fresh = [node for node in self._ends(number) if node not in seen]
                    seen.update(fresh)
                    queue += fresh
            yield group


class Air:
    """The time shares of a sky in a linear program, and the limits of its links, satellites and stations.

    Attributes:
        arcs: (cell, window, load) of each time share, in seconds; `column` is the unknown of the first.
    """

    def __init__(
        self, schedule: Schedule, windows: Sequence[Window], carried: Mapping[int, Sequence[int]],
        first_s: float, last_s: float, cuts: Iterable[tuple[float, int]],
    ) -> None:  # fmt: skip
        """`carried` says which loads a satellite can carry."""
        nodes = {node for window in windows for node in (window.satellite, window.station)}
        self.free_s = {node: schedule.terminals_free_s(node, "ground") for node in sorted(nodes)}
        changes = [(time_s, node) for node, times in self.free_s.items() for time_s in times if time_s > first_s]
        self.windows, self.last_s = windows, last_s
        self.cells = [
            cell
            for cell in cells_of(windows, [cut for cut in (*changes, *cuts) if cut[0] < last_s])
            if self._places_at(cell)
        ]
        self.arcs = [
            (cell, number, load)
            for cell, members in enumerate(self._open(cell) for cell in self.cells)
            for number in members
            for load in carried[windows[number].satellite]
        ]
        self.fastest = max((window.bytes_per_s for window in windows), default=1.0)
        self.column = 0

    def places(self, node: int, time_s: float) -> int:
        """How many peers a node can point at from a moment on."""
        return sum(free_s <= time_s for free_s in self.free_s[node])

    def _places_at(self, cell: Cell) -> bool:
        return any(True for _ in self._open(cell))

    def _open(self, cell: Cell) -> list[int]:
        """The windows of a cell both ends of which have a terminal to spare."""
        return [
            number
            for number in cell.windows
            if self.places(self.windows[number].satellite, cell.start_s)
            and self.places(self.windows[number].station, cell.start_s)
        ]

    def scaled(self, number: int) -> float:
        """Rate of a window as a share of the fastest."""
        return self.windows[number].bytes_per_s / self.fastest

    def add_to(self, program: Program, counts: bool = True) -> None:
        """One unknown per arc, and what links, satellites and stations can do in each cell.

        `counts` says whether bytes count as carried when they cross the air.
        """
        self.column = len(program.gain)
        for _, number, _ in self.arcs:
            program.unknown(self.scaled(number) if counts else 0.0)
        for places, slope, start_s, end_s in self.limits():
            program.clock([(self.column + place, 1.0) for place in places], slope, start_s, end_s)

    def limits(self) -> Iterator[tuple[list[int], float, float, float]]:
        """Arcs that together have no more than so many times the seconds from a start to an end."""
        rows: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        sharing: dict[tuple[int, int], set[int]] = {}
        for place, (cell, number, _) in enumerate(self.arcs):
            window = self.windows[number]
            ends = (window.satellite, window.station)
            for key in (*((node,) for node in ends), ends):
                rows.setdefault((cell, key), []).append(place)
            for node in ends:
                sharing.setdefault((cell, node), set()).add(number)
        for (cell, key), places in rows.items():
            start_s, end_s = self.cells[cell].start_s, self.cells[cell].end_s
            limits = [min(self.places(node, start_s), len(sharing[cell, node])) for node in key]
            if len(key) == 2:  # one link: implied where either end serves one peer only
                if min(limits) > 1:
                    yield places, 1.0, start_s, end_s
            elif limits[0] == 1 or limits[0] < len(sharing[cell, key[0]]):
                yield places, float(limits[0]), start_s, end_s

"""One interval of the satellite-ground network, in which nothing changes: how much can cross, how soon, and in turns.

Satellites and stations share their time: a satellite with k terminals talks to at most k stations at once, a station
with a antennas to at most a satellites. So the unknowns are time shares, seconds of the interval per link.
`most_bytes` and `least_time` choose them; `turns` makes a timetable in which nobody is in two places at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from orbitune.strategies.open_shop import Link, open_shop
from orbitune.units import BITS_PER_BYTE

TICK_S = 1e-10
"""Time shares are whole ticks inside, so that sums are exact; at 100 Gbit/s a tick is 1.25 bytes."""

Stretch = tuple[int, int]
Supply = TypeVar("Supply")
Demand = TypeVar("Demand")


@dataclass(frozen=True, slots=True)
class Arc:
    """Bytes of one cargo may cross between a satellite and a station, at `rate_bps`."""

    cargo: int
    satellite: int
    station: int
    rate_bps: float

    @property
    def link(self) -> Link:
        return self.satellite, self.station

    def seconds(self, size: float) -> float:
        """How long `size` bytes take."""
        return size * BITS_PER_BYTE / self.rate_bps


@dataclass(frozen=True)
class Network:
    """An interval of `length_s` seconds.

    Attributes:
        arcs: Who may carry what. Several cargos may share a link.
        demand_bytes: How much of each cargo is left to carry.
        places: How many peers each satellite and station can talk to at once.
    """

    length_s: float
    arcs: tuple[Arc, ...]
    demand_bytes: Mapping[int, float]
    places: Mapping[int, int]

    @cached_property
    def one_rate(self) -> bool:
        """Whether all links are equally fast; then bytes and seconds are the same thing."""
        return len({arc.rate_bps for arc in self.arcs}) == 1

    @cached_property
    def total_bytes(self) -> float:
        """What there is to carry for cargos that some arc can carry."""
        return sum(self.demand_bytes[cargo] for cargo in {arc.cargo for arc in self.arcs})

    def carried_bytes(self, shares_s: Sequence[float]) -> float:
        """What time shares carry, one share per arc."""
        return sum(share * arc.rate_bps for share, arc in zip(shares_s, self.arcs, strict=True)) / BITS_PER_BYTE


@dataclass(frozen=True, slots=True)
class Turn:
    """Arc number `arc` is served from `start_s` to `end_s`, counted from the start of the interval."""

    arc: int
    start_s: float
    end_s: float


# -- how much --------------------------------------------------------------------------------------------------------


def most_bytes(network: Network) -> list[float]:
    """Time shares [arcs] in s that carry the most bytes within the interval.

    With one rate everywhere this is a maximum flow, solved exactly in ticks. Otherwise seconds and bytes are different
    capacities and it is a linear program (HiGHS).
    """
    if network.one_rate:
        return _by_flow(network)
    rows, limits = _rows(network)
    gain = np.array([arc.rate_bps for arc in network.arcs])
    return _solve(-gain / gain.max(), rows, limits, network.length_s)


def least_time(network: Network) -> tuple[list[float], float]:
    """Time shares [arcs] in s that carry all of every demand in the shortest time, and that time in s.

    A linear program. The interval's length does not limit it.
    """
    rows, limits = _rows(network)
    cargos = len({arc.cargo for arc in network.arcs})
    # One more unknown, the time used: it replaces the interval's length, and demands become lower limits.
    time = np.append(-limits[:-cargos] / network.length_s, np.zeros(cargos))
    flip = np.append(np.ones(len(rows) - cargos), -np.ones(cargos))
    limits = np.append(np.zeros(len(rows) - cargos), -limits[-cargos:])
    cost = np.append(np.zeros(len(network.arcs)), 1.0)
    *shares_s, time_s = _solve(cost, np.column_stack([rows * flip[:, None], time]), limits, None)
    return shares_s, time_s


def _solve(
    cost: NDArray[np.float64],
    rows: NDArray[np.float64],
    limits: NDArray[np.float64],
    length_s: float | None,
) -> list[float]:
    result = linprog(cost, A_ub=rows, b_ub=limits, bounds=(0.0, length_s), method="highs")
    assert result.status == 0, f"HiGHS: {result.message}"
    return [float(value) for value in result.x.clip(min=0.0)]


def _rows(network: Network) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows times shares <= limits: each link and each node is served within the interval, each cargo at most once.

    The last rows are the cargos', in seconds at the fastest rate so that all numbers are of one size.
    """
    fastest_bps = max(arc.rate_bps for arc in network.arcs)
    links = {arc.link: None for arc in network.arcs}
    nodes = {node: None for arc in network.arcs for node in arc.link}
    cargos = {arc.cargo: None for arc in network.arcs}
    place = {key: row for row, key in enumerate([*links, *nodes, *(("cargo", cargo) for cargo in cargos)])}
    rows = np.zeros((len(place), len(network.arcs)))
    for column, arc in enumerate(network.arcs):
        for key in (arc.link, *arc.link):
            rows[place[key], column] = 1.0
        rows[place["cargo", arc.cargo], column] = arc.rate_bps / fastest_bps
    limits = [network.length_s] * len(links) + [network.places[node] * network.length_s for node in nodes]
    demands = [network.demand_bytes[cargo] * BITS_PER_BYTE / fastest_bps for cargo in cargos]
    return rows, np.array(limits + demands)


def _by_flow(network: Network) -> list[float]:
    """Cargo -> satellite in -> satellite out -> station, in ticks."""
    length = int(network.length_s / TICK_S)
    edges: dict[tuple[Hashable, Hashable], int] = {}
    for arc in network.arcs:
        cargo, entry, exit_ = ("cargo", arc.cargo), ("in", arc.satellite), ("out", arc.satellite)
        edges["source", cargo] = int(arc.seconds(network.demand_bytes[arc.cargo]) / TICK_S) + 1
        edges[cargo, entry] = edges[entry, exit_] = network.places[arc.satellite] * length
        edges[exit_, arc.station] = length
        edges[arc.station, "sink"] = network.places[arc.station] * length
    flows = max_flow([(tail, head, room) for (tail, head), room in edges.items()], "source", "sink")
    flow = dict(zip(edges, flows, strict=True))
    ticks = {(arc.cargo, arc.link): 0 for arc in network.arcs}
    for satellite in {arc.satellite: None for arc in network.arcs}:
        arcs = [arc for arc in network.arcs if arc.satellite == satellite]
        came = {arc.cargo: flow[("cargo", arc.cargo), ("in", satellite)] for arc in arcs}
        left = {arc.link: flow[("out", satellite), arc.station] for arc in arcs}
        for number, link, amount in _deal(came.items(), left.items()):
            ticks[number, link] += amount
    return [ticks[arc.cargo, arc.link] * TICK_S for arc in network.arcs]


def max_flow(edges: Sequence[tuple[Hashable, Hashable, int]], source: Hashable, sink: Hashable) -> list[int]:
    """Maximum flow on every edge (tail, head, room), by shortest augmenting paths.

    Exact in whole numbers of any size. Reference: Edmonds and Karp, J. ACM 19(2), 1972. The networks here have a
    hundred edges or so; there this is faster than building the matrices of a library's solver.
    """
    room: list[int] = []
    heads: list[Hashable] = []
    leaving: dict[Hashable, list[int]] = {}
    for tail, head, capacity in edges:
        for end, other, free in ((tail, head, capacity), (head, tail, 0)):  # an edge, and its way back
            leaving.setdefault(end, []).append(len(heads))
            heads.append(other)
            room.append(free)
    while path := _shortest_path(room, heads, leaving, source, sink):
        width = min(room[edge] for edge in path)
        for edge in path:
            room[edge] -= width
            room[edge ^ 1] += width
    return room[1::2]


def _shortest_path(
    room: Sequence[int],
    heads: Sequence[Hashable],
    leaving: Mapping[Hashable, Sequence[int]],
    source: Hashable,
    sink: Hashable,
) -> list[int]:
    """Edges from sink back to source with room left; empty if there are none."""
    came: dict[Hashable, int] = {source: -1}
    queue = deque([source])
    while queue and sink not in came:
        for edge in leaving.get(queue.popleft(), ()):
            if room[edge] and heads[edge] not in came:
                came[heads[edge]] = edge
                queue.append(heads[edge])
    path: list[int] = []
    node = sink
    while node != source and node in came:
        path.append(came[node])
        node = heads[came[node] ^ 1]
    return path


def _deal(
    supplies: Iterable[tuple[Supply, int]], demands: Iterable[tuple[Demand, int]]
) -> Iterator[tuple[Supply, Demand, int]]:
    """Hand supplies out to demands in order until either is used up."""
    wanted = deque((demand, amount) for demand, amount in demands if amount)
    for supply, left in supplies:
        while left and wanted:
            demand, amount = wanted.popleft()
            given = min(left, amount)
            yield supply, demand, given
            left -= given
            if given < amount:
                wanted.appendleft((demand, amount - given))


# -- in turns --------------------------------------------------------------------------------------------------------


def turns(network: Network, shares_s: Sequence[float]) -> list[Turn]:
    """A timetable that gives every arc its share, in order of time.

    It ends as soon as the busiest link or node is done, not later than the interval where the shares allow that.
    """
    ticks = [int(share / TICK_S) for share in shares_s]
    arcs_of: dict[Link, list[tuple[int, int]]] = {}
    for number, arc in enumerate(network.arcs):
        arcs_of.setdefault(arc.link, []).append((number, ticks[number]))
    totals = {link: sum(amount for _, amount in arcs) for link, arcs in arcs_of.items()}
    stretches: dict[Link, list[Stretch]] = {}
    for link, start, end in open_shop(totals, network.places):
        stretches.setdefault(link, []).append((start, end))
    found: list[Turn] = []
    for link, parts in stretches.items():
        found += _serve(sorted(parts), arcs_of[link], network.length_s)
    return sorted(found, key=lambda turn: (turn.start_s, turn.arc))


def _serve(stretches: Sequence[Stretch], arcs: Iterable[tuple[int, int]], length_s: float) -> Iterator[Turn]:
    """Arc after arc within the stretches of their link."""
    done = 0
    for (start, end), arc, ticks in _deal(((stretch, stretch[1] - stretch[0]) for stretch in stretches), arcs):
        now = start + done
        done = (done + ticks) % (end - start)
        # The solver may overfill the interval by its tolerance; the contact must not be.
        yield Turn(arc, min(now * TICK_S, length_s), min((now + ticks) * TICK_S, length_s))

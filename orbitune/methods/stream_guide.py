"""Foresight for micro-batches that come down (`overlap = "stream"`): how much each group brings over which link.

Every piece by itself takes the way on which it arrives first. That is bad for all where a group has few passes of its
own and others crowd the antennas that it depends on. So before pieces set out, linear programs over the passes to come
(`strategies.fluid`) share the links out: the first exchange is to be down as early as it can be; with that given, the
second; and so on. (Lexicographic quickest flows; the programs are those of way `quickest`, with what must be down by
the ends found before as further rows.) Pieces then keep to links on which their exchange has bytes left.

A guide may only be wrong in what it leaves out, and the schedule stays valid: links inside a group are taken for free,
and pieces are cut at samples and not at the bytes of the shares. Pieces that find no share left go as if there was no
guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orbitune.methods.base import Job
from orbitune.methods.stream_sights import Sight
from orbitune.strategies.fluid import Optimum, Program
from orbitune.strategies.quickest import SPARE_S, add_backhaul
from orbitune.strategies.quickest_sky import Air, windows_of
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE

MOST_ARCS = 20_000
"""Our choice: links times stretches of time beyond which a program would take longer than the plan; no guide then."""

FIRST_LOOK = 4.0
"""Our choice: passes are looked at for so many times as long as all antennas would take together, then twice that."""

LESS_S = 1e-4
"""What an exchange may lack, at the fastest link, by the end that was found for it: far above the solver's tolerance
of 1e-7, far below a piece."""

ENOUGH = 0.5
"""Part of a piece for which a share must have room, our choice: sizes are rounded to pieces, up and down alike."""

LAST = 0.9
"""Ranks of one exchange lie between its number and this much above it, below the next."""

Link = tuple[int, int]
Share = tuple[float, Link]
"""Which exchange (by its urgency), over which link."""


@dataclass
class Guide:
    """Shares of the links for everything that is to come down of some exchanges.

    Attributes:
        owed: By exchange, what each group (by number) has not brought down yet, in bytes.
        until_s: When the last of it is to be down.
    """

    job: Job
    schedule: Schedule
    owed: dict[float, dict[int, float]] = field(default_factory=dict)
    until_s: float = 0.0
    _left: dict[Share, float] = field(default_factory=dict)
    _due: dict[Share, float] = field(default_factory=dict)
    _taken: dict[Share, float] = field(default_factory=dict)
    _group_of: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._group_of = {member: number for number, pool in enumerate(self.job.pools) for member in pool}

    def forget(self) -> None:
        """Nothing is to come down for now."""
        self.owed, self._left, self._taken = {}, {}, {}

    def owe(self, exchange: float, satellite: int, size: int) -> None:
        """A piece is to come down from somewhere in a satellite's group."""
        owed = self.owed.setdefault(exchange, {})
        group = self._group_of[satellite]
        owed[group] = owed.get(group, 0.0) + size

    def allows(self, exchange: float, sight: Sight, size: int) -> bool:
        """Whether a piece may take a pass."""
        share = exchange, sight.link
        return self._left.get(share, 0.0) - self._taken.get(share, 0.0) >= ENOUGH * size

    def rank(self, exchange: float, sight: Sight) -> float:
        """Who goes first where several wait for an antenna: older exchanges, and among equals what is due first."""
        return exchange + LAST * self._due.get((exchange, sight.link), 1.0)

    def take(self, exchange: float, sight: Sight, size: int) -> None:
        """A piece means to take a pass (or no longer does, with a negative size)."""
        share = exchange, sight.link
        self._taken[share] = self._taken.get(share, 0.0) + size

    def sent(self, exchange: float, sight: Sight, size: int) -> None:
        """A piece went down."""
        share = exchange, sight.link
        if share in self._left:
            self._left[share] -= size
        if exchange in self.owed:
            self.owed[exchange][self._group_of[sight.satellite]] -= size

    def share_out(self, start_s: float) -> None:
        """Share the links out from a moment on; without a guide where nothing is owed or it would cost too much."""
        exchanges = sorted(self.owed)
        needed: list[dict[int, float]] = []
        for exchange in exchanges:
            before = needed[-1] if needed else {}
            groups = before.keys() | self.owed[exchange].keys()
            needed.append({g: before.get(g, 0.0) + max(0.0, self.owed[exchange].get(g, 0.0)) for g in sorted(groups)})
        self._left, self._due = {}, {}
        if not needed or sum(needed[-1].values()) <= 0.0:
            return
        for air, optimum in _programs(self.schedule, self.job.pools, needed, start_s):
            self.until_s = optimum.end_s
            self._left, due_s = _shares(air, optimum, exchanges, needed)
            length_s = optimum.end_s - start_s
            self._due = {share: min(1.0, (time_s - start_s) / length_s) for share, time_s in due_s.items()}


def _programs(
    schedule: Schedule, groups: Sequence[Sequence[int]], needed: Sequence[Mapping[int, float]], start_s: float
) -> list[tuple[Air, Optimum]]:
    """The last of the programs that could be solved, one exchange more in each; none where the first one cannot be."""
    ends_s: list[float] = []
    found: list[tuple[Air, Optimum]] = []
    horizon_s = schedule.system.contacts.horizon_s
    for number, total in enumerate(needed):
        antennas = sum(schedule.system.num_terminals(node, "ground") for node in schedule.system.nodes.stations)
        look_s = FIRST_LOOK * sum(total.values()) / (antennas * _fastest(schedule))
        solved = None
        while solved is None:
            last_s = min(start_s + look_s, horizon_s)
            if ends_s and last_s <= ends_s[-1]:
                last_s = min(ends_s[-1] + look_s, horizon_s)
            solved = _solve(schedule, groups, needed[: number + 1], ends_s, start_s, last_s)
            look_s *= 2.0
            if last_s >= horizon_s:
                break
        if solved is None:
            break
        ends_s.append(solved[1].end_s)
        found = [solved]
    return found


def _fastest(schedule: Schedule) -> float:
    """Bytes per second of the fastest downlink."""
    contacts = schedule.system.contacts
    return float(contacts.rate_bps[contacts.of_kind("downlink")].max()) / BITS_PER_BYTE


def _solve(
    schedule: Schedule, groups: Sequence[Sequence[int]], needed: Sequence[Mapping[int, float]],
    ends_s: Sequence[float], start_s: float, last_s: float,
) -> tuple[Air, Optimum] | None:  # fmt: skip
    """The earliest end of the last of these totals, those before having been down by their ends; None if too late."""
    carried = {member: [number] for number, pool in enumerate(groups) for member in pool if needed[-1].get(number)}
    windows = windows_of(schedule, "downlink", carried, dict.fromkeys(schedule.system.nodes.stations, start_s), last_s)
    nodes = {node for window in windows for node in (window.satellite, window.station)}
    cuts = [(end_s, node) for end_s in ends_s for node in sorted(nodes)]
    air = Air(schedule, windows, carried, start_s, last_s, cuts)
    if not 0 < len(air.arcs) <= MOST_ARCS:
        return None
    program = Program()
    air.add_to(program)
    spare = 0.0
    for group, total in needed[-1].items():
        if total > 0.0:
            spare += _demand(program, air, group, [need.get(group, 0.0) for need in needed], ends_s)
    add_backhaul(program, schedule, air, "downlink", start_s)
    target = sum(needed[-1].values()) / air.fastest
    return _found(air, program.earliest(target, ends_s[-1] if ends_s else start_s, last_s, spare))


def _found(air: Air, optimum: Optimum | None) -> tuple[Air, Optimum] | None:
    return (air, optimum) if optimum is not None else None


def _demand(program: Program, air: Air, group: int, totals: Sequence[float], ends_s: Sequence[float]) -> float:
    """A group brings down its total and no more, and what was due by an end before it; returns the rounding added."""
    places = [place for place, (_, _, load) in enumerate(air.arcs) if load == group]
    terms = [(air.column + place, air.scaled(air.arcs[place][1])) for place in places]
    spare = SPARE_S + 2 * len(places) / air.fastest
    program.limit(terms, totals[-1] / air.fastest, spare)
    for total, end_s in zip(totals, ends_s, strict=False):
        due = [
            (column, -value)
            for place, (column, value) in zip(places, terms, strict=True)
            if air.cells[air.arcs[place][0]].end_s <= end_s
        ]
        if due and total / air.fastest > LESS_S:
            program.limit(due, LESS_S - total / air.fastest)
    return spare


def _shares(
    air: Air, optimum: Optimum, exchanges: Sequence[float], needed: Sequence[Mapping[int, float]]
) -> tuple[dict[Share, float], dict[Share, float]]:
    """Bytes over each link, to the exchanges in turn as they come down; and by when."""
    shares: dict[Share, float] = {}
    due_s: dict[Share, float] = {}
    done: dict[int, float] = {}
    places = sorted(range(len(air.arcs)), key=lambda place: (air.cells[air.arcs[place][0]].end_s, place))
    for place in places:
        cell, number, group = air.arcs[place]
        window = air.windows[number]
        first = done.get(group, 0.0)
        last = done[group] = first + float(optimum.values[air.column + place]) * window.bytes_per_s
        for exchange, before, total in zip(exchanges, [{}, *needed], needed, strict=False):
            size = min(last, total.get(group, 0.0)) - max(first, before.get(group, 0.0))
            if size > 0.0:
                share = exchange, (window.satellite, window.station)
                shares[share] = shares.get(share, 0.0) + size
                due_s[share] = min(air.cells[cell].end_s, optimum.end_s)
    return shares, due_s

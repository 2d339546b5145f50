"""Foresight for micro-batches that come down (`overlap = "stream"`): how much each group brings over which link.

Every piece by itself takes the way on which it arrives first. That is bad for all where a group has few passes of its
own and others crowd the antennas that it depends on. So before pieces set out, linear programs over the passes to come
(`strategies.fluid`) share the links out: the first exchange is to be down as early as it can be; with that given, the
second; and so on. When the last of all comes into view, its end goes before all others. (Lexicographic quickest flows:
the programs are those of way `quickest`, with what must be down by ends found before as further rows.) Pieces then keep
to links on which their exchange has bytes left.

A guide may only be wrong in what it leaves out, and the schedule stays valid: links inside a group are taken for free,
and pieces are cut at samples and not at the bytes of the shares. Pieces that find no share left go as if there was no
guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orbitune.methods.base import Cut, Job
from orbitune.methods.stream_sights import Sight
from orbitune.strategies.fluid import Array, Program
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


@dataclass(frozen=True)
class Foresight(Cut):
    """A cut with how many exchanges may be begun beside the one that trains, and whether a guide shares out links."""

    depth: int = 1
    guided: bool = False


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

    def share_out(self, start_s: float, last_first: bool) -> None:
        """Share the links out from a moment on; without a guide where nothing is owed or it would cost too much.

        Args:
            last_first: Whether the last of the exchanges is the last of all: then its end counts most.
        """
        exchanges = sorted(exchange for exchange, owed in self.owed.items() if sum(owed.values()) > 0.0)
        needed: list[dict[int, float]] = []
        for exchange in exchanges:
            before = needed[-1] if needed else {}
            groups = before.keys() | self.owed[exchange].keys()
            needed.append({g: before.get(g, 0.0) + max(0.0, self.owed[exchange].get(g, 0.0)) for g in sorted(groups)})
        self._left, self._due = {}, {}
        if not needed:
            return
        found = _shared(self.schedule, self.job.pools, needed, start_s, last_first)
        if found is not None:
            self.until_s = found[2]
            self._left, due_s = _shares(*found, exchanges, needed)
            length_s = self.until_s - start_s
            self._due = {share: min(1.0, (time_s - start_s) / length_s) for share, time_s in due_s.items()}


@dataclass(frozen=True)
class _Ask:
    """What is asked of a program: the earliest end of the last of these totals.

    Attributes:
        needed: By exchange, in order, what each group has to have brought down by its end, those before included.
        ends_s: The ends that were found for all exchanges but the last.
        whole, whole_s: What must be down at `whole_s`, a later end that is given already; the last of `needed` if none.
    """

    needed: Sequence[Mapping[int, float]]
    ends_s: Sequence[float]
    whole: Mapping[int, float]
    whole_s: float | None


def _shared(
    schedule: Schedule, groups: Sequence[Sequence[int]], needed: Sequence[Mapping[int, float]], start_s: float,
    last_first: bool,
) -> tuple[Air, Array, float] | None:  # fmt: skip
    """Seconds of each arc by the last program that could be solved, and its end; None where not even the first can."""
    found: tuple[Air, Array, float] | None = None
    ends_s: list[float] = []
    whole_s: float | None = None
    count = len(needed)
    if last_first:
        found = _solved(schedule, groups, _Ask(needed[-1:], (), needed[-1], None), start_s)
        whole_s, count = (found[2], count - 1) if found is not None else (None, 0)
    for number in range(count):
        whole = needed[-1] if last_first else needed[number]
        solved = _solved(schedule, groups, _Ask(needed[: number + 1], ends_s, whole, whole_s), start_s)
        if solved is None:
            break
        ends_s.append(solved[2])
        found = (*solved[:2], whole_s or solved[2])
    return found


def _solved(
    schedule: Schedule, groups: Sequence[Sequence[int]], ask: _Ask, start_s: float
) -> tuple[Air, Array, float] | None:
    """One program, with ever more passes until they suffice."""
    nodes, horizon_s = schedule.system.nodes, schedule.system.contacts.horizon_s
    antennas = sum(schedule.system.num_terminals(node, "ground") for node in nodes.stations)
    look_s = FIRST_LOOK * sum(ask.needed[-1].values()) / (antennas * _fastest(schedule))
    first_s = last_s = ask.ends_s[-1] if ask.ends_s else start_s
    if ask.whole_s is not None:
        return _solve(schedule, groups, ask, start_s, ask.whole_s)
    while last_s < horizon_s:
        last_s = min(first_s + look_s, horizon_s)
        found = _solve(schedule, groups, ask, start_s, last_s)
        if found is not None:
            return found
        look_s *= 2.0
    return None


def _fastest(schedule: Schedule) -> float:
    """Bytes per second of the fastest downlink."""
    contacts = schedule.system.contacts
    return float(contacts.rate_bps[contacts.of_kind("downlink")].max()) / BITS_PER_BYTE


def _solve(
    schedule: Schedule, groups: Sequence[Sequence[int]], ask: _Ask, start_s: float, last_s: float
) -> tuple[Air, Array, float] | None:
    """The earliest end, with the seconds of each arc; None if it is after `last_s`."""
    carried = {member: [number] for number, pool in enumerate(groups) for member in pool if ask.whole.get(number)}
    windows = windows_of(schedule, "downlink", carried, dict.fromkeys(schedule.system.nodes.stations, start_s), last_s)
    nodes = {node for window in windows for node in (window.satellite, window.station)}
    cuts = [(end_s, node) for end_s in ask.ends_s for node in sorted(nodes)]
    air = Air(schedule, windows, carried, start_s, last_s, cuts)
    if not 0 < len(air.arcs) <= MOST_ARCS:
        return None
    program, count = Program(), len(air.arcs)
    air.add_to(program)
    columns = [0] if ask.whole_s is None else [0, count]  # then what comes down later has unknowns of its own
    if ask.whole_s is not None:
        _leave_room(program, air)
    spare = sum(_demand(program, air, group, ask, columns) for group, total in ask.whole.items() if total > 0.0)
    add_backhaul(program, schedule, air, "downlink", start_s)
    target = sum(ask.needed[-1].values()) / air.fastest
    optimum = program.earliest(target, ask.ends_s[-1] if ask.ends_s else start_s, last_s, spare)
    if optimum is None:
        return None
    values: Array = optimum.values[: count * len(columns)].reshape(-1, count).sum(axis=0)
    return air, values, optimum.end_s


def _leave_room(program: Program, air: Air) -> None:
    """Once more as many unknowns, of what comes down later: together no more than there is until the end."""
    count = len(air.arcs)
    for _ in range(count):
        program.unknown()
    for places, slope, start_s, end_s in air.limits():
        terms = [(first + place, 1.0) for place in places for first in (0, count)]
        program.limit(terms, slope * (end_s - start_s))


def _demand(program: Program, air: Air, group: int, ask: _Ask, columns: Sequence[int]) -> float:
    """A group brings down its total and no more, and what was due by an end before it; returns the rounding added."""
    places = [place for place, (_, _, load) in enumerate(air.arcs) if load == group]
    terms = [(place, air.scaled(air.arcs[place][1])) for place in places]
    spare = SPARE_S + 2 * len(places) / air.fastest
    program.limit(terms, ask.needed[-1].get(group, 0.0) / air.fastest, spare)
    due = [(need.get(group, 0.0), end_s) for need, end_s in zip(ask.needed, ask.ends_s, strict=False)]
    if ask.whole_s is not None:
        due.append((ask.whole[group], ask.whole_s))
    for total, end_s in due:
        early = [
            (first + place, -value)
            for place, value in terms
            if air.cells[air.arcs[place][0]].end_s <= end_s
            for first in columns
        ]
        if early and total / air.fastest > LESS_S:
            program.limit(early, LESS_S - total / air.fastest)
    return spare


def _shares(
    air: Air, values: Array, end_s: float, exchanges: Sequence[float], needed: Sequence[Mapping[int, float]]
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
        last = done[group] = first + float(values[place]) * window.bytes_per_s
        for exchange, before, total in zip(exchanges, [{}, *needed], needed, strict=False):
            size = min(last, total.get(group, 0.0)) - max(first, before.get(group, 0.0))
            if size > 0.0:
                share = exchange, (window.satellite, window.station)
                shares[share] = shares.get(share, 0.0) + size
                due_s[share] = min(air.cells[cell].end_s, end_s)
    return shares, due_s

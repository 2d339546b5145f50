"""Lower bounds: no schedule can be faster than this, whatever the strategy.

A method says what must happen (`Need`), not how; the bound is worked out from the needs, the contact plan and the
machines alone. Every argument below relaxes something and forbids nothing that a schedule could do:

1. *Totals.* All work that a resource must do cannot be done before the resource could have done that much, working
   from the first second without a pause. Resources: each computer; the air between the stations and all satellites
   that carry something; the air between the stations and one group; the backhaul. (What crosses a cut is at most the
   integral of what its terminals can serve, see `capacity_of`; the last byte then still has its delay to go.)
2. *First grain.* Need j of a group cannot begin before one grain of that group has passed every need before j.
   Earliest completion never falls when the start is later, so the steps may be composed in time order.
3. *Busy resource.* If every piece of work from need i to need j on one resource starts at `h` or later, the resource
   is not done with them before it could have done their sum from `h` on. The largest such value over all i is
   `until = finish(max(until, h), size)`, one step per need.
4. *Last grain.* When all of need j is done, the grain that was last still has to pass the needs after j, alone. For a
   resource that several groups share it is unknown whose grain that is, so the fastest group's way counts.
5. *Combine.* A model averaged over all groups holds something of each. Group g has nothing final before its last
   grain; from then on news spreads no faster than the earliest arrival of a message of no size over all contacts.
   And for every byte of the model a satellite must receive at least one byte into which the others went, so its
   links must have carried a whole model since the sender could know. A satellite goes on after it has the average.
6. *Ahead.* Needs with `after_weights=False` may be done at any time, all rounds at once: they form a chain of their
   own from second 0, with rules 2 to 4. What follows them in their round waits for them.

Left out on purpose, so the bound can be below what is possible: the sharing of one terminal between down and up (half
duplex), links inside a group for data (rings are free), slots that do not divide, and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from orbitune.cost.system import System
from orbitune.timeline.capacity import Cut, Cuts, Reach

NEED_KINDS = ("compute", "down", "up", "combine")
AIR = {"down": "downlink", "up": "uplink"}


@dataclass(frozen=True)
class Need:
    """Something that must happen, whoever does it and when.

    Needs form a chain: what one yields, the next one uses, grain by grain, in the same group; what comes after a
    combine on board uses its result; what the server does after a combine uses all it did before. What only
    *looks* like a step of the chain must not be listed as one, or the bound is none.

    Attributes:
        kind: "compute", "down" (satellites to server), "up" (server to satellites) or "combine" (one model per group,
            averaged over all groups and given back to all satellites of the groups; satellites that computed before it
            contribute).
        phase, round, stage: Where the timeline shows it.
        total: compute: FLOPs by node. down, up: bytes by group number. combine: bytes of the model by group number.
        grain: The least part (one sample) that can move on alone, same keys.
        groups: Satellites of each group. It is taken for granted that a group's bytes come down (or up) at its own
            members, any of them: for a bound over every conceivable relay, pass all satellites that links can join.
        after_weights: False where nothing of the previous round is used, so that it could be done ahead of time.
    """

    kind: str
    phase: str
    round: int
    stage: str
    total: Mapping[int, float]
    grain: Mapping[int, float]
    groups: tuple[tuple[int, ...], ...] = ()
    after_weights: bool = True


@dataclass(frozen=True)
class Bound:
    """The time that no schedule can beat, and the argument that gave it, in words."""

    time_s: float
    name: str


def lower_bound(needs: Sequence[Need], system: System) -> Bound:
    """The greatest of all lower bounds on the end of a job, in seconds from the start.

    Infinity where the contact plan ends before a need can be met. The name is that of a resource where its total
    alone says as much, otherwise that of the chain, with the resource that fills most of it.
    """
    cuts = Cuts(system)
    whole = max(_totals(needs, system, cuts), key=lambda bound: bound.time_s, default=Bound(0.0, "nothing to do"))
    chain_s = max((end_s for _, end_s in _chain(needs, system, cuts)), default=0.0)
    if chain_s <= whole.time_s * (1.0 + 1e-9):  # the same sum in another order
        return whole
    share = f"{100.0 * whole.time_s / chain_s:.0f}% of it: {whole.name}" if chain_s < inf else "no contact in time"
    return Bound(chain_s, f"chain of rounds ({share})")


def bounds_by_stage(needs: Sequence[Need], system: System) -> dict[tuple[str, int, str], float]:
    """Seconds before which no schedule can have finished each (phase, round, stage), by the chain alone."""
    ends_s: dict[tuple[str, int, str], float] = {}
    for need, end_s in _chain(needs, system, Cuts(system)):
        place = (need.phase, need.round, need.stage)
        ends_s[place] = max(end_s, ends_s.get(place, 0.0))
    return ends_s


# -- work: which resource does how much of a need, and for which tracks --------------------------------------------


@dataclass(frozen=True)
class _Resource:
    """A computer or a cut: when it can have done some work, and the least delays before and after it."""

    name: str
    done: Callable[[float, float], float]
    before_s: float = 0.0
    after_s: float = 0.0

    def pass_s(self, start_s: float, size: float) -> float:
        """When work that is alone in the world is through."""
        return self.done(start_s + self.before_s, size) + self.after_s


@dataclass(frozen=True)
class _Work:
    """One resource's part of a need.

    `tracks` pass through it; `member` is the satellite or group whose own work it is. Work without a member is the
    sum over all of them: it counts as a whole, and no grain is timed on it.
    """

    key: tuple[str, frozenset[int]]
    resource: _Resource
    total: float
    grain: float
    tracks: frozenset[int]
    members: frozenset[int]
    shared: bool


def _totals(needs: Sequence[Need], system: System, cuts: Cuts) -> list[Bound]:
    """Argument 1: each resource, working without a pause from the first second."""
    sums: dict[tuple[str, frozenset[int]], float] = {}
    resources: dict[tuple[str, frozenset[int]], _Resource] = {}
    tracks = _Tracks(needs, system)
    for need in needs:
        for work in _works(need, system, cuts, tracks):
            sums[work.key] = sums.get(work.key, 0.0) + work.total
            resources[work.key] = work.resource
    return [Bound(resources[key].pass_s(0.0, total), resources[key].name) for key, total in sums.items()]


def _works(need: Need, system: System, cuts: Cuts, tracks: _Tracks) -> list[_Work]:
    """All parts of a need; none of a combine, which has rules of its own."""
    assert need.kind in NEED_KINDS, f"unknown kind of need {need.kind!r}"
    if need.kind == "combine":
        return []
    if need.kind == "compute":
        return [_computing(node, need, system, tracks) for node, total in need.total.items() if total > 0.0]
    return _moving(need, cuts, tracks)


def _computing(node: int, need: Need, system: System, tracks: _Tracks) -> _Work:
    flops_per_s = system.computer(node).flops_per_s
    server = node == system.nodes.server
    resource = _Resource(
        "compute on the server" if server else "compute on satellites",
        lambda start_s, flops: start_s + flops / flops_per_s,
    )
    passing = tracks.all if server else frozenset((tracks.of[node],))
    members = frozenset((node,))
    return _Work(("compute", members), resource, need.total[node], need.grain[node], passing, members, server)


def _moving(need: Need, cuts: Cuts, tracks: _Tracks) -> list[_Work]:
    """Bytes through the air of each group, through the air of all together, and over the backhaul."""
    air = AIR[need.kind]
    works: list[_Work] = []
    for group, total in need.total.items():
        members = frozenset(need.groups[group])
        if total > 0.0:
            resource = _through(f"{air}: one group alone", cuts.air(air, members))
            passing = frozenset((tracks.of[min(members)],))
            works.append(_Work((air, members), resource, total, need.grain[group], passing, members, False))
    if not works:
        return []
    everyone = frozenset[int]().union(*(work.members for work in works))
    passing = frozenset[int]().union(*(work.tracks for work in works))
    total = sum(work.total for work in works)
    for name, cut in (("all stations together", cuts.air(air, everyone)), ("backhaul", cuts.backhaul(air, everyone))):
        resource = _through(f"{air}: {name}", cut)
        works.append(_Work((resource.name, everyone), resource, total, 0.0, passing, everyone, True))
    return works


def _through(name: str, cut: Cut) -> _Resource:
    return _Resource(name, cut.sent, cut.before_s, cut.after_s)


class _Tracks:
    """Satellites that share a group in any need form one track; a satellite in no group is a track of its own."""

    def __init__(self, needs: Iterable[Need], system: System) -> None:
        self.of = list(system.nodes.satellites)
        for groups in {need.groups for need in needs}:
            for group in groups:
                joined = {self.of[member] for member in group}
                self.of = [min(joined) if track in joined else track for track in self.of]
        self.all = frozenset(self.of)
        self.members = {track: [s for s, other in enumerate(self.of) if other == track] for track in self.all}


# -- the chain -----------------------------------------------------------------------------------------------------


@dataclass
class _Busy:
    """Argument 3 for one resource. `until_s` stays valid when a start lies before an earlier one: then only the sum
    since the first start, and the new work alone, are claimed."""

    first_s: float = inf
    last_s: float = -inf
    total: float = 0.0
    until_s: float = 0.0

    def add(self, resource: _Resource, start_s: float, size: float) -> float:
        """Work that starts at `start_s` or later; returns when the resource can be done with all of it."""
        self.total += size
        self.first_s = min(self.first_s, start_s)
        if start_s >= self.last_s:
            self.until_s = resource.done(max(self.until_s, start_s), size)
        else:
            self.until_s = max(resource.done(self.first_s, self.total), resource.done(start_s, size))
        self.last_s = start_s
        return self.until_s


@dataclass
class _Flow:
    """How far the needs of a stretch have come, at best.

    `first_s` and `last_s`: when the first and the last grain of each track have passed the needs so far. `some_s`:
    some track's last grain has not passed before. A track that is missing has had nothing to do yet.
    """

    first_s: dict[int, float] = field(default_factory=dict)
    last_s: dict[int, float] = field(default_factory=dict)
    some_s: float = 0.0

    def join(self, other: _Flow) -> None:
        """Wait for another flow as well."""
        for mine, theirs in ((self.first_s, other.first_s), (self.last_s, other.last_s)):
            mine.update({track: max(time_s, mine.get(track, 0.0)) for track, time_s in theirs.items()})
        self.some_s = max(self.some_s, other.some_s)

    def pass_need(self, works: list[_Work], ready_s: Callable[[_Work], float], busy: dict[object, _Busy]) -> None:
        """Arguments 2 to 4 for one need. `ready_s` is when the place of a work can begin at all."""
        ways = _ways(works, self.first_s.keys())
        starts = {track: self.first_s.get(track, 0.0) for track in ways}
        done_s = {
            id(work): busy.setdefault(work.key, _Busy()).add(work.resource, self._start_s(work, ready_s), work.total)
            + work.resource.after_s
            for work in works
        }
        if self.first_s.keys() <= ways.keys() and ways:
            self.some_s = min(_passed(way, self.some_s, ready_s) for way in ways.values())
        for track, way in ways.items():
            own_s = max((done_s[id(work)] for work in way if not work.shared), default=0.0)
            self.last_s[track] = max(own_s, _passed(way, self.last_s.get(track, 0.0), ready_s))
            self.first_s[track] = _passed(way, starts[track], ready_s)
        self.some_s = max(self.some_s, *done_s.values(), *self.last_s.values())

    def _start_s(self, work: _Work, ready_s: Callable[[_Work], float]) -> float:
        """When a work can begin: with the first grain of the track that has one first."""
        known = [self.first_s.get(track, 0.0) for track in work.tracks if track in self.first_s or not work.shared]
        return max(min(known, default=0.0), ready_s(work)) + work.resource.before_s


def _ways(works: list[_Work], active: Iterable[int]) -> dict[int, list[_Work]]:
    """The works that a single grain of each track may take. Everything that is under way may pass the server."""
    ways: dict[int, list[_Work]] = {}
    for work in works:
        if work.grain > 0.0:
            for track in active if work.shared else work.tracks:
                ways.setdefault(track, []).append(work)
    return ways


def _passed(way: list[_Work], start_s: float, ready_s: Callable[[_Work], float]) -> float:
    """One grain, alone, on its fastest way."""
    return min(work.resource.pass_s(max(start_s, ready_s(work)), min(work.grain, work.total)) for work in way)


class _Chain:
    """Walks through the needs with the clocks of all nodes."""

    def __init__(self, needs: Sequence[Need], system: System, cuts: Cuts) -> None:
        self._system, self._cuts = system, cuts
        self._tracks = _Tracks(needs, system)
        self._reach: Reach | None = None
        self._has_weights_s = [0.0] * system.nodes.num_satellites
        self._server_s = 0.0  # the server is done with the rounds before
        self._flow, self._ahead = _Flow(), _Flow()
        self._on_board, self._on_ground = _Flow(), 0.0  # the flow after the last need on board, on the ground
        self._trained_s: dict[int, float] = {}
        self._busy: dict[object, _Busy] = {}
        self._busy_ahead: dict[object, _Busy] = {}

    def add(self, need: Need) -> float:
        """Take the next need; returns a moment before which it cannot be done."""
        if need.kind == "combine":
            return self._combine(need)
        works = _works(need, self._system, self._cuts, self._tracks)
        if not need.after_weights:
            self._ahead.pass_need(works, lambda work: 0.0, self._busy_ahead)
            return self._ahead.some_s
        self._flow.join(self._ahead)
        self._ahead = _Flow()
        self._flow.pass_need(works, self._ready_s, self._busy)
        self._remember(need, works)
        return self._flow.some_s

    def _ready_s(self, work: _Work) -> float:
        """On board work waits for the weights, ground work for the server's own last round."""
        if work.key[0].startswith("uplink") or self._system.nodes.server in work.members:
            return self._server_s
        return min(self._has_weights_s[member] for member in work.members)

    def _remember(self, need: Need, works: list[_Work]) -> None:
        server = self._system.nodes.server
        if need.kind == "down" or any(server in work.members for work in works):
            self._on_ground = self._flow.some_s
        if need.kind == "up" or any(server not in work.members for work in works if need.kind == "compute"):
            self._on_board = _Flow(dict(self._flow.first_s), dict(self._flow.last_s), self._flow.some_s)
        for work in works:
            if need.kind == "compute" and not work.shared:
                self._trained_s[min(work.members)] = self._busy[work.key].until_s

    # -- argument 5 --------------------------------------------------------------------------------------------------

    def _combine(self, need: Need) -> float:
        members = [satellite for group in need.groups for satellite in group]
        has_s = list(self._has_weights_s)
        if len(members) > 1:
            for track, size in self._models(need).items():
                self._spread(track, size, members, has_s)
        self._has_weights_s = has_s
        self._server_s = max(self._server_s, self._on_ground)
        self._flow, self._on_board, self._trained_s = _Flow(), _Flow(), {}
        return max((has_s[satellite] for satellite in members), default=0.0)

    def _models(self, need: Need) -> dict[int, float]:
        """Bytes of the model of each track that has one."""
        sizes: dict[int, float] = {}
        for group, size in need.total.items():
            if size > 0.0:
                track = self._tracks.of[need.groups[group][0]]
                sizes[track] = min(size, sizes.get(track, inf))
        return sizes

    def _spread(self, track: int, size: float, members: list[int], has_s: list[float]) -> None:
        """What the model of one track means for everybody: raises `has_s`."""
        since_s = self._final_s(track)
        sources = self._tracks.members[track]
        self._reach = self._reach or Reach(self._system)
        arrivals_s = self._reach.arrivals_s(dict.fromkeys(sources, since_s))
        for satellite in members:
            if self._tracks.of[satellite] != track:
                intake = self._cuts.intake(satellite)
                start_s = max(since_s, arrivals_s[satellite] + intake.before_s)
                received_s = intake.sent(start_s, size) + intake.after_s
            else:
                received_s = self._received_inside(satellite, size)
            has_s[satellite] = max(has_s[satellite], arrivals_s[satellite], received_s)

    def _final_s(self, track: int) -> float:
        """When the model of a track can be final: it has its weights, and its last grain is through."""
        weights_s = min(self._has_weights_s[member] for member in self._tracks.members[track])
        return max(weights_s, self._on_board.last_s.get(track, 0.0))

    def _received_inside(self, satellite: int, size: float) -> float:
        """A satellite whose neighbours trained too needs a whole model's bytes from them."""
        track = self._tracks.of[satellite]
        others = [self._trained_s[m] for m in self._tracks.members[track] if m in self._trained_s and m != satellite]
        if not others:
            return 0.0
        intake = self._cuts.intake(satellite)
        return intake.sent(min(others), size) + intake.after_s


def _chain(needs: Sequence[Need], system: System, cuts: Cuts) -> list[tuple[Need, float]]:
    """Each need with a moment before which it cannot be done."""
    chain = _Chain(needs, system, cuts)
    return [(need, chain.add(need)) for need in needs]

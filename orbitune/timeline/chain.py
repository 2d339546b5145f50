"""The chain of rounds: clocks that run through the needs of a job (arguments 2 to 6 of `bounds`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from orbitune.cost.system import System
from orbitune.timeline.capacity import Cuts, Reach
from orbitune.timeline.needs import Need, Resource, Tracks, Work, works_of

Ready = Callable[[Work], float]
"""When the place of a work can begin at all."""


@dataclass
class _Busy:
    """Argument 3 for one resource.

    `until_s` is a maximum over sums that begin at some start. It may be carried on as long as starts do not fall;
    where one does, only the sum since the very first start, and the new work alone, are claimed.
    """

    first_s: float = inf
    last_s: float = -inf
    total: float = 0.0
    until_s: float = 0.0

    def add(self, resource: Resource, start_s: float, size: float) -> float:
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
    """How far the needs since the last combine have come, at best.

    Attributes:
        first_s, last_s: When the first and the last grain of each track have passed the needs so far. A track that
            is missing has had nothing to do yet.
        some_s: The last grain of some track among `owners` has not passed the last need before.
    """

    first_s: dict[int, float] = field(default_factory=dict)
    last_s: dict[int, float] = field(default_factory=dict)
    some_s: float = 0.0
    owners: frozenset[int] = frozenset()

    def copy(self) -> _Flow:
        """The same moments, free to go their own way."""
        return _Flow(dict(self.first_s), dict(self.last_s), self.some_s, self.owners)

    def join(self, other: _Flow) -> None:
        """Wait for another flow as well."""
        for mine, theirs in ((self.first_s, other.first_s), (self.last_s, other.last_s)):
            mine.update({track: max(time_s, mine.get(track, 0.0)) for track, time_s in theirs.items()})
        self.some_s = max(self.some_s, other.some_s)
        self.owners |= other.owners

    def pass_need(self, works: list[Work], ready_s: Ready, busy: dict[object, _Busy]) -> None:
        """Arguments 2 to 4 for one need."""
        ways = _ways(works)
        done = [(work, self._done_s(work, ready_s, busy)) for work in works]
        self.keep_within(ways)
        self.some_s = min((_passed_s(way, self.some_s, ready_s) for way in ways.values()), default=0.0)
        for track, way in ways.items():
            if track in self.last_s:
                self.last_s[track] = _passed_s(way, self.last_s[track], ready_s)
            self.first_s[track] = _passed_s(way, self.first_s.get(track, 0.0), ready_s)
        for work, done_s in done:
            self.some_s = max(self.some_s, done_s)
            if not work.shared:
                (track,) = work.tracks
                self.last_s[track] = max(done_s, self.last_s.get(track, 0.0))
        self.some_s = max(self.some_s, *(self.last_s.get(track, 0.0) for track in ways), 0.0)
        self.owners = frozenset(ways)

    def keep_within(self, tracks: Collection[int]) -> None:
        """Before a need of these tracks alone: what may belong to another track does not hold it up."""
        if not all(owner in tracks for owner in self.owners):
            self.some_s, self.owners = 0.0, frozenset()

    def _done_s(self, work: Work, ready_s: Ready, busy: dict[object, _Busy]) -> float:
        """When all of a work can be through: it begins with the first grain of the track that has one first."""
        start_s = min((self.first_s.get(track, 0.0) for track in work.tracks), default=0.0)
        start_s = max(start_s, ready_s(work)) + work.resource.before_s
        return busy.setdefault(work.key, _Busy()).add(work.resource, start_s, work.total) + work.resource.after_s


def _ways(works: Iterable[Work]) -> dict[int, list[Work]]:
    """The works that a single grain of each track may take."""
    ways: dict[int, list[Work]] = {}
    for work in works:
        if work.grain > 0.0:
            for track in work.tracks:
                ways.setdefault(track, []).append(work)
    return ways


def _passed_s(way: list[Work], start_s: float, ready_s: Ready) -> float:
    """One grain, alone, on its fastest way."""
    return min(work.resource.pass_s(max(start_s, ready_s(work)), min(work.grain, work.total)) for work in way)


class Chain:
    """Walks through the needs with the clocks of all nodes."""

    def __init__(self, needs: Sequence[Need], system: System, cuts: Cuts) -> None:
        self._system, self._cuts = system, cuts
        self._tracks = Tracks(needs, system)
        self._reach = Reach(system)
        self._has_weights_s = [0.0] * system.nodes.num_satellites
        self._server_s = 0.0  # when the server can be done with the rounds before
        self._flow, self._ahead = _Flow(), _Flow()
        self._on_board = _Flow()  # the flow after the last need that ended on board
        self._on_ground_s = 0.0  # some last grain after the last need that ended on the ground
        self._trained_s: dict[int, float] = {}
        self._busy: dict[object, _Busy] = {}
        self._busy_ahead: dict[object, _Busy] = {}

    def add(self, need: Need) -> float:
        """Take the next need; returns a moment before which it cannot be done."""
        if need.kind == "combine":
            return self._combine(need)
        works = works_of(need, self._system, self._cuts, self._tracks)
        if not need.after_weights:
            self._ahead.pass_need(works, lambda work: 0.0, self._busy_ahead)
            return self._ahead.some_s
        ways = _ways(works)
        self._flow.keep_within(ways)
        self._ahead.keep_within(ways)
        self._flow.join(self._ahead)
        self._ahead = _Flow()  # the next stretch starts from second 0; its resources know what was done before
        self._flow.pass_need(works, self._ready_s, self._busy)
        self._remember(need, works)
        return self._flow.some_s

    def _ready_s(self, work: Work) -> float:
        """Work on board waits for the weights, work on the ground for the server's own rounds before."""
        if work.key[0].startswith("uplink") or self._system.nodes.server in work.members:
            return self._server_s
        return min(self._has_weights_s[member] for member in work.members)

    def _remember(self, need: Need, works: list[Work]) -> None:
        computers = [node for work in works if need.kind == "compute" for node in work.members]
        server = self._system.nodes.server
        if need.kind == "down" or server in computers:
            self._on_ground_s = self._flow.some_s
        on_board = [node for node in computers if node != server]
        if need.kind == "up" or on_board:
            self._on_board = self._flow.copy()
        for node in on_board:
            self._trained_s[node] = self._busy["compute", frozenset((node,))].until_s

    # -- argument 5 --------------------------------------------------------------------------------------------------

    def _combine(self, need: Need) -> float:
        members = [satellite for group in need.groups for satellite in group]
        models = self._models(need)
        has_s = list(self._has_weights_s)
        trained = {self._tracks.of[satellite] for satellite in self._trained_s}
        if self._on_board.owners <= {track for track in trained if self._tracks.club_of[track] in models}:
            has_s = [max(time_s, self._on_board.some_s) if s in members else time_s for s, time_s in enumerate(has_s)]
        for club, size in models.items():
            self._spread(club, size, members, has_s)
        self._has_weights_s = has_s
        self._server_s = max(self._server_s, self._on_ground_s)
        self._flow, self._ahead, self._on_board, self._trained_s = _Flow(), _Flow(), _Flow(), {}
        return max((has_s[satellite] for satellite in members), default=0.0)

    def _models(self, need: Need) -> dict[int, float]:
        """Bytes of the model of each club that has one."""
        sizes: dict[int, float] = {}
        for group, size in need.total.items():
            if size > 0.0:
                club = self._tracks.club_of[need.groups[group][0]]
                sizes[club] = min(size, sizes.get(club, inf))
        return sizes

    def _spread(self, club: int, size: float, members: list[int], has_s: list[float]) -> None:
        """What the model of one club means for everybody: raises `has_s`."""
        since_s = self._final_s(club)
        arrivals_s = self._reach.arrivals_s(dict.fromkeys(self._tracks.clubs[club], since_s))
        for satellite in members:
            if self._tracks.club_of[satellite] == club:
                received_s = self._received_inside(satellite, size, members)
            else:
                intake = self._cuts.intake(satellite)
                start_s = max(since_s, arrivals_s[satellite] + intake.before_s)
                received_s = intake.capacity.sent(start_s, size) + intake.after_s
            has_s[satellite] = max(has_s[satellite], arrivals_s[satellite], received_s)

    def _final_s(self, club: int) -> float:
        """When the model of a club can be final: it has its weights, and all that trains in it is through."""
        satellites = self._tracks.clubs[club]
        weights_s = min(self._has_weights_s[satellite] for satellite in satellites)
        tracks = {self._tracks.of[satellite] for satellite in satellites if satellite in self._trained_s}
        return max([weights_s, *(self._on_board.last_s.get(track, 0.0) for track in tracks)])

    def _received_inside(self, satellite: int, size: float, members: list[int]) -> float:
        """A satellite whose neighbours trained too needs a whole model's bytes from them."""
        neighbours = set(self._tracks.clubs[self._tracks.club_of[satellite]]).intersection(members) - {satellite}
        trained_s = [self._trained_s[other] for other in neighbours if other in self._trained_s]
        if not trained_s:
            return 0.0
        intake = self._cuts.intake(satellite)
        return intake.capacity.sent(min(trained_s), size) + intake.after_s

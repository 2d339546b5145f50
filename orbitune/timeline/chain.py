"""The chain of rounds: clocks that run through the needs of a job (arguments 2 to 8 of `bounds`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from orbitune.cost.system import System
from orbitune.timeline.capacity import Cuts, Reach
from orbitune.timeline.needs import Need, Owners, Resource, Work, works_of
from orbitune.timeline.paths import Paths

Ready = Callable[[Work], float]
"""When the place of a work can begin at all."""

Travel = Callable[[int, float], float]
"""When news of a satellite that is ready at a moment can be where the next need wants it."""

Whose = frozenset[int]
"""Satellites, one of which is meant."""

MAX_SOURCES = 96
"""Satellites whose news is followed when models are combined; any choice gives a bound, more cost time."""


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
        first_s: When the first grain of each satellite has passed the needs so far; nothing is known of others.
        claims: The last grain of one of these satellites, whoever it is, has not passed them before that moment.
    """

    first_s: dict[int, float] = field(default_factory=dict)
    claims: dict[Whose, float] = field(default_factory=dict)

    def copy(self) -> _Flow:
        """The same moments, free to go their own way."""
        return _Flow(dict(self.first_s), dict(self.claims))

    def join(self, other: _Flow) -> None:
        """Wait for another flow as well."""
        for satellite, time_s in other.first_s.items():
            self.first_s[satellite] = max(time_s, self.first_s.get(satellite, 0.0))
        for whose, time_s in other.claims.items():
            self.claim(whose, time_s)

    def claim(self, whose: Whose, time_s: float) -> None:
        self.claims[whose] = max(time_s, self.claims.get(whose, 0.0))

    def pass_need(
        self, works: list[Work], ready_s: Ready, travel_s: Travel, busy: dict[object, _Busy]
    ) -> tuple[float, float]:
        """Arguments 2 to 4 and 7 for one need.

        Returns:
            A moment before which its resources cannot be done, and one before which not all grains are where the next
            need wants them.
        """
        ways = _ways(works)
        begin_s = self._begins_s(works, ready_s)
        done = [
            (work, busy.setdefault(work.key, _Busy()).add(work.resource, start_s, work.total) + work.resource.after_s)
            for work, start_s in zip(works, begin_s, strict=True)
        ]
        passed: dict[tuple[int, float], float] = {}

        def pass_s(satellite: int, time_s: float) -> float:
            found = passed.get((satellite, time_s))
            if found is None:
                found = max(_passed_s(ways[satellite], time_s, ready_s), travel_s(satellite, time_s))
                passed[satellite, time_s] = found
            return found

        end_s = self._pass_claims(ways, pass_s)
        for satellite in ways:
            self.first_s[satellite] = pass_s(satellite, self.first_s.get(satellite, 0.0))
        for work, done_s in _worth_following(done):
            self.claim(work.owners, max([done_s, *self._firsts_of(work, ways)]))
            end_s = max(end_s, self.claims[work.owners])
        return max((done_s for _, done_s in done), default=0.0), end_s

    def _pass_claims(self, ways: dict[int, list[Work]], pass_s: Travel) -> float:
        """The last grain of a claim may be one that this need does not concern; it does not move then."""
        end_s = 0.0
        for whose, time_s in self.claims.items():
            if whose and whose <= ways.keys():
                self.claims[whose] = min(pass_s(satellite, time_s) for satellite in whose)
                end_s = max(end_s, self.claims[whose])
        return end_s

    def _firsts_of(self, work: Work, ways: dict[int, list[Work]]) -> list[float]:
        """The last grain of a work is not before its first."""
        firsts = [self.first_s[satellite] for satellite in work.owners if satellite in ways]
        return [min(firsts)] if len(firsts) == len(work.owners) > 0 else []

    def _begins_s(self, works: list[Work], ready_s: Ready) -> list[float]:
        """When each work can begin: with the first grain of the satellite that has one first."""
        firsts = {
            work.key: (min((self.first_s.get(one, 0.0) for one in work.owners), default=0.0), ready_s(work))
            for work in works
            if not work.parts
        }
        begins_s = []
        for work in works:
            first_s, place_s = zip(*(firsts[part.key] for part in work.parts or (work,)), strict=True)
            begins_s.append(max(min(first_s), min(place_s)) + work.resource.before_s)
        return begins_s


def _worth_following(done: Sequence[tuple[Work, float]]) -> list[tuple[Work, float]]:
    """Of the sets of several groups only the last to be done: any choice gives a bound, more claims cost time."""
    last = max((pair for pair in done if pair[0].parts), key=lambda pair: pair[1], default=None)
    return [pair for pair in done if not pair[0].parts or pair is last]


def _ways(works: Iterable[Work]) -> dict[int, list[Work]]:
    """The works that a single grain of each satellite may take."""
    ways: dict[int, list[Work]] = {}
    for work in works:
        if work.grain > 0.0:
            for satellite in work.owners:
                ways.setdefault(satellite, []).append(work)
    return ways


def _passed_s(way: list[Work], start_s: float, ready_s: Ready) -> float:
    """One grain, alone, on its fastest way."""
    return min(work.resource.pass_s(max(start_s, ready_s(work)), min(work.grain, work.total)) for work in way)


class Chain:
    """Walks through the needs with the clocks of all nodes; `end_s`: nothing can be faster up to here."""

    def __init__(self, needs: Sequence[Need], system: System, cuts: Cuts, paths: Paths) -> None:
        self.end_s = 0.0
        self._system, self._cuts, self._paths = system, cuts, paths
        self._server = system.nodes.server
        self._owners = Owners(needs, system)
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
        """Take the next need; returns a moment before which its stage cannot end.

        A stage that sends up ends where the bytes land; the way from there to the satellite that wants them is part of
        what follows.
        """
        if need.kind == "combine":
            stage_s = end_s = self._combine(need)
        else:
            landed_s, end_s = self._pass(need)
            stage_s = landed_s if need.kind == "up" else end_s
        self.end_s = max(self.end_s, end_s)
        return stage_s

    def _pass(self, need: Need) -> tuple[float, float]:
        works = works_of(need, self._system, self._cuts, self._owners)
        if not need.after_weights:
            return self._ahead.pass_need(works, lambda work: 0.0, self._travel(need, self._ahead), self._busy_ahead)
        self._flow.join(self._ahead)
        self._ahead = _Flow()  # the next stretch starts from second 0; its resources know what was done before
        moments_s = self._flow.pass_need(works, self._ready_s, self._travel(need, self._flow), self._busy)
        self._remember(need, works, moments_s[1])
        return moments_s

    def _ready_s(self, work: Work) -> float:
        """Work on board waits for the weights, work on the ground for the server's own rounds before."""
        if work.key[0].startswith("uplink") or self._server in work.members:
            return self._server_s
        return min(self._has_weights_s[member] for member in work.members)

    def _travel(self, need: Need, flow: _Flow) -> Travel:
        """Argument 7: light time and hops between a satellite and the server."""
        if need.kind == "down":
            return self._paths.to_server_s
        if need.kind != "up":
            return lambda satellite, time_s: time_s
        since_s = max(self._server_s, min([*flow.first_s.values(), *flow.claims.values()], default=0.0))
        if len(flow.first_s) < self._system.nodes.num_satellites or not need.after_weights:
            since_s = self._server_s if need.after_weights else 0.0
        arrivals_s = self._reach.arrivals_s({self._system.nodes.server: since_s})

        def up_s(satellite: int, time_s: float) -> float:
            return max(arrivals_s[satellite], self._paths.from_server_s(satellite, max(time_s, since_s)))

        return up_s

    def _remember(self, need: Need, works: list[Work], end_s: float) -> None:
        computers = [node for work in works if need.kind == "compute" for node in work.members]
        server = self._system.nodes.server
        if need.kind == "down" or server in computers:
            self._on_ground_s = end_s
        on_board = [node for node in computers if node != server]
        if need.kind == "up" or on_board:
            self._on_board = self._flow.copy()
        for node in on_board:
            self._trained_s[node] = self._busy["compute", frozenset((node,))].until_s

    # -- arguments 5 and 8 -------------------------------------------------------------------------------------------

    def _combine(self, need: Need) -> float:
        members = [satellite for group in need.groups for satellite in group]
        sources = self._sources(need)
        if sources:
            size = min(size for size in need.total.values() if size > 0.0)
            news_s = self._news_s(sources).tolist()
            start_s = min(sources.values())
            together_s = self._together_s(start_s, size, len(sources), len(members))
            for satellite in members:
                received_s = self._received_s(satellite, news_s[satellite], start_s, size, sources)
                self._has_weights_s[satellite] = max(self._has_weights_s[satellite], news_s[satellite], received_s)
        self._server_s = max(self._server_s, self._on_ground_s)
        self._flow, self._ahead, self._on_board, self._trained_s = _Flow(), _Flow(), _Flow(), {}
        ends_s = [self._has_weights_s[satellite] for satellite in members]
        return max([*ends_s, together_s] if sources else ends_s, default=0.0)

    def _sources(self, need: Need) -> dict[int, float]:
        """When the contribution of each satellite that trained is final."""
        inside = {satellite for group, size in need.total.items() if size > 0.0 for satellite in need.groups[group]}
        flow = self._on_board
        return {
            satellite: max(
                self._has_weights_s[satellite],
                trained_s,
                flow.first_s.get(satellite, 0.0),
                flow.claims.get(frozenset((satellite,)), 0.0),
            )
            for satellite, trained_s in self._trained_s.items()
            if satellite in inside
        }

    def _news_s(self, sources: dict[int, float]) -> NDArray[np.float64]:
        """When each satellite can have heard of every source."""
        order = sorted(sources, key=lambda satellite: -sources[satellite])
        step = -(-len(order) // MAX_SOURCES)
        chosen = {satellite: sources[satellite] for satellite in order[::step] if sources[satellite] < inf}
        arrivals_s = self._paths.arrivals_s(chosen)
        news_s: NDArray[np.float64] = arrivals_s.max(axis=0, initial=0.0)
        for whose, time_s in self._on_board.claims.items():
            if len(whose) > 1 and whose <= chosen.keys() and time_s < inf:
                since_s = {satellite: max(time_s, chosen[satellite]) for satellite in whose}
                news_s = np.maximum(news_s, self._paths.arrivals_s(since_s).min(axis=0))
        if any(time_s == inf for time_s in sources.values()):
            news_s[:] = inf
        for satellite in self._latest_of_planes(sources):
            exact_s = self._reach.arrivals_s({satellite: sources[satellite]})
            news_s[: len(exact_s)] = np.maximum(news_s[: len(exact_s)], exact_s)
        return news_s

    def _latest_of_planes(self, sources: dict[int, float]) -> list[int]:
        """One source of every plane, the last to be done; for these, waiting for contacts is counted exactly."""
        plane_of = self._system.nodes.plane_of
        latest: dict[int, int] = {}
        for satellite, time_s in sources.items():
            other = latest.get(plane_of[satellite])
            if time_s < inf and (other is None or time_s > sources[other]):
                latest[plane_of[satellite]] = satellite
        return list(latest.values())

    def _received_s(
        self, satellite: int, news_s: float, start_s: float, size: float, sources: dict[int, float]
    ) -> float:
        """When a satellite can have received a model's bytes in which the others are."""
        if sources.keys() <= {satellite}:
            return 0.0
        intake = self._cuts.intake(satellite)
        return intake.capacity.sent(max(start_s, news_s + intake.before_s), size) + intake.after_s

    def _together_s(self, start_s: float, size: float, sources: int, members: int) -> float:
        """Argument 8: when satellites can have sent and received what an average takes, all together."""
        space = self._cuts.space()
        if sources + members <= 2:
            return 0.0
        return space.capacity.sent(start_s, (sources + members - 2) * size) + space.after_s

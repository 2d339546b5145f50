"""What must happen, whoever does it and when: the input of `bounds`, and the resources that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orbitune.cost.system import System
from orbitune.timeline.capacity import Cut, Cuts

NEED_KINDS = ("compute", "down", "up", "combine")
AIR = {"down": "downlink", "up": "uplink"}


@dataclass(frozen=True)
class Need:
    """Something that must happen, whoever does it and when.

    Needs form a chain: what one yields, the next one uses, grain by grain, in the same group. What a satellite does
    after a combine uses its result; what the server does after a combine uses all it did before. A step that nothing
    of the chain waits for must not stand in its middle, or the bound is none.

    Attributes:
        kind: "compute", "down" (satellites to server), "up" (server to satellites) or "combine" (one model per group,
            averaged over all groups and given back to all satellites of the groups; satellites that computed since
            the last combine contribute).
        phase, round, stage: Where the timeline shows it.
        total: compute: FLOPs by node. down, up: bytes by group number. combine: bytes of the model by group number.
        grain: The least part (one sample) that can move on alone, same keys. The same in every round where needs are
            done ahead.
        groups: Satellites of each group. It is taken for granted that a group's bytes come down (or up) at its own
            members, any of them: for a bound over every conceivable relay, pass all satellites that links can join.
            It is also taken for granted that a satellite computes on samples of its own. A method that hands samples
            on to other satellites must leave their computations out of its needs.
        after_weights: False where nothing of the previous round is used, so that it could be done ahead of time.
        one_copy: Whether every group gets the same bytes: a cable may then carry them once for all.
    """

    kind: str
    phase: str
    round: int
    stage: str
    total: Mapping[int, float]
    grain: Mapping[int, float]
    groups: tuple[tuple[int, ...], ...] = ()
    after_weights: bool = True
    one_copy: bool = False


@dataclass(frozen=True)
class Resource:
    """A computer or a cut: when it can have done some work, and the least delays before and after it."""

    name: str
    done: Callable[[float, float], float]
    before_s: float = 0.0
    after_s: float = 0.0

    def pass_s(self, start_s: float, size: float) -> float:
        """When work that is alone in the world is through."""
        return self.done(start_s + self.before_s, size) + self.after_s


@dataclass(frozen=True)
class Work:
    """One resource's part of a need.

    Attributes:
        key: Names the resource: what, and whose.
        resource: What does it.
        total, grain: FLOPs or bytes; no grain is timed on the sums over several groups (grain 0).
        owners: Satellites whose samples it can be; where there are several, it is unknown whose grain is the last.
        members: Nodes at whose place it begins (down, compute) or ends (up).
        parts: Where it is of several groups together, but not of all, the works of each.
    """

    key: tuple[str, frozenset[int]]
    resource: Resource
    total: float
    grain: float
    owners: frozenset[int]
    members: frozenset[int]
    parts: tuple[Work, ...] = ()


class Owners:
    """Whose samples move in each round: one track per satellite.

    A satellite that computes in a round has samples of its own in it. Where no member of a group computes in a round
    (weights that are brought, images that come down), any of them may be the one whose bytes move.

    Attributes:
        computing: By (phase, round), the satellites that compute.
        moving: By (phase, round), the satellites whose samples may be under way.
        ever: By phase, the same over all rounds.
    """

    def __init__(self, needs: Sequence[Need], system: System) -> None:
        self.computing: dict[tuple[str, int], frozenset[int]] = {}
        self.moving: dict[tuple[str, int], frozenset[int]] = {}
        self.ever: dict[str, frozenset[int]] = {}
        for need in needs:
            if need.kind == "compute":
                busy = frozenset(node for node, total in need.total.items() if total > 0.0) - {system.nodes.server}
                self._put(self.computing, need, busy)
                self._put(self.moving, need, busy)
        for need in needs:
            if need.kind in AIR:
                for group, total in need.total.items():
                    if total > 0.0:
                        self._put(self.moving, need, self.of_group(need, group))
        for (phase, _), satellites in self.moving.items():
            self.ever[phase] = self.ever.get(phase, frozenset()) | satellites

    def of_group(self, need: Need, group: int) -> frozenset[int]:
        """Whose bytes a group may move."""
        members = frozenset(need.groups[group])
        return members & self.computing.get((need.phase, need.round), frozenset()) or members

    def of_server(self, need: Need) -> frozenset[int]:
        """Whose samples the server may work on."""
        return self.moving.get((need.phase, need.round)) or self.ever.get(need.phase, frozenset())

    @staticmethod
    def _put(place: dict[tuple[str, int], frozenset[int]], need: Need, satellites: frozenset[int]) -> None:
        key = (need.phase, need.round)
        place[key] = place.get(key, frozenset()) | satellites


def works_of(need: Need, system: System, cuts: Cuts, owners: Owners) -> list[Work]:
    """All parts of a need; none of a combine, which has rules of its own."""
    assert need.kind in NEED_KINDS, f"unknown kind of need {need.kind!r}"
    if need.kind == "combine":
        return []
    if need.kind == "compute":
        return [_computing(node, need, system, owners) for node, total in need.total.items() if total > 0.0]
    return _moving(need, system, cuts, owners)


def _computing(node: int, need: Need, system: System, owners: Owners) -> Work:
    flops_per_s = system.computer(node).flops_per_s
    server = node == system.nodes.server
    name = "compute of the server" if server else f"compute of the satellites ({system.nodes.name(node)})"
    resource = Resource(name, lambda start_s, flops: start_s + flops / flops_per_s)
    members = frozenset((node,))
    whose = owners.of_server(need) if server else members
    return Work(("compute", members), resource, need.total[node], need.grain[node], whose, members)


def _moving(need: Need, system: System, cuts: Cuts, owners: Owners) -> list[Work]:
    """Bytes through the air of each group, of some together, of all together, and over the backhaul."""
    air = AIR[need.kind]
    works: list[Work] = []
    for group, total in need.total.items():
        members = frozenset(need.groups[group])
        if total > 0.0:
            resource = _through(f"{air} of {cuts.name(members)}", cuts.air(air, members))
            whose = owners.of_group(need, group)
            works.append(Work((air, members), resource, total, need.grain[group], whose, members))
    everyone = frozenset[int]().union(*(work.members for work in works))
    if everyone:
        whose = frozenset[int]().union(*(work.owners for work in works))
        total = sum(work.total for work in works)
        works += _of_several(air, works, cuts, len(owners.moving))
        stations = system.nodes.station_names
        where = f"at {stations[0]}" if len(stations) == 1 else f"at all {len(stations)} stations"
        cabled = max(work.total for work in works if not work.parts) if need.one_copy else total
        for name, cut, size in (
            (f"{air}: antennas {where}", cuts.air, total),
            (f"{air}: backhaul", cuts.backhaul, cabled),
        ):
            resource = _through(name, cut(air, everyone))
            works.append(Work((name, everyone), resource, size, 0.0, whose, everyone))
    return works


def _of_several(air: str, works: Sequence[Work], cuts: Cuts, rounds: int) -> list[Work]:
    """The groups that depend on the same few stations, taken together."""
    found = []
    for numbers, members in cuts.sets(air, tuple((work.members, work.total) for work in works), rounds):
        parts = tuple(works[number] for number in numbers)
        owners = members if all(work.owners is work.members for work in parts) else _all(parts)
        resource = _through(f"{air} of {cuts.name(members)}", cuts.air(air, members))
        total = sum(work.total for work in parts)
        found.append(Work((air, members), resource, total, 0.0, owners, members, parts))
    return found


def _all(works: Iterable[Work]) -> frozenset[int]:
    return frozenset[int]().union(*(work.owners for work in works))


def _through(name: str, cut: Cut) -> Resource:
    return Resource(name, cut.capacity.sent, cut.before_s, cut.after_s)

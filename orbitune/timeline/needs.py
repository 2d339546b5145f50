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
        tracks: Whose samples it can be.
        members: Nodes at whose place it begins (down, compute) or ends (up).
        shared: Several tracks share it, so it is unknown whose grain is the last.
    """

    key: tuple[str, frozenset[int]]
    resource: Resource
    total: float
    grain: float
    tracks: frozenset[int]
    members: frozenset[int]
    shared: bool


class Tracks:
    """Whose samples travel together, and whose models are averaged together, numbered by their first satellite.

    Attributes:
        of: Track of each satellite: satellites that are in the same group of every down and up need that names them.
        club_of: Club of each satellite: satellites that share a track or a group of some combine.
        clubs: Satellites of each club.
        used: By phase, the tracks with any work on board or in the air: whose samples the server can have.
    """

    def __init__(self, needs: Sequence[Need], system: System) -> None:
        moved = [need.groups for need in needs if need.kind in AIR]
        combined = [need.groups for need in needs if need.kind == "combine"]
        self.of = _refined(system.nodes.num_satellites, dict.fromkeys(moved))
        self.club_of = _joined(self.of, dict.fromkeys(combined))
        self.clubs = {club: [s for s, other in enumerate(self.club_of) if other == club] for club in self.club_of}
        self.used: dict[str, frozenset[int]] = {}
        for need in needs:
            tracks = self.of_all(_satellites(need, system))
            self.used[need.phase] = self.used.get(need.phase, frozenset()) | tracks

    def of_all(self, satellites: Iterable[int]) -> frozenset[int]:
        """The tracks of some satellites."""
        return frozenset(self.of[satellite] for satellite in satellites)


def _refined(num_satellites: int, partitions: Iterable[tuple[tuple[int, ...], ...]]) -> list[int]:
    """One label for satellites that no partition tells apart, the smallest; its own for one that none names."""
    places: list[tuple[int, ...]] = [() for _ in range(num_satellites)]
    named: set[int] = set()
    for groups in partitions:
        group_of = {member: number for number, group in enumerate(groups) for member in group}
        places = [(*place, group_of.get(satellite, -1)) for satellite, place in enumerate(places)]
        named.update(group_of)
    first: dict[tuple[int, ...], int] = {}
    return [first.setdefault(place, s) if s in named else s for s, place in enumerate(places)]


def _joined(labels: list[int], partitions: Iterable[tuple[tuple[int, ...], ...]]) -> list[int]:
    """Labels where satellites of one group have one label, the smallest."""
    for group in (group for groups in partitions for group in groups):
        joined = {labels[member] for member in group}
        labels = [min(joined) if label in joined else label for label in labels]
    return labels


def _satellites(need: Need, system: System) -> set[int]:
    """Satellites that may do part of a need; a combine moves no samples."""
    if need.kind == "combine":
        return set()
    busy = [key for key, total in need.total.items() if total > 0.0]
    if need.kind == "compute":
        return {node for node in busy if node != system.nodes.server}
    return {member for group in busy for member in need.groups[group]}


def works_of(need: Need, system: System, cuts: Cuts, tracks: Tracks) -> list[Work]:
    """All parts of a need; none of a combine, which has rules of its own."""
    assert need.kind in NEED_KINDS, f"unknown kind of need {need.kind!r}"
    if need.kind == "combine":
        return []
    if need.kind == "compute":
        return [_computing(node, need, system, tracks) for node, total in need.total.items() if total > 0.0]
    return _moving(need, cuts, tracks)


def _computing(node: int, need: Need, system: System, tracks: Tracks) -> Work:
    flops_per_s = system.computer(node).flops_per_s
    server = node == system.nodes.server
    resource = Resource(
        "compute on the server" if server else "compute on satellites",
        lambda start_s, flops: start_s + flops / flops_per_s,
    )
    passing = tracks.used[need.phase] if server else tracks.of_all((node,))
    members = frozenset((node,))
    return Work(("compute", members), resource, need.total[node], need.grain[node], passing, members, server)


def _moving(need: Need, cuts: Cuts, tracks: Tracks) -> list[Work]:
    """Bytes through the air of each group, through the air of all together, and over the backhaul."""
    air = AIR[need.kind]
    works: list[Work] = []
    for group, total in need.total.items():
        members = frozenset(need.groups[group])
        if total > 0.0:
            resource = _through(f"{air}: one group alone", cuts.air(air, members))
            passing = tracks.of_all(members)
            works.append(Work((air, members), resource, total, need.grain[group], passing, members, len(passing) > 1))
    everyone = frozenset[int]().union(*(work.members for work in works))
    if everyone:
        passing = frozenset[int]().union(*(work.tracks for work in works))
        total = sum(work.total for work in works)
        for name, cut in (("all stations together", cuts.air), ("backhaul", cuts.backhaul)):
            resource = _through(f"{air}: {name}", cut(air, everyone))
            works.append(Work((resource.name, everyone), resource, total, 0.0, passing, everyone, True))
    return works


def _through(name: str, cut: Cut) -> Resource:
    return Resource(name, cut.capacity.sent, cut.before_s, cut.after_s)

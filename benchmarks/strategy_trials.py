"""Every way of every strategy on one mission: booked alone, judged by the checker, held against bounds.

What is moved: each satellite's embeddings inside its plane (A) and to the server (B), features back up (B), updates
averaged in planes (A) and across planes (C). `lower_bound` judges B and C, and the sums of A; it is told of nothing but
what has to happen. All-gather has a bound of its own here. Strategy C starts with one model in every plane, so its
bound lets bytes move inside planes for nothing, or counts what a satellite can take in; both are loose. Where
`quickest` certifies a linear program, all ways of B are held against that as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from random_missions import Draw

from orbitune.cost.system import System
from orbitune.errors import PlanError, TimelineRejected
from orbitune.links.contacts import KINDS, ContactPlan
from orbitune.strategies import inter_orbit, intra_orbit, satellite_ground
from orbitune.strategies.exact_tree import MAX_PLANES
from orbitune.strategies.quickest import Quickest
from orbitune.strategies.quickest_gather import gather_down, hand_out
from orbitune.strategies.satellite_ground import Cargo, bring_down, send_up
from orbitune.timeline.activity import Held, Payload, whole
from orbitune.timeline.bounds import Need, lower_bound
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify
from orbitune.units import BITS_PER_BYTE, mbps

INTRA = "bidirectional"
"""How strategies B and C use A here, so that only their own ways differ."""

SLOT_S = 60.0

FREE = 1e9
"""How much faster links are where bytes shall move for nothing."""


@dataclass(frozen=True)
class Trial:
    """One way on one mission.

    Attributes:
        time_s: When the last byte was where it belongs; none if the way refused.
        bound_s: What `lower_bound` says, the same for all ways of the strategy.
        certified_s: What `quickest` certified, 0 where it certifies nothing.
        refused, rejected: Why the way could not plan; which rule the checker found broken.
    """

    mission: int
    strategy: str
    way: str
    time_s: float | None
    bound_s: float
    certified_s: float
    cpu_s: float
    refused: str = ""
    rejected: str = ""


@dataclass
class Booked:
    """What was booked, who held what before, and who holds what since when after it."""

    schedule: Schedule
    initial: list[tuple[int, Payload]]
    got: list[tuple[int, Payload, float]]
    certificates: list[Quickest] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return max(by_s for _, _, by_s in self.got)


@dataclass(frozen=True)
class Strategy:
    """A task that several ways can do."""

    name: str
    ways: tuple[str, ...]
    book: Callable[[Draw, str], Booked]
    bound_s: Callable[[Draw], float]


def trials(draw: Draw) -> list[Trial]:
    """All ways of all strategies on one mission."""
    return [trial for strategy in STRATEGIES for trial in _strategy(draw, strategy)]


def _strategy(draw: Draw, strategy: Strategy) -> list[Trial]:
    planes = len(draw.mission.system.nodes.planes)
    if strategy.name == "C combine" and planes == 1:
        return []  # nothing to combine
    ways = [way for way in strategy.ways if way != "exact" or planes <= MAX_PLANES]
    bound_s = strategy.bound_s(draw)
    found = [_trial(draw, strategy, way, bound_s) for way in ways]
    certified_s = max(trial.certified_s for trial in found)
    return [replace(trial, certified_s=certified_s) for trial in found]


def _trial(draw: Draw, strategy: Strategy, way: str, bound_s: float) -> Trial:
    began_s = time.process_time()
    try:
        booked = strategy.book(draw, way)
    except PlanError as error:
        return Trial(draw.number, strategy.name, way, None, bound_s, 0.0, time.process_time() - began_s, str(error))
    cpu_s = time.process_time() - began_s
    certified_s = max((certificate.bound_s for certificate in booked.certificates), default=0.0)
    return Trial(draw.number, strategy.name, way, booked.end_s, bound_s, certified_s, cpu_s, rejected=rejection(booked))


def rejection(booked: Booked) -> str:
    """What the checker has against it; nothing if it accepts."""
    schedule = booked.schedule
    schedule.initial = booked.initial
    for node, payload, by_s in booked.got:
        schedule.promise(node, payload, by_s)
    ends_s = [max(activity.end_s, activity.arrive_s) for activity in schedule.activities]
    schedule.stage = "all"  # stages are names of stretches of time, and here there is only one
    schedule.activities = [replace(activity, stage=schedule.stage) for activity in schedule.activities]
    schedule.span(0.0, max([booked.end_s, *ends_s]))
    try:
        verify(schedule.timeline("benchmark", (), 0), schedule.system)
    except TimelineRejected as error:
        return str(error)
    return ""


# -- what is moved ---------------------------------------------------------------------------------------------------


def _embeddings(draw: Draw) -> dict[int, Held]:
    """Each satellite's own, since it is ready."""
    return {s: Held(whole("embedding", {s}, 0, draw.sample_bytes * n), draw.ready_s[s]) for s, n in _counts(draw)}


def _features(draw: Draw) -> dict[int, Held]:
    """What the server has for each satellite from the start."""
    return {s: Held(whole("feature", {s}, 0, draw.feature_bytes * n), 0.0) for s, n in _counts(draw)}


def _counts(draw: Draw) -> list[tuple[int, int]]:
    return list(enumerate(draw.samples))


def _planes(draw: Draw) -> tuple[tuple[int, ...], ...]:
    return draw.mission.system.nodes.planes


def _per_plane(draw: Draw, each: float) -> dict[int, float]:
    return {p: float(sum(each * draw.samples[s] for s in plane)) for p, plane in enumerate(_planes(draw))}


def _ones(sizes: dict[int, float]) -> dict[int, float]:
    """Any byte may move on alone."""
    return dict.fromkeys(sizes, 1.0)


def _ready(draw: Draw, satellites: Sequence[int]) -> Need:
    """Computing that takes as long as each satellite's bytes are not ready."""
    flops_per_s = draw.mission.system.satellite.flops_per_s
    flops = {s: max(draw.ready_s[s] * flops_per_s, 1.0) for s in satellites}
    return Need("compute", "train", 0, "get ready", flops, flops)


# -- strategy A ------------------------------------------------------------------------------------------------------


def _all_gather(draw: Draw, way: str) -> Booked:
    schedule, held = Schedule(draw.mission.system), _embeddings(draw)
    got = []
    for plane in _planes(draw):
        own = {member: held[member] for member in plane}
        since_s = intra_orbit.all_gather(schedule, plane, own, way)
        got += [(member, part.payload, since_s[member]) for member in plane for part in own.values()]
    return Booked(schedule, [(s, part.payload) for s, part in held.items()], got)


def _all_gather_s(draw: Draw) -> float:
    """Every member must take in all others' bytes over its own links, the far ones after their hops.

    Bytes of those who are ready last cannot come before; so for every moment h, all bytes that are ready at h or later
    come after it.
    """
    system, held = draw.mission.system, _embeddings(draw)
    into_bps, delay_s = _ring_links(system)
    ends_s = [0.0]
    for plane in _planes(draw):
        for place, member in enumerate(plane):
            taken = 0.0
            hops = [min(abs(place - other), len(plane) - abs(place - other)) for other in range(len(plane))]
            for other in sorted(range(len(plane)), key=lambda other: -held[plane[other]].since_s):
                if other != place:
                    part = held[plane[other]]
                    taken += part.payload.size * BITS_PER_BYTE / into_bps[member]
                    own_s = part.payload.size * BITS_PER_BYTE / into_bps[member] + hops[other] * delay_s
                    ends_s.append(part.since_s + max(taken + delay_s, own_s))
    return max(ends_s)


def _ring_links(system: System) -> tuple[dict[int, float], float]:
    """Rate of all ring links into each satellite, and the least delay of one."""
    contacts = system.contacts
    into_bps: dict[int, dict[int, float]] = {}
    rows = contacts.of_kind("isl_intra")
    for row in rows.tolist():
        contact = contacts[row]
        links = into_bps.setdefault(contact.target, {})
        links[contact.source] = max(links.get(contact.source, 0.0), contact.rate_bps)
    return {s: sum(links.values()) for s, links in into_bps.items()}, float(contacts.delay_s[rows].min())


def _all_reduce(draw: Draw, way: str) -> Booked:
    schedule = Schedule(draw.mission.system)
    held = {s: Held(whole("update", {s}, 0, draw.model_bytes), draw.ready_s[s]) for s, _ in _counts(draw)}
    got = []
    for plane in _planes(draw):
        totals = intra_orbit.all_reduce(schedule, plane, {member: held[member] for member in plane}, way)
        got += [(member, total.payload, total.since_s) for member, total in totals.items()]
    return Booked(schedule, [(s, part.payload) for s, part in held.items()], got)


def _all_reduce_s(draw: Draw) -> float:
    """The bound of an average over one plane's ring, for the worst plane."""
    system = draw.mission.system
    kept = system.contacts.kind == KINDS.index("isl_intra")
    rings = replace(system, contacts=_rows(system.contacts, kept))
    ends_s = []
    for plane in _planes(draw):
        size = {0: float(draw.model_bytes)}
        needs = [_ready(draw, plane), Need("combine", "train", 0, "average", size, size, (plane,))]
        ends_s.append(lower_bound(needs, rings).time_s)
    return max(ends_s)


def _rows(plan: ContactPlan, kept: np.ndarray) -> ContactPlan:
    columns = ("source", "target", "kind", "start_s", "end_s", "rate_bps", "range_m", "delay_s")
    return replace(plan, **{name: getattr(plan, name)[kept] for name in columns})


# -- strategy B ------------------------------------------------------------------------------------------------------


def _down_shared(draw: Draw, way: str) -> Booked:
    """After an all-gather: every satellite of a plane holds all its embeddings, from the start."""
    schedule, held = Schedule(draw.mission.system), _embeddings(draw)
    certificates: list[Quickest] = []
    cargos = [Cargo(plane, tuple(replace(held[s], since_s=0.0) for s in plane)) for plane in _planes(draw)]
    since_s = bring_down(schedule, cargos, way, SLOT_S, certificates=certificates)
    server = schedule.system.nodes.server
    initial = [(member, held[s].payload) for plane in _planes(draw) for member in plane for s in plane]
    return Booked(schedule, initial, [(server, *landed) for landed in since_s.items()], certificates)


def _down_own(draw: Draw, way: str) -> Booked:
    """Each satellite has its own; planes relay, but with `direct` every satellite waits for its own pass."""
    schedule, held = Schedule(draw.mission.system), _embeddings(draw)
    certificates: list[Quickest] = []
    moved = gather_down(schedule, _pools(draw, way), {s: [part] for s, part in held.items()}, way, INTRA, SLOT_S,
                        certificates=certificates)  # fmt: skip
    server = schedule.system.nodes.server
    initial = [(s, part.payload) for s, part in held.items()]
    return Booked(schedule, initial, [(server, *landed) for landed in moved.since_s.items()], certificates)


def _pools(draw: Draw, way: str) -> tuple[tuple[int, ...], ...]:
    alone = tuple((satellite,) for satellite in draw.mission.system.nodes.satellites)
    return alone if way == "direct" else _planes(draw)


def _up_shared(draw: Draw, way: str) -> Booked:
    """One model to every plane, to any of its satellites."""
    schedule = Schedule(draw.mission.system)
    certificates: list[Quickest] = []
    model = Held(whole("weights", (), 0, draw.model_bytes), 0.0)
    cargos = [Cargo(plane, (model,)) for plane in _planes(draw)]
    landed = send_up(schedule, cargos, way, SLOT_S, certificates=certificates)
    got = [(satellite, part.payload, part.since_s) for satellite, part in landed]
    return Booked(schedule, [(schedule.system.nodes.server, model.payload)], got, certificates)


def _up_own(draw: Draw, way: str) -> Booked:
    """To each satellite its own features, over its plane."""
    schedule, wanted = Schedule(draw.mission.system), _features(draw)
    certificates: list[Quickest] = []
    moved = hand_out(schedule, _pools(draw, way), {s: [part] for s, part in wanted.items()}, way, INTRA, SLOT_S,
                     certificates=certificates)  # fmt: skip
    got = [(s, part.payload, moved.since_s[part.payload]) for s, part in wanted.items()]
    server = schedule.system.nodes.server
    return Booked(schedule, [(server, part.payload) for part in wanted.values()], got, certificates)


def _moving_s(draw: Draw, *, kind: str, own: bool) -> float:
    """The bound of all planes' bytes on their way down or up."""
    if kind == "up":
        models = dict.fromkeys(range(len(_planes(draw))), float(draw.model_bytes))
        sizes = _per_plane(draw, draw.feature_bytes) if own else models
    else:
        sizes = _per_plane(draw, draw.sample_bytes)
    need = Need(kind, "train", 0, kind, sizes, _ones(sizes), _planes(draw))
    ready = [_ready(draw, draw.mission.system.nodes.satellites)] if own and kind == "down" else []
    return lower_bound([*ready, need], draw.mission.system).time_s


# -- strategy C ------------------------------------------------------------------------------------------------------


def _combine(draw: Draw, way: str) -> Booked:
    """Every plane has its sum; everybody gets the total."""
    schedule, planes = Schedule(draw.mission.system), _planes(draw)
    held = [Held(whole("update", plane, 0, draw.model_bytes), _since_s(draw, plane)) for plane in planes]
    found = inter_orbit.combine(schedule, planes, held, way, intra_way=INTRA, ground_way="quickest", slot_s=SLOT_S)
    initial = [(member, model.payload) for plane, model in zip(planes, held, strict=True) for member in plane]
    return Booked(schedule, initial, [(node, part.payload, part.since_s) for node, part in found.items()])


def _since_s(draw: Draw, plane: Sequence[int]) -> float:
    """A plane's sum is there when the last of its satellites was ready."""
    return max(draw.ready_s[satellite] for satellite in plane)


def _combine_s(draw: Draw) -> float:
    """The greater of two bounds, for each leaves out what the other counts."""
    return max(_across_s(draw), _received_s(draw))


def _received_s(draw: Draw) -> float:
    """Every satellite must take in a whole model that has something of the other planes, over all links it can hold."""
    system, delay_s = draw.mission.system, float(draw.mission.system.contacts.delay_s.min())
    links, terminals = draw.scenario.links, system.terminals
    assert links.isl_inter_rate_mbps is not None and links.uplink_rate_mbps is not None
    elsewhere_bps = mbps(links.isl_inter_rate_mbps) * terminals.satellite_inter
    elsewhere_bps += mbps(links.uplink_rate_mbps) * terminals.satellite_ground
    inside_bps, _ = _ring_links(system)
    ends_s = []
    for plane in _planes(draw):
        others_s = max(_since_s(draw, other) for other in _planes(draw) if other != plane)
        slowest_bps = min(inside_bps.get(member, 0.0) for member in plane) + elsewhere_bps
        ends_s.append(others_s + draw.model_bytes * BITS_PER_BYTE / slowest_bps + delay_s)
    return max(ends_s)


def _across_s(draw: Draw) -> float:
    """The bound where one satellite of each plane has the sum and planes move bytes inside for nothing."""
    system = draw.mission.system
    inside = system.contacts.kind == KINDS.index("isl_intra")
    contacts = replace(
        system.contacts,
        rate_bps=np.where(inside, FREE, 1.0) * system.contacts.rate_bps,
        delay_s=np.where(inside, 0.0, system.contacts.delay_s),
    )
    last = [max(plane, key=lambda satellite: draw.ready_s[satellite]) for plane in _planes(draw)]
    sizes = dict.fromkeys(range(len(last)), float(draw.model_bytes))
    needs = [_ready(draw, last), Need("combine", "train", 0, "average", sizes, sizes, _planes(draw))]
    return lower_bound(needs, replace(system, contacts=contacts)).time_s


STRATEGIES = (
    Strategy("A all-gather", intra_orbit.WAYS, _all_gather, _all_gather_s),
    Strategy("A all-reduce", intra_orbit.WAYS, _all_reduce, _all_reduce_s),
    Strategy("B down, shared", satellite_ground.WAYS, _down_shared, partial(_moving_s, kind="down", own=False)),
    Strategy("B down, own", satellite_ground.WAYS, _down_own, partial(_moving_s, kind="down", own=True)),
    Strategy("B up, shared", satellite_ground.WAYS, _up_shared, partial(_moving_s, kind="up", own=False)),
    Strategy("B up, own", satellite_ground.WAYS, _up_own, partial(_moving_s, kind="up", own=True)),
    Strategy("C combine", tuple(inter_orbit.WAYS), _combine, _combine_s),
)

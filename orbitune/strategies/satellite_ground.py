"""Strategy B: bring given bytes from satellites to the ground server, or back, as early as possible.

Ways:

direct    Naive: each cargo goes over one link, that of the satellite and station that complete it first; the cargo that
          is completed first is served first.
gateway   One satellite of each group at a time talks to the ground: of those in contact the one that completes the
          cargo first, or stays longest; when its contact ends it hands over to the next.
max_flow  The paper's idea (arXiv:2504.10403, known from summaries only): at each time point satellites and ground
          are a static flow network; the most bytes cross, then time advances until nothing is left. Time points are
          the slots and every moment at which a contact, a terminal or a cargo comes or goes. Antennas and
          terminals are shared in time (`flow`), so a timetable exists that needs no more of them than there are.
quickest  Ours: the earliest finish over the whole time-expanded network (`quickest`), with its lower bound. The others
          are tried as well and the earliest to finish is booked, so it is never later than they are.

Between station and server each piece travels over the backhaul on its own: down as soon as it has arrived, up ahead of
its uplink. Stations store what the backhaul cannot take at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import TypeVar

from orbitune.links.contacts import Contact
from orbitune.strategies.flow import turns
from orbitune.strategies.quickest import Plan, Quickest, follow_down, follow_up, plan_turns
from orbitune.strategies.quickest_trial import take_best, tries
from orbitune.strategies.served import first_served
from orbitune.strategies.sky import (
    Depot,
    Load,
    Part,
    Sky,
    in_time,
    lead_s_of,
    loads_of,
    next_s,
    next_turn,
    out_of_time,
    room,
    send_parts,
    shares,
)
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE

SIMPLE = ("direct", "gateway", "max_flow")
WAYS = (*SIMPLE, "quickest")
ORDERS = ("together", "urgent")

FEW = 0.01
"""Our choice: what a plan's turns have left over goes over one link each if it is at most this share of all."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Cargo:
    """Payloads that every member of a group holds, or wants: any member may send, or receive, any byte."""

    members: tuple[int, ...]
    held: tuple[Held, ...]


def bring_down(
    schedule: Schedule,
    cargos: Sequence[Cargo],
    way: str,
    slot_s: float,
    order: str = "together",
    certificates: list[Quickest] | None = None,
) -> dict[Payload, float]:
    """Bring payloads from satellites to the server.

    Args:
        cargos: What is held where, and since when. No payload is in two cargos.
        slot_s: Step of the flow network's time grid, counted from the start of the scenario.
        order: "together" serves all cargos at once; "urgent" one after the other, that which is ready first goes first.
        certificates: Way `quickest` adds the bound of each transfer here.

    Returns:
        For each payload the second since which the server holds all of it.

    Raises:
        PlanError: No station ever sees any member of some cargo.
        HorizonEnd: The contact plan ends first.
    """
    assert way in WAYS, way
    landed: dict[Payload, float] = {}
    for batch in _batches(cargos, order):
        found = _book(schedule, "downlink", batch, way, slot_s, certificates, _down, _all_down_s)
        landed |= found
    return landed


def send_up(
    schedule: Schedule,
    cargos: Sequence[Cargo],
    way: str,
    slot_s: float,
    order: str = "together",
    certificates: list[Quickest] | None = None,
) -> list[tuple[int, Held]]:
    """Bring payloads from the server up to any members of their groups.

    Args:
        cargos: What goes to which group, and since when the server holds it. A payload may be in several cargos.
        slot_s: Step of the flow network's time grid, counted from the start of the scenario.
        order: "together" serves all cargos at once; "urgent" one after the other, that which is ready first goes first.
        certificates: Way `quickest` adds the bound of each transfer here.

    Returns:
        Satellite, byte range and time of each landing; together the landings of a group are its cargo.

    Raises:
        PlanError: No station ever sees any member of some cargo.
        HorizonEnd: The contact plan ends first.
    """
    assert way in WAYS, way
    landed: list[tuple[int, Held]] = []
    for batch in _batches(cargos, order):
        found = _book(schedule, "uplink", batch, way, slot_s, certificates, _up, _all_up_s)
        landed += found
    return landed


def _batches(cargos: Sequence[Cargo], order: str) -> list[Sequence[Cargo]]:
    assert order in ORDERS, order
    if order == "together":
        return [cargos]
    urgency = sorted(cargos, key=lambda cargo: max((part.since_s for part in cargo.held), default=0.0))
    return [[cargo] for cargo in urgency]


def _book(
    schedule: Schedule,
    kind: str,
    cargos: Sequence[Cargo],
    way: str,
    slot_s: float,
    certificates: list[Quickest] | None,
    book: Callable[[Schedule, Sequence[Cargo], str, float, Plan | None], Result],
    end_s: Callable[[Result], float],
) -> Result:
    """One batch by one way, or by the best of all."""
    if way != "quickest" or not _loads(schedule, kind, cargos):
        return book(schedule, cargos, way, slot_s, None)

    def simple(other: str) -> Callable[[Schedule], Result]:
        return lambda desk: book(desk, cargos, other, slot_s, None)

    tried = tries(schedule, {other: simple(other) for other in SIMPLE}, end_s)
    last_s = min((trial.end_s for trial in tried), default=schedule.system.contacts.horizon_s)
    plan = plan_turns(schedule, _loads(schedule, kind, cargos), kind, last_s)
    if plan is not None:
        tried += tries(schedule, {"quickest": lambda desk: book(desk, cargos, "quickest", slot_s, plan)}, end_s)
    if not tried:
        return book(schedule, cargos, "max_flow", slot_s, None)  # which says what is missing
    best = take_best(schedule, tried)
    if certificates is not None:
        certificates.append(Quickest(min(best.end_s, plan.bound_s if plan else best.end_s), best.end_s, best.way))
    return best.result


def _loads(schedule: Schedule, kind: str, cargos: Sequence[Cargo]) -> list[Load]:
    return loads_of(schedule, kind, [(cargo.members, cargo.held) for cargo in cargos])


def _down(
    schedule: Schedule, cargos: Sequence[Cargo], way: str, slot_s: float, plan: Plan | None
) -> dict[Payload, float]:
    loads = _loads(schedule, "downlink", cargos)
    landed = list(_landings_down(schedule, loads, way, slot_s, plan))
    since_s = {held.payload: held.since_s for cargo in cargos for held in cargo.held}
    _over_backhaul(schedule, landed, since_s)
    return since_s


def finish_down(
    schedule: Schedule, landed: Sequence[tuple[float, int, Part]], rest: Sequence[Load], slot_s: float,
    since_s: dict[Payload, float],
) -> None:  # fmt: skip
    """Bring down what is left over, and everything from the stations to the server; `since_s` gets the times."""
    total = sum(part.payload.size for _, _, part in landed) + sum(load.left for load in rest)
    few = sum(load.left for load in rest) <= FEW * total
    more = list(_down_direct(schedule, rest) if few else _down_in_flow(schedule, rest, slot_s))
    _over_backhaul(schedule, [*landed, *more], since_s)


def _over_backhaul(
    schedule: Schedule, landed: Sequence[tuple[float, int, Part]], since_s: dict[Payload, float]
) -> None:
    for arrive_s, station, part in sorted(landed, key=lambda landing: landing[0]):
        end_s = schedule.send(station, schedule.system.nodes.server, part.payload, arrive_s)
        since_s[part.whole] = max(since_s[part.whole], end_s)


def _landings_down(
    schedule: Schedule, loads: Sequence[Load], way: str, slot_s: float, plan: Plan | None
) -> Iterator[tuple[float, int, Part]]:
    if way == "direct":
        yield from _down_direct(schedule, loads)
    elif way == "gateway":
        yield from _down_by_gateway(schedule, loads)
    else:
        total = sum(load.left for load in loads)
        if plan is not None:
            yield from follow_down(schedule, loads, plan)
        rest = [load for load in loads if load.left]
        few = sum(load.left for load in rest) <= FEW * total
        yield from _down_direct(schedule, rest) if few else _down_in_flow(schedule, rest, slot_s)


def _up(
    schedule: Schedule, cargos: Sequence[Cargo], way: str, slot_s: float, plan: Plan | None
) -> list[tuple[int, Held]]:
    loads = _loads(schedule, "uplink", cargos)
    if not loads:
        return []
    depot, total = Depot(schedule), sum(load.left for load in loads)
    if way == "direct":
        return list(_up_direct(schedule, loads, depot))
    if way == "gateway":
        return list(_up_by_gateway(schedule, loads, depot))
    landed = [] if plan is None else list(follow_up(schedule, loads, plan, depot))
    rest = [load for load in loads if load.left]
    if sum(load.left for load in rest) <= FEW * total:
        return [*landed, *_up_direct(schedule, rest, depot)]
    return [*landed, *_up_in_flow(schedule, rest, slot_s, depot)]


def _all_down_s(since_s: dict[Payload, float]) -> float:
    return max(since_s.values())


def _all_up_s(landed: list[tuple[int, Held]]) -> float:
    return max(held.since_s for _, held in landed)


# -- direct ----------------------------------------------------------------------------------------------------------


def _down_direct(schedule: Schedule, loads: Sequence[Load]) -> Iterator[tuple[float, int, Part]]:
    def end_s(load: Load, satellite: int, station: int) -> float:
        return schedule.probe(satellite, station, load.left, load.complete_s)

    for load, satellite, station in first_served(schedule, loads, "downlink", end_s):
        ready_s = load.complete_s
        for part in load.take(load.left):
            yield schedule.send(satellite, station, part.payload, ready_s), station, part


def _up_direct(schedule: Schedule, loads: Sequence[Load], depot: Depot) -> Iterator[tuple[int, Held]]:
    server = schedule.system.nodes.server

    def end_s(load: Load, satellite: int, station: int) -> float:
        there_s = schedule.probe(server, station, load.left, load.complete_s)
        return schedule.probe(station, satellite, load.left, there_s)

    for load, satellite, station in first_served(schedule, loads, "uplink", end_s):
        parts = load.take(load.left)
        there_s = [depot.stock(station, part) for part in parts]
        for part, ready_s in zip(parts, there_s, strict=True):
            yield satellite, Held(part.payload, schedule.send(station, satellite, part.payload, ready_s))


# -- gateway ---------------------------------------------------------------------------------------------------------


def _down_by_gateway(schedule: Schedule, loads: Sequence[Load]) -> Iterator[tuple[float, int, Part]]:
    for load, contact, start_s, size in _hand_over(schedule, loads, "downlink"):
        for part in load.take(size):
            start_s = schedule.send(contact.source, contact.target, part.payload, start_s)
            yield start_s, contact.target, part


def _up_by_gateway(schedule: Schedule, loads: Sequence[Load], depot: Depot) -> Iterator[tuple[int, Held]]:
    for load, contact, start_s, size in _hand_over(schedule, loads, "uplink"):
        for part in load.take(size):
            there_s = max(start_s, depot.stock(contact.source, part))
            start_s = schedule.send(contact.source, contact.target, part.payload, there_s)
            yield contact.target, Held(part.payload, start_s)


def _hand_over(schedule: Schedule, loads: Sequence[Load], kind: str) -> Iterator[tuple[Load, Contact, float, int]]:
    """Contact after contact of each load's gateways, and how many bytes go over it, in order of time."""
    queue = [(load.first_s, number) for number, load in enumerate(loads) if load.left]
    heapify(queue)
    while queue:
        now_s, number = heappop(queue)
        load = loads[number]
        turn = _gateway(schedule, load, kind, now_s)
        if turn is None:
            raise out_of_time(schedule, [load], kind)
        start_s, end_s, contact = turn
        size = min(room(contact, start_s, end_s), load.ready_bytes(start_s))
        if size:
            yield load, contact, start_s, size
        if load.left:
            heappush(queue, (end_s if size else next_s(load, start_s), number))


def _gateway(schedule: Schedule, load: Load, kind: str, now_s: float) -> tuple[float, float, Contact] | None:
    """The contact to use from `now_s` on, and from when to when."""
    open_ = []
    for satellite in load.members:
        for station in schedule.system.nodes.stations:
            link = (satellite, station) if kind == "downlink" else (station, satellite)
            turn = next_turn(schedule, link, now_s)
            if turn is not None:
                open_.append(turn)
    if not open_:
        return None
    first_s = min(start_s for start_s, _, _ in open_)

    def done_s(turn: tuple[float, float, Contact]) -> tuple[float, float]:
        start_s, end_s, contact = turn
        finish_s = start_s + load.left * BITS_PER_BYTE / contact.rate_bps
        return (finish_s if finish_s <= end_s else inf), -end_s

    return min((turn for turn in open_ if turn[0] <= first_s), key=done_s)


# -- maximum flow ----------------------------------------------------------------------------------------------------


def _down_in_flow(schedule: Schedule, loads: Sequence[Load], slot_s: float) -> Iterator[tuple[float, int, Part]]:
    sky = Sky(schedule, loads, "downlink", slot_s, dict.fromkeys(schedule.system.nodes.stations, 0.0))
    for load, contact, start_s, end_s in _timetable(schedule, sky):
        size = min(room(contact, start_s, end_s), load.ready_bytes(start_s))
        for part, arrive_s in send_parts(schedule, contact, load.take(size), start_s, end_s):
            yield arrive_s, contact.target, part


def _up_in_flow(schedule: Schedule, loads: Sequence[Load], slot_s: float, depot: Depot) -> Iterator[tuple[int, Held]]:
    lead_s = lead_s_of(schedule, loads, slot_s)
    sky = Sky(schedule, loads, "uplink", slot_s, lead_s)
    for load, contact, start_s, end_s in _timetable(schedule, sky):
        before_s = start_s - lead_s[contact.source]
        ready = min(room(contact, start_s, end_s), load.ready_bytes(before_s))
        parts = load.take(in_time(schedule, contact, ready, before_s, start_s, end_s))
        there_s = [depot.stock(contact.source, part) for part in parts]
        start_s = max([start_s, *there_s])
        for part, arrive_s in send_parts(schedule, contact, parts, start_s, end_s):
            yield contact.target, Held(part.payload, arrive_s)


def _timetable(schedule: Schedule, sky: Sky) -> Iterator[tuple[Load, Contact, float, float]]:
    """Interval by interval, who serves what and when. The caller takes from the load what it books."""
    now_s = sky.first_s
    while left := sum(load.left for load in sky.loads):
        if now_s >= schedule.system.contacts.horizon_s:
            raise out_of_time(schedule, sky.loads, sky.kind)
        end_s = sky.next_change_s(now_s)
        network, contacts = sky.network(now_s, end_s)
        shares_s, finishes = shares(network)
        timetable = turns(network, shares_s)
        for turn in timetable:
            load = sky.loads[network.arcs[turn.arc].cargo]
            yield load, contacts[turn.arc], now_s + turn.start_s, min(now_s + turn.end_s, end_s)
        if finishes and sum(load.left for load in sky.loads) < left:
            end_s = min(end_s, now_s + max(turn.end_s for turn in timetable))
        now_s = end_s

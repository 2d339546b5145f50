"""Strategy B: bring given bytes from satellites to the ground server, or back, as early as possible.

Ways:

direct    Naive: each cargo goes over one link, that of the satellite and station that complete it first; the cargo that
          is completed first is served first.
max_flow  The paper's idea (arXiv:2504.10403, known from summaries only): at each time point satellites and ground
          are a static flow network; the most bytes cross, then time advances until nothing is left. Time points are
          the slots and every moment at which a contact, a terminal or a cargo comes or goes. Antennas and
          terminals are shared in time (`flow`), so a timetable exists that needs no more of them than there are.

Between station and server each piece travels over the backhaul on its own: down as soon as it has arrived, up ahead of
its uplink. Stations store what the backhaul cannot take at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import inf

from orbitune.links.contacts import Contact
from orbitune.strategies.flow import turns
from orbitune.strategies.sky import Load, Part, Sky, loads_of, out_of_time, shares
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE

WAYS = ("direct", "max_flow")


@dataclass(frozen=True, slots=True)
class Cargo:
    """Payloads that every member of a group holds, or wants: any member may send, or receive, any byte."""

    members: tuple[int, ...]
    held: tuple[Held, ...]


def bring_down(schedule: Schedule, cargos: Sequence[Cargo], way: str, slot_s: float) -> dict[Payload, float]:
    """Bring payloads from satellites to the server.

    Args:
        cargos: What is held where, and since when. No payload is in two cargos.
        slot_s: Step of the flow network's time grid, counted from the start of the scenario.

    Returns:
        For each payload the second since which the server holds all of it.

    Raises:
        PlanError: No station ever sees any member of some cargo.
        HorizonEnd: The contact plan ends first.
    """
    assert way in WAYS, way
    loads = loads_of(schedule, "downlink", [(cargo.members, cargo.held) for cargo in cargos])
    landed = list(_down_direct(schedule, loads) if way == "direct" else _down_in_flow(schedule, loads, slot_s))
    since_s = {held.payload: held.since_s for cargo in cargos for held in cargo.held}
    for arrive_s, station, part in sorted(landed, key=lambda landing: landing[0]):
        end_s = schedule.send(station, schedule.system.nodes.server, part.payload, arrive_s)
        since_s[part.whole] = max(since_s[part.whole], end_s)
    return since_s


def send_up(schedule: Schedule, cargos: Sequence[Cargo], way: str, slot_s: float) -> list[tuple[int, Held]]:
    """Bring payloads from the server up to any members of their groups.

    Args:
        cargos: What goes to which group, and since when the server holds it. A payload may be in several cargos.
        slot_s: Step of the flow network's time grid, counted from the start of the scenario.

    Returns:
        Satellite, byte range and time of each landing; together the landings of a group are its cargo.

    Raises:
        PlanError: No station ever sees any member of some cargo.
        HorizonEnd: The contact plan ends first.
    """
    assert way in WAYS, way
    loads = loads_of(schedule, "uplink", [(cargo.members, cargo.held) for cargo in cargos])
    if not loads:
        return []
    return list(_up_direct(schedule, loads) if way == "direct" else _up_in_flow(schedule, loads, slot_s))


# -- direct ----------------------------------------------------------------------------------------------------------


def _down_direct(schedule: Schedule, loads: Sequence[Load]) -> Iterator[tuple[float, int, Part]]:
    def end_s(load: Load, satellite: int, station: int) -> float:
        return schedule.probe(satellite, station, load.left, load.complete_s)

    for load, satellite, station in _first_served(schedule, loads, "downlink", end_s):
        ready_s = load.complete_s
        for part in load.take(load.left):
            yield schedule.send(satellite, station, part.payload, ready_s), station, part


def _up_direct(schedule: Schedule, loads: Sequence[Load]) -> Iterator[tuple[int, Held]]:
    server, depot = schedule.system.nodes.server, _Depot(schedule)

    def end_s(load: Load, satellite: int, station: int) -> float:
        there_s = schedule.probe(server, station, load.left, load.complete_s)
        return schedule.probe(station, satellite, load.left, there_s)

    for load, satellite, station in _first_served(schedule, loads, "uplink", end_s):
        parts = load.take(load.left)
        there_s = [depot.stock(station, part) for part in parts]
        for part, ready_s in zip(parts, there_s, strict=True):
            yield satellite, Held(part.payload, schedule.send(station, satellite, part.payload, ready_s))


def _first_served(
    schedule: Schedule, loads: Sequence[Load], kind: str, end_s: Callable[[Load, int, int], float]
) -> Iterator[tuple[Load, int, int]]:
    """Each load with its best satellite and station, the earliest to complete first.

    The caller books each before it asks for the next. Bookings only ever make the others later, so a load whose time
    still holds when it is the earliest is indeed the next.
    """
    by_link = schedule.system.contacts.by_link
    stations = schedule.system.nodes.stations

    def best(number: int) -> tuple[float, int, int, int]:
        load = loads[number]
        pairs = [(satellite, station) for satellite in load.members for station in stations]
        links = [pair for pair in pairs if (pair if kind == "downlink" else pair[::-1]) in by_link]
        return min((end_s(load, *link), number, *link) for link in links)

    queue = [best(number) for number, load in enumerate(loads) if load.left]
    heapify(queue)
    while queue:
        if (now := best(queue[0][1])) > queue[0]:
            heapreplace(queue, now)
            continue
        time_s, number, satellite, station = heappop(queue)
        if time_s == inf:
            raise out_of_time(schedule, [loads[number]], kind)
        yield loads[number], satellite, station


# -- maximum flow ----------------------------------------------------------------------------------------------------


def _down_in_flow(schedule: Schedule, loads: Sequence[Load], slot_s: float) -> Iterator[tuple[float, int, Part]]:
    sky = Sky(schedule, loads, "downlink", slot_s, dict.fromkeys(schedule.system.nodes.stations, 0.0))
    for load, contact, start_s, end_s in _timetable(schedule, sky):
        size = min(_room(contact, start_s, end_s), load.ready_bytes(start_s))
        for part, arrive_s in _send_parts(schedule, contact, load.take(size), start_s, end_s):
            yield arrive_s, contact.target, part


def _up_in_flow(schedule: Schedule, loads: Sequence[Load], slot_s: float) -> Iterator[tuple[int, Held]]:
    lead_s = _lead_s(schedule, loads, slot_s)
    depot = _Depot(schedule)
    sky = Sky(schedule, loads, "uplink", slot_s, lead_s)
    for load, contact, start_s, end_s in _timetable(schedule, sky):
        before_s = start_s - lead_s[contact.source]
        ready = min(_room(contact, start_s, end_s), load.ready_bytes(before_s))
        parts = load.take(_in_time(schedule, contact, ready, before_s, start_s, end_s))
        there_s = [depot.stock(contact.source, part) for part in parts]
        start_s = max([start_s, *there_s])
        for part, arrive_s in _send_parts(schedule, contact, parts, start_s, end_s):
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


def _room(contact: Contact, start_s: float, end_s: float) -> int:
    """Whole bytes that fit between two moments."""
    return max(0, int((end_s - start_s) * contact.rate_bps / BITS_PER_BYTE))


def _send_parts(
    schedule: Schedule, contact: Contact, parts: Sequence[Part], start_s: float, end_s: float
) -> Iterator[tuple[Part, float]]:
    """Book parts one after the other between two moments; yields each with its arrival."""
    done, begin_s = 0, start_s
    for part in parts:
        done += part.payload.size
        finish_s = min(end_s, start_s + done * BITS_PER_BYTE / contact.rate_bps)
        yield part, schedule.send_at(contact, part.payload, begin_s, finish_s)
        begin_s = finish_s


def _lead_s(schedule: Schedule, loads: Sequence[Load], slot_s: float) -> dict[int, float]:
    """How long before an uplink its bytes set out from the server: the backhaul time of one slot's bytes.

    With a backhaul faster than the uplinks everything is then at the station in time. `_in_time` sees to the rest.
    """
    nodes, contacts = schedule.system.nodes, schedule.system.contacts
    total = sum(load.left for load in loads)
    rows = contacts.of_kind("uplink")
    fastest_bps = float(contacts.rate_bps[rows].max()) if len(rows) else 0.0
    lead_s = {}
    for station in nodes.stations:
        backhaul = contacts.by_link[nodes.server, station][0]
        antennas = schedule.system.num_terminals(station, "ground")
        size = min(total, antennas * fastest_bps * slot_s / BITS_PER_BYTE)
        busy_s = max(0.0, schedule.link_free_s(nodes.server, station) - min(load.first_s for load in loads))
        lead_s[station] = busy_s + size * BITS_PER_BYTE / backhaul.rate_bps + backhaul.delay_s
    return lead_s


def _in_time(schedule: Schedule, contact: Contact, size: int, before_s: float, start_s: float, end_s: float) -> int:
    """How many of `size` bytes, sent from the server at `before_s` or later, reach the station early enough to go up.

    A piece goes up when all of it is there, so a late one has its uplink shortened.
    """
    server, station = schedule.system.nodes.server, contact.source
    if not size or schedule.probe(server, station, size, before_s) <= start_s:
        return size
    first_s, last_s = (schedule.probe(server, station, amount, before_s) for amount in (1, size))
    if last_s == inf:
        return 0
    per_byte_s = (last_s - first_s) / max(1, size - 1) + BITS_PER_BYTE / contact.rate_bps
    fits = max(0, min(size, int((end_s - first_s) / per_byte_s) - 1))
    if not fits:
        return 0
    ready_s = schedule.probe(server, station, fits, before_s)
    return fits if ready_s + fits * BITS_PER_BYTE / contact.rate_bps <= end_s else 0


class _Depot:
    """What has been sent to each station for its uplinks; groups that want the same bytes share one copy."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.stocks: dict[tuple[int, str, frozenset[int], int], list[tuple[int, int, float]]] = {}

    def stock(self, station: int, part: Part) -> float:
        """Send what the station lacks of a part; returns when it holds all of it."""
        wanted = part.payload
        stock = self.stocks.setdefault((station, wanted.kind, wanted.origins, wanted.version), [])
        ready_s, at = part.since_s, wanted.start_byte
        for start, end, since_s in sorted(stock):
            if start >= wanted.end_byte or end <= at:
                continue
            if start > at:
                ready_s = max(ready_s, self._send(station, part, at, start, stock))
            ready_s, at = max(ready_s, since_s), end
        if at < wanted.end_byte:
            ready_s = max(ready_s, self._send(station, part, at, wanted.end_byte, stock))
        return ready_s

    def _send(self, station: int, part: Part, start: int, end: int, stock: list[tuple[int, int, float]]) -> float:
        first = part.payload.start_byte
        missing = part.payload.part(start - first, end - first)
        there_s = self.schedule.send(self.schedule.system.nodes.server, station, missing, part.since_s)
        stock.append((start, end, there_s))
        return there_s

"""What strategy B sees of the sky: cargos on their way, and the flow network of each interval."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from orbitune.errors import PlanError
from orbitune.links.contacts import Contact
from orbitune.strategies.flow import Arc, Network, least_time, most_bytes
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule
from orbitune.units import BITS_PER_BYTE

SHORTEST_S = 1e-3
"""Our choice: no turn is shorter unless it finishes a cargo, so that timelines stay readable. Its bytes wait for the
next interval."""

ROUNDING_S = 1e-6
"""Spare time per cargo; HiGHS keeps its constraints to 1e-7 (its documented primal_feasibility_tolerance)."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one payload, and since when they can be sent."""

    whole: Payload
    payload: Payload
    since_s: float


class Load:
    """A cargo on its way: what is left of it, in order of readiness, then of origins."""

    def __init__(self, members: Iterable[int], held: Iterable[Held]) -> None:
        self.members = tuple(members)
        order = list(held)
        parts = (Part(part.payload, part.payload, part.since_s) for part in order if part.payload.size)
        self.parts = deque(sorted(parts, key=_place))
        self.left = sum(part.payload.size for part in self.parts)
        self.first_s = min((part.since_s for part in order), default=0.0)
        self.complete_s = max((part.since_s for part in order), default=0.0)

    def ready_bytes(self, now_s: float) -> int:
        """How much of what is left can be sent at a moment."""
        ready = 0
        for part in self.parts:
            if part.since_s > now_s:
                break
            ready += part.payload.size
        return ready

    def take(self, size: int) -> list[Part]:
        """The next `size` bytes."""
        taken: list[Part] = []
        self.left -= size
        while size:
            part = self.parts.popleft()
            if part.payload.size > size:
                self.parts.appendleft(Part(part.whole, part.payload.part(size, part.payload.size), part.since_s))
                part = Part(part.whole, part.payload.part(0, size), part.since_s)
            taken.append(part)
            size -= part.payload.size
        return taken

    def put_back(self, part: Part) -> None:
        """Return bytes that were taken and found no place."""
        self.left += part.payload.size
        self.parts = deque(sorted([part, *self.parts], key=_place))


def _place(part: Part) -> tuple[float, list[int], int]:
    return part.since_s, sorted(part.payload.origins), part.payload.start_byte


def loads_of(schedule: Schedule, kind: str, cargos: Sequence[tuple[Sequence[int], Sequence[Held]]]) -> list[Load]:
    """What there is to bring, if stations ever see somebody of each group."""
    contacts, nodes = schedule.system.contacts, schedule.system.nodes
    rows = contacts.of_kind(kind)
    seen = set((contacts.source if kind == "downlink" else contacts.target)[rows].tolist())
    loads = [load for load in (Load(members, held) for members, held in cargos) if load.left]
    for load in loads:
        if seen.isdisjoint(load.members):
            names = [nodes.name(member) for member in load.members]
            raise PlanError(
                f"no station ever sees any satellite of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''} "
                f"({len(names)} in all) in {contacts.horizon_s:.0f} s: add stations, lower their min_elevation_deg, "
                f"lengthen time.duration_h, or use a method that needs no ground"
            )
    return loads


def out_of_time(schedule: Schedule, loads: Iterable[Load], kind: str) -> HorizonEnd:
    """The error for loads that the contact plan cannot finish."""
    left = sum(load.left for load in loads)
    return HorizonEnd(
        f"the contact plan of {schedule.system.contacts.horizon_s:.0f} s ends with {left} bytes of {kind} still to go; "
        f"lengthen time.duration_h"
    )


class Sky:
    """The satellite-ground links of a set of loads over time.

    Args:
        slot_s: Step of the time grid.
        lead_s: Per station, how long before it can go over its link a byte has to be ready.
    """

    def __init__(
        self, schedule: Schedule, loads: Sequence[Load], kind: str, slot_s: float, lead_s: Mapping[int, float]
    ) -> None:
        self.schedule, self.loads, self.kind, self.slot_s, self.lead_s = schedule, loads, kind, slot_s, lead_s
        self.aboard: dict[int, list[int]] = {}
        for number, load in enumerate(loads):
            for member in load.members:
                self.aboard.setdefault(member, []).append(number)
        contacts = schedule.system.contacts
        rows = contacts.of_kind(kind)
        satellites = (contacts.source if kind == "downlink" else contacts.target)[rows]
        self.rows = rows[np.isin(satellites, list(self.aboard))]
        self.start_s, self.end_s = contacts.start_s[self.rows], contacts.end_s[self.rows]
        stations = schedule.system.nodes.stations
        self.free_s = {node: schedule.terminals_free_s(node, "ground") for node in (*self.aboard, *stations)}
        ready_s = {part.since_s for load in loads for part in load.parts}
        changes_s = {since_s + lead for since_s in ready_s for lead in set(lead_s.values())}
        changes_s.update(free_s for times in self.free_s.values() for free_s in times)
        self.changes_s = sorted(changes_s)

    @property
    def first_s(self) -> float:
        """When the first byte can go."""
        return min((load.first_s for load in self.loads), default=0.0) + min(self.lead_s.values())

    def next_change_s(self, now_s: float) -> float:
        """The end of the interval that begins now: the next moment at which anything is different."""
        after_s = now_s + SHORTEST_S
        candidates_s = [(after_s // self.slot_s + 1) * self.slot_s, self.schedule.system.contacts.horizon_s]
        up = self.end_s[(self.start_s <= now_s) & (self.end_s > after_s)]
        candidates_s += [float(up.min())] if len(up) else []
        for times in (self.start_s, self.changes_s):
            at = bisect_right(times, after_s)
            candidates_s += [float(times[at])] if at < len(times) else []
        return min(candidates_s)

    def network(self, now_s: float, end_s: float) -> tuple[Network, list[Contact]]:
        """Who could carry what from `now_s` to `end_s`, and over which contacts; one contact for each arc."""
        up = self.rows[(self.start_s <= now_s) & (self.end_s >= end_s)]
        places = {node: sum(free_s <= now_s for free_s in times) for node, times in self.free_s.items()}
        arcs: list[Arc] = []
        contacts: list[Contact] = []
        demand: dict[int, float] = {}
        for row in up.tolist():
            contact = self.schedule.system.contacts[row]
            down = self.kind == "downlink"
            satellite, station = (contact.source, contact.target) if down else (contact.target, contact.source)
            busy = self.schedule.link_free_s(contact.source, contact.target) > now_s
            if busy or not places[satellite] or not places[station]:
                continue
            for number in self.aboard[satellite]:
                if ready := self.loads[number].ready_bytes(now_s - self.lead_s[station]):
                    arcs.append(Arc(number, satellite, station, contact.rate_bps))
                    contacts.append(contact)
                    demand[number] = max(demand.get(number, 0), ready)
        return Network(end_s - now_s, tuple(arcs), _padded(demand, arcs), places), contacts


def shares(network: Network) -> tuple[list[float], bool]:
    """Time shares [arcs] in s that carry the most; where everything fits, it is done as early as possible.

    Returns:
        The shares, and whether they carry everything that is ready.
    """
    if not network.arcs:
        return [], False
    shares_s = most_bytes(network)
    if network.carried_bytes(shares_s) >= network.total_bytes * (1.0 - 1e-9) - _slack_bytes(network.arcs) / 2:
        shortest_s, time_s = least_time(network)
        if time_s <= network.length_s:
            return shortest_s, True
    return _worthwhile(network, shares_s), False


def _slack_bytes(arcs: Sequence[Arc]) -> float:
    """What rounding to whole bytes and ticks may lose on the arcs of one cargo."""
    return len(arcs) + ROUNDING_S * max(arc.rate_bps for arc in arcs) / BITS_PER_BYTE


def _padded(ready: Mapping[int, float], arcs: Sequence[Arc]) -> dict[int, float]:
    """Demands with a little to spare, so that no last few bytes are left over."""
    return {number: size + _slack_bytes([arc for arc in arcs if arc.cargo == number]) for number, size in ready.items()}


def _worthwhile(network: Network, shares_s: Sequence[float]) -> list[float]:
    """Without turns too short to be worth it, except where this interval finishes the cargo."""
    sizes = [share * arc.rate_bps / BITS_PER_BYTE for share, arc in zip(shares_s, network.arcs, strict=True)]
    left = dict(network.demand_bytes)
    longest_s = dict.fromkeys(left, 0.0)
    for arc, share, size in zip(network.arcs, shares_s, sizes, strict=True):
        left[arc.cargo] -= size
        longest_s[arc.cargo] = max(longest_s[arc.cargo], share)
    kept = {cargo: 0.0 if left[cargo] < 1.0 else min(SHORTEST_S, longest_s[cargo]) for cargo in left}
    return [share if share >= kept[arc.cargo] else 0.0 for arc, share in zip(network.arcs, shares_s, strict=True)]


# -- booking pieces -------------------------------------------------------------------------------------------------


def next_turn(schedule: Schedule, link: tuple[int, int], now_s: float) -> tuple[float, float, Contact] | None:
    """The next stretch of a link with room for a byte."""
    contacts = schedule.system.contacts.by_link.get(link, ())
    there_s = schedule.probe(*link, 1, now_s) if contacts else inf
    for contact in contacts[bisect_right(contacts, now_s, key=lambda contact: contact.end_s) :]:
        start_s = there_s - contact.delay_s - BITS_PER_BYTE / contact.rate_bps
        if start_s < contact.end_s < inf > there_s:
            start_s = max(start_s, now_s, contact.start_s)
            return (start_s, contact.end_s, contact) if room(contact, start_s, contact.end_s) else None
    return None


def next_s(load: Load, now_s: float) -> float:
    """When more of a load becomes ready."""
    return min(part.since_s for part in load.parts if part.since_s > now_s)


def room(contact: Contact, start_s: float, end_s: float) -> int:
    """Whole bytes that fit between two moments."""
    return max(0, int((end_s - start_s) * contact.rate_bps / BITS_PER_BYTE))


def send_parts(
    schedule: Schedule, contact: Contact, parts: Sequence[Part], start_s: float, end_s: float
) -> Iterator[tuple[Part, float]]:
    """Book parts one after the other between two moments; yields each with its arrival."""
    done, begin_s = 0, start_s
    for part in parts:
        done += part.payload.size
        finish_s = min(end_s, start_s + done * BITS_PER_BYTE / contact.rate_bps)
        yield part, schedule.send_at(contact, part.payload, begin_s, finish_s, may_wait=True)
        begin_s = finish_s


def lead_s_of(schedule: Schedule, loads: Sequence[Load], slot_s: float) -> dict[int, float]:
    """How long before an uplink its bytes set out from the server: the backhaul time of one slot's bytes.

    With a backhaul faster than the uplinks everything is then at the station in time. `in_time` sees to the rest.
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


def in_time(schedule: Schedule, contact: Contact, size: int, before_s: float, start_s: float, end_s: float) -> int:
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


class Depot:
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

"""Way `quickest` of strategy B: the earliest finish over the whole time-expanded network.

Everything that limits it is in one linear program (`fluid`): contacts, antennas and terminals shared in time, when what
is ready, and the backhaul with storage at the stations. Bytes are a fluid there and travel without delay, except for
the least delay that each of them must pay; so its optimum is a lower bound, and the dual its certificate. Within each
cell of time the shares become turns (`open_shop`), and the turns bookings of whole bytes.

The idea of quickest flows over time is that of Burkard, Dlaska and Klinz, "The quickest flow problem", ZOR 37, 1993.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orbitune.links.contacts import Contact
from orbitune.strategies.flow import Arc, Network, turns
from orbitune.strategies.fluid import Optimum, Program
from orbitune.strategies.quickest_sky import Air, Turn, windows_of
from orbitune.strategies.sky import Depot, Load, Part, in_time, room, send_parts
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule
from orbitune.units import BITS_PER_BYTE

SPARE_S = 2e-6
"""Spare time per load at its fastest link, for the solver's tolerance; beside it two bytes per arc, for rounding."""

PIECES = 8
"""Our choice: a turn whose bytes must still go over the backhaul, or just came from there, is cut into halves of halves
so often: what the last piece costs is then 1/256 of the turn's bytes."""


@dataclass(frozen=True)
class Quickest:
    """The certificate of one transfer.

    Attributes:
        bound_s: No schedule on these links finishes earlier.
        realised_s: When the booked schedule finishes.
        way: The way that was booked.
    """

    bound_s: float
    realised_s: float
    way: str

    @property
    def loss_s(self) -> float:
        """What the booked schedule may lose against the best possible one, in seconds."""
        return self.realised_s - self.bound_s


@dataclass(frozen=True)
class Plan:
    """Turns in order of time, when the fluid has finished, and before when nothing can."""

    turns: list[Turn]
    end_s: float
    bound_s: float


def plan_turns(schedule: Schedule, loads: Sequence[Load], kind: str, last_s: float) -> Plan | None:
    """The turns of the quickest flow; None if it finishes after `last_s`."""
    first_s = min(load.first_s for load in loads)
    cable_s = cables_s(schedule, kind)
    before_s, after_s = (dict.fromkeys(cable_s, 0.0), min(cable_s.values())) if kind == "downlink" else (cable_s, 0.0)
    carried: dict[int, list[int]] = {}
    for number, load in enumerate(loads):
        for member in load.members:
            carried.setdefault(member, []).append(number)
    since_s = {station: first_s + lead_s for station, lead_s in before_s.items()}
    windows = windows_of(schedule, kind, carried, since_s, last_s)
    least_s = min((window.contact.delay_s for window in windows), default=0.0) + after_s
    ready = [releases(load, min(before_s.values())) for load in loads]
    cuts = [(time_s, member) for load, steps in zip(loads, ready, strict=True) for time_s, _ in steps
            for member in load.members]  # fmt: skip
    air = Air(schedule, windows, carried, first_s, last_s, cuts)
    if not air.arcs:
        return None
    program = Program()
    air.add_to(program)
    spare = _demand(program, air, loads, ready)
    parts = [part.whole for load in loads for part in load.parts]
    if kind == "downlink" or len(set(parts)) == len(parts):  # otherwise one copy at a station serves several groups
        add_backhaul(program, schedule, air, kind, first_s)
    target = sum(load.left for load in loads) / air.fastest
    optimum = program.earliest(target, min(since_s.values()), last_s, spare)
    if optimum is None:
        return None
    return Plan(turns_of(air, optimum, late=kind == "uplink"), optimum.end_s + least_s, optimum.bound_s + least_s)


def cables_s(schedule: Schedule, kind: str) -> dict[int, float]:
    """The delay of each station's backhaul."""
    nodes, by_link = schedule.system.nodes, schedule.system.contacts.by_link
    pairs = {g: (g, nodes.server) if kind == "downlink" else (nodes.server, g) for g in nodes.stations}
    return {g: by_link[pair][0].delay_s for g, pair in pairs.items() if pair in by_link}


def releases(load: Load, lead_s: float) -> list[tuple[float, int]]:
    """When how many bytes become ready to cross the air, in order of time."""
    steps: dict[float, int] = {}
    for part in load.parts:
        steps[part.since_s + lead_s] = steps.get(part.since_s + lead_s, 0) + part.payload.size
    return sorted(steps.items())


def _demand(program: Program, air: Air, loads: Sequence[Load], ready: Sequence[list[tuple[float, int]]]) -> float:
    """No load is carried twice, nor before it is ready. Returns the rounding that was added to all of them."""
    arcs_of: list[list[int]] = [[] for _ in loads]
    for place, (_, _, load) in enumerate(air.arcs):
        arcs_of[load].append(place)
    total = 0.0
    for places, steps in zip(arcs_of, ready, strict=True):
        terms = [(air.column + place, air.scaled(air.arcs[place][1])) for place in places]
        ends_s = [air.cells[air.arcs[place][0]].end_s for place in places]
        spare, released = SPARE_S + 2 * len(places) / air.fastest, 0.0
        total += spare
        for time_s, size in steps:
            early = [term for term, end_s in zip(terms, ends_s, strict=True) if end_s <= time_s]
            if early:
                program.limit(early, released / air.fastest)
            released += size
        program.limit(terms, released / air.fastest, spare)
    return total


def add_backhaul(program: Program, schedule: Schedule, air: Air, kind: str, first_s: float) -> None:
    """Stations keep what the backhaul cannot take at once; only where it is slower than their antennas."""
    nodes, by_link = schedule.system.nodes, schedule.system.contacts.by_link
    down, places_of = kind == "downlink", {g: list[int]() for g in nodes.stations}
    for place, (_, number, _) in enumerate(air.arcs):
        places_of[air.windows[number].station].append(place)
    for station, places in places_of.items():
        fastest = max((air.windows[air.arcs[place][1]].bytes_per_s for place in places), default=0.0)
        pair = (station, nodes.server) if down else (nodes.server, station)
        rate = by_link[pair][0].rate_bps / BITS_PER_BYTE
        if not places or schedule.system.num_terminals(station, "ground") * fastest <= rate:
            continue
        since_s = first_s if down else first_s + by_link[pair][0].delay_s
        for edge_s in sorted({_edge_s(air, place, down) for place in places}):
            terms = [
                (air.column + place, air.scaled(air.arcs[place][1]))
                for place in places
                if (_edge_s(air, place, down) >= edge_s if down else _edge_s(air, place, down) <= edge_s)
            ]
            start_s, end_s = (edge_s, air.last_s) if down else (since_s, edge_s)
            program.clock(terms, rate / air.fastest, start_s, end_s)


def _edge_s(air: Air, place: int, down: bool) -> float:
    cell = air.cells[air.arcs[place][0]]
    return cell.start_s if down else cell.end_s


def turns_of(air: Air, optimum: Optimum, late: bool) -> list[Turn]:
    """A timetable for the time shares, cell by cell, in order of time; as early, or as late, in each as it can be."""
    shares: dict[int, list[tuple[Arc, float]]] = {}
    number_of: dict[tuple[int, int, int], int] = {}
    for place, (cell, number, load) in enumerate(air.arcs):
        share_s = float(optimum.values[air.column + place])
        if share_s > 0.0:
            window = air.windows[number]
            arc = Arc(load, window.satellite, window.station, window.contact.rate_bps)
            shares.setdefault(cell, []).append((arc, share_s))
            number_of[cell, window.satellite, window.station] = number
    found: list[Turn] = []
    for cell, served in shares.items():
        start_s, end_s = air.cells[cell].start_s, min(air.cells[cell].end_s, max(optimum.end_s, 0.0))
        arcs = tuple(arc for arc, _ in served)
        places = {node: air.places(node, start_s) for arc in arcs for node in arc.link}
        network = Network(end_s - start_s, arcs, {}, places)
        for turn in turns(network, [share_s for _, share_s in served]):
            window = air.windows[number_of[(cell, *arcs[turn.arc].link)]]
            times = (
                (end_s - turn.end_s, end_s - turn.start_s) if late else (start_s + turn.start_s, start_s + turn.end_s)
            )
            found.append(Turn(arcs[turn.arc].cargo, window.contact, *times))
    return _merged(sorted(found, key=lambda turn: (turn.start_s, turn.contact.source, turn.contact.target)))


def _merged(found: Sequence[Turn]) -> list[Turn]:
    """Turns that touch become one."""
    last: dict[tuple[int, int, int], Turn] = {}
    kept: dict[int, Turn] = {}
    place_of: dict[tuple[int, int, int], int] = {}
    for place, turn in enumerate(found):
        key = (turn.load, turn.contact.source, turn.contact.target)
        before = last.get(key)
        if before is not None and before.contact == turn.contact and turn.start_s - before.end_s < 1e-9:
            turn = Turn(turn.load, turn.contact, before.start_s, turn.end_s)
            place = place_of[key]
        last[key], place_of[key], kept[place] = turn, place, turn
    return [kept[place] for place in sorted(kept)]


# -- booking ---------------------------------------------------------------------------------------------------------


def follow_down(schedule: Schedule, loads: Sequence[Load], plan: Plan) -> Iterator[tuple[float, int, Part]]:
    """Book the turns of a plan; yields when which part is at which station. Loads keep what found no place."""
    for turn in plan.turns:
        load, contact = loads[turn.load], turn.contact
        size = min(room(contact, turn.start_s, turn.end_s), load.ready_bytes(turn.start_s))
        start_s = turn.start_s
        for piece in tapered(schedule, contact.target, size, turn.end_s, plan.end_s):
            end_s = min(turn.end_s, start_s + piece * BITS_PER_BYTE / contact.rate_bps)
            for part, arrive_s in send_parts(schedule, contact, load.take(piece), start_s, end_s):
                yield arrive_s, contact.target, part
            start_s = end_s


def tapered(schedule: Schedule, station: int, size: int, time_s: float, end_s: float) -> list[int]:
    """A turn's bytes at once, or in ever smaller pieces where the backhaul would end too late with all of them."""
    cable = schedule.system.contacts.by_link[station, schedule.system.nodes.server][0]
    if time_s + size * BITS_PER_BYTE / cable.rate_bps <= end_s - cable.delay_s:
        return [size] if size else []
    return halved(size)


def halved(size: int) -> list[int]:
    """A half, a quarter ... and what is left."""
    pieces: list[int] = []
    for _ in range(PIECES):
        if size > 1:
            pieces.append(size // 2)
            size -= size // 2
    return [*pieces, size] if size else pieces


def follow_up(schedule: Schedule, loads: Sequence[Load], plan: Plan, depot: Depot) -> Iterator[tuple[int, Held]]:
    """Book the turns of a plan; yields what landed where and when. Loads keep what found no place."""
    for turn in plan.turns:
        load, contact = loads[turn.load], turn.contact
        size = min(room(contact, turn.start_s, turn.end_s), load.ready_bytes(turn.start_s))
        start_s = turn.start_s
        for piece in _in_step(schedule, load, contact, size, start_s):
            fits = in_time(schedule, contact, piece, load.first_s, start_s, turn.end_s)
            for part in load.take(min(fits, room(contact, start_s, turn.end_s))):
                start_s = max(start_s, depot.stock(contact.source, part))
                if part.payload.size > room(contact, start_s, turn.end_s):
                    load.put_back(part)
                    continue
                end_s = min(turn.end_s, start_s + part.payload.size * BITS_PER_BYTE / contact.rate_bps)
                arrival_s = schedule.send_at(contact, part.payload, start_s, end_s, may_wait=True)
                yield contact.target, Held(part.payload, arrival_s)
                start_s = end_s


def _in_step(schedule: Schedule, load: Load, contact: Contact, size: int, start_s: float) -> list[int]:
    """A turn's bytes at once, or in pieces that go up while the backhaul brings the next."""
    server = schedule.system.nodes.server
    if not size or schedule.probe(server, contact.source, size, load.first_s) <= start_s:
        return [size] if size else []
    cable = schedule.system.contacts.by_link[server, contact.source][0]
    pieces = halved(size)
    return pieces if cable.rate_bps < contact.rate_bps else pieces[::-1]

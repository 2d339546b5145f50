"""Strategies A and B as one: every satellite's own bytes to the server, and bytes from there to their owners.

The paper's ways do it in two stages, first A and then B, or the other way round. `quickest` also lets relays over the
ring, passes and backhaul work at the same time (`quickest_rings`), and books what ends first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from orbitune.strategies import intra_orbit
from orbitune.strategies.quickest import Quickest, halved, tapered
from orbitune.strategies.quickest_relay import LEAST_BYTES, PIECES, Move, Outlet, Relay
from orbitune.strategies.quickest_rings import Push, RingPlan, plan_rings
from orbitune.strategies.quickest_trial import take_best, tries
from orbitune.strategies.satellite_ground import WAYS, Cargo, bring_down, finish_down, send_up
from orbitune.strategies.sky import Depot, Load, Part
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule

HEAD_STARTS = (1e-4, 1e-3, 1e-2, 0.05, 0.2)
"""Our choice: how much later than the fluid a way up may end, as shares of its time, so that pieces and delays on the
ring find room. The first that does is taken."""


LEAD = 1 / 512
"""Our choice: how long the stations wait for the first bytes of a way up, as a share of its time."""


ROOM = 1e-3
"""Our choice: a relay may take so much more than planned, relative, so that nothing small is left behind."""


@dataclass(frozen=True)
class Moved:
    """When each payload is where it belongs, and the stages that this took, each with its end in seconds."""

    since_s: dict[Payload, float]
    stages: tuple[tuple[str, float], ...]

    @property
    def end_s(self) -> float:
        return self.stages[-1][1]


def gather_down(
    schedule: Schedule,
    rings: Sequence[Sequence[int]],
    held: Mapping[int, Sequence[Held]],
    way: str,
    intra_way: str,
    slot_s: float,
    names: tuple[str, str] = ("share in planes", "bring down"),
    certificates: list[Quickest] | None = None,
) -> Moved:
    """Bring every satellite's own payloads to the server.

    Args:
        rings: Groups that may relay for each other, in ring order; one satellite alone has no links.
        held: What each satellite holds, and since when.
        names: Of the stage in which the planes share what they have, and of that in which it comes down. Where both go
            on at the same time there is only the second.
        certificates: Way `quickest` adds its bound here.

    Raises:
        PlanError: No station ever sees any satellite of some group that has something to bring.
        HorizonEnd: The contact plan ends first.
    """
    stage = schedule.stage
    start_s = min((part.since_s for parts in held.values() for part in parts), default=0.0)
    busy = [ring for ring in rings if any(part.payload.size for member in ring for part in held.get(member, ()))]

    def staged(way: str) -> Callable[[Schedule], Moved]:
        return lambda desk: _share_and_bring(desk, rings, held, way, intra_way, slot_s, names)

    if way != "quickest" or not busy:
        moved = staged(way)(schedule)
        schedule.stage = stage
        return moved

    def alone(desk: Schedule) -> Moved:
        desk.stage = names[1]
        cargos = [Cargo((member,), tuple(parts)) for member, parts in held.items()]
        since_s = bring_down(desk, cargos, "direct", slot_s)
        return Moved(since_s, ((names[1], max(since_s.values(), default=start_s)),))

    seen = set(schedule.system.contacts.source[schedule.system.contacts.of_kind("downlink")].tolist())
    singles = seen.issuperset(member for member, parts in held.items() if any(part.payload.size for part in parts))
    ways = {"share, then bring down": staged(way)}  # which is never later than with any other way
    ways |= {"each by its own passes": alone} if singles else {}
    tried = tries(schedule, ways, lambda moved: moved.end_s)
    last_s = min((trial.end_s for trial in tried), default=schedule.system.contacts.horizon_s)
    plan = plan_rings(schedule, busy, held, "downlink", last_s)
    if plan is not None and _one_way_each(schedule, busy, plan):
        tried += tries(
            schedule,
            {"relay and bring down": lambda desk: _relay_down(desk, busy, held, plan, intra_way, slot_s, names[1])},
            lambda moved: moved.end_s,
        )
    if not tried:
        return staged(way)(schedule)
    best = take_best(schedule, tried)
    _certify(certificates, plan, best.end_s, best.way)
    return best.result


def hand_out(
    schedule: Schedule,
    rings: Sequence[Sequence[int]],
    wanted: Mapping[int, Sequence[Held]],
    way: str,
    intra_way: str,
    slot_s: float,
    names: tuple[str, str] = ("send up", "hand out in planes"),
    certificates: list[Quickest] | None = None,
) -> Moved:
    """Bring payloads from the server to the satellites that want them; the reverse of `gather_down`.

    Args:
        wanted: What each satellite is to get, and since when the server holds it. No payload is wanted twice.
        names: Of the stage in which it goes up to any member of each group, and of that in which it goes round. Where
            both go on at the same time there is only the first.

    Raises:
        PlanError: No station ever sees any satellite of some group that wants something.
        HorizonEnd: The contact plan ends first.
    """
    stage = schedule.stage
    busy = [ring for ring in rings if any(part.payload.size for member in ring for part in wanted.get(member, ()))]

    def staged(way: str) -> Callable[[Schedule], Moved]:
        return lambda desk: _send_and_hand_out(desk, rings, wanted, way, intra_way, slot_s, names)

    if way != "quickest" or not busy:
        moved = staged(way)(schedule)
        schedule.stage = stage
        return moved
    tried = tries(schedule, {f"{way}, then hand out": staged(way) for way in WAYS}, lambda moved: moved.end_s)
    last_s = min((trial.end_s for trial in tried), default=schedule.system.contacts.horizon_s)
    bound = plan = plan_rings(schedule, busy, wanted, "uplink", last_s)
    if plan is not None:  # once more, with time to bring the first bytes to the stations
        lead_s = (plan.end_s - min(part.since_s for parts in wanted.values() for part in parts)) * LEAD
        plan = plan_rings(schedule, busy, wanted, "uplink", last_s, lead_s)
    if plan is not None and _one_way_each(schedule, busy, plan):
        tried += tries(
            schedule,
            {"send up and hand out": lambda desk: _relay_up(desk, busy, wanted, plan, names[0])},
            lambda moved: moved.end_s,
        )
    if not tried:
        return staged(way)(schedule)
    best = take_best(schedule, tried)
    _certify(certificates, bound, best.end_s, best.way)
    return best.result


def _certify(certificates: list[Quickest] | None, plan: RingPlan | None, end_s: float, way: str) -> None:
    if certificates is not None:
        certificates.append(Quickest(min(end_s, plan.bound_s if plan else end_s), end_s, way))


# -- in two stages ---------------------------------------------------------------------------------------------------


def _share_and_bring(
    schedule: Schedule, rings: Sequence[Sequence[int]], held: Mapping[int, Sequence[Held]], way: str, intra_way: str,
    slot_s: float, names: tuple[str, str],
) -> Moved:  # fmt: skip
    """All-gather in every ring (strategy A), then any satellite brings down any byte (strategy B)."""
    schedule.stage = names[0]
    ready = [part.since_s for parts in held.values() for part in parts]
    for ring in rings:
        for row in range(max((len(held.get(member, ())) for member in ring), default=0)):
            own = {member: held[member][row] for member in ring if row < len(held.get(member, ()))}
            ready += intra_orbit.all_gather(schedule, ring, own, intra_way).values()
    now = max(ready, default=0.0)
    schedule.stage = names[1]
    cargos = [
        Cargo(tuple(ring), tuple(Held(part.payload, now) for member in ring for part in held.get(member, ())))
        for ring in rings
    ]
    since_s = bring_down(schedule, cargos, way, slot_s)
    return Moved(since_s, ((names[0], now), (names[1], max(since_s.values(), default=now))))


def _send_and_hand_out(
    schedule: Schedule, rings: Sequence[Sequence[int]], wanted: Mapping[int, Sequence[Held]], way: str, intra_way: str,
    slot_s: float, names: tuple[str, str],
) -> Moved:  # fmt: skip
    """Up to any satellite of the ring (strategy B), then to the owner (strategy A)."""
    schedule.stage = names[0]
    owners = {_key(part.payload): member for member, parts in wanted.items() for part in parts}
    cargos = [Cargo(tuple(ring), tuple(part for member in ring for part in wanted.get(member, ()))) for ring in rings]
    landed = send_up(schedule, cargos, way, slot_s)
    now = max((part.since_s for _, part in landed), default=0.0)
    schedule.stage = names[1]
    there_s: dict[int, float] = {}
    for ring in rings:
        parts = [(s, Held(part.payload, now), owners[_key(part.payload)]) for s, part in landed if s in ring]
        there_s |= intra_orbit.scatter_from(schedule, ring, parts, intra_way)
    since_s = {part.payload: there_s.get(member, part.since_s) for member, parts in wanted.items() for part in parts}
    return Moved(since_s, ((names[0], now), (names[1], max([now, *since_s.values()]))))


def _key(payload: Payload) -> tuple[str, frozenset[int], int]:
    """The tensor that a payload is a range of."""
    return payload.kind, payload.origins, payload.version


# -- at the same time ------------------------------------------------------------------------------------------------


def _one_way_each(schedule: Schedule, rings: Sequence[Sequence[int]], plan: RingPlan) -> bool:
    """Whether relays need no timetable: each satellite has a terminal for each neighbour, and half-duplex links carry
    in one direction only."""
    links = {(push.contact.source, push.contact.target) for push in plan.pushes}
    terminals = schedule.system.terminals
    if terminals.satellite_intra < 2 and any(len(ring) > 2 for ring in rings):
        return not links
    return terminals.full_duplex or all(link[::-1] not in links for link in links)


def _relay_down(
    schedule: Schedule, rings: Sequence[Sequence[int]], held: Mapping[int, Sequence[Held]], plan: RingPlan,
    intra_way: str,
    slot_s: float, stage: str,
) -> Moved:  # fmt: skip
    schedule.stage = stage
    since_s = {part.payload: part.since_s for parts in held.values() for part in parts}
    relay = Relay([*_turn_outlets(plan, 1), *_push_outlets(plan, 1)])
    relay.play(_parts(held))
    landed = []
    for move in sorted(relay.moves, key=lambda move: move.start_s):
        start_s = move.start_s
        pieces = [move.part]
        if move.outlet.station:
            pieces = _pieces(schedule, move.outlet.peer, move.part, move.end_s, plan.end_s)
        for piece in pieces:
            end_s = start_s + (move.end_s - move.start_s) * piece.payload.size / move.part.payload.size
            end_s = move.end_s if piece is pieces[-1] else min(end_s, move.end_s)
            arrive_s = schedule.send_at(move.outlet.contact, piece.payload, start_s, end_s)
            if move.outlet.station:
                landed.append((arrive_s, move.outlet.peer, piece))
            start_s = end_s
    rest = [load for ring in rings for load in _left_over(schedule, ring, relay, intra_way)]
    finish_down(schedule, landed, rest, slot_s, since_s)
    return Moved(since_s, ((stage, max(since_s.values())),))


def _left_over(schedule: Schedule, ring: Sequence[int], relay: Relay, intra_way: str) -> list[Load]:
    """Bytes that found no way down: whoever has had them may bring them; what never left its satellite goes round."""
    lots = [(member, lot) for member in ring for lot in relay.stock.get(member, ())]
    loads = [_load(tuple(sorted(lot.seen)), lot.part) for _, lot in lots if len(lot.seen) > 1]
    stuck = [(member, Held(lot.part.payload, lot.part.since_s), lot.part) for member, lot in lots if len(lot.seen) == 1]
    if stuck and len(ring) > 1:
        there_s = intra_orbit.broadcast_parts(schedule, ring, [(member, held) for member, held, _ in stuck], intra_way)
        since_s = max(there_s.values())
        return loads + [_load(tuple(ring), Part(part.whole, part.payload, since_s)) for _, _, part in stuck]
    return loads + [_load((member,), part) for member, _, part in stuck]


def _load(members: tuple[int, ...], part: Part) -> Load:
    load = Load(members, ())
    load.parts.append(part)
    load.left, load.first_s, load.complete_s = part.payload.size, part.since_s, part.since_s
    return load


def _pieces(schedule: Schedule, station: int, part: Part, end_s: float, by_s: float) -> list[Part]:
    """A part that lands, cut smaller towards its end where the backhaul would take too long with all of it."""
    found, start = [], 0
    for size in tapered(schedule, station, part.payload.size, end_s, by_s):
        found.append(Part(part.whole, part.payload.part(start, start + size), part.since_s))
        start += size
    return found


def _relay_up(
    schedule: Schedule, rings: Sequence[Sequence[int]], wanted: Mapping[int, Sequence[Held]], plan: RingPlan, stage: str
) -> Moved:
    """The play backwards, from ever later ends until everything is out in time."""
    schedule.stage = stage
    first_s = max(part.since_s for parts in wanted.values() for part in parts)
    delay_s = max((push.contact.delay_s for push in plan.pushes), default=0.0)
    longest = max((len(ring) for ring in rings), default=1)
    for share in HEAD_STARTS:
        end_s = plan.end_s + longest * delay_s + share * (plan.end_s - first_s)
        relay = Relay([*_turn_outlets(plan, -1), *_push_outlets(plan, -1)])
        relay.play(_parts(wanted, -end_s), delay_s)
        if relay.left():
            continue
        desk = schedule.trial()
        ready_s = {part.payload: part.since_s for parts in wanted.values() for part in parts}
        if _book_backwards(desk, relay, ready_s) is not None:
            landed = _book_backwards(schedule, relay, ready_s)
            assert landed is not None, "it was just tried"
            since_s = {part.payload: landed.get(member, part.since_s) for member in wanted for part in wanted[member]}
            return Moved(since_s, ((stage, max(since_s.values())),))
    raise HorizonEnd("the pieces of the quickest way up do not fit; the other ways are taken")


def _book_backwards(schedule: Schedule, relay: Relay, ready_s: Mapping[Payload, float]) -> dict[int, float] | None:
    """Book a play run backwards; when each satellite has the last of what ends there, None if a station lacks bytes."""
    depot, there_s = Depot(schedule), dict[int, float]()
    for move in sorted(relay.moves, key=lambda move: -move.end_s):
        start_s, end_s = -move.end_s, -move.start_s
        for part, from_s, to_s in _in_step(desk=schedule, move=move, start_s=start_s, end_s=end_s, ready_s=ready_s):
            if move.outlet.station and depot.stock(move.outlet.peer, part) > from_s:
                return None
            arrive_s = schedule.send_at(move.outlet.contact, part.payload, from_s, to_s)
            there_s[move.outlet.satellite] = max(there_s.get(move.outlet.satellite, 0.0), arrive_s)
    return there_s


def _in_step(
    desk: Schedule, move: Move, start_s: float, end_s: float, ready_s: Mapping[Payload, float]
) -> Iterator[tuple[Part, float, float]]:
    """A move at once, or an uplink in ever larger pieces that go up while the backhaul brings the next."""
    part, size = Part(move.part.whole, move.part.payload, ready_s[move.part.whole]), move.part.payload.size
    sizes = [size]
    if move.outlet.station and desk.probe(desk.system.nodes.server, move.outlet.peer, size, part.since_s) > start_s:
        sizes = halved(size)[::-1]
    done = 0
    for piece in sizes:
        from_s, to_s = (start_s + (end_s - start_s) * bytes_ / size for bytes_ in (done, done + piece))
        yield Part(part.whole, part.payload.part(done, done + piece), part.since_s), from_s, min(to_s, end_s)
        done += piece


def _parts(held: Mapping[int, Sequence[Held]], since_s: float = -inf) -> dict[int, list[Part]]:
    """What each satellite has, since it is ready or, played backwards, since the end."""
    return {
        satellite: [
            Part(part.payload, part.payload, part.since_s if since_s == -inf else since_s)
            for part in parts
            if part.payload.size
        ]
        for satellite, parts in held.items()
    }


def _turn_outlets(plan: RingPlan, sign: int) -> list[Outlet]:
    found = []
    for turn in plan.turns:
        start_s, end_s = (turn.start_s, turn.end_s) if sign > 0 else (-turn.end_s, -turn.start_s)
        ends = (turn.contact.source, turn.contact.target)[::sign]
        found.append(Outlet(ends[0], ends[1], turn.contact, start_s, end_s, ((start_s, inf),), 1 << 62, True))
    return found


def _push_outlets(plan: RingPlan, sign: int) -> list[Outlet]:
    """One outlet per contact, which opens with every push over it."""
    pushes: dict[tuple[int, int, float], list[Push]] = {}
    for push in plan.pushes:
        key = (push.contact.source, push.contact.target, push.contact.start_s)
        pushes.setdefault(key, []).append(push)
    found = []
    for group in pushes.values():
        contact, total = group[0].contact, sum(push.size for push in group)
        openings = [(push.start_s if sign > 0 else -push.end_s, push.size * (1.0 + ROOM) + 2) for push in group]
        start_s = min(opens_s for opens_s, _ in openings)
        end_s = contact.end_s if sign > 0 else -min(push.start_s for push in group)
        grain = max(LEAST_BYTES, int(total / PIECES))
        one, two = (contact.source, contact.target)[::sign]
        found.append(Outlet(one, two, contact, start_s, end_s, openings, grain, False))
    return found

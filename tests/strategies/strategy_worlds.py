"""Small worlds to try strategies in, and the judge: every schedule goes through the checker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import linprog

from orbitune.cost.system import Computer, Radios, System, Terminals
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.strategies.flow import Network
from orbitune.timeline.activity import Held, Payload, whole
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify

HORIZON_S = 10_000.0

Row = tuple[int, int, str, float, float, float, float]
"""source, target, kind, start_s, end_s, rate_bps, delay_s"""


def system(
    planes: Sequence[Sequence[int]],
    stations: int,
    rows: Iterable[Row],
    *,
    horizon_s: float = HORIZON_S,
    backhaul_bps: float = 8e9,
    backhaul_delay_s: float = 0.0,
    ground: int = 1,
    inter: int = 4,
    antennas: Sequence[int] = (),
    full_duplex: bool = True,
) -> System:
    """A system with given contacts; backhaul is added."""
    count = sum(map(len, planes))
    names = tuple(f"sat-{number}" for number in range(count))
    nodes = Nodes(names, tuple(f"station-{number}" for number in range(stations)), tuple(map(tuple, planes)))
    rows = list(rows)
    for station in nodes.stations:
        for pair in ((station, nodes.server), (nodes.server, station)):
            rows.append((*pair, "backhaul", 0.0, horizon_s, backhaul_bps, backhaul_delay_s))
    rows.sort(key=lambda row: (row[3], row[0], row[1]))
    source, target, kind, start_s, end_s, rate_bps, delay_s = zip(*rows, strict=True)
    plan = ContactPlan(
        nodes,
        horizon_s,
        np.array(source, dtype=np.int32),
        np.array(target, dtype=np.int32),
        np.array([KINDS.index(name) for name in kind], dtype=np.int8),
        np.array(start_s, dtype=float),
        np.array(end_s, dtype=float),
        np.array(rate_bps, dtype=float),
        np.zeros(len(rows)),
        np.array(delay_s, dtype=float),
    )
    computer = Computer(flops_per_s=1e12, memory_bytes=1e18, power_w=30.0)
    terminals = Terminals(ground, 2, inter, tuple(antennas) or (1,) * stations, full_duplex)
    return System(plan, computer, computer, terminals, Radios(dict.fromkeys(KINDS, 10.0), 5.0))


def both_ways(
    one: int, two: int, kind: str, start_s: float, end_s: float, rate_bps: float, delay_s: float
) -> list[Row]:
    rest = (kind, start_s, end_s, rate_bps, delay_s)
    return [(one, two, *rest), (two, one, *rest)]


def ring_rows(ring: Sequence[int], rate_bps: float, delay_s: float, lost: Iterable[int] = ()) -> list[Row]:
    """Permanent links of a ring; `lost` numbers the links that are missing."""
    pairs = [*pairwise(ring), *([(ring[-1], ring[0])] if len(ring) > 2 else [])]
    return [
        row
        for number, pair in enumerate(pairs)
        if number not in set(lost)
        for row in both_ways(*pair, "isl_intra", 0.0, HORIZON_S, rate_bps, delay_s)
    ]


def ring_system(count: int, rate_bps: float = 8e3, delay_s: float = 0.0, lost: Iterable[int] = ()) -> System:
    """One plane: 1 byte per millisecond unless told otherwise."""
    return system([range(count)], 1, ring_rows(range(count), rate_bps, delay_s, lost))


def own(kind: str, satellite: int, size: float, since_s: float = 0.0) -> Held:
    return Held(whole(kind, {satellite}, 0, size), since_s)


def judge(
    schedule: Schedule, initial: Iterable[tuple[int, Payload]], got: Iterable[tuple[int, Payload, float]]
) -> None:
    """The checker accepts what was booked, and the nodes hold what the strategy says since it says so."""
    schedule.initial = list(initial)
    for node, payload, by_s in got:
        schedule.promise(node, payload, by_s)
    ends_s = [max(activity.end_s, activity.arrive_s) for activity in schedule.activities]
    ends_s += [promise.by_s for promise in schedule.promises]
    schedule.span(0.0, max(ends_s, default=0.0))
    verify(schedule.timeline("test", (), 0), schedule.system)


def merged(held: Iterable[Held]) -> Payload:
    first, *others = (part.payload for part in held)
    for other in others:
        first = first.merged(other)
    return first


def joined(payloads: Iterable[Payload]) -> list[Payload]:
    """Byte ranges put together where they touch; they must not overlap."""
    found: list[Payload] = []
    for payload in sorted(payloads, key=lambda p: (sorted(p.origins), p.version, p.start_byte)):
        last = found[-1] if found else None
        if last and (last.kind, last.origins, last.version) == (payload.kind, payload.origins, payload.version):
            assert payload.start_byte >= last.end_byte, f"{payload} twice"
            if payload.start_byte == last.end_byte:
                found[-1] = Payload(last.kind, last.origins, last.version, last.start_byte, payload.end_byte)
                continue
        found.append(payload)
    return found


def optimum_bytes(network: Network) -> float:
    """The linear program, written down once more with megabytes as unknowns and solved by the interior point method."""
    groups: dict[object, list[int]] = defaultdict(list)
    for number, arc in enumerate(network.arcs):
        for member in (arc.satellite, arc.station, arc.link, f"cargo {arc.cargo}"):
            groups[member].append(number)
    rows = np.zeros((len(groups), len(network.arcs)))
    limits = []
    for row, (member, numbers) in enumerate(groups.items()):
        is_cargo = isinstance(member, str)
        for number in numbers:
            rows[row, number] = 1.0 if is_cargo else 8e6 / network.arcs[number].rate_bps
        cargo = int(member.split()[1]) if isinstance(member, str) else -1
        limits.append(
            network.demand_bytes[cargo] / 1e6 if is_cargo else network.places.get(member, 1) * network.length_s
        )
    result = linprog(-np.ones(len(network.arcs)), A_ub=rows, b_ub=limits, method="highs-ipm")
    assert result.status == 0
    return float(-result.fun * 1e6)

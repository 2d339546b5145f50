"""Small systems to judge timelines by: built by hand, or drawn at random by Hypothesis."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

from orbitune.cost.system import Computer, Radios, System, Terminals
from orbitune.links.contacts import KINDS, Contact, ContactPlan, Nodes

HORIZON_S = 3_000.0
CABLE_BPS = 8e9


def contact(
    source: int, target: int, kind: str, start_s: float, end_s: float, rate_bps: float, delay_s: float = 0.0
) -> Contact:
    return Contact(source, target, kind, start_s, end_s, rate_bps, 0.0, delay_s)


def plan_of(nodes: Nodes, contacts: Iterable[Contact], horizon_s: float = HORIZON_S) -> ContactPlan:
    rows = sorted(contacts, key=lambda c: (c.start_s, c.source, c.target))
    return ContactPlan(
        nodes,
        horizon_s,
        np.array([c.source for c in rows], np.int32),
        np.array([c.target for c in rows], np.int32),
        np.array([KINDS.index(c.kind) for c in rows], np.int8),
        np.array([c.start_s for c in rows], np.float64),
        np.array([c.end_s for c in rows], np.float64),
        np.array([c.rate_bps for c in rows], np.float64),
        np.array([c.range_m for c in rows], np.float64),
        np.array([c.delay_s for c in rows], np.float64),
    )


def system_of(
    planes: Sequence[Sequence[int]],
    num_stations: int,
    contacts: Iterable[Contact],
    *,
    ground_terminals: int = 1,
    inter_terminals: int = 2,
    antennas: int = 1,
    full_duplex: bool = True,
    memory_bytes: float = 1e9,
    cable: bool = True,
    cable_delay_s: float = 0.0,
    cable_bps: float = CABLE_BPS,
    horizon_s: float = HORIZON_S,
) -> System:
    """1 kFLOP/s on board, 1 MFLOP/s on the ground; the satellites are numbered plane by plane."""
    satellites = [s for plane in planes for s in plane]
    nodes = Nodes(
        tuple(f"SAT-{s}" for s in satellites),
        tuple(f"GS-{g}" for g in range(num_stations)),
        tuple(tuple(plane) for plane in planes),
    )
    links = list(contacts)
    for station in nodes.stations if cable else ():
        links.append(contact(station, nodes.server, "backhaul", 0.0, horizon_s, cable_bps, cable_delay_s))
        links.append(contact(nodes.server, station, "backhaul", 0.0, horizon_s, cable_bps, cable_delay_s))
    return System(
        plan_of(nodes, links, horizon_s),
        Computer(1e3, memory_bytes, 10.0),
        Computer(1e6, memory_bytes * 100, 100.0),
        Terminals(ground_terminals, 2, inter_terminals, (antennas,) * num_stations, full_duplex),
        Radios(dict.fromkeys(KINDS, 1.0), 1.0),
    )


def ring(plane: Sequence[int], rate_bps: float, delay_s: float, horizon_s: float = HORIZON_S) -> list[Contact]:
    """Permanent links between neighbours of one plane, both ways."""
    pairs = {(a, b) for i, a in enumerate(plane) for b in (plane[i - 1], plane[(i + 1) % len(plane)]) if a != b}
    return [contact(a, b, "isl_intra", 0.0, horizon_s, rate_bps, delay_s) for a, b in sorted(pairs)]


PLANES = ([[0]], [[0, 1]], [[0], [1]], [[0, 1], [2]], [[0, 1], [2, 3]], [[0, 1, 2]], [[0], [1], [2]])


@st.composite
def systems(draw: st.DrawFn, *, inter: bool = True) -> System:
    """Up to four satellites and two stations; every satellite meets every station again and again."""
    planes = draw(st.sampled_from(PLANES))
    stations = draw(st.integers(1, 2))
    satellites = [s for plane in planes for s in plane]
    links = [link for plane in planes for link in ring(plane, draw(rates), draw(delays))]
    for satellite in satellites:
        for station in range(len(satellites), len(satellites) + stations):
            links += draw(passes(satellite, station))
    if inter and draw(st.booleans()):
        links += [link for a, b in itertools.pairwise(satellites) for link in draw(meetings(a, b, planes))]
    return system_of(
        planes,
        stations,
        links,
        ground_terminals=draw(st.integers(1, 2)),
        antennas=draw(st.integers(1, 2)),
        full_duplex=draw(st.booleans()),
        cable_delay_s=draw(delays),
    )


rates = st.sampled_from([800.0, 8_000.0, 24_000.0])
delays = st.sampled_from([0.0, 0.01, 0.25])


@st.composite
def passes(draw: st.DrawFn, satellite: int, station: int) -> list[Contact]:
    """Down and up contacts at the same times, some of them of two touching parts with different rates."""
    period_s, offset_s = draw(st.integers(40, 200)), draw(st.integers(0, 60))
    length_s, parts = draw(st.integers(5, 35)), draw(st.integers(1, 2))
    down, up, delay_s = draw(rates), draw(rates), draw(delays)
    found = []
    for start_s in range(offset_s, int(HORIZON_S) - length_s, period_s):
        edges = [start_s, start_s + length_s / 3, start_s + length_s] if parts == 2 else [start_s, start_s + length_s]
        for number, (low, high) in enumerate(itertools.pairwise(edges), 1):
            found.append(contact(satellite, station, "downlink", low, high, down * number, delay_s))
            found.append(contact(station, satellite, "uplink", low, high, up * number, delay_s))
    return found


@st.composite
def meetings(draw: st.DrawFn, a: int, b: int, planes: Sequence[Sequence[int]]) -> list[Contact]:
    """Links between neighbouring satellites of different planes that come and go."""
    if any(a in plane and b in plane for plane in planes):
        return []
    period_s, length_s, rate_bps, delay_s = (
        draw(st.integers(50, 300)),
        draw(st.integers(5, 45)),
        draw(rates),
        draw(delays),
    )
    starts = range(draw(st.integers(0, 50)), int(HORIZON_S) - length_s, period_s)
    return [
        contact(x, y, "isl_inter", start_s, start_s + length_s, rate_bps, delay_s)
        for start_s in starts
        for x, y in ((a, b), (b, a))
    ]

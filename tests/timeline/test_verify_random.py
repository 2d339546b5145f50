"""The checker against random schedules, and against an independent count on a grid of milliseconds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from small_systems import contact, system_of, systems

from orbitune.cost.system import System
from orbitune.errors import TimelineRejected
from orbitune.timeline.activity import Activity, Timeline, whole
from orbitune.timeline.simulate import HorizonEnd, Schedule
from orbitune.timeline.verify import verify

KIND_PAIRS = {"downlink": "uplink", "uplink": "downlink", "isl_intra": "isl_intra", "isl_inter": "isl_inter"}


@settings(max_examples=80)
@given(system=systems(), data=st.data())
def test_whatever_the_schedule_books_is_accepted(system: System, data: st.DataObject) -> None:
    links = sorted(system.contacts.by_link)
    desk = Schedule(system, stage="all")
    end_s = 1.0
    for version in range(data.draw(st.integers(1, 12))):
        source, target = data.draw(st.sampled_from(links))
        payload = whole("model", [0], version, data.draw(st.integers(1, 20_000)))
        desk.initial.append((source, payload))
        try:
            end_s = max(end_s, desk.send(source, target, payload, data.draw(st.floats(0.0, 500.0))))
        except HorizonEnd:
            continue
        desk.promise(target, payload, end_s)
    desk.span(0.0, end_s)
    verify(desk.timeline("random", (), 0), system)


# -- a grid of milliseconds: everything happens at whole milliseconds, so counting cells is exact -------------------

CELLS = 6_000  # contacts end at 2.9 s; a send may be moved and stretched to the double
CELL_S = 1e-3


@dataclass(frozen=True)
class Grid:
    """What each directed link can do in every cell."""

    rate_bps: dict[tuple[int, int, str], np.ndarray]

    @classmethod
    def of(cls, system: System) -> Grid:
        rate: dict[tuple[int, int, str], np.ndarray] = {}
        for link in system.contacts:
            cells = rate.setdefault((link.source, link.target, link.kind), np.zeros(CELLS))
            cells[round(link.start_s / CELL_S) : round(link.end_s / CELL_S)] = link.rate_bps
        return cls(rate)


def cells_of(send: Activity) -> slice:
    return slice(round(send.start_s / CELL_S), round(send.end_s / CELL_S))


def broken_on_grid(sends: list[Activity], system: System) -> set[str]:
    """Rules of the air that a list of sends breaks, by counting."""
    grid, broken = Grid.of(system), set()
    load: dict[tuple[int, int], np.ndarray] = {}
    for send in sends:
        rate = grid.rate_bps.get((send.node, send.peer, send.link), np.zeros(CELLS))[cells_of(send)]
        if not rate.all():
            broken.add("contact")
        assert send.payload is not None
        if send.payload.size > rate.sum() * CELL_S / 8 + 1.5:
            broken.add("rate")
        load.setdefault((send.node, send.peer), np.zeros(CELLS, int))[cells_of(send)] += 1
    if any((count > 1).any() for count in load.values()):
        broken.add("rate")
    return broken | _terminals_on_grid(load, system)


def _terminals_on_grid(load: dict[tuple[int, int], np.ndarray], system: System) -> set[str]:
    """All contacts of the grid system use ground terminals."""
    for node in range(system.nodes.server):
        peers = {peer: np.zeros(CELLS, bool) for peer in range(system.nodes.server)}
        for (source, target), count in load.items():
            if node in (source, target):
                peers[target if node == source else source] |= count > 0
        if (sum(busy.astype(int) for busy in peers.values()) > system.num_terminals(node, "ground")).any():
            return {"terminals"}
    both = [((count > 0) & (load.get((b, a), np.zeros(CELLS)) > 0)).any() for (a, b), count in load.items()]
    return {"terminals"} if any(both) and not system.terminals.full_duplex else set()


@st.composite
def grid_systems(draw: st.DrawFn) -> System:
    """Two satellites and two stations; contacts start and end at whole tenths of a second."""
    links = []
    for satellite in (0, 1):
        for station in (2, 3):
            edges = sorted(draw(st.lists(st.integers(0, 29), min_size=2, max_size=6, unique=True)))
            touching = draw(st.booleans())
            for low, high in list(itertools.pairwise(edges))[:: 1 if touching else 2]:
                rate = draw(st.sampled_from([8e3, 16e3, 80e3]))
                links.append(contact(satellite, station, "downlink", low / 10, high / 10, rate))
                links.append(contact(station, satellite, "uplink", low / 10, high / 10, rate))
    return system_of(
        [[0, 1]],
        2,
        links,
        ground_terminals=draw(st.integers(1, 2)),
        antennas=draw(st.integers(1, 2)),
        full_duplex=draw(st.booleans()),
        cable=False,
        horizon_s=3.0,
    )


@st.composite
def grid_sends(draw: st.DrawFn, system: System, number: int) -> Activity:
    """A send that fits one of the contacts, or a contact moved by some cells."""
    link = system.contacts[draw(st.integers(0, len(system.contacts) - 1))]
    low, high = round(link.start_s / CELL_S), round(link.end_s / CELL_S)
    start = max(0, draw(st.integers(low, high - 1)) + draw(st.sampled_from([0, 0, 0, -30, 70])))
    end = start + draw(st.integers(1, high - low))
    room = int((end - start) * CELL_S * link.rate_bps / 8)
    size = max(1, room + draw(st.sampled_from([0, 0, -20, 3, 40])))
    times = (start * CELL_S, end * CELL_S)
    return Activity("send", link.source, *times, "train", 0, "all", peer=link.target, link=link.kind,
                    arrive_s=times[1], payload=whole("model", [0], number, size))  # fmt: skip


@settings(max_examples=300)
@given(system=grid_systems(), data=st.data())
def test_the_checker_agrees_with_counting_milliseconds(system: System, data: st.DataObject) -> None:
    sends = [data.draw(grid_sends(system, number)) for number in range(data.draw(st.integers(1, 5)))]
    sends.sort(key=lambda send: send.start_s)
    timeline = Timeline("grid", tuple(sends), (), tuple((s.node, s.payload) for s in sends if s.payload), (), (), 0)
    spanned = Schedule(system, stage="all")
    spanned.span(0.0, CELLS * CELL_S)
    broken = broken_on_grid(sends, system)
    try:
        verify(replace(timeline, spans=tuple(spanned.spans)), system)
    except TimelineRejected as refusal:
        assert refusal.rule in broken, (refusal, broken)
    else:
        assert not broken

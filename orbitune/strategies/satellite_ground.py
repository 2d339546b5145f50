"""Strategy B: bring given bytes from satellites to the ground server, or back, as early as possible.

Ways:

direct    Naive: each cargo waits for the one satellite and station whose link completes it first; who completes
          first is served first.
max_flow  The paper's idea (arXiv:2504.10403, known from summaries only): at each time point satellites and ground
          are a static flow network; the most bytes cross, then time advances until nothing is left. Time points are
          the slots and every moment at which a contact, a terminal or a cargo comes or goes. Antennas and
          terminals are shared in time (`flow`), so a timetable exists that needs no more of them than there are.

Between station and server each piece travels over the backhaul on its own: down as soon as it has arrived, up ahead of
its uplink. Stations store what the backhaul cannot take at once. Bookings are made in order of time within one call;
what an earlier call has booked on a terminal keeps it from being used before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heapreplace, heappop
from math import inf

import numpy as np

from orbitune.errors import PlanError
from orbitune.links.contacts import Contact
from orbitune.strategies.flow import Arc, Network, least_time, most_bytes, turns
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule
from orbitune.units import BITS_PER_BYTE

WAYS = ("direct", "max_flow")

SHORTEST_S = 1e-3
"""Our choice: no turn shorter than this unless it finishes a cargo, so that timelines stay readable. The bytes wait for
the next interval."""

ROUNDING_S = 1e-6
"""More time than HiGHS's feasibility tolerance (1e-7, its documented default) can miss."""


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
    loads = _loads(schedule, cargos, "downlink")
    pieces = _sent_direct(schedule, loads) if way == "direct" else _sent_in_flow(schedule, loads, slot_s)
    since_s = {held.payload: held.since_s for cargo in cargos for held in cargo.held}
    server = schedule.system.nodes.server
    for part, whole, station, arrive_s in sorted(pieces, key=lambda piece: piece.arrive_s):
        pass
    return since_s

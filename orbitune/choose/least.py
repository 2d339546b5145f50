"""What a branch of the search costs at the very least: no point in it can be better, whatever its ways.

A branch is a set of points that differ in overlap and ways only, and for which these say the same about
 (a) whether satellites of a plane work together (`intra_orbit` other than "none": `Job.rings`),
 (b) whether they carry each other's data to the ground (`satellite_ground` other than "direct": `Job.pools`),
 (c) whether planes may meet on the ground (`inter_orbit` in MEET_ON_GROUND: the server may have the average already),
 (d) whether they must (`inter_orbit` = "via_ground": compressed updates are accepted).
Of a job, `Method.needs` reads `overlap` not at all and the ways only through (a), (b) and (c). So all points of a
branch have one and the same list of needs (a test compares them for every point of a space). `lower_bound` holds for
every schedule that meets these needs on the system, and the timeline of each point is such a schedule: the bound of one
is the bound of all. Bytes and energy below follow from the same needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

from orbitune.cost.system import System
from orbitune.links.contacts import KINDS
from orbitune.methods import Job
from orbitune.methods.base import MEET_ON_GROUND
from orbitune.timeline.bounds import Need, lower_bound
from orbitune.timeline.needs import AIR
from orbitune.units import BITS_PER_BYTE

ROUNDING = 1e-9
"""Relative; taken off sums, so that a point that does no more than it must does not lie below its bound."""

Family = tuple[bool, bool, bool, bool]


def family_of(job: Job) -> Family:
    """What of the ways makes a difference to the needs: (a) to (d) above."""
    ways = job.ways
    meets, must = ways.inter_orbit in MEET_ON_GROUND, ways.inter_orbit == "via_ground"
    return job.has_rings, ways.satellite_ground != "direct", meets, must


def least(objective: str, needs: Sequence[Need], system: System) -> float:
    """Least seconds, bytes or joules; infinity where the contact plan ends before the needs can be met."""
    if objective == "time":
        return _least_s(needs, system)
    return least_bytes(needs, system) if objective == "bytes" else least_energy_j(needs, system)


def _least_s(needs: Sequence[Need], system: System) -> float:
    """The bound."""
    return lower_bound(needs, system).time_s


def least_bytes(needs: Sequence[Need], system: System) -> float:
    """Bytes that links other than cables must carry.

    What comes down or goes up crosses the air at least once for each group; payloads of different needs are different
    bytes. For an average see `_transmissions`.
    """
    return _carried(needs, system, lambda _, size: size) * (1.0 - ROUNDING)


def least_energy_j(needs: Sequence[Need], system: System) -> float:
    """Joules that satellites spend on computing, sending and receiving; each byte on the cheapest link there is."""
    per_byte = _joules_per_byte(system)
    cheapest = {link: per_byte.get(link, inf) for link in AIR.values()} | {"": min(per_byte.values(), default=inf)}
    total = sum(_computing_j(need, system) for need in needs if need.kind == "compute")
    total += _carried(needs, system, lambda link, size: size * cheapest[link] if size else 0.0)
    return total * (1.0 - ROUNDING)


def _carried(needs: Sequence[Need], system: System, cost: Callable[[str, float], float]) -> float:
    """What links cost: `cost` of a kind of link ("" for any) and the bytes on it.

    Where an average comes down and goes up as needs of their own on either side of it (`fedavg`), these are the same
    bytes: the dearer of the two counts.
    """
    alone = [cost(AIR[need.kind], sum(need.total.values())) if need.kind in AIR else 0.0 for need in needs]
    total = sum(alone)
    for row, size in _averages(needs, system):
        average = cost("", size)
        if row and row + 1 < len(needs) and needs[row + 1].kind == "up" and needs[row + 1].one_copy:
            average = max(0.0, average - alone[row - 1] - alone[row + 1])
        total += average
    return total


def _averages(needs: Sequence[Need], system: System) -> Iterator[tuple[int, float]]:
    """The number of each average among the needs, with the bytes that it takes.

    These are n + m - 2 transmissions of the model at satellites: argument 8 of `timeline.bounds`, for n satellites that
    computed since the last one and m that get it.
    """
    trained: set[int] = set()
    for row, need in enumerate(needs):
        if need.kind == "compute" and need.after_weights:
            trained |= {node for node, flops in need.total.items() if flops > 0.0} - {system.nodes.server}
        if need.kind != "combine":
            continue
        members = {member for group in need.groups for member in group}
        inside = {one for group, size in need.total.items() if size > 0.0 for one in need.groups[group]}
        sources = len(trained & inside)
        trained = set()
        if sources and sources + len(members) > 2:
            yield row, (sources + len(members) - 2) * min(size for size in need.total.values() if size > 0.0)


def _computing_j(need: Need, system: System) -> float:
    satellites = system.nodes.satellites
    computers = (system.satellite, *system.satellites)
    power_w = min(computer.power_w for computer in computers)
    return sum(
        flops / system.computer(node).flops_per_s * power_w for node, flops in need.total.items() if node in satellites
    )


def _joules_per_byte(system: System) -> dict[str, float]:
    """By kind of link, what its satellites spend on a byte at the best rate there is."""
    plan, radios, found = system.contacts, system.radios, {}
    for kind in KINDS:
        rows = plan.of_kind(kind)
        if kind == "backhaul" or not len(rows):
            continue
        sends = radios.transmit_w.get(kind, 0.0) if kind != "uplink" else 0.0
        hears = radios.receive_w if kind != "downlink" else 0.0
        found[kind] = (sends + hears) * BITS_PER_BYTE / float(plan.rate_bps[rows].max())
    return found

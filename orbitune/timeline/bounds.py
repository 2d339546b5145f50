"""Lower bounds: no schedule can be faster than this, whatever the strategy.

A method says what must happen (`Need`), not how; the bound is worked out from the needs, the contact plan and the
machines alone. Every argument below relaxes something and forbids nothing that a schedule could do:

1. *Totals.* All work that a resource must do cannot be done before the resource could have done that much, working
   from the first second without a pause. Resources: each computer; the air between the stations and all satellites
   that carry something; the air between the stations and one group; the backhaul. (What crosses a cut is at most the
   integral of what its terminals can serve, see `capacity_of`; the last byte then still has its delay to go.)
2. *First grain.* Need j of a group cannot begin before one grain of that group has passed every need before j.
   Earliest completion never falls when the start is later, so the steps may be composed in time order.
3. *Busy resource.* If every piece of work from need i to need j on one resource starts at `h` or later, the resource
   is not done with them before it could have done their sum from `h` on. The largest such value over all i is
   `until = done(max(until, h), size)`, one step per need.
4. *Last grain.* When all of need j is done, the grain that was last still has to pass the needs after j, alone. For a
   resource that several groups share it is unknown whose grain that is, so the fastest group's way counts, and
   nothing is claimed where one of them might have no way to go.
5. *Combine.* A model averaged over all groups holds something of each. A group has nothing final before its last
   grain; from then on news spreads no faster than the earliest arrival of a message of no size over all contacts.
   And for every byte of the model a satellite must receive at least one byte into which the others went, so its
   links must have carried a whole model since the sender could know. A satellite goes on after it has the average.
6. *Ahead.* Needs with `after_weights=False` may be done at any time, all rounds at once: they form a chain of their
   own from second 0, with arguments 2 to 4. What follows them in their round waits for them.

Left out on purpose, so the bound may be below what is possible: down and up that share one terminal (half duplex),
links inside a group (data move there for nothing), bytes and slots that do not divide, memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from orbitune.cost.system import System
from orbitune.timeline.capacity import Cuts
from orbitune.timeline.chain import Chain
from orbitune.timeline.needs import Need, Resource, Tracks, works_of

__all__ = ["Bound", "Need", "bounds_by_stage", "lower_bound"]

SAME = 1e-9
"""Two bounds this close (relative) are one: the same sum in another order."""


@dataclass(frozen=True)
class Bound:
    """The time that no schedule can beat, and the argument that gave it, in words."""

    time_s: float
    name: str


def lower_bound(needs: Sequence[Need], system: System) -> Bound:
    """The greatest of all lower bounds on the end of a job.

    Args:
        needs: What must happen, in order of dependency.
        system: Contact plan and machines.

    Returns:
        Seconds from the start, infinity where the contact plan ends before a need can be met. The name is that of one
        resource where its total alone says as much, otherwise that of the chain with the resource that fills most
        of it.
    """
    cuts = Cuts(system)
    whole = max(_totals(needs, system, cuts), key=lambda bound: bound.time_s, default=Bound(0.0, "nothing to do"))
    chain = Chain(needs, system, cuts)
    chain_s = max((chain.add(need) for need in needs), default=0.0)
    if whole.time_s == inf or chain_s <= whole.time_s * (1.0 + SAME):
        return whole
    why = f"{100.0 * whole.time_s / chain_s:.0f}% of it: {whole.name}" if chain_s < inf else "the contact plan ends"
    return Bound(chain_s, f"chain of rounds ({why})")


def bounds_by_stage(needs: Sequence[Need], system: System) -> dict[tuple[str, int, str], float]:
    """Seconds before which no schedule can have finished each (phase, round, stage), by the chain alone."""
    chain = Chain(needs, system, Cuts(system))
    ends_s: dict[tuple[str, int, str], float] = {}
    for need in needs:
        place = (need.phase, need.round, need.stage)
        ends_s[place] = max(chain.add(need), ends_s.get(place, 0.0))
    return ends_s


def _totals(needs: Sequence[Need], system: System, cuts: Cuts) -> list[Bound]:
    """Argument 1: each resource, working without a pause from the first second."""
    sums: dict[object, float] = {}
    resources: dict[object, Resource] = {}
    tracks = Tracks(needs, system)
    for need in needs:
        for work in works_of(need, system, cuts, tracks):
            sums[work.key] = sums.get(work.key, 0.0) + work.total
            resources[work.key] = work.resource
    return [Bound(resources[key].pass_s(0.0, total), resources[key].name) for key, total in sums.items()]

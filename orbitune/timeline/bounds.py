"""Lower bounds: no schedule can be faster than this, whatever the strategy.

A method says what must happen (`Need`), not how; the bound is worked out from the needs, the contact plan and the
machines alone. Every argument below relaxes something and forbids nothing that a schedule could do:

1. *Totals.* All work that a resource must do cannot be done before the resource could have done that much, working
   from the first second without a pause. Resources: each computer; the air between the stations and all satellites
   that carry something; the air between the stations and one group, or several groups together (`Cuts.sets`); the
   backhaul. (What crosses a cut is at most the integral of what its terminals can serve, see `capacity_of`; the last
   byte then still has its delay to go. With equal rates, and what a cut lets through in each interval counted exactly,
   the greatest cut over all sets of groups would be the quickest flow of all groups: what groups can bring down in an
   interval is a polymatroid, so is a sum of these, and a demand is in it if no set of groups asks for more than its
   rank. Edmonds, "Submodular functions, matroids, and certain polyhedra", 1970.)
2. *First grain.* Need j of a group cannot begin before one grain of that group has passed every need before j.
   Earliest completion never falls when the start is later, so the steps may be composed in time order.
3. *Busy resource.* If every piece of work from need i to need j on one resource starts at `h` or later, the resource
   is not done with them before it could have done their sum from `h` on. The largest such value over all i is
   `until = done(max(until, h), size)`, one step per need.
4. *Last grain.* Two grains are followed: the first of each satellite, and the last of a set of satellites, of which
   it is known only that it belongs to one of them. When all of need j is done in a set, the grain that was last still
   has to pass the needs after j, alone. As it is unknown whose it is, the fastest way in the set counts; where one of
   the set has nothing to do in a need, the moment stays as it was.
5. *Combine.* A model averaged over all holds something of each satellite that trained. Its part is final when its last
   grain is; from then on news spreads no faster than light and hops allow (7). So nobody has the average before the
   news of every contributor can have reached it. And for every byte of the model a satellite must receive at least
   one byte in which that contributor is: its links must have carried a whole model since then. For one contributor of
   each plane the waiting for contacts is counted exactly (earliest arrival over all contacts).
6. *Ahead.* Needs with `after_weights=False` may be done at any time, all rounds at once: they form a chain of their
   own from second 0, with arguments 2 to 4. What follows them in their round waits for them.
7. *Light time and hops.* What a satellite has made must get from it to the server, and what it uses must get from the
   server to it, over whatever satellites and stations: no faster than the earliest arrival of a message of no size
   (`paths`, `Reach`). This holds for the first grain of each satellite and for the last of any set.
8. *All together.* Let n satellites contribute to an average that m satellites get. For every byte, each contributor but
   the first node to hold the sum must have sent once before that moment, and each of the m but that node must receive
   once at that moment or later, which is another transmission: what a node receives after the sum exists cannot have
   helped to form it. These n + m - 2 transmissions all begin or end at satellites, so the links of all satellites must
   have carried n + m - 2 models. (On a ring with n = m this is the 2(n-1)/n of a model per member and direction of
   Patarasuk and Yuan, J. Parallel Distrib. Comput. 69, 2009.)

The chain is a maximum and a sum over rounds: the next round of a satellite begins when it has the average, that of the
server when it is done with the last one.

Left out on purpose, so the bound may be below what is possible: down and up that share one terminal (half duplex),
the rates of links inside a group (data move there for nothing, but not faster than light), bytes and slots that do not
divide, memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from orbitune.cost.system import System
from orbitune.timeline.capacity import Cuts
from orbitune.timeline.chain import Chain
from orbitune.timeline.collector import paused_collector
from orbitune.timeline.needs import Need, Owners, Resource, works_of
from orbitune.timeline.paths import Paths

__all__ = ["Bound", "Need", "bounds_by_stage", "lower_bound"]

SAME = 1e-9
"""Two bounds this close (relative) are one: the same sum in another order."""


@dataclass(frozen=True)
class Bound:
    """The time that no schedule can beat, and the argument that gave it, in words."""

    time_s: float
    name: str


NAMED_ROUNDS = 2
"""Rounds whose chain is worked out again, without delays, to name what fills it: rounds are alike."""

LIGHT = "light time and hops between satellites and stations"


def lower_bound(needs: Sequence[Need], system: System) -> Bound:
    """The greatest of all lower bounds on the end of a job.

    Args:
        needs: What must happen, in order of dependency.
        system: Contact plan and machines.

    Returns:
        Seconds from the start, infinity where the contact plan ends before a need can be met. The name is that of one
        resource where its total alone says as much, otherwise that of the chain with what fills most of it.
    """
    with paused_collector():
        return _lower_bound(needs, system)


def _lower_bound(needs: Sequence[Need], system: System) -> Bound:
    cuts = Cuts(system)
    whole = max(_totals(needs, system, cuts), key=lambda bound: bound.time_s, default=Bound(0.0, "nothing to do"))
    chain_s = _chain_s(needs, system, cuts)
    if whole.time_s == inf or chain_s <= whole.time_s * (1.0 + SAME):
        return whole
    if chain_s == inf:
        return Bound(chain_s, "chain of rounds (the contact plan ends)")
    share, what = max((whole.time_s / chain_s, whole.name), (_light_share(needs, system, cuts), LIGHT))
    return Bound(chain_s, f"chain of rounds ({share:.0%} of it: {what})")


def bounds_by_stage(needs: Sequence[Need], system: System) -> dict[tuple[str, int, str], float]:
    """Seconds before which no schedule can have finished each (phase, round, stage), by the chain alone.

    A stage of a timeline ends no earlier than this, whatever stages other schedules have; differences between stages
    are no bounds on how long a stage takes, for stages may overlap.
    """
    chain = Chain(needs, system, Cuts(system), Paths(system))
    ends_s: dict[tuple[str, int, str], float] = {}
    for need in needs:
        place = (need.phase, need.round, need.stage)
        ends_s[place] = max(chain.add(need), ends_s.get(place, 0.0))
    return ends_s


def _chain_s(needs: Sequence[Need], system: System, cuts: Cuts) -> float:
    chain = Chain(needs, system, cuts, Paths(system))
    for need in needs:
        chain.add(need)
    return chain.end_s


def _light_share(needs: Sequence[Need], system: System, cuts: Cuts) -> float:
    """How much of the first rounds goes if nothing takes time to travel."""
    first = [need for need in needs if need.round < NAMED_ROUNDS and need.phase != "deliver"]
    contacts = replace(system.contacts, delay_s=np.zeros(len(system.contacts)))
    dark = replace(system, contacts=contacts)
    with_s, without_s = _chain_s(first, system, cuts), _chain_s(first, dark, Cuts(dark))
    return 1.0 - without_s / with_s if 0.0 < with_s < inf else 0.0


def _totals(needs: Sequence[Need], system: System, cuts: Cuts) -> list[Bound]:
    """Argument 1: each resource, working without a pause from the first second."""
    sums: dict[object, float] = {}
    resources: dict[object, Resource] = {}
    owners = Owners(needs, system)
    for need in needs:
        for work in works_of(need, system, cuts, owners):
            sums[work.key] = sums.get(work.key, 0.0) + work.total
            resources[work.key] = work.resource
    return [Bound(resources[key].pass_s(0.0, total), resources[key].name) for key, total in sums.items()]

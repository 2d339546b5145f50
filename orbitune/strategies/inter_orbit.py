"""Strategy C: combine one model per plane into one, and give it to every satellite.

Ways, from the naive to the fast:

via_ground     Each plane's model goes down (strategy B), the server merges, the sum goes up to each plane and around
               its ring (strategy A).
chain          Fixed neighbours: whole models along the planes by number, to the middle one and back (`plane_chain`).
earliest_tree  Whole models move along a tree of earliest arrivals towards the best root, are summed where they meet,
               and the total spreads likewise (`earliest_tree`). Inter-satellite links only.
mixed_tree     The same where the server and the stations are nodes too, so a plane without a good inter-satellite link
               goes over the ground. Tried beside `earliest_tree` and `via_ground`; the first to finish is booked.
sharded        The model in shards over all parallel links at once, both ways along a tree of planes (`sharded`). Tried
               beside `earliest_tree`; the first to finish is booked.
quickest       All of these are tried; the first to finish is booked.
exact          The best root and tree of up to eight planes, to measure `earliest_tree` by (`exact_tree`).

The paper's own algorithm (arXiv:2504.10403) could not be recovered. `earliest_tree` is ours; it descends from TAEER
(arXiv:2408.14116, same group), which aggregates along a directed Steiner tree of shortest paths, on snapshots of the
topology and for least energy. Here time is part of the path: links come and go while the sums travel. `sharded` is ours
too; it brings the cut into chunks of ring collectives (see `intra_orbit`) to trees of planes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orbitune.errors import PlanError
from orbitune.strategies.earliest_tree import earliest_tree
from orbitune.strategies.exact_tree import exact_tree
from orbitune.strategies.intra_orbit import broadcast, broadcast_parts
from orbitune.strategies.plane_chain import plane_chain
from orbitune.strategies.planes import Book, Found, Task, first_to_finish, require_joined
from orbitune.strategies.satellite_ground import Cargo, bring_down, send_up
from orbitune.strategies.sharded import shard_books, sharded
from orbitune.timeline.activity import Held
from orbitune.timeline.simulate import Schedule


def combine(
    schedule: Schedule,
    rings: Sequence[Sequence[int]],
    held: Sequence[Held],
    way: str,
    *,
    intra_way: str,
    ground_way: str,
    slot_s: float,
    receivers: Sequence[Sequence[int]] = (),
) -> dict[int, Held]:
    """Merge one model per plane and give the total to every satellite.

    Args:
        rings: The satellites of each plane in ring order.
        held: Per plane, the model that all its satellites hold, and since when. Origins are disjoint.
        intra_way, ground_way, slot_s: How ways use strategies A and B.
        receivers: Planes that have no model and get the total; only `via_ground` can serve them.

    Returns:
        For each satellite the total and since when it holds all of it; likewise for the server, where the total was
        made there or passed it. One plane alone keeps what it has.

    Raises:
        PlanError: The way needs inter-satellite contacts and they never join some planes, or it needs the ground and no
            station ever sees some plane, or it is `exact` and there are too many planes.
        HorizonEnd: The contact plan ends first.
    """
    assert way in WAYS, way
    assert len(rings) == len(held), "one model per plane"
    if len(rings) == 1 and not receivers:
        return dict.fromkeys(rings[0], held[0])
    assert not receivers or way == "via_ground", way
    task = Task(way, tuple(map(tuple, rings)), tuple(held), intra_way, ground_way, slot_s, tuple(map(tuple, receivers)))
    return WAYS[way](schedule, task)


def via_ground(schedule: Schedule, task: Task) -> Found:
    """Everything through the server."""
    down = [Cargo(ring, (model,)) for ring, model in zip(task.rings, task.held, strict=True)]
    there_s = bring_down(schedule, down, task.ground_way, task.slot_s)
    server = schedule.system.nodes.server
    total = schedule.merge(server, list(there_s), max(there_s.values()))
    served = (*task.rings, *task.receivers)
    up = [Cargo(ring, (total,)) for ring in served]
    landed = send_up(schedule, up, task.ground_way, task.slot_s)
    found = {server: total}
    for ring in served:
        parts = [(satellite, part) for satellite, part in landed if satellite in ring]
        if len(parts) == 1:
            since_s = broadcast(schedule, ring, *parts[0], task.intra_way)
        else:  # the uplink has cut it into pieces already
            since_s = broadcast_parts(schedule, ring, parts, task.intra_way)
        found.update((member, Held(total.payload, time_s)) for member, time_s in since_s.items())
    return found


def mixed_tree(schedule: Schedule, task: Task) -> Found:
    """The first to finish of a tree with and without the ground, and of everything through the server."""
    return first_to_finish(schedule, _trees_and_ground(task))


def quickest(schedule: Schedule, task: Task) -> Found:
    """The first to finish of everything; `chain` wins where fixed neighbours happen to be the better tree."""
    books: list[Book] = [*_trees_and_ground(task), *_shards(schedule, task), lambda desk: plane_chain(desk, task)]
    return first_to_finish(schedule, books)


def _trees_and_ground(task: Task) -> list[Book]:
    return [
        lambda desk: earliest_tree(desk, task),
        lambda desk: earliest_tree(desk, task, ground=True),
        lambda desk: via_ground(desk, task),
    ]


def _shards(schedule: Schedule, task: Task) -> list[Book]:
    try:
        require_joined(schedule, task)
    except PlanError:
        return []
    return shard_books(schedule, task)


Way = Callable[[Schedule, Task], Found]

WAYS: dict[str, Way] = {
    "via_ground": via_ground,
    "chain": plane_chain,
    "earliest_tree": earliest_tree,
    "mixed_tree": mixed_tree,
    "sharded": sharded,
    "quickest": quickest,
    "exact": exact_tree,
}
"""The registry: a new way is a function and a line here."""

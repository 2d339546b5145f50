"""The best aggregation tree of small instances, to measure how far `earliest_tree` is from it.

Exact over this space: whole models are sent, not parts; they are summed at whatever satellites they meet; the sum is
completed at one satellite and spreads from there; inter-satellite links only. For a given root the earliest end is
known in closed form if no terminal is shared (`earliest_tree`), so a branch and bound over roots is enough: roots are
taken in order of when the sum could be complete there, and dropped when even that is later than the best end found.
Where terminals are shared or half duplex, a booking may be later than that bound; then roots are booked in order of
their bound until none can be better, which is exact up to the order in which shared terminals serve.
"""

from __future__ import annotations

from math import inf

from orbitune.errors import PlanError
from orbitune.strategies.earliest_tree import Trees, book_best
from orbitune.strategies.planes import Found, Task, require_joined
from orbitune.timeline.simulate import Schedule

MAX_PLANES = 8
"""More planes are refused: every satellite is tried as root."""


def exact_tree(schedule: Schedule, task: Task) -> Found:
    """Book the best tree over all roots.

    Raises:
        PlanError: There are too many planes, or contacts never join some of them.
        HorizonEnd: The contact plan ends first.
    """
    if len(task.rings) > MAX_PLANES:
        raise PlanError(
            f'method.inter_orbit = "exact" tries every satellite as root, which is meant for up to {MAX_PLANES} '
            f'planes, and there are {len(task.rings)}; use "earliest_tree"'
        )
    require_joined(schedule, task)
    trees = Trees(schedule, task, ground=False)
    roots = sorted((trees.end_s(root, inf), root) for root in trees.complete_s)
    roots = [(end, root) for end, root in roots if end < inf]
    return book_best(schedule, trees, roots, len(roots))


def least_end_s(schedule: Schedule, task: Task) -> float:
    """The end that no scheme of the space above can beat, sharing of terminals or not; infinity if there is none."""
    trees = Trees(schedule, task, ground=False)
    return min((end for end, _ in trees.roots(len(trees.complete_s))), default=inf)

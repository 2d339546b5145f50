"""When each node of a host has finished each round.

A node takes over what it was promised as soon as its own computations and sums of the round are done and the promised
bytes are here, even if that is a little ahead of simulated time; the round counts as finished when also all it had to
send has arrived and the simulated moment has come. Rounds are counted within the program here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from orbitune.execute.agenda import Agenda
from orbitune.execute.program import Program, by_round
from orbitune.execute.task import Due, Task

Finish = Callable[[Due], None]


class Rounds:
    """Rounds of all nodes of a host.

    Args:
        keepers: Nodes that learn or hold weights: they take over averages, and their states are kept.
        others: The other nodes, stations: their rounds are finished when nothing is left to do.
        finish: Told once for each round of each keeper, in order, when it can take over what it was promised;
            `kept` is the answer.
    """

    def __init__(
        self, program: Program, tasks: Iterable[Task], keepers: Iterable[int], others: Iterable[int], agenda: Agenda,
        finish: Finish,
    ) -> None:  # fmt: skip
        self._rounds, self._finish = program.rounds, finish
        self._asked = dict.fromkeys(keepers, 0)
        self._kept = dict.fromkeys(keepers, 0) | dict.fromkeys(others, program.rounds)
        self._work_left: Counter[tuple[int, int]] = Counter()
        self._left: Counter[tuple[int, int]] = Counter()
        for task in tasks:
            self._count(task, 1, self._left)
            if task.activity.kind != "send":
                self._count(task, 1, self._work_left)
        promised = by_round(program)
        self.dues = [
            Due(node, number, promised.get((node, number), []))
            for node in self._asked
            for number in range(program.rounds + ((node, program.rounds) in promised))
        ]
        self._due = {(due.node, due.round): due for due in self.dues}
        self._ends = Counter(due.node for due in self.dues)
        self._idle = {place for place, due in self._due.items() if not due.promised and not self._work_left[place]}
        for node, number in self._idle:
            agenda.add(program.round_ends_s[number], partial(self._idle_until, node, number))

    @property
    def done(self) -> int:
        """Rounds that nodes have taken over, the delivery counted as one."""
        return sum(self._kept[node] for node in self._asked)

    @property
    def total(self) -> int:
        """Of how many."""
        return len(self.dues)

    def asked_all(self, node: int) -> bool:
        """Whether a node has taken over the last round, or is about to."""
        return self._asked[node] >= self._rounds

    def finished(self, now_s: float) -> int:
        """Rounds that every node has finished by now."""
        return min((self._finished(node, now_s) for node in self._kept), default=self._rounds)

    def there(self, due: Due) -> None:
        """All that is promised with a round is here."""
        self._look(due.node)

    def before(self, task: Task) -> None:
        """A computation is about to be done ahead: rounds before its own, in which its node has nothing to do, end."""
        node, number = task.activity.node, task.activity.round
        while node in self._asked and self._asked[node] < number and (node, self._asked[node]) in self._idle:
            self._ask(node)

    def worked(self, task: Task) -> None:
        """A computation or sum has really been done."""
        self._count(task, -1, self._work_left)
        self._look(task.activity.node)

    def recorded(self, task: Task) -> None:
        """An activity is over."""
        self._count(task, -1, self._left)

    def kept(self, due: Due) -> None:
        """A node has taken over a round, and its state is kept."""
        self._kept[due.node] += 1

    # -- inside --------------------------------------------------------------------------------------------------

    def _count(self, task: Task, change: int, left: Counter[tuple[int, int]]) -> None:
        if task.activity.phase != "deliver":
            left[task.activity.node, task.activity.round] += change

    def _look(self, node: int) -> None:
        while node in self._asked and self._asked[node] < self._ends[node]:
            place = node, self._asked[node]
            if place in self._idle or self._work_left[place] or self._due[place].lacks:
                return
            self._ask(node)

    def _ask(self, node: int) -> None:
        due = self._due[node, self._asked[node]]
        self._asked[node] += 1
        self._finish(due)

    def _idle_until(self, node: int, number: int) -> None:
        self._idle.discard((node, number))
        self._look(node)

    def _finished(self, node: int, now_s: float) -> int:
        number = 0
        while number < min(self._kept[node], self._rounds) and not self._left[node, number]:
            due = self._due.get((node, number))
            if due is not None and due.ready_s > now_s:
                break
            number += 1
        return number

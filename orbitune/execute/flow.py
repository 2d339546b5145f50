"""One host's part of a plan as a dataflow, in simulated time and without threads.

Nothing starts before its planned moment; what is late starts as soon as it can: on each computer in planned order, on
links as `lanes` says. Whoever owns a `Flow` does what it asks for through `Hands` and tells it how that went;
everything else follows from the clock. Bytes that are here before the simulated moment may be worked with ahead of
time, so that the real seconds of a computation lie within the simulated ones, but nothing made of them is held, sent or
recorded earlier than it would have been otherwise.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from orbitune.errors import RunError
from orbitune.execute.agenda import Agenda
from orbitune.execute.lanes import Lanes
from orbitune.execute.program import Program, delivered
from orbitune.execute.rounds import Rounds
from orbitune.execute.store import Store
from orbitune.execute.task import Delivery, Due, Message, Task
from orbitune.timeline.activity import Payload
from orbitune.timeline.holdings import Key, key_of
from orbitune.timeline.rejection import TIME_TOLERANCE_S


class Hands(Protocol):
    """Who does what a flow asks for. Each call returns at once."""

    def work(self, task: Task) -> None:
        """Do a computation or a sum; answered by `Flow.worked`."""

    def carry(self, message: Message, content: bytes) -> None:
        """Bring bytes to a node of another host; answered by `Flow.arrived`."""

    def finish(self, due: Due) -> None:
        """Let a node take over what it was promised with a round and keep its state; answered by `Flow.kept`."""

    def deliver(self, delivery: Delivery) -> None:
        """Let a node say what it delivers; answered by `Flow.delivered`."""


Waiting = Task | Due | Delivery


class Overrun(NamedTuple):
    """A computation that took longer than planned, in simulated seconds."""

    activity: int
    planned_s: float
    took_s: float


class Flow:
    """The activities of one program.

    Args:
        keepers, others: The host's nodes, see `Rounds`.
    """

    def __init__(self, program: Program, keepers: Sequence[int], others: Sequence[int], hands: Hands) -> None:
        self._here = {*keepers, *others}
        self._hands, self._look_ahead_s = hands, 0.0
        self.agenda = Agenda()
        self.store = Store()
        places = zip(program.indices, program.part.activities, strict=True)
        self.tasks = [Task(order, *place) for order, place in enumerate(places)]
        sends = [task for task in self.tasks if task.activity.kind == "send"]
        self.lanes = Lanes(program, sends, self.agenda, self._depart)
        self.rounds = Rounds(program, self.tasks, keepers, others, self.agenda, self._finish)
        self._deliveries = [Delivery(*one) for one in program.delivers]
        self.executed: list[Task] = []
        self.overruns: list[Overrun] = []
        self.done = 0
        self._first_open = 0
        self._slower: dict[int, float] = {}
        self._computers: dict[int, deque[Task]] = defaultdict(deque)
        self._free_s: dict[int, float] = defaultdict(float)
        self._uses: Counter[Key] = Counter()
        self._waiting: dict[Key, list[tuple[Payload, Waiting]]] = defaultdict(list)
        for task in self.tasks:
            task.ready_s = task.activity.start_s
            self._wait(task.activity.node, task)
            if task.activity.kind == "compute":
                self._computers[task.activity.node].append(task)
        for due in self.rounds.dues:
            self._wait(due.node, due)
        for delivery in self._deliveries:  # after the rounds, which come first
            self._wait(delivery.node, delivery)

    def _wait(self, node: int, one: Waiting) -> None:
        one.lacks = len(one.needs)
        for payload in one.needs:
            key = key_of(node, payload)
            self._uses[key] += 1
            self._waiting[key].append((payload, one))

    def begin(self, look_ahead_s: float, apart_s: float) -> None:
        """Start what needs nothing; before anything is held.

        Args:
            look_ahead_s: How long before its simulated start a computation may really be done.
            apart_s: Between two messages of one send, at least.
        """
        self._look_ahead_s, self.lanes.apart_s = look_ahead_s, apart_s
        waiting: list[Waiting] = [*self.tasks, *self.rounds.dues]
        for one in waiting:
            if not one.lacks:
                self._there(one)

    # -- what is told --------------------------------------------------------------------------------------------

    def hold(self, node: int, payload: Payload, content: bytes | memoryview | None, since_s: float) -> None:
        """Bytes are here that a node holds from a moment on."""
        key = key_of(node, payload)
        if not self._uses[key] or not self.store.put(node, payload, content, since_s):
            return
        waiting = self._waiting.pop(key, [])
        still = [(needed, one) for needed, one in waiting if not self._found(node, needed, one)]
        if still:
            self._waiting[key] = still

    def worked(self, task: Task, made: Mapping[Payload, bytes], now_s: float) -> None:
        """A computation or sum has really been done, at a moment.

        Raises:
            RunError: What was made is not what was planned.
        """
        activity = task.activity
        planned_s = activity.end_s - activity.start_s
        task.start_s = max(task.ready_s, self._free_s[activity.node]) if activity.kind == "compute" else task.ready_s
        takes_s = planned_s * self._slower.get(activity.node, 1.0)
        task.end_s = max(task.start_s + takes_s, now_s)
        if activity.kind == "compute":
            self._free_s[activity.node] = task.end_s
            self._computers[activity.node].popleft()
            if task.end_s - task.start_s > planned_s + TIME_TOLERANCE_S:
                self.overruns.append(Overrun(task.index, planned_s, task.end_s - task.start_s))
        for payload in activity.makes:
            self.hold(activity.node, payload, _made(task, payload, made), task.end_s)
        self.rounds.worked(task)
        self.agenda.add(task.end_s, partial(self._over, task))
        self._next_on(activity.node)

    def arrived(self, message: Message, arrive_s: float) -> None:
        """Bytes of a send have come to their node, where they can be used from a moment on."""
        task = message.task
        task.arrived += message.high - message.low
        task.arrive_s = max(task.arrive_s, arrive_s)
        if task.arrived == task.sent.size:
            self.agenda.add(task.arrive_s, partial(self._over, task))

    def kept(self, due: Due) -> None:
        """A node has taken over a round, and its state is kept."""
        self.rounds.kept(due)
        self._release(due.node, due.promised)

    def delivered(self, delivery: Delivery, content: bytes, now_s: float) -> None:
        """A node has said what it delivers."""
        self.hold(delivery.node, delivered(delivery.payload), content, max(delivery.ready_s, now_s))
        self._release(delivery.node, delivery.needs)

    def slow_down(self, node: int, factor: float) -> None:
        """A computer needs so many times longer from now on."""
        self._slower[node] = factor

    # -- what is asked -------------------------------------------------------------------------------------------

    def waits_for(self, now_s: float) -> str:
        """The first activity in planned order that should have begun and is not over; empty if there is none."""
        while self._first_open < len(self.tasks) and self.tasks[self._first_open].done:
            self._first_open += 1
        if self._first_open == len(self.tasks):
            return ""
        task = self.tasks[self._first_open]
        activity = task.activity
        if activity.start_s > now_s:
            return ""
        doing = f"{activity.kind} of node {activity.node}" + (f" to {activity.peer}" if activity.kind == "send" else "")
        place = f"{doing}, {activity.phase} round {activity.round}, {activity.stage}, planned {activity.start_s:.3f} s"
        return f"{place}: {self._reason(task)}"

    def _reason(self, task: Task) -> str:
        node = task.activity.node
        lacking = [need for need in task.needs if task.lacks and self.store.since_s(node, need) is None]
        if lacking:
            first = lacking[0]
            return f"{first.kind} version {first.version} of {sorted(first.origins)} is not here"
        if task.activity.kind != "send":
            return "at work"
        return f"{task.arrived} of {task.sent.size} bytes are there"

    # -- inside --------------------------------------------------------------------------------------------------

    def _found(self, node: int, needed: Payload, one: Waiting) -> bool:
        since_s = self.store.since_s(node, needed)
        if since_s is None:
            return False
        one.lacks -= 1
        one.ready_s = max(one.ready_s, since_s)
        if not one.lacks:
            self._there(one)
        return True

    def _there(self, one: Waiting) -> None:
        """All that is needed is here."""
        if isinstance(one, Due):
            self.rounds.there(one)
        elif isinstance(one, Delivery):
            self._deliver(one)
        elif one.activity.kind == "send":
            self.lanes.there(one)
        elif one.activity.kind == "compute":
            self._next_on(one.activity.node)
        else:
            self.agenda.add(one.ready_s - self._look_ahead_s, partial(self._ask, one))

    def _next_on(self, node: int) -> None:
        """Have the first computation of a node done, if all it needs is here."""
        queue = self._computers.get(node)
        if queue and not queue[0].lacks and not queue[0].asked:
            queue[0].asked = True
            start_s = max(queue[0].ready_s, self._free_s[node])
            self.agenda.add(start_s - self._look_ahead_s, partial(self._ask, queue[0]))

    def _finish(self, due: Due) -> None:
        self._hands.finish(due)
        for delivery in [one for one in self._deliveries if one.node == due.node]:
            self._deliver(delivery)

    def _deliver(self, delivery: Delivery) -> None:
        """Deliver once all that is needed is here and the last round is taken over."""
        if not delivery.lacks and self.rounds.asked_all(delivery.node):
            self._deliveries.remove(delivery)
            self._hands.deliver(delivery)

    def _ask(self, task: Task) -> None:
        self.rounds.before(task)
        self._hands.work(task)

    def _depart(self, message: Message) -> None:
        activity = message.task.activity
        content = self.store.read(activity.node, message.payload)
        if activity.peer not in self._here:
            self._hands.carry(message, content)
            return
        arrive_s = max(message.arrive_s, self.agenda.read_s)
        self.hold(activity.peer, message.payload, content, arrive_s)
        self.arrived(message, arrive_s)

    def _over(self, task: Task) -> None:
        task.done = True
        self.done += 1
        self.executed.append(task)
        self.rounds.recorded(task)
        self._release(task.activity.node, task.needs)

    def _release(self, node: int, payloads: Sequence[Payload]) -> None:
        """Forget what nobody needs any more."""
        for payload in payloads:
            key = key_of(node, payload)
            self._uses[key] -= 1
            if not self._uses[key]:
                self.store.drop(key)


def _made(task: Task, payload: Payload, made: Mapping[Payload, bytes]) -> bytes:
    content = made.get(payload)
    if content is None or len(content) != payload.size:
        got = "nothing" if content is None else f"{len(content)} bytes"
        raise RunError(
            f"{task.activity.stage} at node {task.activity.node} made {got} of {payload.kind} version "
            f"{payload.version}, planned are {payload.size} bytes; the plan and the learning code disagree, which is "
            "a fault of ours: please report it"
        )
    return content

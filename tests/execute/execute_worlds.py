"""Plans to carry out in tests, and hosts in virtual time: exact, repeatable, and as fast as they can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from checked_sums import Sums

from orbitune.cost.system import System
from orbitune.execute.flow import Flow
from orbitune.execute.program import Program, delivered, in_training, programs
from orbitune.execute.task import Delivery, Due, Message, Task
from orbitune.mission import prepare
from orbitune.plans import Silent, plan_method
from orbitune.scenario.load import load
from orbitune.seeds import generator
from orbitune.timeline.activity import Timeline

Deed = Callable[[], None]


@cache
def plan(method: str, *sets: str) -> tuple[Timeline, System]:
    """A checked timeline of the smallest preset, and what it was planned for."""
    mission = prepare(load("tiny", sets))
    return plan_method(mission, method, Silent()).timeline, mission.system


def by_plane(system: System) -> dict[int, str]:
    """A host for each plane and one for the ground."""
    nodes = system.nodes
    planes = {node: f"plane-{nodes.plane_of[node]}" for node in nodes.satellites}
    return planes | dict.fromkeys((*nodes.stations, nodes.server), "ground")


class Virtual:
    """Hosts whose clock is a heap of events.

    Args:
        work_s: Simulated seconds that real work takes.
        call_s: Simulated seconds that a call between hosts takes, drawn for each.
        repeat: How many times each message is delivered.
    """

    def __init__(
        self, timeline: Timeline, system: System, work_s: float = 0.0, call_s: tuple[float, float] = (0.0, 0.0),
        repeat: int = 1, look_ahead_s: float = 1.0, **more: Any,
    ) -> None:  # fmt: skip
        self.timeline, self.system = timeline, system
        self.work_s, self._call_s, self._repeat = work_s, call_s, repeat
        self._look_ahead_s = look_ahead_s
        self._random = generator(7, "calls")
        self._events: list[tuple[float, int, Deed]] = []
        self._order = count()
        self.now_s = 0.0
        self.messages: list[Message] = []
        host_of = by_plane(system)
        self.hosts = {
            host: VirtualHost(self, program, [node for node in host_of if host_of[node] == host])
            for host, program in programs(timeline, system, host_of, **more).items()
        }
        self._host_of = host_of

    def host(self, node: int) -> VirtualHost:
        return self.hosts[self._host_of[node]]

    def later(self, after_s: float, deed: Deed) -> None:
        heappush(self._events, (self.now_s + after_s, next(self._order), deed))

    def call(self, deed: Deed) -> None:
        """Something between hosts: takes its time, may overtake others and happen again."""
        for _ in range(self._repeat):
            self.later(self._random.uniform(*self._call_s), deed)

    def run(self) -> list[dict[str, Any]]:
        """Until nothing is left to do; returns the executed rows."""
        flows = [host.flow for host in self.hosts.values()]
        for host in self.hosts.values():
            host.begin(self._look_ahead_s)
        while True:
            self.now_s = max(self.now_s, min(flow.agenda.next_s() for flow in flows))
            if self._events and (self._events[0][0] <= self.now_s or self.now_s == float("inf")):
                self.now_s, _, deed = heappop(self._events)
                self._tick(flows)
                deed()
            elif self.now_s == float("inf"):
                return [row for host in self.hosts.values() for row in host.rows()]
            self._tick(flows)

    def _tick(self, flows: list[Flow]) -> None:
        for flow in flows:
            flow.agenda.run(self.now_s)


class VirtualHost:
    """One host: a flow, and hands that answer by the world's clock."""

    def __init__(self, world: Virtual, program: Program, nodes: list[int]) -> None:
        self._world, self.program = world, program
        stations = world.system.nodes.stations
        keepers, others = [n for n in nodes if n not in stations], [n for n in nodes if n in stations]
        self.flow = Flow(program, keepers, others, self)
        self.sums = Sums(nodes)
        self.sums.begin(program.first_round, program.ids, program.participants)
        self.heard: set[tuple[int, int]] = set()

    def begin(self, look_ahead_s: float) -> None:
        self.flow.begin(look_ahead_s, apart_s=0.001)
        for node, payload in self.program.part.initial:
            raw = payload.kind in ("image", "label")
            self.flow.hold(node, payload, None if raw else self.sums.initial(node, payload), self.program.start_s)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"activity": task.index, "start_s": task.start_s, "end_s": task.end_s, "arrive_s": task.arrive_s,
             "parts": task.parts}
            for task in self.flow.executed
        ]  # fmt: skip

    def work(self, task: Task) -> None:
        read = partial(self.flow.store.read, task.activity.node)
        do = self.sums.compute if task.activity.kind == "compute" else self.sums.merge
        made = do(task.activity.node, task.activity, read)
        takes_s = self._world.work_s if task.activity.kind == "compute" else 0.0
        self._world.later(takes_s, lambda: self.flow.worked(task, made, self._world.now_s))

    def carry(self, message: Message, content: bytes) -> None:
        self._world.messages.append(message)
        self._world.call(partial(self._deliver, message, content))

    def _deliver(self, message: Message, content: bytes) -> None:
        there = self._world.host(message.task.activity.peer)
        arrive_s = max(message.arrive_s, self._world.now_s)
        if (message.task.index, message.low) in there.heard:  # as `Run.receive` does
            return
        there.heard.add((message.task.index, message.low))
        there.flow.hold(message.task.activity.peer, message.payload, content, arrive_s)
        self.flow.arrived(message, arrive_s)

    def finish(self, due: Due) -> None:
        read = partial(self.flow.store.read, due.node)
        if due.round == self.program.rounds:
            self.sums.finish_delivery(due.node, list(map(in_training, due.promised)), lambda p: read(delivered(p)))
        else:
            self.sums.finish_round(due.node, due.round, due.promised, read)
        self._world.later(0.0, lambda: self.flow.kept(due))

    def deliver(self, delivery: Delivery) -> None:
        content = self.sums.deliver(delivery.node, delivery.payload)
        self._world.later(0.0, lambda: self.flow.delivered(delivery, content, self._world.now_s))

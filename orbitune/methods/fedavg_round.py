"""One synchronous round over the ground: the server's model to each group, local training, each group's sum back.

A group is one satellite, or a plane whose ring spreads the model and sums up what its members trained. Groups do not
wait for each other; the server waits for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce

from orbitune.methods.averaging import sum_on_ground
from orbitune.methods.base import Job
from orbitune.methods.fedavg_passes import URGENCY, Ascent, Descent, Stocks, held_since
from orbitune.methods.onboard import LocalWork
from orbitune.methods.stream_queue import Call, Queue
from orbitune.strategies import intra_orbit
from orbitune.strategies.ring import Line, latest, on_ring, travel
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

STAGE = "exchange with the server at passes"

Received = Callable[[Sequence[int], dict[int, float]], None]
"""Told of a ring, since when each of its members has the model."""


@dataclass
class GroupSum:
    """What the members of a ring trained, to be summed up at one of them; for a `Descent`.

    Partial sums go whole, hop by hop, the shorter way from each member: ceil((n-1)/2) (h/R + tau) where n members are
    ready at once and links are equal.
    """

    schedule: Schedule
    ring: Sequence[int]
    trained: Mapping[int, Held]
    _since_s: dict[int, float] = field(default_factory=dict)

    @cached_property
    def payload(self) -> Payload:
        """The sum."""
        return reduce(Payload.merged, (held.payload for held in self.trained.values()))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.payload.size

    @cached_property
    def ready_s(self) -> float:
        """When the last member is trained."""
        return max(held.since_s for held in self.trained.values())

    def since_s(self, sink: int) -> float:
        """When a member would have the sum. Nobody else uses the links of a ring meanwhile, so it is tried once."""
        if sink not in self._since_s:
            self._since_s[sink] = self._sum_up(self.schedule.trial(), sink)
        return self._since_s[sink]

    def bring(self, sink: int) -> Held:
        """Sum up at a member."""
        return Held(self.payload, self._sum_up(self.schedule, sink))

    def _sum_up(self, schedule: Schedule, sink: int) -> float:
        def book(desk: Schedule, line: Line) -> dict[int, float]:
            return latest({}, travel(desk, line.arms(self.trained, sink, 0, self.size, share=False)))

        ready_s = {member: held.since_s for member, held in self.trained.items()}
        return on_ring(schedule, self.ring, ready_s, [book])[sink]


Sinks = Callable[[GroupSum, Sequence[int]], Sequence[int]]
"""Of the members that could bring a sum down, those that may; the one of them that is through first does."""


class ServerRound:
    """A round in the making."""

    def __init__(self, job: Job, schedule: Schedule, work: LocalWork, sinks: Sinks) -> None:
        self._job, self._schedule, self._work, self._sinks = job, schedule, work, sinks
        self._queue = Queue(URGENCY)
        self._sums: list[Held] = []
        self._spread_s = 0.0

    def run(self, start_s: float) -> float:
        """From the moment at which the server has the last average until it has the next.

        Raises:
            HorizonEnd: The contact plan ends before.
        """
        self._schedule.stage = STAGE
        rings = rings_of(self._job, self._work.index)
        if self._work.index:
            model = Held(next(iter(self._work.starts.values())), start_s)
            hand_out(self._job, self._schedule, self._queue, rings, model, self._train)
        else:
            for ring in rings:
                self._train(ring, dict.fromkeys(ring, start_s))
        self._queue.run()
        end_s = max(self._sum_up(), self._spread_s)
        self._schedule.promise(self._job.system.nodes.server, self._work.sum.total, end_s)
        return self._schedule.span(start_s, end_s)

    def _train(self, ring: Sequence[int], since_s: Mapping[int, float]) -> None:
        """Each member as soon as it has the model. Who was not drawn may get it last, as a relay."""
        self._spread_s = max(self._spread_s, *since_s.values())
        trained: dict[int, Held] = {}
        for satellite in ring:
            if satellite in self._work.starts:
                now = since_s[satellite]
                for task in self._work.tasks(satellite):
                    now = self._schedule.compute(
                        satellite, task.flops, now, task.needs, task.makes, task.memory_bytes
                    )  # fmt: skip
                trained[satellite] = Held(self._work.update(satellite), now)
        total = GroupSum(self._schedule, ring, trained)
        self._queue.add(Call(URGENCY, total.ready_s, lambda _: self._bring(total)))

    def _bring(self, total: GroupSum) -> None:
        """Down over whoever may; where the ring is the only one, nobody else is to have the average of it."""
        alone = len(rings_of(self._job, self._work.index)) == 1
        sinks = self._sinks(total, tuple(total.trained) if alone else total.ring)
        self._queue.add(Descent(self._queue, self._schedule, total, sinks, self._sums.append))

    def _sum_up(self) -> float:
        """The average of all; one group alone has it already."""
        ready_s = max(held.since_s for held in self._sums)
        sums = [held.payload for held in self._sums]
        if self._job.update_codec != "fp32":
            return sum_on_ground(self._job, self._schedule, dict(enumerate(sums)), self._work.sum, ready_s)
        if len(sums) > 1:
            self._schedule.merge(self._job.system.nodes.server, sums, ready_s)
        return ready_s


def rings_of(job: Job, index: int) -> list[tuple[int, ...]]:
    """The groups of which somebody trains in a round."""
    return [ring for ring in job.rings if not job.members(index).isdisjoint(ring)]


def hand_out(
    job: Job, schedule: Schedule, queue: Queue, rings: Sequence[Sequence[int]], model: Held, then: Received
) -> None:  # fmt: skip
    """An average that the server has goes to each ring, to the member that can have it first, and around.

    A ring that summed it up itself does not get it from the server: there was no other in that round.
    """
    there_s = held_since(schedule, model.payload)
    stations = {node: since_s for node, since_s in there_s.items() if node in job.system.nodes.stations}
    stocks = Stocks(schedule, model, stations)

    def spread(ring: Sequence[int], root: int, since_s: float) -> None:
        held = Held(model.payload, max(since_s, model.since_s))
        then(ring, intra_orbit.broadcast(schedule, ring, root, held, job.ways.intra_orbit))

    for ring in rings:
        roots = [member for member in ring if member in there_s]
        if roots:
            spread(ring, roots[0], there_s[roots[0]])
        else:
            queue.add(Ascent(stocks, ring, model.since_s, partial(spread, ring)))

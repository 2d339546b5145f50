"""What the synchronous methods with a server on the ground share: `fedavg`, `fedisl` and `fedleo`.

They train as `onboard` does, on the same samples from the same average, so the numbers are the same; what differs is
who carries the weights. What is common, and ours:

- The server has the model after each round. It is sent out again at the beginning of the next, so a round lasts from
  one model of the server to the next, and nothing has to be brought at the end.
- Nobody waits for a stage: a satellite trains when it has the model, a group brings its sum when it is trained. So
  `overlap` changes nothing.
- Passes are used in the order in which they begin (see `fedavg_passes`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from orbitune.methods.base import Cut, Job, Round, deployed, initial_weights, spread, spread_need
from orbitune.methods.fedavg_passes import URGENCY, require_seen
from orbitune.methods.fedavg_round import STAGE, GroupSum, ServerRound, hand_out, rings_of
from orbitune.methods.onboard import LocalWork, last_update, update_of
from orbitune.methods.stream_queue import Queue
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule

DELIVER = "deliver weights"


@dataclass(frozen=True)
class Synchronous(ABC):
    """A method whose rounds are `ServerRound`s; a subclass says who works together and who brings the sum."""

    name: str
    learner: str = "federated"
    private: tuple[str, ...] = ("image", "label")

    @abstractmethod
    def sinks(self, job: Job, index: int, total: GroupSum, members: Sequence[int]) -> Sequence[int]:
        """Of the members that could bring the sum of their group down, those that may."""

    def prepare(self, job: Job) -> Job:
        """Over the ground between planes; there is no cut, and nothing waits for a stage.

        Raises:
            PlanError: No station ever sees some group.
        """
        ways = replace(job.ways, satellite_ground="direct", inter_orbit="via_ground")
        cache = "features" if job.cache == "features" else "none"
        prepared = replace(job, ways=ways, cache=cache, satellite_cuts=(), overlap="none", staleness=0)
        require_seen(prepared)
        return prepared

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring the whole model to every satellite, unless it flew with it."""
        return spread(job, schedule, deployed(job, job.partition.parts), "deploy weights", start_s)

    def round(self, job: Job, schedule: Schedule, index: int, start_s: float) -> float:
        """Out, trained, and back."""
        work = LocalWork.of(job, index, dict.fromkeys(sorted(job.members(index)), _start(job, index)))
        return ServerRound(job, schedule, work, partial(self.sinks, job, index)).run(start_s)

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """The same: work never waits for a stage here, and whole models are sent."""
        return partial(self.round, job, schedule)

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """The server has the model already; satellites get it where they want it."""
        if job.deliver_to == "server":
            return start_s
        schedule.stage = DELIVER
        queue, model, received_s = Queue(URGENCY), Held(last_update(job), start_s), dict[int, float]()
        hand_out(job, schedule, queue, job.rings, model, lambda _, since_s: received_s.update(since_s))
        queue.run()
        end_s = max(received_s.values())
        for satellite in sorted(received_s):
            schedule.promise(satellite, model.payload, end_s)
        return schedule.span(start_s, end_s)

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """The same steps without any schedule. Cached features could be worked out at any time."""
        needs = spread_need(job, "deploy", 0, deployed(job, job.partition.parts))
        for index in range(rounds):
            rings = rings_of(job, index)
            needs += _handed_out(job, "train", index, STAGE, rings) if index else []
            work = LocalWork.of(job, index, dict.fromkeys(sorted(job.members(index)), _start(job, index)))
            if job.cache == "features":
                new = {satellite: work.forward_flops(satellite) for satellite in work.starts}
                needs.append(Need("compute", "train", index, STAGE, new, new, after_weights=False))
            flops = {satellite: work.train_flops(satellite) for satellite in work.starts}
            needs.append(Need("compute", "train", index, STAGE, flops, flops))
            size = dict.fromkeys(range(len(rings)), float(next(work.update(member).size for member in work.starts)))
            needs.append(Need("down", "train", index, STAGE, size, size, tuple(rings)))
        return needs + (_handed_out(job, "deliver", rounds, DELIVER, job.rings) if job.deliver_to != "server" else [])


def _start(job: Job, index: int) -> Payload:
    """What everybody trains from in a round."""
    if index == 0:
        return initial_weights(job, job.partition.parts)
    return update_of(job, job.members(index - 1), index - 1)


def _handed_out(job: Job, phase: str, index: int, stage: str, rings: Sequence[tuple[int, ...]]) -> list[Need]:
    """The average of the round before reaches some rings, from the server.

    As a combine it says that nobody has it before the news of all who trained can have come, the server neither; the
    contributions of rings that do not get it are left out of that, and the lesser of what is sent and got counts. Where
    one group alone has trained, what it sent is the average, which stations on its way have before the server does.
    """
    model, alone = float(_start(job, index).size), job.update_codec == "fp32" and len(rings_of(job, index - 1)) == 1
    sent = model if job.update_codec == "fp32" else min(model, job.contribution_bytes(job.partition.parts))
    sizes, up = dict.fromkeys(range(len(rings)), sent), dict.fromkeys(range(len(rings)), model)
    combine = Need("combine", phase, index, stage, sizes, sizes, tuple(rings))
    return [combine] if alone else [combine, Need("up", phase, index, stage, up, up, tuple(rings), one_copy=True)]

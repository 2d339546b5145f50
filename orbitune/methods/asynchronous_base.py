"""What FedAsync, FedBuff and FedSpace share as methods: deployment, rounds at passes, delivery and bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from orbitune.errors import PlanError
from orbitune.methods.asynchronous import STAGE, AsynchronousRounds, Local, Rule, members_of
from orbitune.methods.averaging import KIND
from orbitune.methods.base import (
    Cut,
    Job,
    Round,
    Ways,
    deployed,
    give_to_rings,
    initial_weights,
    spread,
    spread_need,
    start_with,
)
from orbitune.methods.onboard import LocalWork, update_of
from orbitune.methods.stream_whole import Task
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule


@dataclass(frozen=True)
class WholeModel:
    """Satellites train the whole model; their updates come down, and the server only merges them."""

    job: Job

    def weights(self) -> Payload:
        """The whole untrained model."""
        return initial_weights(self.job, self.job.partition.parts)

    def cargo(self, satellite: int, version: int) -> tuple[Payload, ...]:
        """The update alone. Its kind sets it apart from the model that the server makes, even of one update alone."""
        job, parts = self.job, self.job.partition.parts
        size = job.contribution_bytes(parts) if job.update_codec != "fp32" else self.total(frozenset(), 0).size
        return (whole(KIND, {satellite}, version, size),)

    def tasks(self, satellite: int, number: int, start: Payload, cargo: tuple[Payload, ...]) -> list[Task]:
        """As `onboard` trains in its round of this number."""
        tasks = LocalWork.of(self.job, number, {satellite: start}).tasks(satellite)
        return [*tasks[:-1], replace(tasks[-1], makes=cargo)]

    def server_tasks(self, satellite: int, cargo: tuple[Payload, ...]) -> list[Task]:
        """None."""
        return []

    def total(self, origins: frozenset[int], version: int) -> Payload:
        """All that trains."""
        return update_of(self.job, origins, version)


@dataclass(frozen=True)
class Asynchronous(ABC):
    """A method in which satellites meet the server one by one; a subclass says when models are made.

    `merge` is how the server makes them, see `learn.spec.MERGES`.
    """

    name: str
    merge: str
    learner: str = "federated"
    private: tuple[str, ...] = ("image", "label")

    @abstractmethod
    def rule(self, job: Job) -> Rule:
        """When the server makes a new model."""

    def local(self, job: Job) -> Local:
        """What is trained on board."""
        return WholeModel(job)

    def staleness(self, job: Job) -> int:
        """What no contribution exceeds: while a satellite trains once, the others can train as often as ever."""
        return len(members_of(job)) * job.rounds

    def prepare(self, job: Job) -> Job:
        """Without links between satellites; there is no cut, and nothing to stream, for only whole updates are sent.

        Raises:
            PlanError: Satellites are drawn for each round, which has no meaning where nobody waits for a round.
        """
        if job.taking_part:
            raise PlanError(
                f"{self.name} with train.satellites_per_round: satellites train whenever they have a new model, none "
                "is drawn; use train.satellites_per_round = 0, or method fedavg"
            )
        return replace(
            job,
            ways=Ways("none", "direct", "via_ground", job.ways.slot_s),
            cache="features" if job.cache == "features" else "none",
            satellite_cuts=(),
            overlap="none",
            staleness=self.staleness(job),
        )

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring what satellites start from to every one at its own passes, unless it flew with it."""
        return spread(job, schedule, self.deployed(job), "deploy weights", start_s)

    def deployed(self, job: Job) -> tuple[Payload, ...]:
        """The whole model."""
        return deployed(job, job.partition.parts)

    def rounds(self, job: Job, schedule: Schedule) -> AsynchronousRounds:
        """All rounds of a timeline: what is under way when one ends goes on in the next."""
        return AsynchronousRounds(job, schedule, self.rule(job), self.local(job))

    def round(self, job: Job, schedule: Schedule, index: int, start_s: float) -> float:
        """One round by itself. It depends on all before, which are planned again; `rounds` keeps what they leave."""
        before = self.rounds(job, Schedule(job.system))
        start_with(job, before.schedule)
        now = self.deploy(job, before.schedule, 0.0)
        for number in range(index):
            before.schedule.round = number
            now = before.round(number, now)
        before.schedule = schedule
        return before.round(index, start_s)

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """The same: work never waits for a stage here."""
        return self.rounds(job, schedule).round

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """The server has the model already; satellites get it where they want it."""
        if job.deliver_to == "server":
            return start_s
        schedule.stage = "deliver weights"
        server = job.system.nodes.server
        made = [promise.payload for promise in schedule.promises if promise.node == server]
        last = max(made, key=lambda payload: payload.version)
        return schedule.span(start_s, give_to_rings(job, schedule, job.rings, (last,), start_s))

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """Each satellite by itself: train, bring it down, take a newer model up, as often as there are rounds.

        Everything stands in the last round, because a satellite may be ahead of the round. Where planning stopped
        early it is not known who trained how often, only how many contributions came down.
        """
        local, members = self.local(job), members_of(job)
        needs = spread_need(job, "deploy", 0, self.deployed(job))
        groups = tuple((member,) for member in members)
        down = {
            number: float(sum(payload.size for payload in local.cargo(member, 0)))
            for number, member in enumerate(members)
        }
        if rounds < job.rounds:
            least = min(down.values())
            total = {0: least * len(members) * rounds}
            return [*needs, Need("down", "train", rounds - 1, STAGE, total, {0: least}, (tuple(members),))]
        up = dict.fromkeys(down, float(local.total(frozenset(members), 0).size))
        for number in range(rounds):
            if number:
                needs.append(Need("up", "train", rounds - 1, STAGE, up, up, groups))
            trained = {member: _flops(local, member, number) for member in members}
            needs.append(Need("compute", "train", rounds - 1, STAGE, trained, trained))
            needs.append(Need("down", "train", rounds - 1, STAGE, down, down, groups))
            needs += _server_need(job, local, members, rounds - 1)
        return [*needs, *self._delivery_need(job, rounds, local.total(frozenset(members), 0))]

    def _delivery_need(self, job: Job, rounds: int, model: Payload) -> list[Need]:
        return spread_need(job, "deliver", rounds, (model,)) if job.deliver_to == "satellites" else []


def _flops(local: Local, satellite: int, number: int) -> float:
    """FLOPs of training `number` on a satellite; features that are kept are worked out with it."""
    tasks = local.tasks(satellite, number, local.weights(), local.cargo(satellite, 0))
    return sum(task.flops for task in tasks)


def _server_need(job: Job, local: Local, members: list[int], index: int) -> list[Need]:
    """What the server computes for one training of everybody; no grain of it is smaller than that of one satellite."""
    each = [sum(task.flops for task in local.server_tasks(one, local.cargo(one, 0))) for one in members]
    server = job.system.nodes.server
    return [Need("compute", "train", index, STAGE, {server: sum(each)}, {server: min(each)})] if sum(each) else []

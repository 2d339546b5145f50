"""Federated averaging with everything on the satellite: the honest alternative that every ratio refers to.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017. Each
satellite trains the whole model on its own images; only weights cross, around the rings and between the planes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orbitune.methods.averaging import Sum, average_updates, average_updates_need, contribution, require_ground
from orbitune.methods.base import (
    Cut,
    Job,
    Round,
    deployed,
    everyone,
    fetch,
    fetch_need,
    initial_weights,
    raw,
    spread,
    spread_need,
)
from orbitune.methods.cache import Uses
from orbitune.methods.exchange import Starts
from orbitune.methods.stream_whole import Task, train_and_average
from orbitune.model.partition import forward_flops, largest_activation, saved_bytes
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule


@dataclass(frozen=True)
class Onboard:
    """Local training on every satellite, then averaging."""

    name: str = "onboard"
    learner: str = "federated"
    private: tuple[str, ...] = ("image", "label")

    def prepare(self, job: Job) -> Job:
        """There is no cut for a codec, nor for embeddings to be kept behind it; features are kept where they can be.

        Raises:
            PlanError: Updates are compressed, and planes are combined without the ground.
        """
        require_ground(job)
        cache = "features" if job.cache == "features" else "none"
        return replace(job, cache=cache, satellite_cuts=(), staleness=0)

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring the whole model to every satellite, unless it flew with it."""
        return spread(job, schedule, deployed(job, job.partition.parts), "deploy weights", start_s)

    def round(
        self, job: Job, schedule: Schedule, index: int, start_s: float, starts: Starts | None = None
    ) -> float:  # fmt: skip
        """Local steps on every satellite, then one average.

        Args:
            starts: Who takes part and which average each starts from; None for everybody, from the last one.
        """
        schedule.stage = "train on board"
        work = LocalWork.of(job, index, starts)
        ends = []
        for satellite in work.starts:
            now = start_s
            for task in work.tasks(satellite):
                now = schedule.compute(satellite, task.flops, now, task.needs, task.makes, task.memory_bytes)
            ends.append(now)
        now = schedule.span(start_s, max(ends))
        updates = {satellite: work.update(satellite) for satellite in work.starts}
        return average_updates(job, schedule, updates, work.sum, now)

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """A plane averages as soon as its own satellites are done. Nothing is cut: weights are averaged at the end."""

        def book(index: int, start_s: float) -> float:
            work = LocalWork.of(job, index)
            tasks = {satellite: work.tasks(satellite) for satellite in work.starts}
            return train_and_average(job, schedule, tasks, work.sum, start_s)

        return book

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Every satellite has the model already; the server gets what was trained."""
        if job.deliver_to == "satellites":
            return start_s
        return fetch(job, schedule, last_update(job), "deliver weights", start_s)

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """The same steps without any schedule. Cached features could be worked out at any time."""
        update = update_of(job, everyone(job), 0)
        needs = spread_need(job, "deploy", 0, deployed(job, job.partition.parts))
        for index in range(rounds):
            drawn = dict.fromkeys(sorted(job.members(index)), update) if job.taking_part else None
            work = LocalWork.of(job, index, drawn)
            if job.cache == "features":
                new = {satellite: work.forward_flops(satellite) for satellite in work.starts}
                needs.append(Need("compute", "train", index, "train on board", new, new, after_weights=False))
            flops = {satellite: work.train_flops(satellite) for satellite in work.starts}
            needs.append(Need("compute", "train", index, "train on board", flops, flops))
            needs.append(average_updates_need(job, index, update, job.contribution_bytes(job.partition.parts)))
        return needs + fetch_need(job, rounds, update) if job.deliver_to == "server" else needs


def last_update(job: Job) -> Payload:
    """The last average."""
    return update_of(job, job.members(job.rounds - 1), job.rounds - 1)


def update_of(job: Job, origins: frozenset[int], version: int) -> Payload:
    """What some satellites contribute to an average: all that trains."""
    size = job.partition.head.params_bytes + job.trained_bytes(job.partition.parts)
    return whole("update", origins, version, size)


@dataclass(frozen=True)
class LocalWork:
    """The local steps of one round.

    Attributes:
        starts: Who takes part, and the weights each starts from.
        counts: Samples that each satellite trains on.
        uses: With a cache, which of them are new; the features of all that are not stay in memory.
    """

    job: Job
    index: int
    starts: Starts
    counts: tuple[int, ...]
    uses: Uses

    @classmethod
    def of(cls, job: Job, index: int, starts: Starts | None = None) -> LocalWork:
        """The work of everybody from the last average, or of those who take part from what they start from."""
        if starts is None:
            before = update_of(job, everyone(job), index - 1) if index else initial_weights(job, job.partition.parts)
            starts = dict.fromkeys(job.system.nodes.satellites, before)
        batches = job.local_steps * job.accumulate
        counts = tuple(size * batches for size in job.batch)
        nothing = (0,) * len(counts)
        kept = job.cache == "features"
        uses = job.uses.of(index * batches, (index + 1) * batches) if kept else Uses(nothing, nothing)
        return cls(job, index, starts, counts, uses)

    def tasks(self, satellite: int) -> list[Task]:
        """Local steps; where features are kept, those of new samples first."""
        images, labels = raw(self.job, satellite)
        memory, kept = self._memory_bytes(satellite), self._features(satellite)
        trained = (self.update(satellite),)
        if not kept:
            needs = (images, labels, self.starts[satellite])
            return [Task(self.train_flops(satellite), needs, trained, memory)]
        train = Task(self.train_flops(satellite), (*kept, labels, self.starts[satellite]), trained, memory)
        if not self.uses.new[satellite]:
            return [train]
        frozen = initial_weights(self.job, self.job.partition.parts)
        before = self.uses.before[satellite] * round(self.job.partition.profile.feature_bytes)
        new = kept[0].part(before, kept[0].size)
        embed = Task(self.forward_flops(satellite), (images, frozen), (new,), memory - kept[0].size)
        return [embed, train]

    def forward_flops(self, satellite: int) -> float:
        """Of the samples whose features are not kept yet."""
        return forward_flops(self.job.partition.parts) * self.uses.new[satellite]

    def train_flops(self, satellite: int) -> float:
        """Of all local steps: forward where nothing is kept, backward through what trains, and the head."""
        parts, job = self.job.partition.parts, self.job
        forward = 0.0 if job.cache == "features" else forward_flops(parts)
        return (forward + job.backward_flops(parts) + job.head_flops) * self.counts[satellite]

    def _features(self, satellite: int) -> tuple[Payload, ...]:
        """Features that are kept after this round, in the order of first uses; they never leave, so they are fp32."""
        count = self.uses.before[satellite] + self.uses.new[satellite]
        each = round(self.job.partition.profile.feature_bytes)
        return (whole("feature", {satellite}, 0, each * count),) if count else ()

    def update(self, satellite: int) -> Payload:
        """What a satellite contributes, as it travels."""
        update = update_of(self.job, frozenset({satellite}), self.index)
        return contribution(self.job, update, self.job.contribution_bytes(self.job.partition.parts))

    @property
    def sum(self) -> Sum:
        """The average that is formed of them."""
        return Sum.of(update_of(self.job, frozenset(self.starts), self.index), self.starts.values())

    def _memory_bytes(self, satellite: int) -> float:
        """Weights and optimiser, the activations of one batch, and features that are kept."""
        job, parts = self.job, self.job.partition.parts
        each = largest_activation(parts) if job.trains == "head" else saved_bytes(parts)
        needed = job.training_memory(parts) + each * job.batch[satellite]
        needed += sum(payload.size for payload in self._features(satellite))
        return job.require_memory(satellite, needed, "training the whole model on board")

"""The exchanges of split training: what a batch sends across the cut and back, and what that costs on either side.

What is averaged is called the update: the trained on-board weights, or, where one shared encoder trains
(`server_encoder = "shared"`), their gradients, so that every satellite takes the same step as central training would.

With a `cache`, a sample crosses at its first use only: as bytes of one tensor of the whole run, in the order of first
uses. A computation on samples that crossed before needs all of that tensor so far, for any of them may be in its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil

from orbitune.methods.averaging import Sum, contribution
from orbitune.methods.base import (
    Job,
    collect,
    distribute,
    everyone,
    initial_weights,
    lacking,
    raw,
)
from orbitune.methods.cache import Uses
from orbitune.methods.exchange_ground import ServerSide
from orbitune.model.partition import forward_flops, largest_activation, saved_bytes
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.simulate import Schedule

Starts = Mapping[int, Payload]
"""Who takes part, and the average (or the untrained weights) that each starts from."""


Step = Callable[[Schedule, float], float]
"""Books a stage from a moment on, and returns its end in seconds."""


def update_of(job: Job, origins: frozenset[int], version: int) -> Payload:
    """What some satellites contribute to an average."""
    partition = job.deepest
    return whole("update", origins, version, partition.head.params_bytes + job.trained_bytes(partition.front))


def contribution_bytes(job: Job) -> float:
    """Bytes of one satellite's contribution as it travels."""
    return job.contribution_bytes(job.deepest.front)


def model_of(job: Job, version: int, origins: frozenset[int] | None = None) -> Payload:
    """What trained on the server, on the samples of everybody or of some."""
    size = job.trained_bytes(job.shallowest.rest)
    return whole("model", everyone(job) if origins is None else origins, version, size)


def last_version(job: Job) -> int:
    """Number of the last exchange of the run."""
    return exchanges_of(job, job.rounds - 1)[-1].version


def last_update(job: Job) -> Payload:
    """The last average of what trained on board."""
    return update_of(job, job.members(job.rounds - 1), last_version(job))


def encoder_of(job: Job) -> tuple[Payload, ...]:
    """What satellites lack of the model at the end: what trained on the server, or the encoder that never left it."""
    if not job.trained_bytes(job.shallowest.rest):
        return lacking(job, job.deepest.front, job.partition.parts)
    model = model_of(job, last_version(job), job.members(job.rounds - 1))
    return (model, *lacking(job, job.deepest.front, job.partition.parts)) if job.trains == "lora" else (model,)


def exchanges_of(job: Job, index: int, starts: Starts | None = None) -> list[Exchange]:
    """The exchanges of one round.

    A frozen encoder needs one: the samples of all local steps cross together. Otherwise each batch is one, so that
    only its activations take memory; an average is formed at once after each optimiser step where the encoder is
    shared, at the end of the round where each satellite has its own copy.

    Args:
        starts: Who takes part, and what each starts from; None for everybody, from the last average.
    """
    members = tuple(job.system.nodes.satellites) if starts is None else tuple(sorted(starts))
    per_round = job.local_steps * job.accumulate
    batch = tuple(size if satellite in set(members) else 0 for satellite, size in enumerate(job.batch))
    if job.trains == "head":
        counts = tuple(size * per_round for size in batch)
        return [Exchange(job, index, index, counts, averaged=True, trained_before=index - 1, starts=starts)]
    found: list[Exchange] = []
    base, shared = index * per_round - 1, job.server_encoder == "shared"
    for version in range(index * per_round, (index + 1) * per_round):
        ends_step = (version + 1) % job.accumulate == 0
        averaged = ends_step and (shared or version + 1 == (index + 1) * per_round)
        found.append(Exchange(job, index, version, batch, averaged, base, starts))
        if averaged and starts is not None:
            starts = dict.fromkeys(members, update_of(job, frozenset(members), version))
        base = version if averaged else base
    return found


@dataclass(frozen=True)
class Exchange:
    """One trip of a batch: embeddings down, features up and, where something before the head trains, gradients back.

    Attributes:
        version: Number of the exchange within the run.
        counts: How many samples each satellite trains on.
        averaged: Whether an average is formed afterwards.
        trained_before: Version of the average that everybody starts from, negative for the weights they were given.
        starts: Who takes part and from what, where not everybody does or not from the same.
    """

    job: Job
    index: int
    version: int
    counts: tuple[int, ...]
    averaged: bool
    trained_before: int
    starts: Starts | None = None

    @cached_property
    def members(self) -> tuple[int, ...]:
        """The satellites that take part."""
        return tuple(self.job.system.nodes.satellites) if self.starts is None else tuple(sorted(self.starts))

    @property
    def rest_trains(self) -> bool:
        """Whether a gradient must reach the server."""
        return self.job.trains != "head"

    @cached_property
    def front_trains(self) -> bool:
        """Whether a gradient must come back to the satellites."""
        return bool(self.job.trained(self.job.partition.front))

    # -- what crosses --------------------------------------------------------------------------------------------

    @cached_property
    def uses(self) -> Uses:
        """What is new and what crossed before; without a cache everything is new."""
        if self.job.cache == "none":
            return Uses(self.counts, (0,) * len(self.counts))
        if self.rest_trains:
            return self.job.uses.of(self.version, self.version + 1)
        batches = self.job.local_steps * self.job.accumulate
        return self.job.uses.of(self.index * batches, (self.index + 1) * batches)

    @cached_property
    def crossing(self) -> tuple[int, ...]:
        """How many samples of each satellite are embedded and come down."""
        return self.uses.new

    @cached_property
    def encoded(self) -> tuple[int, ...]:
        """How many samples of each satellite the server encodes, and whose features go up."""
        return self.uses.new if self.job.cache == "features" else self.counts

    def keeps(self, kind: str) -> bool:
        """Whether this kind of data stays where it has come to."""
        return kind in {"none": (), "features": ("embedding", "feature"), "embeddings": ("embedding",)}[self.job.cache]

    def sample_bytes(self, kind: str, satellite: int) -> float:
        """One sample of a kind of data, as it crosses."""
        return self.job.cut_bytes[satellite] if kind.startswith("embedding") else self.job.feature_bytes

    def data(self, kind: str, satellite: int) -> Payload:
        """What crosses of one satellite's embeddings, features, or gradients of them in this exchange."""
        if not self.keeps(kind):
            count = self.crossing[satellite] if kind == "embedding" else self.encoded[satellite]
            return whole(kind, {satellite}, self.version, self.sample_bytes(kind, satellite) * count)
        seen = ceil(self.sample_bytes(kind, satellite) * self.uses.before[satellite])
        so_far = self.stock(kind, satellite)
        return so_far.part(seen, so_far.size)

    def stock(self, kind: str, satellite: int) -> Payload:
        """What there is of one satellite's data when this exchange's have crossed: with a cache, all so far."""
        if not self.keeps(kind):
            return self.data(kind, satellite)
        count = self.uses.before[satellite] + self.uses.new[satellite]
        return whole(kind, {satellite}, 0, self.sample_bytes(kind, satellite) * count)

    def update(self, satellite: int) -> Payload:
        """What one satellite contributes to the average, as it travels."""
        update = update_of(self.job, frozenset({satellite}), self.version)
        return contribution(self.job, update, contribution_bytes(self.job))

    @property
    def sum(self) -> Sum:
        """The average that is formed of it."""
        total = update_of(self.job, frozenset(self.members), self.version)
        return Sum.of(total, (self.start_of(satellite) for satellite in self.members))

    @property
    def before(self) -> Payload:
        """The on-board weights that everybody starts from."""
        if self.trained_before < 0:
            return initial_weights(self.job, self.job.deepest.front)
        return update_of(self.job, everyone(self.job), self.trained_before)

    def start_of(self, satellite: int) -> Payload:
        """The on-board weights that one satellite starts from."""
        return self.before if self.starts is None else self.starts[satellite]

    def model(self) -> tuple[Payload, ...]:
        """What the server has trained after this exchange; nothing where only what is on board trains."""
        made = model_of(self.job, self.version, frozenset(self.members))
        return (made,) if made.size else ()

    def run(self, schedule: Schedule, start_s: float) -> float:
        """Book the whole exchange; each stage starts when the one before has ended."""
        now = start_s
        for step in self.steps():
            now = step(schedule, now)
        return now

    def steps(self) -> list[Step]:
        """The stages in order: each books its work from a moment on and returns its end in seconds."""
        steps: list[Step] = [
            self._embed,
            partial(self._to_server, "embedding", self.crossing),
            self._encode,
            partial(self._to_satellites, "feature", self.encoded),
            self._head,
        ]
        if self.rest_trains:
            steps += [partial(self._to_server, "feature_gradient", self.counts), self._encoder_backward]
        if self.front_trains:
            steps += [partial(self._to_satellites, "embedding_gradient", self.counts), self._front_backward]
        return steps

    def of(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        """The members that have any of these samples."""
        return tuple(satellite for satellite in self.members if counts[satellite])

    # -- on board ------------------------------------------------------------------------------------------------

    def embed_flops(self, satellite: int) -> float:
        """Of one sample."""
        return forward_flops(self.job.partitions[satellite].front)

    def embed_needs(self, satellite: int) -> tuple[Payload, ...]:
        """Images, and the weights of the front: a frozen one does not change."""
        weights = initial_weights(self.job, self.job.partitions[satellite].front)
        return raw(self.job, satellite)[0], self.start_of(satellite) if self.front_trains else weights

    def _embed(self, schedule: Schedule, start_s: float) -> float:
        who = self.of(self.crossing)
        flops = {s: self.embed_flops(s) * self.crossing[s] for s in who}
        needs = {s: self.embed_needs(s) for s in who}
        return self._on_board(schedule, "embed", flops, needs, {s: (self.data("embedding", s),) for s in who}, start_s)

    def head_needs(self, satellite: int) -> tuple[Payload, ...]:
        """All features there are, labels, and the weights to start from."""
        return self.stock("feature", satellite), raw(self.job, satellite)[1], self.start_of(satellite)

    def _head(self, schedule: Schedule, start_s: float) -> float:
        who = self.of(self.counts)
        makes: dict[int, tuple[Payload, ...]] = {}
        for satellite in who:
            gradient = (self.data("feature_gradient", satellite),) if self.rest_trains else ()
            done = () if self.front_trains or not self.averaged else (self.update(satellite),)
            makes[satellite] = (*gradient, *done)
        flops = {s: self.job.head_flops * self.counts[s] for s in who}
        return self._on_board(schedule, "head step", flops, {s: self.head_needs(s) for s in who}, makes, start_s)

    def front_backward_flops(self, satellite: int) -> float:
        """Of one sample."""
        return self.job.backward_flops(self.job.partitions[satellite].front)

    def _front_backward(self, schedule: Schedule, start_s: float) -> float:
        who = self.of(self.counts)
        flops = {s: self.front_backward_flops(s) * self.counts[s] for s in who}
        needs = {s: (self.data("embedding_gradient", s),) for s in who}
        makes = {s: (self.update(s),) if self.averaged else () for s in who}
        return self._on_board(schedule, "embedding backward", flops, needs, makes, start_s)

    def _on_board(
        self,
        schedule: Schedule,
        stage: str,
        flops: Mapping[int, float],
        needs: Mapping[int, tuple[Payload, ...]],
        makes: Mapping[int, tuple[Payload, ...]],
        start_s: float,
    ) -> float:
        if not flops:
            return start_s
        schedule.stage = stage
        ends = []
        for satellite, amount in flops.items():
            memory = self.memory_on_board(satellite, stage)
            ends.append(schedule.compute(satellite, amount, start_s, needs[satellite], makes[satellite], memory))
        return schedule.span(start_s, max(ends))

    def memory_on_board(self, satellite: int, stage: str) -> float:
        """What a satellite's computations take, its whole batch at once; refused where it does not fit.

        Returned without what only lies there meanwhile, which is all cached features while others are embedded.
        """
        front = self.job.partitions[satellite].front
        each = saved_bytes(front) if self.front_trains else largest_activation(front)
        at_once = 1 if self.rest_trains else self.job.accumulate
        working = self.job.training_memory(front) + each * ceil(self.crossing[satellite] / at_once)
        stored = float(self.stock("feature", satellite).size) if self.job.cache != "none" else 0.0
        self.job.require_memory(satellite, working + stored, stage)
        return working if stage == "embed" else working + stored

    # -- on the ground -------------------------------------------------------------------------------------------

    @cached_property
    def ground(self) -> ServerSide:
        """What it costs there."""
        stock = sum(self.stock("embedding", s).size for s in self.of(self.counts)) if self.keeps_embeddings else 0
        return ServerSide(self.job, self.members, self.encoded, float(stock))

    @property
    def keeps_embeddings(self) -> bool:
        """Whether embeddings stay on the server for good."""
        return self.job.cache == "embeddings"

    def _encode(self, schedule: Schedule, start_s: float) -> float:
        """Encoder forward over the samples of all satellites."""
        who = self.of(self.encoded)
        if not who:
            return start_s
        flops, memory, _ = self.ground.cost(forward=True)
        needs = [self.stock("embedding", s) if self.keeps_embeddings else self.data("embedding", s) for s in who]
        return self._serve(schedule, "encode", flops, needs, [self.data("feature", s) for s in who], memory, start_s)

    def _encoder_backward(self, schedule: Schedule, start_s: float) -> float:
        who = self.of(self.counts)
        flops, memory, recompute = self.ground.cost(forward=False)
        needs = [self.data("feature_gradient", s) for s in who]
        needs += [self.stock("embedding", s) for s in who] if recompute else []
        makes = [self.data("embedding_gradient", s) for s in who] if self.front_trains else []
        makes += self.model() if self.averaged else ()
        return self._serve(schedule, "encoder backward", flops, needs, makes, memory, start_s)

    def _serve(
        self,
        schedule: Schedule,
        stage: str,
        flops: float,
        needs: Iterable[Payload],
        makes: Iterable[Payload],
        memory: float,
        start_s: float,
    ) -> float:
        schedule.stage = stage
        server = self.job.system.nodes.server
        return schedule.span(start_s, schedule.compute(server, flops, start_s, needs, makes, memory))

    # -- across the links ----------------------------------------------------------------------------------------

    def _to_server(self, kind: str, counts: tuple[int, ...], schedule: Schedule, start_s: float) -> float:
        payloads = {s: (self.data(kind, s),) for s in self.of(counts)}
        return collect(self.job, schedule, payloads, kind.replace("_", " ") + "s", start_s) if payloads else start_s

    def _to_satellites(self, kind: str, counts: tuple[int, ...], schedule: Schedule, start_s: float) -> float:
        """Up to any satellite of the plane (strategy B reversed), then around the ring to the owner (A)."""
        payloads = {s: (self.data(kind, s),) for s in self.of(counts)}
        return distribute(self.job, schedule, payloads, kind.replace("_", " ") + "s", start_s) if payloads else start_s

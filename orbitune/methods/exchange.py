"""The exchanges of split training: what a batch sends across the cut and back, and what that costs on either side.

What is averaged is called the update: the trained on-board weights, or, where one shared encoder trains
(`server_encoder = "shared"`), their gradients, so that every satellite takes the same step as central training would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from orbitune.methods.base import (
    Job,
    collect,
    distribute,
    everyone,
    initial_weights,
    lacking,
    per_pool,
    per_satellite,
    raw,
)
from orbitune.model.partition import (
    backward_flops,
    forward_flops,
    largest_activation,
    params_bytes,
    saved_bytes,
)
from orbitune.timeline.activity import Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule


def _on_board_bytes(job: Job) -> float:
    return job.partition.head.params_bytes + params_bytes(job.trained(job.partition.front))


def update_of(job: Job, origins: frozenset[int], version: int) -> Payload:
    """What some satellites contribute to an average."""
    return whole("update", origins, version, _on_board_bytes(job))


def model_of(job: Job, version: int) -> Payload:
    """What trained on the server."""
    return whole("model", everyone(job), version, params_bytes(job.trained(job.partition.rest)))


def last_version(job: Job) -> int:
    """Number of the last exchange of the run."""
    return exchanges_of(job, job.rounds - 1)[-1].version


def last_update(job: Job) -> Payload:
    """The last average of what trained on board."""
    return update_of(job, everyone(job), last_version(job))


def encoder_of(job: Job) -> tuple[Payload, ...]:
    """What satellites lack of the model at the end: what trained on the server, or the encoder that never left it."""
    if job.trained(job.partition.rest):
        return (model_of(job, last_version(job)),)
    return lacking(job, job.partition.front, job.partition.parts)


def exchanges_of(job: Job, index: int) -> list[Exchange]:
    """The exchanges of one round.

    A frozen encoder needs one: the samples of all local steps cross together. A training encoder needs one for each
    optimiser step, averaged at once when it is shared, at the end of the round when each satellite has its own copy.
    """
    if job.trains == "head":
        counts = tuple(size * job.local_steps for size in job.batch)
        return [Exchange(job, index, index, counts, averaged=True, trained_before=index - 1)]
    first, shared = index * job.local_steps, job.server_encoder == "shared"
    return [
        Exchange(
            job,
            index,
            version := first + step,
            job.batch,
            averaged=shared or step == job.local_steps - 1,
            trained_before=version - 1 if shared else first - 1,
        )
        for step in range(job.local_steps)
    ]


@dataclass(frozen=True)
class Exchange:
    """One trip of a batch: embeddings down, features up and, where something before the head trains, gradients back.

    `version` numbers the exchanges of the run; `counts[i]` is how many samples satellite i puts in; `trained_before` is
    the version of the average that the satellites start from, negative for the weights they were given.
    """

    job: Job
    index: int
    version: int
    counts: tuple[int, ...]
    averaged: bool
    trained_before: int

    @property
    def rest_trains(self) -> bool:
        """Whether a gradient must reach the server."""
        return self.job.trains != "head"

    @property
    def front_trains(self) -> bool:
        """Whether a gradient must come back to the satellites."""
        return bool(self.job.trained(self.job.partition.front))

    def data(self, kind: str, satellite: int) -> Payload:
        """One satellite's embeddings, features, or a gradient of them."""
        each = self.job.wire_bytes if kind.startswith("embedding") else self.job.feature_bytes
        return whole(kind, {satellite}, self.version, each * self.counts[satellite])

    def update(self, satellite: int) -> Payload:
        """What one satellite contributes to the average."""
        return update_of(self.job, frozenset({satellite}), self.version)

    @property
    def before(self) -> Payload:
        """The on-board weights that this exchange starts from."""
        if self.trained_before < 0:
            return initial_weights(self.job, self.job.partition.front)
        return update_of(self.job, everyone(self.job), self.trained_before)

    def run(self, schedule: Schedule, start_s: float) -> float:
        """Book the whole exchange; each stage starts when the one before has ended."""
        now = self._embed(schedule, start_s)
        now = self._to_server(schedule, "embedding", now)
        now = self._server(schedule, "encode", now)
        now = self._to_satellites(schedule, "feature", now)
        now = self._head(schedule, now)
        if self.rest_trains:
            now = self._to_server(schedule, "feature_gradient", now)
            now = self._server(schedule, "encoder backward", now)
        if self.front_trains:
            now = self._to_satellites(schedule, "embedding_gradient", now)
            now = self._front_backward(schedule, now)
        return now

    # -- on board ------------------------------------------------------------------------------------------------

    def _embed(self, schedule: Schedule, start_s: float) -> float:
        flops = per_satellite(self.job, forward_flops(self.job.partition.front), self.counts)
        makes = {satellite: (self.data("embedding", satellite),) for satellite in flops}
        needs = {s: (raw(self.job, s)[0], self.before) for s in flops}
        return self._on_board(schedule, "embed", flops, needs, makes, start_s)

    def _head(self, schedule: Schedule, start_s: float) -> float:
        flops = per_satellite(self.job, self.job.head_flops, self.counts)
        needs = {s: (self.data("feature", s), raw(self.job, s)[1], self.before) for s in flops}
        makes: dict[int, tuple[Payload, ...]] = {}
        for satellite in flops:
            gradient = (self.data("feature_gradient", satellite),) if self.rest_trains else ()
            done = () if self.front_trains or not self.averaged else (self.update(satellite),)
            makes[satellite] = (*gradient, *done)
        return self._on_board(schedule, "head step", flops, needs, makes, start_s)

    def _front_backward(self, schedule: Schedule, start_s: float) -> float:
        trained = self.job.trained(self.job.partition.front)
        flops = per_satellite(self.job, backward_flops(trained), self.counts)
        needs = {s: (self.data("embedding_gradient", s),) for s in flops}
        makes = {s: (self.update(s),) if self.averaged else () for s in flops}
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
        schedule.stage = stage
        ends = []
        for satellite, amount in flops.items():
            memory = self.memory_on_board(satellite, stage)
            ends.append(schedule.compute(satellite, amount, start_s, needs[satellite], makes[satellite], memory))
        return schedule.span(start_s, max(ends))

    def memory_on_board(self, satellite: int, stage: str) -> float:
        """What a satellite's computations take, its whole batch at once."""
        front = self.job.partition.front
        kept = saved_bytes(front) if self.front_trains else largest_activation(front)
        needed = self.job.training_memory(front) + kept * self.counts[satellite]
        return self.job.require_memory(satellite, needed, stage)

    # -- on the ground -------------------------------------------------------------------------------------------

    def _server(self, schedule: Schedule, stage: str, start_s: float) -> float:
        """Encoder forward or backward over the samples of all satellites."""
        schedule.stage = stage
        forward = stage == "encode"
        took, gave = ("embedding", "feature") if forward else ("feature_gradient", "embedding_gradient")
        satellites = self.job.system.nodes.satellites
        flops, memory, recompute = self.server_cost(forward)
        needs = [self.data(took, satellite) for satellite in satellites]
        if recompute and not forward:
            needs += [self.data("embedding", satellite) for satellite in satellites]
        makes = [self.data(gave, satellite) for satellite in satellites] if forward or self.front_trains else []
        if not forward and self.averaged:
            makes.append(model_of(self.job, self.version))
        return schedule.span(
            start_s, schedule.compute(self.job.system.nodes.server, flops, start_s, needs, makes, memory)
        )

    def server_cost(self, forward: bool) -> tuple[float, float, bool]:
        """FLOPs and memory of one server pass, and whether activations are computed again.

        Where the activations of all samples do not fit until the gradients come back, the embeddings are kept instead
        and each satellite's samples are computed again before their backward pass (Chen et al., arXiv:1604.06174): one
        more forward pass. With `server_encoder = "per_client"` a copy of the encoder for each satellite is held.
        """
        rest, samples = self.job.partition.rest, sum(self.counts)
        recompute = self.recomputes
        kept = self.server_memory(samples, 0) if self.keeps_all else self.server_memory(samples, max(self.counts))
        self.job.require_memory(self.job.system.nodes.server, kept, "the encoder on the ground")
        flops = forward_flops(rest) if forward else backward_flops(rest) + recompute * forward_flops(rest)
        return flops * samples, kept, recompute

    @cached_property
    def recomputes(self) -> bool:
        """Whether the server is too small to keep all activations until the gradients come back."""
        rest, samples = self.job.partition.rest, sum(self.counts)
        return self.rest_trains and self._weights + saved_bytes(rest) * samples > self.job.system.server.memory_bytes

    @cached_property
    def keeps_all(self) -> bool:
        """Whether the server keeps all activations until the gradients come back."""
        return self.rest_trains and not self.recomputes

    @cached_property
    def _weights(self) -> float:
        """Memory that the encoder takes on the server without activations."""
        apart = self.rest_trains and self.job.server_encoder == "per_client"
        copies = self.job.system.nodes.num_satellites if apart else 1
        return self.job.training_memory(self.job.partition.rest, copies=copies)

    def server_memory(self, kept: int, working: int) -> float:
        """Memory on the server while activations of `kept` samples are kept and `working` are worked on.

        Kept are all activations, or only the embeddings where activations are computed again or no encoder trains.
        """
        rest = self.job.partition.rest
        if self.keeps_all:
            return self._weights + saved_bytes(rest) * kept
        each = saved_bytes(rest) if self.rest_trains else largest_activation(rest)
        return self._weights + self.job.wire_bytes * kept + each * working

    # -- across the links ----------------------------------------------------------------------------------------

    def _to_server(self, schedule: Schedule, kind: str, start_s: float) -> float:
        payloads = {s: (self.data(kind, s),) for s in self.job.system.nodes.satellites}
        return collect(self.job, schedule, payloads, kind.replace("_", " ") + "s", start_s)

    def _to_satellites(self, schedule: Schedule, kind: str, start_s: float) -> float:
        """Up to any satellite of the plane (strategy B reversed), then around the ring to the owner (A)."""
        payloads = {s: (self.data(kind, s),) for s in self.job.system.nodes.satellites}
        return distribute(self.job, schedule, payloads, kind.replace("_", " ") + "s", start_s)

    # -- for the bound -------------------------------------------------------------------------------------------

    def needs(self) -> list[Need]:
        """The exchange without a schedule. Frozen parts do not wait for the weights of the round before."""
        job, part = self.job, self.job.partition
        embeds_anew = self.front_trains
        needs = [
            self._compute("embed", forward_flops(part.front), embeds_anew),
            self._transfer("down", "bring down embeddings", job.wire_bytes, embeds_anew),
            self._encoder("encode", forward=True),
            self._transfer("up", "send up features", job.feature_bytes, self.rest_trains),
            self._compute("head step", job.head_flops, True),
        ]
        if self.rest_trains:
            needs.append(self._transfer("down", "bring down feature gradients", job.feature_bytes, True))
            needs.append(self._encoder("encoder backward", forward=False))
        if self.front_trains:
            needs.append(self._transfer("up", "send up embedding gradients", job.wire_bytes, True))
            needs.append(self._compute("embedding backward", backward_flops(job.trained(part.front)), True))
        return needs

    def _compute(self, stage: str, each: float, after_weights: bool) -> Need:
        total = per_satellite(self.job, each, self.counts)
        grain = dict.fromkeys(total, each)
        return Need("compute", "train", self.index, stage, total, grain, after_weights=after_weights)

    def _transfer(self, kind: str, stage: str, each: float, after_weights: bool) -> Need:
        total = per_pool(self.job, each, self.counts)
        return Need(kind, "train", self.index, stage, total, dict.fromkeys(total, each), self.job.pools, after_weights)

    def _encoder(self, stage: str, forward: bool) -> Need:
        """The bound leaves recomputation out: another schedule might avoid it."""
        rest, server = self.job.partition.rest, self.job.system.nodes.server
        each = forward_flops(rest) if forward else backward_flops(rest)
        return Need("compute", "train", self.index, stage, {server: each * sum(self.counts)}, {server: each},
                    after_weights=self.rest_trains)  # fmt: skip

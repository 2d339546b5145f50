"""What passes between the satellites of a plane when its encoder is in orbit: payloads and their sizes.

A satellite's activations at all cuts of the pipeline are one tensor of kind "embedding": first the bytes at the cut
behind its own blocks, then those at each cut between two hosts; "embedding_gradient" likewise. So every cut has bytes
of its own, and nothing is received twice. What a stage has trained is its range of the "model".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import ceil

from orbitune.cost.transfer import wire_bytes
from orbitune.methods.base import Job, everyone, initial_weights
from orbitune.methods.exchange import Exchange, model_of
from orbitune.methods.in_orbit_hosts import Parts, Placement
from orbitune.timeline.activity import Payload, whole


@dataclass(frozen=True, slots=True)
class Chunk:
    """A micro-batch: samples `first` to `last` of one satellite in one exchange."""

    satellite: int
    first: int
    last: int

    @property
    def samples(self) -> int:
        """How many."""
        return self.last - self.first


@dataclass(frozen=True)
class Sizes:
    """Bytes that follow from a job and its placement."""

    job: Job
    placement: Placement

    @cached_property
    def inputs(self) -> tuple[float, ...]:
        """Bytes of one sample's activations as they reach each stage."""
        before = [stage[-1] for stage in self.placement.stages[:-1]]
        return (self.job.wire_bytes, *(wire_bytes(part.shape, self.job.codec) for part in before))

    @cached_property
    def trained_bytes(self) -> int:
        """What the hosts of a plane train; 0 where the encoder is frozen."""
        return model_of(self.job, 0).size

    def weights(self, stage: int) -> Payload:
        """The untrained weights of a stage: their range of the whole model's."""
        stages, front = self.placement.stages, self.job.partition.front
        edges = [initial_weights(self.job, (*front, *_joined(stages[:last]))).size for last in (stage, stage + 1)]
        return initial_weights(self.job, self.job.partition.parts).part(edges[0], edges[1])

    def model(self, origins: Iterable[int], version: int, stage: int) -> Payload:
        """What a stage has trained, with the samples of some satellites in it."""
        start, end = self.ranges[stage]
        return Payload("model", frozenset(origins), version, start, end)

    def whole_model(self, origins: Iterable[int], version: int) -> Payload:
        """What all stages have trained."""
        return whole("model", origins, version, self.trained_bytes)

    @cached_property
    def ranges(self) -> list[tuple[int, int]]:
        """The bytes of the model that each stage trains."""
        sizes = [self.job.trained_bytes(stage) for stage in self.placement.stages]
        edges = [round(self.trained_bytes * part / sum(sizes)) for part in accumulate(sizes, initial=0.0)]
        return list(pairwise(edges))


def _joined(stages: Iterable[Parts]) -> Parts:
    return tuple(part for stage in stages for part in stage)


@dataclass(frozen=True)
class Tensors:
    """The payloads of one exchange."""

    sizes: Sizes
    exchange: Exchange

    def part(self, kind: str, chunk: Chunk) -> Payload:
        """What of a micro-batch crosses between a satellite and the hosts of its plane."""
        everything = self.exchange.data(kind, chunk.satellite)
        counts = self.exchange.crossing if kind == "embedding" else self.exchange.encoded
        return _share(everything, chunk, counts[chunk.satellite])

    def input(self, chunk: Chunk, stage: int) -> Payload:
        """What a stage computes a micro-batch from; cached embeddings are any of those so far."""
        if stage:
            return self.activation("embedding", chunk, stage)
        if self.exchange.job.cache == "embeddings":
            return self.exchange.stock("embedding", chunk.satellite)
        return self.part("embedding", chunk)

    def activation(self, kind: str, chunk: Chunk, stage: int) -> Payload:
        """What passes between two stages: activations that reach one, or gradients that leave it for the one before."""
        satellite, inputs = chunk.satellite, self.sizes.inputs
        if not stage:
            return self.part(kind, chunk)
        count = self.exchange.encoded[satellite]
        start = ceil(inputs[0] * max(count, self.exchange.job.samples[satellite]))  # cached embeddings come first
        start += sum(ceil(each * count) for each in inputs[1:stage])
        end = start + ceil(inputs[stage] * count)
        return _share(Payload(kind, frozenset({satellite}), self.exchange.version, start, end), chunk, count)

    def encoder(self, stage: int) -> tuple[Payload, ...]:
        """What a stage computes with: the weights it was given and, where it trains, the last average."""
        before = self.exchange.trained_before
        trained = bool(self.sizes.trained_bytes) and before >= 0
        average = (self.sizes.model(everyone(self.exchange.job), before, stage),) if trained else ()
        return (self.sizes.weights(stage), *average)


def _share(everything: Payload, chunk: Chunk, count: int) -> Payload:
    return everything.part(everything.size * chunk.first // count, everything.size * chunk.last // count)

"""Micro-batches as data: which samples, which bytes, and head steps on what stays on board. Nothing is booked here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from orbitune.methods.base import raw
from orbitune.methods.exchange import Exchange
from orbitune.timeline.activity import Payload


@dataclass(frozen=True, slots=True)
class Chunk:
    """A micro-batch: samples `first` to `last` of one satellite in one exchange."""

    version: int
    satellite: int
    first: int
    last: int

    @property
    def samples(self) -> int:
        """How many."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class Place:
    """How far a micro-batch of a later round has come: as what, where, since when, and which way round it goes."""

    kind: str
    node: int
    since_s: float
    heading: int = 0


@dataclass(frozen=True)
class HeadStep:
    """Local steps on features that stay: possible when the first `count` of them are there."""

    count: int
    flops: float
    needs: tuple[Payload, ...]
    makes: tuple[Payload, ...]
    memory_bytes: float


@dataclass(frozen=True)
class Batches:
    """The batches of one exchange, cut into micro-batches."""

    exchange: Exchange

    def chunks(self, satellite: int, parts: int) -> list[Chunk]:
        """The micro-batches of one satellite: first what crosses, then what is on the ground already."""
        crossing, count = self.exchange.crossing[satellite], self.exchange.encoded[satellite]
        edges = [*_edges(0, crossing, parts), *_edges(crossing, count, parts)]
        return [Chunk(self.exchange.version, satellite, low, high) for low, high in pairwise(edges) if low < high]

    def crosses(self, chunk: Chunk) -> bool:
        """Whether its embeddings come down now."""
        return chunk.last <= self.exchange.crossing[chunk.satellite]

    def part(self, kind: str, chunk: Chunk) -> Payload:
        """The bytes of a micro-batch."""
        counts = self.exchange.crossing if kind == "embedding" else self.exchange.encoded
        total, count = self.exchange.data(kind, chunk.satellite), counts[chunk.satellite]
        return total.part(total.size * chunk.first // count, total.size * chunk.last // count)

    def embeddings(self, chunk: Chunk) -> Payload:
        """What the encoder reads: the micro-batch, or all that a satellite's samples may be among."""
        if self.crosses(chunk):
            return self.part("embedding", chunk)
        known = self.exchange.sample_bytes("embedding", chunk.satellite) * self.crossed_before(chunk.satellite)
        return self.exchange.stock("embedding", chunk.satellite).part(0, ceil(known))

    def crossed_before(self, satellite: int) -> int:
        """Samples that a micro-batch which does not cross may be among. The steps of a frozen encoder are one exchange,
        so a later step may use again what an earlier one was the first to use."""
        uses = self.exchange.uses
        return uses.before[satellite] + (0 if self.exchange.rest_trains else uses.new[satellite])

    def head_steps(self, satellite: int) -> list[HeadStep]:
        """The local steps of a round on features that stay, those that need no newer ones together."""
        exchange, job = self.exchange, self.exchange.job
        each = exchange.counts[satellite] // job.local_steps
        counts = [self._needed(satellite, step) for step in range(job.local_steps)]
        stock, steps = exchange.stock("feature", satellite), list[HeadStep]()
        memory = exchange.memory_on_board(satellite, "head step") - stock.size
        for count in sorted(set(counts)):
            seen = stock.part(0, ceil(job.feature_bytes * count))
            needs = (seen, raw(job, satellite)[1], exchange.start_of(satellite))
            makes = (exchange.update(satellite),) if count == counts[-1] else ()
            flops = job.head_flops * each * counts.count(count)
            steps.append(HeadStep(count, flops, needs, makes, memory + seen.size))
        return steps

    def _needed(self, satellite: int, step: int) -> int:
        """How many samples must be there for a step of the round."""
        job = self.exchange.job
        first = (self.exchange.index * job.local_steps + step) * job.accumulate
        uses = job.uses.of(first, first + job.accumulate)
        return uses.before[satellite] + uses.new[satellite]


def _edges(first: int, last: int, parts: int) -> list[int]:
    """Where a range is cut into so many parts, at most one for each sample; nothing for none."""
    parts = min(parts, last - first)
    return [first + (last - first) * number // parts for number in range(parts + 1)] if parts else []

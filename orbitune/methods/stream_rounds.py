"""Rounds of split training with `overlap = "stream"`: micro-batches flow, and nothing waits for a stage.

A micro-batch is some samples of one satellite. As soon as it is embedded it sets out for the server, is encoded when
it arrives, goes back, and so on. What remains to wait for is what training needs: the average before a satellite goes
on, the trained encoder before the server does.

The embeddings of a frozen embedding do not wait for anything, so the next exchange begins while one is still under
way. Where that is in the next round, everything of it that was begun must end with this round: the spans of a timeline
do not overlap. It goes on from where it is in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from orbitune.methods.base import Cut, Job, initial_weights, raw
from orbitune.methods.exchange import Exchange, exchanges_of, model_of
from orbitune.methods.stream_average import Averaging
from orbitune.methods.stream_queue import Gate, Queue, Work
from orbitune.methods.stream_routes import Cable, Down, Routes, Up, follow
from orbitune.model.partition import backward_flops, forward_flops
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

STAGE = "round, streamed"

DEPTH = 1
"""Our choice: so many exchanges may be begun beside the one that trains; two gained nothing on the demos."""


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


class StreamedRounds:
    """The rounds of one job on one schedule. `places` is what was done ahead; `kept` the samples whose activations the
    server keeps."""

    def __init__(self, job: Job, schedule: Schedule, cut: Cut) -> None:
        self.job, self.schedule, self.cut = job, schedule, cut
        self.routes = Routes(job, schedule)
        self.places: dict[Chunk, Place] = {}
        self.kept = 0

    def round(self, index: int, start_s: float) -> float:
        """Book one round, and of the next what can be done meanwhile."""
        self.schedule.stage = STAGE
        own = exchanges_of(self.job, index)
        later = self._later(index)
        queue = Queue(2 * own[-1].version + 1)
        flows = [Flow(self, queue, exchange) for exchange in (*own, *later)]
        for flow, after in pairwise(flows):
            flow.after = after
        last = flows[len(own) - 1]
        last.ends_round = True
        flows[0].allow(start_s)
        flows[0].begin(start_s)
        for flow in flows[1 : DEPTH + 1]:
            flow.begin(start_s)
        queue.run()
        return self.schedule.span(start_s, max(queue.until_s, queue.last_s))

    def _later(self, index: int) -> list[Exchange]:
        """Exchanges of later rounds that may be begun in this one."""
        if not self.cut.ahead or self.job.trained(self.job.partition.front):
            return []
        rounds = range(index + 1, min(index + 1 + DEPTH, self.job.rounds))
        return [exchange for later in rounds for exchange in exchanges_of(self.job, later)][:DEPTH]

    def chunks(self, exchange: Exchange, satellite: int) -> list[Chunk]:
        """The micro-batches of one satellite."""
        count = exchange.counts[satellite]
        parts = min(self.cut.parts, count)
        edges = [count * number // parts for number in range(parts + 1)]
        return [Chunk(exchange.version, satellite, *pair) for pair in pairwise(edges)]


class Flow:
    """The micro-batches of one exchange on their way. Gates stand for what they wait for; those of a later round stay
    shut, so whoever works ahead stops there.

    Attributes:
        after: The next exchange.
        ends_round: Whether the round is over with this one.
    """

    def __init__(self, rounds: StreamedRounds, queue: Queue, exchange: Exchange) -> None:
        self.rounds, self.queue, self.exchange = rounds, queue, exchange
        self.job, self.schedule, self.server = rounds.job, rounds.schedule, rounds.job.system.nodes.server
        self.after: Flow | None = None
        self.ends_round = False
        self.urgency = 2 * exchange.version
        satellites = self.job.system.nodes.satellites
        self.chunks = {satellite: rounds.chunks(exchange, satellite) for satellite in satellites}
        self.weights = {satellite: Gate() for satellite in satellites}
        self.encoder = {satellite: Gate() for satellite in satellites}
        self.steps_left = {satellite: len(chunks) for satellite, chunks in self.chunks.items()}
        self.heads_left, self.passes_left = dict(self.steps_left), dict(self.steps_left)
        self.averaging = Averaging(self.job, self.schedule, queue, self.urgency, self._averaged)
        self.done_s: dict[str, float] = {}
        if not exchange.rest_trains:
            self._open(self.encoder, satellites, 0.0)

    def allow(self, since_s: float) -> None:
        """Weights and encoder of the exchange before are there."""
        satellites = self.job.system.nodes.satellites
        self._open(self.weights, satellites, since_s)
        if self.exchange.rest_trains:
            self._open(self.encoder, satellites, since_s)

    def begin(self, start_s: float) -> None:
        """Set all micro-batches going, each from where it is."""
        self.exchange.server_cost(forward=True)  # refuses what does not fit
        for satellite, chunks in self.chunks.items():
            for chunk in chunks:
                place = self.rounds.places.pop(chunk, None)
                if place is not None:
                    self._resume(chunk, place, max(place.since_s, start_s))
                elif self.exchange.front_trains:
                    self.weights[satellite].when(self._embedder(chunk, start_s))
                else:
                    self._embed(chunk, start_s)

    def _resume(self, chunk: Chunk, place: Place, ready_s: float) -> None:
        node, satellite = place.node, chunk.satellite
        if place.kind == "embedding" and node == self.server:
            self._landed(chunk, ready_s)
        elif place.kind == "embedding" and node in self.job.system.nodes.stations:
            payload = self._part("embedding", chunk)
            then = self._then(self._landed, chunk)
            self.queue.add(Cable(self.rounds.routes, self._urgency(place.kind), node, payload, ready_s, then))
        elif place.kind == "embedding":
            self._down("embedding", chunk, ready_s, self._landed, node, place.heading)
        elif node == self.server:
            self._up("feature", chunk, ready_s, self._returned)
        else:
            follow(self.queue, self.rounds.routes, self._urgency(place.kind), self._part("feature", chunk), node,
                   satellite, ready_s, self._then(self._returned, chunk), self._mover("feature", chunk),
                   place.heading)  # fmt: skip

    # -- one micro-batch, from step to step ----------------------------------------------------------------------------

    def _embedder(self, chunk: Chunk, start_s: float) -> Callable[[float], None]:
        return lambda since_s: self._embed(chunk, max(start_s, since_s))

    def _embed(self, chunk: Chunk, ready_s: float) -> None:
        weights = initial_weights(self.job, self.job.partition.front)
        before = self.exchange.before if self.exchange.front_trains else weights
        needs = (raw(self.job, chunk.satellite)[0], before)
        self._on_board("embed", chunk, forward_flops(self.job.partition.front), ready_s, needs,
                       lambda: (self._part("embedding", chunk),), self._embedded)  # fmt: skip

    def _embedded(self, chunk: Chunk, since_s: float) -> None:
        self._note("embedding", chunk, chunk.satellite, since_s, 0)
        self._down("embedding", chunk, since_s, self._landed)

    def _landed(self, chunk: Chunk, since_s: float) -> None:
        self._note("embedding", chunk, self.server, since_s, 0)
        self.encoder[chunk.satellite].when(lambda open_s: self._encode(chunk, max(open_s, since_s)))

    def _encode(self, chunk: Chunk, ready_s: float) -> None:
        def memory() -> float:
            kept = chunk.samples
            if self.exchange.keeps_all:
                kept = self.rounds.kept = self.rounds.kept + chunk.samples
            return self.exchange.server_memory(kept, chunk.samples)

        flops = forward_flops(self.job.partition.rest) * chunk.samples
        needs, makes = (self._part("embedding", chunk),), (self._part("feature", chunk),)
        self.queue.add(Work(self.schedule, self.urgency, self.server, flops, ready_s, needs, lambda: makes, memory,
                            self._then(self._encoded, chunk)))  # fmt: skip

    def _encoded(self, chunk: Chunk, since_s: float) -> None:
        self._note("feature", chunk, self.server, since_s, 0)
        self._up("feature", chunk, since_s, self._returned)

    def _returned(self, chunk: Chunk, since_s: float) -> None:
        self._note("feature", chunk, chunk.satellite, since_s, 0)
        self.weights[chunk.satellite].when(lambda open_s: self._head(chunk, max(open_s, since_s)))

    def _head(self, chunk: Chunk, ready_s: float) -> None:
        exchange, satellite = self.exchange, chunk.satellite

        def makes() -> tuple[Payload, ...]:
            self.heads_left[satellite] -= 1
            gradient = (self._part("feature_gradient", chunk),) if exchange.rest_trains else ()
            last = not self.heads_left[satellite] and exchange.averaged and not exchange.front_trains
            return (*gradient, exchange.update(satellite)) if last else gradient

        needs = (self._part("feature", chunk), raw(self.job, satellite)[1], exchange.before)
        self._on_board("head step", chunk, self.job.head_flops, ready_s, needs, makes, self._stepped)

    def _stepped(self, chunk: Chunk, since_s: float) -> None:
        if self.exchange.rest_trains:
            self._down("feature_gradient", chunk, since_s, self._backward)
        if not self.exchange.front_trains:
            self._count(chunk, since_s)

    def _backward(self, chunk: Chunk, ready_s: float) -> None:
        exchange, rest = self.exchange, self.job.partition.rest

        def makes() -> tuple[Payload, ...]:
            self.passes_left[chunk.satellite] -= 1
            return (self._part("embedding_gradient", chunk),) if exchange.front_trains else ()

        def memory() -> float:
            kept = self.rounds.kept if exchange.keeps_all else chunk.samples
            self.rounds.kept -= chunk.samples if exchange.keeps_all else 0
            return exchange.server_memory(kept, chunk.samples)

        again = (self._part("embedding", chunk),) if exchange.recomputes else ()
        each = backward_flops(rest) + exchange.recomputes * forward_flops(rest)
        needs = (self._part("feature_gradient", chunk), *again)
        self.queue.add(Work(self.schedule, self.urgency, self.server, each * chunk.samples, ready_s, needs, makes,
                            memory, self._then(self._passed, chunk)))  # fmt: skip

    def _passed(self, chunk: Chunk, since_s: float) -> None:
        if self.exchange.front_trains:
            self._up("embedding_gradient", chunk, since_s, self._front_backward)
        if not self.exchange.averaged and not self.passes_left[chunk.satellite]:  # each its own encoder
            self._open_after("encoder", (chunk.satellite,), since_s)
        if not any(self.passes_left.values()):
            self._update_encoder(since_s)

    def _update_encoder(self, ready_s: float) -> None:
        """The step of the optimiser once all gradients are there; its FLOPs are not counted anywhere."""
        if not self.exchange.averaged:
            self._finish("encoder", ready_s)
            return
        satellites = self.job.system.nodes.satellites
        needs = tuple(self.exchange.data("feature_gradient", satellite) for satellite in satellites)
        makes = (model_of(self.job, self.exchange.version),)
        self.queue.add(Work(self.schedule, self.urgency, self.server, 0.0, ready_s, needs, lambda: makes,
                            lambda: self.exchange.server_memory(0, 0), self._encoder_updated))  # fmt: skip

    def _encoder_updated(self, since_s: float) -> None:
        self._open_after("encoder", self.job.system.nodes.satellites, since_s)
        self._finish("encoder", since_s)

    def _front_backward(self, chunk: Chunk, ready_s: float) -> None:
        def makes() -> tuple[Payload, ...]:
            last = self.steps_left[chunk.satellite] == 1 and self.exchange.averaged
            return (self.exchange.update(chunk.satellite),) if last else ()

        each = backward_flops(self.job.trained(self.job.partition.front))
        needs = (self._part("embedding_gradient", chunk),)
        self._on_board("embedding backward", chunk, each, ready_s, needs, makes, self._count)

    # -- the end of an exchange ----------------------------------------------------------------------------------------

    def _count(self, chunk: Chunk, since_s: float) -> None:
        """A micro-batch has done all it does on board; what its satellite trained is complete with the last one."""
        satellite = chunk.satellite
        self.steps_left[satellite] -= 1
        if self.steps_left[satellite]:
            return
        if self.exchange.averaged:
            self.averaging.add(satellite, self.exchange.update(satellite), since_s)
            return
        self._open_after("weights", (satellite,), since_s)
        if not any(self.steps_left.values()):
            self._finish("weights", since_s)

    def _averaged(self, combined: dict[int, Held], end_s: float) -> None:
        for satellite in self.job.system.nodes.satellites:
            self._open_after("weights", (satellite,), combined[satellite].since_s)
        self._finish("weights", end_s)

    def _finish(self, what: str, since_s: float) -> None:
        self.done_s[what] = since_s
        if len(self.done_s) < 1 + self.exchange.rest_trains:
            return
        end_s = max(self.done_s.values())
        if self.ends_round:
            self.queue.until_s = end_s
        elif (following := self._ahead_by(DEPTH + 1)) is not None:
            following.begin(end_s)

    def _ahead_by(self, count: int) -> Flow | None:
        """The exchange so many places after this one."""
        flow: Flow | None = self
        for _ in range(count):
            flow = flow.after if flow is not None else None
        return flow

    def _open_after(self, what: str, satellites: Iterable[int], since_s: float) -> None:
        """The next exchange of this round may use what this one has trained."""
        if self.after is not None and not self.ends_round:
            self._open(self.after.weights if what == "weights" else self.after.encoder, satellites, since_s)

    # -- how -----------------------------------------------------------------------------------------------------------

    def _part(self, kind: str, chunk: Chunk) -> Payload:
        """The bytes of a micro-batch."""
        total, count = self.exchange.data(kind, chunk.satellite), self.exchange.counts[chunk.satellite]
        return total.part(total.size * chunk.first // count, total.size * chunk.last // count)

    def _urgency(self, kind: str) -> int:
        """Older exchanges go first; within one, what has been encoded already goes before embeddings."""
        return self.urgency + (kind == "embedding")

    def _then(self, step: Callable[[Chunk, float], None], chunk: Chunk) -> Callable[[float], None]:
        return lambda since_s: step(chunk, since_s)

    def _open(self, gates: dict[int, Gate], satellites: Iterable[int], since_s: float) -> None:
        for satellite in satellites:
            gates[satellite].open(since_s)

    def _note(self, kind: str, chunk: Chunk, node: int, since_s: float, heading: int) -> None:
        """Remember how far a micro-batch of the next round has come."""
        if self._urgency(kind) > self.queue.round_urgency:
            self.rounds.places[chunk] = Place(kind, node, since_s, heading)

    def _mover(self, kind: str, chunk: Chunk) -> Callable[[int, float, int], None]:
        return lambda node, since_s, heading: self._note(kind, chunk, node, since_s, heading)

    def _on_board(
        self, stage: str, chunk: Chunk, each: float, ready_s: float, needs: tuple[Payload, ...],
        makes: Callable[[], tuple[Payload, ...]], then: Callable[[Chunk, float], None],
    ) -> None:  # fmt: skip
        memory = self.exchange.memory_on_board(chunk.satellite, stage)
        self.queue.add(Work(self.schedule, self.urgency, chunk.satellite, each * chunk.samples, ready_s, needs, makes,
                            lambda: memory, self._then(then, chunk)))  # fmt: skip

    def _down(
        self, kind: str, chunk: Chunk, ready_s: float, then: Callable[[Chunk, float], None], here: int = -1,
        heading: int = 0,
    ) -> None:  # fmt: skip
        payload, owner = self._part(kind, chunk), chunk.satellite
        step = Down(self.queue, self.rounds.routes, self._urgency(kind), payload, owner if here < 0 else here, ready_s,
                    self._then(then, chunk), self._mover(kind, chunk), heading, owner if heading else -1)  # fmt: skip
        self.queue.add(step)

    def _up(self, kind: str, chunk: Chunk, ready_s: float, then: Callable[[Chunk, float], None]) -> None:
        self.queue.add(Up(self.queue, self.rounds.routes, self._urgency(kind), self._part(kind, chunk), chunk.satellite,
                          ready_s, self._then(then, chunk), self._mover(kind, chunk)))  # fmt: skip

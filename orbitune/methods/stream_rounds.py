"""Rounds of split training with `overlap = "stream"`: micro-batches flow, and nothing waits for a stage.

A micro-batch is some samples of one satellite. As soon as it is embedded it sets out for the server, is encoded when
it arrives, goes back, and so on. What remains to wait for is what training needs: the average before a satellite goes
on, the trained encoder before the server does.

The embeddings of a frozen embedding do not wait for anything, so the next exchange begins while one is still under
way. Where that is in the next round, everything of it that was begun must end with this round: the spans of a timeline
do not overlap. It goes on from where it is in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from orbitune.methods.base import Cut, Job, raw
from orbitune.methods.exchange import Exchange, exchanges_of, last_version
from orbitune.methods.stream_average import Averaging
from orbitune.methods.stream_chunks import Batches, Chunk, HeadStep, Place
from orbitune.methods.stream_guide import LAST, Foresight
from orbitune.methods.stream_queue import Gate, Queue, Work
from orbitune.methods.stream_routes import Cable, Down, Routes
from orbitune.methods.stream_stock import Stocks
from orbitune.methods.stream_up import Up, follow
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

STAGE = "round, streamed"


class StreamedRounds:
    """The rounds of one job on one schedule. `places` is what was done ahead; `kept_bytes` the activations that the
    server keeps; `stocks` what stays for good, with a cache."""

    def __init__(self, job: Job, schedule: Schedule, cut: Cut) -> None:
        self.job, self.schedule, self.cut = job, schedule, cut
        self.depth, self.guided = (cut.depth, cut.guided) if isinstance(cut, Foresight) else (1, False)
        self.routes = Routes(job, schedule)
        self.places: dict[Chunk, Place] = {}
        self.kept_bytes = 0.0
        self.stocks = Stocks()

    def round(self, index: int, start_s: float) -> float:
        """Book one round, and of the next what can be done meanwhile."""
        self.schedule.stage = STAGE
        self.stocks.forget()
        self.routes.guide.forget()
        own = exchanges_of(self.job, index)
        later = self._later(index)
        queue = Queue(2 * own[-1].version + 1 + LAST)
        flows = [Flow(self, queue, exchange) for exchange in (*own, *later)]
        for flow, after in pairwise(flows):
            flow.after = after
        last = flows[len(own) - 1]
        last.ends_round = True
        flows[0].allow(start_s)
        self.begin(flows[: self.depth + 1], start_s)
        queue.run()
        self.places = {chunk: place for chunk, place in self.places.items() if chunk.version > own[-1].version}
        return self.schedule.span(start_s, max(queue.until_s, queue.last_s))

    def begin(self, flows: Sequence[Flow], start_s: float) -> None:
        """Set exchanges going, with a guide if there is to be one."""
        if self.guided:
            for flow in flows:
                flow.owe()
            last_first = flows[-1].exchange.version == last_version(self.job)
            self.routes.guide.share_out(start_s, last_first)
        for flow in flows:
            flow.begin(start_s)

    def _later(self, index: int) -> list[Exchange]:
        """Exchanges of later rounds that may be begun in this one."""
        if not self.cut.ahead or self.job.trained(self.job.partition.front):
            return []
        rounds = range(index + 1, min(index + 1 + self.depth, self.job.rounds))
        return [exchange for later in rounds for exchange in exchanges_of(self.job, later)][: self.depth]


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
        self.batches = Batches(exchange)
        self.chunks = {satellite: self.batches.chunks(satellite, rounds.cut.parts) for satellite in satellites}
        self.weights = {satellite: Gate() for satellite in satellites}
        self.encoder = {satellite: Gate() for satellite in satellites}
        self.steps_left = {satellite: len(chunks) for satellite, chunks in self.chunks.items()}
        self.heads_left, self.passes_left = dict(self.steps_left), dict(self.steps_left)
        self.averaging = Averaging(self.job, self.schedule, queue, self.urgency, self._averaged, exchange.sum)
        self.done_s: dict[str, float] = {}
        if not exchange.rest_trains:
            self._open(self.encoder, satellites, 0.0)

    def allow(self, since_s: float) -> None:
        """Weights and encoder of the exchange before are there."""
        satellites = self.job.system.nodes.satellites
        self._open(self.weights, satellites, since_s)
        if self.exchange.rest_trains:
            self._open(self.encoder, satellites, since_s)

    def owe(self) -> None:
        """Tell the guide what has not come down yet."""
        satellites, urgency = self.job.system.nodes.satellites, self._urgency("embedding")
        for satellite, chunks in self.chunks.items():
            for chunk in chunks:
                place = self.rounds.places.get(chunk)
                on_board = place is None or (place.kind == "embedding" and place.node in satellites)
                if on_board and self.batches.crosses(chunk):
                    self.rounds.routes.guide.owe(urgency, satellite, self.batches.part("embedding", chunk).size)

    def begin(self, start_s: float) -> None:
        """Set all micro-batches going, each from where it is."""
        self.exchange.ground.cost(forward=True)  # refuses what does not fit
        for satellite, chunks in self.chunks.items():
            for chunk in chunks:
                place = self.rounds.places.get(chunk)
                if place is not None:
                    self._resume(chunk, place, max(place.since_s, start_s))
                elif not self.batches.crosses(chunk):
                    self._landed(chunk, start_s)
                elif self.exchange.front_trains:
                    self.weights[satellite].when(self._embedder(chunk, start_s))
                else:
                    self._embed(chunk, start_s)
        if self.job.cache == "features":
            for satellite in self.exchange.members:
                self.weights[satellite].when(self._stepper(satellite))

    def _resume(self, chunk: Chunk, place: Place, ready_s: float) -> None:
        node, satellite = place.node, chunk.satellite
        if place.kind == "embedding" and node == self.server:
            self._landed(chunk, ready_s)
        elif place.kind == "embedding" and node in self.job.system.nodes.stations:
            payload = self.batches.part("embedding", chunk)
            then = self._then(self._landed, chunk)
            self.queue.add(Cable(self.rounds.routes, self._urgency(place.kind), node, payload, ready_s, then))
        elif place.kind == "embedding":
            self._down("embedding", chunk, ready_s, self._landed, node, place.heading)
        elif node == self.server:
            self._up("feature", chunk, ready_s, self._returned)
        else:
            follow(self.queue, self.rounds.routes, self._urgency(place.kind), self.batches.part("feature", chunk), node,
                   satellite, ready_s, self._then(self._returned, chunk), self._mover("feature", chunk),
                   place.heading)  # fmt: skip

    # -- one micro-batch, from step to step ----------------------------------------------------------------------------

    def _embedder(self, chunk: Chunk, start_s: float) -> Callable[[float], None]:
        return lambda since_s: self._embed(chunk, max(start_s, since_s))

    def _embed(self, chunk: Chunk, ready_s: float) -> None:
        satellite = chunk.satellite
        self._on_board("embed", chunk, self.exchange.embed_flops(satellite), ready_s,
                       self.exchange.embed_needs(satellite), lambda: (self.batches.part("embedding", chunk),),
                       self._embedded)  # fmt: skip

    def _embedded(self, chunk: Chunk, since_s: float) -> None:
        self._note("embedding", chunk, chunk.satellite, since_s, 0)
        self._down("embedding", chunk, since_s, self._landed)

    def _landed(self, chunk: Chunk, since_s: float) -> None:
        self._note("embedding", chunk, self.server, since_s, 0)
        if not self.exchange.keeps_embeddings:
            self._when_encoder(chunk, since_s)
            return
        stock = self.rounds.stocks[chunk.satellite]
        if self.batches.crosses(chunk):
            before = self.exchange.uses.before[chunk.satellite]
            stock.land(before + chunk.first, before + chunk.last, since_s)
            self._when_encoder(chunk, since_s)
        else:
            stock.when(
                self.batches.crossed_before(chunk.satellite),
                lambda there_s: self._when_encoder(chunk, max(there_s, since_s)),
            )

    def _when_encoder(self, chunk: Chunk, since_s: float) -> None:
        self.encoder[chunk.satellite].when(lambda open_s: self._encode(chunk, max(open_s, since_s)))

    def _encode(self, chunk: Chunk, ready_s: float) -> None:
        needs, makes = (self.batches.embeddings(chunk),), (self.batches.part("feature", chunk),)

        def memory() -> float:
            held = self.exchange.ground.held_bytes(chunk.satellite) * chunk.samples
            if self.exchange.ground.keeps_all:
                held = self.rounds.kept_bytes = self.rounds.kept_bytes + held
            return self._server_memory(chunk, held, needs)

        flops = self.exchange.ground.encode_flops(chunk.satellite) * chunk.samples
        self.queue.add(Work(self.schedule, self.urgency, self.server, flops, ready_s, needs, lambda: makes, memory,
                            self._then(self._encoded, chunk)))  # fmt: skip

    def _server_memory(self, chunk: Chunk, held: float, needs: tuple[Payload, ...]) -> float:
        working = self.exchange.ground.working_bytes(chunk.satellite) * chunk.samples
        stock = sum(payload.size for payload in needs if self.exchange.keeps(payload.kind))
        return self.exchange.ground.memory(held, working, self.exchange.keeps_embeddings * stock)

    def _encoded(self, chunk: Chunk, since_s: float) -> None:
        self._note("feature", chunk, self.server, since_s, 0)
        self._up("feature", chunk, since_s, self._returned)

    def _returned(self, chunk: Chunk, since_s: float) -> None:
        self._note("feature", chunk, chunk.satellite, since_s, 0)
        if self.job.cache == "features":
            before = self.exchange.uses.before[chunk.satellite]
            self.rounds.stocks[chunk.satellite].land(before + chunk.first, before + chunk.last, since_s)
        else:
            self.weights[chunk.satellite].when(lambda open_s: self._head(chunk, max(open_s, since_s)))

    # -- head steps on features that stay ------------------------------------------------------------------------------

    def _stepper(self, satellite: int) -> Callable[[float], None]:
        return lambda open_s: self._step(satellite, self.batches.head_steps(satellite), open_s)

    def _step(self, satellite: int, steps: list[HeadStep], ready_s: float) -> None:
        """One after the other, each as soon as the new samples of its batches are there."""
        if not steps:
            self.averaging.add(satellite, self.exchange.update(satellite), ready_s)
            return
        step, *later = steps

        def book(there_s: float) -> None:
            self.queue.add(Work(self.schedule, self.urgency, satellite, step.flops, max(ready_s, there_s), step.needs,
                                lambda: step.makes, lambda: step.memory_bytes,
                                lambda end_s: self._step(satellite, later, end_s)))  # fmt: skip

        self.rounds.stocks[satellite].when(step.count, book)

    # -- what is not kept ----------------------------------------------------------------------------------------------

    def _head(self, chunk: Chunk, ready_s: float) -> None:
        exchange, satellite = self.exchange, chunk.satellite

        def makes() -> tuple[Payload, ...]:
            self.heads_left[satellite] -= 1
            gradient = (self.batches.part("feature_gradient", chunk),) if exchange.rest_trains else ()
            last = not self.heads_left[satellite] and exchange.averaged and not exchange.front_trains
            return (*gradient, exchange.update(satellite)) if last else gradient

        needs = (self.batches.part("feature", chunk), raw(self.job, satellite)[1], exchange.start_of(satellite))
        self._on_board("head step", chunk, self.job.head_flops, ready_s, needs, makes, self._stepped)

    def _stepped(self, chunk: Chunk, since_s: float) -> None:
        if self.exchange.rest_trains:
            self._down("feature_gradient", chunk, since_s, self._backward)
        if not self.exchange.front_trains:
            self._count(chunk, since_s)

    def _backward(self, chunk: Chunk, ready_s: float) -> None:
        exchange, satellite = self.exchange, chunk.satellite
        again = (self.batches.embeddings(chunk),) if exchange.ground.recomputes else ()
        needs = (self.batches.part("feature_gradient", chunk), *again)

        def makes() -> tuple[Payload, ...]:
            self.passes_left[satellite] -= 1
            return (self.batches.part("embedding_gradient", chunk),) if exchange.front_trains else ()

        def memory() -> float:
            held = exchange.ground.held_bytes(satellite) * chunk.samples
            kept = self.rounds.kept_bytes if exchange.ground.keeps_all else held
            self.rounds.kept_bytes -= held if exchange.ground.keeps_all else 0.0
            return self._server_memory(chunk, kept, again)

        flops = exchange.ground.rest_backward_flops(satellite) * chunk.samples
        self.queue.add(Work(self.schedule, self.urgency, self.server, flops, ready_s, needs, makes, memory,
                            self._then(self._passed, chunk)))  # fmt: skip

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
        makes = self.exchange.model()
        if not makes:
            self._encoder_updated(ready_s)
            return
        needs = tuple(self.exchange.data("feature_gradient", satellite) for satellite in self.exchange.members)
        self.queue.add(Work(self.schedule, self.urgency, self.server, 0.0, ready_s, needs, lambda: makes,
                            lambda: self.exchange.ground.memory(0.0, 0.0), self._encoder_updated))  # fmt: skip

    def _encoder_updated(self, since_s: float) -> None:
        self._open_after("encoder", self.job.system.nodes.satellites, since_s)
        self._finish("encoder", since_s)

    def _front_backward(self, chunk: Chunk, ready_s: float) -> None:
        def makes() -> tuple[Payload, ...]:
            last = self.steps_left[chunk.satellite] == 1 and self.exchange.averaged
            return (self.exchange.update(chunk.satellite),) if last else ()

        each = self.exchange.front_backward_flops(chunk.satellite)
        needs = (self.batches.part("embedding_gradient", chunk),)
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
        elif (following := self._ahead_by(self.rounds.depth + 1)) is not None:
            self.rounds.begin([following], end_s)

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
        payload, owner = self.batches.part(kind, chunk), chunk.satellite
        step = Down(self.queue, self.rounds.routes, self._urgency(kind), payload, owner if here < 0 else here, ready_s,
                    self._then(then, chunk), self._mover(kind, chunk), heading, owner if heading else -1)  # fmt: skip
        self.queue.add(step)

    def _up(self, kind: str, chunk: Chunk, ready_s: float, then: Callable[[Chunk, float], None]) -> None:
        payload = self.batches.part(kind, chunk)
        self.queue.add(Up(self.queue, self.rounds.routes, self._urgency(kind), payload, chunk.satellite, ready_s,
                          self._then(then, chunk), self._mover(kind, chunk)))  # fmt: skip

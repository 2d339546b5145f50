"""One exchange with the encoder in orbit: embeddings around the ring to the hosts, features and gradients back.

Through the hosts of a plane micro-batches follow each other, so that all of them work at once. They are cut so that
there are `FILL` for each host: with so many the pipeline is idle only for a small share of the time.

Stage after stage, everything else waits for everybody; streamed, a micro-batch goes on as soon as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orbitune.methods.base import Job
from orbitune.methods.exchange import Exchange
from orbitune.methods.in_orbit_hosts import Pipeline, Placement
from orbitune.methods.in_orbit_memory import Memory
from orbitune.methods.in_orbit_tensors import Chunk, Sizes, Tensors
from orbitune.methods.stream_queue import Queue, Work
from orbitune.model.partition import forward_flops
from orbitune.strategies import intra_orbit
from orbitune.strategies.ring import Line, shapes
from orbitune.timeline.activity import Held, Payload
from orbitune.timeline.simulate import Schedule

FORWARD, BACKWARD = 1, 0
"""Urgencies: what goes back goes first, so that activations are free soon (PipeDream's one forward, one backward)."""

FILL = 4
"""Micro-batches per stage with which the idle time at both ends is negligible (GPipe, Huang et al., arXiv:1811.06965,
section 2.3)."""

Then = Callable[[Chunk, float], None]
"""What a micro-batch does next, from a moment on."""

Step = Callable[[Chunk, float, Then], None]
"""Puts a step of a micro-batch into the queue, and what follows it."""

RingBook = Callable[[Pipeline, Mapping[int, Held]], dict[int, float]]
"""Books the way of what satellites hold (or get) in one plane; returns when who has it."""


@dataclass
class Hop:
    """A payload that goes from satellite to satellite along `stops`; the first holds it."""

    schedule: Schedule
    queue: Queue
    urgency: float
    payload: Payload
    stops: tuple[int, ...]
    ready_s: float
    then: Callable[[float], None]

    def begin_s(self) -> float:
        """When the first link is free."""
        return self.schedule.peek(self.stops[0], self.stops[1], self.payload.size, self.ready_s)[0]

    def end_s(self) -> float:
        """When it would be over the first link."""
        return self.schedule.peek(self.stops[0], self.stops[1], self.payload.size, self.ready_s)[1]

    def book(self) -> None:
        """Send it over the first link, and go on."""
        since_s = self.schedule.send(self.stops[0], self.stops[1], self.payload, self.ready_s)
        follow(self.schedule, self.queue, self.urgency, self.payload, self.stops[1:], since_s, self.then)


def follow(
    schedule: Schedule, queue: Queue, urgency: float, payload: Payload, stops: tuple[int, ...], ready_s: float,
    then: Callable[[float], None],
) -> None:  # fmt: skip
    """Put the next hop into the queue, or go on where there is none."""
    if len(stops) == 1:
        then(ready_s)
    else:
        queue.add(Hop(schedule, queue, urgency, payload, stops, ready_s, then))


class OrbitExchange:
    """One exchange of a placement on a schedule."""

    def __init__(self, job: Job, placement: Placement, exchange: Exchange, schedule: Schedule) -> None:
        self.job, self.placement, self.exchange, self.schedule = job, placement, exchange, schedule
        self.tensors = Tensors(Sizes(job, placement), exchange)
        self.memory = Memory(job, placement, self.tensors)
        self.queue = Queue(FORWARD)
        self.ends_s: list[float] = []
        self.left: dict[tuple[str, int, int], int] = {}

    # -- stage after stage -------------------------------------------------------------------------------------------

    def run(self, start_s: float) -> float:
        """Book the whole exchange; each stage starts when the one before has ended."""
        exchange, last = self.exchange, self.placement.num_stages - 1
        now = self._span("embed", self.embed, _batches(exchange.crossing), start_s)
        now = self._to_host("embedding", 0, exchange.crossing, now)
        now = self._span("encode", self.encode, self.chunks(0), now)
        now = self._to_owners("feature", last, exchange.encoded, now)
        now = self._span("head step", self.head_step, _batches(exchange.counts), now)
        if exchange.rest_trains:
            now = self._to_host("feature_gradient", last, exchange.counts, now)
            now = self._span("encoder backward", self.encoder_backward, self.chunks(0), now)
        if exchange.front_trains:
            now = self._to_owners("embedding_gradient", 0, exchange.counts, now)
            now = self._span("embedding backward", self.front_backward, _batches(exchange.counts), now)
        return now

    def _span(self, stage: str, step: Step, chunks: Sequence[Chunk], start_s: float) -> float:
        """Each of these micro-batches takes one step, or passes through the hosts of its plane."""
        if not chunks:
            return start_s
        self.schedule.stage = stage
        for chunk in chunks:
            step(chunk, start_s, self._done)
        return self.schedule.span(start_s, self._finish(start_s))

    def _finish(self, start_s: float) -> float:
        """Book all that waits in the queue; returns when the last is done."""
        self.queue.run()
        ends_s, self.ends_s = self.ends_s, []
        return max(ends_s, default=start_s)

    def _done(self, chunk: Chunk, since_s: float) -> None:
        self.ends_s.append(since_s)

    def _to_host(self, kind: str, stage: int, counts: tuple[int, ...], start_s: float) -> float:
        """Around the rings to the host of a stage, in each plane."""

        def book(pipeline: Pipeline, held: Mapping[int, Held]) -> dict[int, float]:
            goals, way = (pipeline.hosts[stage],), self.job.ways.intra_orbit
            return intra_orbit.gather_to(self.schedule, pipeline.ring, held, goals, way)

        return self._around(f"gather {_plural(kind)} in planes", book, kind, counts, start_s)

    def _to_owners(self, kind: str, stage: int, counts: tuple[int, ...], start_s: float) -> float:
        """From the host of a stage around the ring to the owners, in each plane."""

        def book(pipeline: Pipeline, held: Mapping[int, Held]) -> dict[int, float]:
            parts = [(pipeline.hosts[stage], part, owner) for owner, part in held.items()]
            return intra_orbit.scatter_from(self.schedule, pipeline.ring, parts, self.job.ways.intra_orbit)

        return self._around(f"hand out {_plural(kind)} in planes", book, kind, counts, start_s)

    def _around(self, stage: str, book: RingBook, kind: str, counts: tuple[int, ...], start_s: float) -> float:
        who = self.exchange.of(counts)
        if not who:
            return start_s
        self.schedule.stage = stage
        ends_s = [start_s]
        for pipeline in self.placement.pipelines:
            held = {s: Held(self.exchange.data(kind, s), start_s) for s in pipeline.ring if s in who}
            if held:
                ends_s += book(pipeline, held).values()
        return self.schedule.span(start_s, max(ends_s))

    # -- streamed ----------------------------------------------------------------------------------------------------

    def stream(self, parts: int, start_s: float) -> float:
        """Book the whole exchange in micro-batches that wait for nobody; `parts` of each satellite at least."""
        self.schedule.stage = "exchange, streamed"
        lines = [shapes(self.schedule, pipeline.ring, start_s)[0][0] for pipeline in self.placement.pipelines]
        line_of = {member: line for line in lines for member in line.members}
        for chunk in self.chunks(parts):
            self._flow(chunk, line_of[chunk.satellite], start_s)
        return self.schedule.span(start_s, self._finish(start_s))

    def _flow(self, chunk: Chunk, line: Line, start_s: float) -> None:
        """Chain the steps of one micro-batch, from the last to the first."""
        owner, hosts = chunk.satellite, self.placement.of(chunk.satellite).hosts

        def carried(kind: str, source: int, target: int, then: Then) -> Then:
            def go(chunk: Chunk, since_s: float) -> None:
                held = Held(self.tensors.part(kind, chunk), since_s)
                trip = line.straight(source, target, held, self.job.ways.intra_orbit, 0)
                stops = (source,) if source == target else trip.stops
                self._send(held.payload, stops, since_s, lambda s: then(chunk, s))

            return go

        def then(step: Step, after: Then) -> Then:
            return lambda chunk, since_s: step(chunk, since_s, after)

        after: Then = self._done
        if self.exchange.front_trains:
            after = carried("embedding_gradient", hosts[0], owner, then(self.front_backward, after))
        if self.exchange.rest_trains:
            after = carried("feature_gradient", owner, hosts[-1], then(self.encoder_backward, after))
        after = carried("feature", hosts[-1], owner, then(self.head_step, after))
        after = carried("embedding", owner, hosts[0], then(self.encode, after))
        self.embed(chunk, start_s, after)

    # -- the steps of a micro-batch ----------------------------------------------------------------------------------

    def chunks(self, least: int) -> list[Chunk]:
        """The micro-batches of all satellites: `FILL` for each host of a plane, and `least` of each satellite."""
        found: list[Chunk] = []
        for pipeline in self.placement.pipelines:
            wanted = FILL * len(pipeline.hosts) if len(pipeline.hosts) > 1 else 1
            for satellite in pipeline.ring:
                count = self.exchange.encoded[satellite]
                parts = min(count, max(least, -(-wanted // len(pipeline.ring))))
                edges = [count * number // parts for number in range(parts + 1)] if parts else [0]
                found += [Chunk(satellite, *pair) for pair in pairwise(edges)]
        return found

    def embed(self, chunk: Chunk, ready_s: float, then: Then) -> None:
        """A satellite's own blocks."""
        each, needs = self.exchange.embed_flops(chunk.satellite), self.exchange.embed_needs(chunk.satellite)
        makes = (self.tensors.part("embedding", chunk),)
        self._on_board("embed", chunk, each, ready_s, needs, lambda: makes, then)

    def encode(self, chunk: Chunk, ready_s: float, then: Then, stage: int = 0) -> None:
        """One host after the other, to the last."""
        hosts = self.placement.of(chunk.satellite).hosts
        host, last = hosts[stage], stage == len(hosts) - 1
        makes = self.tensors.part("feature", chunk) if last else self.tensors.activation("embedding", chunk, stage + 1)

        def onward(since_s: float) -> None:
            if last:
                then(chunk, since_s)
            else:
                stops = (host, hosts[stage + 1])
                self._send(makes, stops, since_s, lambda there_s: self.encode(chunk, there_s, then, stage + 1))

        flops = forward_flops(self.placement.stages[stage]) * chunk.samples
        needs = (self.tensors.input(chunk, stage), *self.tensors.encoder(stage))
        self._work(
            FORWARD, host, flops, ready_s, needs, lambda: (makes,), lambda: self.memory.forward(host, chunk), onward
        )

    def head_step(self, chunk: Chunk, ready_s: float, then: Then) -> None:
        """Loss with the satellite's own labels, and the step of the head."""
        exchange = self.exchange
        cached, *others = exchange.head_needs(chunk.satellite)
        feature = cached if self.job.cache == "features" else self.tensors.part("feature", chunk)
        gradient = (self.tensors.part("feature_gradient", chunk),) if exchange.rest_trains else ()

        def makes() -> tuple[Payload, ...]:
            return gradient if exchange.front_trains else (*gradient, *self._update_after(chunk))

        self._on_board("head step", chunk, self.job.head_flops, ready_s, (feature, *others), makes, then)

    def encoder_backward(self, chunk: Chunk, ready_s: float, then: Then, back: int = 0) -> None:
        """One host after the other, from the last to the first."""
        hosts = self.placement.of(chunk.satellite).hosts
        stage = len(hosts) - 1 - back
        host, parts = hosts[stage], self.placement.stages[stage]
        takes = self.tensors.part("feature_gradient", chunk)
        if back:
            takes = self.tensors.activation("embedding_gradient", chunk, stage + 1)
        again = host in self.memory.recomputing
        gradient: tuple[Payload, ...] = ()
        if stage or self.exchange.front_trains:
            gradient = (self.tensors.activation("embedding_gradient", chunk, stage),)

        def onward(since_s: float) -> None:
            if stage:
                stops = (host, hosts[stage - 1])
                self._send(gradient[0], stops, since_s, lambda s: self.encoder_backward(chunk, s, then, back + 1))
            else:
                then(chunk, since_s)

        inputs = (self.tensors.input(chunk, stage),) if again else ()
        flops = (self.job.backward_flops(parts) + again * forward_flops(parts)) * chunk.samples
        needs = (takes, *inputs, *self.tensors.encoder(stage))
        self._work(BACKWARD, host, flops, ready_s, needs, lambda: (*gradient, *self._model_after(chunk, stage)),
                   lambda: self.memory.backward(host, chunk), onward)  # fmt: skip

    def front_backward(self, chunk: Chunk, ready_s: float, then: Then) -> None:
        """Gradients through a satellite's own blocks."""
        each, needs = (
            self.exchange.front_backward_flops(chunk.satellite),
            self.tensors.part("embedding_gradient", chunk),
        )
        self._on_board("embedding backward", chunk, each, ready_s, (needs,), lambda: self._update_after(chunk), then)

    def _update_after(self, chunk: Chunk) -> tuple[Payload, ...]:
        """What a satellite contributes to the average, with the last of its samples."""
        last = self._is_last("update", chunk, 0)
        return (self.exchange.update(chunk.satellite),) if last and self.exchange.averaged else ()

    def _model_after(self, chunk: Chunk, stage: int) -> tuple[Payload, ...]:
        """What a stage has trained on a satellite's samples, with the last of them."""
        sizes = self.tensors.sizes
        if not self._is_last("model", chunk, stage) or not self.exchange.averaged or not sizes.trained_bytes:
            return ()
        return (sizes.model({chunk.satellite}, self.exchange.version, stage),)

    def _is_last(self, what: str, chunk: Chunk, stage: int) -> bool:
        key = (what, chunk.satellite, stage)
        self.left[key] = self.left.get(key, self.exchange.counts[chunk.satellite]) - chunk.samples
        return not self.left[key]

    def _on_board(
        self, stage: str, chunk: Chunk, each: float, ready_s: float, needs: tuple[Payload, ...],
        makes: Callable[[], tuple[Payload, ...]], then: Then,
    ) -> None:  # fmt: skip
        satellite, urgency = chunk.satellite, FORWARD if stage == "embed" else BACKWARD
        self._work(urgency, satellite, each * chunk.samples, ready_s, needs, makes,
                   lambda: self.memory.on_board(satellite, stage), lambda since_s: then(chunk, since_s))  # fmt: skip

    def _work(
        self, urgency: float, node: int, flops: float, ready_s: float, needs: tuple[Payload, ...],
        makes: Callable[[], tuple[Payload, ...]], memory: Callable[[], float], then: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.queue.add(Work(self.schedule, urgency, node, flops, ready_s, needs, makes, memory, then))

    def _send(self, payload: Payload, stops: tuple[int, ...], ready_s: float, then: Callable[[float], None]) -> None:
        follow(self.schedule, self.queue, _urgency(payload.kind), payload, stops, ready_s, then)


def _batches(counts: tuple[int, ...]) -> list[Chunk]:
    """All samples of each satellite at once."""
    return [Chunk(satellite, 0, count) for satellite, count in enumerate(counts) if count]


def _urgency(kind: str) -> int:
    return BACKWARD if "gradient" in kind else FORWARD


def _plural(kind: str) -> str:
    return kind.replace("_", " ") + "s"

"""A whole job played on the booking desk in a random way, and the needs that describe it.

Samples are embedded on board, brought to the server, encoded there, brought back and trained on; then the models are
averaged over the ground or over inter-satellite links. Which rounds wait for what, who carries what, in which order
things are booked: all drawn at random. Whatever comes out must not be faster than the bound of its needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from orbitune.cost.system import System
from orbitune.timeline.activity import Payload, Timeline, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule

Sample = tuple[int, int]
"""Satellite and number of the sample."""

Step = Callable[[Sample, float], float]
"""What happens to a sample that is ready at a moment; returns when it is done."""


@dataclass(frozen=True)
class Sizes:
    """FLOPs and bytes per sample, and bytes of the model."""

    embed: float
    encode: float
    train: float
    down: int
    up: int
    model: int


@dataclass(frozen=True)
class Choices:
    """What a method would decide."""

    rounds: int
    samples: dict[int, int]
    deploys: bool
    embeds_anew: bool  # the embedding trains, so it waits for the weights
    encodes_anew: bool  # the encoder trains
    backward: str  # "": nothing more; "branch": gradients to the server; "full": and back to the satellites
    delivers: bool
    shares_carriers: bool  # any member of a plane may bring bytes down
    by_stage: bool  # book stage after stage, otherwise sample after sample
    greedy: bool  # the earliest way of all, otherwise the first of a random order
    way: str  # how models are combined: "ground", "leaders" or "space"


@st.composite
def choices(draw: st.DrawFn, system: System) -> Choices:
    counts = draw(
        st.lists(st.integers(0, 2), min_size=system.nodes.num_satellites, max_size=system.nodes.num_satellites)
    )
    counts[draw(st.integers(0, len(counts) - 1))] += 1
    flags = [draw(st.booleans()) for _ in range(7)]
    return Choices(
        draw(st.integers(1, 3)),
        {satellite: count for satellite, count in enumerate(counts) if count},
        *flags[:3],
        draw(st.sampled_from(["", "branch", "full"])),
        *flags[3:],
        draw(st.sampled_from(["ground", "leaders", "space"])),
    )


flops = st.sampled_from([10.0, 2e3, 3e4])
sizes = st.builds(Sizes, flops, flops, flops, *[st.sampled_from([10, 400, 4_000])] * 3)


def image(satellite: int) -> Payload:
    """What a satellite took: the one thing that it needs for anything of its own."""
    return whole("image", [satellite], 0, 1)


@dataclass
class Job:
    """Plays the choices on a desk. `has_s`: when each satellite has the weights of its next round."""

    system: System
    choice: Choices
    size: Sizes
    shuffled: Callable[[Iterable[int]], list[int]]
    desk: Schedule = field(init=False)
    needs: list[Need] = field(default_factory=list)
    has_s: dict[int, float] = field(init=False)
    trained_s: dict[int, float] = field(default_factory=dict)
    server_s: float = 0.0
    server_next_s: float = 0.0
    end_s: float = 0.0
    since_s: dict[tuple[int, Payload], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desk = Schedule(self.system, stage="all")
        self.desk.initial += [(satellite, image(satellite)) for satellite in self.system.nodes.satellites]
        self.has_s = dict.fromkeys(self.system.nodes.satellites, 0.0)

    def play(self) -> Timeline:
        if self.choice.deploys:
            self._deploy()
        for number in range(self.choice.rounds):
            self._round(number)
        if self.choice.delivers:
            self._deliver()
        self.desk.span(0.0, self.end_s + 1.0)
        return self.desk.timeline("random", (), 0)  # an excerpt: it starts with models of all kinds

    # -- ways ------------------------------------------------------------------------------------------------------

    def _plane(self, satellite: int) -> tuple[int, ...]:
        return self.system.nodes.planes[self.system.nodes.plane_of[satellite]]

    def _carriers(self, satellite: int) -> list[int]:
        return self.shuffled(self._plane(satellite)) if self.choice.shares_carriers else [satellite]

    def _ways(self, satellite: int) -> list[tuple[int, int]]:
        """Carrier and station, best or first one first."""
        return [(c, g) for c in self._carriers(satellite) for g in self.shuffled(self.system.nodes.stations)]

    def to_server(self, satellite: int, payload: Payload, ready_s: float) -> float:
        ways = self._ways(satellite)
        if self.choice.greedy:
            ways.sort(key=lambda way: self.desk.probe(way[0], way[1], payload.size, ready_s))
        return self.along([satellite, *ways[0], self.system.nodes.server], payload, ready_s)

    def to_satellite(self, satellite: int, payload: Payload, ready_s: float) -> float:
        ways = self._ways(satellite)
        if self.choice.greedy:
            ways.sort(key=lambda way: self.desk.probe(way[1], way[0], payload.size, ready_s))
        carrier, station = ways[0]
        return self.along([self.system.nodes.server, station, carrier, satellite], payload, ready_s)

    def along(self, path: list[int], payload: Payload, ready_s: float) -> float:
        """Send a payload along a path; who holds it already is not sent it again."""
        for source, target in itertools.pairwise(path):
            if source == target:
                continue
            if (target, payload) not in self.since_s:
                self._note(target, payload, self.desk.send(source, target, payload, ready_s))
            ready_s = self.since_s[target, payload]
        return ready_s

    def _note(self, node: int, payload: Payload, since_s: float) -> None:
        self.since_s[node, payload] = since_s
        self.end_s = max(self.end_s, since_s)

    def compute(self, node: int, work: float, ready_s: float, takes: Payload, makes: Payload) -> float:
        end_s = self.desk.compute(node, work, ready_s, (takes,), (makes,))
        self._note(node, makes, end_s)
        return end_s

    def merge(self, node: int, parts: list[Payload], ready_s: float) -> Payload:
        total = self.desk.merge(node, parts, ready_s).payload
        self._note(node, total, min(ready_s, self.since_s.get((node, total), ready_s)))
        return total

    # -- one round -------------------------------------------------------------------------------------------------

    def _round(self, number: int) -> None:
        samples = [(s, i) for s, count in self.choice.samples.items() for i in range(count)]
        samples = [samples[index] for index in self.shuffled(range(len(samples)))]
        steps = self._steps(number)
        ready_s = dict.fromkeys(samples, 0.0)
        for sample, step in self._booking_order(samples, steps):
            ready_s[sample] = step(sample, ready_s[sample])
        self.server_s = max(self.server_s, self.server_next_s)
        self._needs_of_round(number)
        self._combine(number)

    def _booking_order(self, samples: list[Sample], steps: list[Step]) -> list[tuple[Sample, Step]]:
        if self.choice.by_stage:
            return [(sample, step) for step in steps for sample in samples]
        return [(sample, step) for sample in samples for step in steps]

    def _steps(self, number: int) -> list[Step]:
        """What happens to each sample, one step after the other."""
        choice, size, server = self.choice, self.size, self.system.nodes.server

        def part(kind: str, sample: Sample, size_bytes: int) -> Payload:
            satellite, index = sample
            return Payload(kind, frozenset((satellite,)), number, index * size_bytes, (index + 1) * size_bytes)

        def embed(sample: Sample, ready_s: float) -> float:
            ready_s = self.has_s[sample[0]] if choice.embeds_anew else 0.0
            return self.compute(sample[0], size.embed, ready_s, image(sample[0]), part("embedding", sample, size.down))

        def down(kind: str) -> Step:
            return lambda sample, ready_s: self.to_server(sample[0], part(kind, sample, size.down), ready_s)

        def encode(took: str, kind: str, waits: bool) -> Step:
            def step(sample: Sample, ready_s: float) -> float:
                ready_s = max(ready_s, self.server_s) if waits else ready_s
                takes, makes = part(took, sample, size.down), part(kind, sample, size.up)
                end_s = self.compute(server, size.encode, ready_s, takes, makes)
                self.server_next_s = max(self.server_next_s, end_s)
                return end_s

            return step

        def up(kind: str) -> Step:
            return lambda sample, ready_s: self.to_satellite(sample[0], part(kind, sample, size.up), ready_s)

        def train(took: str, kind: str) -> Step:
            def step(sample: Sample, ready_s: float) -> float:
                ready_s = max(ready_s, self.has_s[sample[0]])
                takes, makes = part(took, sample, size.up), part(kind, sample, size.down)
                end_s = self.compute(sample[0], size.train, ready_s, takes, makes)
                self.trained_s[sample[0]] = max(end_s, self.trained_s.get(sample[0], 0.0))
                return end_s

            return step

        steps = [
            embed,
            down("embedding"),
            encode("embedding", "feature", choice.encodes_anew),
            up("feature"),
            train("feature", "feature_gradient"),
        ]
        if choice.backward:
            steps += [down("feature_gradient"), encode("feature_gradient", "embedding_gradient", True)]
        if choice.backward == "full":
            steps += [up("embedding_gradient"), train("embedding_gradient", "done")]
        return steps

    # -- what it was, in needs -------------------------------------------------------------------------------------

    def _groups(self) -> tuple[tuple[int, ...], ...]:
        if self.choice.shares_carriers:
            return self.system.nodes.planes
        return tuple((satellite,) for satellite in self.system.nodes.satellites)

    def _on_board(self, number: int, stage: str, work: float, anew: bool) -> Need:
        total = {satellite: count * work for satellite, count in self.choice.samples.items()}
        return Need("compute", "train", number, stage, total, dict.fromkeys(total, work), (), anew)

    def _on_ground(self, number: int, stage: str, anew: bool) -> Need:
        server, count = self.system.nodes.server, sum(self.choice.samples.values())
        work = self.size.encode
        return Need("compute", "train", number, stage, {server: count * work}, {server: work}, (), anew)

    def _air(self, kind: str, number: int, stage: str, size_bytes: int, anew: bool) -> Need:
        groups = self._groups()
        total = {
            g: float(size_bytes * sum(self.choice.samples.get(s, 0) for s in group)) for g, group in enumerate(groups)
        }
        return Need(kind, "train", number, stage, total, dict.fromkeys(total, float(size_bytes)), groups, anew)

    def _needs_of_round(self, number: int) -> None:
        choice, size = self.choice, self.size
        early = choice.embeds_anew
        server = choice.encodes_anew or early
        self.needs += [
            self._on_board(number, "embed", size.embed, early),
            self._air("down", number, "down", size.down, early),
            self._on_ground(number, "encode", server),
            self._air("up", number, "up", size.up, server),
            self._on_board(number, "train", size.train, True),
        ]
        if choice.backward:
            self.needs += [
                self._air("down", number, "gradients", size.down, True),
                self._on_ground(number, "backward", True),
            ]
        if choice.backward == "full":
            self.needs += [
                self._air("up", number, "gradients up", size.up, True),
                self._on_board(number, "backward on board", size.train, True),
            ]

    # -- models ----------------------------------------------------------------------------------------------------

    def _deploy(self) -> None:
        groups, model = self._groups(), float(self.size.model)
        for satellite in self.system.nodes.satellites:
            payload = whole("front", [], satellite, model)  # one copy each, told apart by the version
            self.desk.initial.append((self.system.nodes.server, payload))
            self.has_s[satellite] = self.to_satellite(satellite, payload, 0.0)
        total = dict.fromkeys(range(len(groups)), model)  # a group needs one copy at least
        self.needs.append(Need("up", "deploy", 0, "deploy", total, total, groups))

    def _deliver(self) -> None:
        satellite = min(self.choice.samples)
        payload = whole("front", [satellite], -1, self.size.model)
        self.desk.initial.append((satellite, payload))
        self.to_server(satellite, payload, self.has_s[satellite])
        everybody = (tuple(self.system.nodes.satellites),)  # any satellite may deliver
        total = {0: float(self.size.model)}
        self.needs.append(Need("down", "deliver", 0, "deliver", total, total, everybody))

    def _combine(self, number: int) -> None:
        planes, model = self.system.nodes.planes, float(self.size.model)
        heads = {s: whole("head", [s], number, model) for s in self.choice.samples}
        for satellite, head in heads.items():
            self.trained_s[satellite] = self.compute(satellite, 0.0, self.trained_s[satellite], image(satellite), head)
        ways = {"ground": self._over_ground, "leaders": self._over_leaders, "space": self._over_space}
        ways[self.choice.way](heads)
        used = [p for p, plane in enumerate(planes) if any(s in self.choice.samples for s in plane)]
        total = dict.fromkeys(used, model)
        self.needs.append(Need("combine", "train", number, "combine", total, total, planes))

    def _over_ground(self, heads: dict[int, Payload]) -> None:
        """Every satellite for itself."""
        server = self.system.nodes.server
        known_s = max(self.to_server(s, head, self.trained_s[s]) for s, head in heads.items())
        self._from_server(self.merge(server, list(heads.values()), known_s), known_s)

    def _from_server(self, merged: Payload, known_s: float) -> None:
        for satellite in self.shuffled(self.system.nodes.satellites):
            held_s = self.since_s.get((satellite, merged))
            self.has_s[satellite] = self.to_satellite(satellite, merged, known_s) if held_s is None else held_s

    def _over_leaders(self, heads: dict[int, Payload]) -> None:
        """One satellite per plane collects, sends to the server, and hands back."""
        server, sums, known_s = self.system.nodes.server, [], 0.0
        for plane in self.system.nodes.planes:
            members = [s for s in plane if s in heads]
            if members:
                ready_s = max(self.along([s, members[0]], heads[s], self.trained_s[s]) for s in members)
                sums.append(self.merge(members[0], [heads[s] for s in members], ready_s))
                known_s = max(known_s, self.to_server(members[0], sums[-1], ready_s))
        merged = self.merge(server, sums, known_s)
        for plane in self.system.nodes.planes:
            self._hand_back(plane, next((s for s in plane if s in heads), plane[0]), merged, known_s)

    def _hand_back(self, plane: tuple[int, ...], leader: int, merged: Payload, known_s: float) -> None:
        has_s = self.since_s.get((leader, merged))
        if has_s is None:
            has_s = self.to_satellite(leader, merged, known_s)
        for satellite in plane:
            self.has_s[satellite] = self.along([leader, satellite], merged, has_s)

    def _over_space(self, heads: dict[int, Payload]) -> None:
        """Along the row of satellites, summing up, and back to those before the last that trained."""
        first, last = min(heads), max(heads)
        running, ready_s = heads[first], self.trained_s[first]
        self.has_s[first] = ready_s
        for satellite in self.system.nodes.satellites[first + 1 :]:
            ready_s = self.along([satellite - 1, satellite], running, ready_s)
            if satellite in heads:
                ready_s = max(ready_s, self.trained_s[satellite])
                running = self.merge(satellite, [running, heads[satellite]], ready_s)
            self.has_s[satellite] = ready_s
        for satellite in reversed(self.system.nodes.satellites[:last]):
            self.has_s[satellite] = self.along([satellite + 1, satellite], running, self.has_s[satellite + 1])

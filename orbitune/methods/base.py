"""What every method shares: the `Job` it plans, the `Method` contract, and the loop that turns both into a timeline.

To add a method, write one file with a class that has these members and list it in `methods/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from orbitune.cost.system import System
from orbitune.cost.transfer import wire_bytes
from orbitune.errors import PlanError
from orbitune.model.partition import OPTIMIZER_COPIES, Partition, params_bytes
from orbitune.model.profile import PartProfile
from orbitune.strategies import inter_orbit, intra_orbit
from orbitune.strategies.quickest_gather import Moved, gather_down, hand_out
from orbitune.strategies.satellite_ground import Cargo, bring_down, send_up
from orbitune.timeline.activity import Held, Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule

FP32_BYTES = 4
OVERLAPS = ("none", "stream")
"""`none`: stage after stage, as the paper adds them up. `stream`: micro-batches flow, and nothing waits for a stage."""

LABEL_BYTES = 1
"""One class number below 256 per sample."""


@dataclass(frozen=True)
class Ways:
    """Which way of each communication strategy is used, and the slot of the flow network in seconds."""

    intra_orbit: str
    satellite_ground: str
    inter_orbit: str
    slot_s: float


@dataclass(frozen=True)
class Job:
    """Everything a method needs to plan a training run, and nothing of where it came from.

    `samples[i]` is how many samples satellite i holds, `batch[i]` how many it uses in one optimiser step. `overlap`
    changes when things happen, never what is computed or sent.
    """

    system: System
    partition: Partition
    trains: str
    server_encoder: str
    rounds: int
    local_steps: int
    samples: tuple[int, ...]
    batch: tuple[int, ...]
    optimizer: str
    momentum: float
    codec: str
    ways: Ways
    preloaded: bool
    deliver_to: str
    overlap: str = "none"

    @property
    def has_rings(self) -> bool:
        """Whether satellites of a plane work together over their ring."""
        return self.ways.intra_orbit != "none"

    @cached_property
    def rings(self) -> tuple[tuple[int, ...], ...]:
        """The groups that average over their own links: the planes, or each satellite alone."""
        nodes = self.system.nodes
        return nodes.planes if self.has_rings else tuple((satellite,) for satellite in nodes.satellites)

    @cached_property
    def pools(self) -> tuple[tuple[int, ...], ...]:
        """The groups whose members can send each other's data to the ground; `direct` leaves everyone alone."""
        if self.ways.satellite_ground == "direct":
            return tuple((satellite,) for satellite in self.system.nodes.satellites)
        return self.rings

    @property
    def wire_bytes(self) -> float:
        """Bytes of one sample's activations at the cut, as they cross."""
        return wire_bytes(self.partition.wire_bytes / FP32_BYTES, self.codec)

    @property
    def feature_bytes(self) -> float:
        """Bytes of one sample's pooled feature, as it crosses."""
        return wire_bytes(self.partition.profile.feature_width, self.codec)

    def trained(self, parts: tuple[PartProfile, ...]) -> tuple[PartProfile, ...]:
        """Those of `parts` whose weights train."""
        if self.trains == "head":
            return ()
        frozen = () if self.trains == "full" else (self.partition.profile.embedding,)
        return tuple(part for part in parts if not any(part is other for other in frozen))

    @property
    def head_flops(self) -> float:
        """Training FLOPs of the head for one sample."""
        head = self.partition.head
        return head.flops_forward + head.flops_backward(input_trains=self.trains != "head")

    def training_memory(self, parts: tuple[PartProfile, ...], copies: int = 1) -> float:
        """Weights, gradients and optimiser state of the parts and the head, in bytes, without activations.

        Each of several copies has weights and optimiser state of its own; gradients are made for one after the other.
        """
        trained = params_bytes(self.trained(parts)) + self.partition.head.params_bytes
        frozen = params_bytes(parts) - params_bytes(self.trained(parts))
        state = OPTIMIZER_COPIES[self.optimizer] + (self.momentum > 0)
        return frozen + trained * (copies * (1 + state) + 1)

    def require_memory(self, node: int, needed: float, what: str) -> float:
        """Return `needed`, or refuse with numbers where it exceeds the node's memory."""
        memory = self.system.computer(node).memory_bytes
        if needed > memory:
            name = self.system.nodes.name(node)
            side = "server" if node == self.system.nodes.server else "satellite"
            raise PlanError(
                f"{what} needs {needed / 1e9:.2f} GB on {name}, which has {side}.memory_gb = {memory / 1e9:g}; use a "
                f"smaller train.batch_size, train less (train.trains), or move the cut (model.cut_after_block)"
            )
        return needed


@dataclass(frozen=True)
class Cut:
    """How work is streamed: a satellite's batch in `parts` micro-batches; with `ahead` the next round's may begin."""

    parts: int
    ahead: bool


Round = Callable[[int, float], float]
"""Books round `index` from a moment on and returns its end."""


class Method(Protocol):
    """A complete scheme. Each step books its work from `start_s` on and returns when it is done."""

    @property
    def name(self) -> str:
        """As written in scenarios and tables."""

    @property
    def learner(self) -> str:
        """The training that belongs to it: "split", "federated" or "central"."""

    @property
    def private(self) -> tuple[str, ...]:
        """Payload kinds that never travel."""

    def prepare(self, job: Job) -> Job:
        """The job with whatever switches this method fixes."""

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring what must be in place before the first round."""

    def round(self, job: Job, schedule: Schedule, index: int, start_s: float) -> float:
        """One training round."""

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """The rounds with `overlap = "stream"`: the same work, sends and promises without waiting for stages."""

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring the result to where it is wanted."""

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """What any schedule of `rounds` rounds has to do; the lower bound rests on this alone."""


def start_with(job: Job, schedule: Schedule) -> None:
    """What nodes hold before the first second: images and labels on board, weights at the server or everywhere."""
    nodes = job.system.nodes
    for satellite in nodes.satellites:
        schedule.initial += [(satellite, payload) for payload in raw(job, satellite)]
    holders = (*nodes.satellites, nodes.server) if job.preloaded else (nodes.server,)
    schedule.initial += [(holder, initial_weights(job, job.partition.parts)) for holder in holders]


def raw(job: Job, satellite: int) -> tuple[Payload, Payload]:
    """All images and labels of one satellite."""
    count = job.samples[satellite]
    images = whole("image", {satellite}, 0, count * job.partition.profile.sample_bytes)
    return images, whole("label", {satellite}, 0, count * LABEL_BYTES)


def initial_weights(job: Job, parts: tuple[PartProfile, ...]) -> Payload:
    """Untrained weights of the head and the first parts of the model; nobody's samples are in them yet."""
    return whole("weights", (), 0, job.partition.head.params_bytes + params_bytes(parts))


def deployed(job: Job, parts: tuple[PartProfile, ...]) -> tuple[Payload, ...]:
    """What satellites that work with the head and the first parts of the model must be sent before they start."""
    return () if job.preloaded else (initial_weights(job, parts),)


def lacking(job: Job, held: tuple[PartProfile, ...], wanted: tuple[PartProfile, ...]) -> tuple[Payload, ...]:
    """Untrained weights of `wanted` that satellites with those of `held` lack; both are first parts of the model."""
    first, weights = initial_weights(job, held).size, initial_weights(job, wanted)
    return () if job.preloaded or first >= weights.size else (weights.part(first, weights.size),)


# -- steps that several methods take ---------------------------------------------------------------------------------


def collect(
    job: Job, schedule: Schedule, payloads: Mapping[int, Sequence[Payload]], noun: str, start_s: float
) -> float:
    """Bring each satellite's payloads to the server: around its ring (strategy A) and down (strategy B)."""
    held = {satellite: [Held(payload, start_s) for payload in own] for satellite, own in payloads.items()}
    names = (f"share {noun} in planes", f"bring down {noun}")
    ways = job.ways
    return _write_down(schedule, gather_down(
        schedule, job.pools, held, ways.satellite_ground, ways.intra_orbit, ways.slot_s, names), start_s)  # fmt: skip


def distribute(
    job: Job, schedule: Schedule, payloads: Mapping[int, Sequence[Payload]], noun: str, start_s: float
) -> float:
    """Bring payloads from the server to the satellites that own them: `collect` backwards."""
    wanted = {satellite: [Held(payload, start_s) for payload in own] for satellite, own in payloads.items()}
    names = (f"send up {noun}", f"hand out {noun} in planes")
    ways = job.ways
    return _write_down(schedule, hand_out(
        schedule, job.pools, wanted, ways.satellite_ground, ways.intra_orbit, ways.slot_s, names), start_s)  # fmt: skip


def _write_down(schedule: Schedule, moved: Moved, start_s: float) -> float:
    """The stages of a transfer as spans; returns its end."""
    now = start_s
    for stage, end_s in moved.stages:
        schedule.stage = stage
        now = schedule.span(now, end_s)
    return now


def spread(job: Job, schedule: Schedule, payloads: Sequence[Payload], stage: str, start_s: float) -> float:
    """Bring payloads from the server to every satellite: once to each ring, then around it."""
    if not payloads:
        return start_s
    schedule.stage = stage
    cargos = [Cargo(ring, tuple(Held(payload, start_s) for payload in payloads)) for ring in job.rings]
    landed = send_up(schedule, cargos, job.ways.satellite_ground, job.ways.slot_s)
    end_s = start_s
    for ring in job.rings:
        parts = [(satellite, held) for satellite, held in landed if satellite in ring]
        arrivals = intra_orbit.broadcast_parts(schedule, ring, parts, job.ways.intra_orbit)
        end_s = max(end_s, *arrivals.values())
    for satellite in job.system.nodes.satellites:
        for payload in payloads:
            schedule.promise(satellite, payload, end_s)
    return schedule.span(start_s, end_s)


def spread_need(job: Job, phase: str, index: int, payloads: Sequence[Payload]) -> list[Need]:
    """What `spread` has to do, for the bound."""
    size = dict.fromkeys(range(len(job.rings)), float(sum(payload.size for payload in payloads)))
    return [Need("up", phase, index, f"{phase} weights", size, size, job.rings, one_copy=True)] if payloads else []


MEET_ON_GROUND = ("via_ground", "mixed_tree", "quickest")
"""Ways between planes with which the server may hold the average already."""


def fetch(job: Job, schedule: Schedule, payload: Payload, stage: str, start_s: float) -> float:
    """Bring the average that every satellite holds to the server, unless it was promised there when it was made."""
    server = job.system.nodes.server
    if any(promise.node == server and promise.payload == payload for promise in schedule.promises):
        return start_s
    schedule.stage = stage
    cargo = Cargo(tuple(job.system.nodes.satellites), (Held(payload, start_s),))
    arrived = bring_down(schedule, [cargo], job.ways.satellite_ground, job.ways.slot_s)
    schedule.promise(server, payload, arrived[payload])
    return schedule.span(start_s, arrived[payload])


def fetch_need(job: Job, index: int, payload: Payload) -> list[Need]:
    """What `fetch` has to do in any case, for the bound."""
    if job.ways.inter_orbit in MEET_ON_GROUND and len(job.rings) > 1:
        return []
    size, everybody = {0: float(payload.size)}, (tuple(job.system.nodes.satellites),)
    return [Need("down", "deliver", index, "deliver weights", size, size, everybody)]


def average(job: Job, schedule: Schedule, updates: Mapping[int, Payload], start_s: float) -> float:
    """Average what the satellites trained: around each ring, then across the planes."""
    schedule.stage = "average in planes"
    totals: list[Held] = []
    for ring in job.rings:
        held = {satellite: Held(updates[satellite], start_s) for satellite in ring}
        reduced = intra_orbit.all_reduce(schedule, ring, held, job.ways.intra_orbit)
        totals.append(Held(reduced[ring[0]].payload, max(part.since_s for part in reduced.values())))
    now = schedule.span(start_s, max(total.since_s for total in totals))
    schedule.stage = "average across planes"
    combined = inter_orbit.combine(
        schedule,
        job.rings,
        [Held(total.payload, now) for total in totals],
        job.ways.inter_orbit,
        intra_way=job.ways.intra_orbit,
        ground_way=job.ways.satellite_ground,
        slot_s=job.ways.slot_s,
    )
    end_s = max(held.since_s for held in combined.values())
    for satellite, total in combined.items():
        schedule.promise(satellite, total.payload, end_s)
    return schedule.span(now, end_s)


def average_need(job: Job, index: int, update: Payload) -> Need:
    """What `average` has to do, for the bound."""
    size = dict.fromkeys(range(len(job.rings)), float(update.size))
    return Need("combine", "train", index, "average", size, size, job.rings)


def everyone(job: Job) -> frozenset[int]:
    """Origins of anything averaged over all satellites."""
    return frozenset(job.system.nodes.satellites)


def per_satellite(job: Job, amount: float, counts: Sequence[int]) -> dict[int, float]:
    """`amount` per sample times the samples of each satellite."""
    return {satellite: amount * counts[satellite] for satellite in job.system.nodes.satellites}


def per_pool(job: Job, amount: float, counts: Sequence[int]) -> dict[int, float]:
    """`amount` per sample times the samples of each pool, by pool number."""
    return {number: amount * sum(counts[member] for member in pool) for number, pool in enumerate(job.pools)}

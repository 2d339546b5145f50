"""What every method shares: the `Job` it plans, the `Method` contract, and the loop that turns both into a timeline.

To add a method, write one file with a class that has these members and list it in `methods/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orbitune.methods.job import Job as Job
from orbitune.methods.job import Ways as Ways
from orbitune.model.partition import adapter_bytes, params_bytes
from orbitune.model.profile import PartProfile
from orbitune.strategies import inter_orbit, intra_orbit
from orbitune.strategies.quickest_gather import Moved, gather_down, hand_out
from orbitune.strategies.satellite_ground import Cargo, bring_down, send_up
from orbitune.timeline.activity import Held, Payload, whole
from orbitune.timeline.bounds import Need
from orbitune.timeline.holdings import ByteSet
from orbitune.timeline.simulate import Schedule

FP32_BYTES = 4
OVERLAPS = ("none", "stream")
"""`none`: stage after stage, as the paper adds them up. `stream`: micro-batches flow, and nothing waits for a stage."""


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
    return images, whole("label", {satellite}, 0, count * job.label_bytes)


def initial_weights(job: Job, parts: tuple[PartProfile, ...]) -> Payload:
    """Untrained weights of the head and the first parts of the model; nobody's samples are in them yet."""
    return whole("weights", (), 0, job.partition.head.params_bytes + params_bytes(parts))


def deployed(job: Job, parts: tuple[PartProfile, ...]) -> tuple[Payload, ...]:
    """What satellites that work with the head and the first parts of the model must be sent before they start."""
    return () if job.preloaded else (initial_weights(job, parts),)


def lacking(job: Job, held: tuple[PartProfile, ...], wanted: tuple[PartProfile, ...]) -> tuple[Payload, ...]:
    """Untrained weights of `wanted` that satellites with those of `held` lack; both are first parts of the model.

    Adapters are left out: they train, and come as what was trained.
    """
    first, weights = initial_weights(job, held).size, initial_weights(job, wanted)
    last = weights.size - int(adapter_bytes(wanted) - adapter_bytes(held))
    return () if job.preloaded or first >= last else (weights.part(first, last),)


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
    return schedule.span(start_s, give_to_rings(job, schedule, job.rings, payloads, start_s))


def give_to_rings(
    job: Job, schedule: Schedule, rings: Sequence[Sequence[int]], payloads: Sequence[Payload], start_s: float
) -> float:
    """Bring payloads from the server to all members of some rings, and promise them; no span is written."""
    cargos = [Cargo(tuple(ring), tuple(Held(payload, start_s) for payload in payloads)) for ring in rings]
    landed = send_up(schedule, cargos, job.ways.satellite_ground, job.ways.slot_s)
    end_s = start_s
    for ring in rings:
        parts = [(satellite, held) for satellite, held in landed if satellite in ring]
        arrivals = intra_orbit.broadcast_parts(schedule, ring, parts, job.ways.intra_orbit)
        end_s = max(end_s, *arrivals.values())
    for satellite in sorted(member for ring in rings for member in ring):
        for payload in payloads:
            schedule.promise(satellite, payload, end_s)
    return end_s


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
    landed, missing = _at_stations(job, schedule, payload)
    ends = [schedule.send(station, server, part, start_s) for station, part in landed]
    if missing:
        cargo = Cargo(tuple(job.system.nodes.satellites), tuple(Held(part, start_s) for part in missing))
        ends += bring_down(schedule, [cargo], job.ways.satellite_ground, job.ways.slot_s).values()
    schedule.promise(server, payload, max(ends))
    return schedule.span(start_s, max(ends))


def _at_stations(
    job: Job, schedule: Schedule, payload: Payload
) -> tuple[list[tuple[int, Payload]], list[Payload]]:  # fmt: skip
    """Parts of an average that passed through a station on their way between planes, and those that did not."""
    there, landed, begin = ByteSet(), [], payload.start_byte
    for activity in schedule.activities:
        found = activity.payload
        if found is None or activity.peer not in job.system.nodes.stations:
            continue
        if (found.kind, found.origins, found.version) == (payload.kind, payload.origins, payload.version):
            for low, high in there.gaps(found.start_byte, found.end_byte):
                landed.append((activity.peer, payload.part(low - begin, high - begin)))
            there.add(found.start_byte, found.end_byte)
    gaps = there.gaps(begin, payload.end_byte) if there else [(begin, payload.end_byte)]
    return landed, [payload.part(low - begin, high - begin) for low, high in gaps]


def fetch_need(job: Job, index: int, payload: Payload) -> list[Need]:
    """What `fetch` has to do in any case, for the bound."""
    if job.update_codec != "fp32" or (job.ways.inter_orbit in MEET_ON_GROUND and len(job.rings) > 1):
        return []
    size, everybody = {0: float(payload.size)}, (tuple(job.system.nodes.satellites),)
    return [Need("down", "deliver", index, "deliver weights", size, size, everybody)]


def average(job: Job, schedule: Schedule, updates: Mapping[int, Payload], start_s: float) -> float:
    """Average what the satellites trained: around each ring, then across the planes.

    Satellites that are not in `updates` only receive; rings in which nobody is stay out of it, unless the next round
    needs them (`Job.receivers`).
    """
    schedule.stage = "average in planes"
    totals: list[Held] = []
    rings = [ring for ring in job.rings if any(satellite in updates for satellite in ring)]
    for ring in rings:
        held = {satellite: Held(updates[satellite], start_s) for satellite in ring if satellite in updates}
        reduced = intra_orbit.all_reduce(schedule, ring, held, job.ways.intra_orbit)
        totals.append(Held(reduced[ring[0]].payload, max(part.since_s for part in reduced.values())))
    now = schedule.span(start_s, max(total.since_s for total in totals))
    schedule.stage = "average across planes"
    combined = inter_orbit.combine(
        schedule,
        rings,
        [Held(total.payload, now) for total in totals],
        job.ways.inter_orbit,
        intra_way=job.ways.intra_orbit,
        ground_way=job.ways.satellite_ground,
        slot_s=job.ways.slot_s,
        receivers=job.receivers(schedule.round),
    )
    end_s = max(held.since_s for held in combined.values())
    for satellite, total in combined.items():
        schedule.promise(satellite, total.payload, end_s)
    return schedule.span(now, end_s)


def average_need(job: Job, index: int, update: Payload) -> Need:
    """What `average` has to do, for the bound, in the rings in which somebody takes part."""
    who = job.members(index)
    rings = tuple(ring for ring in job.rings if not who.isdisjoint(ring))
    size = dict.fromkeys(range(len(rings)), float(update.size))
    return Need("combine", "train", index, "average", size, size, rings)


def everyone(job: Job) -> frozenset[int]:
    """Origins of anything averaged over all satellites."""
    return frozenset(job.system.nodes.satellites)


def per_satellite(job: Job, amount: float, counts: Sequence[int]) -> dict[int, float]:
    """`amount` per sample times the samples of each satellite."""
    return {satellite: amount * counts[satellite] for satellite in job.system.nodes.satellites}


def per_pool(job: Job, amount: float, counts: Sequence[int]) -> dict[int, float]:
    """`amount` per sample times the samples of each pool, by pool number."""
    return {number: amount * sum(counts[member] for member in pool) for number, pool in enumerate(job.pools)}

"""What any schedule with the encoder in orbit has to do, for the bound.

A need takes it for granted that a satellite computes on samples of its own, grain by grain. A host computes on those of
its whole plane, so of it only the sum is claimed ("hosting"), of all satellites and together with what their own blocks
do. It stands behind the average and beside the chain of rounds: the next head step of a satellite needs features that
are encoded with what the hosts trained (or heads that were averaged over all features), so it comes after all of it.

The average that is claimed is that of the heads, over all satellites; or, where planes exchange trained encoders, that
of one host of each plane, which must get its stage of the encoder beside the head.
"""

from __future__ import annotations

from collections.abc import Sequence

from orbitune.methods.base import MEET_ON_GROUND, Job, average_need, deployed, everyone, fetch_need
from orbitune.methods.exchange import Exchange, exchanges_of, last_update
from orbitune.methods.in_orbit_tensors import Sizes
from orbitune.model.partition import forward_flops
from orbitune.timeline.bounds import Need


def orbit_needs(sizes: Sizes, rounds: int) -> list[Need]:
    """Deployment, rounds and delivery without any schedule."""
    needs = _deploy(sizes)
    for index in range(rounds):
        waiting: list[Exchange] = []
        for exchange in exchanges_of(sizes.job, index):
            waiting.append(exchange)
            needs.append(_head_step(sizes.job, exchange))
            if exchange.averaged:
                needs += [_combine(sizes, index), _hosting(sizes, waiting)]
                waiting = []
    return needs + _deliver(sizes, rounds)


def _deploy(sizes: Sizes) -> list[Need]:
    """All weights reach each ring once; what a satellite needs itself moves on alone."""
    job = sizes.job
    total = sum(payload.size for payload in deployed(job, job.partition.parts))
    if not total:
        return []
    own = sum(payload.size for payload in deployed(job, job.partition.front))
    rings = range(len(job.rings))
    return [Need("up", "deploy", 0, "deploy weights", dict.fromkeys(rings, float(total)),
                 dict.fromkeys(rings, float(own)), job.rings, one_copy=True)]  # fmt: skip


def _head_step(job: Job, exchange: Exchange) -> Need:
    total = {satellite: job.head_flops * count for satellite, count in enumerate(exchange.counts)}
    return Need("compute", "train", exchange.index, "head step", total, dict.fromkeys(total, job.head_flops))


def _hosting(sizes: Sizes, exchanges: Sequence[Exchange]) -> Need:
    """All else that satellites compute; they may take it in any order, and ahead."""
    total = dict.fromkeys(sizes.job.system.nodes.satellites, 0.0)
    for exchange in exchanges:
        for satellite, flops in beside_head_flops(sizes, exchange).items():
            total[satellite] += flops
    index = exchanges[0].index
    return Need("compute", "train", index, "hosting", total, dict.fromkeys(total, 0.0), after_weights=False)


def beside_head_flops(sizes: Sizes, exchange: Exchange) -> dict[int, float]:
    """FLOPs of each satellite in an exchange: its own blocks for its samples, its stage for those of its plane.

    Recomputation is left out: another schedule might avoid it.
    """
    job, placement = sizes.job, sizes.placement
    flops = {
        satellite: exchange.embed_flops(satellite) * exchange.crossing[satellite]
        + exchange.front_backward_flops(satellite) * exchange.counts[satellite] * exchange.front_trains
        for satellite in job.system.nodes.satellites
    }
    for pipeline in placement.pipelines:
        samples = sum(exchange.encoded[member] for member in pipeline.ring)
        for host, stage in zip(pipeline.hosts, placement.stages, strict=True):
            flops[host] += (forward_flops(stage) + job.backward_flops(stage)) * samples
    return flops


def _combine(sizes: Sizes, index: int) -> Need:
    job, pipelines = sizes.job, sizes.placement.pipelines
    update = last_update(job)
    if len(pipelines) == 1 or not sizes.trained_bytes:
        return average_need(job, index, update)
    largest, stage = max((end - start, -number) for number, (start, end) in enumerate(sizes.ranges))
    hosts = tuple((pipeline.hosts[-stage],) for pipeline in pipelines)
    total = dict.fromkeys(range(len(hosts)), float(update.size + largest))
    return Need("combine", "train", index, "average", total, total, hosts)


def _deliver(sizes: Sizes, rounds: int) -> list[Need]:
    """A trained encoder may set out before the heads are averaged; some of it must come after what its host did."""
    job = sizes.job
    if job.deliver_to != "server":
        return []
    update = last_update(job)
    if not sizes.trained_bytes:
        return fetch_need(job, rounds, update)
    if job.ways.inter_orbit in MEET_ON_GROUND and len(job.rings) > 1:
        return []
    total = {0: float(update.size + sizes.trained_bytes)}
    grain = {0: float(min(update.size, *(end - start for start, end in sizes.ranges)))}
    everybody = (tuple(sorted(everyone(job))),)
    return [Need("down", "deliver", rounds, "deliver weights", total, grain, everybody, after_weights=False)]

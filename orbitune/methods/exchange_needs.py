"""What the exchanges of split training need, for the bound: the same steps without any schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orbitune.methods.exchange import Exchange
from orbitune.timeline.bounds import Need

Counts = tuple[int, ...]
"""Samples of each satellite."""


def needs_of(exchange: Exchange) -> list[Need]:
    """The steps that follow each other. Frozen parts do not wait for the weights of the round before.

    With a cache, samples that crossed before wait for nothing that crosses now. So new samples stand in the chain only
    where everybody has nothing but new ones; for all others see `needs_beside`.
    """
    job, trains, counts = exchange.job, exchange.rest_trains, exchange.counts
    features = [job.feature_bytes] * len(counts)
    needs = _crossing(exchange) if _only_new(exchange) else []
    if job.cache != "features":
        needs += [_encode(exchange, trains), _transfer("up", "send up features", exchange, features, counts, trains)]
    needs.append(_board("head step", exchange, lambda satellite: job.head_flops, counts, True))
    if trains:
        needs.append(_transfer("down", "bring down feature gradients", exchange, features, counts, True))
        needs.append(_backward(exchange))
    if exchange.front_trains:
        gradients = _transfer("up", "send up embedding gradients", exchange, job.cut_bytes, counts, True)
        needs += [gradients, _board("embedding backward", exchange, exchange.front_backward_flops, counts, True)]
    return needs


def needs_beside(exchange: Exchange) -> list[Need]:
    """New samples among others that crossed before: they need the same, but nothing of the chain waits for them.

    To be listed after everything else.
    """
    return [] if _only_new(exchange) else _crossing(exchange)


def _only_new(exchange: Exchange) -> bool:
    return exchange.uses.new == exchange.counts


def _crossing(exchange: Exchange) -> list[Need]:
    """What only new samples need: embeddings go down, and cached features come up."""
    job, after, crossing = exchange.job, exchange.front_trains, exchange.crossing
    needs = [
        _board("embed", exchange, exchange.embed_flops, crossing, after),
        _transfer("down", "bring down embeddings", exchange, job.cut_bytes, crossing, after),
    ]
    if job.cache == "features":
        features = [job.feature_bytes] * len(crossing)
        needs += [_encode(exchange, False), _transfer("up", "send up features", exchange, features, crossing, False)]
    return needs


def _board(stage: str, exchange: Exchange, each: Callable[[int], float], counts: Counts, after: bool) -> Need:
    grain = {satellite: each(satellite) for satellite in exchange.members}
    total = {satellite: flops * counts[satellite] for satellite, flops in grain.items()}
    return Need("compute", "train", exchange.index, stage, total, grain, after_weights=after)


def _transfer(
    kind: str, stage: str, exchange: Exchange, each: Sequence[float], counts: Counts, after: bool
) -> Need:  # fmt: skip
    """The least grain of a group is that of its satellite with the smallest samples."""
    pools, total, grain = exchange.job.pools, {}, {}
    for number, pool in enumerate(pools):
        who = [satellite for satellite in pool if counts[satellite]]
        total[number] = sum(each[satellite] * counts[satellite] for satellite in who)
        grain[number] = min((each[satellite] for satellite in who), default=0.0)
    return Need(kind, "train", exchange.index, stage, total, grain, pools, after)


def _encode(exchange: Exchange, after: bool) -> Need:
    return _ground("encode", exchange, exchange.ground.encode_flops, exchange.encoded, after)


def _backward(exchange: Exchange) -> Need:
    """The bound leaves recomputation out: another schedule might avoid it."""
    job = exchange.job
    flops = [job.backward_flops(partition.rest) for partition in job.partitions]
    return _ground("encoder backward", exchange, flops.__getitem__, exchange.counts, True)


def _ground(stage: str, exchange: Exchange, each: Callable[[int], float], counts: Counts, after: bool) -> Need:
    server, who = exchange.job.system.nodes.server, exchange.of(counts)
    total = {server: sum(each(satellite) * counts[satellite] for satellite in who)}
    grain = {server: min((each(satellite) for satellite in who), default=0.0)}
    return Need("compute", "train", exchange.index, stage, total, grain, after_weights=after)

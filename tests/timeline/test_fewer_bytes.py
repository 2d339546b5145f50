"""Plans with fewer bytes: caches, adapters, own cuts, compressed updates, some of the satellites."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from method_worlds import small_job, small_system
from small_systems import systems

from orbitune.cost.system import System
from orbitune.cost.transfer import update_bytes, wire_bytes
from orbitune.errors import PlanError, TimelineRejected
from orbitune.imagery.batches import first_uses
from orbitune.methods import METHODS, Job, Ways, plan
from orbitune.methods.base import everyone, initial_weights, start_with
from orbitune.methods.collaborative import Collaborative
from orbitune.methods.exchange import update_of
from orbitune.methods.onboard import Onboard
from orbitune.model.partition import Head, Partition
from orbitune.model.profile import ModelProfile, PartProfile
from orbitune.timeline.activity import Timeline
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify

GROUND = Ways("bidirectional", "max_flow", "via_ground", 5.0)
SPACE = Ways("ring", "max_flow", "earliest_tree", 5.0)
SAMPLES = (5, 4, 7, 2, 3, 9)


def with_uses(job: Job, **changes: object) -> Job:
    """The job with what the batches of the run use for the first time."""
    plain = replace(job, cache="none", **{name: value for name, value in changes.items() if name != "cache"})  # type: ignore[arg-type]
    batches = plain.rounds * plain.local_steps * plain.accumulate
    held = enumerate(zip(plain.samples, plain.batch, strict=True))
    columns = [first_uses(count, size, batches, 7, satellite) for satellite, (count, size) in held]
    rows = tuple(tuple(row) for row in np.array(columns).T.tolist())
    return replace(plain, first_uses=rows, cache=changes.get("cache", "none"))  # type: ignore[arg-type]


def job_of(trains: str, ways: Ways = SPACE, cut: int = 0, rounds: int = 4, **changes: object) -> Job:
    job = small_job(small_system(True), trains, ways, rounds)
    job = replace(job, samples=SAMPLES, batch=(2,) * 6, partition=replace(job.partition, cut=cut))
    return with_uses(job, **changes)


def checked(name: str, job: Job) -> Timeline:
    """Planned, accepted by the checker, complete, not faster than the bound, and with the work of the needs."""
    method = METHODS[name]
    job = method.prepare(job)
    timeline, needs = plan(method, job), method.needs(job, job.rounds)
    verify(timeline, job.system)
    assert timeline.rounds == job.rounds and not timeline.stopped
    assert lower_bound(needs, job.system).time_s <= timeline.time_s + 1e-6
    flops = sum(sum(need.total.values()) for need in needs if need.kind == "compute")
    assert flops == pytest.approx(sum(activity.flops for activity in timeline.activities))
    return timeline


def crossed(timeline: Timeline, kind: str, link: str) -> int:
    """Bytes of a kind that went over a kind of link."""
    sends = [(act.payload, act.link) for act in timeline.activities if act.payload]
    return sum(payload.size for payload, over in sends if (payload.kind, over) == (kind, link))


def distinct(job: Job) -> int:
    """Samples that the run uses at all."""
    return int(np.array(job.first_uses).sum())


both = pytest.mark.parametrize("overlap", ["none", "stream"])

# -- caches ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("cut", [0, 4])
def test_with_cached_features_each_sample_crosses_once_and_no_round_ends_later(overlap: str, cut: int) -> None:
    plain, job = (job_of("head", cut=cut, overlap=overlap, cache=cache) for cache in ("none", "features"))
    before, cached = checked("collaborative", plain), checked("collaborative", job)
    assert crossed(cached, "embedding", "downlink") == distinct(job) * 96 * 128 * 4
    assert crossed(cached, "feature", "uplink") == distinct(job) * 128 * 4
    assert distinct(job) < 6 * 2 * 2 * 4 == crossed(before, "feature", "uplink") / 512
    for late, soon in zip(before.round_ends_s(), cached.round_ends_s(), strict=True):
        assert soon <= late + 1e-6


@both
@pytest.mark.parametrize(("trains", "ways"), [("encoder", SPACE), ("lora", GROUND), ("head", SPACE)])
def test_with_cached_embeddings_only_these_cross_once(overlap: str, trains: str, ways: Ways) -> None:
    plain, job = (job_of(trains, ways, overlap=overlap, cache=cache) for cache in ("none", "embeddings"))
    before, cached = checked("collaborative", plain), checked("collaborative", job)
    assert crossed(cached, "embedding", "downlink") == distinct(job) * 96 * 128 * 4
    for kind, link in (("feature", "uplink"), ("feature_gradient", "downlink")):
        assert crossed(cached, kind, link) == crossed(before, kind, link)
    assert cached.time_s <= before.time_s + 1e-6


@pytest.mark.parametrize("name", ["onboard", "download"])
@both
def test_frozen_features_are_worked_out_once_where_nothing_is_cut(name: str, overlap: str) -> None:
    plain, job = (job_of("head", overlap=overlap, cache=cache) for cache in ("none", "features"))
    before, cached = (sum(act.flops for act in checked(name, each).activities) for each in (plain, job))
    forward = sum(part.flops_forward for part in job.partition.parts)
    used = 6 * 2 * 2 * 4
    assert before - cached == pytest.approx(forward * (used - distinct(job)))
    assert checked(name, job).time_s <= checked(name, plain).time_s + 1e-6


def test_when_every_sample_has_crossed_only_head_steps_and_averages_are_left() -> None:
    job = job_of("head", rounds=12, cache="features")
    last = [act for act in checked("collaborative", job).activities if act.phase == "train" and act.round == 11]
    assert {act.stage for act in last} == {"head step", "average in planes", "average across planes"}


@st.composite
def tiny_jobs(draw: st.DrawFn, system: System) -> Job:
    """A model of some kilobytes with two blocks, on satellites of 1 kFLOP/s."""
    nodes = system.nodes.num_satellites
    part = PartProfile(120.0, 32.0, 64.0, 40.0, 80.0, linear_dims=8.0, linear_weights=16.0, tokens=2.0)
    embedding, final = PartProfile(60.0, 32.0, 40.0, 30.0, 30.0, tokens=2.0), PartProfile(8.0, 16.0, 32.0, 0.0, 0.0)
    profile = ModelProfile("tiny", "invented", 8, 20.0, (4,), embedding, (part, part), final)
    samples = tuple(draw(st.lists(st.integers(1, 5), min_size=nodes, max_size=nodes)))
    trains, cut = draw(st.sampled_from(["head", "lora", "encoder", "full"])), draw(st.integers(0, 2))
    ways = Ways(draw(st.sampled_from(["relay", "ring", "bidirectional"])), "max_flow", "via_ground", 5.0)
    job = Job(
        system, Partition(profile, Head(4, 3), cut), trains, draw(st.sampled_from(["shared", "per_client"])),
        rounds=draw(st.integers(1, 3)), local_steps=draw(st.integers(1, 2)), samples=samples,
        batch=tuple(min(2, count) for count in samples), optimizer="adamw", momentum=0.0,
        codec=draw(st.sampled_from(["fp32", "int8"])), ways=ways, preloaded=draw(st.booleans()), deliver_to="server",
        lora_rank=1,
    )  # fmt: skip
    cuts = tuple(draw(st.lists(st.integers(0, 2), min_size=nodes, max_size=nodes))) if trains == "head" else ()
    return with_uses(
        job,
        satellite_cuts=cuts,
        overlap=draw(st.sampled_from(["none", "stream"])),
        accumulate=draw(st.integers(1, 2)),
        update_codec=draw(st.sampled_from(["fp32", "fp16", "top10"])),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), system=systems(), cache=st.sampled_from(["features", "embeddings"]))
def test_random_cached_jobs_pass_the_checker(data: st.DataObject, system: System, cache: str) -> None:
    job = data.draw(tiny_jobs(system))
    try:
        job = replace(job, cache=cache)
        timeline = plan(METHODS["collaborative"], job)
    except PlanError:
        assume(False)
    verify(timeline, system)
    needs = METHODS["collaborative"].needs(job, timeline.rounds)
    needs = [need for need in needs if need.phase != "deliver" or not timeline.stopped]
    assert lower_bound(needs, system).time_s <= timeline.time_s + 1e-6
    if not timeline.stopped:
        each = zip(job.cut_bytes, np.array(job.first_uses).sum(axis=0).tolist(), strict=True)
        assert crossed(timeline, "embedding", "downlink") == sum(size * count for size, count in each)


def test_caches_that_would_change_the_numbers_are_refused_with_the_reason() -> None:
    with pytest.raises(PlanError, match=r"'features' keeps what the encoder said, and train\.trains = 'lora'"):
        job_of("lora", cache="features")
    with pytest.raises(PlanError, match=r"'embeddings' keeps what the satellites said.*'full'"):
        job_of("full", cache="embeddings")
    with pytest.raises(PlanError, match=r"freeze the front"):
        job_of("encoder", cut=1, cache="embeddings")
    assert job_of("lora", cut=0, cache="embeddings").cache == "embeddings"


def with_memory(job: Job, satellite: float = 1e9, server: float = 1e11) -> Job:
    small = replace(
        job.system,
        satellite=replace(job.system.satellite, memory_bytes=satellite),
        server=replace(job.system.server, memory_bytes=server),
    )
    return replace(job, system=small)


def test_what_stays_counts_and_is_refused_with_numbers_where_it_does_not_fit() -> None:
    job = job_of("head", rounds=12, cache="features", preloaded=True)
    front = job.partition.front
    working = job.training_memory(front) + 49152  # the new samples of a step differ; at the end nothing is embedded
    kept = max(np.array(job.first_uses).sum(axis=0)) * 512
    most = max(act.memory_bytes for act in checked("collaborative", job).activities if act.stage == "head step")
    assert job.training_memory(front) + kept <= most
    with pytest.raises(PlanError, match=r"needs \d+\.\d+ GB on SAT-\d, which has satellite\.memory_gb"):
        plan(METHODS["collaborative"], with_memory(job, satellite=working + kept - 49152 - 1))
    embeddings = job_of("head", rounds=12, cache="embeddings", preloaded=True)
    kept = distinct(embeddings) * 49152
    rest = embeddings.training_memory(embeddings.partition.rest)
    with pytest.raises(PlanError, match=r"the encoder on the ground needs \d+\.\d+ GB on .*server\.memory_gb"):
        plan(METHODS["collaborative"], with_memory(embeddings, server=rest + kept - 1))
    assert not plan(METHODS["collaborative"], with_memory(embeddings, server=rest + 3 * kept)).stopped


def test_the_checker_misses_what_a_computation_does_not_hold() -> None:
    """A head step on features that have not come back yet is refused, also with a cache."""
    timeline = checked("collaborative", job_of("head", rounds=2, cache="features"))
    arrivals = [act for act in timeline.activities if act.payload and act.payload.kind == "feature"]
    gone = arrivals[-1]
    broken = replace(timeline, activities=tuple(act for act in timeline.activities if act is not gone))
    with pytest.raises(TimelineRejected, match=r"lacks"):
        verify(broken, small_system(True))


# -- adapters --------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(("cut", "encoder"), [(0, "shared"), (2, "shared"), (4, "per_client")])
def test_adapters_cross_and_cost_by_the_formulas(overlap: str, cut: int, encoder: str) -> None:
    job = job_of("lora", cut=cut, rounds=2, overlap=overlap, server_encoder=encoder, preloaded=True)
    timeline = checked("collaborative", job)
    adapters, head = 4 * 8 * 2304, 4 * 7 * 129
    sizes = {(p.kind, p.size) for act in timeline.activities if act.kind == "compute" for p in act.makes}
    assert {size for kind, size in sizes if kind == "update"} == {head + cut * adapters}
    assert {size for kind, size in sizes if kind == "model"} == ({(4 - cut) * adapters} if cut < 4 else set())
    block_forward = 42467328 + 2 * 8 * 2304 * 96
    block_backward = 87293952 - 2 * 196608 * 96 + 4 * 8 * 2304 * 96
    uses = 6 * 2 * 2 * 2  # satellites, batch, steps, rounds
    head_flops = 3 * 2 * 7 * 128
    expected = uses * (2883584 + 4 * (block_forward + block_backward) + head_flops)
    assert sum(act.flops for act in timeline.activities) == pytest.approx(expected)


def test_the_optimiser_remembers_adapters_only() -> None:
    lora, encoder = (job_of(trains, cut=2) for trains in ("lora", "encoder"))
    parts, head = lora.partition.front, 4 * 7 * 129
    adapters = 2 * 4 * 8 * 2304
    frozen = 364288 + 2 * 793088
    assert lora.training_memory(parts) == frozen + 4 * (adapters + head)  # weights, gradients and two moments
    assert encoder.training_memory(encoder.partition.front) == 364288 + 4 * (2 * 793088 + head)


# -- unequal satellites ----------------------------------------------------------------------------------------------


@both
def test_each_satellite_has_its_own_cut_and_computer(overlap: str) -> None:
    cuts, system = (0, 1, 4, 2, 0, 3), small_system(True)
    computers = tuple(replace(system.satellite, flops_per_s=1e9 / (1 + satellite)) for satellite in range(6))
    job = job_of("head", rounds=2, overlap=overlap, satellite_cuts=cuts, codec="int8")
    job = replace(job, system=replace(job.system, satellites=computers))
    timeline = checked("collaborative", job)
    assert job.cut_bytes == (wire_bytes((96, 128), "int8"),) * 6
    embeds = [act for act in timeline.activities if any(made.kind == "embedding" for made in act.makes)]
    for satellite, cut in enumerate(cuts):
        own = [act for act in embeds if act.node == satellite]
        assert sum(act.flops for act in own) == (2883584 + cut * 42467328) * 8
        for act in own:
            assert act.end_s - act.start_s == pytest.approx(act.flops * (1 + satellite) / 1e9)


def test_a_block_that_would_train_on_both_sides_is_refused() -> None:
    with pytest.raises(
        PlanError, match=r"satellite_cuts with train\.trains = 'encoder': blocks between the cuts 0 and 4"
    ):
        job_of("encoder", satellite_cuts=(0, 1, 4, 2, 0, 3))
    assert job_of("lora", satellite_cuts=(2,) * 6).partitions[0].cut == 2


# -- accumulation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["collaborative", "onboard", "download"])
@both
def test_accumulation_doubles_the_work_and_not_the_memory(name: str, overlap: str) -> None:
    once, twice = (job_of("full", rounds=1, overlap=overlap, accumulate=number) for number in (1, 2))
    one, two = checked(name, once), checked(name, twice)
    assert sum(act.flops for act in two.activities) == pytest.approx(2 * sum(act.flops for act in one.activities))
    whole = checked(name, replace(once, overlap="none"))  # streamed, the server never keeps more than one batch of each
    assert max(act.memory_bytes for act in two.activities) <= max(act.memory_bytes for act in whole.activities)
    kinds = ("update", "model")
    assert all(crossed(two, kind, link) == crossed(one, kind, link) for kind in kinds for link in one.link_bytes())


# -- compressed updates ----------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("codec", ["fp16", "int8", "top10"])
@pytest.mark.parametrize("name", ["collaborative", "onboard"])
def test_each_compressed_update_comes_down_once_and_the_sum_goes_up_in_full(
    name: str, codec: str, overlap: str
) -> None:
    job = job_of("head", GROUND, rounds=3, overlap=overlap, update_codec=codec, preloaded=True)
    timeline = checked(name, job)
    assert crossed(timeline, "compressed_update", "downlink") == 3 * 6 * update_bytes([(7, 128), (7,)], codec)
    assert crossed(timeline, "update", "uplink") == 3 * 2 * 4 * 7 * 129  # once to each of two planes
    assert crossed(timeline, "update", "downlink") == 0


@pytest.mark.parametrize(
    ("codec", "off"), [("fp32", 0.0), ("bf16", 0.0), ("int8", 0.01), ("top10", 0.04), ("top1", 0.04)]
)
def test_a_contribution_is_as_large_as_the_tensors_of_galileo(codec: str, off: float) -> None:
    """Two blocks of four layers 128 -> 128, 128 -> 512 and 512 -> 128, with biases and two norms, and a head."""
    layers = [(128, 128)] * 4 + [(512, 128), (128, 512)]
    biases = [(128,)] * 4 + [(512,), (128,)]
    head, norms = [(7, 128), (7,)], [(128,)] * 4
    adapters = [shape for outputs, inputs in layers for shape in ((8, inputs), (outputs, 8))]
    for trains, shapes in (("encoder", [*layers, *biases, *norms]), ("lora", adapters)):
        job = job_of(trains, GROUND, cut=2, update_codec=codec)
        real = update_bytes([*head, *shapes, *shapes], codec)
        assert job.contribution_bytes(job.partition.front) == pytest.approx(real, rel=max(off, 1e-12))


def test_compressed_updates_need_the_ground() -> None:
    for name in ("collaborative", "onboard"):
        with pytest.raises(PlanError, match=r"update_codec = 'int8' with method\.inter_orbit = 'earliest_tree'"):
            METHODS[name].prepare(job_of("head", update_codec="int8"))
        assert METHODS[name].prepare(job_of("head", GROUND, update_codec="int8")).update_codec == "int8"


# -- some of the satellites ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["fp32", "fp16"])
@pytest.mark.parametrize("method", [Collaborative(), Onboard()])
def test_some_take_part_each_from_the_average_it_has(method: Collaborative | Onboard, codec: str) -> None:
    """Round 0: everybody. Round 1: 0, 1 and 4. Round 2: 1 again, and 5 from the average before."""
    job = job_of("head", GROUND, rounds=3, update_codec=codec, preloaded=True)
    schedule = Schedule(job.system)
    start_with(job, schedule)
    parts = job.partition.front if isinstance(method, Collaborative) else job.partition.parts
    untrained = initial_weights(job, parts)
    size = update_of(job, everyone(job), 0)
    first, second = size, replace(size, origins=frozenset({0, 1, 4}), version=1)
    starts = [dict.fromkeys(range(6), untrained), dict.fromkeys((0, 1, 4), first), {1: second, 5: first}]
    now = 0.0
    for index, some in enumerate(starts):
        schedule.phase, schedule.round = "train", index
        now = method.round(job, schedule, index, now, some)
    timeline = replace(schedule.timeline(method.name, method.private, 3), staleness=1)
    verify(timeline, job.system)
    averages = {promise.payload.origins for promise in timeline.promises}
    assert averages == {frozenset(some) for some in starts}
    with pytest.raises(TimelineRejected, match=r"averages late"):
        verify(replace(timeline, staleness=0), job.system)


def test_sizes_at_the_cut_are_those_of_the_codec() -> None:
    for codec in ("fp32", "fp16", "bf16", "int8", "top50", "rank16"):
        job = job_of("head", codec=codec)
        assert job.wire_bytes == wire_bytes((96, 128), codec)
        assert job.feature_bytes == wire_bytes((128,), codec)
        assert ceil(job.wire_bytes) == job.wire_bytes

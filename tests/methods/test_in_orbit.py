"""Laws of the encoder in orbit: accepted by the checker, never below the bound, no byte over the ground."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitune.cost.system import Computer, Radios, System, Terminals
from orbitune.errors import PlanError
from orbitune.imagery.batches import first_uses
from orbitune.links.contacts import KINDS, ContactPlan, Nodes
from orbitune.methods import METHODS
from orbitune.methods.base import Job, Ways
from orbitune.methods.in_orbit import InOrbit, placed
from orbitune.methods.in_orbit_hosts import place, stage_memory, stages_of
from orbitune.methods.planning import plan
from orbitune.model.partition import Head, Partition, forward_flops
from orbitune.model.profile import ModelProfile, PartProfile
from orbitune.timeline.activity import Timeline
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.verify import verify

HORIZON_S = 3_000.0
PLACEMENTS = ("compute_satellite", "plane_pipeline")
Row = tuple[int, int, str, float, float, float, float]

WIDTH, CLASSES, SAMPLE_BYTES = 8, 3, 192
BLOCK = PartProfile(4_000.0, 640.0, 2_000.0, 8_000.0, 16_000.0, linear_dims=40.0, linear_weights=200.0, tokens=20.0)


def blocks_of(number: int) -> tuple[PartProfile, ...]:
    return (BLOCK,) * number


def model(blocks: tuple[PartProfile, ...]) -> ModelProfile:
    embedding = PartProfile(1_200.0, 640.0, 700.0, 1_000.0, 2_000.0, tokens=20.0)
    final = PartProfile(64.0, 32.0, 100.0, 50.0, 100.0)
    return ModelProfile("toy", "made up", 8, SAMPLE_BYTES, (WIDTH,), embedding, blocks, final)


def both_ways(one: int, two: int, kind: str, start_s: float, end_s: float, bps: float) -> list[Row]:
    return [(a, b, kind, start_s, end_s, bps, 0.01) for a, b in ((one, two), (two, one))]


def ring(plane: Sequence[int], bps: float, lost: int = -1) -> Iterator[Row]:
    pairs = [*itertools.pairwise(plane), *([(plane[-1], plane[0])] if len(plane) > 2 else [])]
    for number, pair in enumerate(pairs):
        if number != lost:
            yield from both_ways(*pair, "isl_intra", 0.0, HORIZON_S, bps)


def system(
    sizes: Sequence[int], *, lost: int = -1, seen: Sequence[int] = (), duplex: bool = True, memory_bytes: float = 1e9,
    speeds: Sequence[float] = (), fast: bool = False,
) -> System:  # fmt: skip
    """Planes in a row, joined by links that come and go; one station that sees a few satellites again and again."""
    ends = list(itertools.accumulate(sizes, initial=0))
    planes = tuple(tuple(range(*pair)) for pair in itertools.pairwise(ends))
    rows = [row for plane in planes for row in ring(plane, 8e6, lost if len(plane) > 2 else -1)]
    for one, two in itertools.pairwise(planes):
        for start_s in range(0, int(HORIZON_S) - 60, 60):
            rows += both_ways(one[0], two[0], "isl_inter", start_s, start_s + 45.0, 4e6)
    nodes = Nodes(tuple(f"SAT-{number}" for number in range(ends[-1])), ("GS-0",), planes)
    station, server = ends[-1], ends[-1] + 1
    for satellite, low in itertools.product(seen, range(0, int(HORIZON_S) - 30, 90)):
        link = (satellite, station)
        rows += [(*link, "downlink", low, low + 30.0, 4e6, 0.01), (*link[::-1], "uplink", low, low + 30.0, 4e6, 0.01)]
    rows += both_ways(station, server, "backhaul", 0.0, HORIZON_S, 1e9)
    if fast:  # links for nothing, so that the bound on computing can be reached
        rows = [(*row[:5], row[5] * 1e6, 0.0) for row in rows]
    rows.sort(key=lambda row: (row[3], row[0], row[1]))
    columns = list(zip(*rows, strict=True))
    kinds = np.array([KINDS.index(name) for name in columns[2]], np.int8)
    source, target = (np.array(column, np.int32) for column in columns[:2])
    starts_s, ends_s, rate_bps, delay_s = (np.array(column, np.float64) for column in columns[3:])
    contacts = ContactPlan(nodes, HORIZON_S, source, target, kinds, starts_s, ends_s, rate_bps, np.zeros(len(rows)),
                           delay_s)  # fmt: skip
    computers = tuple(Computer(speed, memory_bytes, 10.0) for speed in speeds)
    return System(contacts, Computer(1e6, memory_bytes, 10.0), Computer(1e8, 1e9, 100.0),
                  Terminals(1, 2, 2, (1,), duplex), Radios(dict.fromkeys(KINDS, 1.0), 1.0), computers)  # fmt: skip


def job_of(machines: System, placement: str, **changes: Any) -> Job:
    satellites = machines.nodes.num_satellites
    profile = changes.pop("profile", model(blocks_of(4)))
    fields: dict[str, Any] = {
        "trains": "encoder", "server_encoder": "shared", "rounds": 2, "local_steps": 2, "samples": (8,) * satellites,
        "batch": (2,) * satellites, "optimizer": "adamw", "momentum": 0.0, "codec": "fp32", "preloaded": True,
        "ways": Ways("bidirectional", "max_flow", "earliest_tree", 5.0), "deliver_to": "satellites",
        "placement": placement, "cut": 0,
    } | changes  # fmt: skip
    cut = fields.pop("cut")
    return Job(system=machines, partition=Partition(profile, Head(WIDTH, CLASSES), cut), **fields)


def planned(job: Job, hosts: int = 0) -> Timeline:
    method = InOrbit(hosts=hosts)
    timeline = plan(method, method.prepare(job))
    verify(timeline, job.system)
    bound = lower_bound(method.needs(job, timeline.rounds), job.system)
    assert 0.0 < bound.time_s <= timeline.time_s + 1e-6
    return timeline


def sent(timeline: Timeline, *kinds: str) -> Counter[str]:
    """Bytes over each kind of link, of some kinds of payload or of all."""
    found: Counter[str] = Counter()
    for act in timeline.activities:
        if act.payload is not None and (not kinds or act.payload.kind in kinds):
            found[act.link] += act.payload.size
    return found


VIA_GROUND = Ways("ring", "max_flow", "via_ground", 5.0)
KINDS_OF_DATA = ("embedding", "feature", "feature_gradient", "embedding_gradient")
SWITCHES: dict[str, dict[str, Any]] = {
    "head": {"trains": "head", "local_steps": 3},
    "encoder": {},
    "lora": {"trains": "lora", "lora_rank": 2},
    "full": {"trains": "full"},
    "per_client": {"trains": "full", "server_encoder": "per_client"},
    "per_client, frozen": {"server_encoder": "per_client"},
}
every = pytest.mark.parametrize("switch", SWITCHES)
placements_drawn = st.sampled_from(PLACEMENTS)
placements = pytest.mark.parametrize("placement", PLACEMENTS)


@every
@placements
def test_no_ground_station_is_needed(placement: str, switch: str) -> None:
    machines = system((3, 3))
    timeline = planned(job_of(machines, placement, **SWITCHES[switch]))
    assert timeline.rounds == 2 and not timeline.stopped
    assert set(sent(timeline)) == {"isl_intra", "isl_inter"}
    assert set(sent(timeline, "embedding")) == {"isl_intra"}


@every
@placements
@pytest.mark.parametrize("sizes", [(4,), (3, 2)])
def test_weights_go_up_once_and_what_trained_comes_down_once(
    sizes: tuple[int, ...], placement: str, switch: str
) -> None:
    machines = system(sizes, seen=(0, sizes[0])[: len(sizes)], duplex=False)
    job = replace(job_of(machines, placement, **SWITCHES[switch]), preloaded=False, deliver_to="server")
    timeline = planned(job)
    head = 4 * CLASSES * (WIDTH + 1)
    weights = head + sum(part.params_bytes for part in job.partition.parts)
    trained = head + job.trained_bytes(job.partition.parts)
    assert sent(timeline)["uplink"] == weights * len(sizes)
    assert sent(timeline, "update", "model")["downlink"] == trained


@placements
def test_planes_may_meet_on_the_ground(placement: str) -> None:
    machines = system((3, 3), seen=(0, 4))
    job = replace(job_of(machines, placement, rounds=1, deliver_to="server"), ways=VIA_GROUND)
    assert planned(job).rounds == 1


@placements
@pytest.mark.parametrize("trains", ["head", "encoder"])
def test_every_satellite_gets_the_model_in_the_end(placement: str, trains: str) -> None:
    machines = system((3,), seen=(0,))
    timeline = planned(replace(job_of(machines, placement, trains=trains), preloaded=False))
    assert not timeline.stopped
    last = {promise.node for promise in timeline.promises if promise.by_s == timeline.time_s}
    assert last == {0, 1, 2}


missions = st.fixed_dictionaries(
    {
        "sizes": st.lists(st.integers(1, 5), min_size=1, max_size=3),
        "lost": st.integers(-1, 2),
        "placement": st.sampled_from(PLACEMENTS),
        "switch": st.sampled_from(sorted(SWITCHES)),
        "overlap": st.sampled_from(["none", "stream"]),
        "way": st.sampled_from(["relay", "ring", "bidirectional"]),
        "inter": st.sampled_from(["earliest_tree", "chain", "sharded", "via_ground", "quickest"]),
        "ground": st.sampled_from(["max_flow", "quickest"]),
        "preloaded": st.booleans(),
        "deliver_to": st.sampled_from(["server", "satellites"]),
        "duplex": st.booleans(),
        "fast": st.booleans(),
        "cached": st.booleans(),
        "accumulate": st.integers(1, 2),
        "batches": st.lists(st.integers(1, 5), min_size=15, max_size=15),
        "speeds": st.lists(st.sampled_from([5e5, 1e6, 4e6]), min_size=15, max_size=15),
        "cut": st.integers(0, 4),
        "blocks": st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), min_size=4, max_size=6),
    }
)


@settings(max_examples=40, deadline=None)
@given(missions)
def test_random_missions_are_accepted_and_not_below_the_bound(drawn: dict[str, Any]) -> None:
    job = _drawn_job(drawn)
    timeline = planned(job)
    assert timeline.rounds == 2
    work = sum(sum(need.total.values()) for need in InOrbit().needs(job, 2) if need.kind == "compute")
    assert work == pytest.approx(sum(act.flops for act in timeline.activities))


def _drawn_job(drawn: dict[str, Any]) -> Job:
    count, switch = sum(drawn["sizes"]), SWITCHES[drawn["switch"]]
    firsts = [sum(drawn["sizes"][:plane]) for plane in range(len(drawn["sizes"]))]
    machines = system(
        drawn["sizes"], lost=drawn["lost"], duplex=drawn["duplex"], speeds=drawn["speeds"][:count], seen=firsts,
        fast=drawn["fast"],
    )  # fmt: skip
    profile = model(tuple(
        replace(BLOCK, params_bytes=8e2 * a, activation_bytes=3.2e2 * b, flops_forward=2e3 * c, flops_backward=4e3 * c)
        for a, b, c in drawn["blocks"]
    ))  # fmt: skip
    batch, trains, accumulate = tuple(drawn["batches"][:count]), switch.get("trains", "encoder"), drawn["accumulate"]
    steps = 2 * switch.get("local_steps", 2) * accumulate
    cache = "none" if not drawn["cached"] or trains == "full" else "features" if trains == "head" else "embeddings"
    uses = np.stack([first_uses(8, size, steps, 1, number) for number, size in enumerate(batch)], axis=1)
    return job_of(
        machines, drawn["placement"], profile=profile, cut=0 if cache == "embeddings" else drawn["cut"], batch=batch,
        samples=(8,) * count, overlap=drawn["overlap"], accumulate=accumulate, cache=cache,
        first_uses=tuple(map(tuple, uses)), ways=Ways(drawn["way"], drawn["ground"], drawn["inter"], 5.0),
        preloaded=drawn["preloaded"], deliver_to=drawn["deliver_to"], **switch,
    )  # fmt: skip


# -- where the encoder is --------------------------------------------------------------------------------------------


def test_one_host_is_the_compute_satellite() -> None:
    machines = system((4, 3), lost=1)
    alone = planned(job_of(machines, "compute_satellite"))
    assert list(planned(job_of(machines, "plane_pipeline"), hosts=1).to_jsonl()) == list(alone.to_jsonl())


@pytest.mark.parametrize(("lost", "host"), [(-1, 0), (0, 3), (1, 4), (4, 2)])
def test_the_compute_satellite_is_in_the_middle_of_a_broken_ring(lost: int, host: int) -> None:
    job = job_of(system((5,), lost=lost), "compute_satellite")
    assert place(job, 1).pipelines[0].hosts == (host,)


def test_the_fastest_satellite_hosts() -> None:
    job = job_of(system((5,), speeds=(1e6, 1e6, 1e6, 2e6, 1e6)), "compute_satellite")
    assert place(job, 1).pipelines[0].hosts == (3,)


def test_the_larger_batch_is_nearer_to_the_host() -> None:
    job = job_of(system((5,), lost=4), "compute_satellite", batch=(8, 1, 1, 1, 1))
    assert place(job, 1).pipelines[0].hosts == (0,)


@pytest.mark.parametrize("lost", range(-1, 4))
def test_hosts_of_a_pipeline_are_linked_neighbours(lost: int) -> None:
    job = job_of(system((4,), lost=lost), "plane_pipeline")
    for count in range(1, 5):
        (pipeline,) = place(job, count).pipelines
        links = job.system.contacts.by_link
        assert len(set(pipeline.hosts)) == count
        assert all(pair in links for pair in itertools.pairwise(pipeline.hosts))


block_costs = st.lists(st.tuples(*[st.integers(1, 50)] * 3), min_size=2, max_size=7)


@settings(max_examples=60, deadline=None)
@given(block_costs, st.sampled_from(["head", "encoder"]))
def test_more_hosts_take_less_memory_and_the_slowest_stage_is_the_quickest_possible(
    costs: list[tuple[int, int, int]], trains: str
) -> None:
    profile = model(tuple(
        replace(BLOCK, params_bytes=100.0 * a, saved_bytes=100.0 * b, flops_forward=1e3 * c, flops_backward=2e3 * c)
        for a, b, c in costs
    ))  # fmt: skip
    job = job_of(system((7,)), "plane_pipeline", profile=profile, trains=trains)
    before = [stages_of(job, 1)[0]]
    for count in range(2, len(costs) + 1):
        stages = list(stages_of(job, count))
        cap = max(stage_memory(job, stage) for stage in before)
        assert sum(stages, ()) == job.partition.rest
        assert max(stage_memory(job, stage) for stage in stages) <= cap
        best = min(
            (_slowest(job, cut) for cut in _cuts(job, count) if max(stage_memory(job, s) for s in cut) <= cap),
        )
        assert _slowest(job, stages) == pytest.approx(best)
        before = stages


def _slowest(job: Job, stages: Iterable[tuple[PartProfile, ...]]) -> float:
    return max(forward_flops(stage) + job.backward_flops(stage) for stage in stages)


def _cuts(job: Job, count: int) -> Iterator[list[tuple[PartProfile, ...]]]:
    """All contiguous cuts; the final norm stays with the last block."""
    rest = job.partition.rest
    for inner in itertools.combinations(range(1, len(rest) - 1), count - 1):
        yield [rest[low:high] for low, high in itertools.pairwise((0, *inner, len(rest)))]


def test_more_hosts_than_satellites_or_blocks_are_refused() -> None:
    job = job_of(system((4, 3)), "plane_pipeline")
    with pytest.raises(PlanError, match=r"pipeline_hosts = 4: the smallest plane has 3 satellites.*0 .* to 3"):
        planned(job, hosts=4)
    with pytest.raises(PlanError, match=r"has 2 blocks; allowed are 0 .* to 2"):
        planned(job_of(system((4,)), "plane_pipeline", profile=model(blocks_of(2))), hosts=3)


@pytest.mark.parametrize(("change", "said"), [
    ({"ways": Ways("none", "max_flow", "earliest_tree", 5.0)}, 'intra_orbit = "none"'),
    ({"satellite_cuts": (0, 1, 1), "trains": "head"}, r"blocks \[0, 1\]"),
    ({"update_codec": "fp16"}, 'update_codec = "fp16"'),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        planned(job_of(system((3,)), "compute_satellite", **change))


def test_where_the_encoder_passes_on() -> None:
    job = job_of(system((4,)), "plane_pipeline", cut=1, profile=model(blocks_of(5)))
    assert place(job, 0).cuts(job) == (2, 3, 4)
    assert place(job, 1).cuts(job) == ()


# -- what crosses, how long it takes, what it occupies ---------------------------------------------------------------


@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
def test_bytes_are_samples_times_hops(trains: str) -> None:
    counts, steps = (3, 1, 2, 5, 4), 2
    hops = (0, 1, 2, 2, 1)  # to satellite 0 of a ring of five
    weighed = steps * sum(count * hop for count, hop in zip(counts, hops, strict=True))
    job = job_of(system((5,)), "compute_satellite", trains=trains, batch=counts, rounds=1)
    (host,) = place(job, 1).pipelines[0].hosts
    away = steps * sum(count * min((host - s) % 5, (s - host) % 5) for s, count in enumerate(counts))
    assert away <= weighed
    found = {kind: sent(planned(job), kind)["isl_intra"] for kind in KINDS_OF_DATA}
    back, front = trains != "head", trains == "full"
    assert found == {"embedding": away * 640, "feature": away * 32, "feature_gradient": back * away * 32,
                     "embedding_gradient": front * away * 640}  # fmt: skip


def test_a_pipeline_sends_activations_on_once_for_each_cut() -> None:
    counts = (3, 1, 2, 5, 4)
    job = job_of(system((5,)), "plane_pipeline", batch=counts, rounds=1, local_steps=1)
    (pipeline,) = place(job, 3).pipelines
    to_first = sum(
        count * min((pipeline.hosts[0] - s) % 5, (s - pipeline.hosts[0]) % 5) for s, count in enumerate(counts)
    )
    timeline = planned(job, hosts=3)
    assert sent(timeline, "embedding")["isl_intra"] == 640 * (to_first + 2 * sum(counts))
    assert sent(timeline, "embedding_gradient")["isl_intra"] == 640 * 2 * sum(counts)


def test_a_full_pipeline_waits_only_to_fill_and_drain() -> None:
    """(M + K - 1) micro-batches of one stage, and K - 1 hops (GPipe, arXiv:1811.06965, section 2.3)."""
    machines = system((4,))
    profile = replace(model(blocks_of(4)), final=PartProfile(64.0, 32.0, 100.0, 0.0, 0.0))
    timeline = planned(job_of(machines, "plane_pipeline", profile=profile, batch=(8,) * 4, rounds=1, local_steps=1))
    one_s, hop_s = 2 * BLOCK.flops_forward / 1e6, 2 * 640 * 8 / 8e6 + 0.01  # two samples each
    assert timeline.stage_s()["encode"] == pytest.approx((16 + 4 - 1) * one_s + 3 * hop_s)


@every
@placements
def test_streaming_changes_when_and_not_what(placement: str, switch: str) -> None:
    job = job_of(system((3, 2)), placement, batch=(5, 4, 3, 1, 4), rounds=1, **SWITCHES[switch])
    staged, streamed = planned(job), planned(replace(job, overlap="stream"))
    assert streamed.time_s <= staged.time_s
    flops = [sum(act.flops for act in timeline.activities) for timeline in (staged, streamed)]
    assert flops[0] == pytest.approx(flops[1])
    assert sent(staged, *KINDS_OF_DATA) == sent(streamed, *KINDS_OF_DATA)


def test_a_plane_alone_keeps_its_encoder_where_it_is() -> None:
    timeline = planned(replace(job_of(system((4,), seen=(0,)), "plane_pipeline"), deliver_to="server"))
    assert all(act.phase == "deliver" for act in timeline.activities if act.payload and act.payload.kind == "model")


def test_what_does_not_fit_is_refused_with_numbers() -> None:
    job = job_of(system((4,), memory_bytes=1e4), "compute_satellite")
    with pytest.raises(PlanError, match=r"needs \d+\.\d+ GB on SAT-\d, which has satellite\.memory_gb = 1e-05"):
        planned(job)


def test_a_pipeline_fits_where_one_satellite_is_too_small() -> None:
    job = job_of(system((4,), memory_bytes=60_000.0), "plane_pipeline", local_steps=1)
    with pytest.raises(PlanError, match="memory_gb"):
        planned(job, hosts=1)
    used = [max(act.memory_bytes for act in planned(job, hosts=count).activities) for count in (2, 3, 4)]
    assert used == sorted(used, reverse=True)


def test_a_small_host_computes_again() -> None:
    large = job_of(system((4,)), "compute_satellite", batch=(6,) * 4, local_steps=1)
    small = replace(large, system=system((4,), memory_bytes=2e5))
    flops = [sum(act.flops for act in planned(job).activities) for job in (large, small)]
    assert flops[1] == pytest.approx(flops[0] + 2 * 24 * forward_flops(large.partition.rest))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), placements_drawn, st.sampled_from(sorted(SWITCHES)), st.floats(4.2, 6.0), st.integers(0, 4),
    st.lists(st.integers(1, 6), min_size=5, max_size=5),
)  # fmt: skip
def test_what_is_planned_fits(
    count: int, placement: str, switch: str, power: float, cut: int, batch: list[int]
) -> None:  # fmt: skip
    """The checker adds up what waits in memory; whatever it would reject is refused before."""
    machines = system((count,), memory_bytes=10.0**power)
    job = job_of(machines, placement, cut=cut, batch=tuple(batch[:count]), **SWITCHES[switch])
    try:
        planned(job)
    except PlanError as error:
        assert "memory_gb" in str(error)


def test_only_the_collaborative_method_has_an_encoder_to_place() -> None:
    job = job_of(system((3,)), "plane_pipeline")
    assert placed(METHODS["collaborative"], job, 2) == InOrbit(hosts=2)
    assert placed(METHODS["onboard"], job) is METHODS["onboard"]
    assert placed(METHODS["collaborative"], replace(job, placement="ground")) is METHODS["collaborative"]

"""FedAsync, FedBuff, FedSpace, SFL-LEO: laws on random small missions, and claims of their papers on a real one."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitune.cost.system import Computer, Radios, System, Terminals
from orbitune.errors import PlanError, TimelineRejected
from orbitune.links.contacts import KINDS, Contact, Nodes
from orbitune.methods import Job, Ways, plan
from orbitune.methods.asynchronous import contributions, largest_staleness
from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.fedasync import FedAsync
from orbitune.methods.fedbuff import FedBuff
from orbitune.methods.fedspace import FedSpace
from orbitune.methods.sfl_leo import SflLeo
from orbitune.mission import job_of, prepare
from orbitune.model.partition import Head, Partition
from orbitune.model.profile import load_profile
from orbitune.scenario.load import load
from orbitune.timeline.activity import Timeline
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify
from tests.timeline.small_systems import plan_of

HORIZON_S = 6_000.0
SYNCHRONOUS = FedBuff(share=1.0, max_staleness=0)
"""Every model waits for everybody: federated averaging through each satellite's own passes."""

ALL: tuple[Asynchronous, ...] = (FedAsync(), FedBuff(), FedSpace(), SflLeo(), SYNCHRONOUS)
IDS = ["fedasync", "fedbuff", "fedspace", "sfl_leo", "synchronous"]
every = pytest.mark.parametrize("method", ALL, ids=IDS)


@st.composite
def passes(draw: st.DrawFn, satellite: int, station: int) -> list[Contact]:
    """Down and up at the same times, some in two touching parts with different rates."""
    period_s, offset_s = draw(st.integers(60, 400)), draw(st.integers(0, 200))
    length_s, parts = draw(st.integers(10, 50)), draw(st.integers(1, 2))
    rate_bps, delay_s = draw(st.sampled_from([2e5, 2e6, 5e7])), draw(st.sampled_from([0.0, 0.01, 0.25]))
    found = []
    for start_s in range(offset_s, int(HORIZON_S) - length_s, period_s):
        edges = [start_s, *([start_s + length_s / 3] if parts == 2 else []), start_s + length_s]
        for number, (low, high) in enumerate(itertools.pairwise(edges), 1):
            for kind, one, two in (("downlink", satellite, station), ("uplink", station, satellite)):
                found.append(Contact(one, two, kind, low, high, rate_bps * number, 0.0, delay_s))
    return found


@st.composite
def systems(draw: st.DrawFn) -> System:
    """Up to five satellites and two stations; every satellite meets every station again and again."""
    satellites, stations = draw(st.integers(1, 5)), draw(st.integers(1, 2))
    nodes = Nodes(
        tuple(f"SAT-{one}" for one in range(satellites)),
        tuple(f"GS-{one}" for one in range(stations)),
        (tuple(range(satellites)),),
    )
    links = [link for one in nodes.satellites for other in nodes.stations for link in draw(passes(one, other))]
    for station in nodes.stations:
        for one, two in ((station, nodes.server), (nodes.server, station)):
            links.append(Contact(one, two, "backhaul", 0.0, HORIZON_S, draw(st.sampled_from([1e6, 1e9])), 0.0, 0.01))
    return System(
        plan_of(nodes, links, HORIZON_S),
        Computer(draw(st.sampled_from([1e6, 1e8, 1e10])), 1e9, 10.0),
        Computer(1e11, 1e11, 100.0),
        Terminals(draw(st.integers(1, 2)), 2, 2, (draw(st.integers(1, 2)),) * stations, draw(st.booleans())),
        Radios(dict.fromkeys(KINDS, 1.0), 1.0),
    )


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """One to three rounds of heads or whole models of galileo-nano."""
    system, profile = draw(systems()), load_profile("galileo-nano")
    satellites = system.nodes.num_satellites
    batch = tuple(draw(st.lists(st.integers(1, 2), min_size=satellites, max_size=satellites)))
    return Job(
        system=system,
        partition=Partition(profile, Head(profile.feature_width, 7), draw(st.integers(0, 4))),
        trains=draw(st.sampled_from(["head", "full"])),
        server_encoder="shared",
        rounds=draw(st.integers(1, 3)),
        local_steps=draw(st.integers(1, 2)),
        samples=tuple(2 * size for size in batch),
        batch=batch,
        optimizer="adamw",
        momentum=0.0,
        codec="fp32",
        ways=Ways("ring", "max_flow", "via_ground", 5.0),
        preloaded=draw(st.booleans()),
        deliver_to=draw(st.sampled_from(["server", "satellites"])),
        update_codec=draw(st.sampled_from(["fp32", "int8"])),
    )


methods = st.one_of(
    st.just(FedAsync()),
    st.builds(FedBuff, share=st.floats(0.1, 1.0), max_staleness=st.integers(0, 4)),
    st.builds(FedSpace, stretch_h=st.sampled_from([0.05, 0.5, 6.0])),
    st.just(SflLeo()),
)


def flat(timeline: Timeline) -> Iterator[tuple[int, int, int]]:
    return itertools.chain.from_iterable(contributions(timeline))


@settings(max_examples=60)
@given(methods, jobs())
def test_laws_on_random_missions(method: Asynchronous, mission: Job) -> None:
    if isinstance(method, SflLeo):
        mission = replace(mission, trains="full")  # a front that never changes is refused
    job = method.prepare(mission)
    try:
        timeline = plan(method, job)
    except PlanError as none:
        assert "lengthen time.duration_h" in str(none)
        return
    verify(timeline, job.system)
    needs = method.needs(job, timeline.rounds)
    if timeline.stopped:
        needs = [need for need in needs if need.phase != "deliver"]
    assert lower_bound(needs, job.system).time_s <= timeline.time_s + 1e-6
    assert largest_staleness(timeline) <= job.staleness
    found = list(flat(timeline))
    holders = job.system.nodes.satellites
    for index in range(1, timeline.rounds + 1):
        assert sum(map(len, contributions(timeline)[:index])) >= index * len(holders)
    trained = Counter(satellite for satellite, *_ in found)
    assert max(trained.values()) <= job.rounds
    if timeline.rounds == job.rounds:
        assert trained == dict.fromkeys(holders, job.rounds)
    for satellite in trained:
        own = [(base, average) for who, base, average in found if who == satellite]
        for (base, average), (next_base, next_average) in itertools.pairwise(own):
            assert base < next_base and average < next_average  # never twice from one model, nor twice in one
    averages = [average for *_, average in found]
    assert sorted(set(averages)) == list(range(max(averages) + 1))
    if isinstance(method, FedAsync | SflLeo):
        assert len(averages) == len(set(averages))


# --------------------------------------------------------------------------------------- a small real mission


@functools.cache
def planned(method: Asynchronous, *sets: str) -> tuple[Job, Timeline]:
    """Whole models on two planes of OneWeb, ten minutes of computing for each training."""
    slow = ("train.trains=full", "train.rounds=3", "time.duration_h=48", "satellite.sustained_gflops=0.02")
    job = method.prepare(job_of(prepare(load("tiny", (*slow, *sets)))))
    timeline = plan(method, job)
    verify(timeline, job.system)
    return job, timeline


def busy(timeline: Timeline, job: Job) -> float:
    """Share of the training time in which satellites compute."""
    satellites = job.system.nodes.num_satellites
    computing_s = sum(a.end_s - a.start_s for a in timeline.activities if a.kind == "compute" and a.node < satellites)
    return computing_s / satellites / timeline.phase_s("train")


def mean_staleness(timeline: Timeline) -> float:
    return float(np.mean([average - base for _, base, average in flat(timeline)]))


@every
def test_the_bound_counts_the_work_that_is_scheduled(method: Asynchronous) -> None:
    job, timeline = planned(method)
    needs = method.needs(job, timeline.rounds)
    flops = sum(sum(need.total.values()) for need in needs if need.kind == "compute")
    assert flops == pytest.approx(sum(activity.flops for activity in timeline.activities))
    assert len(list(flat(timeline))) == job.rounds * job.system.nodes.num_satellites
    for kind, link in (("down", "downlink"), ("up", "uplink")):
        needed = sum(sum(need.total.values()) for need in needs if need.kind == kind)
        assert needed == pytest.approx(timeline.link_bytes()[link])


@every
def test_stages_add_up_and_images_stay(method: Asynchronous) -> None:
    _, timeline = planned(method)
    assert sum(timeline.stage_s().values()) == pytest.approx(timeline.time_s, abs=1e-6)
    assert len(timeline.round_ends_s()) == timeline.rounds == 3
    sent = {activity.payload.kind for activity in timeline.activities if activity.payload}
    assert sent - {"embedding", "batch_label"} == {"weights", "update", "compressed_update"}
    assert ("embedding" in sent) == ("batch_label" in sent) == (method == SflLeo())
    assert set(timeline.link_bytes()) == {"downlink", "uplink", "backhaul"}


@every
def test_the_same_job_gives_the_same_timeline(method: Asynchronous) -> None:
    job, timeline = planned(method)
    assert list(plan(method, job).to_jsonl()) == list(timeline.to_jsonl())


@every
def test_a_round_by_itself_is_the_round_of_all(method: Asynchronous) -> None:
    """What was under way is worked out again by `round`, and kept by `rounds`."""
    job, timeline = planned(method)
    desk = Schedule(job.system)
    desk.phase = "deploy"
    now = method.deploy(job, desk, 0.0)
    rounds = method.rounds(job, desk)
    desk.phase = "train"
    for index in range(3):
        desk.round = index
        now = rounds.round(index, now)
    assert desk.spans == [span for span in timeline.spans if span.phase != "deliver"]
    assert sorted(desk.activities, key=lambda activity: activity.start_s) == list(timeline.activities)


@every
def test_learning_can_replay_it(method: Asynchronous) -> None:
    """Round after round, no average left out, nobody from weights that there are not yet."""
    from orbitune.learn.replay import averages_of, depth_of

    _, timeline = planned(method)
    formed = 0
    for row in contributions(timeline):
        averages = averages_of(row, formed, range(12))
        assert sum(map(len, averages)) == len(row)
        formed += len(averages)
    assert depth_of(contributions(timeline)) == largest_staleness(timeline)


def test_everybody_fresh_is_the_synchronous_case() -> None:
    _, timeline = planned(SYNCHRONOUS)
    assert contributions(timeline) == tuple(tuple((k, index, index) for k in range(12)) for index in range(3))
    assert timeline.staleness == 0


def test_the_checker_sees_staleness_that_is_not_allowed() -> None:
    job, timeline = planned(FedAsync())
    largest = largest_staleness(timeline)
    verify(replace(timeline, staleness=largest), job.system)
    with pytest.raises(TimelineRejected):
        verify(replace(timeline, staleness=largest - 1), job.system)


# claims of the papers


@pytest.mark.parametrize("method", ALL[:4], ids=IDS[:4])
def test_who_does_not_wait_for_everybody_idles_less(method: Asynchronous) -> None:
    """As often trained in less time; with the same work on board that is a larger share of the time."""
    (job, timeline), (_, star) = planned(method), planned(SYNCHRONOUS)
    assert timeline.phase_s("train") < star.phase_s("train") / 1.2
    assert method == SflLeo() or busy(timeline, job) > 1.2 * busy(star, job)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("bound", [1, 2, 4, 8])
def test_fedbuff_keeps_its_bound(bound: int, share: float) -> None:
    job, timeline = planned(FedBuff(share=share, max_staleness=bound))
    assert largest_staleness(timeline) <= bound == job.staleness == timeline.staleness


def test_without_a_bound_staleness_grows_beyond_it() -> None:
    free = largest_staleness(planned(FedBuff(share=0.1, max_staleness=1000))[1])
    assert free > 8  # so the bounds above did hold something back
    assert largest_staleness(planned(FedAsync())[1]) > 8


def test_a_scenario_may_set_the_bound() -> None:
    job = job_of(prepare(load("tiny", ())))
    assert FedBuff().prepare(replace(job, staleness=7)).staleness == 7
    assert FedBuff(max_staleness=3).prepare(job).staleness == 3


def test_larger_buffers_are_fresher_and_later() -> None:
    timelines = [planned(FedBuff(share=share, max_staleness=1000))[1] for share in (0.1, 0.5, 1.0)]
    stale = [mean_staleness(timeline) for timeline in timelines]
    assert stale == sorted(stale, reverse=True) and stale[0] > stale[-1]
    assert timelines[0].phase_s("train") < timelines[-1].phase_s("train")


@pytest.mark.parametrize(("gflops", "fresher"), [("20", 0.5), ("0.02", 1.0), ("0.005", 0.5), ("0.002", 0.5)])
def test_fedspace_lies_between_waiting_for_all_and_for_nobody(gflops: str, fresher: float) -> None:
    """Staleness against idleness: less stale than FedAsync (where it pays), less idle than waiting for everybody."""
    three = (FedSpace(), SYNCHRONOUS, FedAsync())
    (job, space), (_, sync), (_, at_once) = (planned(one, f"satellite.sustained_gflops={gflops}") for one in three)
    assert mean_staleness(sync) <= mean_staleness(space) <= fresher * mean_staleness(at_once)
    assert busy(sync, job) < busy(space, job) <= busy(at_once, job) + 1e-9


def test_sfl_leo_sends_activations_once_and_no_gradient() -> None:
    """What is trained on board is lighter than the whole model, and goes on where no station is in sight."""
    job, timeline = planned(SflLeo(), "model.cut_after_block=1")
    sent = Counter[str]()
    for activity in timeline.activities:
        if activity.payload and activity.link != "backhaul":
            sent[f"{activity.link} {activity.payload.kind}"] += activity.payload.size
    samples = sum(job.batch) * job.local_steps * job.accumulate * job.rounds
    assert sent["downlink embedding"] == samples * job.wire_bytes
    assert sent["downlink batch_label"] == samples * job.label_bytes
    assert set(sent) == {"downlink embedding", "downlink batch_label", "downlink compressed_update", "uplink weights",
                         "uplink update"}  # fmt: skip
    server = job.system.nodes.server
    on_board = sum(activity.flops for activity in timeline.activities if activity.node != server)
    assert 0 < on_board < 0.6 * sum(activity.flops for activity in planned(FedAsync())[1].activities)
    stations = job.system.contacts
    training = [activity for activity in timeline.activities if activity.kind == "compute" and activity.node != server]
    seen = [stations.ground_intervals(activity.node) for activity in training]
    unseen = [
        not ((spans[:, 0] <= a.end_s) & (spans[:, 1] >= a.end_s)).any() for a, spans in zip(training, seen, strict=True)
    ]
    assert sum(unseen) > 0.2 * len(unseen)


@pytest.mark.parametrize("changes", [{"trains": "head"}, {"trains": "encoder"}, {"trains": "lora"}])
def test_sfl_leo_without_a_front_that_trains_is_refused(changes: dict[str, str]) -> None:
    job = job_of(prepare(load("tiny", ())))
    with pytest.raises(PlanError, match="nothing trains in front of the cut"):
        SflLeo().prepare(replace(job, **changes))  # type: ignore[arg-type]


# switches


@every
def test_a_plan_that_ends_too_soon_says_so(method: Asynchronous) -> None:
    slower = ("satellite.sustained_gflops=0.002", "model.cut_after_block=4")
    job, timeline = planned(method, "train.rounds=20", "time.duration_h=5.5", *slower)
    assert 0 < timeline.rounds < 20
    assert "lengthen time.duration_h" in timeline.stopped
    needs = [need for need in method.needs(job, timeline.rounds) if need.phase != "deliver"]
    assert lower_bound(needs, job.system).time_s <= timeline.time_s


def test_without_room_for_one_round_it_is_refused() -> None:
    with pytest.raises(PlanError, match=r"lengthen time\.duration_h"):
        planned(FedAsync(), "time.duration_h=1.5")


def test_deployment_delivery_codec_and_cache() -> None:
    flown = planned(FedAsync(), "method.preloaded=true", "method.deliver_to=satellites")[1]
    assert flown.phase_s("deploy") == 0.0 < flown.phase_s("deliver")
    small, exact = planned(FedBuff(), "method.update_codec=int8")[1], planned(FedBuff())[1]
    assert small.link_bytes()["downlink"] < 0.3 * exact.link_bytes()["downlink"]
    both = planned(SflLeo(), "method.deliver_to=satellites", "model.cut_after_block=1")[1]
    assert both.phase_s("deliver") > 0.0
    head = ("train.trains=head", "train.local_steps=30", "satellite.sustained_gflops=20")
    kept = planned(FedSpace(), *head, "method.cache=features")[1]
    again = planned(FedSpace(), *head)[1]
    assert sum(a.flops for a in kept.activities) < sum(a.flops for a in again.activities)


def test_drawn_satellites_are_refused() -> None:
    job = job_of(prepare(load("tiny", ())))
    with pytest.raises(PlanError, match=r"train\.satellites_per_round"):
        FedAsync().prepare(replace(job, taking_part=((0,),) * job.rounds))

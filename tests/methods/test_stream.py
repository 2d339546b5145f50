"""Laws of `overlap = "stream"`: it changes when things happen, never what is computed, sent or promised."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from orbitune.methods import METHODS, Job, planning
from orbitune.methods.base import Cut
from orbitune.methods.stream_guide import Foresight
from orbitune.methods.stream_queue import Call, Gate, Queue
from orbitune.methods.stream_sights import Around, Sights
from orbitune.mission import Mission, job_of, prepare
from orbitune.plans import plan_method
from orbitune.scenario.load import load
from orbitune.timeline.activity import Payload, Timeline
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify

SWITCHES = {
    "encoder": ("train.trains=encoder",),
    "head": ("train.trains=head", "train.local_steps=3"),
    "full": ("train.trains=full", "train.local_steps=2"),
    "per_client": ("train.trains=full", "train.server_encoder=per_client", "train.local_steps=2"),
    "per_client, frozen": ("train.trains=encoder", "train.server_encoder=per_client", "train.local_steps=2"),
    "later cut": ("train.trains=encoder", "model.cut_after_block=2"),
    "alone": ("time.duration_h=96", "method.intra_orbit=none", "method.inter_orbit=via_ground"),
    "direct": ("time.duration_h=96", "method.satellite_ground=direct", "method.inter_orbit=via_ground"),
    "relay": ("method.intra_orbit=relay",),
    "one way": ("method.intra_orbit=ring", "method.codec=fp16"),
    "half duplex": ("links.full_duplex=false",),
    "preloaded": ("method.preloaded=true", "method.deliver_to=satellites"),
}
NAMES = ("collaborative", "onboard", "download")
DATA = ("image", "label", "embedding", "feature", "feature_gradient", "embedding_gradient")
"""What is averaged may go other ways, for trees depend on when they are asked for."""

every = pytest.mark.parametrize("switch", SWITCHES)
methods = pytest.mark.parametrize("name", NAMES)


@functools.cache
def _mission(switch: str) -> Mission:
    return prepare(load("tiny", ("train.rounds=2", *SWITCHES[switch])))


def _job(name: str, switch: str, overlap: str, way: str = "") -> Job:
    job = METHODS[name].prepare(job_of(_mission(switch)))
    ways = replace(job.ways, satellite_ground=way or job.ways.satellite_ground)
    return replace(job, overlap=overlap, ways=ways)


@functools.cache
def _planned(name: str, switch: str, overlap: str, way: str = "") -> Timeline:
    return planning.plan(METHODS[name], _job(name, switch, overlap, way))


@functools.cache
def _streamed(name: str, switch: str, cut: Cut) -> Timeline:
    """Streamed even where that is not the earlier plan."""
    timeline = planning._play(METHODS[name], _job(name, switch, "stream"), cut, None, None)
    assert timeline is not None
    return timeline


def _sent(timeline: Timeline) -> Counter[tuple[str, str]]:
    """Bytes of data by kind and link."""
    total: Counter[tuple[str, str]] = Counter()
    for act in timeline.activities:
        if act.payload is not None and act.payload.kind in DATA:
            total[act.payload.kind, act.link] += act.payload.size
    return total


def _bytes_of(payloads: Iterable[Payload]) -> Counter[tuple[str, int, frozenset[int]]]:
    total: Counter[tuple[str, int, frozenset[int]]] = Counter()
    for payload in payloads:
        total[payload.kind, payload.version, payload.origins] += payload.size
    return total


@methods
@every
def test_it_is_accepted_never_later_than_stages_and_never_before_the_bound(name: str, switch: str) -> None:
    staged, streamed = _planned(name, switch, "none"), _planned(name, switch, "stream")
    system = _mission(switch).system
    verify(streamed, system)
    needs = METHODS[name].needs(_job(name, switch, "none"), streamed.rounds)
    assert streamed.rounds == staged.rounds == 2
    assert lower_bound(needs, system).time_s <= streamed.time_s + 1e-6
    assert streamed.time_s <= staged.time_s + 1e-6


@pytest.mark.parametrize("way", ["gateway", "max_flow"])
@pytest.mark.parametrize("name", ["collaborative", "download"])
def test_every_way_to_the_ground_streams(name: str, way: str) -> None:
    streamed = _planned(name, "encoder", "stream", way)
    verify(streamed, _mission("encoder").system)
    assert streamed.time_s <= _planned(name, "encoder", "none", way).time_s + 1e-6


@every
@pytest.mark.parametrize("cut", [Cut(1, False), Cut(2, True), Cut(8, True), Foresight(4, True, 3, True)], ids=str)
def test_any_number_of_micro_batches_is_accepted(switch: str, cut: Cut) -> None:
    verify(_streamed("collaborative", switch, cut), _mission(switch).system)


@methods
@every
def test_the_same_is_computed_made_and_promised(name: str, switch: str) -> None:
    staged, streamed = _planned(name, switch, "none"), _streamed(name, switch, Cut(2, True))
    flops = [sum(act.flops for act in timeline.activities) for timeline in (staged, streamed)]
    assert flops[0] == pytest.approx(flops[1])
    made = [
        _bytes_of(payload for act in timeline.activities if act.kind == "compute" for payload in act.makes)
        for timeline in (staged, streamed)
    ]
    assert made[0] == made[1]
    promised = [{(p.node, p.payload) for p in timeline.promises} for timeline in (staged, streamed)]
    assert promised[0] == promised[1]


@methods
@every
def test_no_link_carries_more_data(name: str, switch: str) -> None:
    staged, streamed = _sent(_planned(name, switch, "none")), _sent(_streamed(name, switch, Cut(2, True)))
    for kind, link in staged | streamed:
        if link == "isl_intra":  # shared with everybody on the ring, or brought to the next pass alone
            continue
        assert streamed[kind, link] == staged[kind, link]
    hops = [sum(size for (_, link), size in sent.items() if link == "isl_intra") for sent in (staged, streamed)]
    assert hops[1] <= hops[0]


@methods
def test_the_same_job_gives_the_same_timeline(name: str) -> None:
    again = planning.plan(METHODS[name], _job(name, "encoder", "stream"))
    assert list(again.to_jsonl()) == list(_planned(name, "encoder", "stream").to_jsonl())


@methods
@every
def test_stages_add_up_and_private_kinds_stay_on_board(name: str, switch: str) -> None:
    timeline = _planned(name, switch, "stream")
    assert sum(timeline.stage_s().values()) == pytest.approx(timeline.time_s, abs=1e-6)
    sent = {act.payload.kind for act in timeline.activities if act.payload and act.kind == "send"}
    assert sent.isdisjoint(timeline.private)


def _ahead(timeline: Timeline, steps: int) -> set[str]:
    """Kinds that are made or sent in a round before their own."""
    found = set()
    for act in timeline.activities:
        for payload in (*act.makes, *((act.payload,) if act.payload else ())):
            if act.phase == "train" and payload.kind in DATA and payload.version // steps > act.round:
                found.add(payload.kind)
    return found


def test_only_what_does_not_depend_on_training_goes_ahead() -> None:
    cut = Cut(2, True)
    assert _ahead(_streamed("collaborative", "per_client, frozen", cut), 2) == {"embedding"}
    assert _ahead(_streamed("collaborative", "head", cut), 1) == {"embedding", "feature"}
    assert not _ahead(_streamed("collaborative", "full", cut), 2)
    assert not _ahead(_streamed("collaborative", "head", Cut(2, False)), 1)


def test_stages_are_shown_where_nothing_is_gained() -> None:
    assert _planned("onboard", "encoder", "stream") == _planned("onboard", "encoder", "none")


def test_what_does_not_fit_the_memory_is_planned_without_working_ahead_or_streaming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch, method = "per_client, frozen", METHODS["collaborative"]
    monkeypatch.setattr(planning, "fits", lambda timeline, job: not _ahead(timeline, 2))
    timeline = planning.plan(method, _job("collaborative", switch, "stream"))
    verify(timeline, _mission(switch).system)
    assert timeline.time_s < _planned("collaborative", switch, "none").time_s
    assert not _ahead(timeline, 2)
    monkeypatch.setattr(planning, "fits", lambda timeline, job: False)
    timeline = planning.plan(method, _job("collaborative", switch, "stream"))
    assert timeline == _planned("collaborative", switch, "none")


def test_a_contact_plan_that_ends_too_soon_is_said() -> None:
    slow = ("satellite.sustained_gflops=0.02", "server.sustained_gflops=0.02")  # rounds of minutes
    mission = prepare(load("tiny", ("train.rounds=40", "time.duration_h=1", *slow)))
    job = METHODS["collaborative"].prepare(job_of(mission))
    staged, streamed = (planning.plan(METHODS["collaborative"], replace(job, overlap=o)) for o in ("none", "stream"))
    verify(streamed, mission.system)
    assert staged.rounds <= streamed.rounds < 40
    assert "lengthen time.duration_h" in streamed.stopped


# -- parts -------------------------------------------------------------------------------------------------------------


def test_steps_are_booked_in_order_of_their_beginning_and_urgency() -> None:
    queue, booked = Queue(9), list[tuple[float, int]]()

    def note(urgency: int, *more: Call) -> Call:
        def then(now_s: float) -> None:
            booked.append((now_s, urgency))
            for step in more:
                queue.add(step)

        return Call(urgency, float(urgency % 3), then)

    for step in (note(2), note(4, note(5)), note(1), note(3)):
        queue.add(step)
    queue.run()
    assert booked == sorted(booked)
    assert len(booked) == 5


def test_a_gate_lets_pass_before_and_after_it_opens() -> None:
    gate, passed = Gate(), list[float]()
    gate.when(passed.append)
    assert not passed
    gate.open(3.0)
    gate.when(passed.append)
    assert passed == [3.0, 3.0]


def test_passes_that_are_open_are_those_of_the_contact_plan() -> None:
    system = _mission("encoder").system
    ring = system.nodes.planes[0]
    for kind in ("downlink", "uplink"):
        sights = Sights(system.contacts, kind, ring, one_at_a_time=False)
        for time_s in range(0, 40_000, 613):
            up = {
                (c.source, c.target) if kind == "downlink" else (c.target, c.source)
                for c in system.contacts
                if c.kind == kind and c.start_s <= time_s < c.end_s
            }
            open_ = {(sight.satellite, sight.station) for sight in sights.open_at(float(time_s))}
            assert open_ == {(satellite, station) for satellite, station in up if satellite in ring}
            later = [sight.start_s for sight in sights.after(float(time_s))]
            assert later == sorted(later)
            assert all(start_s > time_s for start_s in later)


@pytest.mark.parametrize("heading", [1, -1])
def test_the_way_around_takes_as_long_as_its_hops(heading: int) -> None:
    system = _mission("encoder").system
    ring, schedule = system.nodes.planes[0], Schedule(system)
    around = Around(system.contacts, ring, "bidirectional")
    for source in ring:
        here, now_s = source, 0.0
        for hops in range(1, len(ring)):
            peer = around.next(here, heading)
            payload = Payload("embedding", frozenset((source,)), hops, 0, 5_000_000)
            now_s = schedule.trial().send(here, peer, payload, now_s)
            here = peer
            assert around.hops(source, here, heading) == hops
            assert around.travel_s(source, here, heading, 5_000_000, 0.0) == pytest.approx(now_s)


def test_looking_at_a_send_is_as_good_as_sending() -> None:
    system = _mission("encoder").system
    schedule = Schedule(system)
    for number, contact in enumerate(system.contacts):
        if number % 97:
            continue
        payload = Payload("embedding", frozenset({0}), number, 0, 40_000_000)
        seen = schedule.peek(contact.source, contact.target, payload.size, contact.start_s)
        there_s = schedule.send(contact.source, contact.target, payload, contact.start_s)
        begun_s = min(act.start_s for act in schedule.activities if act.payload and act.payload.version == number)
        assert seen == pytest.approx((begun_s, there_s))


@pytest.mark.parametrize("way", ["quickest", "mixed_tree"])
def test_an_average_that_passed_through_a_station_does_not_come_down_again(way: str) -> None:
    """Without links inside planes it goes from plane to plane over the ground, and then to the server."""
    sets = (
        "train.rounds=1", "train.batch_size=32", "train.local_steps=1", "train.trains=head", "data.dataset=none",
        "data.num_classes=7", "data.samples_per_satellite=32", "links.downlink_rate_mbps=10",
        "links.isl_intra_rate_mbps=10", "satellite.sustained_gflops=10", "model.cut_after_block=1",
        "method.satellite_ground=direct", "method.intra_orbit=none", "method.overlap=stream",
    )  # fmt: skip
    mission = prepare(load("tiny", (*sets, f"method.inter_orbit={way}")))
    timeline = plan_method(mission, "collaborative").timeline  # the checker lets no byte arrive twice
    delivered = [one for one in timeline.activities if one.phase == "deliver"]
    assert [one.link for one in delivered] == ["backhaul"]

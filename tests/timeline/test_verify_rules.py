"""One correct timeline, written down by hand, and every way to break it: the checker names the rule that is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import pytest
from small_systems import contact, system_of

from orbitune.cost.system import System
from orbitune.errors import TimelineRejected
from orbitune.links.contacts import Contact
from orbitune.timeline.activity import Activity, Payload, Promise, Span, Timeline, whole
from orbitune.timeline.verify import verify

# Satellites 0 and 1 in one plane, stations 2 and 3, server 4. One byte takes 1 ms on every link but the cable.
RATE_BPS = 8_000.0
SERVER = 4
DELAY_S = 0.5

EMBEDDING_0 = whole("embedding", [0], 7, 10_000)
EMBEDDING_1 = whole("embedding", [1], 7, 4_000)
WEIGHTS = whole("weights", [], 0, 100)
HEAD_0, HEAD_1, HEAD = (whole("update", origins, 1, 100) for origins in ([0], [1], [0, 1]))
FEATURE = whole("feature", [0, 1], 7, 50)

Acts = dict[str, Activity]


def make_system(**kwargs: object) -> System:
    links = [contact(a, b, "isl_intra", 0.0, 100.0, RATE_BPS, DELAY_S) for a, b in ((0, 1), (1, 0))]
    links += [
        contact(0, 2, "downlink", 10.0, 20.0, RATE_BPS, DELAY_S),
        contact(0, 2, "downlink", 20.0, 30.0, RATE_BPS / 2, DELAY_S / 2),  # touches, half as fast
        contact(0, 2, "downlink", 31.0, 40.0, RATE_BPS, DELAY_S),  # does not touch
        contact(0, 3, "downlink", 0.0, 100.0, RATE_BPS, DELAY_S),
        contact(2, 0, "uplink", 0.0, 100.0, RATE_BPS, DELAY_S),
        contact(1, 3, "downlink", 0.0, 100.0, RATE_BPS, DELAY_S),
    ]
    settings = {"memory_bytes": 30_000.0, "horizon_s": 100.0, "full_duplex": False, **kwargs}
    return system_of([[0, 1]], 2, links, **settings)  # type: ignore[arg-type]


def act(kind: str, node: int, start_s: float, end_s: float, **details: object) -> Activity:
    return Activity(kind, node, start_s, end_s, "train", 0, "all", **details)  # type: ignore[arg-type]


def send(
    source: int, target: int, link: str, payload: Payload, start_s: float, end_s: float, delay_s: float = DELAY_S
) -> Activity:
    return act("send", source, start_s, end_s, peer=target, link=link, arrive_s=end_s + delay_s, payload=payload)


def correct() -> Acts:
    """Embed, share the head, sum it, bring both embeddings down over a seam of two rates, encode."""
    images = [whole("image", [satellite], 7, 500) for satellite in (0, 1)]
    return {
        "embed 0": act("compute", 0, 0.0, 2.0, flops=2e3, memory_bytes=1e4, needs=(images[0],), makes=(EMBEDDING_0,)),
        "embed 1": act("compute", 1, 0.0, 2.0, flops=2e3, memory_bytes=1e4, needs=(images[1],), makes=(EMBEDDING_1,)),
        "head 0": act("compute", 0, 2.0, 3.0, flops=1e3, needs=(images[0], WEIGHTS), makes=(HEAD_0,)),
        "head 1": act("compute", 1, 2.0, 3.0, flops=1e3, needs=(images[1], WEIGHTS), makes=(HEAD_1,)),
        "share": send(1, 0, "isl_intra", HEAD_1, 3.0, 3.1),
        "sum": act("merge", 0, 3.6, 3.6, needs=(HEAD_0, HEAD_1), makes=(HEAD,)),
        "down 1": send(1, 3, "downlink", EMBEDDING_1, 4.0, 8.0),
        "cable 1": send(3, SERVER, "backhaul", EMBEDDING_1, 8.5, 9.0, 0.0),
        "down 0": send(0, 2, "downlink", EMBEDDING_0, 15.0, 30.0, DELAY_S / 2),
        "cable 0": send(2, SERVER, "backhaul", EMBEDDING_0, 30.25, 31.0, 0.0),
        "encode": act(
            "compute",
            SERVER,
            31.0,
            32.0,
            flops=1e6,
            memory_bytes=2e4,
            needs=(EMBEDDING_0, EMBEDDING_1),
            makes=(FEATURE,),
        ),
    }


def timeline_of(acts: Acts, **changes: object) -> Timeline:
    activities = tuple(sorted(acts.values(), key=lambda activity: activity.start_s))
    initial = tuple((s, payload) for s in (0, 1) for payload in (whole("image", [s], 7, 500), WEIGHTS))
    promises = (Promise(0, HEAD, 4.0), Promise(SERVER, FEATURE, 32.0))
    spans = (Span("train", 0, "all", 0.0, 32.0), Span("train", 0, "rest", 32.0, 33.0))
    return replace(Timeline("by hand", activities, spans, initial, promises, ("image",), 1), **changes)  # type: ignore[arg-type]


def edit(name: str, **changes: object) -> Callable[[Acts], None]:
    def apply(acts: Acts) -> None:
        acts[name] = replace(acts[name], **changes)  # type: ignore[arg-type]

    return apply


def add(activity: Activity) -> Callable[[Acts], None]:
    def apply(acts: Acts) -> None:
        acts["added"] = activity

    return apply


def shift(name: str, by_s: float) -> Callable[[Acts], None]:
    def apply(acts: Acts) -> None:
        old = acts[name]
        arrive_s = old.arrive_s + by_s if old.kind == "send" else 0.0
        acts[name] = replace(old, start_s=old.start_s + by_s, end_s=old.end_s + by_s, arrive_s=arrive_s)

    return apply


def drop(name: str) -> Callable[[Acts], None]:
    def apply(acts: Acts) -> None:
        del acts[name]

    return apply


def test_the_correct_timeline_is_accepted() -> None:
    verify(timeline_of(correct()), make_system())


def test_an_empty_timeline_is_accepted() -> None:
    verify(Timeline("nothing", (), (), (), (), (), 0), make_system())


BROKEN = [
    ("order", edit("head 0", kind="think")),
    ("order", edit("head 0", phase="retire")),
    ("order", edit("head 0", node=5)),
    ("order", edit("head 0", start_s=3.5)),
    ("order", edit("head 0", end_s=inf)),
    ("order", edit("embed 0", start_s=-1.0)),
    ("order", edit("encode", end_s=nan)),
    ("order", edit("head 0", flops=nan)),
    ("order", edit("head 0", memory_bytes=-1.0)),
    ("order", edit("head 0", arrive_s=3.0)),
    ("order", edit("head 0", makes=(replace(HEAD_0, end_byte=0),))),
    ("order", edit("head 0", makes=(whole("update", [2], 1, 100),))),
    ("order", edit("share", arrive_s=3.0)),
    ("order", edit("share", payload=None)),
    ("order", edit("share", needs=(HEAD_1,))),
    ("order", edit("share", link="laser")),
    ("spans", edit("head 0", stage="other")),
    ("spans", edit("head 0", round=1)),
    ("spans", edit("head 0", stage="rest")),
    ("spans", add(send(0, 3, "downlink", HEAD, 31.0, 31.9))),  # ends inside, arrives after
    ("private", add(send(0, 3, "downlink", whole("image", [0], 7, 500), 5.0, 6.0))),
    ("private", edit("head 0", makes=(HEAD_0, whole("image", [1], 7, 500)))),
    ("merge", edit("sum", needs=(HEAD_0, HEAD), makes=(HEAD,))),
    ("merge", edit("sum", needs=(HEAD_0, replace(HEAD_1, version=2)))),
    ("merge", edit("sum", needs=(HEAD_0, replace(HEAD_1, end_byte=99)))),
    ("merge", edit("sum", needs=(HEAD_0, replace(HEAD_1, kind="front")))),
    ("merge", edit("sum", needs=(HEAD_0,))),
    ("merge", edit("sum", makes=(HEAD_0,))),
    ("merge", edit("sum", makes=())),
    ("computer", edit("head 0", start_s=1.9)),
    ("computer", edit("head 0", end_s=2.99)),
    ("computer", edit("head 0", flops=1.1e3)),
    ("computer", add(act("compute", 2, 5.0, 6.0))),
    ("computer", add(act("merge", 3, 9.0, 9.0, needs=(EMBEDDING_1,), makes=(EMBEDDING_1,)))),
    ("contact", shift("down 0", 0.1)),  # beyond the touching contacts, into the gap
    ("contact", shift("down 0", -6.0)),
    ("contact", edit("share", link="isl_inter")),
    ("contact", edit("down 1", peer=2)),
    ("contact", add(send(0, 2, "downlink", HEAD, 29.5, 31.2))),
    ("rate", edit("down 1", start_s=4.01)),
    ("rate", edit("down 0", start_s=15.01)),
    ("rate", add(send(1, 3, "downlink", HEAD_1, 7.9, 8.0))),
    ("delay", edit("share", arrive_s=3.59)),
    ("delay", edit("down 1", arrive_s=8.4)),
    ("terminals", add(send(0, 3, "downlink", HEAD, 16.0, 16.1))),  # one ground terminal on board
    ("terminals", add(send(2, 0, "uplink", FEATURE, 16.0, 16.1))),  # half duplex
    ("holding", shift("share", -0.1)),
    ("holding", shift("sum", -0.1)),
    ("holding", shift("down 1", -3.0)),
    ("holding", drop("down 1")),
    ("holding", drop("cable 0")),
    ("holding", edit("encode", needs=(EMBEDDING_0, replace(EMBEDDING_1, version=6)))),
    ("holding", edit("down 1", payload=replace(EMBEDDING_1, start_byte=1, end_byte=4_001))),
    ("holding", edit("cable 1", payload=replace(EMBEDDING_1, end_byte=4_001))),
    ("holding", add(act("merge", 0, 5.0, 5.0, needs=(whole("x", [0], 0, 9),), makes=(whole("x", [0], 0, 9),)))),
    ("origin", edit("head 1", makes=(HEAD_1, whole("feature", [0], 7, 50)))),
    ("twice", add(send(1, 0, "isl_intra", HEAD_1, 5.0, 5.1))),
    ("twice", add(send(1, 3, "downlink", EMBEDDING_1.part(0, 1), 8.0, 8.1))),
    ("promise", drop("encode")),
    ("promise", drop("sum")),
    ("promise", shift("sum", 0.5)),
    ("memory", edit("embed 0", memory_bytes=30_010.0)),
    ("memory", edit("head 0", memory_bytes=20_010.0)),  # beside 10,000 bytes of embedding that go down later
]


@pytest.mark.parametrize(("rule", "mutate"), BROKEN, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(BROKEN)])
def test_a_broken_rule_is_named(rule: str, mutate: Callable[[Acts], None]) -> None:
    acts = correct()
    mutate(acts)
    with pytest.raises(TimelineRejected) as refusal:
        verify(timeline_of(acts), make_system())
    assert refusal.value.rule == rule


CLAIMS = [
    ("order", {"initial": ((0, replace(HEAD_0, start_byte=-1)),)}),
    ("order", {"promises": (Promise(9, HEAD, 4.0),)}),
    ("spans", {"spans": (Span("train", 0, "all", 0.0, 32.0), Span("train", 0, "rest", 32.1, 33.0))}),
    ("spans", {"spans": (Span("train", 0, "all", 0.0, 32.0), Span("train", 0, "rest", 31.9, 33.0))}),
    ("spans", {"spans": (Span("train", 0, "all", 0.0, 32.0), Span("deploy", 0, "rest", 32.0, 33.0))}),
    ("spans", {"spans": (Span("train", 0, "all", 0.0, 32.0), Span("train", 0, "rest", 32.0, 31.0))}),
    ("spans", {"spans": ()}),
    ("private", {"initial": ((0, whole("image", [1], 7, 500)),)}),
    ("private", {"private": ("embedding",)}),
    ("rounds", {"rounds": 2}),
    ("initial", {"initial": ((4, FEATURE),)}),
    ("holding", {"initial": ()}),
    ("promise", {"promises": (Promise(0, HEAD, 3.5),)}),
    ("promise", {"promises": (Promise(0, HEAD, 33.1),)}),
    ("promise", {"promises": (Promise(0, HEAD, nan),)}),
    ("promise", {"promises": (Promise(0, replace(HEAD, end_byte=101), 4.0),)}),
    ("promise", {"promises": (Promise(SERVER, HEAD, 32.0),)}),
    ("promise", {"promises": (Promise(1, whole("update", [], 1, 100), 32.0),)}),
]


@pytest.mark.parametrize(("rule", "changes"), CLAIMS, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(CLAIMS)])
def test_a_false_claim_is_named(rule: str, changes: dict[str, object]) -> None:
    with pytest.raises(TimelineRejected) as refusal:
        verify(timeline_of(correct(), **changes), make_system())
    assert refusal.value.rule == rule


def test_the_order_of_the_list_matters() -> None:
    timeline = timeline_of(correct())
    with pytest.raises(TimelineRejected) as refusal:
        verify(replace(timeline, activities=timeline.activities[::-1]), make_system())
    assert refusal.value.rule == "order"


def test_gaps_are_allowed_between_phases_only() -> None:
    spans = (Span("train", 0, "all", 0.0, 32.0), Span("deliver", 0, "rest", 40.0, 41.0))
    verify(timeline_of(correct(), spans=spans), make_system())


def test_more_terminals_make_the_same_timeline_possible() -> None:
    acts = correct()
    add(send(0, 3, "downlink", HEAD, 16.0, 16.1))(acts)
    verify(timeline_of(acts), make_system(ground_terminals=2))


def test_full_duplex_lets_both_directions_run_at_once() -> None:
    acts, front = correct(), whole("front", [], 0, 100)
    add(send(2, 0, "uplink", front, 16.0, 16.1))(acts)
    timeline = timeline_of(acts)
    timeline = replace(timeline, initial=(*timeline.initial, (2, front)))
    verify(timeline, make_system(full_duplex=True))
    with pytest.raises(TimelineRejected, match="half duplex"):
        verify(timeline, make_system(full_duplex=False))


def _links_of(system: System) -> list[Contact]:
    return [link for link in system.contacts if link.kind != "backhaul"]


def test_a_station_with_one_antenna_serves_one_satellite() -> None:
    acts = correct()
    links = [*_links_of(make_system()), contact(1, 2, "downlink", 0.0, 100.0, RATE_BPS, DELAY_S)]
    acts["added"] = send(1, 2, "downlink", HEAD_1, 16.0, 16.1)
    verify(timeline_of(acts), system_of([[0, 1]], 2, links, memory_bytes=3e4, horizon_s=100.0, antennas=2))
    with pytest.raises(TimelineRejected, match="GS-0 points at 2 peers with 1 ground terminals"):
        verify(timeline_of(acts), system_of([[0, 1]], 2, links, memory_bytes=3e4, horizon_s=100.0, antennas=1))


def test_two_merges_cannot_conjure_each_other_up() -> None:
    left, right = whole("head", [0], 5, 10), whole("head", [0], 6, 10)
    acts = correct()
    acts["a"] = act("compute", 0, 5.0, 5.0, needs=(left,), makes=(right,))
    acts["b"] = act("compute", 0, 5.0, 5.0, needs=(right,), makes=(left,))
    with pytest.raises(TimelineRejected) as refusal:
        verify(timeline_of(acts), make_system())
    assert refusal.value.rule == "holding"


def test_a_chain_of_instant_merges_may_be_listed_in_any_order() -> None:
    first, second = whole("front", [0], 1, 10), whole("encoder", [0], 1, 10)
    acts = correct()
    acts["b"] = act("compute", 0, 5.0, 5.0, needs=(first,), makes=(second,))
    acts["a"] = act("compute", 0, 5.0, 5.0, needs=(whole("image", [0], 7, 500),), makes=(first,))
    verify(timeline_of(acts), make_system())


def test_bytes_that_come_in_pieces_are_held_together() -> None:
    acts = correct()
    del acts["down 1"], acts["cable 1"]
    for number, (low, high) in enumerate([(2_000, 4_000), (0, 1_000), (1_000, 2_000)]):
        part, start_s = EMBEDDING_1.part(low, high), 4.0 + low / 1e3
        acts[f"down 1 {number}"] = send(1, 3, "downlink", part, start_s, start_s + (high - low) / 1e3)
        acts[f"cable 1 {number}"] = send(3, SERVER, "backhaul", part, 20.0 + number, 20.5 + number, 0.0)
    verify(timeline_of(acts), make_system())
    del acts["cable 1 1"]
    with pytest.raises(TimelineRejected, match="lacks 1000 of 4000 bytes"):
        verify(timeline_of(acts), make_system())


def test_memory_is_free_again_after_the_last_use() -> None:
    acts = correct()
    acts["later"] = act("compute", 1, 8.0, 9.0, flops=1e3, memory_bytes=3e4)  # its embedding is down at 8 s
    verify(timeline_of(acts), make_system())
    acts["later"] = act("compute", 1, 7.0, 8.0, flops=1e3, memory_bytes=3e4)
    with pytest.raises(TimelineRejected, match=r"needs 34000 bytes .* embedding 4000"):
        verify(timeline_of(acts), make_system())


def test_the_message_names_activity_and_amount() -> None:
    acts = correct()
    edit("down 1", start_s=4.01)(acts)
    with pytest.raises(TimelineRejected, match=r"SAT-1 to GS-1 over downlink, embedding version 7 .* 4000 bytes"):
        verify(timeline_of(acts), make_system())

"""Timelines of real methods, corrupted in every way we can think of: each is rejected, and for the right reason."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import inf, nan

import pytest
from method_worlds import CASES, HORIZON_S, MEMORY_BYTES, World, flat, small_job, small_system, world
from power_worlds import powered

from orbitune.errors import TimelineRejected
from orbitune.links.contacts import Contact
from orbitune.methods import METHODS, plan
from orbitune.timeline.activity import Activity, Payload, Promise, Span, Timeline, whole
from orbitune.timeline.rejection import TIME_TOLERANCE_S
from orbitune.timeline.verify import verify

Mutation = Callable[[World], Timeline | None]
"""The corrupted timeline; None where a world has nothing that can be corrupted so."""

MUTATIONS: dict[str, tuple[frozenset[str], Mutation]] = {}
"""By name: the rules that may be named, and what is done."""

CONTROL = Payload("control", frozenset({0}), 99, 0, 10)
"""Something that nobody holds; what is wrong with the way it takes is found before that."""


def mutation(*rules: str) -> Callable[[Mutation], Mutation]:
    def listed(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__.replace("_", " ")] = (frozenset(rules), function)
        return function

    return listed


# -- tools -----------------------------------------------------------------------------------------------------------


def numbered(given: World, kind: str, wanted: Callable[[Activity], bool] = lambda act: True) -> Iterator[int]:
    """Numbers of the activities of a kind."""
    return (i for i, act in enumerate(given.timeline.activities) if act.kind == kind and wanted(act))


def edited(given: World, number: int | None, **changes: object) -> Timeline | None:
    """One activity changed, all of them in order again."""
    if number is None:
        return None
    act = replace(given.timeline.activities[number], **changes)  # type: ignore[arg-type]
    return with_activities(given, [*others(given, number), act])


def needs_of(given: World, number: int | None) -> tuple[Payload, ...]:
    return () if number is None else given.timeline.activities[number].needs


def others(given: World, *numbers: int) -> list[Activity]:
    return [act for i, act in enumerate(given.timeline.activities) if i not in numbers]


def with_activities(given: World, activities: Iterable[Activity]) -> Timeline:
    return replace(given.timeline, activities=tuple(sorted(activities, key=lambda act: act.start_s)))


def added(given: World, *more: Activity) -> Timeline:
    return with_activities(given, [*given.timeline.activities, *more])


def moved(given: World, number: int | None, by_s: float) -> Timeline | None:
    if number is None:
        return None
    act = given.timeline.activities[number]
    arrive_s = act.arrive_s + by_s if act.kind == "send" else 0.0
    return edited(given, number, start_s=act.start_s + by_s, end_s=act.end_s + by_s, arrive_s=arrive_s)


def carrier(given: World, act: Activity) -> Contact:
    links = given.system.contacts.by_link[act.node, act.peer]
    return next(link for link in links if link.kind == act.link and link.start_s - 1e-9 <= act.start_s <= link.end_s)


def sent(link: Contact, payload: Payload, start_s: float, end_s: float) -> Activity:
    return Activity("send", link.source, start_s, end_s, "train", 0, "all", peer=link.target, link=link.kind,
                    arrive_s=end_s + link.delay_s, payload=payload)  # fmt: skip


def largest_send(given: World) -> int:
    return max(numbered(given, "send"), key=lambda i: given.timeline.activities[i].payload.size)  # type: ignore[union-attr]


def trained_later(given: World) -> int | None:
    """A computation that makes an update from an average that is not the first."""

    def later(act: Activity) -> bool:
        versions = [payload.version for payload in act.needs if payload.kind == "update"]
        return bool(versions) and min(versions) > 0 and any(payload.kind == "update" for payload in act.makes)

    return next(numbered(given, "compute", later), None)


def first_merge(given: World) -> int | None:
    """A merge of several, whose sum its node sends or needs later."""
    used = {
        (act.node, payload.kind, payload.origins, payload.version)
        for act in given.timeline.activities
        for payload in (*act.needs, *((act.payload,) if act.payload else ()))
    }

    def counts(act: Activity) -> bool:
        (total,) = act.makes
        return len(act.needs) > 1 and (act.node, total.kind, total.origins, total.version) in used

    return next(numbered(given, "merge", counts), None)


# -- well-formedness -------------------------------------------------------------------------------------------------


@mutation("order")
def activities_out_of_order(given: World) -> Timeline:
    first, *rest = given.timeline.activities
    return replace(given.timeline, activities=(*rest, first))


@mutation("order")
def negative_duration(given: World) -> Timeline | None:
    number = next(numbered(given, "compute", lambda act: act.end_s > act.start_s))
    act = given.timeline.activities[number]
    return edited(given, number, end_s=act.start_s - 0.1)


@mutation("order")
def a_time_that_is_no_number(given: World) -> Timeline:
    first, *rest = given.timeline.activities
    return replace(given.timeline, activities=(replace(first, end_s=nan), *rest))


@mutation("order")
def an_arrival_that_is_no_number(given: World) -> Timeline | None:
    return edited(given, next(numbered(given, "send")), arrive_s=nan)


@mutation("order")
def unknown_node(given: World) -> Timeline | None:
    return edited(given, next(numbered(given, "compute")), node=len(given.system.nodes))


@mutation("order")
def unknown_peer(given: World) -> Timeline | None:
    return edited(given, next(numbered(given, "send")), peer=len(given.system.nodes))


@mutation("order")
def unknown_kind_of_activity(given: World) -> Timeline | None:
    return edited(given, next(numbered(given, "compute")), kind="guess")


@mutation("order")
def endless_work(given: World) -> Timeline | None:
    return edited(given, next(numbered(given, "compute")), flops=inf)


@mutation("order")
def a_payload_without_bytes(given: World) -> Timeline | None:
    number = next(numbered(given, "send"))
    payload = given.timeline.activities[number].payload
    assert payload is not None
    return edited(given, number, payload=replace(payload, end_byte=payload.start_byte))


@mutation("order")
def origins_that_are_no_satellites(given: World) -> Timeline | None:
    return edited(given, next(numbered(given, "compute")), makes=(whole("update", [7], 0, 10),))


# -- spans and rounds, on the timelines as they are --------------------------------------------------------------------


@mutation("spans")
def an_activity_outside_its_span(given: World) -> Timeline | None:
    spans = (Span("train", 0, "all", 0.0, 1.0),)
    return replace(given.timeline, spans=spans)


@mutation("spans")
def overlapping_spans(given: World) -> Timeline:
    return replace(given.timeline, spans=(*given.timeline.spans, Span("train", 0, "more", HORIZON_S - 1, HORIZON_S)))


@mutation("spans")
def a_gap_between_spans(given: World) -> Timeline:
    spans = (*given.timeline.spans, Span("train", 0, "more", HORIZON_S + 1, HORIZON_S + 2))
    return replace(given.timeline, spans=spans)


@mutation("rounds")
def a_round_in_which_nobody_trained(given: World) -> Timeline:
    more = Span("train", given.timeline.rounds, "nothing", HORIZON_S, HORIZON_S)
    return replace(given.timeline, rounds=given.timeline.rounds + 10, spans=(*given.timeline.spans, *(
        replace(more, round=given.timeline.rounds + number) for number in range(10))))  # fmt: skip


@mutation("rounds")
def a_staleness_below_zero(given: World) -> Timeline:
    return replace(given.timeline, staleness=-1)


@mutation("rounds")
def a_round_claimed_that_was_not_played(given: World) -> Timeline:
    return replace(given.timeline, rounds=given.timeline.rounds + 1)


# -- privacy and beginnings --------------------------------------------------------------------------------------------


@mutation("private", "contact")
def images_sent(given: World) -> Timeline | None:
    return _raw_sent(given, "image")


@mutation("private", "contact")
def labels_sent(given: World) -> Timeline | None:
    return _raw_sent(given, "label")


def _raw_sent(given: World, kind: str) -> Timeline | None:
    if not given.timeline.private:
        return None
    payload = next(payload for node, payload in given.timeline.initial if payload.kind == kind)
    link = given.system.contacts.by_link[0, 1][0]
    return added(given, sent(link, payload, HORIZON_S - 10.0, HORIZON_S - 9.0))


@mutation("private", "initial")
def a_satellite_that_starts_with_anothers_images(given: World) -> Timeline:
    image = next(payload for _, payload in given.timeline.initial if payload.kind == "image")
    return replace(given.timeline, initial=(*given.timeline.initial, (5, image)))


@mutation("private", "initial")
def a_server_that_starts_with_images(given: World) -> Timeline:
    image = next(payload for _, payload in given.timeline.initial if payload.kind == "image")
    return replace(given.timeline, initial=(*given.timeline.initial, (given.system.nodes.server, image)))


@mutation("initial")
def features_held_at_the_start(given: World) -> Timeline:
    return replace(given.timeline, initial=(*given.timeline.initial, (0, whole("feature", [0], 0, 1_024))))


@mutation("initial")
def an_average_held_at_the_start(given: World) -> Timeline:
    everyone = whole("update", given.system.nodes.satellites, 0, 100)
    return replace(given.timeline, initial=(*given.timeline.initial, (0, everyone)))


@mutation("holding")
def images_forgotten_at_the_start(given: World) -> Timeline:
    return replace(given.timeline, initial=tuple(pair for pair in given.timeline.initial if pair[1].kind != "image"))


# -- merging ---------------------------------------------------------------------------------------------------------


@mutation("merge")
def a_merge_of_overlapping_origins(given: World) -> Timeline | None:
    number = first_merge(given)
    needs = needs_of(given, number)
    return edited(given, number, needs=(*needs, *needs[:1]))


@mutation("merge")
def a_merge_that_drops_an_origin(given: World) -> Timeline | None:
    number = first_merge(given)
    return edited(given, number, needs=needs_of(given, number)[:-1])


@mutation("merge")
def a_merge_that_claims_one_origin_less(given: World) -> Timeline | None:
    number = first_merge(given)
    if number is None:
        return None
    (total,) = given.timeline.activities[number].makes
    return edited(given, number, makes=(replace(total, origins=total.origins - {min(total.origins)}),))


@mutation("merge")
def a_merge_of_different_versions(given: World) -> Timeline | None:
    number = first_merge(given)
    if number is None:
        return None
    first, *rest = given.timeline.activities[number].needs
    return edited(given, number, needs=(replace(first, version=first.version + 1), *rest))


@mutation("merge")
def a_merge_of_different_bytes(given: World) -> Timeline | None:
    number = first_merge(given)
    if number is None:
        return None
    first, *rest = given.timeline.activities[number].needs
    return edited(given, number, needs=(replace(first, end_byte=first.end_byte - 1), *rest))


@mutation("holding", "promise")
def a_merge_that_leaves_one_contribution_out(given: World) -> Timeline | None:
    number = first_merge(given)
    if number is None:
        return None
    act = given.timeline.activities[number]
    (total,) = act.makes
    left = replace(total, origins=total.origins - act.needs[-1].origins)
    return edited(given, number, needs=act.needs[:-1], makes=(left,))


@mutation("holding", "promise")
def a_deleted_merge(given: World) -> Timeline | None:
    number = first_merge(given)
    return None if number is None else with_activities(given, others(given, number))


# -- computing -------------------------------------------------------------------------------------------------------


def work(given: World, wanted: Callable[[Activity], bool] = lambda act: True) -> Iterator[int]:
    return numbered(given, "compute", lambda act: act.end_s - act.start_s > 1e-3 and wanted(act))


@mutation("computer")
def a_computation_too_fast(given: World) -> Timeline | None:
    number = next(work(given))
    act = given.timeline.activities[number]
    return edited(given, number, end_s=act.start_s + 0.99 * (act.end_s - act.start_s))


@mutation("computer")
def two_computations_at_once(given: World) -> Timeline | None:
    act = given.timeline.activities[next(work(given))]
    return added(given, replace(act, start_s=(act.start_s + act.end_s) / 2, end_s=2 * act.end_s))


@mutation("computer")
def work_split_into_crumbs_that_take_no_time(given: World) -> Timeline | None:
    number = next(work(given))
    act = given.timeline.activities[number]
    crumb_s = 0.9 * TIME_TOLERANCE_S
    flops = crumb_s * given.system.computer(act.node).flops_per_s
    crumb = replace(act, end_s=act.start_s, flops=flops)
    rest = replace(act, end_s=act.end_s - 50 * crumb_s, flops=act.flops - 50 * flops)
    return with_activities(given, [*others(given, number), *[crumb] * 50, rest])


@mutation("computer")
def a_station_that_computes(given: World) -> Timeline | None:
    return edited(given, next(work(given)), node=6)


@mutation("computer")
def a_station_that_merges(given: World) -> Timeline | None:
    number = first_merge(given)
    return edited(given, number, node=6)


@mutation("memory")
def memory_exceeded(given: World) -> Timeline | None:
    number = next(numbered(given, "compute", lambda act: act.node == 0), None)
    return edited(given, number, memory_bytes=1.01 * MEMORY_BYTES)


@mutation("memory")
def memory_exceeded_by_what_waits(given: World) -> Timeline | None:
    def beside(act: Activity) -> bool:
        return act.node == 0 and any(payload.kind == "feature" for payload in act.needs)

    number = next(numbered(given, "compute", beside), None)
    if number is None:
        return None
    hoard = whole("embedding", [0], 77, MEMORY_BYTES)
    timeline = edited(given, number, makes=(*given.timeline.activities[number].makes, hoard))
    assert timeline is not None
    return replace(timeline, promises=(*timeline.promises, Promise(0, hoard, HORIZON_S)))


@mutation("holding")
def a_computation_before_its_inputs(given: World) -> Timeline | None:
    server = given.system.nodes.server
    number = next(numbered(given, "compute", lambda act: act.node == server), None)
    if number is None:
        return None
    act = given.timeline.activities[number]
    since_s = max(
        sent.arrive_s for sent in given.timeline.activities if sent.peer == server and sent.end_s <= act.start_s
    )
    return moved(given, number, since_s - 0.01 - act.start_s)


@mutation("holding", "promise", "rounds")
def a_deleted_computation(given: World) -> Timeline | None:
    return with_activities(given, others(given, next(numbered(given, "compute", lambda act: bool(act.makes)))))


@mutation("origin")
def features_from_samples_never_used(given: World) -> Timeline | None:
    server = given.system.nodes.server
    number = next(numbered(given, "compute", lambda act: act.node == server and len(act.needs) > 1), None)
    if number is None:
        return None
    kept = tuple(payload for payload in given.timeline.activities[number].needs if 2 not in payload.origins)
    return edited(given, number, needs=kept)


@mutation("origin")
def anothers_contribution_computed(given: World) -> Timeline | None:
    number = next(numbered(given, "compute", lambda act: act.node == 0), None)
    if number is None:
        return None
    return edited(given, number, makes=(*given.timeline.activities[number].makes, whole("update", [1], 0, 10)))


@mutation("origin")
def a_sum_computed_instead_of_merged(given: World) -> Timeline | None:
    """An average that overlaps what it is added to may not be a merge; computing it is no way out."""
    number = trained_later(given)
    if number is None:
        return None
    act = given.timeline.activities[number]
    everyone = whole("update", given.system.nodes.satellites, 9, 10)
    return edited(given, number, makes=(*act.makes, everyone))


@mutation("origin")
def untrained_weights_made_instead_of_sent(given: World) -> Timeline | None:
    weights = [act.payload for act in given.timeline.activities if act.payload and act.payload.kind == "weights"]
    if not weights:
        return None
    end = max(payload.end_byte for payload in weights)
    made = Activity(
        "compute", 0, HORIZON_S - 5, HORIZON_S - 5, "train", 0, "all", makes=(whole("weights", [], 1, end),)
    )
    return added(given, made)


# -- versions --------------------------------------------------------------------------------------------------------


@mutation("staleness")
def training_from_the_average_before_the_last(given: World) -> Timeline | None:
    return _trained_from(given, lambda need: replace(need, version=need.version - 1))


@mutation("staleness")
def training_from_untrained_weights_again(given: World) -> Timeline | None:
    weights = next((payload for _, payload in given.timeline.initial if payload.kind == "weights"), None)
    first = next((act.needs for act in given.timeline.activities if any(n.kind == "weights" for n in act.needs)), ())
    weights = next((need for need in first if need.kind == "weights"), weights)
    return _trained_from(given, lambda need: weights) if weights else None


@mutation("staleness")
def training_from_ones_own_contribution(given: World) -> Timeline | None:
    number = trained_later(given)
    if number is None:
        return None
    origin = frozenset({given.timeline.activities[number].node})
    return _trained_from(given, lambda need: replace(need, origins=origin))


@mutation("staleness")
def training_from_nothing(given: World) -> Timeline | None:
    number = trained_later(given)
    if number is None:
        return None
    act = given.timeline.activities[number]
    (made,) = (payload for payload in act.makes if payload.kind == "update")
    ghost = replace(made, version=99)
    raw = next(payload for node, payload in given.timeline.initial if node == act.node)
    return edited(given, number, makes=(*act.makes, ghost), needs=(raw, *(n for n in act.needs if n.kind != "update")))


def _trained_from(given: World, base: Callable[[Payload], Payload]) -> Timeline | None:
    number = trained_later(given)
    if number is None:
        return None
    needs = given.timeline.activities[number].needs
    return edited(given, number, needs=tuple(base(need) if need.kind == "update" else need for need in needs))


# -- the air ---------------------------------------------------------------------------------------------------------


def through_the_air(given: World) -> Iterator[int]:
    return numbered(given, "send", lambda act: act.link in ("downlink", "uplink"))


@mutation("contact")
def a_transfer_moved_out_of_its_window_by_one_second(given: World) -> Timeline | None:
    number = next(through_the_air(given))
    act = given.timeline.activities[number]
    return moved(given, number, carrier(given, act).end_s + 1.0 - act.end_s)


@mutation("contact")
def a_transfer_before_its_window(given: World) -> Timeline | None:
    late = [i for i in through_the_air(given) if carrier(given, given.timeline.activities[i]).start_s > 1.0]
    if not late:
        return None
    act = given.timeline.activities[late[0]]
    return moved(given, late[0], carrier(given, act).start_s - 1.0 - act.start_s)


@mutation("contact")
def a_send_between_nodes_without_contact(given: World) -> Timeline | None:
    number = next(numbered(given, "send", lambda act: act.link == "isl_intra"))
    act = given.timeline.activities[number]
    return edited(given, number, peer=(act.peer + 3) % 6)


@mutation("contact")
def a_link_of_the_wrong_kind(given: World) -> Timeline | None:
    return edited(given, next(numbered(given, "send", lambda act: act.link == "isl_intra")), link="isl_inter")


@mutation("rate")
def two_sends_on_one_link_at_once(given: World) -> Timeline | None:
    act = given.timeline.activities[largest_send(given)]
    middle_s = (act.start_s + act.end_s) / 2
    return added(given, sent(carrier(given, act), CONTROL, middle_s, act.end_s))


@mutation("rate")
def a_rate_exceeded_by_one_percent(given: World) -> Timeline | None:
    number = largest_send(given)
    act = given.timeline.activities[number]
    return edited(given, number, start_s=act.start_s + 0.01 * (act.end_s - act.start_s))


@mutation("rate")
def bytes_split_into_crumbs_that_take_no_time(given: World) -> Timeline | None:
    number = largest_send(given)
    act = given.timeline.activities[number]
    assert act.payload is not None
    size = max(1, int(carrier(given, act).rate_bps * TIME_TOLERANCE_S / 8))
    crumbs = [act.payload.part(low * size, (low + 1) * size) for low in range(50)]
    sends = [replace(act, end_s=act.start_s, payload=crumb) for crumb in crumbs]
    rest = replace(act, payload=act.payload.part(50 * size, act.payload.size))
    return with_activities(given, [*others(given, number), *sends, rest])


@mutation("delay")
def an_arrival_before_the_light(given: World) -> Timeline | None:
    number = next(numbered(given, "send", lambda act: act.arrive_s - act.end_s > 1e-3))
    act = given.timeline.activities[number]
    return edited(given, number, arrive_s=(act.arrive_s + act.end_s) / 2)


def beside(given: World, act: Activity, other: Callable[[Contact], bool]) -> Timeline | None:
    """A second send at the same time, over another contact."""
    links = (link for link in given.system.contacts if other(link))
    inside = (link for link in links if link.start_s <= act.start_s and act.end_s <= link.end_s)
    link = next(inside, None)
    return added(given, sent(link, CONTROL, act.start_s, act.end_s)) if link else None


@mutation("terminals")
def two_satellites_on_one_antenna(given: World) -> Timeline | None:
    tries = (_second_satellite(given, given.timeline.activities[i]) for i in through_the_air(given))
    return next((found for found in tries if found), None)


def _second_satellite(given: World, act: Activity) -> Timeline | None:
    station, satellite = max(act.node, act.peer), min(act.node, act.peer)
    return beside(given, act, lambda link: link.target == station and link.source < 6 and link.source != satellite)


@mutation("terminals")
def two_stations_on_one_terminal(given: World) -> Timeline | None:
    tries = (_second_station(given, given.timeline.activities[i]) for i in through_the_air(given))
    return next((found for found in tries if found), None)


def _second_station(given: World, act: Activity) -> Timeline | None:
    station, satellite = max(act.node, act.peer), min(act.node, act.peer)
    return beside(
        given, act, lambda link: link.source == satellite and link.kind == "downlink" and link.target != station
    )


@mutation("terminals")
def two_planes_on_one_inter_satellite_terminal(given: World) -> Timeline | None:
    number = next(numbered(given, "send", lambda act: act.link == "isl_inter"), None)
    if number is None:
        return None
    act = given.timeline.activities[number]
    ends = {act.node, act.peer}
    return beside(given, act, lambda link: link.kind == "isl_inter" and 1 in (link.source, link.target)
                  and not {link.source, link.target} <= ends)  # fmt: skip


@mutation("terminals")
def both_directions_at_once_in_half_duplex(given: World) -> Timeline | None:
    if given.system.terminals.full_duplex:
        return None
    act = given.timeline.activities[next(numbered(given, "send", lambda act: act.link == "isl_intra"))]
    return beside(given, act, lambda link: (link.source, link.target) == (act.peer, act.node))


# -- holding ---------------------------------------------------------------------------------------------------------


@mutation("holding", "promise")
def a_byte_lost(given: World) -> Timeline | None:
    number = largest_send(given)
    payload = given.timeline.activities[number].payload
    assert payload is not None
    return edited(given, number, payload=replace(payload, end_byte=payload.end_byte - 1))


@mutation("twice")
def a_byte_sent_twice(given: World) -> Timeline | None:
    number = next(numbered(given, "send", lambda act: act.link == "isl_intra"))
    act = given.timeline.activities[number]
    assert act.payload is not None
    return added(given, sent(carrier(given, act), act.payload.part(0, 1), HORIZON_S - 2, HORIZON_S - 1))


@mutation("twice")
def a_chunk_sent_again_instead_of_the_next(given: World) -> Timeline | None:
    """A transfer resumed with bytes that were there already."""
    seen: dict[tuple[object, ...], Payload] = {}
    for number in numbered(given, "send"):
        act = given.timeline.activities[number]
        assert act.payload is not None
        key = (act.peer, act.payload.kind, act.payload.origins, act.payload.version)
        before = seen.setdefault(key, act.payload)
        if act.link == "isl_intra" and before.start_byte != act.payload.start_byte and before.size <= act.payload.size:
            again = replace(act, payload=before, start_s=HORIZON_S - 5, end_s=HORIZON_S - 3, arrive_s=HORIZON_S - 2)
            return added(given, again) if _held(given, act.node, before) else None
    return None


def _held(given: World, node: int, payload: Payload) -> bool:
    """Whether a node gets exactly this payload, or makes it."""
    return any(
        (act.peer == node and act.payload == payload) or (act.node == node and payload in act.makes)
        for act in given.timeline.activities
    )


@mutation("holding")
def a_payload_sent_before_it_is_held(given: World) -> Timeline | None:
    server = given.system.nodes.server
    number = next(numbered(given, "send", lambda act: act.link == "backhaul" and act.peer == server))
    return moved(given, number, -min(given.timeline.activities[number].start_s, 0.02))


@mutation("holding")
def a_payload_sent_that_nobody_has(given: World) -> Timeline | None:
    link = given.system.contacts.by_link[0, 1][0]
    return added(given, sent(link, CONTROL, HORIZON_S - 2, HORIZON_S - 1))


@mutation("holding", "promise")
def a_deleted_send(given: World) -> Timeline | None:
    return with_activities(given, others(given, largest_send(given)))


@mutation("holding", "promise")
def the_last_send_of_all_deleted(given: World) -> Timeline | None:
    return with_activities(given, others(given, max(numbered(given, "send"))))


# -- promises --------------------------------------------------------------------------------------------------------


@mutation("promise")
def a_promise_of_what_never_comes(given: World) -> Timeline:
    return replace(given.timeline, promises=(*given.timeline.promises, Promise(2, CONTROL, HORIZON_S)))


@mutation("promise")
def a_promise_kept_too_late(given: World) -> Timeline | None:
    for promise in given.timeline.promises[::-1]:
        brought = [act for act in given.timeline.activities if act.peer == promise.node
                   and act.payload and act.payload.kind == promise.payload.kind
                   and act.payload.origins == promise.payload.origins]  # fmt: skip
        if brought:
            soon = replace(promise, by_s=min(act.arrive_s for act in brought) - 0.001)
            return replace(given.timeline, promises=(soon,))
    return None


@mutation("promise")
def an_addressee_who_lacks_a_byte(given: World) -> Timeline | None:
    if not given.timeline.promises:
        return None
    promise = given.timeline.promises[-1]
    longer = replace(promise.payload, end_byte=promise.payload.end_byte + 1)
    return replace(given.timeline, promises=(replace(promise, payload=longer),))


@mutation("promise")
def a_promise_due_after_the_end(given: World) -> Timeline | None:
    late = tuple(replace(promise, by_s=HORIZON_S + 1.0) for promise in given.timeline.promises[:1])
    return replace(given.timeline, promises=late) if late else None


# -- batteries ---------------------------------------------------------------------------------------------------------


@functools.cache
def on_batteries() -> World:
    """Satellites that compute alone and wait for the day to do so; all of it in one stage."""
    method, trains, ways, full_duplex = CASES["alone"]
    system = powered(small_system(full_duplex), 1_000.0)
    made = plan(METHODS[method], small_job(system, trains, ways))
    acts = tuple(replace(act, phase="train", round=0, stage="all") for act in made.activities)
    ends = (Span("train", number, "all", HORIZON_S, HORIZON_S) for number in range(1, made.rounds))
    return World(replace(made, activities=acts, spans=(Span("train", 0, "all", 0.0, HORIZON_S), *ends)), system)


def _waited_s(given: World, number: int) -> float:
    """How long a computation waits after everything that its node did and got before."""
    act = given.timeline.activities[number]
    before = [
        max(other.end_s, other.arrive_s)
        for other in given.timeline.activities
        if act.node in (other.node, other.peer) and max(other.end_s, other.arrive_s) <= act.start_s
    ]
    return act.start_s - max(before, default=0.0)


def _that_waits_longest(given: World) -> int | None:
    """A computation that waits for nothing but charge."""
    if given.system.power is None:
        return None
    return max(work(given), key=lambda number: _waited_s(given, number))


@mutation("battery")
def a_computation_moved_into_the_night(given: World) -> Timeline | None:
    number = _that_waits_longest(given)
    return None if number is None else moved(given, number, -_waited_s(given, number))


@mutation("battery")
def a_computation_that_begins_in_the_night_and_dawdles(given: World) -> Timeline | None:
    number = _that_waits_longest(given)
    if number is None:
        return None
    return edited(given, number, start_s=given.timeline.activities[number].start_s - _waited_s(given, number))


@mutation("battery")
def work_for_nobody_through_a_night(given: World) -> Timeline | None:
    if given.system.power is None:
        return None
    dusk_s = float(given.system.power.sunlight[0].end_s[-2])
    return added(given, Activity("compute", 0, dusk_s, dusk_s + 75.0, "train", 0, "all"))


@mutation("battery")
def a_transfer_that_takes_all_day(given: World) -> Timeline | None:
    """The last to arrive by a link that is always there, sent as slowly as possible."""
    if given.system.power is None:
        return None
    number = max(numbered(given, "send", lambda act: act.link == "isl_intra"))
    act = given.timeline.activities[number]
    slow = replace(act, end_s=act.end_s + 2_000.0, arrive_s=act.arrive_s + 2_000.0)
    return replace(with_activities(given, [*others(given, number), slow]), promises=())


# -- the test --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_what_the_methods_made_is_accepted(case: str) -> None:
    verify(world(case).timeline, world(case).system)
    verify(flat(case).timeline, flat(case).system)
    verify(on_batteries().timeline, on_batteries().system)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_corrupted_timeline_is_rejected_for_the_right_reason(name: str) -> None:
    rules, mutate = MUTATIONS[name]
    tried = 0
    worlds = {**{case: flat(case) for case in CASES}, "on batteries": on_batteries()}
    for case, given in worlds.items():
        corrupted = mutate(given)
        if corrupted is None:
            continue
        tried += 1
        with pytest.raises(TimelineRejected) as refusal:
            verify(corrupted, given.system)
        assert refusal.value.rule in rules, f"{case}: {refusal.value}"
    assert tried, "no world has anything to corrupt in this way"


def test_there_are_many_ways_to_lie() -> None:
    assert len(MUTATIONS) >= 60
    assert len({rules for rules, _ in MUTATIONS.values()}) >= 12

"""Late contributions, written down by hand: what a bound on staleness allows, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_systems import ring, system_of

from orbitune.errors import TimelineRejected
from orbitune.timeline.activity import Activity, Payload, Span, Timeline, whole
from orbitune.timeline.verify import verify

SYSTEM = system_of([[0, 1]], 0, ring([0, 1], 8e3, 0.0, 100.0), horizon_s=100.0)
WEIGHTS = whole("weights", [], 0, 100)
ROUND_S = 10.0


def update(version: int, *origins: int) -> Payload:
    return whole("update", origins, version, 100)


def image(satellite: int) -> Payload:
    return whole("image", [satellite], 0, 100)


def act(kind: str, node: int, start_s: float, end_s: float, **details: object) -> Activity:
    round_ = int(start_s // ROUND_S)
    return Activity(kind, node, start_s, end_s, "train", round_, "all", **details)  # type: ignore[arg-type]


def train(node: int, base: Payload, makes: Payload, start_s: float) -> Activity:
    return act("compute", node, start_s, start_s + 1.0, needs=(image(node), base), makes=(makes,))


def send(source: int, payload: Payload, start_s: float) -> Activity:
    return act("send", source, start_s, start_s + 0.1, peer=1 - source, link="isl_intra", arrive_s=start_s + 0.1,
               payload=payload)  # fmt: skip


def merge(node: int, version: int, at_s: float) -> Activity:
    return act(
        "merge", node, at_s, at_s, needs=(update(version, 0), update(version, 1)), makes=(update(version, 0, 1),)
    )


def timeline(activities: list[Activity], staleness: int, rounds: int = 3) -> Timeline:
    spans = tuple(Span("train", i, "all", i * ROUND_S, (i + 1) * ROUND_S) for i in range(rounds))
    initial = tuple((node, payload) for node in (0, 1) for payload in (image(node), WEIGHTS))
    ordered = tuple(sorted(activities, key=lambda activity: activity.start_s))
    return Timeline("by hand", ordered, spans, initial, (), ("image",), rounds, staleness=staleness)


def late_satellite(version: int = 2) -> list[Activity]:
    """Satellite 1 trains from untrained weights and contributes to `version`; satellite 0 goes on alone before."""
    acts = [train(0, WEIGHTS, update(0, 0), 0.0), train(1, WEIGHTS, update(version, 1), 0.0)]
    for number in range(1, version + 1):
        acts.append(train(0, update(number - 1, 0), update(number, 0), ROUND_S * number))
    start_s = ROUND_S * version + 2.0
    return [*acts, send(1, update(version, 1), start_s), merge(0, version, start_s + 1.0)]


def rule_of(judged: Timeline) -> str:
    try:
        verify(judged, SYSTEM)
    except TimelineRejected as refusal:
        return refusal.rule
    return ""


@pytest.mark.parametrize(("version", "staleness"), [(1, 0), (2, 1), (2, 0)])
def test_a_contribution_that_is_too_late_is_refused(version: int, staleness: int) -> None:
    assert rule_of(timeline(late_satellite(version), staleness, version + 1)) == "staleness"


@pytest.mark.parametrize(("version", "staleness"), [(1, 1), (1, 5), (2, 2)])
def test_a_contribution_within_the_bound_is_accepted(version: int, staleness: int) -> None:
    assert rule_of(timeline(late_satellite(version), staleness, version + 1)) == ""


def synchronous() -> list[Activity]:
    acts = []
    for number in range(3):
        start_s = ROUND_S * number
        base = update(number - 1, 0, 1) if number else WEIGHTS
        for node in (0, 1):
            acts.append(train(node, base, update(number, node), start_s))
            acts.append(send(node, update(number, node), start_s + 1.0))
            acts.append(merge(node, number, start_s + 2.0))
    return acts


def test_a_synchronous_timeline_needs_no_allowance() -> None:
    assert rule_of(timeline(synchronous(), 0)) == ""


def test_numbers_that_local_steps_leave_out_are_not_late() -> None:
    """Versions 1, 3 and 5, as they are where an average is formed after every other exchange."""
    names = {0: 1, 1: 3, 2: 5}

    def renamed(payload: Payload) -> Payload:
        return replace(payload, version=names[payload.version]) if payload.kind == "update" else payload

    acts = [
        replace(
            each,
            payload=renamed(each.payload) if each.payload else None,
            needs=tuple(map(renamed, each.needs)),
            makes=tuple(map(renamed, each.makes)),
        )
        for each in synchronous()
    ]
    assert rule_of(timeline(acts, 0)) == ""


@pytest.mark.parametrize(("base", "staleness", "rule"), [
    (update(0, 0, 1), 0, "staleness"),  # the average before the last
    (update(0, 0, 1), 1, ""),
    (update(1, 0), 5, "staleness"),  # its own contribution, while another one went into that average
    (WEIGHTS, 1, "staleness"),
    (WEIGHTS, 2, ""),
    (update(2, 0, 1), 5, "staleness"),  # what it is going to be part of
    (image(0), 5, "staleness"),  # no weights at all
])  # fmt: skip
def test_the_base_is_read_from_what_the_computation_needs(base: Payload, staleness: int, rule: str) -> None:
    acts = [
        replace(each, needs=(image(0), base)) if each.kind == "compute" and update(2, 0) in each.makes else each
        for each in synchronous()
    ]
    judged = timeline(acts, staleness)
    if base == update(2, 0, 1):
        assert rule_of(judged) == "holding"  # it cannot be there yet
    else:
        assert rule_of(judged) == rule


def test_the_oldest_average_in_a_contribution_counts() -> None:
    """Embedded with old weights, trained with new ones: as late as the embedding."""
    embedding = whole("embedding", [0], 2, 50)
    acts = synchronous()
    embed = act("compute", 0, 19.0, 19.0, needs=(image(0), update(0, 0, 1)), makes=(embedding,))
    assert rule_of(timeline([*acts, embed], 0)) == "staleness"
    assert rule_of(timeline([*acts, embed], 1)) == ""
    frozen = replace(embed, needs=(image(0), WEIGHTS))  # what does not train may be old
    assert rule_of(timeline([*acts, frozen], 0)) == ""


def test_features_wait_for_the_model_of_the_round_before() -> None:
    def ground(start_s: float, kind: str, version: int) -> Activity:
        return act("compute", 0, start_s, start_s + 1.0, needs=(image(0),), makes=(whole(kind, [0], version, 10),))

    trained = [ground(5.0, "model", 0), ground(14.0, "model", 1)]
    early, late = ground(12.0, "feature", 2), ground(16.0, "feature", 2)
    assert rule_of(timeline([*synchronous(), *trained, late], 0)) == ""
    assert rule_of(timeline([*synchronous(), *trained, early], 0)) == "staleness"
    assert rule_of(timeline([*synchronous(), *trained, early], 1)) == ""


def test_staleness_survives_a_file() -> None:
    judged = timeline(late_satellite(1), 1, 2)
    assert Timeline.from_jsonl(judged.to_jsonl()) == judged
    header, *rows = judged.to_jsonl()
    old = header.replace(', "staleness": 1', "")
    assert old != header
    assert Timeline.from_jsonl([old, *rows]) == replace(judged, staleness=0)

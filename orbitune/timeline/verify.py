"""The checker: is this timeline possible on this system, and does it do what it promises?

Written against the data alone (activities, contact plan, machines): it knows no strategy and no booking desk.
Cost: n log n in the number of activities. The rules, in the order in which they are looked at:

==========  =====================================================================================================
order       activities are well formed: known kinds, phases and nodes, finite times, start before end, sorted
spans       stages follow each other without overlap or gap, and each activity lies inside its own stage (with
            staleness, it may have begun in as many rounds before)
rounds      the training rounds that are claimed are the ones that are played, and each of them trains something
private     private kinds are never sent, and exist only on the satellite they come from
initial     a training starts from raw data where they were taken and from untrained weights (`lineage`)
merge       only disjoint contributions to the same bytes are summed, and the sum is their union
origin      nothing is made from samples that the computation does not need (`lineage`)
computer    a node computes one thing at a time, no faster than it can; stations compute nothing
contact     a send lies wholly inside contacts of its link (`airtime`)
rate        a link carries one send at a time, and no more bytes than its rate allows (`airtime`)
delay       nothing arrives before the last bit has travelled (`airtime`)
terminals   no node points at more peers than it has terminals or antennas (`airtime`)
holding     nobody sends, needs or merges a byte that it does not hold at that moment (`holdings`)
twice       nobody receives a byte that it already holds (`holdings`)
promise     every promised byte is held in time (`holdings`)
staleness   no contribution was computed from weights older than the timeline allows (`lineage`)
memory      what a node computes and what it keeps for later fit its memory (`memory`)
battery     no battery ever holds less than its floor, where batteries are modelled (`battery`)
==========  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf

from orbitune.cost.system import System
from orbitune.errors import TimelineRejected
from orbitune.links.contacts import KINDS
from orbitune.timeline.activity import PHASES, Activity, Payload, Span, Timeline
from orbitune.timeline.airtime import check_airtime
from orbitune.timeline.battery import check_battery
from orbitune.timeline.collector import paused_collector
from orbitune.timeline.holdings import check_holdings
from orbitune.timeline.lineage import check_initial, check_origin, check_staleness
from orbitune.timeline.memory import check_memory
from orbitune.timeline.rejection import TIME_TOLERANCE_S, describe_payload, node_name, reject

ACTIVITY_KINDS = ("compute", "send", "merge")


def verify(timeline: Timeline, system: System) -> None:
    """Accept a timeline, or say which rule it breaks.

    Args:
        timeline: What is claimed to happen.
        system: Contact plan and machines to judge it by.

    Raises:
        TimelineRejected: A rule is broken; `rule` is its name in the table above, the message names the activity
            and the amount.
    """
    with paused_collector():
        for check in CHECKS:
            check(timeline, system)


# -- order ---------------------------------------------------------------------------------------------------------


def _order(timeline: Timeline, system: System) -> None:
    satellites, num_nodes = frozenset(system.nodes.satellites), len(system.nodes)
    last_s = 0.0
    for activity in timeline.activities:
        flaw = _flaw_of_place(activity, last_s, num_nodes) or _flaw_of_content(activity, satellites, num_nodes)
        if flaw:
            reject("order", activity, system.nodes, flaw)
        last_s = activity.start_s
    _order_of_claims(timeline, system, satellites)


def _flaw_of_place(activity: Activity, last_s: float, num_nodes: int) -> str:
    """What is wrong with who, when and in which phase; empty if nothing."""
    if activity.kind not in ACTIVITY_KINDS:
        return f"unknown kind {activity.kind!r}, allowed are {ACTIVITY_KINDS}"
    if activity.phase not in PHASES:
        return f"unknown phase {activity.phase!r}, allowed are {PHASES}"
    if not 0 <= activity.node < num_nodes:
        return f"nodes are numbered 0 to {num_nodes - 1}"
    if not 0.0 <= activity.start_s <= activity.end_s < inf:
        return "times must be finite, not negative, and start no later than end"
    if activity.start_s < last_s:
        return f"listed after an activity that starts at {last_s:.6f} s; activities are sorted by start"
    return ""


def _flaw_of_content(activity: Activity, satellites: frozenset[int], num_nodes: int) -> str:
    """What is wrong with what is sent, used or made; empty if nothing."""
    if activity.kind == "send":
        return _flaw_of_send(activity, satellites, num_nodes)
    if activity.payload is not None or activity.peer != -1 or activity.link or activity.arrive_s != 0.0:
        return "only a send has a payload, a peer, a link and an arrival"
    if not (0.0 <= activity.flops < inf and 0.0 <= activity.memory_bytes < inf):
        return f"{activity.flops} FLOPs and {activity.memory_bytes} bytes must be finite and not negative"
    return _flaw_of_payloads((*activity.needs, *activity.makes), satellites)


def _flaw_of_send(activity: Activity, satellites: frozenset[int], num_nodes: int) -> str:
    if activity.payload is None or activity.needs or activity.makes:
        return "a send carries exactly one payload, and neither needs nor makes another"
    if activity.link not in KINDS:
        return f"unknown link {activity.link!r}, allowed are {KINDS}"
    if not 0 <= activity.peer < num_nodes:
        return f"peers are numbered 0 to {num_nodes - 1}, not {activity.peer}"
    if not activity.end_s <= activity.arrive_s < inf:
        return f"arrives at {activity.arrive_s:.6f} s, before its end or never"
    return _flaw_of_payloads((activity.payload,), satellites)


def _flaw_of_payloads(payloads: Iterable[Payload], satellites: frozenset[int]) -> str:
    for payload in payloads:
        if not 0 <= payload.start_byte < payload.end_byte:
            return f"{describe_payload(payload)} is not a range of bytes"
        if not payload.origins <= satellites:
            return f"{describe_payload(payload)} has origins that are not satellites"
    return ""


def _order_of_claims(timeline: Timeline, system: System, satellites: frozenset[int]) -> None:
    """What is held at the start and what is promised must be well formed too."""
    claims = [*timeline.initial, *((promise.node, promise.payload) for promise in timeline.promises)]
    for node, payload in claims:
        flaw = _flaw_of_payloads((payload,), satellites)
        if flaw or not 0 <= node < len(system.nodes):
            raise TimelineRejected("order", flaw or f"{describe_payload(payload)} is claimed for unknown node {node}")


# -- spans ---------------------------------------------------------------------------------------------------------


def _spans(timeline: Timeline, system: System) -> None:
    for span in timeline.spans:
        if span.phase not in PHASES or not 0.0 <= span.start_s <= span.end_s < inf:
            raise TimelineRejected("spans", f"{_named(span)} must have a known phase and run forwards in time")
    for before, after in zip(timeline.spans, timeline.spans[1:], strict=False):
        _check_neighbours(before, after)
    stages: dict[tuple[str, int, str], list[Span]] = {}
    for span in timeline.spans:
        stages.setdefault((span.phase, span.round, span.stage), []).append(_with_late_work(span, timeline))
    for activity in timeline.activities:
        if not _inside(activity, stages.get((activity.phase, activity.round, activity.stage), [])):
            until_s = max(activity.end_s, activity.arrive_s)
            reject("spans", activity, system.nodes, f"lasts until {until_s:.6f} s and lies in no span of its stage")


def _with_late_work(span: Span, timeline: Timeline) -> Span:
    """With staleness, work for a round of training may have begun while that many rounds before it were under way."""
    if not timeline.staleness or span.phase != "train":
        return span
    first = span.round - max(0, timeline.staleness)
    begins_s = min(one.start_s for one in timeline.spans if one.phase == "train" and one.round >= first)
    return replace(span, start_s=begins_s)


def _check_neighbours(before: Span, after: Span) -> None:
    if PHASES.index(after.phase) < PHASES.index(before.phase):
        raise TimelineRejected("spans", f"{_named(after)} follows {_named(before)}; phases come in order {PHASES}")
    gap_s = after.start_s - before.end_s
    if gap_s < -TIME_TOLERANCE_S:
        raise TimelineRejected("spans", f"{_named(after)} overlaps {_named(before)} by {-gap_s:.6f} s")
    if gap_s > TIME_TOLERANCE_S and after.phase == before.phase:
        raise TimelineRejected("spans", f"{gap_s:.6f} s between {_named(before)} and {_named(after)} belong to neither")


def _inside(activity: Activity, spans: list[Span]) -> bool:
    """An arrival may be the very moment at which the stage ends."""
    first_s = activity.start_s + TIME_TOLERANCE_S
    last_s = max(activity.end_s, activity.arrive_s) - TIME_TOLERANCE_S
    return any(span.start_s <= first_s and last_s <= span.end_s for span in spans)


def _named(span: Span) -> str:
    return f"{span.phase} round {span.round} stage '{span.stage}' ({span.start_s:.6f} to {span.end_s:.6f} s)"


# -- rounds --------------------------------------------------------------------------------------------------------


def _rounds(timeline: Timeline, system: System) -> None:
    """An excerpt claims no rounds, and may show any part of one."""
    if not timeline.staleness >= 0:
        raise TimelineRejected("rounds", f"staleness = {timeline.staleness} must be 0 or more")
    if not timeline.rounds:
        return
    played = {span.round for span in timeline.spans if span.phase == "train"}
    if played != set(range(timeline.rounds)):
        problem = f"{timeline.rounds} rounds are claimed, and those with spans are {_shortened(sorted(played))}"
        raise TimelineRejected("rounds", problem)
    made = (payload for act in timeline.activities if act.kind == "compute" for payload in act.makes)
    trained = {payload.version for payload in made if payload.kind in ("update", "model")}
    if len(trained) < timeline.rounds:
        problem = (
            f"{timeline.rounds} rounds are claimed, and versions were trained only of {_shortened(sorted(trained))}"
        )
        raise TimelineRejected("rounds", problem)


def _shortened(numbers: list[int]) -> str:
    """A list of numbers, its middle left out where it is long."""
    shown = [str(number) for number in numbers]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-4:]]) or "none"


# -- private -------------------------------------------------------------------------------------------------------


def _private(timeline: Timeline, system: System) -> None:
    if not timeline.private:
        return
    for activity in timeline.activities:
        if activity.payload is not None and activity.payload.kind in timeline.private:
            reject("private", activity, system.nodes, f"{activity.payload.size} bytes of a private kind are sent")
        for payload in activity.makes:
            if _strays(activity.node, payload, timeline):
                reject("private", activity, system.nodes, f"makes {describe_payload(payload)}, private elsewhere")
    for node, payload in timeline.initial:
        if _strays(node, payload, timeline):
            name = node_name(node, system.nodes)
            raise TimelineRejected("private", f"{name} is given {describe_payload(payload)}, private to its origin")


def _strays(node: int, payload: Payload, timeline: Timeline) -> bool:
    """Whether a private payload of one satellite is at another node."""
    return payload.kind in timeline.private and not payload.origins <= {node}


# -- merge ---------------------------------------------------------------------------------------------------------


def _merge(timeline: Timeline, system: System) -> None:
    for activity in timeline.activities:
        if activity.kind == "merge":
            flaw = _flaw_of_merge(activity)
            if flaw:
                reject("merge", activity, system.nodes, flaw)


def _flaw_of_merge(activity: Activity) -> str:
    """What is wrong with a sum of contributions; empty if nothing."""
    if len(activity.makes) != 1 or not activity.needs:
        return f"sums {len(activity.needs)} payloads into {len(activity.makes)}; one or more into one is allowed"
    total = activity.makes[0]
    origins: frozenset[int] = frozenset()
    for payload in activity.needs:
        if _subject(payload) != _subject(total):
            return f"sums {describe_payload(payload)} into {describe_payload(total)}"
        if not origins.isdisjoint(payload.origins):
            return f"counts satellites {sorted(origins & payload.origins)} twice"
        origins |= payload.origins
    if origins != total.origins:
        return f"claims origins {sorted(total.origins)} from inputs of {sorted(origins)}"
    return ""


def _subject(payload: Payload) -> tuple[str, int, int, int]:
    """All of a payload but its origins."""
    return payload.kind, payload.version, payload.start_byte, payload.end_byte


# -- computer ------------------------------------------------------------------------------------------------------


def _computer(timeline: Timeline, system: System) -> None:
    """Work is added up while a computer has no pause, so many short ones cannot each save the tolerance."""
    free_s: dict[int, float] = {}
    stations = system.nodes.stations
    for activity in timeline.activities:
        if activity.kind == "send":
            continue
        if activity.node in stations:
            reject("computer", activity, system.nodes, "stations compute nothing")
        if activity.kind == "compute":
            free_s[activity.node] = _finished_s(activity, system, free_s.get(activity.node, 0.0))


def _finished_s(activity: Activity, system: System, free_s: float) -> float:
    """When the computer is free again, at best."""
    if activity.start_s < free_s - TIME_TOLERANCE_S:
        reject("computer", activity, system.nodes, f"the computer is busy until {free_s:.6f} s")
    least_s = activity.flops / system.computer(activity.node).flops_per_s
    least_end_s = max(activity.start_s, free_s) + least_s
    if activity.end_s < least_end_s - TIME_TOLERANCE_S:
        reject("computer", activity, system.nodes, f"{activity.flops:.6g} FLOPs take at least {least_s:.6f} s")
    return max(activity.end_s, least_end_s)


CHECKS: tuple[Callable[[Timeline, System], None], ...] = (
    _order,
    _spans,
    _rounds,
    _private,
    check_initial,
    _merge,
    check_origin,
    _computer,
    check_airtime,
    check_holdings,
    check_staleness,
    check_memory,
    check_battery,
)
"""All rules, in the order in which they are looked at."""

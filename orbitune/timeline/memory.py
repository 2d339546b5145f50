"""Check of memory (rule `memory` of `verify`).

What counts, at every moment and for every node with a computer:

- the `memory_bytes` of the computation that runs (weights, activations and optimiser state; its inputs among them);
- every byte of intermediate data (`DATA_KINDS`) that the node received, made or was given, from the moment it holds
  it until its last use there: the end of the last send or computation that uses it, or the promise that names it.

Images and labels lie in storage, and weights count where a computation loads them. A byte without a later use may be
dropped at once: this is the least memory that any implementation of the timeline can do with.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from orbitune.cost.system import System
from orbitune.errors import TimelineRejected
from orbitune.timeline.activity import Activity, Payload, Timeline
from orbitune.timeline.holdings import ByteSet, Key
from orbitune.timeline.rejection import TIME_TOLERANCE_S, node_name

DATA_KINDS = frozenset({"embedding", "feature", "feature_gradient", "embedding_gradient"})
"""Intermediate data of a step, which live in memory."""

Stamp = tuple[int, int, float]
"""Bytes `start` to `end` and a moment."""

Change = tuple[float, float, str]
"""At a moment, so many bytes more (or fewer), because of what."""


def check_memory(timeline: Timeline, system: System) -> None:
    """Rule `memory`."""
    changes: dict[int, list[Change]] = defaultdict(list)
    for activity in timeline.activities:
        if activity.kind == "compute":
            changes[activity.node] += _occupied(
                activity.start_s, activity.end_s, _besides_inputs(activity), "computing"
            )
    (gained, used), stations = _gains_and_uses(timeline), system.nodes.stations
    for key, uses in used.items():
        if key[0] not in stations:
            changes[key[0]] += _buffered(key[1], gained.get(key, []), uses)
    for node, events in changes.items():
        _check_node(node, events, system)


def _besides_inputs(activity: Activity) -> float:
    """Memory of a computation beyond its inputs, which are counted as buffered."""
    return max(0.0, activity.memory_bytes - sum(payload.size for payload in activity.needs if _counts(payload)))


def _counts(payload: Payload) -> bool:
    return payload.kind in DATA_KINDS


def _gains_and_uses(timeline: Timeline) -> tuple[dict[Key, list[Stamp]], dict[Key, list[Stamp]]]:
    """Since when each byte is at its node, and when it is used there."""
    gains: dict[Key, list[Stamp]] = defaultdict(list)
    uses: dict[Key, list[Stamp]] = defaultdict(list)
    for node, payload in timeline.initial:
        _stamp(gains, node, payload, 0.0)
    for activity in timeline.activities:
        sent = activity.payload
        if sent is not None:
            if sent.kind in DATA_KINDS:
                _stamp(gains, activity.peer, sent, activity.arrive_s)
                _stamp(uses, activity.node, sent, activity.end_s)
            continue
        for payload in activity.makes:
            _stamp(gains, activity.node, payload, activity.end_s)
        for payload in activity.needs:
            _stamp(uses, activity.node, payload, activity.end_s)
    for promise in timeline.promises:
        _stamp(uses, promise.node, promise.payload, promise.by_s)
    return gains, uses


def _stamp(found: dict[Key, list[Stamp]], node: int, payload: Payload, time_s: float) -> None:
    if payload.kind in DATA_KINDS:
        key = (node, payload.kind, payload.origins, payload.version)
        found[key].append((payload.start_byte, payload.end_byte, time_s))


def _buffered(kind: str, gained: list[Stamp], used: list[Stamp]) -> Iterator[Change]:
    """Every byte of one tensor from its first gain to its last use."""
    if len(used) == len(gained) == 1 and used[0][:2] == gained[0][:2]:  # mostly: what came whole is used whole, once
        (start, end, since_s), until_s = gained[0], used[0][2]
        if until_s > since_s:
            yield from _occupied(since_s, until_s, end - start, kind)
        return
    last_use = _first_wins(sorted(used, key=lambda stamp: -stamp[2]))
    starts = [start for start, _, _ in last_use]
    for start, end, since_s in _first_wins(sorted(gained, key=lambda stamp: stamp[2])):
        for row in range(max(0, bisect_right(starts, start) - 1), len(last_use)):
            low, high, until_s = last_use[row]
            if low >= end:
                break
            size = min(high, end) - max(low, start)
            if size > 0 and until_s > since_s:
                yield from _occupied(since_s, until_s, size, kind)


def _first_wins(stamps: list[Stamp]) -> list[Stamp]:
    """Disjoint ranges in byte order, each byte with the moment of the first stamp that names it."""
    if len(stamps) == 1 or len({stamp[:2] for stamp in stamps}) == 1:
        return stamps[:1]
    taken = ByteSet()
    found: list[Stamp] = []
    for start, end, time_s in stamps:
        found += [(low, high, time_s) for low, high in taken.gaps(start, end)]
        taken.add(start, end)
    return sorted(found)


def _occupied(start_s: float, end_s: float, size: float, what: str) -> tuple[Change, Change]:
    """Bytes that come and go; what ends at the moment at which another begins does not meet it."""
    return (start_s, size, what), (max(start_s, end_s - TIME_TOLERANCE_S), -size, what)


def _check_node(node: int, events: list[Change], system: System) -> None:
    limit = system.computer(node).memory_bytes + 1.0  # whole bytes add up exactly; one covers fractions of others
    events.sort()
    if max(accumulate(size for _, size, _ in events), default=0.0) > limit:
        _refuse(node, events, limit, system)


def _refuse(node: int, events: list[Change], limit: float, system: System) -> None:
    """Say when it first does not fit, and because of what."""
    now: dict[str, float] = defaultdict(float)
    for time_s, size, what in events:
        now[what] += size
        if (total := sum(now.values())) > limit:
            parts = ", ".join(f"{name} {part:.0f}" for name, part in now.items() if part > 0)
            name = node_name(node, system.nodes)
            text = f"{name} needs {total:.0f} bytes at {time_s:.6f} s ({parts}) and has {limit - 1.0:.0f}"
            raise TimelineRejected("memory", text)

"""Checks of what is held: holding, twice and promise (rules of `verify`).

The timeline is played once in time order. A payload exists at a node only when the activity that brought or made it
has itself been possible, so two activities cannot conjure each other up within the tolerance.
Nothing is forgotten here: whether what is kept also fits is the business of `memory`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from heapq import heappop, heappush
from math import inf
from operator import attrgetter
from typing import NamedTuple, NoReturn

from orbitune.cost.system import System
from orbitune.errors import TimelineRejected
from orbitune.timeline.activity import Activity, Payload, Promise, Timeline
from orbitune.timeline.rejection import TIME_TOLERANCE_S, describe_payload, node_name, reject

Key = tuple[int, str, frozenset[int], int]
"""Node, kind, origins, version: the tensor at a place, of which byte ranges are held."""


def key_of(node: int, payload: Payload) -> Key:
    """The tensor at a node that a payload is a range of."""
    return node, payload.kind, payload.origins, payload.version


class ByteSet(list[int]):
    """A set of bytes as half-open ranges that never touch, a flat sorted list: start, end, start, end, ...

    A place before an odd number of edges lies outside, after an odd number of edges inside. One list, and not objects
    with lists, because a timeline has hundreds of thousands of these.
    """

    def contains(self, start: int, end: int) -> bool:
        """Whether every byte of a range is in the set."""
        row = bisect_right(self, start)
        return row % 2 == 1 and self[row] >= end

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a range that are not in the set."""
        first, last = bisect_right(self, start), bisect_left(self, end)
        edges = [*([] if first % 2 else [start]), *self[first:last], *([] if last % 2 else [end])]
        return list(zip(edges[::2], edges[1::2], strict=True))

    def missing(self, start: int, end: int) -> int:
        """How many bytes of a range are not in the set."""
        return sum(high - low for low, high in self.gaps(start, end))

    def add(self, start: int, end: int) -> None:
        """Put a range in; ranges that touch become one."""
        if not self:
            self += (start, end)
            return
        first, last = bisect_left(self, start), bisect_right(self, end)
        self[first:last] = [*([] if first % 2 else [start]), *([] if last % 2 else [end])]


class _Step(NamedTuple):
    """Something that waits for payloads: an activity at its start, or a promise when it is due."""

    time_s: float
    node: int
    needs: tuple[Payload, ...]
    cause: Activity | Promise


_Gain = tuple[float, int, int, Payload, bool, Activity]
"""From a moment on (numbered among equals) a node will hold a payload; whether it was received, and what brought or
made it. A plain tuple, because every activity makes one."""


def check_holdings(timeline: Timeline, system: System) -> None:
    """Rules `holding`, `twice` and `promise`."""
    end_s = timeline.time_s
    for promise in timeline.promises:
        if not promise.by_s <= end_s + TIME_TOLERANCE_S:
            owed = describe_payload(promise.payload)
            raise TimelineRejected("promise", f"{owed} is due at {promise.by_s} s, after the end {end_s} s")
    _Replay(system).play(timeline)


class _Replay:
    """Plays a timeline and knows, at the moment reached, who holds which bytes."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._held: dict[Key, ByteSet] = defaultdict(ByteSet)
        self._coming: list[_Gain] = []  # heap by the moment they are held from
        self._count = 0
        self._blocked: dict[int, _Step] = {}  # steps that lack something which may still come within the tolerance
        self._blocked_on: dict[Key, list[int]] = defaultdict(list)

    def play(self, timeline: Timeline) -> None:
        """Activities and promises in time order, activities first."""
        for node, payload in timeline.initial:
            self._held[key_of(node, payload)].add(payload.start_byte, payload.end_byte)
        due = deque(sorted(timeline.promises, key=attrgetter("by_s")))
        for activity in timeline.activities:
            while due and due[0].by_s < activity.start_s:
                self._claim(due.popleft())
            self._receive(activity.start_s + TIME_TOLERANCE_S)
            needs = activity.needs if activity.payload is None else (activity.payload,)
            self._try(activity.start_s, activity.node, needs, activity)
        for promise in due:
            self._claim(promise)
        self._receive(inf)
        for step in self._blocked.values():
            self._refuse(step)

    def _claim(self, promise: Promise) -> None:
        self._receive(promise.by_s + TIME_TOLERANCE_S)
        self._try(promise.by_s, promise.node, (promise.payload,), promise)

    def _try(self, time_s: float, node: int, needs: tuple[Payload, ...], cause: Activity | Promise) -> None:
        lacking = self._lacking(node, needs)
        if lacking is not None:
            self._count += 1
            self._blocked[self._count] = _Step(time_s, node, needs, cause)
            self._blocked_on[key_of(node, lacking)].append(self._count)
        elif isinstance(cause, Activity):
            self._do(cause)

    def _lacking(self, node: int, needs: tuple[Payload, ...]) -> Payload | None:
        """The first payload of which a node lacks a byte."""
        for payload in needs:
            held = self._held.get((node, payload.kind, payload.origins, payload.version))
            if held is None or not held.contains(payload.start_byte, payload.end_byte):
                return payload
        return None

    def _do(self, activity: Activity) -> None:
        """What an activity brings about, once all it needs is there."""
        if activity.payload is not None:
            self._count += 1
            gain = activity.arrive_s, self._count, activity.peer, activity.payload, True, activity
            heappush(self._coming, gain)
        for payload in activity.makes:
            self._count += 1
            heappush(self._coming, (activity.end_s, self._count, activity.node, payload, False, activity))

    def _receive(self, until_s: float) -> None:
        """Hand out everything held from `until_s` or earlier, and retry what waited for it."""
        coming = self._coming
        while coming and coming[0][0] <= until_s:
            since_s, _, node, payload, received, cause = heappop(coming)
            if self._blocked:
                self._give_up_before(since_s)
            key = (node, payload.kind, payload.origins, payload.version)
            held = self._held[key]
            if received and held:
                self._check_new(held, payload, cause)
            held.add(payload.start_byte, payload.end_byte)
            if self._blocked:
                for number in self._blocked_on.pop(key, ()):
                    self._try(*self._blocked.pop(number))

    def _give_up_before(self, time_s: float) -> None:
        """A blocked step that is due before the next payload comes will never get what it lacks."""
        while self._blocked:
            step = next(iter(self._blocked.values()))
            if step.time_s + TIME_TOLERANCE_S >= time_s:
                return
            self._refuse(step)

    def _check_new(self, held: ByteSet, payload: Payload, cause: Activity) -> None:
        new = held.missing(payload.start_byte, payload.end_byte)
        if new < payload.size:
            problem = f"the receiver already holds {payload.size - new} of these bytes"
            reject("twice", cause, self._system.nodes, problem)

    def _refuse(self, step: _Step) -> NoReturn:
        lacking = self._lacking(step.node, step.needs)
        assert lacking is not None, "only steps that lack something are refused"
        held = self._held.get(key_of(step.node, lacking), ByteSet())
        count = held.missing(lacking.start_byte, lacking.end_byte)
        name = node_name(step.node, self._system.nodes)
        problem = f"{name} lacks {count} of {lacking.size} bytes at {step.time_s:.6f} s: {describe_payload(lacking)}"
        if isinstance(step.cause, Promise):
            raise TimelineRejected("promise", problem)
        reject("holding", step.cause, self._system.nodes, problem)

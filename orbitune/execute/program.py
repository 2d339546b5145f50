"""The program of each host: its nodes' part of a checked timeline, with the contacts and terminals they send over.

All numbers are those of the whole mission: a plan for fewer satellites numbers its nodes anew and counts its seconds
from its own start, and both are translated here, once. Only versions and rounds go on counting from `first_round`.
"""

from __future__ import annotations

import gzip
import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orbitune.cost.system import TERMINAL_OF, System
from orbitune.engine.protocol import Header
from orbitune.execute.gate import Window
from orbitune.timeline.activity import Activity, Payload, Promise, Span, Timeline
from orbitune.timeline.holdings import key_of
from orbitune.timeline.rejection import TIME_TOLERANCE_S

Link = tuple[int, int, str]
"""Sender, receiver, kind of contact."""

Terminal = tuple[int, str]
"""Node, kind of its terminals."""

BEFORE_ROUNDS = -1
"""Number of the round that a promise of deployment is due with."""

DELIVERED = {"update": "delivered_update"}
"""What averages are called on their way to the user. In training they may be sums of gradients, of which everybody
makes the same weights; what is delivered is these weights, other bytes of the same length."""


@dataclass(frozen=True)
class Program:
    """What one host carries out.

    Attributes:
        attempt: Number of the plan; nothing of another is counted.
        first_round: Rounds done before: the absolute number of the plan's round 0.
        start_s: Simulated second at which the plan's own second 0 lies.
        ids: For each node of the plan, its number in the whole mission.
        participants: Satellites of the plan.
        part: Activities, initial payloads and promises of the host's nodes, in simulated seconds.
        indices: For each of these activities its place in the plan's timeline.
        delivers: What its nodes deliver first, as it was called in training; others pass it on.
        due_rounds: For each of these promises the round (of the plan) that it ends; `BEFORE_ROUNDS` for deployment,
            the number of rounds for delivery.
        round_ends_s: Planned end of each round, in simulated seconds.
        windows: Contacts of each link that the host's nodes send over.
        terminals: How many terminals of a kind a node sends with.
    """

    attempt: int
    first_round: int
    start_s: float
    ids: tuple[int, ...]
    participants: tuple[int, ...]
    part: Timeline
    indices: tuple[int, ...]
    delivers: tuple[tuple[int, Payload], ...]
    due_rounds: tuple[int, ...]
    round_ends_s: tuple[float, ...]
    windows: Mapping[Link, tuple[Window, ...]]
    terminals: Mapping[Terminal, int]

    @property
    def rounds(self) -> int:
        """Rounds of the plan."""
        return len(self.round_ends_s)

    def to_bytes(self) -> bytes:
        """Compressed JSON lines: what is told of the program, then its part of the timeline."""
        told = {name: getattr(self, name) for name in _PLAIN}
        told["windows"] = [[*link, list(windows)] for link, windows in self.windows.items()]
        told["delivers"] = [[node, fields_of(payload)] for node, payload in self.delivers]
        told["terminals"] = [[*terminal, count] for terminal, count in self.terminals.items()]
        text = "\n".join([json.dumps(told), *self.part.to_jsonl()])
        # Level 1: a tenth of the time of level 9, and a few percent longer.
        return gzip.compress(text.encode(), compresslevel=1, mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> Program:
        """Read what `to_bytes` wrote."""
        first, *lines = gzip.decompress(content).decode().splitlines()
        told: dict[str, Any] = json.loads(first)
        plain: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in _PLAIN
        }
        return cls(
            **plain,
            part=Timeline.from_jsonl(lines),
            delivers=tuple((node, payload_of(fields)) for node, fields in told["delivers"]),
            windows={
                (source, target, kind): tuple(Window(*row) for row in rows)
                for source, target, kind, rows in told["windows"]
            },
            terminals={(node, terminal): count for node, terminal, count in told["terminals"]},
        )


_PLAIN = ("attempt", "first_round", "start_s", "ids", "participants", "indices", "due_rounds", "round_ends_s")


def programs(
    timeline: Timeline,
    system: System,
    host_of: Mapping[int, str],
    attempt: int = 1,
    first_round: int = 0,
    start_s: float = 0.0,
    ids: tuple[int, ...] | None = None,
) -> dict[str, Program]:
    """Split a timeline into the programs of hosts.

    Args:
        timeline: Checked.
        system: The one that it was planned for.
        host_of: Host of each node, by its number in the whole mission.
        attempt, first_round, start_s, ids: See `Program`; the plan's numbers are those of the mission if `ids` is None.

    Returns:
        A program for each host in `host_of`, also where it has nothing to do.
    """
    real = tuple(range(len(system.nodes))) if ids is None else tuple(ids)
    split = _Split(timeline, system, real, start_s)
    for node in real:
        assert node in host_of, f"node {node} of the plan has no host"
    ends_s = tuple(end_s + start_s for end_s in timeline.round_ends_s())
    shared = attempt, first_round, start_s, real, real[: system.nodes.num_satellites]
    found = {}
    for host in dict.fromkeys(host_of.values()):
        mine = {number for number, node in enumerate(real) if host_of[node] == host}
        activities = [index for index, activity in enumerate(timeline.activities) if activity.node in mine]
        promises = [promise for promise in timeline.promises if promise.node in mine]
        found[host] = Program(
            *shared,
            part=split.part(activities, mine, promises),
            indices=tuple(activities),
            delivers=split.delivers(activities),
            due_rounds=tuple(map(split.due_round, promises)),
            round_ends_s=ends_s,
            windows=split.windows(activities),
            terminals=split.terminals(activities),
        )
    return found


def translated(timeline: Timeline, system: System, ids: tuple[int, ...], start_s: float, first_round: int) -> Timeline:
    """A plan of the rest in the numbers, seconds and rounds of the whole mission; payload versions stay its own."""
    split = _Split(timeline, system, ids, start_s)
    whole = split.part(range(len(timeline.activities)), set(range(len(ids))), timeline.promises)
    return replace(
        whole,
        activities=tuple(
            replace(one, round=one.round + first_round, payload=one.payload and in_training(one.payload))
            for one in whole.activities
        ),
        spans=tuple(replace(span, round=span.round + first_round) for span in whole.spans),
        promises=tuple(replace(one, payload=in_training(one.payload)) for one in whole.promises),
    )


class _Split:
    """Parts of one timeline, translated to the numbers and seconds of the mission."""

    def __init__(self, timeline: Timeline, system: System, ids: tuple[int, ...], start_s: float) -> None:
        self._timeline, self._system, self._ids, self._start_s = timeline, system, ids, start_s
        same = ids == tuple(range(len(ids)))
        self._translate: Callable[[Payload], Payload] = _itself if same else self._renumbered
        self._origins: dict[frozenset[int], frozenset[int]] = {}
        self._ends_s = timeline.round_ends_s()
        self._passed_on = {
            key_of(one.peer, one.payload)
            for one in timeline.activities
            if one.phase == "deliver" and one.payload is not None
        }

    def part(self, indices: Iterable[int], mine: set[int], promises: Iterable[Promise]) -> Timeline:
        """The excerpt for some nodes."""
        timeline = self._timeline
        return replace(
            timeline,
            activities=tuple(self._activity(timeline.activities[index]) for index in indices),
            spans=tuple(self._span(span) for span in timeline.spans),
            initial=tuple((self._ids[n], self._translate(held)) for n, held in timeline.initial if n in mine),
            promises=tuple(map(self._promise, promises)),
        )

    def _promise(self, promise: Promise) -> Promise:
        payload = self._translate(promise.payload)
        if self.due_round(promise) == len(self._ends_s):
            payload = delivered(payload)
        return Promise(self._ids[promise.node], payload, promise.by_s + self._start_s)

    def delivers(self, indices: Iterable[int]) -> tuple[tuple[int, Payload], ...]:
        """What nodes deliver that nobody delivered to them."""
        return tuple(
            (self._ids[one.node], self._translate(one.payload))
            for one in self._sends(indices)
            if one.payload is not None and one.phase == "deliver" and one.payload.kind in DELIVERED
            and key_of(one.node, one.payload) not in self._passed_on
        )  # fmt: skip

    def due_round(self, promise: Promise) -> int:
        """Which round a promise belongs to: the first that ends when it is due or later."""
        first_s = next((span.start_s for span in self._timeline.spans if span.phase == "train"), 0.0)
        if promise.by_s <= first_s + TIME_TOLERANCE_S and first_s > 0.0:
            return BEFORE_ROUNDS
        return bisect_left(self._ends_s, promise.by_s - TIME_TOLERANCE_S)

    def windows(self, indices: Iterable[int]) -> dict[Link, tuple[Window, ...]]:
        """Contacts of the links that are sent over, from the first planned send on."""
        first_s: dict[Link, float] = {}
        for activity in self._sends(indices):
            first_s.setdefault((activity.node, activity.peer, activity.link), activity.start_s)
        return {
            (self._ids[source], self._ids[target], kind): tuple(
                Window(c.start_s + self._start_s, c.end_s + self._start_s, c.rate_bps, c.delay_s)
                for c in self._system.contacts.by_link[source, target]
                if c.kind == kind and c.end_s >= from_s
            )
            for (source, target, kind), from_s in first_s.items()
        }

    def terminals(self, indices: Iterable[int]) -> dict[Terminal, int]:
        """The senders' terminals; those of stations are their antennas."""
        used = {(activity.node, TERMINAL_OF[activity.link]) for activity in self._sends(indices)}
        return {(self._ids[node], kind): self._system.num_terminals(node, kind) for node, kind in sorted(used) if kind}

    def _sends(self, indices: Iterable[int]) -> Iterable[Activity]:
        activities = map(self._timeline.activities.__getitem__, indices)
        return [activity for activity in activities if activity.kind == "send"]

    def _span(self, span: Span) -> Span:
        return replace(span, start_s=span.start_s + self._start_s, end_s=span.end_s + self._start_s)

    def _activity(self, activity: Activity) -> Activity:
        sent = activity.payload
        if activity.phase == "deliver" and sent is not None:
            sent = delivered(sent)
        elif self._translate is _itself and not self._start_s:
            return activity
        return replace(
            activity,
            node=self._ids[activity.node],
            peer=-1 if activity.peer < 0 else self._ids[activity.peer],
            start_s=activity.start_s + self._start_s,
            end_s=activity.end_s + self._start_s,
            arrive_s=activity.arrive_s + self._start_s if activity.kind == "send" else 0.0,
            payload=None if sent is None else self._translate(sent),
            needs=tuple(map(self._translate, activity.needs)),
            makes=tuple(map(self._translate, activity.makes)),
        )

    def _renumbered(self, payload: Payload) -> Payload:
        origins = self._origins.get(payload.origins)
        if origins is None:
            origins = self._origins[payload.origins] = frozenset(self._ids[one] for one in payload.origins)
        return Payload(payload.kind, origins, payload.version, payload.start_byte, payload.end_byte)


def _itself(payload: Payload) -> Payload:
    return payload


_IN_TRAINING = {new: old for old, new in DELIVERED.items()}


def delivered(payload: Payload) -> Payload:
    """What a payload is called on its way to the user."""
    return replace(payload, kind=DELIVERED.get(payload.kind, payload.kind))


def in_training(payload: Payload) -> Payload:
    """What a delivered payload was called before."""
    kind = _IN_TRAINING.get(payload.kind)
    return payload if kind is None else replace(payload, kind=kind)


def fields_of(payload: Payload) -> Header:
    """A payload as JSON has it."""
    return {"kind": payload.kind, "origins": sorted(payload.origins), "version": payload.version,
            "start_byte": payload.start_byte, "end_byte": payload.end_byte}  # fmt: skip


def payload_of(fields: Header) -> Payload:
    """What `fields_of` wrote."""
    return Payload(fields["kind"], frozenset(fields["origins"]), fields["version"], fields["start_byte"],
                   fields["end_byte"])  # fmt: skip


def by_round(program: Program) -> dict[tuple[int, int], list[Payload]]:
    """What is promised to each node with the end of each round of the plan."""
    found: dict[tuple[int, int], list[Payload]] = defaultdict(list)
    for promise, due in zip(program.part.promises, program.due_rounds, strict=True):
        found[promise.node, due].append(promise.payload)
    return found

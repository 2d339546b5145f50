"""What happened, when: payloads, activities and the `Timeline` that every method ends as.

A timeline is plain data. The checker (`verify`) judges it, learning replays it, the report draws it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, lru_cache

PHASES = ("deploy", "train", "deliver")


@dataclass(frozen=True, slots=True)
class Payload:
    """Something that can be held, sent and merged: a byte range of one named tensor.

    Attributes:
        kind: What it is: image, label, embedding, feature, feature_gradient, embedding_gradient, weights (untrained),
            update (what is averaged: trained weights or their gradients) or model (what trained on the server).
        origins: Satellites whose samples went into it. Weights nobody has trained yet have no origins.
        version: The training step (for data of a step) or round (for weights) it belongs to.
        start_byte, end_byte: Which bytes of the whole tensor, half open.
    """

    kind: str
    origins: frozenset[int]
    version: int
    start_byte: int
    end_byte: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.end_byte - self.start_byte

    def part(self, start: int, end: int) -> Payload:
        """Bytes `start` to `end`, counted within this payload."""
        assert 0 <= start < end <= self.size, f"part {start}:{end} of {self}"
        if start == 0 and end == self.size:
            return self
        first = self.start_byte
        return Payload(self.kind, self.origins, self.version, first + start, first + end)

    def merged(self, other: Payload) -> Payload:
        """The sum of two contributions to the same bytes; their origins must not overlap."""
        assert self.origins.isdisjoint(other.origins), f"{self} and {other} share origins"
        return Payload(self.kind, _union(self.origins, other.origins), self.version, self.start_byte, self.end_byte)


@lru_cache(maxsize=4096)
def _union(one: frozenset[int], two: frozenset[int]) -> frozenset[int]:
    """The same set object for the same two: every chunk of a model is summed over the same satellites."""
    return one | two


def whole(kind: str, origins: Iterable[int], version: int, size: float) -> Payload:
    """A complete payload of `size` bytes (rounded up: half bytes are not sent)."""
    return Payload(kind, frozenset(origins), version, 0, int(-(-size // 1)))


@dataclass(frozen=True, slots=True)
class Held:
    """A payload and the moment since which a node holds it."""

    payload: Payload
    since_s: float


@dataclass(frozen=True, slots=True)
class Activity:
    """One thing a node does from `start_s` to `end_s`.

    `kind` is "compute" (FLOPs on `node`; uses `needs`, yields `makes`), "send" (`node` to `peer` over a contact of
    kind `link`; the payload is usable at the peer from `arrive_s`), or "merge" (`needs` summed into the one payload
    in `makes`). `memory_bytes` is what a computation occupies: weights, activations, optimiser state.
    """

    kind: str
    node: int
    start_s: float
    end_s: float
    phase: str
    round: int
    stage: str
    peer: int = -1
    link: str = ""
    arrive_s: float = 0.0
    payload: Payload | None = None
    needs: tuple[Payload, ...] = ()
    makes: tuple[Payload, ...] = ()
    flops: float = 0.0
    memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Promise:
    """What a method promises: `node` holds all of `payload` when the round (or phase) ends at `by_s`."""

    node: int
    payload: Payload
    by_s: float


@dataclass(frozen=True, slots=True)
class Span:
    """A named stretch of a timeline: one phase, one round, or one stage of a round."""

    phase: str
    round: int
    stage: str
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Timeline:
    """A finished schedule.

    Attributes:
        method: Name of the method that made it.
        activities: In order of (start_s, order of booking), which makes the order deterministic.
        spans: Stages in time order. They do not overlap and leave no gap inside a phase, so they add up.
        initial: (node, payload) pairs held before the first second.
        promises: What must be held where, and by when.
        private: Payload kinds that must never travel.
        rounds: Training rounds completed.
        stopped: Empty when every round was planned, otherwise why planning stopped early.
        staleness: How many averages may be formed between the one that a contribution was computed from and the one
            that it goes into. 0: everybody starts every round from the latest average.
    """

    method: str
    activities: tuple[Activity, ...]
    spans: tuple[Span, ...]
    initial: tuple[tuple[int, Payload], ...]
    promises: tuple[Promise, ...]
    private: tuple[str, ...]
    rounds: int
    stopped: str = ""
    staleness: int = 0

    @property
    def time_s(self) -> float:
        """End of the last span: the whole job, deployment and delivery included."""
        return max((span.end_s for span in self.spans), default=0.0)

    def phase_s(self, phase: str) -> float:
        """Seconds spent in one phase."""
        return sum(span.duration_s for span in self.spans if span.phase == phase)

    def round_ends_s(self) -> tuple[float, ...]:
        """When each training round ended, in order."""
        ends: dict[int, float] = {}
        for span in self.spans:
            if span.phase == "train":
                ends[span.round] = span.end_s
        return tuple(ends[index] for index in sorted(ends))

    def stage_s(self) -> dict[str, float]:
        """Seconds per stage over the whole timeline, in order of first appearance."""
        total: dict[str, float] = {}
        for span in self.spans:
            total[span.stage] = total.get(span.stage, 0.0) + span.duration_s
        return total

    def link_bytes(self) -> dict[str, int]:
        """Bytes sent over each kind of link."""
        total: dict[str, int] = {}
        for activity in self.activities:
            if activity.payload is not None and activity.kind == "send":
                total[activity.link] = total.get(activity.link, 0) + activity.payload.size
        return total

    def to_jsonl(self) -> Iterator[str]:
        """One header line, then one line per activity; equal timelines give equal text."""
        header = {
            "method": self.method,
            "rounds": self.rounds,
            "stopped": self.stopped,
            "staleness": self.staleness,
            "private": list(self.private),
            "spans": [asdict(span) for span in self.spans],
            "initial": [[node, _payload_row(payload)] for node, payload in self.initial],
            "promises": [[p.node, _payload_row(p.payload), p.by_s] for p in self.promises],
        }
        yield json.dumps(header)
        for activity in self.activities:
            yield json.dumps(_activity_row(activity))

    @classmethod
    def from_jsonl(cls, lines: Iterable[str]) -> Timeline:
        """Read what `to_jsonl` wrote."""
        rows = (json.loads(line) for line in lines)
        header = next(rows)
        return cls(
            header["method"],
            tuple(_activity(row) for row in rows),
            tuple(Span(**span) for span in header["spans"]),
            tuple((node, _payload(row)) for node, row in header["initial"]),
            tuple(Promise(node, _payload(row), by_s) for node, row, by_s in header["promises"]),
            tuple(header["private"]),
            header["rounds"],
            header["stopped"],
            header.get("staleness", 0),
        )


def _payload_row(payload: Payload) -> list[object]:
    return [payload.kind, _ranges(payload.origins), payload.version, payload.start_byte, payload.end_byte]


def _payload(row: list[object]) -> Payload:
    kind, origins, version, start, end = row
    return Payload(str(kind), _origins(str(origins)), int(version), int(start), int(end))  # type: ignore[call-overload]


def _ranges(origins: frozenset[int]) -> str:
    """{0, 1, 2, 7} as "0-2,7": origin sets are mostly whole planes."""
    runs: list[list[int]] = []
    for origin in sorted(origins):
        if runs and origin == runs[-1][1] + 1:
            runs[-1][1] = origin
        else:
            runs.append([origin, origin])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


@cache
def _origins(text: str) -> frozenset[int]:
    members: list[int] = []
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        members.extend(range(int(first), int(last or first) + 1))
    return frozenset(members)


_DEFAULTS = {"peer": -1, "link": "", "arrive_s": 0.0, "flops": 0.0, "memory_bytes": 0.0}


def _activity_row(activity: Activity) -> dict[str, object]:
    row: dict[str, object] = {
        name: getattr(activity, name) for name in ("kind", "node", "start_s", "end_s", "phase", "round", "stage")
    }
    row.update((name, value) for name, none in _DEFAULTS.items() if (value := getattr(activity, name)) != none)
    if activity.payload is not None:
        row["payload"] = _payload_row(activity.payload)
    for name in ("needs", "makes"):
        if payloads := getattr(activity, name):
            row[name] = [_payload_row(payload) for payload in payloads]
    return row


def _activity(row: dict[str, object]) -> Activity:
    fields = dict(row)
    if "payload" in fields:
        fields["payload"] = _payload(fields["payload"])  # type: ignore[arg-type]
    for name in ("needs", "makes"):
        if name in fields:
            fields[name] = tuple(_payload(payload) for payload in fields[name])  # type: ignore[attr-defined]
    return Activity(**fields)  # type: ignore[arg-type]

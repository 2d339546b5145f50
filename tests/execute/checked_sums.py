"""Work for tests: numbers instead of learning, and payloads whose bytes anybody can check.

Every float of an update of satellite k in version v is k + 1 + v / 8, so that a sum over satellites is known, exactly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from orbitune.timeline.activity import Activity, Payload

Read = Callable[[Payload], bytes]


@lru_cache(maxsize=32)
def content_of(payload: Payload) -> bytes:
    """The only right bytes of a payload."""
    low, high = payload.start_byte, payload.end_byte
    if payload.kind == "update":
        value = sum(origin + 1 + payload.version / 8 for origin in payload.origins)
        return np.full(-(-high // 4), value, dtype="<f4").tobytes()[low:high]
    key = sum(map(ord, payload.kind)) + 31 * payload.version + 7 * sum(payload.origins)
    return ((np.arange(low, high) * 131 + key) % 251).astype(np.uint8).tobytes()


class Sums:
    """Checks all it reads and makes what `content_of` says; sums are really added up."""

    delay_s = 0.0

    def __init__(self, nodes: Sequence[int]) -> None:
        self.nodes = list(nodes)
        self.done: list[tuple[int, Activity]] = []
        self.states: dict[int, list[int]] = {node: [] for node in nodes}
        self.delivered: list[tuple[int, Payload]] = []
        self.rounds_at_delivery = 3
        self.begun: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []

    def begin(self, first_round: int, ids: tuple[int, ...], participants: tuple[int, ...]) -> None:
        self.begun.append((first_round, ids, participants))

    def initial(self, node: int, payload: Payload) -> bytes:
        return content_of(payload)

    def compute(self, node: int, activity: Activity, read: Read) -> Mapping[Payload, bytes]:
        assert node == activity.node and node in self.nodes
        for need in activity.needs:
            assert need.kind in ("image", "label") or read(need) == content_of(need), (node, need)
        self.done.append((node, activity))
        time.sleep(self.delay_s)
        return {made: content_of(made) for made in activity.makes}

    def merge(self, node: int, activity: Activity, read: Read) -> Mapping[Payload, bytes]:
        parts = [np.frombuffer(read(need), "<f4") for need in activity.needs]
        return {activity.makes[0]: np.sum(parts, axis=0, dtype="<f4").tobytes()}

    def finish_round(self, node: int, round_index: int, promised: Sequence[Payload], read: Read) -> None:
        absolute = self.begun[-1][0] + round_index
        assert self.states[node] == list(range(absolute)), (node, self.states[node], absolute)
        for payload in promised:
            assert read(payload) == content_of(payload), (node, payload)
        self.states[node] = [*self.states[node], absolute]

    def deliver(self, node: int, payload: Payload) -> bytes:
        assert len(self.states[node]) == self.rounds_at_delivery, (node, self.states[node])
        return content_of(payload)

    def finish_delivery(self, node: int, promised: Sequence[Payload], read: Read) -> None:
        for payload in promised:
            assert payload.kind == "update" and read(payload) == content_of(payload)
            self.delivered.append((node, payload))

    def save(self, node: int) -> bytes:
        return json.dumps(self.states[node]).encode()

    def load(self, node: int, saved: bytes) -> None:
        self.states[node] = json.loads(saved)

    def weights(self, node: int) -> bytes:
        return self.save(node)


def make_sums(nodes: Sequence[int], *others: object) -> Sums:
    """Factory for a host's header."""
    return Sums(nodes)


class Broken(Sums):
    """Fails at its first sum."""

    def merge(self, node: int, activity: Activity, read: Read) -> Mapping[Payload, bytes]:
        raise ArithmeticError("no sums today")


def make_broken(nodes: Sequence[int], *others: object) -> Sums:
    """Factory for a host's header."""
    return Broken(nodes)

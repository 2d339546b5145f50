"""A planned timeline carried out with real bytes: one `NodeWork` per host, activities one after the other by planned
end, as long as what they need is held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from orbitune.learn.nodes.work import NodeWork
from orbitune.timeline.activity import Activity, Payload, Timeline

Key = tuple[str, frozenset[int], int]


class Store:
    """Bytes of one node, by what they are of."""

    def __init__(self) -> None:
        self.bytes: dict[Key, bytearray] = defaultdict(bytearray)
        self.held: dict[Key, set[tuple[int, int]]] = defaultdict(set)

    def has(self, payload: Payload) -> bool:
        done = payload.start_byte
        for start, end in sorted(self.held[key_of(payload)]):
            done = max(done, end) if start <= done else done
        return done >= payload.end_byte

    def put(self, payload: Payload, data: bytes) -> None:
        assert len(data) == payload.size, payload
        whole = self.bytes[key_of(payload)]
        whole.extend(bytes(max(0, payload.end_byte - len(whole))))
        whole[payload.start_byte : payload.end_byte] = data
        self.held[key_of(payload)].add((payload.start_byte, payload.end_byte))

    def read(self, payload: Payload) -> bytes:
        assert self.has(payload), payload
        return bytes(self.bytes[key_of(payload)][payload.start_byte : payload.end_byte])


def key_of(payload: Payload) -> Key:
    return payload.kind, payload.origins, payload.version


Tamper = Callable[[Activity, bytes], bytes]


class Driver:
    """See the module. `wire` lists the kind of payload of each send; images and labels are never among what is read.

    Args:
        timeline: Planned.
        works: By node.
        private: Whether images and labels stay where they are.
        tamper: What becomes of the bytes of a send.
    """

    def __init__(
        self, timeline: Timeline, works: Mapping[int, NodeWork], private: bool = True, tamper: Tamper | None = None
    ) -> None:
        self.timeline, self.works, self.private, self.tamper = timeline, works, private, tamper
        self.stores: dict[int, Store] = defaultdict(Store)
        self.wire: list[str] = []

    def run(self, first_round: int, satellites: Sequence[int]) -> Driver:
        for work in dict.fromkeys(self.works.values()):
            work.begin(first_round, tuple(self.works), tuple(satellites))
        for node, payload in self.timeline.initial:
            if not (self.private and payload.kind in ("image", "label")):
                self.stores[node].put(payload, self.works[node].initial(node, payload))
        waiting = sorted(self.timeline.activities, key=lambda one: max(one.end_s, one.arrive_s))
        ends_s = self.timeline.round_ends_s()
        for index, end_s in enumerate(ends_s):
            waiting = self._work_off([one for one in waiting if one.round <= index and one.phase != "deliver"], waiting)
            self._finish(index, ends_s[index - 1] if index else self._deployed_s(), end_s)
        self._work_off(waiting, waiting)
        for node, payloads in self._promised(ends_s[-1], float("inf")).items():
            self.works[node].finish_delivery(node, payloads, self.stores[node].read)
        return self

    def _deployed_s(self) -> float:
        return self.timeline.phase_s("deploy")

    def _work_off(self, now: list[Activity], waiting: list[Activity]) -> list[Activity]:
        chosen = {id(one) for one in now}
        later = [one for one in waiting if id(one) not in chosen]
        while now:
            left = [one for one in now if not self._try(one)]
            assert len(left) < len(now), f"{len(left)} activities never come about, first {left[0]}"
            now = left
        return later

    def _try(self, one: Activity) -> bool:
        needs = one.needs if one.payload is None else (one.payload,)
        own = [p for p in needs if not (self.private and p.kind in ("image", "label"))]
        if not all(self.stores[one.node].has(payload) for payload in own):
            return False
        read = self.stores[one.node].read
        if one.payload is not None:
            data = read(one.payload)
            self.wire.append(one.payload.kind)
            self.stores[one.peer].put(one.payload, self.tamper(one, data) if self.tamper else data)
            return True
        work = self.works[one.node]
        made = (work.compute if one.kind == "compute" else work.merge)(one.node, one, read)
        for payload, data in made.items():
            self.stores[one.node].put(payload, data)
        return True

    def _finish(self, index: int, after_s: float, end_s: float) -> None:
        promised = self._promised(after_s, end_s)
        last = index + 1 == self.timeline.rounds
        for node, work in self.works.items():
            work.finish_round(node, index, promised.get(node, []), self.stores[node].read)
            updates = [payload for payload in promised.get(node, []) if payload.kind == "update"]
            if last and updates:
                newest = max(updates, key=lambda payload: payload.version)
                self.stores[node].put(newest, work.deliver(node, newest))

    def _promised(self, after_s: float, end_s: float) -> dict[int, list[Payload]]:
        found: dict[int, list[Payload]] = defaultdict(list)
        for promise in self.timeline.promises:
            if after_s < promise.by_s <= end_s:
                found[promise.node].append(promise.payload)
        return found

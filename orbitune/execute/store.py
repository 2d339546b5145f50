"""The bytes that the nodes of a host hold, and since when.

A tensor is (node, kind, origins, version); it is held as ranges of bytes that do not overlap. A range may lie here
before the simulated moment since which it is held: then it may be worked with ahead of time, and no more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from threading import Lock

from orbitune.timeline.activity import Payload
from orbitune.timeline.holdings import Key, key_of


@dataclass(slots=True)
class _Tensor:
    """Ranges in order, as equal-length lists; no bytes where a node's raw data is only said to be there."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    since_s: list[float] = field(default_factory=list)
    content: list[memoryview | None] = field(default_factory=list)

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a range that are not there."""
        found = []
        for row in range(bisect_right(self.ends, start), bisect_left(self.starts, end)):
            if self.starts[row] > start:
                found.append((start, self.starts[row]))
            start = self.ends[row]
        return [*found, (start, end)] if start < end else found

    def add(self, start: int, end: int, since_s: float, content: memoryview | None) -> None:
        row = bisect_left(self.starts, start)
        self.starts.insert(row, start)
        self.ends.insert(row, end)
        self.since_s.insert(row, since_s)
        self.content.insert(row, content)

    def rows(self, start: int, end: int) -> range:
        """Numbers of the ranges that a range touches."""
        return range(bisect_right(self.ends, start), bisect_left(self.starts, end))


class Store:
    """What is held. Safe to use from several threads."""

    def __init__(self) -> None:
        self._tensors: dict[Key, _Tensor] = {}
        self._lock = Lock()

    def put(self, node: int, payload: Payload, content: bytes | memoryview | None, since_s: float) -> int:
        """Hold the bytes of a payload that are not held yet; returns how many these are.

        Args:
            content: As many bytes as the payload has; None for raw data that nobody reads from here.
        """
        whole = None if content is None else memoryview(content)
        assert whole is None or whole.nbytes == payload.size, f"{whole.nbytes} bytes for {payload}"
        with self._lock:
            tensor = self._tensors.setdefault(key_of(node, payload), _Tensor())
            new = tensor.gaps(payload.start_byte, payload.end_byte)
            for start, end in new:
                low, high = start - payload.start_byte, end - payload.start_byte
                tensor.add(start, end, since_s, None if whole is None else whole[low:high])
        return sum(end - start for start, end in new)

    def since_s(self, node: int, payload: Payload) -> float | None:
        """Since when every byte of a payload is held; None if one is not here."""
        with self._lock:
            tensor = self._tensors.get(key_of(node, payload))
            if tensor is None or tensor.gaps(payload.start_byte, payload.end_byte):
                return None
            rows = tensor.rows(payload.start_byte, payload.end_byte)
            return max((tensor.since_s[row] for row in rows), default=0.0)

    def read(self, node: int, payload: Payload) -> bytes:
        """The bytes of a payload.

        Raises:
            KeyError: Some are not here, or are raw data that is only said to be here.
        """
        with self._lock:
            tensor = self._tensors.get(key_of(node, payload))
            if tensor is None or tensor.gaps(payload.start_byte, payload.end_byte):
                raise KeyError(f"node {node} does not hold all of {payload}")
            rows = tensor.rows(payload.start_byte, payload.end_byte)
            found = [(tensor.starts[row], tensor.ends[row], tensor.content[row]) for row in rows]
        parts = []
        for start, end, content in found:
            if content is None:
                raise KeyError(f"node {node} holds {payload} as raw data, which is not read from here")
            parts.append(content[max(payload.start_byte - start, 0) : min(payload.end_byte, end) - start])
        return b"".join(parts)

    def drop(self, key: Key) -> None:
        """Forget a tensor that nobody needs any more."""
        with self._lock:
            self._tensors.pop(key, None)

    def __len__(self) -> int:
        """Number of bytes held."""
        with self._lock:
            tensors = list(self._tensors.values())
        return sum(part.nbytes for tensor in tensors for part in tensor.content if part is not None)

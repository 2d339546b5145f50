"""The gate in front of a directed link: when bytes may pass, how fast, and where the end of a contact cuts them.

Contacts that touch are one pass, in which the rate changes by steps: n bytes that begin at t0 have left at the t with
integral of rate(s)/8 over t0..t = n. What does not fit into a pass goes on in the next pass of the same link, and is
cut at whole chunks, so that a chunk has left or not and none has to be put together again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from orbitune.timeline.rejection import TIME_TOLERANCE_S
from orbitune.units import BITS_PER_BYTE

CHUNK_BYTES = 64 * 2**10
"""What is lost of a pass at its cut, at most. Our choice: a hundredth of a second of a 50 Mbit/s downlink, far below
the minutes of a pass, and two orders above the header and the call that a chunk costs (about a millisecond)."""

MESSAGE_BYTES = 16 * 2**20
"""Chunks that leave close together travel as one message of at most so much. Our choice: a sixteenth of what an engine
carries in one call, so that a host never has to hold much of what it has not read yet."""


class Window(NamedTuple):
    """One contact of a directed link."""

    start_s: float
    end_s: float
    rate_bps: float
    delay_s: float


@dataclass(frozen=True)
class Pass:
    """Contacts that touch. `before[k]` bytes can pass in the contacts ahead of the k-th."""

    windows: tuple[Window, ...]
    before: tuple[float, ...]

    @property
    def start_s(self) -> float:
        return self.windows[0].start_s

    @property
    def end_s(self) -> float:
        return self.windows[-1].end_s

    @property
    def total(self) -> float:
        """Bytes that can pass in all."""
        return self.before[-1] + _bytes(self.windows[-1])

    def passed(self, time_s: float) -> float:
        """Bytes that can pass from the start to a moment inside."""
        row = max(0, bisect_right([window.start_s for window in self.windows], time_s) - 1)
        window = self.windows[row]
        return self.before[row] + max(0.0, time_s - window.start_s) * window.rate_bps / BITS_PER_BYTE

    def moment(self, passed: float) -> tuple[float, float]:
        """When so many bytes have passed since the start, and the delay that the last of them still has, in s."""
        row = max(0, bisect_right(self.before, passed) - 1)
        if row and self.before[row] == passed:
            row -= 1  # the last byte left in the contact before
        window = self.windows[row]
        time_s = window.start_s + (passed - self.before[row]) * BITS_PER_BYTE / window.rate_bps
        return min(time_s, window.end_s), window.delay_s


@dataclass(frozen=True)
class Stretch:
    """Some bytes on their way inside one pass."""

    start_s: float
    end_s: float
    size: int
    passage: Pass
    passed: float

    def departures(self, apart_s: float) -> Iterator[tuple[int, int, float, float]]:
        """Messages of whole chunks (the last may be shorter): first and last byte, when the last bit has left, and
        when it arrives, in seconds. They leave `apart_s` or more after each other, unless they would be too long."""
        chunks = -(-self.size // CHUNK_BYTES)
        fewest = -(-self.size // MESSAGE_BYTES)
        count = min(chunks, max(fewest, int((self.end_s - self.start_s) / apart_s)))
        for number in range(count):
            low = chunks * number // count * CHUNK_BYTES
            high = min(self.size, chunks * (number + 1) // count * CHUNK_BYTES)
            leave_s, delay_s = self.passage.moment(self.passed + high)
            leave_s = self.end_s if high == self.size else max(self.start_s, leave_s)
            yield low, high, leave_s, leave_s + delay_s


class Gate:
    """One directed link.

    Args:
        windows: Its contacts in time order; they do not overlap.
    """

    def __init__(self, windows: Iterable[Window]) -> None:
        self._passes = list(_passes(windows))
        self._ends_s = [one.end_s for one in self._passes]

    def stretch(self, from_s: float, size: int) -> Stretch | None:
        """The earliest stretch, from a moment on, in which all of `size` bytes or some whole chunks of them pass.

        Returns:
            It may begin later than `from_s`; None if no contact is left.
        """
        for passage in self._passes[bisect_right(self._ends_s, from_s) :]:
            start_s = max(from_s, passage.start_s)
            passed = passage.passed(start_s)
            end_s, _ = passage.moment(min(passed + size, passage.total))
            # What a plan fits into a contact to the last bit must not be cut because a sum was rounded.
            slack = passage.windows[-1].rate_bps / BITS_PER_BYTE * TIME_TOLERANCE_S
            taken = size if passed + size <= passage.total + slack else _whole_chunks(passage.total - passed)
            if taken and taken < size:
                end_s, _ = passage.moment(passed + taken)
            if taken:
                return Stretch(start_s, max(start_s, end_s), taken, passage, passed)
        return None

    def cut(self, from_s: float) -> None:
        """Take away all contact from a moment on."""
        left = [window for one in self._passes for window in one.windows if window.start_s < from_s]
        self._passes = list(_passes(window._replace(end_s=min(window.end_s, from_s)) for window in left))
        self._ends_s = [one.end_s for one in self._passes]


def _passes(windows: Iterable[Window]) -> Iterator[Pass]:
    run: list[Window] = []
    for window in windows:
        if run and window.start_s - run[-1].end_s > TIME_TOLERANCE_S:
            yield _pass(run)
            run = []
        run.append(window)
    if run:
        yield _pass(run)


def _pass(run: list[Window]) -> Pass:
    before = [0.0]
    for window in run[:-1]:
        before.append(before[-1] + _bytes(window))
    return Pass(tuple(run), tuple(before))


def _bytes(window: Window) -> float:
    return (window.end_s - window.start_s) * window.rate_bps / BITS_PER_BYTE


def _whole_chunks(room: float) -> int:
    return int(room) // CHUNK_BYTES * CHUNK_BYTES

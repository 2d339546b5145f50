"""Sums over members by passing parts around a ring, with no member in the middle.

The ring all-reduce of Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009
(J. Parallel Distrib. Comput. 69, section 4): of n members each sends 2 (n - 1) / n of the numbers, the least there is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orbitune.engine.protocol import Header, Peers, Reply, TimedOut, Unreachable
from orbitune.errors import RunError

METHOD = "ring"
"""The worker hands calls of this method to `Ring.deliver`."""

TO_TELL_S = 2.0
"""Our choice: how long one member is told that the ring is broken; it would find out by itself in the end."""

Floats = NDArray[np.float32]


class _Step(NamedTuple):
    """Which part this is: of the sum of an epoch, counted from 1, and after how many passes."""

    epoch: int
    number: int
    step: int


class Ring:
    """A worker's end of the rings it takes part in.

    An *epoch* is one group of members in one order; whoever forms a new group takes a higher number. All members of
    an epoch take the same sums in the same order, one at a time. Where one fails, the epoch is over for all.
    """

    def __init__(self, peers: Peers, timeout_s: float) -> None:
        """`timeout_s` is the longest wait for one part, with the other members' computing before they sum."""
        self._peers, self._timeout_s = peers, timeout_s
        self._came: dict[_Step, bytes] = {}
        self._epoch, self._count = -1, 0
        self._broken: dict[int, str] = {}
        self._news = threading.Condition()

    def deliver(self, sender: str, header: Header, body: bytes) -> Reply:
        """Take what another member's ring sends; parts of epochs that are over are refused."""
        with self._news:
            epoch = header["epoch"]
            if epoch < self._epoch or epoch in self._broken:
                return Reply({"over": self._broken.get(epoch, f"{self._peers.name} is in epoch {self._epoch}")})
            if "broken" in header:
                self._broken[epoch] = header["broken"]
            else:
                self._came[_Step(epoch, header["number"], header["step"])] = body
            self._news.notify_all()
        return Reply({})

    def sum(self, values: Floats, members: Sequence[str], epoch: int) -> Floats:
        """The sum of what all members have, equal to the last bit on all of them.

        Args:
            values: Any shape, the same on all members.
            members: Of this epoch in the order of the ring, this one among them; the same list on all.
            epoch: Not below the last one.

        Returns:
            A new array of that shape.

        Raises:
            Unreachable: A member is gone, or the epoch is over; take a new epoch without whoever is missing.
            TimedOut: The member before this one has sent nothing in time; likewise.
            RunError: The members do not sum alike.
        """
        assert values.dtype == np.float32 and self._peers.name in members, "whoever sums, sums its own fp32 numbers"
        count = self._begin(epoch)
        parts = [part.copy() for part in np.array_split(values.ravel(), len(members))]
        try:
            self._pass_around(parts, members, epoch, count)
        except RunError as error:
            self._break(members, epoch, str(error))
            raise
        return np.concatenate(parts).reshape(values.shape)

    def _begin(self, epoch: int) -> int:
        """Let go of older epochs; returns the number of the sum within this one."""
        with self._news:
            if epoch < self._epoch or epoch in self._broken:
                raise Unreachable(
                    f"epoch {epoch} of the ring is over: {self._broken.get(epoch, 'there is a newer one')}"
                )
            if epoch > self._epoch:
                self._epoch, self._count = epoch, 0
                self._came = {step: body for step, body in self._came.items() if step.epoch >= epoch}
                self._broken = {number: why for number, why in self._broken.items() if number > epoch}
            self._count += 1
            return self._count

    def _pass_around(self, parts: list[Floats], members: Sequence[str], epoch: int, count: int) -> None:
        """n - 1 passes in which each part gathers all addends, n - 1 in which the sums go round."""
        size, place = len(members), list(members).index(self._peers.name)
        after, before = members[(place + 1) % size], members[place - 1]
        for step in range(2 * (size - 1)):
            sent, received = (place - step) % size, (place - step - 1) % size
            at = _Step(epoch, count, step)
            self._send(after, at, parts[sent])
            came = self._receive(before, at, parts[received].size)
            parts[received] = parts[received] + came if step < size - 1 else came

    def _send(self, member: str, at: _Step, part: Floats) -> None:
        reply = self._peers.call(member, METHOD, at._asdict(), part.astype("<f4").tobytes(), self._timeout_s)
        if "over" in reply.header:
            raise Unreachable(f"epoch {at.epoch} of the ring is over: {reply.header['over']}")

    def _receive(self, member: str, at: _Step, size: int) -> Floats:
        deadline_s = time.monotonic() + self._timeout_s
        with self._news:
            while at not in self._came:
                if at.epoch in self._broken:
                    raise Unreachable(f"epoch {at.epoch} of the ring is over: {self._broken[at.epoch]}")
                if not self._news.wait(deadline_s - time.monotonic()):
                    raise TimedOut(f"{member} has sent nothing for {self._timeout_s:g} s in epoch {at.epoch}")
            part = np.frombuffer(self._came.pop(at), "<f4").astype(np.float32)
        if part.size != size:
            raise RunError(f"{member} sums a part of {part.size} numbers where this member has {size}")
        return part

    def _break(self, members: Sequence[str], epoch: int, why: str) -> None:
        """Tell the others, so that they need not wait; whoever was told tells nobody."""
        with self._news:
            told, self._broken[epoch] = epoch in self._broken, why
        for member in members if not told else ():
            if member != self._peers.name:
                with contextlib.suppress(RunError):
                    header = {"epoch": epoch, "broken": f"{self._peers.name} says: {why}"}
                    self._peers.call(member, METHOD, header, timeout_s=TO_TELL_S)

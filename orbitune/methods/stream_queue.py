"""List scheduling for `overlap = "stream"`: of all steps, the one that can begin first is booked first.

Bookings on a `Schedule` only ever make other steps later, so a step that is first in the queue and whose beginning
still holds is indeed the next. Bookings are thereby made in order of time, and nothing keeps a resource from a step
that could have used it before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Protocol, runtime_checkable

from orbitune.timeline.activity import Payload
from orbitune.timeline.simulate import HorizonEnd, Schedule

Then = Callable[[float], None]
"""What goes on from a moment."""


class Step(Protocol):
    """Something to book. `urgency` decides between steps that can begin at the same time: the lowest goes first."""

    urgency: float

    def begin_s(self) -> float:
        """When it could begin if it were booked now; infinity if never."""

    def end_s(self) -> float:
        """When it would end; asked right after `begin_s`."""

    def book(self) -> None:
        """Book it, and put what follows into the queue; called right after `begin_s`."""


@runtime_checkable
class InLine(Protocol):
    """A step that others take into account while it waits."""

    def drop(self) -> None:
        """It will not be booked any more."""


class Gate:
    """Something that several steps wait for."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._waiting: list[Then] = []

    def when(self, then: Then) -> None:
        """Go on as soon as the gate is open."""
        if self._since_s is None:
            self._waiting.append(then)
        else:
            then(self._since_s)

    def open(self, since_s: float) -> None:
        """Open it for good."""
        self._since_s = since_s
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(since_s)


@dataclass
class Queue:
    """Steps in order of their beginnings.

    Attributes:
        round_urgency: Steps with a higher urgency belong to a later round: they are done ahead.
        until_s: When this round is over, as soon as that is known. What is done ahead must end before.
        last_s: When the last step ahead that was booked ends.
    """

    round_urgency: float
    until_s: float = inf
    last_s: float = 0.0
    _steps: list[tuple[float, float, int, Step]] = field(default_factory=list)
    _count: int = 0

    def add(self, step: Step) -> None:
        """Put a step in."""
        self._push(step.begin_s(), step)

    def _push(self, begin_s: float, step: Step) -> None:
        self._count += 1
        heappush(self._steps, (begin_s, step.urgency, self._count, step))

    def run(self) -> None:
        """Book everything; what is ahead and does not end with the round stays undone.

        Raises:
            HorizonEnd: The contact plan ends before a step of this round.
        """
        while self._steps:
            *_, step = heappop(self._steps)
            begin_s = step.begin_s()
            ahead = step.urgency > self.round_urgency
            if begin_s == inf and not ahead:
                raise HorizonEnd("the contact plan ends before this round does; lengthen time.duration_h")
            if self._steps and (begin_s, step.urgency) > self._steps[0][:2]:
                self._push(begin_s, step)
            elif not ahead:
                step.book()
            elif begin_s < inf and step.end_s() <= self.until_s:
                self.last_s = max(self.last_s, step.end_s())
                step.book()
            elif isinstance(step, InLine):
                step.drop()


@dataclass
class Work:
    """A computation on one node."""

    schedule: Schedule
    urgency: float
    node: int
    flops: float
    ready_s: float
    needs: tuple[Payload, ...]
    makes: Callable[[], tuple[Payload, ...]]
    memory_bytes: Callable[[], float]
    then: Then

    _takes_s: float = 0.0

    def __post_init__(self) -> None:
        self._takes_s = self.flops / self.schedule.system.computer(self.node).flops_per_s

    def begin_s(self) -> float:
        """When the computer is free; never if the contact plan ends too soon."""
        begin_s = max(self.ready_s, self.schedule.computer_free_s(self.node))
        return inf if begin_s + self._takes_s > self.schedule.system.contacts.horizon_s else begin_s

    def end_s(self) -> float:
        """When it would be done."""
        return max(self.ready_s, self.schedule.computer_free_s(self.node)) + self._takes_s

    def book(self) -> None:
        """Compute, and go on."""
        self.then(
            self.schedule.compute(self.node, self.flops, self.ready_s, self.needs, self.makes(), self.memory_bytes())
        )


@dataclass
class Call:
    """Anything else that begins at a moment that is known; it books what it needs itself."""

    urgency: float
    ready_s: float
    then: Then

    def begin_s(self) -> float:
        """The moment."""
        return self.ready_s

    def end_s(self) -> float:
        """Unknown."""
        return self.ready_s

    def book(self) -> None:
        """Do it."""
        self.then(self.ready_s)

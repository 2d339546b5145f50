"""What a host waits for: an activity, the promises that a round ends with, or what it is to deliver."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from orbitune.timeline.activity import Activity, Payload


@dataclass(eq=False, slots=True)
class Task:
    """One activity under way.

    Attributes:
        order: Its place in the program, which is in order of planned start.
        index: Its place in the timeline of the plan.
        activity: As planned, in simulated seconds.
        lacks: Payloads that are not here yet.
        ready_s: When it may begin as far as its plan and the payloads that are here are concerned.
        asked: Whether the real work has been handed out.
        start_s, end_s, arrive_s: As carried out.
        parts: Contacts that a send has used so far.
        left, arrived: Bytes of a send that have left, and that are known to have arrived.
        done: Whether all of it is over.
    """

    order: int
    index: int
    activity: Activity
    lacks: int = 0
    ready_s: float = 0.0
    asked: bool = False
    start_s: float = inf
    end_s: float = 0.0
    arrive_s: float = 0.0
    parts: int = 0
    left: int = 0
    arrived: int = 0
    done: bool = False

    @property
    def needs(self) -> tuple[Payload, ...]:
        """What the node must hold."""
        return self.activity.needs if self.activity.payload is None else (self.activity.payload,)

    @property
    def sent(self) -> Payload:
        """What a send sends."""
        assert self.activity.payload is not None, f"{self.activity.kind} sends nothing"
        return self.activity.payload


@dataclass(eq=False, slots=True)
class Due:
    """What a node is promised with the end of one round of the plan; of the round after the last, with delivery."""

    node: int
    round: int
    promised: list[Payload] = field(default_factory=list)
    lacks: int = 0
    ready_s: float = 0.0

    @property
    def needs(self) -> tuple[Payload, ...]:
        """What the node must hold."""
        return tuple(self.promised)


@dataclass(eq=False, slots=True)
class Delivery:
    """What a node is the first to deliver, as soon as it has taken over the last round."""

    node: int
    payload: Payload
    lacks: int = 0
    ready_s: float = 0.0

    @property
    def needs(self) -> tuple[Payload, ...]:
        """What the node must hold."""
        return (self.payload,)


@dataclass(frozen=True, slots=True)
class Message:
    """Chunks of a send that leave together: bytes `low` to `high` of its payload, usable at the peer at `arrive_s`."""

    task: Task
    low: int
    high: int
    arrive_s: float

    @property
    def payload(self) -> Payload:
        """The bytes as a payload."""
        return self.task.sent.part(self.low, self.high)

"""The booking desk: a `Schedule` hands out time on computers, links and terminals and writes down what was booked.

Strategies and methods say what must happen and from when; the schedule finds the earliest free moment that the
contact plan allows. Bookings on one resource are made in the order they are asked for and never moved, so the same
calls give the same timeline. Cost per transfer: one bisection over the contacts of its link.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orbitune.cost.system import TERMINAL_OF, System
from orbitune.errors import PlanError
from orbitune.links.contacts import Contact
from orbitune.timeline.activity import Activity, Held, Payload, Promise, Span, Timeline
from orbitune.units import BITS_PER_BYTE


class HorizonEnd(PlanError):
    """The contact plan ends before the transfer can finish."""


@dataclass(slots=True)
class _Pointing:
    """One terminal: the peer it points at, since when it could, and until when it is taken."""

    peer: int = -1
    since_s: float = 0.0
    free_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one transfer inside one contact: bytes `start` to `end` of its payload."""

    contact: Contact
    start_s: float
    end_s: float
    start: int
    end: int


@dataclass
class Schedule:
    """A timeline under construction. `phase`, `round` and `stage` label whatever is booked next."""

    system: System
    phase: str = "train"
    round: int = 0
    stage: str = ""
    activities: list[Activity] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    initial: list[tuple[int, Payload]] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    _computer_free_s: dict[int, float] = field(default_factory=dict)
    _link_free_s: dict[tuple[int, int], float] = field(default_factory=dict)
    _terminals: dict[tuple[int, str], list[_Pointing]] = field(default_factory=dict)
    _contact_ends_s: dict[tuple[int, int], list[float]] = field(default_factory=dict)

    # -- computing -----------------------------------------------------------------------------------------------

    def compute(
        self,
        node: int,
        flops: float,
        ready_s: float,
        needs: Iterable[Payload] = (),
        makes: Iterable[Payload] = (),
        memory_bytes: float = 0.0,
    ) -> float:
        """Book `flops` on a node's computer from `ready_s` on; returns the end in seconds.

        Raises:
            HorizonEnd: The contact plan ends before the work does.
        """
        start_s = max(ready_s, self._computer_free_s.get(node, 0.0))
        end_s = start_s + flops / self.system.computer(node).flops_per_s
        horizon_s = self.system.contacts.horizon_s
        if end_s > horizon_s:
            name = self.system.nodes.name(node)
            raise HorizonEnd(
                f"{name} computes until {end_s:.0f} s and the contact plan ends at {horizon_s:.0f} s; lengthen "
                "time.duration_h"
            )
        self._computer_free_s[node] = end_s
        self._book("compute", node, start_s, end_s, needs=tuple(needs), makes=tuple(makes), flops=flops,
                   memory_bytes=memory_bytes)  # fmt: skip
        return end_s

    def merge(self, node: int, needs: Iterable[Payload], ready_s: float) -> Held:
        """Sum contributions to the same bytes. Adding a few megabytes takes no time worth modelling."""
        first, *others = needs
        total = first
        for payload in others:
            total = total.merged(payload)
        self._book("merge", node, ready_s, ready_s, needs=(first, *others), makes=(total,))
        return Held(total, ready_s)

    # -- sending -------------------------------------------------------------------------------------------------

    def send(self, source: int, target: int, payload: Payload, ready_s: float) -> float:
        """Send a payload as early as the link allows, over several contacts if one does not suffice.

        Returns:
            The moment from which the target holds every byte.

        Raises:
            HorizonEnd: The contact plan ends before the last byte.
        """
        pieces = self._pieces(source, target, payload.size, ready_s)
        return max(self._book_piece(piece, payload) for piece in pieces)

    def probe(self, source: int, target: int, size: int, ready_s: float) -> float:
        """When `send` would deliver the last byte, without booking anything; infinity if never."""
        try:
            return max(piece.end_s + piece.contact.delay_s for piece in self._pieces(source, target, size, ready_s))
        except HorizonEnd:
            return float("inf")

    def peek(self, source: int, target: int, size: int, ready_s: float) -> tuple[float, float]:
        """When `send` would begin and deliver the last byte, without booking anything; infinity if never."""
        contacts = self.system.contacts.by_link.get((source, target), ())
        free_s = max(ready_s, self._link_free_s.get((source, target), 0.0))
        row = bisect_right(self._ends_s(source, target), free_s)
        if row < len(contacts) and self.system.terminals.full_duplex:  # the usual case: all of it in the next contact
            contact = contacts[row]
            start_s = max(free_s, contact.start_s, self._pointed_s(contact, source, target))
            if size <= int((contact.end_s - start_s) * contact.rate_bps / BITS_PER_BYTE):
                end_s = min(start_s + size * BITS_PER_BYTE / contact.rate_bps, contact.end_s)
                return start_s, end_s + contact.delay_s
        try:
            pieces = self._pieces(source, target, size, ready_s)
        except HorizonEnd:
            return float("inf"), float("inf")
        return pieces[0].start_s, max(piece.end_s + piece.contact.delay_s for piece in pieces)

    def computer_free_s(self, node: int) -> float:
        """From when on nothing is booked on a node's computer."""
        return self._computer_free_s.get(node, 0.0)

    def link_free_s(self, source: int, target: int) -> float:
        """From when on nothing is booked on a directed link."""
        return self._link_free_s.get((source, target), 0.0)

    def terminals_free_s(self, node: int, terminal: str) -> list[float]:
        """For each of a node's terminals of one kind, from when on nothing is booked on it."""
        return [pointing.free_s for pointing in self._pointings(node, terminal)]

    def trial(self) -> Schedule:
        """A copy to try bookings on: all resources are taken as they are here, nothing booked on it comes back."""
        copy = Schedule(self.system, self.phase, self.round, self.stage)
        copy._computer_free_s = dict(self._computer_free_s)
        copy._link_free_s = dict(self._link_free_s)
        copy._terminals = {
            key: [replace(pointing) for pointing in pointings] for key, pointings in self._terminals.items()
        }
        copy._contact_ends_s = self._contact_ends_s  # derived from the contact plan alone, so it may be shared
        return copy

    def send_at(self, contact: Contact, payload: Payload, start_s: float, end_s: float) -> float:
        """Book an interval that a strategy has worked out itself; returns the arrival. The checker will judge it."""
        return self._book_piece(Piece(contact, start_s, end_s, 0, payload.size), payload)

    def _pieces(self, source: int, target: int, size: int, ready_s: float) -> list[Piece]:
        """The earliest intervals on one link that carry `size` bytes."""
        contacts = self.system.contacts.by_link.get((source, target), ())
        free_s = max(ready_s, self._link_free_s.get((source, target), 0.0))
        if not self.system.terminals.full_duplex:
            free_s = max(free_s, self._link_free_s.get((target, source), 0.0))
        pieces: list[Piece] = []
        sent = 0
        for contact in contacts[bisect_right(self._ends_s(source, target), free_s) :]:
            start_s = max(free_s, contact.start_s, self._pointed_s(contact, source, target))
            room = int((contact.end_s - start_s) * contact.rate_bps / BITS_PER_BYTE)
            if room <= 0:
                continue
            taken = min(size - sent, room)
            free_s = start_s + taken * BITS_PER_BYTE / contact.rate_bps
            pieces.append(Piece(contact, start_s, min(free_s, contact.end_s), sent, sent + taken))
            sent += taken
            if sent == size:
                return pieces
        nodes = self.system.nodes
        raise HorizonEnd(
            f"{nodes.name(source)} cannot send {size} bytes to {nodes.name(target)} after {ready_s:.0f} s: the contact "
            f"plan of {self.system.contacts.horizon_s:.0f} s has room for {sent}; lengthen time.duration_h"
        )

    def _ends_s(self, source: int, target: int) -> list[float]:
        ends = self._contact_ends_s.get((source, target))
        if ends is None:
            contacts = self.system.contacts.by_link.get((source, target), ())
            ends = self._contact_ends_s[source, target] = [contact.end_s for contact in contacts]
        return ends

    def _pointed_s(self, contact: Contact, source: int, target: int) -> float:
        """When both ends have a terminal for each other."""
        terminal = TERMINAL_OF[contact.kind]
        if not terminal:
            return 0.0
        return max(self._pointed_at_s(source, terminal, target), self._pointed_at_s(target, terminal, source))

    def _pointed_at_s(self, node: int, terminal: str, peer: int) -> float:
        pointing = self._pointing(node, terminal, peer)
        return pointing.since_s if pointing.peer == peer else pointing.free_s

    def _pointing(self, node: int, terminal: str, peer: int) -> _Pointing:
        """The terminal that points at the peer already, else the one that is free first."""
        pointings = self._pointings(node, terminal)
        if len(pointings) == 1:
            return pointings[0]
        return min(pointings, key=lambda pointing: (pointing.peer != peer, pointing.free_s))

    def _pointings(self, node: int, terminal: str) -> list[_Pointing]:
        found = self._terminals.get((node, terminal))
        if found is None:
            count = self.system.num_terminals(node, terminal)
            found = self._terminals[node, terminal] = [_Pointing() for _ in range(count)]
        return found

    def _book_piece(self, piece: Piece, payload: Payload) -> float:
        contact = piece.contact
        link = (contact.source, contact.target)
        self._link_free_s[link] = max(self._link_free_s.get(link, 0.0), piece.end_s)
        if terminal := TERMINAL_OF[contact.kind]:
            for node, peer in (link, link[::-1]):
                pointing = self._pointing(node, terminal, peer)
                if pointing.peer != peer:
                    pointing.peer, pointing.since_s = peer, pointing.free_s
                pointing.free_s = max(pointing.free_s, piece.end_s)
        arrive_s = piece.end_s + contact.delay_s
        self._book("send", contact.source, piece.start_s, piece.end_s, peer=contact.target, link=contact.kind,
                   arrive_s=arrive_s, payload=payload.part(piece.start, piece.end))  # fmt: skip
        return arrive_s

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    def _book(self, kind: str, node: int, start_s: float, end_s: float, **details: object) -> None:
        self.activities.append(
            Activity(kind, node, start_s, end_s, self.phase, self.round, self.stage, **details)  # type: ignore[arg-type]
        )

    def span(self, start_s: float, end_s: float) -> float:
        """Write down that the current stage took from `start_s` to `end_s`; returns `end_s`."""
        self.spans.append(Span(self.phase, self.round, self.stage, start_s, end_s))
        return end_s

    def promise(self, node: int, payload: Payload, by_s: float) -> None:
        """Write down what the method owes: `node` holds `payload` by `by_s`."""
        self.promises.append(Promise(node, payload, by_s))

    def timeline(self, method: str, private: tuple[str, ...], rounds: int, stopped: str = "") -> Timeline:
        """Everything booked so far, in order of start."""
        ordered = sorted(self.activities, key=lambda activity: activity.start_s)
        return Timeline(method, tuple(ordered), tuple(self.spans), tuple(self.initial), tuple(self.promises), private,
                        rounds, stopped)  # fmt: skip

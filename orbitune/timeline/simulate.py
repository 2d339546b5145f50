"""The booking desk: a `Schedule` hands out time on computers, links and terminals and writes down what was booked.

Strategies and methods say what must happen and from when; the schedule finds the earliest free moment that the
contact plan allows. Bookings on one resource are made in the order they are asked for and never moved, so the same
calls give the same timeline. Cost per transfer: one bisection over the contacts of its link.

Where the system has batteries, whatever would take one below its floor at any later moment waits until it would not
(`charging`). Without, nothing of that is looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from orbitune.cost.energy import JOULES_PER_WH
from orbitune.cost.system import TERMINAL_OF, System
from orbitune.errors import PlanError
from orbitune.links.contacts import Contact
from orbitune.timeline.activity import Activity, Held, Payload, Promise, Span, Timeline
from orbitune.timeline.charging import Batteries
from orbitune.units import BITS_PER_BYTE


class HorizonEnd(PlanError):
    """The contact plan ends before the transfer can finish."""


class LowBattery(PlanError):
    """A battery would fall below its floor, and waiting is no way out."""


@dataclass(slots=True)
class _Pointing:
    """One terminal: the peer it points at, since when it could, and until when it is taken."""

    peer: int = -1
    since_s: float = 0.0
    free_s: float = 0.0

    def copy(self) -> _Pointing:
        """The same, free to go its own way."""
        return _Pointing(self.peer, self.since_s, self.free_s)


@dataclass(frozen=True, slots=True)
class Columns:
    """The contacts of one directed link in time order, as lists: bisection on lists beats small arrays."""

    start_s: list[float]
    end_s: list[float]
    byte_s: list[float]
    delay_s: list[float]


Piece = tuple[Contact, float, float, int]
"""A stretch of one transfer inside one contact: from when to when, and how many bytes. (Plain tuples, here and for
links: this file is where planning spends its time.)"""


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
    _columns: dict[tuple[int, int], Columns] = field(default_factory=dict)
    _batteries: Batteries | None = None
    _waited: bool = False

    def __post_init__(self) -> None:
        if self.system.power is not None:
            self._batteries = Batteries(self.system, self.system.power)

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
            HorizonEnd: The contact plan ends before the work does, or before the battery has charge enough for it.
            LowBattery: The battery can never hold enough for it.
        """
        start_s = max(ready_s, self._computer_free_s.get(node, 0.0))
        takes_s = flops / self.system.computer(node).flops_per_s
        if self._batteries is not None and node < self.system.nodes.num_satellites:
            start_s = self._charged_s(self._batteries, node, start_s, takes_s)
        end_s = start_s + takes_s
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

    def _charged_s(self, batteries: Batteries, node: int, ready_s: float, takes_s: float) -> float:
        """When a satellite's battery allows a computation, and draw it."""
        power_w, horizon_s = self.system.computer(node).power_w, self.system.contacts.horizon_s
        draws = [(node, power_w)]
        start_s = batteries.earliest_s(draws, ready_s, takes_s, horizon_s)
        if start_s > ready_s and (reason := batteries.too_much(node, takes_s, power_w)):
            raise LowBattery(f"{reason}; lower train.batch_size, or raise satellite.battery_wh or solar_power_w")
        if start_s > ready_s and start_s + takes_s > horizon_s:
            name, needed_wh = self.system.nodes.name(node), takes_s * power_w / JOULES_PER_WH
            raise HorizonEnd(
                f"{name} computes for {takes_s:.0f} s with {needed_wh:.4g} Wh, and from {ready_s:.0f} s to the end of "
                f"the contact plan at {horizon_s:.0f} s its battery never has that to spare; lengthen time.duration_h, "
                "lower train.batch_size or raise satellite.battery_wh or satellite.solar_power_w"
            )
        if start_s + takes_s <= horizon_s:
            batteries.draw(draws, start_s, start_s + takes_s)
        return start_s

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
        if len(pieces) == 1:
            return self._book_piece(*pieces[0][:3], payload)
        if not pieces:
            raise self._no_room(source, target, payload.size, ready_s)
        arrive_s, sent = 0.0, 0
        for contact, start_s, end_s, taken in pieces:
            piece = payload.part(sent, sent + taken)
            arrive_s, sent = max(arrive_s, self._book_piece(contact, start_s, end_s, piece)), sent + taken
        return arrive_s

    def probe(self, source: int, target: int, size: int, ready_s: float) -> float:
        """When `send` would deliver the last byte, without booking anything; infinity if never."""
        return self.peek(source, target, size, ready_s)[1]

    def peek(self, source: int, target: int, size: int, ready_s: float) -> tuple[float, float]:
        """When `send` would begin and deliver the last byte, without booking anything; infinity if never."""
        pieces = self._pieces(source, target, size, ready_s)
        if not pieces:
            return inf, inf
        contact, start_s, end_s, _ = pieces[0]
        if len(pieces) == 1:
            return start_s, end_s + contact.delay_s
        return start_s, max(end_s + contact.delay_s for contact, _, end_s, _ in pieces)

    def computer_free_s(self, node: int) -> float:
        """From when on nothing is booked on a node's computer."""
        return self._computer_free_s.get(node, 0.0)

    def link_free_s(self, source: int, target: int) -> float:
        """From when on nothing is booked on a directed link."""
        return self._link_free_s.get((source, target), 0.0)

    def columns(self, source: int, target: int) -> Columns:
        """The contacts of one directed link, whatever is booked."""
        found = self._columns.get((source, target))
        if found is None:
            contacts = self.system.contacts.by_link.get((source, target), ())
            found = self._columns[source, target] = Columns(
                [contact.start_s for contact in contacts],
                [contact.end_s for contact in contacts],
                [BITS_PER_BYTE / contact.rate_bps for contact in contacts],
                [contact.delay_s for contact in contacts],
            )
        return found

    def terminals_free_s(self, node: int, terminal: str) -> list[float]:
        """For each of a node's terminals of one kind, from when on nothing is booked on it."""
        return [pointing.free_s for pointing in self._pointings(node, terminal)]

    def trial(self) -> Schedule:
        """A copy to try bookings on: all resources are taken as they are here, nothing booked on it comes back."""
        copy = Schedule(self.system, self.phase, self.round, self.stage)
        copy._computer_free_s = dict(self._computer_free_s)
        copy._link_free_s = dict(self._link_free_s)
        copy._terminals = {
            key: [pointing.copy() for pointing in pointings] for key, pointings in self._terminals.items()
        }
        copy._columns = self._columns  # derived from the contact plan alone, so it may be shared
        copy._batteries = self._batteries.copy() if self._batteries is not None else None
        copy._waited = self._waited
        return copy

    def send_at(
        self, contact: Contact, payload: Payload, start_s: float, end_s: float, may_wait: bool = False
    ) -> float:
        """Book an interval that a strategy has worked out itself; returns the arrival. The checker will judge it.

        Args:
            may_wait: Where a battery does not allow that interval, or another send that had to wait has taken it, the
                payload is sent as early as it can be after `start_s`. For strategies that go on from the arrival.

        Raises:
            LowBattery: A battery at one of its ends would fall below its floor, and the send may not wait.
            HorizonEnd: The send waits, and the contact plan ends first.
        """
        if self._batteries is not None:
            draws = self.system.draws_w(contact.source, contact.target, contact.kind)
            shortage = self._batteries.shortage(draws, start_s, end_s)
            if may_wait and (shortage or (self._waited and not self._is_free(contact, start_s))):
                self._waited = True
                return self.send(contact.source, contact.target, payload, start_s)
            if shortage:
                raise self._low_battery(contact, start_s, end_s, shortage)
        return self._book_piece(contact, start_s, end_s, payload)

    def _is_free(self, contact: Contact, start_s: float) -> bool:
        """Whether nothing is booked from a moment on for a link and terminals at its ends."""
        links = [(contact.source, contact.target)]
        if not self.system.terminals.full_duplex:
            links.append((contact.target, contact.source))
        return max(self._pointed_s(contact), *(self._link_free_s.get(link, 0.0) for link in links)) <= start_s

    def _low_battery(self, contact: Contact, start_s: float, end_s: float, shortage: str) -> LowBattery:
        """The error for an interval that a battery does not allow."""
        ends = f"{self.system.nodes.name(contact.source)} to {self.system.nodes.name(contact.target)}"
        return LowBattery(
            f"{ends}, {start_s:.0f} to {end_s:.0f} s: {shortage}; this way of sending plans ahead and cannot wait for "
            "charge: choose another, or raise satellite.battery_wh or satellite.solar_power_w"
        )

    def _pieces(self, source: int, target: int, size: int, ready_s: float) -> list[Piece]:
        """The earliest intervals on one link that carry `size` bytes; none if the contact plan ends too soon."""
        link, free_s = (source, target), ready_s
        contacts = self.system.contacts.by_link.get(link, ())
        if (busy_s := self._link_free_s.get(link, 0.0)) > free_s:
            free_s = busy_s
        if not self.system.terminals.full_duplex:
            free_s = max(free_s, self._link_free_s.get((target, source), 0.0))
        columns = self._columns.get(link) or self.columns(source, target)
        if self._batteries is not None:
            ahead = map(contacts.__getitem__, range(bisect_right(columns.end_s, free_s), len(contacts)))
            return self._charged_pieces(self._batteries, ahead, size, free_s)
        pieces: list[Piece] = []
        for row in range(bisect_right(columns.end_s, free_s), len(contacts)):
            contact = contacts[row]
            start_s = free_s if free_s > contact.start_s else contact.start_s
            if terminal := TERMINAL_OF[contact.kind]:
                if (pointed_s := self._pointed_at_s(source, terminal, target)) > start_s:
                    start_s = pointed_s
                if (pointed_s := self._pointed_at_s(target, terminal, source)) > start_s:
                    start_s = pointed_s
            room = int((contact.end_s - start_s) * contact.rate_bps / BITS_PER_BYTE)
            if room <= 0:
                continue
            taken = min(size, room)
            free_s = start_s + taken * BITS_PER_BYTE / contact.rate_bps
            pieces.append((contact, start_s, min(free_s, contact.end_s), taken))
            size -= taken
            if not size:
                return pieces
        return []

    def _charged_pieces(
        self, batteries: Batteries, contacts: Iterable[Contact], size: int, free_s: float
    ) -> list[Piece]:
        """`_pieces` where both ends must have charge enough; one contact may then carry several, with breaks."""
        pieces: list[Piece] = []
        for contact in contacts:
            draws = self.system.draws_w(contact.source, contact.target, contact.kind)
            free_s = max(free_s, contact.start_s, self._pointed_s(contact))
            while free_s < contact.end_s:
                wanted_s = min(size * BITS_PER_BYTE / contact.rate_bps, contact.end_s - free_s)
                start_s, length_s = batteries.piece_s(draws, free_s, wanted_s, contact.end_s)
                wanted = size if length_s == wanted_s else int(length_s * contact.rate_bps / BITS_PER_BYTE)
                taken = min(wanted, int(max(0.0, contact.end_s - start_s) * contact.rate_bps / BITS_PER_BYTE))
                if not taken:
                    break
                free_s = min(start_s + taken * BITS_PER_BYTE / contact.rate_bps, contact.end_s)
                pieces.append((contact, start_s, free_s, taken))
                size -= taken
                if not size:
                    return pieces
                batteries = batteries.copy()
                batteries.draw(draws, start_s, free_s)
        return []

    def _pointed_s(self, contact: Contact) -> float:
        """When both ends of a contact have a terminal for each other."""
        terminal = TERMINAL_OF[contact.kind]
        if not terminal:
            return 0.0
        ends = contact.source, contact.target
        return max(self._pointed_at_s(node, terminal, peer) for node, peer in (ends, ends[::-1]))

    def _no_room(self, source: int, target: int, size: int, ready_s: float) -> HorizonEnd:
        """The error for a transfer that the contact plan cannot finish."""
        name, horizon_s = self.system.nodes.name, self.system.contacts.horizon_s
        charge = "" if self._batteries is None else ", or before batteries have charge enough"
        return HorizonEnd(
            f"{name(source)} cannot send {size} bytes to {name(target)} after {ready_s:.0f} s: the contact plan of "
            f"{horizon_s:.0f} s ends before the last of them{charge}; lengthen time.duration_h"
        )

    def _pointed_at_s(self, node: int, terminal: str, peer: int) -> float:
        """When a node has a terminal for a peer: the one that points at it already, else the one that is free first."""
        free_s = inf
        for pointing in self._terminals.get((node, terminal)) or self._pointings(node, terminal):
            if pointing.peer == peer:
                return pointing.since_s
            if pointing.free_s < free_s:
                free_s = pointing.free_s
        return free_s

    def _point(self, node: int, terminal: str, peer: int, until_s: float) -> None:
        """Take that terminal until a moment."""
        chosen: _Pointing | None = None
        for pointing in self._terminals.get((node, terminal)) or self._pointings(node, terminal):
            if pointing.peer == peer:
                chosen = pointing
                break
            if chosen is None or pointing.free_s < chosen.free_s:
                chosen = pointing
        assert chosen is not None, "without a terminal there is no contact"
        if chosen.peer != peer:
            chosen.peer, chosen.since_s = peer, chosen.free_s
        if until_s > chosen.free_s:
            chosen.free_s = until_s

    def _pointings(self, node: int, terminal: str) -> list[_Pointing]:
        found = self._terminals.get((node, terminal))
        if found is None:
            count = self.system.num_terminals(node, terminal)
            found = self._terminals[node, terminal] = [_Pointing() for _ in range(count)]
        return found

    def _book_piece(self, contact: Contact, start_s: float, end_s: float, payload: Payload) -> float:
        source, target = link = contact.source, contact.target
        if end_s > self._link_free_s.get(link, 0.0):
            self._link_free_s[link] = end_s
        if self._batteries is not None:
            self._batteries.draw(self.system.draws_w(source, target, contact.kind), start_s, end_s)
        if terminal := TERMINAL_OF[contact.kind]:
            self._point(source, terminal, target, end_s)
            self._point(target, terminal, source, end_s)
        arrive_s = end_s + contact.delay_s
        self.activities.append(
            Activity("send", source, start_s, end_s, self.phase, self.round, self.stage, target, contact.kind,
                     arrive_s, payload)
        )  # fmt: skip
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

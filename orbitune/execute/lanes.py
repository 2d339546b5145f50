"""Sends: one after the other over each directed link, and over the terminals of each node.

Links and terminals serve, in planned order, what can go at the moment. While all is on time that is the planned order
itself; a send whose payload is late or whose contact is closed does not hold up others, which might miss their own
passes for it. What waits holds neither link nor terminal, so nobody can wait in a circle.

The receiver's terminals are not asked, which would take a conversation for every send: in the plan they are free, and
what really happened is compared with it. With terminals that send and receive in turn, each direction is served by
itself as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from math import inf

from orbitune.cost.system import TERMINAL_OF
from orbitune.execute.agenda import Agenda
from orbitune.execute.gate import Gate, Stretch
from orbitune.execute.program import Link, Program, Terminal
from orbitune.execute.task import Message, Task


class _Berths:
    """The terminals of one kind that a node sends with: since when each free one is free, and which links wait."""

    def __init__(self, count: int) -> None:
        self.free_s = [-inf] * count
        self.waiting: list[tuple[int, int, _Lane]] = []

    def wait(self, lane: _Lane) -> None:
        """Stand in line, by planned order."""
        heappush(self.waiting, (lane.ready[0][0], lane.turn, lane))

    def first(self) -> _Lane | None:
        """Take out of the line who is first in it and still waits."""
        while self.waiting:
            _, turn, lane = heappop(self.waiting)
            if lane.turn == turn:
                return lane
        return None


class _Lane:
    """One directed link.

    Attributes:
        ready: Sends that may go, by planned order.
        running: The one that is under way.
        left: How many have not left as a whole.
        turn: Counts up whenever what was arranged no longer holds.
    """

    def __init__(self, link: Link, gate: Gate, berths: _Berths | None) -> None:
        self.link, self.gate, self.berths = link, gate, berths
        self.ready: list[tuple[int, Task]] = []
        self.running: Task | None = None
        self.left = 0
        self.free_s = -inf
        self.turn = 0
        self.lost = False


class Lanes:
    """All links that the nodes of a host send over.

    Args:
        sends: In planned order.
        depart: Told of each message at the moment at which its last bit has left.

    Attributes:
        apart_s: Simulated seconds between two messages of one send, at least; to be set before anything is sent.
    """

    def __init__(
        self, program: Program, sends: Sequence[Task], agenda: Agenda, depart: Callable[[Message], None]
    ) -> None:
        self._agenda, self._depart, self.apart_s = agenda, depart, inf
        berths = {terminal: _Berths(count) for terminal, count in program.terminals.items()}
        self._lanes = {link: _lane(link, program, berths) for link in program.windows}
        for task in sends:
            self._lane_of(task).left += 1

    def there(self, task: Task) -> None:
        """The payload of a send is here."""
        self._agenda.add(task.ready_s, partial(self._enter, self._lane_of(task), task))

    def lost(self) -> list[tuple[int, int]]:
        """Sender and receiver of each link that has bytes to send and no contact left."""
        return [lane.link[:2] for lane in self._lanes.values() if lane.lost]

    def cut(self, source: int, target: int, from_s: float, now_s: float) -> None:
        """Take all contact away from a link, from a moment on."""
        for lane in self._lanes.values():
            if lane.link[:2] == (source, target):
                lane.gate.cut(from_s)
                self._agenda.add(max(from_s, now_s), partial(self._interrupt, lane))

    def _lane_of(self, task: Task) -> _Lane:
        activity = task.activity
        return self._lanes[activity.node, activity.peer, activity.link]

    # -- one send after the other --------------------------------------------------------------------------------

    def _enter(self, lane: _Lane, task: Task) -> None:
        """A send may go from now on."""
        heappush(lane.ready, (task.order, task))
        if lane.running is None:
            self._arrange(lane, max(self._agenda.now_s, lane.free_s))

    def _arrange(self, lane: _Lane, time_s: float) -> None:
        lane.turn += 1
        self._agenda.add(time_s, partial(self._approach, lane, lane.turn))

    def _approach(self, lane: _Lane, turn: int) -> None:
        """The first send may go, if there is contact and a terminal."""
        if lane.turn != turn:
            return
        if lane.berths is None:
            self._try(lane)
        else:
            lane.berths.wait(lane)
            # After whatever else is due now: who is first in the plan is served first.
            self._agenda.add(self._agenda.now_s, partial(self._serve, lane.berths))

    def _serve(self, berths: _Berths) -> None:
        """Give free terminals to those who wait."""
        now_s = self._agenda.now_s
        while berths.free_s and (lane := berths.first()) is not None:
            if berths.free_s[0] > now_s:  # given back later than this was due: we are late
                self._arrange(lane, berths.free_s[0])
                return
            if self._try(lane):
                heappop(berths.free_s)

    def _try(self, lane: _Lane) -> bool:
        """Begin with the first send where there is contact now; otherwise come again when there is."""
        (_, task), now_s = lane.ready[0], self._agenda.now_s
        stretch = lane.gate.stretch(now_s, task.sent.size - task.left)
        if stretch is None:
            lane.lost = True
        elif stretch.start_s > now_s:
            self._arrange(lane, stretch.start_s)
        else:
            self._begin(lane, stretch)
            return True
        return False

    def _begin(self, lane: _Lane, stretch: Stretch) -> None:
        _, task = heappop(lane.ready)
        lane.turn += 1
        lane.running = task
        task.start_s = min(task.start_s, stretch.start_s)
        task.parts += 1
        first = task.left
        for low, high, leave_s, arrive_s in stretch.departures(self.apart_s):
            message = Message(task, first + low, first + high, arrive_s)
            self._agenda.add(leave_s, partial(self._leave, lane, lane.turn, message))
        self._agenda.add(stretch.end_s, partial(self._end, lane, lane.turn))

    def _leave(self, lane: _Lane, turn: int, message: Message) -> None:
        if lane.turn == turn:
            message.task.left = message.high
            self._depart(message)

    def _end(self, lane: _Lane, turn: int) -> None:
        """All that fits into this pass has left."""
        if lane.turn == turn:
            self._stop(lane)

    def _stop(self, lane: _Lane) -> None:
        task, now_s = lane.running, self._agenda.now_s
        assert task is not None, "only what is under way can stop"
        task.end_s = lane.free_s = now_s
        lane.running = None
        if task.left == task.sent.size:
            lane.left -= 1
        else:
            heappush(lane.ready, (task.order, task))
        if lane.ready:
            self._arrange(lane, now_s)
        if lane.berths is not None:
            heappush(lane.berths.free_s, now_s)
            self._agenda.add(now_s, partial(self._serve, lane.berths))

    def _interrupt(self, lane: _Lane) -> None:
        """Contact has been taken away: what had not left stays."""
        lane.lost = bool(lane.left) and lane.gate.stretch(self._agenda.now_s, 1) is None
        lane.turn += 1
        if lane.running is not None:
            self._stop(lane)
        elif lane.ready:
            self._arrange(lane, self._agenda.now_s)


def _lane(link: Link, program: Program, berths: dict[Terminal, _Berths]) -> _Lane:
    kind = TERMINAL_OF[link[2]]
    return _Lane(link, Gate(program.windows[link]), berths[link[0], kind] if kind else None)

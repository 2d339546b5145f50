"""One attempt on one host: the threads around a `Flow`."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from orbitune.engine.protocol import Header, Peers, Reply
from orbitune.errors import OrbituneError, RunError
from orbitune.execute.bench import LAST, NOW, Bench
from orbitune.execute.clock import Clock
from orbitune.execute.couriers import Couriers, Parcel
from orbitune.execute.flow import Flow
from orbitune.execute.program import Program, delivered, fields_of, in_training, payload_of
from orbitune.execute.states import States
from orbitune.execute.task import Delivery, Due, Message, Task
from orbitune.execute.work import RAW, Work
from orbitune.timeline.activity import Payload
from orbitune.timeline.holdings import key_of

LOOK_AHEAD_REAL_S = 10.0
"""How long before its simulated start a computation may really be done. Our choice: satellites of one host that begin
at the same simulated moment are really served in turn, so it covers a batch of each of some dozens, and it is short
enough that what is made ahead of time fits into memory."""

APART_REAL_S = 0.005
"""Real seconds between two messages of one send. Our choice: a call costs an engine about one millisecond."""

IDLE_S = 0.2
"""Real seconds after which a thread without anything to do looks up."""

Deed = Callable[[Flow], None]


class Run:
    """Carries out one program, from `go` until all is done or it is stopped.

    Args:
        keepers, others: See `Rounds`.
        host_of: Host of each node.
        bench: Where the work is done; shared by all attempts of a host.
    """

    def __init__(
        self,
        program: Program,
        keepers: Sequence[int],
        others: Sequence[int],
        host_of: Mapping[int, str],
        peers: Peers,
        work: Work,
        bench: Bench,
        states: States,
    ) -> None:
        self.program = program
        self._keepers, self._others, self._host_of = keepers, others, host_of
        self._work, self._bench, self._states = work, bench, states
        self._couriers = Couriers(peers, self.fail)
        self._inbox: SimpleQueue[Deed] = SimpleQueue()
        self._lock = Lock()  # of the flow
        self._heard: dict[tuple[int, int], float] = {}
        self._hearing = Lock()
        self._flow = Flow(program, keepers, others, self)
        self._held = bench.do(self._initial)
        self._clock: Clock | None = None
        self._thread = Thread(target=self._loop, name=f"{peers.name} flow", daemon=True)
        self._stopped = False
        self.error: str | None = None
        self._disk = Bench(f"{peers.name} disk")  # last: what fails above leaves no thread behind

    # -- what the host asks --------------------------------------------------------------------------------------

    def go(self, clock: Clock) -> None:
        """Begin; once."""
        if self._clock is None:
            self._clock = clock
            self._thread.start()

    def stop(self) -> None:
        """Begin nothing any more. Returns when the work that is being done is over and no state is written."""
        self._stopped = True
        self._inbox.put(_nothing)
        if self._clock is not None:
            self._thread.join()
        self._couriers.stop()
        self._bench.do(lambda: None)  # jobs of this run that come later find it stopped
        self._disk.close()

    def join(self) -> None:
        """Wait, after `stop`, for the last call that is under way."""
        self._couriers.join()

    def lives(self) -> bool:
        """Whether a call of a stopped run is still under way."""
        return self._couriers.lives()

    def fail(self, reason: str) -> None:
        """Something went wrong: keep the first reason, and begin nothing any more."""
        self.error = self.error or reason
        self._stopped = True
        self._inbox.put(_nothing)

    def receive(self, header: Header, body: bytes) -> Header:
        """Chunks from another host; a repetition is answered as the first time, and forgotten.

        Raises:
            RunError: They lie outside of their payload.
        """
        arrive_s = float(header["arrive_s"])
        if self._clock is not None:
            arrive_s = max(arrive_s, self._clock.now_s())
        target, payload = int(header["target"]), payload_of(header["payload"])
        offset = int(header["offset"])
        if not 0 <= offset < offset + len(body) <= payload.size:
            raise RunError(f"{len(body)} bytes from {offset} on are not part of a payload of {payload.size}")
        part = payload.part(offset, offset + len(body))
        chunk = int(header["activity"]), offset
        with self._hearing:
            if chunk not in self._heard:
                self._heard[chunk] = arrive_s
                self._inbox.put(lambda flow: flow.hold(target, part, body, arrive_s))
        return {"arrive_s": self._heard[chunk]}

    def fault(self, header: Header) -> None:
        """Cut a link or slow down a node, for tests of faults."""
        node = int(header["node"])
        if header["kind"] == "slow":
            factor = float(header["factor"])
            self._inbox.put(lambda flow: flow.slow_down(node, factor))
        else:
            peer, from_s = int(header["peer"]), float(header["from_s"])
            self._inbox.put(lambda flow: flow.lanes.cut(node, peer, from_s, flow.agenda.read_s))

    def status(self) -> Header:
        """See `host`."""
        total = len(self._flow.tasks) + self._flow.rounds.total
        told: Header = {"attempt": self.program.attempt, "done": 0, "total": total, "error": self.error,
                        "rounds": self.program.first_round, "overruns": [], "waiting": "", "lost": []}  # fmt: skip
        with self._lock:
            flow, clock = self._flow, self._clock
            if clock is None:
                return told
            overruns, flow.overruns = flow.overruns, []
            now_s = clock.now_s()
            return told | {
                "done": flow.done + flow.rounds.done,
                "rounds": self.program.first_round + flow.rounds.finished(now_s),
                "overruns": [list(overrun) for overrun in overruns],
                "waiting": flow.waits_for(now_s),
                "lost": [list(link) for link in flow.lanes.lost()],
            }

    def executed(self) -> list[dict[str, Any]]:
        """Rows of activities that are over and were not told of yet."""
        with self._lock:
            tasks, self._flow.executed = self._flow.executed, []
        return [self._row(task) for task in tasks]

    def _row(self, task: Task) -> dict[str, Any]:
        return {"activity": task.index, "attempt": self.program.attempt, "start_s": task.start_s, "end_s": task.end_s,
                "arrive_s": task.arrive_s, "parts": task.parts}  # fmt: skip

    # -- the thread that owns the flow ---------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            self._begin()
            while not self._stopped:
                self._step()
        except Exception as error:
            self.fail(reason(error))

    def _begin(self) -> None:
        scale = self._now().scale
        with self._lock:
            self._flow.begin(look_ahead_s=LOOK_AHEAD_REAL_S * scale, apart_s=APART_REAL_S * scale)
            for node, payload, content in self._held:
                self._flow.hold(node, payload, content, self.program.start_s)
        self._held.clear()

    def _initial(self) -> list[tuple[int, Payload, bytes | None]]:
        """What nodes hold at the start; raw data stays where the learning side has it, unless it is to be sent."""
        program, work = self.program, self._work
        work.begin(program.first_round, program.ids, program.participants)
        for node in self._keepers:
            # Before the first round a state that is here already is of another run, or the same.
            if program.first_round == 0 or not self._states.has(node, program.first_round):
                self._states.write(node, program.first_round, work.save(node))
        sent = {key_of(task.node, task.payload) for task in program.part.activities if task.payload is not None}
        return [
            (node, payload, None if payload.kind in RAW and key_of(node, payload) not in sent
             else work.initial(node, payload))
            for node, payload in program.part.initial
        ]  # fmt: skip

    def _step(self) -> None:
        """Wait for news or the next moment, then do what is due."""
        clock, flow = self._now(), self._flow
        wait_s = clock.real_s(flow.agenda.next_s() - clock.now_s())
        try:
            news = [self._inbox.get(timeout=min(max(wait_s, 0.0), IDLE_S))] if wait_s > 0.0 else []
        except Empty:
            news = []
        while not self._inbox.empty():
            news.append(self._inbox.get())
        with self._lock:
            for deed in news:
                deed(flow)
            flow.agenda.run(clock.now_s())

    def _now(self) -> Clock:
        assert self._clock is not None, "go comes first"
        return self._clock

    # -- the hands of the flow -----------------------------------------------------------------------------------

    def work(self, task: Task) -> None:
        """See `Hands`."""
        self._bench.put(task.activity.start_s, partial(self._do, partial(self._compute, task)))

    def finish(self, due: Due) -> None:
        """See `Hands`."""
        take = self._take_delivery if due.round == self.program.rounds else self._take_over
        self._bench.put(NOW, partial(self._do, partial(take, due)))

    def deliver(self, delivery: Delivery) -> None:
        """See `Hands`."""
        self._bench.put(NOW, partial(self._do, partial(self._deliver, delivery)))

    def carry(self, message: Message, content: bytes) -> None:
        """See `Hands`."""
        activity = message.task.activity
        header: Header = {
            "attempt": self.program.attempt,
            "activity": message.task.index,
            "source": activity.node,
            "target": activity.peer,
            "payload": fields_of(message.task.sent),
            "offset": message.low,
            "arrive_s": message.arrive_s,
        }
        self._couriers.send(self._host_of[activity.peer], Parcel(header, content, partial(self._replied, message)))

    def _replied(self, message: Message, reply: Reply) -> None:
        if "arrive_s" in reply.header:  # otherwise the host is at another attempt, and this one is about to be stopped
            arrive_s = float(reply.header["arrive_s"])
            self._inbox.put(lambda flow: flow.arrived(message, arrive_s))

    def _do(self, job: Callable[[], None]) -> None:
        if self._stopped:
            return
        try:
            job()
        except Exception as error:
            self.fail(reason(error))

    def _compute(self, task: Task) -> None:
        activity, flow = task.activity, self._flow
        do = self._work.compute if activity.kind == "compute" else self._work.merge
        made = do(activity.node, activity, partial(flow.store.read, activity.node))
        now_s = self._now().now_s()
        self._inbox.put(lambda flow: flow.worked(task, made, now_s))

    def _take_over(self, due: Due) -> None:
        self._work.finish_round(due.node, due.round, due.promised, partial(self._flow.store.read, due.node))
        rounds, state = self.program.first_round + due.round + 1, self._work.save(due.node)
        self._disk.put(LAST, partial(self._do, partial(self._keep, due, rounds, state)))

    def _deliver(self, delivery: Delivery) -> None:
        content = self._work.deliver(delivery.node, delivery.payload)
        now_s = self._now().now_s()
        self._inbox.put(lambda flow: flow.delivered(delivery, content, now_s))

    def _take_delivery(self, due: Due) -> None:
        def read(payload: Payload) -> bytes:
            return self._flow.store.read(due.node, delivered(payload))

        self._work.finish_delivery(due.node, list(map(in_training, due.promised)), read)
        self._inbox.put(lambda flow: flow.kept(due))

    def _keep(self, due: Due, rounds: int, state: bytes) -> None:
        self._states.write(due.node, rounds, state)
        self._inbox.put(lambda flow: flow.kept(due))


def reason(error: BaseException) -> str:
    """An error in words: ours as it is, another's with the place it came from."""
    if isinstance(error, OrbituneError):
        return str(error)
    return "".join(traceback.format_exception(error)[-3:]).strip()


def _nothing(flow: Flow) -> None:
    """Wakes the thread up."""

"""Brings messages to other hosts: one thread for each, so that order is kept and one slow host delays no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread

from orbitune.engine.protocol import Header, Peers, Reply, TimedOut, Unreachable
from orbitune.errors import RunError

CALL_S = 20.0
"""Real seconds for one call. Our choice: a message of `gate.MESSAGE_BYTES` over a line of 10 Mbit/s takes 13 s."""

AGAIN_S = 0.25
"""Real seconds before a host that could not be reached is tried again. Our choice: well below the seconds in which a
driver notices that a host is gone."""


@dataclass(frozen=True)
class Parcel:
    """A call to another host, and what to do with its reply."""

    header: Header
    body: bytes
    replied: Callable[[Reply], None]


class Couriers:
    """Sends "deliver" calls until they are answered or all is stopped.

    Args:
        failed: Told, in words, that a host refuses what it was sent.
    """

    def __init__(self, peers: Peers, failed: Callable[[str], None]) -> None:
        self._peers, self._failed = peers, failed
        self._stopped = Event()
        self._queues: dict[str, SimpleQueue[Parcel | None]] = {}
        self._threads: list[Thread] = []

    def send(self, host: str, parcel: Parcel) -> None:
        """Send something to a host, after all that was sent there before; from one thread only."""
        queue = self._queues.get(host)
        if queue is None:
            queue = self._queues[host] = SimpleQueue()
            name = f"{self._peers.name} to {host}"
            self._threads.append(Thread(target=self._run, args=(host, queue), name=name, daemon=True))
            self._threads[-1].start()
        queue.put(parcel)

    def stop(self) -> None:
        """Send no more; what is on its way may still arrive."""
        self._stopped.set()
        for queue in list(self._queues.values()):
            queue.put(None)

    def join(self) -> None:
        """Wait, after `stop`, until the last call has come back."""
        for thread in self._threads:
            thread.join()

    def lives(self) -> bool:
        """Whether a thread is still at work."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, host: str, queue: SimpleQueue[Parcel | None]) -> None:
        while (parcel := queue.get()) is not None:
            reply = self._call(host, parcel)
            if reply is None:
                return
            parcel.replied(reply)

    def _call(self, host: str, parcel: Parcel) -> Reply | None:
        while not self._stopped.is_set():
            try:
                return self._peers.call(host, "deliver", parcel.header, parcel.body, CALL_S)
            except (Unreachable, TimedOut):
                self._stopped.wait(AGAIN_S)
            except RunError as error:
                self._failed(str(error))
                return None
        return None

"""What goes wrong in a real run, and the hosts that it goes on without until they are back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orbitune.engine.protocol import Reply
from orbitune.errors import RunError
from orbitune.launch.members import GROUND, Members
from orbitune.replan import Link
from orbitune.runs import RunFolder

BACK_PAUSE_S = 30.0
"""Real seconds between two tries to start a host that the run goes on without. Our choice: short beside a run of some
minutes, and long enough that a machine that is off is not asked all the time."""

WAIT = "wait"


@dataclass
class Fault:
    """Why an attempt ended early."""

    hosts: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.hosts or self.links or self.returned)

    def words(self) -> str:
        """What happened, for the run folder."""
        said = [f"lost {host}" for host in self.hosts] + [f"{host} is back" for host in self.returned]
        return "; ".join([*said, *(f"link {source} to {target} is gone" for source, target in self.links)])


def started_again(hosts: Sequence[str], lost_satellites: str) -> list[str]:
    """Which lost hosts a run waits for; it goes on without the others."""
    return [host for host in hosts if lost_satellites == WAIT or host == GROUND]


def lost_links(replies: Iterable[Reply]) -> list[Link]:
    """Links that have bytes to send and no contact left."""
    return [(int(node), int(peer)) for reply in replies for node, peer in reply.header["lost"]]


class Absent:
    """Hosts that are left out, each started again beside the run.

    Attributes:
        out: Those that do not take part now.
    """

    def __init__(self, run: RunFolder, members: Members) -> None:
        self._run, self._members = run, members
        self.out: set[str] = set()
        self._back: list[str] = []
        self._closed = threading.Event()

    def add(self, host: str) -> None:
        """Leave a host out from now on, and begin to start it again."""
        self.out.add(host)
        threading.Thread(target=self._bring_back, args=(host,), name=f"back-{host}", daemon=True).start()

    def back(self) -> list[str]:
        """Those that have been started and can be taken back."""
        return self._back.copy()

    def remove(self, host: str) -> None:
        """A host takes part again."""
        self.out.discard(host)
        if host in self._back:
            self._back.remove(host)

    def close(self) -> None:
        """Start nobody any more."""
        self._closed.set()

    def _bring_back(self, host: str) -> None:
        """Try until it is there or the run is over."""
        said = False
        while not self._closed.is_set():
            try:
                self._members.place_one(host)
            except RunError as error:
                if not (said or self._closed.is_set()):
                    self._say(host, error)
                said = True
                self._closed.wait(BACK_PAUSE_S)
            else:
                self._back.append(host)
                return

    def _say(self, host: str, error: RunError) -> None:
        with contextlib.suppress(RunError):  # a full disk ends the run elsewhere
            self._run.event(f"{host} cannot be started yet", reason=str(error))

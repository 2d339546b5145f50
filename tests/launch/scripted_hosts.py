"""Hosts that say what a test wants and note what they are asked, under a real supervisor and the engine without one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orbitune.engine.local import LocalEngine
from orbitune.engine.protocol import Header, Peers, Reply
from orbitune.execute.host import NOTHING_YET
from orbitune.launch.run import _members
from orbitune.launch.run import start as start_run
from orbitune.launch.state import Request, State
from orbitune.launch.supervise import Supervisor
from orbitune.mission import Mission
from orbitune.plans import Planned

FACTORY = "tests.launch.scripted_hosts:make_scripted"
STATE = b"state of the driver"


class Scripted:
    """Answers all calls with `told`, and "export" with a state."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Header, bytes]] = []
        self.told: Header = dict(NOTHING_YET) | {"time_s": 0.0}

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        self.heard.append((method, header, body))
        return Reply(self.told, STATE if method == "export" else b"")

    def close(self) -> None:
        """Nothing is open."""

    def asked(self, method: str) -> list[Header]:
        return [header for name, header, _ in self.heard if name == method]


def make_scripted(peers: Peers, header: Header, body: bytes = b"") -> Scripted:
    """Factory."""
    return Scripted()


def hosts_of(supervisor: Supervisor) -> dict[str, Scripted]:
    """The workers by name."""
    engine = supervisor.members.engine
    assert isinstance(engine, LocalEngine)
    return {name: engine._members[name].worker for name in supervisor.members.nodes_of}  # type: ignore[misc]


@contextmanager
def supervised(root: Path, mission: Mission, planned: Planned, state: State) -> Iterator[Supervisor]:
    """A supervisor whose hosts are placed, of a run that stands at a state which the driver has."""
    request = Request(planned.method.name, "local", "", 1.0, "plane")
    run = start_run(mission.scenario, request, root)
    run.write_timeline(request.method, planned.timeline)
    members = _members(run, mission, planned, request)
    try:
        supervisor = Supervisor(run, mission, planned, request, members, state, lambda watched: None)
        members.place(supervisor.hosts)
        supervisor._epoch_s = time.time() - state.sim_s
        for rounds in range(1, state.rounds_done + 1):
            for role in ("satellite", "server"):
                supervisor._ledger.keep(rounds, role, STATE)
        yield supervisor
    finally:
        members.close()

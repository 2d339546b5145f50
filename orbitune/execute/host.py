"""The worker on each host: carries out programs, answers the driver, takes bytes from other hosts.

Calls (header -> reply); the driver's, and "deliver" between hosts, which may send for their own nodes only:

ping        {} -> {"time_s"}
program     {"attempt"}, body `Program.to_bytes` -> {}; stops and replaces what there was; nothing runs before "go"
go          {"attempt", "epoch_s", "scale", "offset_s"} -> {}, see `Clock`
status      {"settled"} -> {"attempt", "done", "total", "rounds", "overruns", "waiting", "error", "lost"}; settled: how
            many rounds' outcome the driver has, see `States`; the reply: activities that are over, and rounds of nodes
            that are kept, of how many in all; rounds that all nodes have finished, counted from the mission's first;
            [activity, planned_s, took_s] of computations that took too long, since last asked; the first thing that is
            late; [sender, receiver] of links that have bytes to send and no contact left
executed    {} -> body: a JSON line {"activity", "attempt", "start_s", "end_s", "arrive_s", "parts"} for each activity
            that is over, since last asked
stop        {"attempt"} -> {}
restore     {"round"} -> {}: all nodes to their states after so many whole rounds
weights     {"node"} -> body safetensors
export      {"node", "round"} -> body: the state of a node after so many whole rounds
import      {"node", "round"}, body -> {}: take such a state, and go on from it
fault       {"kind": "drop", "node", "peer", "from_s"} or {"kind": "slow", "node", "factor"} -> {}
deliver     {"attempt", "activity", "source", "target", "payload", "offset", "arrive_s"}, body the bytes of the payload
            from `offset` on -> {"arrive_s"} from when they are held, or {"stale": true} if of another attempt
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock

from orbitune.engine.protocol import DRIVER, Header, Peers, Reply
from orbitune.errors import RunError
from orbitune.execute.bench import Bench
from orbitune.execute.clock import Clock
from orbitune.execute.program import Program
from orbitune.execute.run import Run
from orbitune.execute.states import States
from orbitune.execute.work import Work, make_work

NOTHING_YET: Header = {
    "attempt": 0, "done": 0, "total": 0, "rounds": 0, "overruns": [], "waiting": "", "error": None, "lost": [],
}  # fmt: skip


def make_host(peers: Peers, header: Header, body: bytes = b"") -> Host:
    """The worker of a host.

    Args:
        header: "nodes" (numbers of this host's), "host_of" (host by number of node, all of them), "folder" (where this
            host keeps states), "run" (what the run is called, see `owned`), "spec", "model" and "selection" (fields of
            `LearnSpec`, `ModelSpec` and `Selection`), "num_satellites"; "work" (see `make_work`) where something else
            than learning is done.
        body: Nothing.
    """
    return Host(peers, owned(header, os.environ))


SITE_STATES, SITE_IMAGES = "ORBITUNE_SITE_STATES", "ORBITUNE_SITE_IMAGES"
"""Environment variables with which the owner of a machine says where states are kept and where the images lie."""


def owned(header: Header, environment: Mapping[str, str]) -> Header:
    """The header as the owner of this machine allows it: own folders go before those that the driver names.

    States of each run have a folder of their own in the owner's, so that no run goes on from those of another.

    Raises:
        RunError: The owner has set his folders, and the driver names code of its own.
    """
    states, images = environment.get(SITE_STATES), environment.get(SITE_IMAGES)
    if states is None and images is None:
        return header
    model = header.get("model", {})
    if "work" in header or model.get("name") == "module":
        raise RunError(
            f"this site has an owner ({SITE_STATES} or {SITE_IMAGES} is set), who runs no code that the driver names: "
            "take a model that Orbitune or a library brings, not model.name = 'module'"
        )
    found = dict(header)
    if states is not None:
        found["folder"] = str(Path(states) / _plain_name(str(header["run"])))
    if images is not None and header.get("selection", {}).get("folder") is not None:
        found["selection"] = header["selection"] | {"folder": images}
    return found


def _plain_name(name: str) -> str:
    """A name that the driver gives as that of one folder, which leads nowhere else."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "run"


class Host:
    """See the head of this file. Calls may come from several threads."""

    def __init__(self, peers: Peers, header: Header) -> None:
        self._peers, self._header = peers, header
        self._host_of = {int(node): str(host) for node, host in header["host_of"].items()}
        satellites, server = range(int(header["num_satellites"])), max(self._host_of)
        nodes = sorted(map(int, header["nodes"]))
        self._keepers = [node for node in nodes if node in satellites or node == server]
        self._others = [node for node in nodes if node not in self._keepers]
        self._states = States(Path(header["folder"]) / peers.name)
        self._bench = Bench(f"{peers.name} work")
        self._run: Run | None = None
        self._old: list[Run] = []
        self._changing = Lock()
        try:
            self._work: Work = self._bench.do(lambda: make_work(header))
        except BaseException:
            self._bench.close()
            raise

    def handle(self, sender: str, method: str, header: Header, body: bytes) -> Reply:
        """Answer one call."""
        answer: Callable[[Header, bytes], Reply] | None = self._answers().get(method)
        if answer is None:
            raise RunError(f"{self._peers.name} knows no call {method!r}; there are {', '.join(self._answers())}")
        if sender != DRIVER and (method != "deliver" or self._host_of.get(int(header["source"])) != sender):
            raise RunError(f"{sender} may not call {method}: hosts deliver what their own nodes send, and no more")
        return answer(header, body)

    def close(self) -> None:
        """Stop all threads."""
        with self._changing:
            self._end_run()
            for run in self._old:
                run.join()
            self._bench.close()

    def _answers(self) -> dict[str, Callable[[Header, bytes], Reply]]:
        return {
            "ping": self._ping,
            "program": self._program,
            "go": self._go,
            "status": self._status,
            "executed": self._executed,
            "stop": self._stop,
            "restore": self._restore,
            "weights": self._weights,
            "export": self._export,
            "import": self._import,
            "fault": self._fault,
            "deliver": self._deliver,
        }

    # -- programs ------------------------------------------------------------------------------------------------

    def _ping(self, header: Header, body: bytes) -> Reply:
        return Reply({"time_s": time.time()})

    def _program(self, header: Header, body: bytes) -> Reply:
        program = Program.from_bytes(body)
        nodes = set(program.ids)
        keepers, others = ([node for node in some if node in nodes] for some in (self._keepers, self._others))
        with self._changing:
            self._end_run()
            self._run = Run(
                program, keepers, others, self._host_of, self._peers, self._work, self._bench, self._states
            )  # fmt: skip
        return Reply({})

    def _go(self, header: Header, body: bytes) -> Reply:
        clock = Clock(float(header["epoch_s"]), float(header["scale"]), float(header["offset_s"]))
        self._current(header).go(clock)
        return Reply({})

    def _stop(self, header: Header, body: bytes) -> Reply:
        with self._changing:
            if self._run is not None and self._run.program.attempt == header["attempt"]:
                self._run.stop()
        return Reply({})

    def _status(self, header: Header, body: bytes) -> Reply:
        self._states.settled = int(header.get("settled", self._states.settled))
        run = self._run
        return Reply(dict(NOTHING_YET) if run is None else run.status())

    def _executed(self, header: Header, body: bytes) -> Reply:
        run = self._run
        rows = [] if run is None else run.executed()
        return Reply({}, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _fault(self, header: Header, body: bytes) -> Reply:
        if self._run is not None:
            self._run.fault(header)
        return Reply({})

    def _deliver(self, header: Header, body: bytes) -> Reply:
        run = self._run
        if run is None or run.program.attempt != header["attempt"]:
            return Reply({"stale": True})
        if self._host_of.get(int(header["target"])) != self._peers.name:
            raise RunError(f"node {header['target']} is not on {self._peers.name}; send it to its own host")
        return Reply(run.receive(header, body))

    def _current(self, header: Header) -> Run:
        run = self._run
        if run is None or run.program.attempt != header["attempt"]:
            raise RunError(f"{self._peers.name} has no program of attempt {header['attempt']}; send it first")
        return run

    def _end_run(self) -> None:
        if self._run is not None:
            self._run.stop()
            self._old = [run for run in self._old if run.lives()] + [self._run]
            self._run = None

    # -- states --------------------------------------------------------------------------------------------------

    def _restore(self, header: Header, body: bytes) -> Reply:
        rounds = int(header["round"])
        with self._changing:
            self._end_run()
            states = {node: self._saved(node, rounds) for node in self._keepers}
            if None in states.values():
                self._work = self._bench.do(lambda: make_work(self._header))
            for node, state in states.items():
                self._take(node, rounds, state)
        return Reply({})

    def _saved(self, node: int, rounds: int) -> bytes | None:
        """A state; None where it is that of before the first round, which work begins with by itself."""
        if rounds == 0 and not self._states.has(node, rounds):
            return None
        return self._states.read(node, rounds)

    def _take(self, node: int, rounds: int, state: bytes | None) -> None:
        if state is not None:
            self._bench.do(lambda: self._work.load(node, state))
        self._states.forget_after(node, rounds)

    def _weights(self, header: Header, body: bytes) -> Reply:
        node = self._own(header)
        return Reply({}, self._bench.do(lambda: self._work.weights(node)))

    def _export(self, header: Header, body: bytes) -> Reply:
        return Reply({}, self._states.read(self._own(header), int(header["round"])))

    def _import(self, header: Header, body: bytes) -> Reply:
        node, rounds = self._own(header), int(header["round"])
        with self._changing:
            self._states.write(node, rounds, body)
            self._take(node, rounds, body)
        return Reply({})

    def _own(self, header: Header) -> int:
        node = int(header["node"])
        if node not in self._keepers:
            raise RunError(f"{self._peers.name} keeps no state of node {node}; it has {self._keepers}")
        return node

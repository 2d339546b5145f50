"""The hosts of a run: which nodes each carries, and how the driver talks to all of them at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from orbitune.engine.protocol import Engine, Header, Reply
from orbitune.errors import InputError, RunError
from orbitune.links.contacts import Nodes
from orbitune.training import Training

FACTORY = "orbitune.execute.host:make_host"
GROUND = "ground"
SITES = ("plane", "satellite")
"""One host for each orbital plane, whose satellites share it, or one for each satellite; the ground has its own."""

ANSWER_S = 60.0
"""Real seconds after which a host that does not answer counts as lost. Our choice: far above any answer seen (a second,
while torch computes a batch on a busy machine), and short beside a run that somebody started."""

PINGS = 5
"""Calls that the clocks of hosts are compared with; the median of a few is free of one late thread."""


def sites_of(nodes: Nodes, sites: str) -> dict[str, tuple[int, ...]]:
    """Nodes of each host, by its name."""
    if sites not in SITES:
        raise InputError(f"sites = {sites!r}; take one of {', '.join(SITES)}")
    ground = (*nodes.stations, nodes.server)
    if sites == "satellite":
        return {**{f"satellite-{number}": (number,) for number in nodes.satellites}, GROUND: ground}
    return {**{f"plane-{number}": tuple(plane) for number, plane in enumerate(nodes.planes)}, GROUND: ground}


@dataclass(frozen=True)
class Answers:
    """What a call to all brought: replies, and why others gave none."""

    replies: dict[str, Reply]
    failed: dict[str, RunError]


class Members:
    """The hosts on an engine.

    Attributes:
        nodes_of: Nodes by host.
        offsets_s: What has to be added to each host's clock to get the driver's.

    Args:
        root: Where hosts keep the states of their nodes; each makes it on its own machine.
        run: What the run is called, where a machine's owner has a folder of his own for states.
    """

    def __init__(
        self, engine: Engine, nodes_of: Mapping[str, tuple[int, ...]], training: Training, root: Path, run: str
    ) -> None:
        self.engine = engine
        self.nodes_of = dict(nodes_of)
        self.offsets_s: dict[str, float] = {}
        self._training = training
        self._root, self._run = root, run
        self._pool = ThreadPoolExecutor(max_workers=len(self.nodes_of), thread_name_prefix="members")

    @property
    def host_of(self) -> dict[int, str]:
        """Host by node."""
        return {node: host for host, nodes in self.nodes_of.items() for node in nodes}

    def place(self, hosts: Sequence[str]) -> None:
        """Start hosts, all at once, and compare their clocks; one that lives needs no start.

        Raises:
            RunError: One of them cannot be started.
        """
        started = [self._pool.submit(self.place_one, host) for host in hosts]
        wait(started)  # whoever tries again finds nobody half started
        for one in started:
            one.result()

    def place_one(self, host: str) -> None:
        """As `place`; also beside calls to others, and when all is closed.

        Raises:
            RunError: It cannot be started.
        """
        if not self.engine.alive(host):
            self.engine.place(host, FACTORY, self._header(host))
        self.offsets_s[host] = self._offset_s(host)

    def _header(self, host: str) -> Header:
        training = self._training
        selection = asdict(training.selection)
        folder = training.selection.folder
        header: Header = {
            "nodes": list(self.nodes_of[host]),
            "host_of": {str(node): name for node, name in self.host_of.items()},
            "folder": str(self._root.resolve()),  # a host has another working folder
            "run": self._run,
            "spec": asdict(training.spec),
            "model": asdict(training.model),
            "selection": selection | {"folder": None if folder is None else str(folder.resolve())},
            "num_satellites": training.num_satellites,
        }
        return _plain(header)

    def _offset_s(self, host: str) -> float:
        """Cristian's algorithm (Distributed Computing 3, 1989): the reply is of the middle of the round trip."""
        found = []
        for _ in range(PINGS):
            asked = time.time()
            told = float(self.engine.call(host, "ping", {}, timeout_s=ANSWER_S).header["time_s"])
            found.append((asked + time.time()) / 2 - told)
        return median(found)

    def ask(self, hosts: Sequence[str], method: str, header: Header, timeout_s: float = ANSWER_S) -> Answers:
        """The same call to several hosts at once."""
        return self.ask_each(dict.fromkeys(hosts, (header, b"")), method, timeout_s)

    def ask_each(self, what: Mapping[str, tuple[Header, bytes]], method: str, timeout_s: float = ANSWER_S) -> Answers:
        """A call to several hosts at once, each with its own message."""
        calls = {
            host: self._pool.submit(self.engine.call, host, method, header, body, timeout_s)
            for host, (header, body) in what.items()
        }
        answers = Answers({}, {})
        for host, call in calls.items():
            try:
                answers.replies[host] = call.result()
            except RunError as error:
                answers.failed[host] = error
        return answers

    def must(self, what: Mapping[str, tuple[Header, bytes]], method: str) -> dict[str, Reply]:
        """Like `ask_each`, where everybody has to answer.

        Raises:
            RunError: Somebody did not.
        """
        answers = self.ask_each(what, method)
        for error in answers.failed.values():
            raise error
        return answers.replies

    def call_s(self) -> float:
        """Real seconds that a call without work takes, in the middle of a few."""
        host = next(iter(self.nodes_of))
        taken = []
        for _ in range(PINGS):
            asked = time.perf_counter()
            self.engine.call(host, "ping", {}, timeout_s=ANSWER_S)
            taken.append(time.perf_counter() - asked)
        return median(taken)

    def close(self) -> None:
        """End all hosts."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.engine.close()


def _plain(header: Header) -> Header:
    """Tuples as lists, which is what JSON has."""
    return {key: _plain(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
            for key, value in header.items()}  # fmt: skip

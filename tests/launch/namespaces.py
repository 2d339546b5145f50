"""Hosts on one machine that only a network joins: Linux network namespaces (ip-netns(8)) around a switch.

Each host has its own interface, address and ports, and no way to the machine's. The switch is a bridge in a namespace
of its own: taken down, it drops every frame while all hosts still see their link up, as a radio link out of sight does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

NETWORK = "192.0.2"
"""TEST-NET-1 (RFC 5737): nobody's addresses."""

GONE_S = 10.0
"""Our choice: in this time a killed process is no more."""


@dataclass(frozen=True)
class Network:
    """Hosts by their short names, and the switch between them."""

    key: str
    hosts: tuple[str, ...]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def namespace(self, host: str) -> str:
        """Name of a host's namespace, as `ip netns` has it."""
        return f"orbitune-{self.key}-{host}"

    @property
    def switch(self) -> str:
        """Name of the switch's namespace."""
        return self.namespace("switch")

    def address(self, host: str) -> str:
        """IPv4 address of a host."""
        return f"{NETWORK}.{self.hosts.index(host) + 1}"

    def command(self, host: str, words: Sequence[str]) -> list[str]:
        """What runs a command on a host."""
        return ["ip", "netns", "exec", self.namespace(host), *words]

    def start(self, host: str, words: Sequence[str], log: Path, **variables: str) -> None:
        """Start a command on a host, until the host is removed; what it prints goes to a file."""
        with log.open("ab") as file:
            command = self.command(host, words)
            self.started.append(
                subprocess.Popen(command, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=file,
                                 stderr=subprocess.STDOUT, start_new_session=True)
            )  # fmt: skip

    def build(self) -> None:
        """Make the hosts and join them."""
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        for host in self.hosts:
            name = self.namespace(host)
            _ip("netns", "add", name)
            _ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", host, "netns", self.switch)
            _ip("-n", self.switch, "link", "set", host, "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")
            # Ray finds out its own address by asking for the way to one far away.
            _ip("-n", name, "route", "add", "default", "dev", "eth0")
        mend(self.switch)

    def remove(self) -> None:
        """End everything on the hosts, and them; what is not there is left alone."""
        there = {line.split()[0] for line in _ip("netns", "list").splitlines()}
        names = [name for name in map(self.namespace, (*self.hosts, "switch")) if name in there]
        for name in names:
            _end([int(pid) for pid in _ip("netns", "pids", name).split()])
        for process in self.started:
            process.wait(GONE_S)
        for name in names:
            _ip("netns", "delete", name)


def cut(switch: str) -> None:
    """Let the kernel drop all that passes the switch in this namespace."""
    _ip("-n", switch, "link", "set", "bridge", "down")


def mend(switch: str) -> None:
    """Let it pass again."""
    _ip("-n", switch, "link", "set", "bridge", "up")


def counted(switch: str) -> dict[str, int]:
    """Bytes that hosts have given to the switch, and that it has given to hosts, as the kernel counts them."""
    links = json.loads(_ip("-n", switch, "-statistics", "-json", "link", "show", "type", "veth"))
    both = [link["stats64"] for link in links]
    return {"offered": sum(one["rx"]["bytes"] for one in both), "passed": sum(one["tx"]["bytes"] for one in both)}


@contextmanager
def network(*hosts: str) -> Iterator[Network]:
    """Hosts for a while; afterwards nothing is left of them, also after a failure half way."""
    made = Network(uuid4().hex[:8], hosts)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def why_not() -> str | None:
    """Why this machine cannot have such hosts; None if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2 (ip)"
    try:
        with network("probe"):
            return None
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _end(pids: Sequence[int]) -> None:
    """Kill processes of our own hosts and wait until the kernel has none of them."""
    deadline_s = time.monotonic() + GONE_S
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    """Whether there is such a process, other than as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

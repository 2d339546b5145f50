"""The engine on NVIDIA FLARE: members of different owners, each with a certificate of its own.

A member is a FLARE client (a "site"). Its process loads our component (`flare_site`), which its owner has in the
site's own configuration. The driver is a cell of the same federation with its own certificate; it is no FLARE process
and starts none, except where it is asked to run a whole federation on one machine.

All messages go through FLARE's server, which relays what it cannot read: FLARE 2.9 sends whatever passes between two
clients through it (`SERVER_TRANSIT_REQUIRED`, nvflare/fuel/sec/authn.py), also where `allow_adhoc_conns` is set.

We do not use FLARE's jobs or its Collab calls, which run inside jobs: a job brings code of whoever sends it, and a
site that has lost its process does not come back into a job that runs. See docs/federation.md.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from orbitune.engine.calls import check_name, pack
from orbitune.engine.flare_calls import Calls
from orbitune.engine.flare_kits import ANY, check_installed, keep_inside, provision
from orbitune.engine.flare_processes import end, free_port, last_lines, start, wait_for_port
from orbitune.engine.protocol import DRIVER, Header, Reply, TimedOut, Unreachable
from orbitune.errors import RunError

START_S = 90.0
"""How long a process of FLARE may take to start, real seconds. Our choice: twenty times what a quiet machine needs."""


class FlareEngine:
    """Members that are sites of a federation.

    Args:
        workspace: Folder in which a federation on this machine keeps its kits and logs, in a new folder of its own
            until it is closed. None: the system's folder for such things.
        members: Sites to start on this machine at once; others are added when they are placed.
        address: The driver's kit of a federation that its owners run, as `provision` wrote it. Nothing is started
            then, and `workspace` and `members` are not used. None: on this machine.
        factories: Functions which the sites on this machine run besides those of Orbitune, as `flare_site.Site` takes
            them; by default all, since these sites belong to whoever starts them.

    Raises:
        InputError, MissingExtra, RunError: See `provision` and `DriverCell`.
    """

    def __init__(
        self,
        workspace: Path | str | None = None,
        members: Sequence[str] = (),
        address: Path | str | None = None,
        factories: Sequence[str] = (ANY,),
    ) -> None:
        check_installed()
        from orbitune.engine.flare_driver import DriverCell
        from orbitune.engine.flare_link import Link

        self._owner = secrets.token_hex(16)
        self._placed: set[str] = set()
        self._lock = threading.RLock()
        self._closed = False
        self._machine = None if address else _Machine(workspace, members, factories)
        try:
            kit = Path(address or "") if self._machine is None else self._machine.kits[DRIVER]
            self._cell = DriverCell(kit, START_S)
        except BaseException:
            if self._machine is not None:
                self._machine.close()
            raise
        self._calls = Calls(Link(self._cell.core).send, self._has_ended)

    @property
    def kind(self) -> str:
        return "flare"

    @property
    def name(self) -> str:
        return DRIVER

    def place(self, member: str, factory: str, header: Header, body: bytes = b"") -> None:
        check_name(member)
        pack(header, body)
        with self._lock:
            if self._closed:
                raise RunError(f"{member} cannot be placed: the engine is closed")
            if member in self._placed and self.alive(member):
                raise RunError(f"{member} cannot be placed: there is a living member of that name")
            if self._machine is not None:
                self._machine.ensure(member)
            self._placed.add(member)
        what = {"factory": factory, "owner": self._owner, "header": header}
        try:
            self._wait_for(member)
            self._calls.call(member, "site", "place", what, body)
        except RunError as error:
            self._placed.discard(member)
            said = str(error).removeprefix(f"{member}, place: ")
            raise RunError(f"{member} cannot be placed: {factory}: {said}") from error

    def call(
        self, member: str, method: str, header: Header, body: bytes = b"", timeout_s: float | None = None
    ) -> Reply:
        if member not in self._placed:
            raise Unreachable(f"{member} was never placed; there are {', '.join(sorted(self._placed)) or 'none'}")
        return self._calls.call(member, "worker", method, header, body, timeout_s)

    def alive(self, member: str) -> bool:
        if member not in self._placed or self._closed:
            return False
        if self._machine is not None:
            return not self._machine.has_ended(member)
        return self._owner_of(member, 5.0) == self._owner

    def kill(self, member: str) -> None:
        if self._machine is None:
            raise RunError(
                f"{member} belongs to its owner and runs elsewhere; only sites on this machine can be killed"
            )
        self._machine.kill(member)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with contextlib.ExitStack() as ends:
            if self._machine is not None:
                ends.callback(self._machine.close)
            ends.callback(self._cell.close)
            ends.callback(self._calls.close)
            self._leave()

    def _leave(self) -> None:
        """Ask all members to end their workers, together."""
        leaving = [threading.Thread(target=self._ask_to_leave, args=(member,)) for member in sorted(self._placed)]
        for thread in leaving:
            thread.start()
        for thread in leaving:
            thread.join()

    def _ask_to_leave(self, member: str) -> None:
        with contextlib.suppress(RunError):  # gone, or it does not answer
            if not self._has_ended(member):
                self._calls.call(member, "site", "leave", {}, timeout_s=10.0)

    def _wait_for(self, member: str) -> None:
        """Wait until a site is in the federation.

        Raises:
            RunError: It does not come.
        """
        end_s = time.monotonic() + START_S
        while self._owner_of(member, 1.0) is None:
            if self._has_ended(member) or time.monotonic() > end_s:
                said = "" if self._machine is None else ": " + self._machine.printed(member)
                raise RunError(f"its site does not join the federation{said}")
            time.sleep(0.1)

    def _owner_of(self, member: str, timeout_s: float) -> str | None:
        """Whose worker a site has, "" for nobody's; None where the site does not answer."""
        try:
            return str(self._calls.call(member, "site", "here", {}, timeout_s=timeout_s).header["owner"])
        except (Unreachable, TimedOut):
            return None

    def _has_ended(self, member: str) -> bool:
        return self._machine is not None and self._machine.has_ended(member)


class _Machine:
    """A federation on this machine: its kits and processes."""

    def __init__(self, workspace: Path | str | None, members: Sequence[str], factories: Sequence[str]) -> None:
        if workspace is not None:
            Path(workspace).mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="federation-", dir=workspace)).resolve()
        self._factories, self._port = factories, free_port()
        self._members = list(members)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self.kits = dict(self._provision(self._members))
            keep_inside(self.kits["server"])
            self._start("server")
            wait_for_port(self._port, self._processes["server"], self.kits["server"] / "printed.txt", START_S)
            for member in self._members:
                self._start(member)
        except BaseException:
            self.close()
            raise

    def _provision(self, members: Sequence[str]) -> dict[str, Path]:
        return dict(provision(members, self._folder, port=self._port, factories=self._factories))

    def _start(self, name: str) -> None:
        self._processes[name] = start(self.kits[name], name)

    def ensure(self, member: str) -> None:
        """Make sure that a member's process runs."""
        if member not in self.kits:
            self._members.append(member)
            self.kits |= self._provision(self._members)
        if self.has_ended(member):
            self._start(member)

    def has_ended(self, member: str) -> bool:
        process = self._processes.get(member)
        return process is None or process.poll() is not None

    def kill(self, member: str) -> None:
        if member in self._processes and member != "server":
            end(self._processes[member])

    def printed(self, member: str) -> str:
        return last_lines(self.kits[member] / "printed.txt")

    def close(self) -> None:
        for process in reversed(self._processes.values()):
            end(process)
        shutil.rmtree(self._folder, ignore_errors=True)

"""The processes of a federation on one machine: FLARE's server and one FLARE client per site, from their kits."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from orbitune.errors import RunError

_MODULES = {"server": "nvflare.private.fed.app.server.server_train"}
_CLIENT = "nvflare.private.fed.app.client.client_train"

TETHER = "ORBITUNE_TETHER"
"""Environment variable: if set, a process ends when its standard input does, so it never outlives its engine."""

END_S = 5.0
"""How long a process may take to end before it is killed, real seconds."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(kit: Path, name: str) -> subprocess.Popen[bytes]:
    """Start the server or a site from its kit; what it prints goes to `kit/printed.txt`.

    It gets our own search path, so that it finds what we find, one thread for arithmetic unless the user says
    otherwise, since the sites share this machine, and it ends when we do.
    """
    which = "server" if name == "server" else "client"
    values = ["secure_train=true", "org=orbitune", "config_folder=config"]
    if which == "client":
        values.insert(1, f"uid={name}")
    module = _MODULES.get(name, _CLIENT)
    command = [sys.executable, "-u", "-m", module, "-m", str(kit), "-s", f"fed_{which}.json", "--set", *values]
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": paths, TETHER: "1", "MALLOC_ARENA_MAX": "2"}
    with (kit / "printed.txt").open("ab") as printed:
        return subprocess.Popen(
            command,
            cwd=kit,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for us to handle
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_S)
    if process.stdin is not None:
        process.stdin.close()


def wait_for_port(port: int, process: subprocess.Popen[bytes], printed: Path, timeout_s: float) -> None:
    """Wait until somebody listens on a port of the loopback.

    Raises:
        RunError: The process ended, or nobody does in time.
    """
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise RunError(f"FLARE's server does not start: {last_lines(printed)}")


def last_lines(printed: Path, count: int = 5) -> str:
    """The end of what a process printed."""
    try:
        lines = printed.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return " | ".join(lines[-count:]) or f"it printed nothing into {printed}"

"""What of everything optional is there, and what this machine has to offer. Looks only: imports and changes nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

State = Literal["ok", "missing", "old", "other"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    """ "old": below the oldest release that was tried; "other": not the one release that is asked for."""
    version: str
    """Or how much there is of it; empty where it is missing."""
    purpose: str
    remedy: str
    """How to get it, also where it is there."""
    needed: bool = False
    """Whether nothing at all works without it."""


OPTIONAL = (
    ("torch", "train", "training, and the members of a real run"),
    ("safetensors", "train", "weights in files and between members"),
    ("pillow", "train", "PNG and JPEG images"),
    ("transformers", "models", "models of Hugging Face"),
    ("peft", "models", "low-rank adapters in those models"),
    ("timm", "timm", "models of timm"),
    ("ray", "ray", "sweeps and real runs on the hosts of a cluster"),
    ("nvflare", "flare", "real runs among owners who authenticate each other"),
    ("numba", "fast", "passes of large constellations"),
    ("itur", "itu", "rain, clouds and gases over each station"),
    ("rasterio", "geotiff", "folders of GeoTIFF images"),
)
"""Distribution, the extra of Orbitune that brings it, and what for."""

OLDEST_PYTHON = (3, 11)
"""tomllib in the standard library, see pyproject.toml."""

LEAST_BYTES = 10**9
"""Our choice: one member with torch loaded (0.3 GB), a driver, and the 0.4 GB of a Ray cluster without members."""


def findings() -> list[Finding]:
    """Everything that was looked at: Python, packages, machine."""
    packages = [_package(name, extra, purpose) for name, extra, purpose in OPTIONAL]
    return [_python(), *packages, _cores(), _memory(), _disk(), _namespaces(), _loopback()]


def _python() -> Finding:
    state: State = "ok" if sys.version_info >= OLDEST_PYTHON else "old"
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Finding("python", state, platform.python_version(), "everything", f"Python {oldest} or newer", needed=True)


def _package(name: str, extra: str, purpose: str) -> Finding:
    remedy = f"pip install 'orbitune[{extra}]'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "", purpose, remedy)
    return Finding(name, _judged(version, *_wanted(name, extra)), version, purpose, remedy)


def _wanted(name: str, extra: str) -> tuple[str, str]:
    """The relation and the release that Orbitune's own metadata ask for; any where it is not installed itself."""
    try:
        requirements = metadata.requires("orbitune") or []
    except metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        found = re.match(rf"{re.escape(name)}\s*(>=|==)\s*([\d.]+)", requirement, re.IGNORECASE)
        if found and re.search(rf"""extra\s*==\s*["']{extra}["']""", requirement):
            return found[1], found[2]
    return ">=", "0"


def _judged(version: str, relation: str, wanted: str) -> State:
    """The state of an installed release beside the wanted one."""
    if relation == "==":
        return "ok" if _numbers(version) == _numbers(wanted) else "other"
    return "ok" if _numbers(version) >= _numbers(wanted) else "old"


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers without final zeros: 2.13.0+cpu is (2, 13)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding(
        "cores", "ok", str(usable), "members of a real run that compute at once", "a larger machine, or more"
    )


def _memory() -> Finding:
    """What can be had without swapping, as Linux estimates it; all there is on other systems."""
    purpose, remedy = "members of a real run", "a larger machine, or fewer members"
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding("memory", _enough(free), _gigabytes(free), purpose, remedy)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding("disk here", _enough(free), _gigabytes(free), "run folders and checkpoints", "another folder")


def _enough(free: int) -> State:
    return "ok" if free >= LEAST_BYTES else "missing"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _namespaces() -> Finding:
    """A namespace of its own for a process that does nothing; it is gone with it."""
    purpose, remedy = "several hosts on one machine, in tests", "Linux, apt-get install iproute2 util-linux, as root"
    tried = ["unshare", "--net", "true"]
    there = all(map(shutil.which, ("ip", "unshare"))) and subprocess.run(tried, capture_output=True).returncode == 0
    return Finding("network namespaces", "ok" if there else "missing", "", purpose, remedy)


def _loopback() -> Finding:
    purpose, remedy = "engines on this machine", "ip link set lo up"
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=1.0).close()
    except OSError:
        return Finding("loopback", "missing", "", purpose, remedy)
    return Finding("loopback", "ok", "127.0.0.1", purpose, remedy)

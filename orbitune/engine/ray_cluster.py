"""A Ray cluster (https://docs.ray.io) to work on: one of this machine that ends with us, or an existing one."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from orbitune.errors import MissingExtra, RunError

REACHABLE_S = 5.0
"""Our choice: a head that does not take a connection in this time is not there."""

LOOPBACK = "127.0.0.1"

VARIABLES = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment of every actor: one thread for sums, so that they come out alike and processes do not wait for others."""


@dataclass(frozen=True)
class Cluster:
    """Ray, connected."""

    ray: Any
    folder: str | None
    """Of the cluster that was started here; None where it was there before."""

    def close(self) -> None:
        """End what was started here, or only leave."""
        try:
            self.ray.shutdown()
        finally:
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)


def load_ray() -> Any:
    """The module.

    Raises:
        MissingExtra: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before it is imported: nothing is told to anybody
    # Ray makes its workers give way to everything else on the machine (nice 15); real runs have a pace to keep.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        with _no_cluster_unasked():
            return import_module("ray")
    except ImportError:
        raise MissingExtra(
            "the engine ray needs Ray: pip install 'orbitune[ray]', or choose the engine local, which needs nothing"
        ) from None


AUTO_CONNECT = "RAY_ENABLE_AUTO_CONNECT"


@contextmanager
def _no_cluster_unasked() -> Iterator[None]:
    """Import Ray so that a request without a cluster is an error: by default it starts a new cluster, and when that is
    gone in its turn, Ray ends the process.

    Ray reads the switch once, while it is imported (ray/_private/auto_init_hook.py, of 2.60). So a program that has
    imported Ray before us, or has set the switch itself, keeps what it has. One that imports Ray after us and calls no
    ray.init() gets Ray's own error, which says to call it. Processes that this one starts do not inherit the switch.
    """
    if AUTO_CONNECT in os.environ:
        yield
        return
    os.environ[AUTO_CONNECT] = "0"
    try:
        yield
    finally:
        os.environ.pop(AUTO_CONNECT, None)


def connect(address: str | None, processors: int, namespace: str | None = None) -> Cluster:
    """Connect this process to a cluster; there is one connection for each process.

    Args:
        address: HOST:PORT of a cluster's head, or ray://HOST:PORT; None starts one on this machine.
        processors: That a cluster of this machine shall offer; actors that ask for none need none.
        namespace: In which names of actors are looked up.

    Raises:
        MissingExtra: Ray is not installed.
        RunError: The cluster cannot be reached or started, or this process is in one already.
    """
    ray = load_ray()
    if ray.is_initialized():
        raise RunError("this process is connected to a Ray cluster already; close what uses it, or call ray.shutdown()")
    if address:
        check_reachable(address)
        with _only_loopback() if address.startswith(f"{LOOPBACK}:") else nullcontext():
            _init(ray, address, namespace=namespace)
        return Cluster(ray, None)
    folder = tempfile.mkdtemp(prefix="orbitune-ray-")  # not the usual one, where a dead cluster's address may lie
    cluster = Cluster(ray, folder)
    try:
        with _only_loopback():
            _init(ray, "local", namespace=namespace, num_cpus=processors, include_dashboard=False, _temp_dir=folder)
        _check_loopback(ray)
    except BaseException:
        cluster.close()
        raise
    return cluster


@contextmanager
def _only_loopback() -> Iterator[None]:
    """Let a cluster of one machine stay on its loopback on Linux too, as it does on other systems.

    Ray turns an address of the loopback into another before it uses it, but for this switch, which it reads from the
    environment while it is imported (ray/_private/services.py, get_node_ip_address, of 2.60); somebody else may have
    imported it before.
    """
    constants: Any = import_module("ray._private.ray_constants")
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def _init(ray: Any, address: str, **options: Any) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **options)
    except (OSError, RuntimeError, ValueError) as error:
        place = "on this machine" if address == "local" else f"at {address}"
        raise RunError(f"cannot use a Ray cluster {place}: {error}") from error


def _check_loopback(ray: Any) -> None:
    found = ray.util.get_node_ip_address()
    if found != LOOPBACK:
        raise RunError(
            f"Ray {ray.__version__} listens on {found} instead of the loopback, and was stopped; "
            "use another release of it, or start a cluster yourself (ray start --head) and give its address"
        )


def check_reachable(address: str) -> None:
    """Try the address once; Ray itself tries in vain for minutes.

    Raises:
        RunError: It is no address, or nothing answers there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        raise RunError(f"--address {address!r}: write HOST:PORT of the cluster's head, or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=REACHABLE_S).close()
    except OSError as error:
        raise RunError(f"no Ray cluster answers at {address}: {error}; start one, or leave --address away") from error

"""The same workers as actors of a Ray cluster (https://docs.ray.io): one started for the sweep, or an existing one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from orbitune.errors import MissingExtra, OrbituneError, RunError
from orbitune.sweep.crew import THREADS
from orbitune.sweep.grid import Point
from orbitune.sweep.request import Request
from orbitune.sweep.work import Worker

REACHABLE_S = 5.0
"""Our choice: a head that does not take a connection in this time is not there."""


class RayCrew:
    """Actors of a cluster, each with one processor."""

    def __init__(self, ray: Any, actors: list[Any]) -> None:
        self._ray, self._actors = ray, actors
        self._running: dict[Any, tuple[int, Point]] = {}

    def give(self, worker: int, point: Point) -> None:
        """Let an idle actor begin a point."""
        self._running[self._actors[worker].line.remote(point)] = worker, point

    def take(self) -> tuple[int, str]:
        """The next line.

        Raises:
            OrbituneError: As the worker raised it.
            RunError: An actor or its machine died.
        """
        (ready,), _ = self._ray.wait(list(self._running), num_returns=1)
        worker, point = self._running.pop(ready)
        try:
            return worker, self._ray.get(ready)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OrbituneError):
                raise error.cause from None
            raise RuntimeError(f"{point.words} failed:\n{error}") from None
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0]
            raise RunError(f"a Ray worker ended at {point.words}: {first}") from None


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before it is imported: nothing of a sweep is told to anybody
    try:
        ray = import_module("ray")
    except ImportError:
        raise MissingExtra(
            "--engine ray needs Ray: install orbitune[ray], or leave --engine away to use processes of this machine"
        ) from None
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself tries an address in vain for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        raise RunError(f"--address {address!r}: write HOST:PORT of the cluster's head, or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=REACHABLE_S).close()
    except OSError as error:
        raise RunError(f"no Ray cluster answers at {address}: {error}; start one, or leave --address away") from error


@contextmanager
def ray_crew(request: Request, workers: int, runs: Path, address: str | None) -> Iterator[RayCrew]:
    """That many actors on the cluster at `address`, or on one of this machine that is stopped at the end.

    Raises:
        MissingExtra: Ray is not installed.
        RunError: The cluster cannot be reached, or has fewer processors than workers.
    """
    ray = _ray()
    if address:
        _check_reachable(address)
    variables = dict.fromkeys(THREADS, "1") | {"RAY_USAGE_STATS_ENABLED": "0"}
    own = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error",
                 runtime_env={"env_vars": variables}, **own)  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"cannot use the Ray cluster at {address or 'this machine'}: {error}") from error
    actors: list[Any] = []
    try:
        if (there := int(ray.cluster_resources().get("CPU", 0))) < workers:
            raise RunError(f"the Ray cluster has {there} processors, --workers {workers} asks for more; ask for fewer")
        actor = ray.remote(num_cpus=1)(Worker)
        actors += [actor.remote(request, runs) for _ in range(workers)]
        yield RayCrew(ray, actors)
    finally:
        for one in actors:
            ray.kill(one)
        ray.shutdown()

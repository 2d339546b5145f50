"""The same workers as actors of a Ray cluster (https://docs.ray.io): one started for the sweep, or an existing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orbitune.engine.ray_cluster import VARIABLES, connect
from orbitune.errors import OrbituneError, RunError
from orbitune.sweep.grid import Point
from orbitune.sweep.request import Request
from orbitune.sweep.work import Worker


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


@contextmanager
def ray_crew(request: Request, workers: int, runs: Path, address: str | None) -> Iterator[RayCrew]:
    """That many actors on the cluster at `address`, or on one of this machine that is stopped at the end.

    Raises:
        MissingExtra: Ray is not installed.
        RunError: The cluster cannot be reached, or has fewer processors than workers.
    """
    cluster = connect(address, processors=workers)
    ray = cluster.ray
    actors: list[Any] = []
    try:
        if (there := int(ray.cluster_resources().get("CPU", 0))) < workers:
            raise RunError(f"the Ray cluster has {there} processors, --workers {workers} asks for more; ask for fewer")
        actor = ray.remote(num_cpus=1, runtime_env={"env_vars": VARIABLES})(Worker)
        actors += [actor.remote(request, runs) for _ in range(workers)]
        yield RayCrew(ray, actors)
    finally:
        for one in actors:
            ray.kill(one)
        cluster.close()

"""Which workers trainings are spread over: how many, where, with a GPU or without."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbitune.engine import make_engine
from orbitune.engine.ray_cluster import check_reachable, connect, load_ray
from orbitune.errors import InputError, RunError

if TYPE_CHECKING:
    from orbitune.learn.spread_crew import Crew

ENGINES = ("local", "ray")

TO_START_S = 300.0
"""How long a worker may take to start. Our choice: PyTorch from a cluster's shared disk, by all hosts at once, took
others minutes; nobody waits longer than it takes."""


@dataclass(frozen=True)
class Workers:
    """Where trainings are done: "local" in processes of this machine, each a training at a time, or on a Ray cluster.

    `count` 0 takes every processor of the machine; of a cluster, every GPU, or every processor where it has none.

    Raises:
        InputError: Another engine, a number below 0, or an address without Ray.
    """

    engine: str = "local"
    count: int = 0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES or self.count < 0:
            raise InputError(
                f"engine {self.engine!r} with {self.count} workers: there are {', '.join(ENGINES)}, 0 or more"
            )
        if self.address and self.engine != "ray":
            raise InputError("--address is that of a Ray cluster; add --engine ray")

    def check(self) -> None:
        """Look whether they can be had, before anything else is done.

        Raises:
            MissingExtra: Ray is not installed.
            RunError: No cluster is at the address.
        """
        if self.engine == "ray":
            load_ray()
            if self.address:
                check_reachable(self.address)

    def crew(self) -> Crew:
        """The workers on Ray, ready for work: on the cluster at `address`, or on one of this machine that ends with
        them.

        Raises:
            MissingExtra: Ray is not installed.
            RunError: The cluster cannot be reached, or is too small.
        """
        from orbitune.learn.spread_crew import Crew

        assert self.engine == "ray", self.engine
        there = self._offered()
        gpus, processors = int(there.get("GPU", 0)), int(there.get("CPU", 0))
        count = self.count or gpus or processors
        each = share_of(count, gpus, processors)
        members = [f"worker-{number}" for number in range(count)]
        resources = dict.fromkeys(members, each) if self.address or gpus else {}
        engine = make_engine("ray", address=self.address, time_to_start_s=TO_START_S, resources=resources)
        return Crew(engine, members, gpu=gpus > 0)

    def _offered(self) -> Mapping[str, float]:
        """What the cluster has, in Ray's words."""
        if self.address is None:
            return {"CPU": float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)} | own_gpus()
        cluster = connect(self.address, processors=0)
        try:
            return dict(cluster.ray.cluster_resources())
        finally:
            cluster.close()


def own_gpus() -> dict[str, float]:
    """GPUs of this machine that PyTorch can use."""
    import torch

    return {"GPU": float(torch.cuda.device_count())}


def share_of(count: int, gpus: int, processors: int) -> dict[str, float]:
    """What each of so many workers gets: all a GPU, several of them one where there are more, or each a processor.

    Raises:
        RunError: There are none, or more workers than processors.
    """
    if count == 0:
        raise RunError(
            f"the Ray cluster has {gpus} GPUs and {processors} processors, so there is nowhere to train; "
            "start it with some (ray start --num-cpus 4), or leave --address away"
        )
    if gpus:
        return {"GPU": 1 / -(-count // gpus)}
    if count > processors:
        raise RunError(f"the Ray cluster has {processors} processors, --workers {count} asks for more; ask for fewer")
    return {"CPU": 1.0}

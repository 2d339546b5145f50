"""Which satellites host the encoder: its blocks cut into contiguous stages, each stage on a satellite of every plane.

The stages are the same in every plane, so that all samples meet the same cuts. They are cut by dynamic programming so
that the slowest stage is as quick as can be (as PipeDream cuts networks for equal workers: Narayanan et al., SOSP
2019), among the cuts that take no more memory per host than the best cut with one host less. Of the satellites of a
plane those host them which, in this order, compute fastest, have the shortest ways around the ring, and come first in
it. One stage is the compute satellite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from math import inf

from orbitune.errors import PlanError
from orbitune.methods.base import Job
from orbitune.model.partition import forward_flops, largest_activation, saved_bytes
from orbitune.model.profile import PartProfile

Parts = tuple[PartProfile, ...]


@dataclass(frozen=True)
class Pipeline:
    """The encoder of one plane: `hosts[k]` runs stage k. `ring` lists all satellites of the plane in ring order."""

    ring: tuple[int, ...]
    hosts: tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    """The stages of the encoder, first to last, and the pipeline of each plane."""

    stages: tuple[Parts, ...]
    pipelines: tuple[Pipeline, ...]

    def of(self, satellite: int) -> Pipeline:
        """The pipeline that a satellite's samples go through."""
        return next(pipeline for pipeline in self.pipelines if satellite in pipeline.ring)

    def stages_on(self, satellite: int) -> Parts:
        """The blocks that a satellite hosts; none for most."""
        hosts = self.of(satellite).hosts
        return self.stages[hosts.index(satellite)] if satellite in hosts else ()

    @property
    def num_stages(self) -> int:
        return len(self.stages)

    def cuts(self, job: Job) -> tuple[int, ...]:
        """Block numbers after `model.cut_after_block` at which the encoder passes from host to host, for learning."""
        sizes = [len(stage) for stage in self.stages[:-1]]
        return tuple(job.partition.cut + sum(sizes[: number + 1]) for number in range(len(sizes)))


def place(job: Job, hosts: int) -> Placement:
    """Cut the encoder into stages and find hosts.

    Args:
        job: What is to be trained, and where.
        hosts: Stages wanted; 0: as many as every plane has satellites and the encoder has blocks.

    Raises:
        PlanError: A plane has fewer satellites, or the encoder fewer blocks.
    """
    planes = job.system.nodes.planes
    most = min(*(len(plane) for plane in planes), len(_units(job)))
    if not 0 <= hosts <= most:
        raise PlanError(
            f"method.pipeline_hosts = {hosts}: the smallest plane has {min(map(len, planes))} satellites and the "
            f"encoder behind the cut has {len(_units(job))} blocks; allowed are 0 (as many as possible) to {most}"
        )
    stages = stages_of(job, hosts or most)
    return Placement(stages, tuple(Pipeline(plane, _hosts(job, plane, stages)) for plane in planes))


# -- stages ----------------------------------------------------------------------------------------------------------


def stages_of(job: Job, count: int) -> tuple[Parts, ...]:
    """The encoder behind the cut in `count` stages; more stages never take more memory for the largest."""
    units, system = _units(job), job.system
    memory_bytes = min(system.computer(satellite).memory_bytes for satellite in system.nodes.satellites)
    limit = memory_bytes - job.training_memory(job.partition.front)

    def join(edges: Sequence[int]) -> tuple[Parts, ...]:
        return tuple(sum(units[first:last], ()) for first, last in pairwise(edges))

    @cache
    def memory(first: int, last: int) -> float:
        return stage_memory(job, sum(units[first:last], ()))

    flops = list(accumulate((_flops(job, unit) for unit in units), initial=0.0))
    best, most = [0, len(units)], memory(0, len(units))
    for number in range(2, count + 1):
        best = _cut(flops, memory, number, min(most, limit)) or _cut(flops, memory, number, most)
        most = max(memory(first, last) for first, last in pairwise(best))
    return join(best)


def stage_memory(job: Job, stage: Parts) -> float:
    """Bytes that a stage takes on its host for the batches of the plane with the largest: weights, gradients and
    optimiser state, and all activations until the gradients come back (frozen: those of one satellite's batch)."""
    trains = job.trains != "head"
    plane = max(sum(job.batch[member] for member in ring) for ring in job.system.nodes.planes)
    each = saved_bytes(stage) * plane if trains else largest_activation(stage) * max(job.batch)
    return stage_weights(job, stage, max(len(ring) for ring in job.system.nodes.planes)) + each


def stage_weights(job: Job, stage: Parts, satellites: int) -> float:
    """Weights, gradients and optimiser state of a stage in bytes; `per_client` has a copy for each satellite."""
    copies = satellites if job.trains != "head" and job.server_encoder == "per_client" else 1
    return job.training_memory(stage, copies=copies) - job.training_memory((), copies=copies)


def _units(job: Job) -> list[Parts]:
    """What is not cut: the blocks behind the cut one by one, the final norm and pooling with the last of them."""
    *blocks, final = job.partition.rest
    return [*((block,) for block in blocks[:-1]), (*blocks[-1:], final)]


def _flops(job: Job, parts: Parts) -> float:
    """Work of one sample: forward, and backward where a gradient passes."""
    return forward_flops(parts) + job.backward_flops(parts)


def _cut(flops: Sequence[float], memory: Callable[[int, int], float], count: int, cap: float) -> list[int]:
    """Edges of `count` contiguous stages whose greatest work is least and none of which exceeds `cap`; [] if none.

    `flops[i]` is the work of the first i units.
    """
    size = len(flops) - 1
    best: list[dict[int, tuple[float, list[int]]]] = [{0: (0.0, [0])}]
    for number in range(1, count + 1):
        row: dict[int, tuple[float, list[int]]] = {}
        for last in range(number, size - count + number + 1):
            for first, (most, edges) in best[-1].items():
                if first < last and memory(first, last) <= cap:
                    found = max(most, flops[last] - flops[first])
                    if found < row.get(last, (inf, []))[0]:
                        row[last] = (found, [*edges, last])
        best.append(row)
    return best[-1].get(size, (inf, []))[1]


# -- hosts -----------------------------------------------------------------------------------------------------------


def _hosts(job: Job, plane: tuple[int, ...], stages: tuple[Parts, ...]) -> tuple[int, ...]:
    """The best run of neighbours; where links are missing for good, one that does without them."""
    linked = _linked(job, plane)
    flops = [_flops(job, stage) for stage in stages]

    def cost(hosts: tuple[int, ...]) -> tuple[float, float, float]:
        slowest_s = max(work / job.system.computer(host).flops_per_s for work, host in zip(flops, hosts, strict=True))
        first, last = _hops(plane, linked, hosts[0]), _hops(plane, linked, hosts[-1])
        ways = [first[member] + last[member] for member in plane]
        weighed = sum(way * job.batch[member] for way, member in zip(ways, plane, strict=True))
        return slowest_s, weighed, max(ways)

    return min(_runs(plane, linked, len(stages)), key=cost, default=plane[: len(stages)])


def _runs(plane: tuple[int, ...], linked: Sequence[bool], count: int) -> Iterator[tuple[int, ...]]:
    """All runs of `count` neighbours, both ways round."""
    size = len(plane)
    for start in range(size):
        run = tuple(plane[(start + step) % size] for step in range(count))
        if all(linked[(start + step) % size] for step in range(count - 1)):
            yield run
            if count > 1:
                yield run[::-1]


def _linked(job: Job, plane: tuple[int, ...]) -> list[bool]:
    """Whether each satellite of a plane and the next one are ever linked, both ways."""
    links = job.system.contacts.by_link
    pairs = zip(plane, plane[1:] + plane[:1], strict=True)
    return [(one, two) in links and (two, one) in links for one, two in pairs]


def _hops(plane: tuple[int, ...], linked: Sequence[bool], root: int) -> dict[int, float]:
    """Hops from a satellite to each of its plane, the shorter way round."""
    size, at = len(plane), plane.index(root)
    hops: dict[int, float] = dict.fromkeys(plane, inf) | {root: 0.0}
    for heading in (1, -1):
        for step in range(1, size):
            here = (at + heading * step) % size
            if not linked[here if heading < 0 else here - 1]:
                break
            hops[plane[here]] = min(hops[plane[here]], float(step))
    return hops

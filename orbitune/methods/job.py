"""The `Job`: everything that a method needs to plan a training run, and what the run costs by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from orbitune.cost.system import System
from orbitune.cost.transfer import update_bytes, wire_bytes
from orbitune.errors import PlanError
from orbitune.methods.cache import CACHES, FirstUses, why_not
from orbitune.model.partition import OPTIMIZER_COPIES, TRAINS, Partition, adapter_bytes, params_bytes
from orbitune.model.profile import FP32_BYTES, PartProfile


@dataclass(frozen=True)
class Ways:
    """Which way of each communication strategy is used, and the slot of the flow network in seconds."""

    intra_orbit: str
    satellite_ground: str
    inter_orbit: str
    slot_s: float


@dataclass(frozen=True)
class Job:
    """Everything a method needs to plan a training run, and nothing of where it came from.

    `overlap` changes when things happen, never what is computed or sent.

    Attributes:
        samples: How many samples each satellite holds.
        batch: How many of them make a batch; an optimiser step takes `accumulate` batches, one after the other, so
            that only one of them takes memory.
        cache: One of `cache.CACHES`.
        first_uses: Needed with a cache: for each batch of the run (round, step, batch within the step) and each
            satellite, how many samples are used there for the first time; 0 where it does not take part.
        lora_rank: Of the adapters; read only where trains = "lora". `partition` then has them.
        satellite_cuts: The cut of each satellite, where they differ; empty where all have that of `partition`.
        update_codec: How a contribution to an average is written; other than "fp32" they are summed up on the ground.
        taking_part: By round, the satellites that were drawn; empty where everybody takes part in each.
        label_bytes: Size of one sample's label.
        placement: Where the encoder is: "ground", "compute_satellite" or "plane_pipeline"; for methods that know it.
        staleness: How many averages a contribution may have missed; 0: every round waits for everybody.
        quorum: With staleness, which share of the planes must have arrived for an average, above 0 and at most 1.

    Raises:
        PlanError: The cache would change the numbers, or what trains would lie on both sides of differing cuts.
    """

    system: System
    partition: Partition
    trains: str
    server_encoder: str
    rounds: int
    local_steps: int
    samples: tuple[int, ...]
    batch: tuple[int, ...]
    optimizer: str
    momentum: float
    codec: str
    ways: Ways
    preloaded: bool
    deliver_to: str
    overlap: str = "none"
    cache: str = "none"
    first_uses: tuple[tuple[int, ...], ...] = ()
    lora_rank: int = 8
    satellite_cuts: tuple[int, ...] = ()
    update_codec: str = "fp32"
    accumulate: int = 1
    placement: str = "ground"
    taking_part: tuple[tuple[int, ...], ...] = ()
    label_bytes: int = 1
    staleness: int = 0
    quorum: float = 1.0

    def __post_init__(self) -> None:
        assert self.trains in TRAINS and self.cache in CACHES, (self.trains, self.cache)
        rank = self.lora_rank if self.trains == "lora" else 0
        object.__setattr__(self, "partition", replace(self.partition, lora_rank=rank))
        assert len(self.satellite_cuts) in (0, self.system.nodes.num_satellites), "one cut for each satellite"
        fronts = {self.trained_bytes(partition.front) for partition in self.partitions}
        if len(fronts) > 1:
            raise PlanError(
                f"model.satellite_cuts with train.trains = '{self.trains}': blocks between the cuts "
                f"{min(self.satellite_cuts)} and {max(self.satellite_cuts)} would train on some satellites and, for "
                "others, on the server; give all satellites the same cut, or use train.trains = 'head'"
            )
        reason = why_not(self.cache, self.trains, max(fronts) > 0)
        if reason:
            raise PlanError(reason)
        batches = self.rounds * self.local_steps * self.accumulate
        assert self.cache == "none" or len(self.first_uses) >= batches, f"first uses of {batches} batches"

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """The cut model as each satellite has it."""
        satellites = self.system.nodes.num_satellites
        if not self.satellite_cuts:
            return (self.partition,) * satellites
        cuts = {cut: replace(self.partition, cut=cut) for cut in self.satellite_cuts}
        return tuple(cuts[cut] for cut in self.satellite_cuts)

    @cached_property
    def deepest(self) -> Partition:
        """The partition with the most blocks on board; what is sent to every satellite holds the front of each."""
        return max(self.partitions, key=lambda partition: partition.cut)

    @cached_property
    def shallowest(self) -> Partition:
        """The partition with the fewest blocks on board; its rest is what the server must have."""
        return min(self.partitions, key=lambda partition: partition.cut)

    @cached_property
    def uses(self) -> FirstUses:
        """When samples are used for the first time."""
        return FirstUses(self.first_uses)

    def members(self, index: int) -> frozenset[int]:
        """The satellites that take part in a round."""
        return frozenset(self.taking_part[index] if self.taking_part else self.system.nodes.satellites)

    def receivers(self, index: int) -> tuple[tuple[int, ...], ...]:
        """Rings that nobody was drawn from in a round, and that need its average: for the next round, or at the end."""
        if not self.taking_part:
            return ()
        last = index == self.rounds - 1
        wanted = frozenset(self.system.nodes.satellites) if last else self.members(index + 1)
        return tuple(
            ring for ring in self.rings if self.members(index).isdisjoint(ring) and not wanted.isdisjoint(ring)
        )

    @property
    def has_rings(self) -> bool:
        """Whether satellites of a plane work together over their ring."""
        return self.ways.intra_orbit != "none"

    @cached_property
    def rings(self) -> tuple[tuple[int, ...], ...]:
        """The groups that average over their own links: the planes, or each satellite alone."""
        nodes = self.system.nodes
        return nodes.planes if self.has_rings else tuple((satellite,) for satellite in nodes.satellites)

    @cached_property
    def pools(self) -> tuple[tuple[int, ...], ...]:
        """The groups whose members can send each other's data to the ground; `direct` leaves everyone alone."""
        if self.ways.satellite_ground == "direct":
            return tuple((satellite,) for satellite in self.system.nodes.satellites)
        return self.rings

    @property
    def wire_bytes(self) -> float:
        """Bytes of one sample's activations at the cut, as they cross."""
        return wire_bytes(self.partition.wire_shape, self.codec)

    @cached_property
    def cut_bytes(self) -> tuple[float, ...]:
        """The same at the cut of each satellite."""
        return tuple(wire_bytes(partition.wire_shape, self.codec) for partition in self.partitions)

    @cached_property
    def feature_bytes(self) -> float:
        """Bytes of one sample's features, as they cross."""
        return wire_bytes(self.partition.profile.feature_shape, self.codec)

    def trained(self, parts: tuple[PartProfile, ...]) -> tuple[PartProfile, ...]:
        """Those of `parts` in which something trains: their weights, or the adapters in them."""
        if self.trains == "head":
            return ()
        if self.trains == "lora":
            return tuple(part for part in parts if part.adapter_bytes)
        return tuple(part for part in parts if self.trains == "full" or part is not self.partition.profile.embedding)

    def trained_bytes(self, parts: tuple[PartProfile, ...]) -> float:
        """What trains in the parts, fp32: their weights, or only the adapters."""
        return adapter_bytes(parts) if self.trains == "lora" else params_bytes(self.trained(parts))

    def contribution_bytes(self, parts: tuple[PartProfile, ...]) -> float:
        """What a satellite sends of the head and of what trains in the parts, under `update_codec`.

        A profile does not know how the weights of a part are cut into tensors, which int8 (a scale per row) and top-k
        (places) depend on: a part counts as matrices as wide as its tokens and at most four times as long, like those
        of a Vision Transformer; adapters as their two factors, half of `linear_dims` each. Exact for the head and for
        fp32, fp16 and bf16; of galileo-nano's own tensors within 1 % for int8 and 4 % for top-k.
        """
        head, rank = self.partition.head, self.lora_rank
        shapes: list[tuple[int, ...]] = [(head.num_classes, head.feature_width), (head.num_classes,)]
        for part in self.trained(parts):
            if self.trains == "lora":
                dims = round(part.linear_dims)
                shapes += [(rank, dims // 2), (dims - dims // 2, rank)]
            else:
                width = part.shape[-1]
                rows = ceil(part.params_bytes / FP32_BYTES / width)
                shapes += [(min(4 * width, rows - first), width) for first in range(0, rows, 4 * width)]
        return update_bytes(shapes, self.update_codec)

    def backward_flops(self, parts: tuple[PartProfile, ...]) -> float:
        """Backward FLOPs of one sample through the parts; a gradient never goes into a frozen embedding."""
        if self.trains == "head":
            return 0.0
        trained = self.trained(parts)
        first = 0 if self.trains == "full" or parts[0] is not self.partition.profile.embedding else 1
        return sum(
            part.flops_backward if any(part is other for other in trained) else part.input_backward_flops
            for part in parts[first:]
        )

    @property
    def head_flops(self) -> float:
        """Training FLOPs of the head for one sample."""
        head = self.partition.head
        return head.flops_forward + head.flops_backward(input_trains=self.trains != "head")

    def training_memory(self, parts: tuple[PartProfile, ...], copies: int = 1) -> float:
        """Weights, gradients and optimiser state of the parts and the head, in bytes, without activations.

        Each of several copies has weights and optimiser state of its own; gradients are made for one after the other.
        """
        trained = self.trained_bytes(parts) + self.partition.head.params_bytes
        frozen = params_bytes(parts) - self.trained_bytes(parts)
        state = OPTIMIZER_COPIES[self.optimizer] + (self.momentum > 0)
        return frozen + trained * (copies * (1 + state) + 1)

    def require_memory(self, node: int, needed: float, what: str) -> float:
        """Return `needed`, or refuse with numbers where it exceeds the node's memory."""
        memory = self.system.computer(node).memory_bytes
        if needed > memory:
            name = self.system.nodes.name(node)
            side = "server" if node == self.system.nodes.server else "satellite"
            raise PlanError(
                f"{what} needs {needed / 1e9:.2f} GB on {name}, which has {side}.memory_gb = {memory / 1e9:g}; use a "
                f"smaller train.batch_size, train less (train.trains), or move the cut (model.cut_after_block)"
            )
        return needed

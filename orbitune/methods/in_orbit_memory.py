"""What satellites hold in memory while an exchange runs with the encoder in orbit.

Every satellite has its own blocks and the head; a host has its stage beside them. Where the activations of all samples
of the plane do not fit on a host until the gradients come back, it keeps what reached it and computes again (Chen et
al., arXiv:1604.06174): one more forward pass.
"""

from __future__ import annotations

from functools import cached_property

from orbitune.methods.base import Job
from orbitune.methods.exchange import Exchange
from orbitune.methods.in_orbit_hosts import Placement, stage_weights
from orbitune.methods.in_orbit_tensors import Chunk, Tensors
from orbitune.model.partition import largest_activation, saved_bytes


class Memory:
    """The memory of all satellites in one exchange. `kept[i]`: samples whose activations host i keeps."""

    def __init__(self, job: Job, placement: Placement, tensors: Tensors) -> None:
        self.job, self.placement, self.tensors = job, placement, tensors
        self.exchange: Exchange = tensors.exchange
        self.kept = dict.fromkeys(self._hosts, 0)

    @property
    def _hosts(self) -> list[int]:
        return [host for pipeline in self.placement.pipelines for host in pipeline.hosts]

    @cached_property
    def recomputing(self) -> frozenset[int]:
        """Hosts too small to keep all activations until the gradients come back."""
        if not self.exchange.rest_trains:
            return frozenset()
        return frozenset(host for host in self._hosts if self._all_kept(host) > self._bytes_of(host))

    def _all_kept(self, host: int) -> float:
        activations = saved_bytes(self.placement.stages_on(host)) * self._through(host)
        return self._resident(host) + activations + self._buffered(host)

    def _bytes_of(self, node: int) -> float:
        return self.job.system.computer(node).memory_bytes

    def on_board(self, satellite: int, stage: str) -> float:
        """Memory of a satellite's work on its own samples beside what it hosts, its whole batch at once."""
        needed = self.exchange.memory_on_board(satellite, stage) + self._stage_bytes(satellite)
        return self.job.require_memory(satellite, needed + self._kept_bytes(satellite), stage)

    def forward(self, host: int, chunk: Chunk) -> float:
        """Memory of a stage while a micro-batch goes through it; its activations may be kept from then on."""
        stage = self.placement.stages_on(host)
        working = self._input_bytes(host) * chunk.samples
        if self.exchange.rest_trains and host not in self.recomputing:
            self.kept[host] += chunk.samples
        else:
            working += largest_activation(stage) * chunk.samples
        return self._required(host, working)

    def backward(self, host: int, chunk: Chunk) -> float:
        """Memory of a stage while the gradients of a micro-batch go through it; its activations are free after."""
        working = self.job.feature_bytes * chunk.samples
        if host in self.recomputing:
            working += (saved_bytes(self.placement.stages_on(host)) + self._input_bytes(host)) * chunk.samples
            return self._required(host, working)
        needed = self._required(host, working)
        self.kept[host] -= chunk.samples
        return needed

    def _required(self, host: int, working: float) -> float:
        """Refuse where it does not fit beside what waits for its turn; that is counted where it waits."""
        needed = self._resident(host) + self._kept_bytes(host) + working
        self.job.require_memory(host, needed + self._buffered(host), "hosting encoder blocks in orbit")
        return needed

    def _resident(self, host: int) -> float:
        """Weights, gradients and optimiser state, and the activations of its own blocks where these train."""
        front = self.job.partition.front
        own = saved_bytes(front) * self.exchange.counts[host] if self.exchange.front_trains else 0.0
        return self.job.training_memory(front) + self._stage_bytes(host) + own

    def _stage_bytes(self, node: int) -> float:
        stage = self.placement.stages_on(node)
        return stage_weights(self.job, stage, len(self.placement.of(node).ring)) if stage else 0.0

    def _kept_bytes(self, node: int) -> float:
        return saved_bytes(self.placement.stages_on(node)) * self.kept.get(node, 0)

    def _through(self, host: int) -> int:
        """Samples that pass a host."""
        return sum(self.exchange.encoded[member] for member in self.placement.of(host).ring)

    def _input_bytes(self, host: int) -> float:
        return self.tensors.sizes.inputs[self.placement.of(host).hosts.index(host)]

    def _buffered(self, host: int) -> float:
        """What waits at a host if it comes all at once: inputs at the first, features or their gradients at the last;
        where activations may be computed again, inputs wait at every host. Cached data are among them."""
        hosts, ring = self.placement.of(host).hosts, self.placement.of(host).ring
        waits = host == hosts[0] or self.exchange.rest_trains
        each = waits * self._input_bytes(host) + (host == hosts[-1]) * self.job.feature_bytes
        cached = self.exchange.stock("feature", host).size if self.job.cache == "features" else 0
        if host == hosts[0] and self.job.cache == "embeddings":
            cached += sum(self.exchange.stock("embedding", member).size for member in ring)
        return each * self._through(host) + cached

"""What one exchange costs on the server: FLOPs of the encoder, and the memory that it takes.

Where the activations of all samples do not fit until the gradients come back, the embeddings are kept instead and each
satellite's samples are computed again before their backward pass (Chen et al., arXiv:1604.06174): one pass more.
With `server_encoder = "per_client"` a copy of the encoder for each satellite is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orbitune.methods.base import Job
from orbitune.model.partition import forward_flops, largest_activation, saved_bytes


@dataclass(frozen=True)
class ServerSide:
    """The server's part of an exchange.

    Attributes:
        members: Satellites that take part.
        encoded: Samples of each satellite that the encoder works on.
        stock_bytes: Embeddings that stay on the server for good.
    """

    job: Job
    members: tuple[int, ...]
    encoded: tuple[int, ...]
    stock_bytes: float

    @property
    def trains(self) -> bool:
        """Whether gradients come back to the encoder."""
        return self.job.trains != "head"

    @property
    def _who(self) -> tuple[int, ...]:
        return tuple(satellite for satellite in self.members if self.encoded[satellite])

    def cost(self, forward: bool) -> tuple[float, float, bool]:
        """FLOPs and memory of one pass, and whether activations are computed again."""
        who, again = self._who, self.recomputes and not forward
        each = {s: self.encode_flops(s) if forward else self.rest_backward_flops(s) for s in who}
        held = sum(self.held_bytes(s) * self.encoded[s] for s in who)
        working = max((self.working_bytes(s) * self.encoded[s] for s in who), default=0.0)
        uses_stock = self.keeps_embeddings and (forward or again)
        memory = self.memory(held, working, self.stock_bytes if uses_stock else 0.0)
        return sum(each[s] * self.encoded[s] for s in who), memory, again

    def encode_flops(self, satellite: int) -> float:
        """Encoder forward for one sample of a satellite."""
        return forward_flops(self.job.partitions[satellite].rest)

    def rest_backward_flops(self, satellite: int) -> float:
        """Encoder backward for one sample, its forward pass once more where activations are not kept."""
        again = self.encode_flops(satellite) if self.recomputes else 0.0
        return self.job.backward_flops(self.job.partitions[satellite].rest) + again

    def held_bytes(self, satellite: int) -> float:
        """What the server keeps of one sample until it is done with it: its activations, or its embedding only."""
        if self.keeps_all:
            return saved_bytes(self.job.partitions[satellite].rest)
        return 0.0 if self.keeps_embeddings else self.job.cut_bytes[satellite]

    def working_bytes(self, satellite: int) -> float:
        """What the server needs besides while it works on one sample."""
        rest = self.job.partitions[satellite].rest
        if self.keeps_all:
            return 0.0
        return saved_bytes(rest) if self.trains else largest_activation(rest)

    @property
    def keeps_embeddings(self) -> bool:
        """Whether embeddings stay on the server for good."""
        return self.job.cache == "embeddings"

    @cached_property
    def recomputes(self) -> bool:
        """Whether the server is too small to keep all activations until the gradients come back."""
        kept = sum(saved_bytes(self.job.partitions[s].rest) * self.encoded[s] for s in self.members)
        return self.trains and self._weights + kept + self.stock_bytes > self.job.system.server.memory_bytes

    @cached_property
    def keeps_all(self) -> bool:
        """Whether the server keeps all activations until the gradients come back."""
        return self.trains and not self.recomputes

    @cached_property
    def _weights(self) -> float:
        """Memory that the encoder takes on the server without activations."""
        apart = self.trains and self.job.server_encoder == "per_client"
        return self.job.training_memory(self.job.shallowest.rest, copies=len(self.members) if apart else 1)

    def memory(self, held: float, working: float, stock: float = 0.0) -> float:
        """Memory on the server while so many bytes are held and worked on, and `stock` are used of what stays.

        Refused where it does not fit beside everything that stays.
        """
        needed = self._weights + held + working
        server = self.job.system.nodes.server
        self.job.require_memory(server, needed + self.stock_bytes, "the encoder on the ground")
        return needed + stock

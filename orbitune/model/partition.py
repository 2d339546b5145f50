"""Where the blocks of a model live: the `Partition`, and what each side then costs.

Formulas: a part that trains, or through which a gradient must pass, costs its backward FLOPs too; AdamW keeps two
extra values per trained parameter and plain SGD none (Loshchilov and Hutter, arXiv:1711.05101, algorithm 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orbitune.errors import PlanError
from orbitune.model.profile import ModelProfile, PartProfile

TRAINS = ("head", "lora", "encoder", "full")
"""What is fine-tuned: the head; head and adapters in the blocks; head, blocks and last norm (the embedding stays
frozen); or everything."""

OPTIMIZER_COPIES = {"sgd": 0, "adamw": 2}
"""Extra values kept per trained parameter (momentum counts one more, and is added by the caller)."""


@dataclass(frozen=True)
class Head:
    """A linear task head on the pooled feature."""

    feature_width: int
    num_classes: int

    @property
    def params_bytes(self) -> float:
        """Weight and bias in fp32."""
        return 4.0 * self.num_classes * (self.feature_width + 1)

    @property
    def flops_forward(self) -> float:
        """One matrix-vector product: 2 FLOPs per multiply-add."""
        return 2.0 * self.num_classes * self.feature_width

    def flops_backward(self, input_trains: bool) -> float:
        """Gradient of the weights, and of the input where something before the head trains: a forward pass each."""
        return (1.0 + input_trains) * self.flops_forward


@dataclass(frozen=True)
class Partition:
    """A model cut in two: embedding and the first `cut` blocks in front, the rest behind.

    The front and the head live on every satellite, the rest on the ground server. A method that keeps everything on
    board uses the same object and adds both sides. With a `lora_rank` above 0 every block has adapters of that rank.
    """

    profile: ModelProfile
    head: Head
    cut: int
    lora_rank: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.cut <= len(self.profile.blocks):
            raise PlanError(
                f"model.cut_after_block = {self.cut}: {self.profile.name} has {len(self.profile.blocks)} blocks; "
                f"allowed are 0 (after the embedding) to {len(self.profile.blocks)}"
            )

    @cached_property
    def blocks(self) -> tuple[PartProfile, ...]:
        """The encoder blocks, with their adapters."""
        if not self.lora_rank:
            return self.profile.blocks
        return tuple(block.with_lora(self.lora_rank) for block in self.profile.blocks)

    @property
    def front(self) -> tuple[PartProfile, ...]:
        """Parts on the satellite: the embedding and the first `cut` blocks."""
        return (self.profile.embedding, *self.blocks[: self.cut])

    @property
    def rest(self) -> tuple[PartProfile, ...]:
        """Parts on the server: the remaining blocks, the final norm and pooling."""
        return (*self.blocks[self.cut :], self.profile.final)

    @property
    def parts(self) -> tuple[PartProfile, ...]:
        """Both sides of the cut."""
        return (*self.front, *self.rest)

    @property
    def wire_bytes(self) -> float:
        """fp32 bytes of one sample's activations at the cut."""
        return self.front[-1].activation_bytes

    @property
    def wire_shape(self) -> tuple[int, ...]:
        """Shape of one sample's activations at the cut: tokens and width."""
        return self.front[-1].shape


def forward_flops(parts: tuple[PartProfile, ...]) -> float:
    """Forward FLOPs of one sample through the parts."""
    return sum(part.flops_forward for part in parts)


def backward_flops(parts: tuple[PartProfile, ...]) -> float:
    """Backward FLOPs of one sample through the parts."""
    return sum(part.flops_backward for part in parts)


def adapter_bytes(parts: tuple[PartProfile, ...]) -> float:
    """Adapters of the parts, fp32."""
    return sum(part.adapter_bytes for part in parts)


def params_bytes(parts: tuple[PartProfile, ...]) -> float:
    """Weights of the parts, fp32."""
    return sum(part.params_bytes for part in parts)


def saved_bytes(parts: tuple[PartProfile, ...]) -> float:
    """What autograd keeps of the parts for one sample."""
    return sum(part.saved_bytes for part in parts)


def largest_activation(parts: tuple[PartProfile, ...]) -> float:
    """Largest output among the parts for one sample: what inference without gradients must hold."""
    return max(part.activation_bytes for part in parts)

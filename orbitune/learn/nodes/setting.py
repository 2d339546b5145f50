"""What every node of a real run knows: how to learn, the form of the model, how many samples each satellite holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from orbitune.cost.transfer import wire_bytes
from orbitune.errors import RunError
from orbitune.learn.aggregate import Tensors
from orbitune.learn.backbones.seam import Backbone
from orbitune.learn.codec import Codec
from orbitune.learn.features import check_cache
from orbitune.learn.objectives import Objective
from orbitune.learn.precision import arithmetic, check_precision
from orbitune.learn.spec import LearnSpec
from orbitune.learn.split import CutModel, check_cuts, choose_trained, count_frozen, cut_of
from orbitune.learn.tensor_bytes import from_bytes, to_bytes

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Setting:
    """What all nodes agree on before anything has been sent.

    Attributes:
        spec: How to learn.
        model: The whole model as it was before training; nodes work on copies of their part of it.
        objective: Head, loss and figures.
        counts: Samples of each satellite, by its id; which ones, only it knows.
        activations: Type and shape of one sample's activation behind so many pieces, from 0 on.
        unused: Trained tensors that never get a gradient, because this kind of input does not use them.
    """

    spec: LearnSpec
    model: CutModel
    objective: Objective
    counts: tuple[int, ...]
    activations: tuple[tuple[torch.dtype, tuple[int, ...]], ...]
    unused: frozenset[str]

    @cached_property
    def num_frozen(self) -> int:
        """Pieces from the image on that never change."""
        return count_frozen(self.model)

    @cached_property
    def num_pieces(self) -> int:
        """All but the head."""
        return len(self.model.pieces)

    @cached_property
    def codec(self) -> Codec:
        """How data are written; where nothing is cut they never leave their node, so in fp32."""
        return Codec(self.spec.codec if self.spec.learner == "split" else "fp32")

    @property
    def shared(self) -> bool:
        """Whether gradients are summed up at every step; otherwise weights are averaged at the end of a round."""
        return self.spec.learner == "split" and not self.spec.averages

    @property
    def versions(self) -> int:
        """Versions of data and averages in a round: one, or one for each batch where gradients come back."""
        batches = self.spec.local_steps * self.spec.accumulate
        return batches if self.spec.learner == "split" and self.spec.trains != "head" else 1

    def front(self, satellite: int) -> int:
        """Pieces that a satellite runs itself."""
        return 1 + cut_of(self.spec, satellite) if self.spec.learner == "split" else self.num_pieces

    @cached_property
    def deepest(self) -> int:
        """Pieces on board where there are most: what is sent to every satellite."""
        if self.spec.learner == "central":
            return 0
        return max(self.front(satellite) for satellite in range(len(self.counts)))

    @cached_property
    def shallowest(self) -> int:
        """Pieces on board where there are fewest: the ground has the others."""
        return min(self.front(satellite) for satellite in range(len(self.counts)))

    # -- tensors as they travel ------------------------------------------------------------------------------------

    @cached_property
    def weights_names(self) -> tuple[str, ...]:
        """The whole model, so that what satellites hold comes first, and adapters after the tensors they adapt."""
        ranked = [(self._rank(name), place, name) for place, (name, _) in enumerate(self.model.named_parameters())]
        return tuple(name for *_, name in sorted(ranked))

    def _rank(self, name: str) -> tuple[int, int, int]:
        piece = piece_of(name, self.num_pieces)
        return (piece >= self.deepest, int("lora_" in name), piece)

    def held_names(self, pieces: int) -> tuple[str, ...]:
        """Of these, the head and so many pieces."""
        return tuple(name for name in self.weights_names if piece_of(name, self.num_pieces) < pieces)

    @cached_property
    def update_names(self) -> tuple[str, ...]:
        """What trains on board."""
        return tuple(name for name in self.held_names(self.deepest) if self.parameters[name].requires_grad)

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """What trains on the ground."""
        first = -1 if self.spec.learner == "central" else self.shallowest
        trained = (name for name in self.weights_names if self.parameters[name].requires_grad)
        return tuple(name for name in trained if piece_of(name, self.num_pieces) >= first)

    @cached_property
    def parameters(self) -> Tensors:
        """By name, as they were before training."""
        return dict(self.model.named_parameters())

    def pack(self, tensors: Mapping[str, Tensor], names: Sequence[str]) -> bytes:
        """Values in fp32, one tensor after the other."""
        return to_bytes(tensors[name].detach().float() for name in names)

    def unpack(self, data: bytes, names: Sequence[str], what: str) -> Tensors:
        """What `pack` wrote; raises RunError where the size is another one."""
        sizes = [self.parameters[name].shape for name in names]
        needed = 4 * sum(size.numel() for size in sizes)
        if len(data) != needed:
            raise RunError(
                f"{what}: {len(data)} bytes arrived, the model has {needed}; plan with the profile of the model that "
                "is trained (orbitune profile), then launch again"
            )
        values = from_bytes(data, [(torch.float32, tuple(size)) for size in sizes])
        return {name: value.to(self.parameters[name].dtype) for name, value in zip(names, values, strict=True)}

    # -- data as they travel ---------------------------------------------------------------------------------------

    def pieces_before(self, kind: str, satellite: int) -> int:
        """Behind how many pieces a kind of data lies."""
        return self.front(satellite) if kind.startswith("embedding") else self.num_pieces

    def record_bytes(self, kind: str, satellite: int) -> int:
        """Of one sample, on the link."""
        _, shape = self.activations[self.pieces_before(kind, satellite)]
        return round(wire_bytes(shape, self.codec.name))

    def decode(self, kind: str, satellite: int, data: bytes) -> Tensor:
        """Samples [n, ...] of a kind of data, as they arrived."""
        dtype, shape = self.activations[self.pieces_before(kind, satellite)]
        count = len(data) // self.record_bytes(kind, satellite)
        return self.codec.decode(data, torch.empty((count, *shape), dtype=dtype))


def piece_of(name: str, num_pieces: int) -> int:
    """The piece that a parameter belongs to; -1 for the head."""
    place, _, rest = name.removeprefix("backbone.").partition(".")
    ends = {"head": -1, "embedding": 0, "final": num_pieces - 1}
    return ends[place] if place in ends else 1 + int(rest.partition(".")[0])


def make_setting(spec: LearnSpec, backbone: Backbone, objective: Objective, counts: Sequence[int]) -> Setting:
    """Join model and head, as `task.make_task` does.

    Raises:
        InputError: Cuts, cache or precision cannot be, or a part that trains has layers that do not allow it.
    """
    check_precision(spec.precision, CPU)
    check_cuts(spec, len(backbone.blocks), len(counts))
    model = CutModel(backbone, objective, spec.seed)
    choose_trained(model, spec)
    holders = [satellite for satellite, count in enumerate(counts) if count]
    check_cache(spec, count_frozen(model), len(backbone.blocks), holders)
    activations, unused = tried(model, spec.precision)
    return Setting(spec, model, objective, tuple(counts), activations, unused)


def tried(model: CutModel, precision: str) -> tuple[tuple[tuple[torch.dtype, tuple[int, ...]], ...], frozenset[str]]:
    """Types and shapes behind 0, 1, ... pieces, and trained tensors without a gradient, found on an image of zeros."""
    dtype = next(model.parameters()).dtype
    value = torch.zeros((1, *model.backbone.inputs.sample_shape), dtype=dtype)
    found = [(value.dtype, tuple(value.shape[1:]))]
    for number, piece in enumerate(model.pieces):
        # What is frozen works in full precision, as in `features`.
        with arithmetic("fp32" if number < count_frozen(model) else precision, CPU):
            value = piece(value)
        found.append((value.dtype, tuple(value.shape[1:])))
    with arithmetic(precision, CPU):
        torch.autograd.backward(model.head(value).sum())
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    unused = frozenset(name for name, value in trained.items() if value.grad is None)
    model.zero_grad()
    return tuple(found), unused

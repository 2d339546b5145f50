"""A model in several places: which piece runs on which node, and one exchange between them."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.backbones.seam import Backbone
from orbitune.learn.client import Batch
from orbitune.learn.codec import Wire
from orbitune.learn.objectives import Objective
from orbitune.learn.spec import LearnSpec

DEPENDS_ON_GROUPING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
"""Layers whose training mode would make the numbers depend on how samples are grouped."""


class CutModel(nn.Module):
    """A backbone with a head, as a row of pieces that can be run one stretch at a time.

    Piece 0 is the embedding, pieces 1 to n the blocks, piece n + 1 the final norm and pooling; the head comes after
    them. Images [B, C, H, W], features [B, *feature_shape], logits as the objective has them; between the pieces any
    tensor [B, ...].
    """

    def __init__(self, backbone: Backbone, objective: Objective, seed: int) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)  # training one method must not move the start of the next
        self.head = objective.new_head(backbone.feature_shape, seed).to(next(backbone.parameters()))

    @property
    def pieces(self) -> list[nn.Module]:
        """See the class; the head is not among them."""
        return [self.backbone.embedding, *self.backbone.blocks, self.backbone.final]

    def run(self, value: Tensor, first: int, end: int) -> Tensor:
        """What comes out of pieces `first` to `end` - 1; `value` itself where there are none."""
        for piece in self.pieces[first:end]:
            value = piece(value)
        return value

    def forward(self, images: Tensor) -> Tensor:
        """The whole model in one place: images to logits."""
        return torch.as_tensor(self.head(self.backbone(images)))


# ---------------------------------------------------------------------------------------- what trains


def choose_trained(model: CutModel, spec: LearnSpec) -> dict[str, nn.Parameter]:
    """Freeze all but what `spec.trains` names, and return that by name; "lora" adds its adapters first.

    The model is in evaluation mode throughout. A trained part with dropout or BatchNorm is refused, because there
    the result would depend on how samples are grouped.

    Raises:
        InputError: Such a layer is in a part that trains.
        MissingExtra: Adapters are wanted and peft is not installed.
    """
    model.requires_grad_(False)
    if spec.trains == "lora":
        from orbitune.learn.adapters import add_lora  # peft is optional

        add_lora(model.backbone, spec.lora_rank, spec.lora_alpha, spec.seed)
    for part in trained_parts(model, spec.trains):
        part.requires_grad_(True)
        _refuse_grouping(part, spec.trains)
    model.eval()
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def trained_parts(model: CutModel, trains: str) -> list[nn.Module]:
    """The modules that train as a whole; adapters train by themselves beside the head."""
    backbone = model.backbone
    parts: dict[str, list[nn.Module]] = {
        "head": [model.head],
        "lora": [model.head],
        "encoder": [model.head, backbone.blocks, backbone.final],
        "full": [model],
    }
    return parts[trains]


def _refuse_grouping(part: nn.Module, trains: str) -> None:
    for name, layer in part.named_modules():
        if isinstance(layer, DEPENDS_ON_GROUPING) and getattr(layer, "p", 1) > 0:  # dropout of nothing is none
            raise InputError(
                f"model: layer '{name}' is {type(layer).__name__}, and trains = '{trains}' would train it; "
                "layers whose result depends on the grouping of samples must stay frozen, so train less of the model"
            )


def count_frozen(model: CutModel) -> int:
    """How many pieces from the image on never change: what they make of a sample stays the same all training long."""
    changing = [any(value.requires_grad for value in piece.parameters()) for piece in model.pieces]
    return changing.index(True) if True in changing else len(changing)


# ------------------------------------------------------------------------------------------ where it runs


class Boundary(NamedTuple):
    """A place between two pieces where one node hands over to the next.

    Attributes:
        pieces: How many pieces lie before it.
        kind: Payload that crosses it; its gradient, where one comes back, is "KIND_gradient".
    """

    pieces: int
    kind: str


Boundaries = tuple[Boundary, ...]


def cut_of(spec: LearnSpec, satellite: int) -> int:
    """How many blocks a satellite runs itself."""
    return spec.satellite_cuts[satellite] if spec.satellite_cuts else spec.cut


def boundaries_of(spec: LearnSpec, satellite: int, num_blocks: int) -> Boundaries:
    """The boundaries on the way of one satellite's samples, in the order they are met.

    First its own cut; then the further `cuts` of a pipeline, as far as it does not run those blocks itself; at last
    the features go back to it. Without a cut ("federated", "central") there are none.
    """
    if spec.learner != "split":
        return ()
    own = cut_of(spec, satellite)
    later = [Boundary(1 + cut, "activation") for cut in spec.cuts if cut > own]
    return (Boundary(1 + own, "embedding"), *later, Boundary(2 + num_blocks, "feature"))


def check_cuts(spec: LearnSpec, num_blocks: int, num_satellites: int) -> None:
    """Refuse cuts that the model or the constellation does not have.

    Raises:
        InputError: A cut lies beyond the last block, or there is not one cut for each satellite.
    """
    if spec.satellite_cuts and len(spec.satellite_cuts) != num_satellites:
        raise InputError(
            f"{len(spec.satellite_cuts)} cuts of single satellites for {num_satellites} satellites; "
            "give one for each satellite, or one for all"
        )
    for cut in (spec.cut, *spec.cuts, *spec.satellite_cuts):
        if not 0 <= cut <= num_blocks:
            raise InputError(f"cut = {cut}: the model has {num_blocks} blocks; a cut lies between 0 and {num_blocks}")


# -------------------------------------------------------------------------------------------- one exchange


class NotFinite(Exception):
    """A tensor, named by the message, holds an infinite value or none; whoever knows the satellite says it whole."""


def require_finite(name: str, tensor: Tensor) -> None:
    """Stop before a value that is no number spreads.

    Raises:
        NotFinite: It is there.
    """
    if tensor.numel() == 0:
        return
    low, high = torch.aminmax(tensor.detach())  # both are NaN where any value is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotFinite(name.replace("_", " "))


def cross(wire: Wire, kind: str, tensor: Tensor) -> Tensor:
    """Send a tensor over the wire, if all of it is finite."""
    require_finite(kind, tensor)
    return wire.cross(kind, tensor)


def exchange(
    model: CutModel,
    objective: Objective,
    inputs: Tensor,
    labels: Tensor,
    first: int,
    boundaries: Boundaries,
    wire: Wire,
    batch: Batch,
) -> Tensor:
    """One satellite's samples through all nodes and back; gradients of the summed loss are added to `.grad`.

    What trains is read from `requires_grad`, so gradients go back exactly as far as something trains, wherever that
    lies. Without boundaries this is plain back-propagation in one place. Gradients cross before they are divided by
    the number of samples: fp16 loses numbers below 6e-8, which the gradients of a mean over hundreds of samples and
    tokens would reach.

    Args:
        model: Pieces and head.
        objective: Loss of the samples.
        inputs: What piece `first` works on [M, ...].
        labels: By sample [M, ...].
        first: Pieces that are done already.
        boundaries: Where nodes hand over, after piece `first`.
        wire: What everything between two nodes goes through.
        batch: Whose samples, and which.

    Returns:
        Loss of each sample [n], detached.

    Raises:
        NotFinite: What crosses, or a loss, is not; `.grad` may then hold anything.
    """
    # Forward, node by node.
    handed_over: list[tuple[str, Tensor, Tensor]] = []  # kind, as sent, as it arrived
    value, done = inputs[batch.ids], first
    for pieces, kind in boundaries:
        sent = model.run(value, done, pieces)
        value, done = cross(wire, kind, sent).requires_grad_(sent.requires_grad), pieces
        handed_over.append((kind, sent, value))
    features = model.run(value, done, len(model.pieces))

    # Satellite: the loss with its own labels, the gradient of the head.
    losses = head_step(model, objective, features, labels[batch.ids])

    # Back, node by node.
    for kind, sent, arrived in reversed(handed_over):
        if arrived.grad is not None:
            torch.autograd.backward(sent, cross(wire, f"{kind}_gradient", arrived.grad))
    return losses


def head_step(model: CutModel, objective: Objective, features: Tensor, labels: Tensor) -> Tensor:
    """Add the gradients of the summed loss to `.grad`, of the head and of whatever made the features.

    Returns:
        Loss of each sample [n], detached.

    Raises:
        NotFinite: A loss is not.
    """
    losses = objective.losses(model.head(features), labels)
    require_finite("loss", losses)
    torch.autograd.backward(losses.sum())
    return losses.detach()

"""A model in two places: what runs on the satellites, what runs on the server, and one exchange between them."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbitune import seeds
from orbitune.errors import InputError
from orbitune.learn.backbone import Backbone
from orbitune.learn.client import Batch
from orbitune.learn.codec import Wire

DEPENDS_ON_GROUPING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
"""Layers whose training mode would make the numbers depend on how samples are grouped."""


class CutModel(nn.Module):
    """A backbone with a linear head, cut after `cut` blocks: `front` | `rest` | `head`.

    Front and head live on every satellite, the rest on the server. Shapes: images [n, C, H, W], tokens [n, N, D],
    features [n, feature_width], logits [n, classes].
    """

    def __init__(self, backbone: Backbone, num_classes: int, cut: int, seed: int) -> None:
        super().__init__()
        assert 0 <= cut <= len(backbone.blocks), f"cut {cut} of a backbone with {len(backbone.blocks)} blocks"
        self.cut = cut
        self.backbone = copy.deepcopy(backbone)  # training one method must not move the start of the next
        self.head = new_head(backbone.feature_width, num_classes, seed).to(next(backbone.parameters()))

    def front(self, images: Tensor) -> Tensor:
        """On the satellite: images to the tokens at the cut."""
        tokens = self.backbone.embedding(images)
        for block in self.backbone.blocks[: self.cut]:
            tokens = block(tokens)
        return torch.as_tensor(tokens)

    def rest(self, tokens: Tensor) -> Tensor:
        """On the server: tokens at the cut to pooled features."""
        for block in self.backbone.blocks[self.cut :]:
            tokens = block(tokens)
        return torch.as_tensor(self.backbone.final(tokens))

    def forward(self, images: Tensor) -> Tensor:
        """The whole model in one place: images to logits."""
        return torch.as_tensor(self.head(self.backbone(images)))


def new_head(feature_width: int, num_classes: int, seed: int) -> nn.Linear:
    """A linear layer, fp32, uniform in +-1/sqrt(feature_width) as PyTorch starts one, drawn from our own stream."""
    head = nn.Linear(feature_width, num_classes, device="meta").to_empty(device="cpu")
    source = torch.Generator().manual_seed(seeds.seed_for(seed, "head"))
    bound = 1 / math.sqrt(feature_width)
    for tensor in (head.weight, head.bias):
        nn.init.uniform_(tensor, -bound, bound, generator=source)
    return head


def choose_trained(model: CutModel, trains: str) -> dict[str, nn.Parameter]:
    """Freeze all but what `trains` names, and return that by name.

    The model is in evaluation mode throughout. A trained part with dropout or BatchNorm is refused, because there
    the result would depend on how samples are grouped.

    Raises:
        InputError: Such a layer is in a part that trains.
    """
    backbone = model.backbone
    parts: dict[str, list[nn.Module]] = {
        "head": [model.head],
        "encoder": [model.head, backbone.blocks, backbone.final],
        "full": [model],
    }
    model.eval().requires_grad_(False)
    for part in parts[trains]:
        part.requires_grad_(True)
        _refuse_grouping(part, trains)
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _refuse_grouping(part: nn.Module, trains: str) -> None:
    for name, layer in part.named_modules():
        if isinstance(layer, DEPENDS_ON_GROUPING):
            raise InputError(
                f"model: layer '{name}' is {type(layer).__name__}, and trains = '{trains}' would train it; "
                "layers whose result depends on the grouping of samples must stay frozen, so train less of the model"
            )


def exchange(model: CutModel, images: Tensor, labels: Tensor, wire: Wire, batch: Batch) -> Tensor:
    """One satellite's samples through the cut and back; gradients of the summed loss are added to `.grad`.

    Gradients cross before they are divided by the number of samples: fp16 loses numbers below 6e-8, which the
    gradients of a mean over hundreds of samples and tokens would reach.

    Returns:
        Cross-entropy of each sample [n], detached.
    """
    # Satellite: tokens up.
    tokens = model.front(images[batch.ids])  # (n, N, D)
    received = wire.cross("embedding", tokens).requires_grad_(tokens.requires_grad)

    # Server: features back.
    features = model.rest(received)  # (n, feature_width)
    returned = wire.cross("feature", features).requires_grad_(features.requires_grad)

    # Satellite: the loss with its own labels, the gradient of the head.
    losses = F.cross_entropy(model.head(returned), labels[batch.ids], reduction="none")  # (n,)
    torch.autograd.backward(losses.sum())

    # Server, then satellite: only as far as something trains.
    if returned.grad is not None:
        torch.autograd.backward(features, wire.cross("feature_gradient", returned.grad))
    if received.grad is not None:
        torch.autograd.backward(tokens, wire.cross("embedding_gradient", received.grad))
    return losses.detach()


@torch.no_grad()
def features_over(model: CutModel, images: Tensor, wire: Wire) -> Tensor:
    """Features [n, D] as they come back to the satellite while all before the head is frozen."""
    return wire.cross("feature", model.rest(wire.cross("embedding", model.front(images))))


@torch.no_grad()
def features_in_place(model: CutModel, images: Tensor) -> Tensor:
    """Features [n, D] where no cut is."""
    return torch.as_tensor(model.backbone(images))

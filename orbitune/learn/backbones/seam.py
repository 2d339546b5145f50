"""The seam between Orbitune and a foundation model: embedding | blocks | final, the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from orbitune.errors import InputError, MissingExtra
from orbitune.learn.inputs import CHUNK, InputSpec

INIT_STD = 0.02
"""Standard deviation of random weights, truncated at two of them, as DeiT starts its Vision Transformers
(arXiv:2012.12877, section 6, and its published code)."""

SMALLEST_SPREAD = 1e-6
"""A feature that never changes is centred and left at zero rather than divided by zero."""


class Final(nn.Module):
    """The last part of a backbone: activation -> features, then fixed standardisation per feature channel.

    Subclasses say in `features` how an activation becomes features. `centre` and `spread` are never trained and leave
    features as they are until `standardise` sets them.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, feature_shape: tuple[int, ...]) -> None:
        super().__init__()
        per_channel = (feature_shape[0], *(1 for _ in feature_shape[1:]))
        self.register_buffer("centre", torch.zeros(per_channel))
        self.register_buffer("spread", torch.ones(per_channel))

    def features(self, activation: Tensor) -> Tensor:
        """Activation [B, ...] to features [B, *feature_shape], not standardised."""
        raise NotImplementedError

    def forward(self, activation: Tensor) -> Tensor:
        """Activation [B, ...] to features [B, *feature_shape]."""
        return (self.features(activation) - self.centre) / self.spread


class Backbone(nn.Module):
    """A vision encoder that can be cut: images -> `embedding` -> `blocks` -> `final` -> features.

    Attributes:
        embedding: Images [B, *inputs.sample_shape] to an activation [B, ...].
        blocks: Each maps an activation [B, ...] to an activation [B, ...], whose shape may differ.
        final: The last activation to features [B, *feature_shape].
        feature_shape: (D,) for one vector per image, (D, h, w) for a map of them.
        inputs: What images must be, see `orbitune.learn.inputs.prepare`.
        source_names: Paths of layers in `blocks` -> their paths in the library's or user's own model.
        unused_weights: Tensors of the weight file that this model has no place for, such as a classifier.
    """

    def __init__(
        self,
        embedding: nn.Module,
        blocks: Sequence[nn.Module],
        final: Final,
        feature_shape: tuple[int, ...],
        inputs: InputSpec,
        source_names: Mapping[str, str] | None = None,
        unused_weights: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.final = final
        self.feature_shape = feature_shape
        self.inputs = inputs
        self.source_names = dict(source_names or {})
        self.unused_weights = tuple(unused_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, *inputs.sample_shape] to features [B, *feature_shape]."""
        activation = self.embedding(images)
        for block in self.blocks:
            activation = block(activation)
        return torch.as_tensor(self.final(activation))

    @property
    def feature_width(self) -> int:
        """Length D of a feature vector."""
        return self.feature_shape[0]


class Bound(nn.Module):
    """A library's layer as activation -> activation: whatever else it wants to be told is bound here.

    Of a tuple that the layer returns the first is the activation.
    """

    def __init__(self, layer: nn.Module, **constants: Any) -> None:
        super().__init__()
        self.layer = layer
        self.constants = constants

    def forward(self, activation: Tensor) -> Tensor:
        """[B, ...] -> [B, ...]."""
        sent = self.layer(activation, **self.constants)
        return torch.as_tensor(sent[0] if isinstance(sent, tuple) else sent)


def as_map(patches: Tensor) -> Tensor:
    """Tokens [B, h x w, D] of a square grid, row by row, to a map [B, D, h, w]."""
    batch, places, width = patches.shape
    grid = math.isqrt(places)
    assert grid * grid == places
    return patches.transpose(1, 2).reshape(batch, width, grid, grid)


def randomise(backbone: Backbone, seed: int) -> None:
    """Draw fresh weights: truncated normal for linear and patch layers, zero biases, norms at identity."""
    source = torch.Generator().manual_seed(seed)
    for key, value in sorted(backbone.named_parameters()):
        is_norm = "norm" in key
        if key.endswith("bias"):
            nn.init.zeros_(value)
        elif is_norm:
            nn.init.ones_(value)
        else:
            nn.init.trunc_normal_(value, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD, generator=source)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Code of others that draws from PyTorch's global generator draws from `seed` here; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def standardise(backbone: Backbone, images: Tensor) -> None:
    """Fix the centre and spread of the features, so that a linear head learns at one rate for every model.

    Pooled features differ little around a large common mean (Galileo nano on the Brandenburg scene: 0.02 around a
    norm of 1.5), which makes plain gradient descent on them crawl or swing. MAE puts a BatchNorm without weights
    before its linear probe for the same reason (arXiv:2111.06377, appendix A.1); here the statistics come once from
    `images`, unlabelled chips that the ground owns, and never change, so no statistics of private images move.

    Args:
        backbone: Changed in place.
        images: Prepared chips [n, *inputs.sample_shape], n >= 2.
    """
    final = backbone.final
    assert len(images) >= 2
    final.centre.zero_()
    final.spread.fill_(1.0)
    with torch.no_grad():
        features = torch.cat([backbone(some) for some in torch.split(images, CHUNK)])
    others = [dim for dim in range(features.ndim) if dim != 1]  # each channel over images, and places of a map
    final.centre.copy_(features.mean(dim=others).view_as(final.centre))
    final.spread.copy_(features.std(dim=others).clamp_min(SMALLEST_SPREAD).view_as(final.spread))


def import_extra(module: str, extra: str) -> Any:
    """An optional library.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{module} cannot be imported ({error}): install the extra `{extra}` (orbitune[{extra}]), "
            "or choose a model that does without, such as galileo-nano"
        ) from error


CUT_TOLERANCE = 1e-5
"""Largest difference, relative to the largest feature, between a model cut and whole: rounding of fp32 in another
order. Our choice."""


@torch.no_grad()
def check_equal(backbone: Backbone, whole: Callable[[Tensor], Tensor], what: str) -> None:
    """Refuse a model whose own forward pass does more, or something else, than its parts in a row.

    Args:
        backbone: In evaluation mode, not standardised.
        whole: Images to features, not cut.
        what: The model, for the message.

    Raises:
        InputError: The features of one random image differ.
    """
    source = torch.Generator().manual_seed(0)
    image = torch.rand(1, *backbone.inputs.sample_shape, generator=source)
    ours, theirs = backbone(image), whole(image)
    if ours.shape != theirs.shape:
        problem = f"shape {list(ours.shape)} instead of {list(theirs.shape)}"
    else:
        difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(SMALLEST_SPREAD))
        if difference <= CUT_TOLERANCE:
            return
        problem = f"features that differ by {difference:.1g} of the largest"
    raise InputError(
        f"{what}: its parts one after the other give {problem}, so it cannot be cut there; give name = 'module' a "
        "function that returns an nn.Sequential or an orbitune Backbone with all steps of the forward pass"
    )


def check_cut(names: Sequence[str], found: Mapping[str, object], what: str) -> None:
    """Refuse a model that lacks the parts by which it would be cut.

    Raises:
        InputError: Names them.
    """
    absent = [name for name in names if name not in found]
    if absent:
        raise InputError(
            f"{what} has no part named {', '.join(absent)}, so it cannot be cut there; its parts are "
            f"{', '.join(found)}; other models can be cut as name = 'module' with a function of your own"
        )

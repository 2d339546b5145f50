"""The seam between Orbitune and a foundation model: embedding | blocks | final, and how its weights come in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn import galileo

WEIGHTS = ("pretrained", "random")
"""Where the weights come from: the shipped file, or an initialisation drawn from the seed."""

INIT_STD = 0.02
"""Standard deviation of random weights, truncated at two of them, as DeiT starts its Vision Transformers
(arXiv:2012.12877, section 6, and its published code)."""

SMALLEST_SPREAD = 1e-6
"""A feature that never changes is centred and left at zero rather than divided by zero."""

SCENE_MONTH = 1
"""February: the shipped Brandenburg scene was taken on 2017-02-16."""


class Backbone(nn.Module):
    """A vision encoder that can be cut: images -> `embedding` -> `blocks` -> `final` -> features.

    Attributes:
        embedding: Images [B, channels, P, P] to tokens [B, N, D].
        blocks: Each maps tokens [B, N, D] to tokens [B, N, D].
        final: Tokens [B, N, D] to one feature vector per image [B, feature_width]: last norm and pooling.
        feature_width: Length of the feature vector.
    """

    def __init__(self, embedding: nn.Module, blocks: list[nn.Module], final: nn.Module, feature_width: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.final = final
        self.feature_width = feature_width

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, channels, P, P] to features [B, feature_width]."""
        tokens = self.embedding(images)
        for block in self.blocks:
            tokens = block(tokens)
        return cast(Tensor, self.final(tokens))


def load_backbone(name: str, weights: str, seed: int, chip_px: int) -> Backbone:
    """Build a backbone, ready in evaluation mode, fp32, on the CPU.

    Args:
        name: Model name as in scenarios; "galileo-nano" is the one that can be trained here.
        weights: "pretrained" reads the shipped file, "random" draws from `seed` (the same seed, the same weights).
        chip_px: Side of the square chips in pixels, a multiple of 8.

    Raises:
        InputError: No such model, or its weight file is missing, damaged or of another model.
    """
    if name != "galileo-nano":
        raise InputError(
            f"model.name = '{name}' has no weights here and can only be planned; galileo-nano can also be trained"
        )
    assert weights in WEIGHTS and chip_px % galileo.PATCH_PX == 0
    backbone = build_galileo(chip_px)
    if weights == "pretrained":
        read_weights(backbone, resources.files("orbitune") / "data" / "galileo_nano" / "encoder.safetensors")
    else:
        randomise(backbone, seed)
    return backbone.eval()


def build_galileo(chip_px: int, month: int = SCENE_MONTH) -> Backbone:
    """Galileo nano with whatever weights PyTorch gives; the global random generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        embedding = galileo.GalileoEmbedding(chip_px, month)
        blocks: list[nn.Module] = [
            galileo.EncoderBlock(galileo.WIDTH, galileo.NUM_HEADS, galileo.MLP_HIDDEN)
            for _ in range(galileo.NUM_BLOCKS)
        ]
        return Backbone(embedding, blocks, galileo.NormAndMean(galileo.WIDTH), galileo.WIDTH)


def read_weights(backbone: Backbone, path: Traversable) -> None:
    """Fill the backbone from a safetensors file with exactly its tensors.

    Raises:
        InputError: The file is missing, truncated or corrupt, or its tensors are not those of the backbone.
    """
    again = "restore it from the Orbitune distribution (reinstall the package)"
    try:
        tensors = load(path.read_bytes())
    except OSError as error:
        raise InputError(f"model weights {path}: cannot be read ({error.strerror}); {again}") from error
    except SafetensorError as error:
        raise InputError(f"model weights {path}: truncated or not a safetensors file ({error}); {again}") from error
    problems = mismatches(dict(backbone.named_parameters()), tensors)
    if problems:
        raise InputError(f"model weights {path}: not the weights of this model: {'; '.join(problems)}; {again}")
    backbone.load_state_dict(tensors, strict=False)  # exact already; fixed buffers are not in the file


def mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What differs between the tensors a model needs and those a file holds, in words; empty when all agree."""
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    shared = sorted(expected.keys() & found.keys())
    wrong = [
        f"{key} is {list(found[key].shape)} {found[key].dtype}, needed is {list(expected[key].shape)} float32"
        for key in shared
        if found[key].shape != expected[key].shape or found[key].dtype != torch.float32
    ]
    not_finite = [f"{key} holds values that are not finite" for key in shared if not found[key].isfinite().all()]
    listed = [f"{word} {', '.join(keys)}" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    return listed + wrong + not_finite


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


def standardise(backbone: Backbone, images: Tensor) -> None:
    """Fix the centre and spread of the features, so that a linear head learns at one rate for every model.

    Pooled features differ little around a large common mean (Galileo nano on the Brandenburg scene: 0.02 around a
    norm of 1.5), which makes plain gradient descent on them crawl or swing. MAE puts a BatchNorm without weights
    before its linear probe for the same reason (arXiv:2111.06377, appendix A.1); here the statistics come once from
    `images`, unlabelled chips that the ground owns, and never change, so no statistics of private images move.

    Args:
        backbone: Changed in place; its `final` has the buffers `centre` and `spread`.
        images: Normalised chips [n, channels, P, P], n >= 2.
    """
    final = backbone.final
    assert isinstance(final, galileo.NormAndMean) and len(images) >= 2
    final.centre.zero_()
    final.spread.fill_(1.0)
    with torch.no_grad():
        features = backbone(images)
    final.centre.copy_(features.mean(dim=0))
    final.spread.copy_(features.std(dim=0).clamp_min(SMALLEST_SPREAD))

"""Write orbitune/model/profiles/*.json from the architectures of the models.

    python scripts/build_profiles.py

Costs follow from the shape of a Vision Transformer (arXiv:2010.11929) by the formulas of `embedding`, `block` and
`final` below: N tokens of D values, H heads, hidden width M, 2 FLOPs per multiply-add, fp32. The tests compare every
formula with PyTorch's counters on small models and galileo-nano with the real one. What autograd keeps is counted for
attention that does not store its N x N scores (arXiv:2205.14135), as PyTorch's fused kernels do.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from orbitune.model.profile import PartProfile

FP32 = 4.0
"""Bytes of one value."""

COSTS = ("params_bytes", "activation_bytes", "saved_bytes", "flops_forward", "flops_backward")
"""Written for every part, also where they are 0."""


@dataclass(frozen=True)
class Architecture:
    """Shape of a Vision Transformer and of one sample.

    Attributes:
        source: Where the shape comes from, and what was chosen.
        chip_px: Side of the square image.
        sample_bytes: Raw size of a sample as stored.
        sample_values: Values of one sample as the patch projections read them, all channels and frames.
        num_patches: Patches per sample, hence tokens without class token.
        num_extra_tokens: Class tokens.
        patch_params: Weights and biases of the patch projections.
        position_params: Trained position, channel and class-token values.
        width, num_heads, num_blocks, hidden: D, H, number of blocks, M.
        gated: The MLP is SwiGLU (arXiv:2002.05202) with three matrices instead of two.
        layer_scale: Each branch is multiplied by a trained vector (arXiv:2103.17239).
    """

    source: str
    chip_px: int
    sample_bytes: float
    sample_values: int
    num_patches: int
    num_extra_tokens: int
    patch_params: int
    position_params: int
    width: int
    num_heads: int
    num_blocks: int
    hidden: int
    gated: bool = False
    layer_scale: bool = False

    @property
    def num_tokens(self) -> int:
        """N: patches and class token."""
        return self.num_patches + self.num_extra_tokens


def embedding(shape: Architecture) -> PartProfile:
    """Patch projection: each value of the sample meets D weights; images need no gradient, so backward costs as much.

    FLOPs: 2 x values x D forward, and the same for the gradient of the weights.
    """
    flops = 2.0 * shape.sample_values * shape.width
    return PartProfile(
        params_bytes=FP32 * (shape.patch_params + shape.position_params),
        activation_bytes=FP32 * shape.num_tokens * shape.width,
        saved_bytes=FP32 * shape.sample_values,
        flops_forward=flops,
        flops_backward=flops,
        tokens=shape.num_tokens,
    )


def block(shape: Architecture) -> PartProfile:
    """One pre-norm block.

    Linear layers: four of D x D, and two (gated: three) of D x M, at 2 N FLOPs per weight forward and 4 N backward.
    Attention: scores and mixture, 2 N^2 D each; backward five such products, the scores being computed again.
    Inputs and outputs, for adapters: 2 D of each D x D layer; D + M of each layer of the MLP, the two matrices of a
    gate being one layer of 2 M outputs (as in DINOv2's SwiGLUFFN), whose input counts once.
    """
    tokens, width, hidden = shape.num_tokens, shape.width, shape.hidden
    weights = 4 * width**2 + (3 if shape.gated else 2) * width * hidden
    biases = 5 * width + (2 if shape.gated else 1) * hidden
    norms = 4 * width + (2 * width if shape.layer_scale else 0)
    return PartProfile(
        params_bytes=FP32 * (weights + biases + norms),
        activation_bytes=FP32 * tokens * width,
        saved_bytes=FP32 * _saved_values(shape),
        flops_forward=2.0 * tokens * weights + 4.0 * tokens**2 * width,
        flops_backward=4.0 * tokens * weights + 10.0 * tokens**2 * width,
        linear_dims=_linear_dims(shape),
        linear_weights=weights,
        tokens=tokens,
    )


def _linear_dims(shape: Architecture) -> int:
    """Inputs plus outputs of the linear layers of one block."""
    mlp_in = shape.width + (2 if shape.gated else 1) * shape.hidden
    return 4 * 2 * shape.width + mlp_in + shape.hidden + shape.width


def _saved_values(shape: Architecture) -> int:
    """Values autograd keeps of a block.

    N D each: input, its norm, q, k, v, attention output, middle sum, its norm; with layer scale also both branches.
    N M each: before and after GELU; gated: both halves, the SiLU of one, their product. Per token: mean and deviation
    of two norms. Per token and head: the log-sum-exp of the scores.
    """
    per_width = 10 if shape.layer_scale else 8
    per_hidden = 4 if shape.gated else 2
    return shape.num_tokens * (per_width * shape.width + per_hidden * shape.hidden + 4 + shape.num_heads)


def final(shape: Architecture) -> PartProfile:
    """Last norm and pooling: no matrix product."""
    saved = shape.num_tokens * (shape.width + 2)
    return PartProfile(FP32 * 2 * shape.width, FP32 * shape.width, FP32 * saved, 0.0, 0.0, tokens=1)


def plain_vit(source: str, patch_px: int, width: int, num_heads: int, num_blocks: int) -> Architecture:
    """ViT for 224 px RGB images of 8 bits, learned positions, class token, MLP four times as wide."""
    pixels, patches = 224 * 224 * 3, (224 // patch_px) ** 2
    patch = (patch_px**2 * 3 + 1) * width
    return Architecture(
        source, 224, pixels, pixels, patches, 1, patch, (patches + 2) * width, width, num_heads, num_blocks, 4 * width
    )


def prithvi(source: str, patch_px: int, width: int, num_blocks: int) -> Architecture:
    """Prithvi-EO-2.0 for 4 frames of 6 bands of 224 px in 16 bits; positions are fixed, the class token is trained."""
    values, patches = 4 * 6 * 224 * 224, 4 * (224 // patch_px) ** 2
    patch = (patch_px**2 * 6 + 1) * width
    return Architecture(source, 224, 2 * values, values, patches, 1, patch, width, width, 16, num_blocks, 4 * width)


DINOV2_POSITIONS = (518 // 14) ** 2 + 1
"""DINOv2 ships positions for 518 px (37 x 37 patches and the class token) and interpolates them for smaller images."""

PRITHVI_SOURCE = (
    "Analytic, Szwarcman et al., arXiv:2412.02732, and {config}: {vit}, patch 1 x {patch} x {patch}; "
    "4 frames of 6 HLS bands at 224 px, {tokens} tokens with class token, without the time and location encodings"
)

ARCHITECTURES = {
    "galileo-nano": Architecture(
        source="Analytic, equal to PyTorch's counters on the shipped weights: Tseng et al., arXiv:2502.09356, nano: "
        "width 128, 4 blocks, 8 heads; ten Sentinel-2 bands and NDVI at 32 px, patch 8, 6 band groups, 96 tokens; raw "
        "sample ten bands of uint16",
        chip_px=32,
        sample_bytes=10 * 32 * 32 * 2,
        sample_values=11 * 32 * 32,
        num_patches=6 * 16,
        num_extra_tokens=0,
        patch_params=(11 * 64 + 6) * 128,
        position_params=6 * 32,
        width=128,
        num_heads=8,
        num_blocks=4,
        hidden=512,
    ),
    "vit-b-16": plain_vit(
        "Analytic, Dosovitskiy et al., arXiv:2010.11929, table 1: ViT-Base, patch 16; RGB of 8 bits at 224 px, "
        "197 tokens with class token",
        *(16, 768, 12, 12),
    ),
    "vit-l-16": plain_vit(
        "Analytic, Dosovitskiy et al., arXiv:2010.11929, table 1: ViT-Large, patch 16; RGB of 8 bits at 224 px, "
        "197 tokens with class token",
        *(16, 1024, 16, 24),
    ),
    "spectralgpt-base": Architecture(
        source="Analytic, Hong et al., arXiv:2311.07113 (IEEE TPAMI 2024), and the README of "
        "github.com/danfenghong/IEEE_TPAMI_SpectralGPT: base, 12 blocks of width 768, 3-D patch 8 x 8 x 3; 12 bands of "
        "16 bits at 128 px, 1,024 tokens; learned spatial (256) and spectral (4) positions, no class token",
        chip_px=128,
        sample_bytes=128 * 128 * 12 * 2,
        sample_values=128 * 128 * 12,
        num_patches=4 * 16 * 16,
        num_extra_tokens=0,
        patch_params=(8 * 8 * 3 + 1) * 768,
        position_params=(256 + 4) * 768,
        width=768,
        num_heads=12,
        num_blocks=12,
        hidden=3072,
    ),
    "prithvi-eo-2.0-300m": prithvi(
        PRITHVI_SOURCE.format(
            config="config.json of huggingface.co/ibm-nasa-geospatial/Prithvi-EO-2.0-300M",
            vit="ViT-L, 24 blocks of width 1024",
            patch=16,
            tokens=785,
        ),
        *(16, 1024, 24),
    ),
    "prithvi-eo-2.0-600m": prithvi(
        PRITHVI_SOURCE.format(
            config="prithvi_eo_v2_600 in github.com/IBM/terratorch",
            vit="ViT-H, 32 blocks of width 1280",
            patch=14,
            tokens="1,025",
        ),
        *(14, 1280, 32),
    ),
    "dinov2-g": Architecture(
        source="Analytic, Oquab et al., arXiv:2304.07193, and vit_giant2 of github.com/facebookresearch/dinov2: ViT-g, "
        "patch 14, 40 blocks of width 1536, 24 heads, SwiGLU of hidden width 4096, layer scale; RGB of 8 bits at "
        "224 px, 257 tokens with class token, positions stored for 518 px",
        chip_px=224,
        sample_bytes=224 * 224 * 3,
        sample_values=224 * 224 * 3,
        num_patches=16 * 16,
        num_extra_tokens=1,
        patch_params=(14 * 14 * 3 + 1) * 1536,
        position_params=(DINOV2_POSITIONS + 1) * 1536,
        width=1536,
        num_heads=24,
        num_blocks=40,
        hidden=4096,
        gated=True,
        layer_scale=True,
    ),
}


def as_json(name: str, shape: Architecture) -> str:
    """The profile in the form that `orbitune.model.profile.profile_from_json` reads."""
    content = {
        "name": name,
        "source": shape.source,
        "chip_px": shape.chip_px,
        "sample_bytes": shape.sample_bytes,
        "feature_shape": [shape.width],
        "embedding": _as_row(embedding(shape)),
        "blocks": {"repeat": shape.num_blocks} | _as_row(block(shape)),
        "final": _as_row(final(shape)),
    }
    return json.dumps(content, indent=2) + "\n"


def _as_row(part: PartProfile) -> dict[str, float]:
    """A part without what it has not."""
    return {name: float(value) for name, value in asdict(part).items() if value or name in COSTS}


def main() -> None:
    """Write all profiles into the package."""
    folder = Path(__file__).parent.parent / "orbitune" / "model" / "profiles"
    folder.mkdir(exist_ok=True)
    for name, shape in ARCHITECTURES.items():
        (folder / f"{name}.json").write_text(as_json(name, shape), encoding="utf-8")


if __name__ == "__main__":
    main()

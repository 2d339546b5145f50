"""Galileo nano: a Vision Transformer over groups of Sentinel-2 bands, written from its published weights.

Model: Tseng et al., "Galileo: Learning Global and Local Features in Pretrained Remote Sensing Models",
arXiv:2502.09356. Only the path for one Sentinel-2 acquisition and its NDVI is here. Shapes use B chips, N tokens and
D = 128 values per token; a square chip of P pixels has N = 6 groups x (P/8) x (P/8) tokens.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 128
NUM_HEADS = 8
NUM_BLOCKS = 4
MLP_HIDDEN = 512
PATCH_PX = 8
"""Galileo nano (config.json beside the weights: embedding_size, num_heads, depth, mlp_ratio 4, max_patch_size)."""

BAND_GROUPS = {
    "S2_RGB": (2, 1, 0),
    "S2_Red_Edge": (3, 4, 5),
    "S2_NIR_10m": (6,),
    "S2_NIR_20m": (7,),
    "S2_SWIR": (8, 9),
    "NDVI": (10,),
}
"""Channels of each token group; the input order is B2 B3 B4 B5 B6 B7 B8 B8A B11 B12 NDVI."""

PART_WIDTH = WIDTH // 4
"""Channel, time step, month and place each fill a quarter of the code that is added to a token (the 32 columns of
`s_t_channel_embed`, `pos_embed` and `month_embed` in the published weights)."""


class GalileoEmbedding(nn.Module):
    """Chips [B, 11, P, P] of normalised bands to tokens [B, N, D].

    Args:
        chip_px: Side P of the square chips, a multiple of 8.
        month: Month of the acquisition, 0 for January to 11 for December.
    """

    code: Tensor

    def __init__(self, chip_px: int, month: int) -> None:
        super().__init__()
        sizes = {group: len(bands) for group, bands in BAND_GROUPS.items()}
        self.patch = nn.ModuleDict({group: nn.Conv2d(n, WIDTH, PATCH_PX, PATCH_PX) for group, n in sizes.items()})
        self.channel = nn.Parameter(torch.zeros(len(BAND_GROUPS), PART_WIDTH))
        # Computed, so not part of the weights; rounded to fp32, so that fp32 and fp64 models use the same values.
        self.register_buffer("code", fixed_code(chip_px // PATCH_PX, month).float(), persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        """Patch projections of each band group, plus the code of channel, time and place."""
        groups = [self.patch[name](chips[:, list(bands)]).flatten(2) for name, bands in BAND_GROUPS.items()]
        tokens = torch.stack(groups, dim=1).transpose(2, 3)  # [B, group, place, D]
        return (tokens + self._token_code()).flatten(1, 2)

    def _token_code(self) -> Tensor:
        """Codes [group, place, D]: the trained channel code in front of the fixed one."""
        places = self.code.shape[0]
        channel = self.channel[:, None].expand(-1, places, -1)
        return torch.cat([channel, self.code.expand(len(BAND_GROUPS), -1, -1)], dim=2)


def fixed_code(grid: int, month: int) -> Tensor:
    """What is added to the tokens of each of the grid x grid places and never trained: [places, 3 x 32], float64.

    Time step 0 (sine 0, cosine 1), then the month as sine and cosine of its angle in the year, then the sine-cosine
    code of x and of y in pixels of 10 m (equation of Vaswani et al., arXiv:1706.03762, section 3.5). Time and month
    are tables in the published file; scripts/convert_galileo.py compares them with what stands here.
    """
    half = PART_WIDTH // 2
    angles = torch.tensor([0.0, 2 * math.pi * month / 12], dtype=torch.float64)
    time_and_month = torch.stack([angles.sin(), angles.cos()], dim=1).repeat_interleave(half).view(2, 2, half)
    pixels = torch.arange(grid, dtype=torch.float64) * PATCH_PX
    y, x = torch.meshgrid(pixels, pixels, indexing="ij")
    place = torch.cat([sine_cosine(x.flatten(), half), sine_cosine(y.flatten(), half)], dim=1)
    return torch.cat([time_and_month.flatten().expand(grid * grid, -1), place], dim=1)


def sine_cosine(position: Tensor, width: int) -> Tensor:
    """Code [n, width] of n positions: width/2 sines then width/2 cosines of position x 10000^(-2i/width)."""
    order = torch.arange(width // 2, dtype=position.dtype)
    angle = position[:, None] * 10000.0 ** (-order / (width / 2))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Attention(nn.Module):
    """Multi-head self-attention [B, N, D] -> [B, N, D] with separate projections (arXiv:1706.03762, section 3.2)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        """Every token reads from all tokens of its own chip."""
        q, k, v = (
            layer(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        mixed = mixed.transpose(1, 2).flatten(2)
        return cast(Tensor, self.proj(mixed))


class Mlp(nn.Module):
    """Two linear layers with GELU between, on each token alone."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        return cast(Tensor, self.fc2(F.gelu(self.fc1(tokens))))


class EncoderBlock(nn.Module):
    """Pre-norm transformer block [B, N, D] -> [B, N, D] (ViT, arXiv:2010.11929, equations 2 and 3), no dropout."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attention, then the MLP, each added to what came in."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return cast(Tensor, tokens + self.mlp(self.norm2(tokens)))


class NormAndMean(nn.Module):
    """The last LayerNorm, the mean over tokens, and fixed standardisation: [B, N, D] -> features [B, D].

    `centre` and `spread` are never trained and leave features as they are until `backbone.standardise` sets them.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """One feature vector per chip."""
        mean: Tensor = self.norm(tokens).mean(dim=1)
        return (mean - self.centre) / self.spread

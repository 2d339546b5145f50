"""Galileo nano: a Vision Transformer over groups of Sentinel-2 bands, written from its published weights.

Model: Tseng et al., "Galileo: Learning Global and Local Features in Pretrained Remote Sensing Models",
arXiv:2502.09356. Only the path for one Sentinel-2 acquisition and its NDVI is here. Shapes use B chips, N tokens and
D = 128 values per token; a square chip of P pixels has N = groups x (P/8) x (P/8) tokens, six groups when all bands
are there. Like the published model it also works with some of the groups: a picture in colours has S2_RGB alone.
"""

from __future__ import annotations

import math
from importlib import resources
from importlib.resources.abc import Traversable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.backbones import weights
from orbitune.learn.backbones.seam import Backbone, Final
from orbitune.learn.inputs import InputSpec, can_have
from orbitune.learn.model_spec import SCENE_MONTH

WIDTH = 128
NUM_HEADS = 8
NUM_BLOCKS = 4
MLP_HIDDEN = 512
PATCH_PX = 8
"""Galileo nano (config.json beside the weights: embedding_size, num_heads, depth, mlp_ratio 4, max_patch_size)."""

BAND_GROUPS = {
    "S2_RGB": ("B04", "B03", "B02"),
    "S2_Red_Edge": ("B05", "B06", "B07"),
    "S2_NIR_10m": ("B08",),
    "S2_NIR_20m": ("B8A",),
    "S2_SWIR": ("B11", "B12"),
    "NDVI": ("NDVI",),
}
"""Channels of each token group, in the order in which the published projections read them."""

CHANNEL_MEAN_STD = {
    "B02": (1395.3408730676722, 917.7041440370853),
    "B03": (1338.4026921784578, 913.2988423581528),
    "B04": (1343.09883810357, 1092.678723527555),
    "B05": (1543.8607982512297, 1047.2206083460424),
    "B06": (2186.2022069512263, 1048.0101611156767),
    "B07": (2525.0932853316694, 1143.6903026819996),
    "B08": (2410.3377187373408, 1098.979177731649),
    "B8A": (2750.2854646886753, 1204.472755085893),
    "B11": (2234.911100061487, 1145.9774063078878),
    "B12": (1474.5311266077113, 980.2429840007796),
    "NDVI": (0.2892116502999044, 0.2720939024500081),
}
"""Mean and standard deviation of each channel over the pre-training set of Galileo, which fix its input scale
(config/normalization.json of github.com/nasaharvest/galileo). Bands are digital numbers: reflectance x 10000."""

DIGITAL_NUMBER = 10000.0
"""Digital number of reflectance 1 (Sentinel-2 Products Specification Document, quantification value)."""

PART_WIDTH = WIDTH // 4
"""Channel, time step, month and place each fill a quarter of the code that is added to a token (the 32 columns of
`s_t_channel_embed`, `pos_embed` and `month_embed` in the published weights)."""

SHIPPED = resources.files("orbitune") / "data" / "galileo_nano" / "encoder.safetensors"
REINSTALL = "restore it from the Orbitune distribution (reinstall the package)"


def build_galileo(
    chip_px: int,
    month: int = SCENE_MONTH,
    groups: tuple[str, ...] = tuple(BAND_GROUPS),
    dense: bool = False,
) -> Backbone:
    """Galileo nano with whatever weights PyTorch gives; the global random generator is left as it was.

    Args:
        chip_px: Side of the square chips in pixels, a multiple of 8.
        month: Month of the acquisition, 0 for January to 11 for December.
        groups: Names in `BAND_GROUPS` that the images have, in that order.
        dense: Features as a map [128, P/8, P/8], the mean over groups, instead of one mean over all tokens.
    """
    inputs = input_spec(chip_px, groups)
    grid = chip_px // PATCH_PX
    feature_shape = (WIDTH, grid, grid) if dense else (WIDTH,)
    with torch.random.fork_rng(devices=[]):
        embedding = GalileoEmbedding(chip_px, month, groups)
        blocks = [EncoderBlock(WIDTH, NUM_HEADS, MLP_HIDDEN) for _ in range(NUM_BLOCKS)]
        final = NormAndMap(WIDTH, len(groups), grid) if dense else NormAndMean(WIDTH)
        return Backbone(embedding, blocks, final, feature_shape, inputs)


def groups_of(channels: tuple[str, ...]) -> tuple[str, ...]:
    """Band groups that images with these channels fill.

    Raises:
        InputError: None of them.
    """
    groups = tuple(group for group, bands in BAND_GROUPS.items() if all(can_have(channels, band) for band in bands))
    if not groups:
        needed = "; ".join(f"{group}: {', '.join(bands)}" for group, bands in BAND_GROUPS.items())
        raise InputError(
            f"galileo-nano cannot read images of {', '.join(channels)}: it needs all bands of at least one group "
            f"({needed}), or the colours red, green, blue"
        )
    return groups


def input_spec(chip_px: int, groups: tuple[str, ...]) -> InputSpec:
    """Channels of the groups, normalised as in pre-training: x' = (x - (mean - 2 std)) / (4 std).

    Raises:
        InputError: The chips are not whole patches.
    """
    if chip_px <= 0 or chip_px % PATCH_PX:
        raise InputError(f"galileo-nano reads patches of {PATCH_PX} px: chips of {chip_px} px are no multiple of that")
    read = [band for group in groups for band in BAND_GROUPS[group]]
    channels = tuple(band for band in CHANNEL_MEAN_STD if band in read)
    mean_std = [CHANNEL_MEAN_STD[band] for band in channels]
    centre = tuple(mean - 2 * std for mean, std in mean_std)
    return InputSpec(channels, chip_px, DIGITAL_NUMBER, centre, tuple(4 * std for _, std in mean_std))


def read_galileo(backbone: Backbone, path: Traversable = SHIPPED, advice: str = REINSTALL) -> None:
    """Fill the backbone from the file that scripts/convert_galileo.py writes; groups it does not have are left out.

    Raises:
        InputError: The file is missing, truncated or corrupt, or its tensors are not those of Galileo nano.
    """
    tensors = weights.read_tensors(path, advice)
    with torch.device("meta"):
        whole = dict(build_galileo(PATCH_PX).named_parameters())
    weights.refuse(weights.mismatches(whole, tensors), path, advice)
    embedding = cast(GalileoEmbedding, backbone.embedding)
    rows = [number for number, group in enumerate(BAND_GROUPS) if group in embedding.patch]
    tensors["embedding.channel"] = tensors["embedding.channel"][rows]
    parameters = dict(backbone.named_parameters())
    weights.fill(backbone, parameters, {key: tensors[key] for key in parameters}, path, advice)


class GalileoEmbedding(nn.Module):
    """Chips [B, C, P, P] of normalised channels to tokens [B, N, D].

    Args:
        chip_px: Side P of the square chips, a multiple of 8.
        month: Month of the acquisition, 0 for January to 11 for December.
        groups: Names in `BAND_GROUPS`; C and its order are those of `input_spec`.
    """

    code: Tensor

    def __init__(self, chip_px: int, month: int, groups: tuple[str, ...] = tuple(BAND_GROUPS)) -> None:
        super().__init__()
        order = input_spec(chip_px, groups).channels
        self.bands = {group: [order.index(band) for band in BAND_GROUPS[group]] for group in groups}
        sizes = {group: len(bands) for group, bands in self.bands.items()}
        self.patch = nn.ModuleDict({group: nn.Conv2d(n, WIDTH, PATCH_PX, PATCH_PX) for group, n in sizes.items()})
        self.channel = nn.Parameter(torch.zeros(len(groups), PART_WIDTH))
        # Computed, so not part of the weights; rounded to fp32, so that fp32 and fp64 models use the same values.
        self.register_buffer("code", fixed_code(chip_px // PATCH_PX, month).float(), persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        """Patch projections of each band group, plus the code of channel, time and place."""
        groups = [self.patch[name](chips[:, bands]).flatten(2) for name, bands in self.bands.items()]
        tokens = torch.stack(groups, dim=1).transpose(2, 3)  # [B, group, place, D]
        return (tokens + self._token_code()).flatten(1, 2)

    def _token_code(self) -> Tensor:
        """Codes [group, place, D]: the trained channel code in front of the fixed one."""
        places = self.code.shape[0]
        channel = self.channel[:, None].expand(-1, places, -1)
        return torch.cat([channel, self.code.expand(len(self.bands), -1, -1)], dim=2)


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


class NormAndMean(Final):
    """The last LayerNorm and the mean over tokens: [B, N, D] -> features [B, D]."""

    def __init__(self, width: int) -> None:
        super().__init__((width,))
        self.norm = nn.LayerNorm(width)

    def features(self, activation: Tensor) -> Tensor:
        """One feature vector per chip."""
        return cast(Tensor, self.norm(activation).mean(dim=1))


class NormAndMap(Final):
    """The last LayerNorm and, at each place, the mean over groups: [B, N, D] -> features [B, D, grid, grid]."""

    def __init__(self, width: int, num_groups: int, grid: int) -> None:
        super().__init__((width, grid, grid))
        self.norm = nn.LayerNorm(width)
        self.shape = (num_groups, grid, grid)

    def features(self, activation: Tensor) -> Tensor:
        """One feature vector per place."""
        by_place: Tensor = self.norm(activation).unflatten(1, self.shape).mean(dim=1)
        return by_place.permute(0, 3, 1, 2)

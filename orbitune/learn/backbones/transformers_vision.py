"""Vision models of Hugging Face transformers, cut into embedding | blocks | final.

The library builds the model and maps the names of older checkpoints; the cut only re-groups its layers, so outputs are
those of the library's own forward pass. Pooled features are the class token after the last norm for ViT, DINOv2 and
DINOv3 (what the library's classifier and `pooler_output` read there) and for MAE (arXiv:2111.06377, appendix A.1: the
class token is used for probing), and the mean over tokens for Swin (its `pooler_output`). Dense features are the patch
tokens as a map. Models come from a local directory or from the user's Hugging Face cache; nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.backbones import weights
from orbitune.learn.backbones.seam import Backbone, Bound, Final, as_map, check_cut, import_extra, seeded
from orbitune.learn.inputs import COLOUR_BANDS, InputSpec
from orbitune.learn.model_spec import ModelSpec

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's colours in 0..1, with which DINOv2, DINOv3, MAE and Swin were trained (torchvision's
documentation of its pretrained models; `IMAGENET_DEFAULT_MEAN` in the library's image processors)."""

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""What Google's ViT was trained with (`IMAGENET_STANDARD_MEAN`, default of the library's ViTImageProcessor)."""


OPTIONAL = ("pooler.", "embeddings.mask_token")
"""Tensors that no feature depends on, so a file may hold or lack them."""


@dataclass(frozen=True)
class Parts:
    """A library's model taken apart.

    Attributes:
        embedding, blocks, norm: Its parts; blocks are activation -> activation.
        paths: Path of each block in the library's model.
        num_extra: Tokens in front of the patches.
        grid: Patches along a side, after the last block.
    """

    embedding: nn.Module
    blocks: list[nn.Module]
    norm: nn.Module
    paths: list[str]
    num_extra: int
    grid: int


@dataclass(frozen=True)
class Family:
    """How one architecture is cut.

    Attributes:
        blocks: Path of the list of its layers.
        norm: Name of the last norm.
        normalisation: Mean and deviation of its images where its directory does not say.
        take_apart: Makes the parts for images of a given side.
    """

    blocks: str
    norm: str
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    take_apart: Callable[[Any, Family, int], Parts]


class TokenFeatures(Final):
    """The last norm, then one vector per image or a map of patch tokens: [B, N, D] -> [B, D] or [B, D, h, w].

    Args:
        norm: The library's own.
        feature_shape: (D,) or (D, h, w).
        num_extra: Tokens before the patches: class token and registers; without any, tokens are averaged.
    """

    def __init__(self, norm: nn.Module, feature_shape: tuple[int, ...], num_extra: int) -> None:
        super().__init__(feature_shape)
        self.norm = norm
        self.num_extra = num_extra
        self.dense = len(feature_shape) > 1

    def features(self, activation: Tensor) -> Tensor:
        """Features, not standardised."""
        tokens: Tensor = self.norm(activation)
        if self.dense:
            return as_map(tokens[:, self.num_extra :])
        return tokens[:, 0] if self.num_extra else tokens.mean(dim=1)


class UnmaskedEmbedding(nn.Module):
    """Images [B, C, P, P] to all tokens [B, N, D] in order, for MAE, whose own embedding hides and shuffles patches.

    Positions are fixed sines and cosines there (arXiv:2111.06377, section 3), so they are no weights here either.
    """

    positions: Tensor

    def __init__(self, embeddings: Any, image_px: int) -> None:
        super().__init__()
        self.patch_embeddings = embeddings.patch_embeddings
        self.cls_token = embeddings.cls_token
        sample = torch.zeros(1, self.patch_embeddings.num_channels, image_px, image_px)
        with torch.no_grad():
            positions = embeddings.interpolate_pos_encoding(self.patch_embeddings(sample), image_px, image_px)
        self.register_buffer("positions", positions.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens and class token, each at its place."""
        patches = self.patch_embeddings(images) + self.positions[:, 1:]
        cls_token = (self.cls_token + self.positions[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([cls_token, patches], dim=1)


class RotaryBlock(nn.Module):
    """A layer of DINOv3 with the rotary position code of its image size bound: [B, N, D] -> [B, N, D]."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, layer: nn.Module, cosine: Tensor, sine: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, activation: Tensor) -> Tensor:
        """One layer."""
        return torch.as_tensor(self.layer(activation, position_embeddings=(self.cosine, self.sine)))


def load_transformers(spec: ModelSpec, seed: int, dense: bool, channels: tuple[str, ...]) -> Backbone:
    """A vision model of transformers; the arguments are those of `load_backbone`.

    Raises:
        InputError: No such directory, an architecture that cannot be cut, or weights that do not fit it.
        MissingExtra: transformers is not installed.
    """
    library = import_extra("transformers", "models")
    folder = find_folder(library, spec.source)
    config = _read_config(library, folder)
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise InputError(
            f"model {spec.source}: architecture '{config.model_type}' cannot be cut here; those that can: "
            f"{', '.join(FAMILIES)}; any other as name = 'module' with a function of your own"
        )
    with quiet(library), seeded(seed):
        if spec.weights == "random":
            model, unused = library.AutoModel.from_config(config).float(), list[str]()
        else:
            model, unused = _pretrained(library, config, Path(spec.file) if spec.file else folder)
    inputs = _input_spec(spec, folder, config, family, channels)
    return _cut(model.eval(), family, inputs, dense, unused)


def find_folder(library: Any, source: str) -> Path:
    """The directory of a model: `source` itself, or where the Hugging Face cache keeps the model of that id.

    Raises:
        InputError: Neither is there.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(library.utils.cached_file(source, "config.json", local_files_only=True)).parent
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.source = '{source}': no directory with config.json, and no model of that id in the Hugging Face "
            f"cache; Orbitune downloads nothing: fetch it once with `hf download {source}`, or give a directory"
        ) from error


def _read_config(library: Any, folder: Path) -> Any:
    try:
        return library.AutoConfig.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # its checks raise classes of several libraries
        raise InputError(f"model {folder}: config.json is not one that transformers reads ({error})") from error


def _pretrained(library: Any, config: Any, path: Path) -> tuple[Any, list[str]]:
    """The model with its weights, and which tensors of the file it has no place for.

    Raises:
        InputError: The weights are missing, damaged, or of another architecture.
    """
    tensors = weights.read_weights(path)
    build = library.MODEL_MAPPING[type(config)].from_pretrained
    model, found = build(
        None, config=config, state_dict=tensors, output_loading_info=True, ignore_mismatched_sizes=True
    )
    missing = sorted(key for key in found["missing_keys"] if not key.startswith(OPTIONAL))
    wrong = [f"{key} is {list(has)}, needed is {list(needs)}" for key, has, needs in sorted(found["mismatched_keys"])]
    unused = sorted(found["unexpected_keys"])
    ours = {name for name, _ in model.named_children()}
    bare = {key: key.removeprefix(f"{model.base_model_prefix}.") for key in unused}
    stray = [key for key in unused if bare[key].split(".")[0] in ours and not bare[key].startswith(OPTIONAL)]
    weights.refuse(weights.described(missing, stray) + wrong[: weights.SHOWN], path)
    return model.float(), unused


@contextmanager
def quiet(library: Any) -> Iterator[None]:
    """The library's progress bars and reports are off: what matters in them is raised or returned."""
    log = library.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _input_spec(spec: ModelSpec, folder: Path, config: Any, family: Family, channels: tuple[str, ...]) -> InputSpec:
    """Colours in 0..1, normalised as the model's directory says; models of other than three channels read what is
    stored."""
    size = spec.image_px or _side(config.image_size)
    patch = _side(config.patch_size)
    if size % patch:
        raise InputError(f"model.image_px = {size}: {spec.source} reads patches of {patch} px; give a multiple of that")
    names = tuple(COLOUR_BANDS) if config.num_channels == len(COLOUR_BANDS) else channels
    if len(names) != config.num_channels:
        raise InputError(
            f"model {spec.source} reads {config.num_channels} channels, the images hold {len(names)} "
            f"({', '.join(names)}); choose images or a model that agree"
        )
    plain = ((0.0,) * len(names), (1.0,) * len(names))
    default = family.normalisation if config.num_channels == len(COLOUR_BANDS) else plain
    mean, deviation = _normalisation(folder / "preprocessor_config.json", default)
    if not len(mean) == len(deviation) == len(names):
        raise InputError(f"model {folder}: preprocessor_config.json normalises {len(mean)} channels of {len(names)}")
    return InputSpec(names, size, 1.0, mean, deviation)


def _side(size: Any) -> int:
    """Configurations give sides as a number or as height and width."""
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    if height != width:
        raise InputError(f"the model reads images or patches of {height} x {width} pixels; only square ones can be cut")
    return int(height)


def _normalisation(
    path: Path, default: tuple[tuple[float, ...], tuple[float, ...]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation from the file that Hugging Face keeps beside a model, the default without such a file."""
    if not path.is_file():
        return default
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        mean, deviation = content.get("image_mean", default[0]), content.get("image_std", default[1])
        return tuple(map(float, mean)), tuple(map(float, deviation))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"model {path}: damaged ({error}); download it again or remove it") from error


def _cut(model: Any, family: Family, inputs: InputSpec, dense: bool, unused: list[str]) -> Backbone:
    """Re-group the layers of a model."""
    check_cut(["embeddings", family.norm], dict(model.named_children()), f"transformers' {type(model).__name__}")
    parts = family.take_apart(model, family, inputs.size_px)
    width = next(parts.norm.parameters()).numel()
    feature_shape = (width, parts.grid, parts.grid) if dense else (width,)
    final = TokenFeatures(parts.norm, feature_shape, parts.num_extra)
    names = {f"blocks.{number}.layer": path for number, path in enumerate(parts.paths)}
    return Backbone(parts.embedding, parts.blocks, final, feature_shape, inputs, names, unused)


def _take_apart_vit(model: Any, family: Family, image_px: int) -> Parts:
    """ViT and DINOv2: positions are interpolated where images are not of the size they were trained for."""
    layers = model.get_submodule(family.blocks)
    resized = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    return Parts(
        embedding=Bound(_unmasked(model.embeddings), **resized),
        blocks=[Bound(layer) for layer in layers],
        norm=model.get_submodule(family.norm),
        paths=[f"{family.blocks}.{number}" for number in range(len(layers))],
        num_extra=1 + getattr(model.config, "num_register_tokens", 0),
        grid=image_px // _side(model.config.patch_size),
    )


def _unmasked(embeddings: Any) -> nn.Module:
    """The embedding without its mask token, which only pre-training reads."""
    embeddings.mask_token = None
    module: nn.Module = embeddings
    return module


def _take_apart_mae(model: Any, family: Family, image_px: int) -> Parts:
    """MAE's encoder on whole images."""
    return replace(_take_apart_vit(model, family, image_px), embedding=UnmaskedEmbedding(model.embeddings, image_px))


def _take_apart_dinov3(model: Any, family: Family, image_px: int) -> Parts:
    """DINOv3: positions are rotations of queries and keys, fixed for an image size."""
    with torch.no_grad():
        cosine, sine = model.rope_embeddings(torch.zeros(1, model.config.num_channels, image_px, image_px))
    blocks: list[nn.Module] = [RotaryBlock(layer, cosine, sine) for layer in model.get_submodule(family.blocks)]
    return replace(_take_apart_vit(model, family, image_px), blocks=blocks)


def _take_apart_swin(model: Any, family: Family, image_px: int) -> Parts:
    """Swin: every layer, and every merging of four patches between stages, is a block of its own."""
    side = image_px // _side(model.config.patch_size)
    resized = {"interpolate_pos_encoding": True} if model.embeddings.position_embeddings is not None else {}
    blocks: list[nn.Module] = []
    paths: list[str] = []
    stages: Any = model.get_submodule(family.blocks)
    for number, stage in enumerate(stages):
        layers = {f"blocks.{index}": layer for index, layer in enumerate(stage.blocks)}
        if stage.downsample is not None:
            layers["downsample"] = stage.downsample
        blocks += [Bound(layer, input_dimensions=(side, side)) for layer in layers.values()]
        paths += [f"{family.blocks}.{number}.{name}" for name in layers]
        side = (side + 1) // 2 if stage.downsample is not None else side
    embedding = Bound(_unmasked(model.embeddings), **resized)
    return Parts(embedding, blocks, model.get_submodule(family.norm), paths, 0, side)


FAMILIES: Mapping[str, Family] = {
    "vit": Family("layers", "layernorm", HALF, _take_apart_vit),
    "vit_mae": Family("layers", "layernorm", IMAGENET, _take_apart_mae),
    "dinov2": Family("encoder.layer", "layernorm", IMAGENET, _take_apart_vit),
    "dinov2_with_registers": Family("encoder.layer", "layernorm", IMAGENET, _take_apart_vit),
    "dinov3_vit": Family("model.layer", "norm", IMAGENET, _take_apart_dinov3),
    "swin": Family("encoder.layers", "layernorm", IMAGENET, _take_apart_swin),
}
"""`model_type` in config.json -> how it is cut; paths as in transformers 5.23."""

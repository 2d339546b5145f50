"""Vision Transformers of timm and torchgeo, cut into embedding | blocks | final.

Both are optional extras. torchgeo's Vision Transformers are timm's class `VisionTransformer` with other weights, so one
adapter serves both. It uses timm's own names (`patch_embed`, `_pos_embed`, `norm_pre`, `blocks`, `norm`, `fc_norm`) and
compares a model, once cut, with the library's uncut `forward_features` and `forward_head` before it is used. Pooled
features are those of `forward_head(pre_logits=True)`: class token or mean over patches, as its `global_pool` says.
"""

from __future__ import annotations

import copy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.backbones import weights
from orbitune.learn.backbones.seam import Backbone, Bound, Final, as_map, check_cut, check_equal, import_extra, seeded
from orbitune.learn.inputs import COLOUR_BANDS, InputSpec
from orbitune.learn.model_spec import ModelSpec

PARTS = ("patch_embed", "norm_pre", "blocks", "norm", "fc_norm")
"""Children of timm's VisionTransformer that make its features."""

UNUSED = ("head.", "head_dist.", "attn_pool.")
"""What published files hold beyond that: classifiers."""

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = {"torchvision::nms": BOXES, "torchvision::qnms": BOXES}
"""What torchvision's Python code expects its compiled part to have declared (torchvision, csrc/ops/nms.cpp and
csrc/ops/quantized/cpu/qnms_kernel.cpp). timm imports torchvision, but needs neither."""


class TimmEmbedding(nn.Module):
    """Images [B, C, P, P] to tokens [B, N, D]: patches, class token and positions, as `forward_features` begins.

    Args:
        model: A VisionTransformer whose blocks, last norms and head have been taken out.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Tokens in front of the first block."""
        placed = self.model._pos_embed(self.model.patch_embed(images))
        return torch.as_tensor(self.model.norm_pre(placed))


class TimmFeatures(Final):
    """Last norm and pooling: [B, N, D] -> [B, D], or the patches as a map [B, D, grid, grid] where grid > 0."""

    def __init__(self, model: Any, width: int, grid: int) -> None:
        super().__init__((width, grid, grid) if grid else (width,))
        self.norm = model.norm
        self.fc_norm = nn.Identity() if grid else model.fc_norm
        self.num_extra = int(model.num_prefix_tokens)
        self.mean = model.global_pool == "avg"
        self.grid = grid

    def features(self, activation: Tensor) -> Tensor:
        """Features, not standardised."""
        tokens: Tensor = self.norm(activation)
        patches = tokens[:, self.num_extra :]
        if self.grid:
            return as_map(patches)
        return torch.as_tensor(self.fc_norm(patches.mean(dim=1) if self.mean else tokens[:, 0]))


def load_timm(spec: ModelSpec, seed: int, dense: bool, channels: tuple[str, ...]) -> Backbone:
    """A Vision Transformer of timm or torchgeo; the arguments are those of `load_backbone`.

    timm's read colours, torchgeo's the channels as they are stored, divided by their full scale.

    Raises:
        InputError: No such architecture, one that cannot be cut, or weights that do not fit it.
        MissingExtra: The library is not installed.
    """
    with seeded(seed):
        model = _create(spec, len(channels))
    unused = _read(model, spec) if spec.weights == "pretrained" else []
    inputs = _input_spec(model, spec, channels)
    return cut_timm(model.float().eval(), inputs, dense, unused, f"{spec.name} {spec.source}")


def _create(spec: ModelSpec, num_channels: int) -> Any:
    """The architecture with the library's own initialisation, without a classifier.

    Raises:
        InputError: The library does not know it.
    """
    import_torchvision(spec.name)
    library = import_extra(spec.name, spec.name)
    options: dict[str, Any] = {"num_classes": 0, "dynamic_img_size": True}
    try:
        if spec.name == "timm":
            return library.create_model(spec.source, pretrained=False, **options)
        return library.models.get_model(spec.source, weights=None, in_chans=num_channels, **options)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"model.source = '{spec.source}': {spec.name} has no Vision Transformer of that name that can be cut "
            f"({error}); timm.list_models('vit*') lists those of timm"
        ) from error


def import_torchvision(extra: str) -> None:
    """Import torchvision, also where its compiled part does not fit the installed PyTorch.

    Its Python code then asks for the operators above and fails; declared without a kernel, they satisfy it. This
    happens with wheels for another PyTorch or for GPUs, beside a PyTorch for CPUs.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import_extra("torchvision", extra)
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator, arguments in OPERATORS.items():
            torch.library.define(operator, arguments)
        import_module("torchvision")


def _read(model: Any, spec: ModelSpec) -> list[str]:
    """Fill the model from `spec.file`, or from the Hugging Face cache; returns the tensors it has no place for.

    Raises:
        InputError: There is no file, it is damaged, or not this model's.
    """
    path = Path(spec.file) if spec.file else _cached(model, spec)
    tensors = weights.read_weights(path)
    expected = model.state_dict()
    unused = [key for key in tensors if key.startswith(UNUSED) and key not in expected]
    weights.fill(model, expected, {key: value for key, value in tensors.items() if key not in unused}, path)
    return sorted(unused)


def _cached(model: Any, spec: ModelSpec) -> Path:
    """Where the Hugging Face cache keeps the weights that timm publishes for this architecture.

    Raises:
        InputError: Nowhere.
    """
    repository = (getattr(model, "pretrained_cfg", None) or {}).get("hf_hub_id")
    if repository:
        hub = import_extra("huggingface_hub", spec.name)
        path = hub.try_to_load_from_cache(repository, "model.safetensors")
        if isinstance(path, str):
            return Path(path)
    where = f"fetch {repository} once with `hf download {repository} model.safetensors`, or " if repository else ""
    raise InputError(
        f"model.source = '{spec.source}': no weights on this machine, and Orbitune downloads nothing; {where}"
        "name a .safetensors file in model.file, or set model.weights = 'random'"
    )


def _input_spec(model: Any, spec: ModelSpec, channels: tuple[str, ...]) -> InputSpec:
    """Colours normalised as timm's `pretrained_cfg` says; for torchgeo the stored channels in 0..1."""
    published = getattr(model, "pretrained_cfg", None) or {}
    size = spec.image_px or int(published.get("input_size", (0, 224, 224))[-1])
    if spec.name == "torchgeo":
        return InputSpec(channels, size, 1.0, (0.0,) * len(channels), (1.0,) * len(channels))
    mean, deviation = (published.get(key, value) for key, value in (("mean", (0.5,) * 3), ("std", (0.5,) * 3)))
    return InputSpec(tuple(COLOUR_BANDS), size, 1.0, tuple(mean), tuple(deviation))


def cut_timm(model: Any, inputs: InputSpec, dense: bool, unused: list[str], what: str) -> Backbone:
    """Take a VisionTransformer apart.

    Args:
        model: In evaluation mode; its blocks, norms and head are taken out of it.
        inputs: What it reads; the side must be whole patches.
        dense: Features as a map.
        unused: Copied into the backbone.
        what: The model, for messages.

    Raises:
        InputError: It lacks a part, or its parts in a row are not its forward pass.
    """
    check_cut(PARTS, dict(model.named_children()), what)
    whole, patch_px = copy.deepcopy(model), int(model.patch_embed.patch_size[0])
    if inputs.size_px % patch_px:
        raise InputError(f"model.image_px = {inputs.size_px}: {what} reads patches of {patch_px} px; give a multiple")
    grid = inputs.size_px // patch_px if dense else 0
    final, blocks = TimmFeatures(model, int(model.embed_dim), grid), [Bound(block) for block in model.blocks]
    model.blocks, model.norm, model.fc_norm, model.head = (nn.Identity() for _ in range(4))
    names = {f"blocks.{number}.layer": f"blocks.{number}" for number in range(len(blocks))}
    feature_shape = (int(model.embed_dim), grid, grid) if dense else (int(model.embed_dim),)
    backbone = Backbone(TimmEmbedding(model), blocks, final, feature_shape, inputs, names, unused).eval()

    def uncut(images: Tensor) -> Any:
        tokens = whole.forward_features(images)
        return as_map(tokens[:, whole.num_prefix_tokens :]) if dense else whole.forward_head(tokens, pre_logits=True)

    check_equal(backbone, uncut, what)
    return backbone

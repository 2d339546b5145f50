"""Vision models, each cut into embedding | blocks | final (see `seam.Backbone`)."""

from __future__ import annotations

from pathlib import Path

from orbitune.learn.backbones.galileo import build_galileo, groups_of, read_galileo
from orbitune.learn.backbones.seam import Backbone, randomise, standardise
from orbitune.learn.inputs import check_channels
from orbitune.learn.model_spec import ModelSpec

__all__ = ["Backbone", "load_backbone", "standardise"]


def load_backbone(spec: ModelSpec, seed: int, channels: tuple[str, ...], chip_px: int, dense: bool) -> Backbone:
    """Build a backbone, ready in evaluation mode, fp32, on the CPU. Nothing is downloaded.

    Args:
        spec: Which model, and where its weights come from.
        seed: Of random weights: the same seed, the same weights.
        channels: Names of the channels of the stored images.
        chip_px: Side of the stored images in pixels.
        dense: Features as a map, for segmentation, instead of one vector per image.

    Raises:
        InputError: No such model, images it cannot read, or weights that are missing, damaged or another model's.
        MissingExtra: The model's library is not installed.
    """
    backbone = _load(spec, seed, channels, chip_px, dense)
    check_channels(channels, backbone.inputs.channels)
    return backbone.eval()


def _load(spec: ModelSpec, seed: int, channels: tuple[str, ...], chip_px: int, dense: bool) -> Backbone:
    # Each library is imported only when asked for: transformers takes seconds.
    if spec.name == "galileo-nano":
        return _load_galileo(spec, seed, channels, chip_px, dense)
    if spec.name == "transformers":
        from orbitune.learn.backbones.transformers_vision import load_transformers

        return load_transformers(spec, seed, dense, channels)
    if spec.name == "module":
        from orbitune.learn.backbones.own_module import load_module

        return load_module(spec, seed, channels, chip_px, dense)
    from orbitune.learn.backbones.timm_models import load_timm

    return load_timm(spec, seed, dense, channels)


def _load_galileo(spec: ModelSpec, seed: int, channels: tuple[str, ...], chip_px: int, dense: bool) -> Backbone:
    """The shipped model at the size of the chips, or of `image_px`."""
    backbone = build_galileo(spec.image_px or chip_px, spec.month, groups_of(channels), dense)
    if spec.weights == "random":
        randomise(backbone, seed)
    elif spec.file:
        read_galileo(backbone, Path(spec.file), "give the file that scripts/convert_galileo.py writes")
    else:
        read_galileo(backbone)
    return backbone

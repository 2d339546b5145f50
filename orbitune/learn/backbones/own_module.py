"""A user's own model, "package.module:function", cut after its children.

The function takes no arguments and returns one of

- an `nn.Sequential`: the first child is the embedding, the last is the final part, each one between is a block;
- (module, names): it may be cut after each named child. Children run in the order in which they were added; those up
  to the first name are the embedding, those after the last name the final part;
- a `Backbone`, which is taken as it is.

Activations may have any shape. The final part gives one vector per image [B, D], or a map [B, D, h, w] for dense tasks.
Images are what is stored, divided by the stored full scale, unless a `Backbone` says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.backbones import weights
from orbitune.learn.backbones.seam import Backbone, Final, check_cut, check_equal, seeded
from orbitune.learn.inputs import InputSpec
from orbitune.learn.model_spec import ModelSpec


class OwnFinal(Final):
    """The user's last layers: [B, ...] -> features [B, *feature_shape]."""

    def __init__(self, layers: nn.Module, feature_shape: tuple[int, ...]) -> None:
        super().__init__(feature_shape)
        self.layers = layers

    def features(self, activation: Tensor) -> Tensor:
        """Features, not standardised."""
        return torch.as_tensor(self.layers(activation))


def load_module(spec: ModelSpec, seed: int, channels: tuple[str, ...], chip_px: int, dense: bool) -> Backbone:
    """What the user's function returns, as a backbone; the arguments are those of `load_backbone`.

    Raises:
        InputError: The function cannot be had, returns something else, cannot be cut, or does not fit its weights.
    """
    with seeded(seed):
        built = _call(spec.source)
    if isinstance(built, Backbone):
        _read(built, spec)
        return _checked(built.eval(), dense, spec.source)
    module, names = _module_and_names(built, spec)
    _read(module, spec)
    for layer in module.modules():
        if getattr(layer, "inplace", False):  # would write into what has just crossed the cut
            layer.inplace = False  # type: ignore[assignment]
    size = spec.image_px or chip_px
    inputs = InputSpec(channels, size, 1.0, (0.0,) * len(channels), (1.0,) * len(channels))
    module = module.float().eval()
    backbone = _cut(module, names, inputs, spec.source)
    check_equal(backbone, module, f"model.source = '{spec.source}'")
    return _checked(backbone, dense, spec.source)


def _call(source: str) -> Any:
    """What "package.module:function" returns; modules beside the working directory are found too.

    Raises:
        InputError: There is no such module or function.
    """
    place, _, name = source.partition(":")
    try:
        with _working_directory_first():
            function = getattr(import_module(place), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            f"model.source = '{source}' cannot be imported ({error}); write 'package.module:function', with the module "
            "installed or in the working directory"
        ) from error
    return function()


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """`orbitune` is started as a program, for which Python does not look there by itself."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _module_and_names(built: Any, spec: ModelSpec) -> tuple[nn.Module, tuple[str, ...]]:
    """The module, and the children after which it may be cut; names in the scenario come first.

    Raises:
        InputError: Nothing says where to cut, or a name is wrong.
    """
    module, names = built if isinstance(built, tuple) and len(built) == 2 else (built, ())
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model.source = '{spec.source}' returned {type(built).__name__}; allowed are an nn.Sequential, "
            "(module, names of its children to cut after), or a Backbone"
        )
    children = [name for name, _ in module.named_children()]
    names = spec.cut_points or tuple(names)
    if not names and isinstance(module, nn.Sequential) and len(children) >= 2:
        names = tuple(children[:-1])
    if not names:
        raise InputError(
            f"model.source = '{spec.source}' says nowhere where it may be cut: return an nn.Sequential of two or more "
            f"parts, or name children in model.cut_points; it has {', '.join(children) or 'none'}"
        )
    check_cut(names, dict(module.named_children()), f"model.source = '{spec.source}'")
    return module, tuple(sorted(set(names), key=children.index))


def _read(module: nn.Module, spec: ModelSpec) -> None:
    """Weights from `spec.file`, if any; what the function brings or starts from otherwise.

    Raises:
        InputError: The file is damaged, or not the module's.
    """
    if spec.weights == "pretrained" and spec.file:
        path = Path(spec.file)
        tensors = weights.read_weights(path)
        fixed = ("final.centre", "final.spread") if isinstance(module, Backbone) else ()  # set by `standardise`
        expected = {key: value for key, value in module.state_dict().items() if key not in fixed}
        weights.fill(module, expected, tensors, path)


def _cut(module: nn.Module, names: Sequence[str], inputs: InputSpec, what: str) -> Backbone:
    """Children grouped between the names.

    Raises:
        InputError: The parts do not fit the images or each other.
    """
    groups: list[list[str]] = [[]]
    for name, _ in module.named_children():
        groups[-1].append(name)
        if name in names:
            groups.append([])
    parts = [_row(module, group) for group in groups]
    features = _features_of_one(parts, inputs, what)
    shape = tuple(features.shape[1:])
    blocks = enumerate(groups[1:-1])
    paths = {f"blocks.{number}.{name}": name for number, group in blocks for name in group}
    return Backbone(parts[0], parts[1:-1], OwnFinal(parts[-1], shape), shape, inputs, paths)


def _row(module: nn.Module, names: Sequence[str]) -> nn.Sequential:
    """Children under their own names."""
    row = nn.Sequential()
    for name in names:
        row.add_module(name, module.get_submodule(name))
    return row


@torch.no_grad()
def _features_of_one(parts: Sequence[nn.Module], inputs: InputSpec, what: str) -> Tensor:
    activation = torch.zeros(1, *inputs.sample_shape)
    try:
        for part in parts:
            activation = part(activation)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"model.source = '{what}': its children one after the other fail on images {list(inputs.sample_shape)} "
            f"({error}); set model.image_px or return a module whose children are all of its forward pass"
        ) from error
    return activation


def _checked(backbone: Backbone, dense: bool, what: str) -> Backbone:
    """Refuse features of a shape that no head can read.

    Raises:
        InputError: Says the shape.
    """
    wanted = 3 if dense else 1
    if len(backbone.feature_shape) != wanted:
        raise InputError(
            f"model.source = '{what}' gives features {list(backbone.feature_shape)} per image; this task needs "
            + ("a map [D, h, w]" if dense else "one vector [D]: end it with pooling, for instance nn.Flatten")
        )
    return backbone

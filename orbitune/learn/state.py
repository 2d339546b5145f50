"""The state of a training as one flat set of named tensors, so that it can be saved without pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from orbitune.errors import InputError
from orbitune.learn.aggregate import Tensors


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values."""
    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def digest_of_frozen(model: nn.Module) -> Tensor:
    """32 bytes that tell two models apart by everything that does not train."""
    frozen = {name: value for name, value in model.named_parameters() if not value.requires_grad}
    buffers = {f"buffer {name}": value for name, value in model.named_buffers()}
    return torch.tensor(list(bytes.fromhex(digest({**frozen, **buffers}))), dtype=torch.uint8)


def optimizer_tensors(optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter]) -> Tensors:
    """What an optimiser remembers of its parameters, as `name/key`."""
    return {
        f"{name}/{key}": value.detach().clone()
        for name, parameter in trained.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)  # SGD without momentum remembers None
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser over exactly the `trained` parameters the memory that `optimizer_tensors` returned.

    Raises:
        InputError: The memory is of other parameters.
    """
    position = {name: index for index, name in enumerate(trained)}
    memory: dict[int, Tensors] = {}
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        if name not in trained or value.shape not in (trained[name].shape, torch.Size([])):
            raise InputError(f"the optimiser's memory is of another model: '{name}' {list(value.shape)}")
        memory.setdefault(position[name], {})[key] = value.clone()
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})


def below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def check_same(what: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse tensors of another training.

    Raises:
        InputError: A name is missing or too many, or a shape or type differs.
    """
    odd_names = sorted(expected.keys() ^ found.keys())
    if odd_names:
        raise InputError(f"{what} is of another model: '{odd_names[0]}' is in one and not in the other")
    for name, value in expected.items():
        if (value.shape, value.dtype) != (found[name].shape, found[name].dtype):
            raise InputError(
                f"{what} is of another model: '{name}' is {list(found[name].shape)} {found[name].dtype}, "
                f"needed is {list(value.shape)} {value.dtype}"
            )


def check_kept(what: str, prefix: str, trained: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse tensors `prefix<number>.<name>` that are not of the trained ones.

    Raises:
        InputError: A name is none of theirs, or a shape or type differs.
    """
    for full_name, value in below(prefix, found).items():
        number, _, name = full_name.partition(".")
        like = trained.get(name)
        if not number.isdecimal() or like is None or (value.shape, value.dtype) != (like.shape, like.dtype):
            raise InputError(f"{what} is of another model: '{prefix}{full_name}' is {list(value.shape)} {value.dtype}")

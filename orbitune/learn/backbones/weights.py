"""Weight files: safetensors only, read whole, and compared with the model before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from orbitune.errors import InputError

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
"""Endings under which PyTorch's pickles are published."""

PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of a zip archive, as torch.save writes, and of pickle protocols 2 to 5 (Python, pickletools)."""

SHOWN = 6
"""Names listed of each kind of difference; a wrong architecture would fill the screen. Our choice."""


def read_tensors(path: Traversable, advice: str = "give the right file") -> dict[str, Tensor]:
    """All tensors of one safetensors file on the CPU; half precision becomes fp32, which is exact.

    Args:
        path: The file.
        advice: What to do about a bad file, for the message.

    Raises:
        InputError: The file is missing, truncated, a pickle, or holds numbers that are not finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"model weights {path}: cannot be read ({error.strerror}); {advice}") from error
    _refuse_pickle(path, content[:4])
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise InputError(f"model weights {path}: truncated or not a safetensors file ({error}); {advice}") from error
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise InputError(f"model weights {path}: {_listed(broken)} holds values that are not finite; {advice}")
    half = (torch.float16, torch.bfloat16)
    return {key: value.float() if value.dtype in half else value for key, value in tensors.items()}


def _refuse_pickle(path: Traversable, start: bytes) -> None:
    if path.name.endswith(PICKLES) or start.startswith(PICKLE_STARTS):
        raise InputError(
            f"model weights {path}: a pickle, which can run code when it is read, so it is never opened; convert it "
            "once where you trust it, and give the new file: torch.load(old, weights_only=True) to a dict of tensors, "
            "then safetensors.torch.save_file(tensors, 'model.safetensors')"
        )


def read_weights(path: Traversable) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, or of a directory with model.safetensors, whole or in shards with an index.

    Raises:
        InputError: As `read_tensors`; or the directory holds no safetensors.
    """
    if not path.is_dir():
        return read_tensors(path)
    if (path / "model.safetensors").is_file():
        return read_tensors(path / "model.safetensors")
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = _shards(index)
        return {key: value for shard in shards for key, value in read_tensors(path / shard).items()}
    names = sorted(entry.name for entry in path.iterdir())
    for name in names:
        _refuse_pickle(path / name, b"")
    raise InputError(f"model weights {path}: holds no model.safetensors, only {_listed(names) or 'nothing'}")


def _shards(index: Traversable) -> list[str]:
    """File names in the index that Hugging Face writes beside a model in several files."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"model weights {index}: not an index of safetensors files ({error})") from error
    if any(not isinstance(name, str) or "/" in name for name in names):
        raise InputError(f"model weights {index}: names files outside its own directory")
    return sorted(names)


def fill(
    model: nn.Module, expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Traversable, advice: str = ""
) -> None:
    """Put tensors into a model that has exactly the `expected` ones; computed buffers may be left out of those.

    Raises:
        InputError: What differs; the model is unchanged.
    """
    refuse(mismatches(expected, tensors), path, advice)
    model.load_state_dict(tensors, strict=False)  # exact already


def refuse(problems: list[str], path: Traversable, advice: str = "") -> None:
    """Raise what `mismatches` found, if anything.

    Raises:
        InputError: The weights are those of another model.
    """
    if problems:
        advice = advice or "give the file that belongs to this architecture"
        raise InputError(f"model weights {path}: not the weights of this model: {'; '.join(problems)}; {advice}")


def mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What differs between the tensors a model needs and those a file holds, in words; empty when all agree."""
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    wrong = [
        f"{key} is {_described(found[key])}, needed is {_described(expected[key])}"
        for key in sorted(expected.keys() & found.keys())
        if (found[key].shape, found[key].dtype) != (expected[key].shape, expected[key].dtype)
    ]
    return described(missing, unexpected) + wrong[:SHOWN] + ([f"{len(wrong) - SHOWN} more"] if wrong[SHOWN:] else [])


def described(missing: list[str], unexpected: list[str]) -> list[str]:
    """Missing and unexpected names in words."""
    return [f"{word} {_listed(keys)}" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]


def _described(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

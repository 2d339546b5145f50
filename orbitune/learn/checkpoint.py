"""Checkpoints: written whole or not at all, read whole or refused."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from orbitune.errors import InputError, RunError
from orbitune.files import write_whole
from orbitune.learn.rounds import Learner
from orbitune.learn.state import digest

FORMAT = 2
"""Version of the layout below; a reader refuses others."""

NEXT_ROUND = "next_round"
ENTRIES = {"format", "spec", "sha256"}


def save(path: Path, learner: Learner, next_round: int) -> None:
    """Write the learner's state, so that `load` continues with `next_round`.

    The old file stays whole until the new one is on the disk; equal states give equal bytes.

    Raises:
        RunError: The file cannot be written, for instance because the disk is full.
    """
    tensors = {**learner.state(), NEXT_ROUND: torch.tensor(next_round)}
    about = {
        "format": FORMAT,
        "spec": asdict(learner.spec),
        "sha256": digest(tensors),
    }
    # One key only: safetensors does not promise an order of several.
    content = save_tensors(tensors, {"orbitune": json.dumps(about, sort_keys=True)})
    try:
        write_whole(path, content)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise RunError(
            f"checkpoint {path}: {len(content)} bytes cannot be written ({reason}); "
            "an earlier checkpoint is still whole: make room or mend the cause, then resume"
        ) from error


def load(path: Path, learner: Learner) -> int:
    """Give a fresh learner the saved state.

    Returns:
        The round to continue with, counted from 0.

    Raises:
        InputError: The file is missing, damaged, or of another training; the learner is then unchanged.
    """
    about, tensors = read(path)
    spec = json.loads(json.dumps(asdict(learner.spec)))  # as it was written: a tuple has become a list
    others = sorted(key for key in spec.keys() | about["spec"].keys() if spec.get(key) != about["spec"].get(key))
    if others:
        key = others[0]
        raise InputError(
            f"checkpoint {path}: made with {key} = {about['spec'].get(key)!r}, this run has {spec.get(key)!r}; "
            "resume with the scenario it was started with"
        )
    try:
        next_round = int(tensors.pop(NEXT_ROUND))
        learner.load_state(tensors)
    except InputError as error:
        raise InputError(f"checkpoint {path}: {error}; resume with the scenario it was started with") from error
    return next_round


def rounds_done(path: Path) -> int:
    """How many rounds lie behind a checkpoint.

    Raises:
        InputError: The file is missing or damaged.
    """
    return int(read(path)[1][NEXT_ROUND])


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and verify a checkpoint: what it says about itself, and its tensors."""
    again = "restore it, or remove it to train again from the start"
    try:
        content = path.read_bytes()
        tensors = load_tensors(content)
    except OSError as error:
        raise InputError(f"checkpoint {path}: cannot be read ({error.strerror}); {again}") from error
    except SafetensorError as error:
        raise InputError(f"checkpoint {path}: truncated or damaged ({error}); {again}") from error
    about = said_about_itself(content)
    if about.get("format") in range(1, FORMAT):
        raise InputError(
            f"checkpoint {path}: of format {about['format']}, of an earlier Orbitune; this one reads format {FORMAT}; "
            "finish that run with the version it was started with, or remove the checkpoint to train from the start"
        )
    if about.get("format") != FORMAT or about.keys() != ENTRIES:
        raise InputError(f"checkpoint {path}: not a checkpoint of format {FORMAT} of Orbitune; {again}")
    if about["sha256"] != digest(tensors):
        raise InputError(f"checkpoint {path}: damaged, its values do not match their checksum; {again}")
    return about, tensors


def said_about_itself(content: bytes) -> dict[str, Any]:
    """Our entry in the header of a safetensors file (8 bytes of length, then JSON); empty where there is none."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        about: dict[str, Any] = json.loads(header["__metadata__"]["orbitune"])
    except (ValueError, KeyError):
        return {}
    return about

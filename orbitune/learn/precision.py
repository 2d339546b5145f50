"""Half-precision arithmetic where the device has it; weights, gradients and optimiser stay as they are."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from orbitune.errors import InputError


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a model computes: "bf16" is PyTorch's autocast to bfloat16 (Micikevicius et al.,
    arXiv:1710.03740, with bfloat16, whose range needs no scaling of the loss: Kalamkar et al., arXiv:1905.12322).
    """
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what the device lacks.

    Raises:
        InputError: It has no bfloat16 arithmetic.
    """
    if precision == "bf16" and not has_bf16(device):
        raise InputError(f"precision = 'bf16': the device '{device}' has no bfloat16; take precision = 'fp32'")


def has_bf16(device: torch.device) -> bool:
    """Processors compute bfloat16 at least in software; graphics processors of NVIDIA since compute capability 8."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu"

"""Low-rank adapters (LoRA) in the encoder, through the library peft.

Every linear layer y = W x + b of the blocks becomes y = W x + b + (alpha / rank) B A x with A [rank, inputs] and
B [outputs, rank], of which only A and B train (Hu et al., arXiv:2106.09685, section 4.1). The adapted model starts as
the model it was, because B starts at zero.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from orbitune import seeds
from orbitune.errors import InputError
from orbitune.learn.backbones.seam import Backbone, import_extra

ADAPTER = "default"
"""The name peft itself gives to the only adapter of a model."""

FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Layers of PyTorch that read the weights of their linear layers directly, so that adapters there would do nothing."""


def add_lora(backbone: Backbone, rank: int, alpha: float, seed: int) -> Backbone:
    """Put adapters into every linear layer of the blocks.

    Args:
        backbone: Changed in place; its own tensors are frozen. Adapter tensors have "lora_" in their names.
        rank: Rows of A and columns of B, at least 1.
        alpha: Adapters are scaled by alpha / rank.
        seed: Of A: Kaiming-uniform with a = sqrt(5) (He et al., arXiv:1502.01852), as peft starts it, drawn for each
            layer from a stream of its own. PyTorch's global generator is left as it was.

    Returns:
        The same backbone.

    Raises:
        InputError: The blocks have no linear layer that could be adapted.
        MissingExtra: peft is not installed.
    """
    peft = import_extra("peft", "models")
    layers = adaptable(backbone)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers)
    with torch.random.fork_rng(devices=[]):
        peft.inject_adapter_in_model(config, backbone, ADAPTER)
    for name in layers:
        layer: Any = backbone.get_submodule(name)
        source = torch.Generator().manual_seed(seeds.seed_for(seed, "lora", name))
        down = layer.lora_A[ADAPTER].weight
        drawn = torch.empty(down.shape, dtype=torch.float32)
        nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=source)
        with torch.no_grad():
            down.copy_(drawn)
    return backbone.eval()


def adaptable(backbone: Backbone) -> list[str]:
    """Names of the linear layers in the blocks, in order.

    Raises:
        InputError: There is none, or PyTorch would go around it.
    """
    for name, layer in backbone.blocks.named_modules():
        if isinstance(layer, FUSED):
            raise InputError(
                f"trains = 'lora': block layer '{name}' is torch.nn.{type(layer).__name__}, which does not call its "
                "linear layers, so adapters in them would do nothing; train the encoder, or write attention with "
                "torch.nn.functional.scaled_dot_product_attention"
            )
    layers = [f"blocks.{name}" for name, layer in backbone.blocks.named_modules() if type(layer) is nn.Linear]
    if not layers:
        raise InputError("trains = 'lora': the blocks of this model have no linear layers; train head, encoder or full")
    return layers


@torch.no_grad()
def merge_lora(backbone: Backbone) -> Backbone:
    """A copy without adapters whose weights are W + (alpha / rank) B A: the same features at the cost of none.

    Args:
        backbone: After `add_lora`; not changed.
    """
    merged = copy.deepcopy(backbone)
    for name, layer in list(merged.named_modules()):
        if hasattr(layer, "lora_A"):
            adapted: Any = layer
            adapted.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(merged.get_submodule(parent), child, adapted.get_base_layer())
    del merged.peft_config
    return merged


def save_adapter(backbone: Backbone, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json as peft does.

    `peft.PeftModel.from_pretrained(model, folder)` reads them again, where `model` is the library's or the user's own
    model that the backbone was cut from; for galileo-nano it is the backbone itself.

    Args:
        backbone: After `add_lora`.
        folder: Is made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, value in backbone.state_dict().items():
        if "lora_" in name:
            plain = source_name(backbone, name.replace(f".{ADAPTER}.", "."))
            tensors[f"base_model.model.{plain}"] = value.detach().cpu().contiguous()
    settings: Any = getattr(backbone, "peft_config")[ADAPTER]  # noqa: B009  peft sets it
    content = settings.to_dict() | {"inference_mode": True}
    content["target_modules"] = sorted(source_name(backbone, name) for name in settings.target_modules)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def source_name(backbone: Backbone, name: str) -> str:
    """Path of a layer or tensor of ours in the model that the backbone was cut from."""
    for ours, theirs in backbone.source_names.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    return name

"""What a model costs, as plain numbers that planning reads without torch.

Every figure is for ONE sample (one image chip) in fp32 unless its name says otherwise. Shipped profiles are JSON
files in `profiles/`; each names the source of its numbers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import resources
from math import prod
from typing import Any

from orbitune.errors import InputError

FP32_BYTES = 4.0
"""Bytes of one value: binary32 of IEEE 754-2019, section 3.6, table 3.5."""


@dataclass(frozen=True)
class PartProfile:
    """Cost of one indivisible part of a model: the embedding, one encoder block, or the final norm and pooling.

    `activation_bytes` is the size of the part's output, which is what crosses a link when the model is cut after
    it. `saved_bytes` is what autograd keeps of the part for its backward pass. One multiply-add is 2 FLOPs.

    Attributes:
        linear_dims: Inputs plus outputs, summed over the linear layers of attention and MLP, which are those that get
            adapters; 0 in embedding and final.
        linear_weights: Weights of the same layers, without biases.
        tokens: Tokens per sample in the part's output, so `activation_bytes` / 4 / `tokens` is its width; 0 if unknown.
        adapter_bytes: How much of `params_bytes` is adapters.
    """

    params_bytes: float
    activation_bytes: float
    saved_bytes: float
    flops_forward: float
    flops_backward: float
    linear_dims: float = 0.0
    linear_weights: float = 0.0
    tokens: float = 0.0
    adapter_bytes: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's output: tokens and width; one row where the tokens are unknown or do not divide it."""
        values, tokens = round(self.activation_bytes / FP32_BYTES), max(1, round(self.tokens))
        return (tokens, values // tokens) if values % tokens == 0 else (1, values)

    @property
    def input_backward_flops(self) -> float:
        """Backward FLOPs where its weights are frozen: the gradients of the linear layers' weights are left out, which
        cost 2 FLOPs per weight and token (each of the two gradients of a matrix product is one more such product)."""
        return max(0.0, self.flops_backward - 2.0 * self.linear_weights * self.tokens)

    def with_lora(self, rank: int) -> PartProfile:
        """The part with adapters in its linear layers, itself frozen (LoRA: Hu et al., arXiv:2106.09685, section 4.1).

        A layer of n inputs and m outputs gets two matrices, rank x n and m x rank: rank x (n + m) values more, 2 FLOPs
        each per token forward and 4 backward. Autograd keeps the layer's input as before, and the `rank` values between
        the two: a layer has at least the part's width as inputs and as outputs, so there are at most
        `linear_dims` / (2 x width) of them, and that many are counted.
        """
        if not self.linear_dims:
            return self
        adapter_bytes = FP32_BYTES * rank * self.linear_dims
        flops = 2.0 * rank * self.linear_dims * self.tokens
        kept_bytes = FP32_BYTES * rank * self.tokens * self.linear_dims / (2.0 * self.shape[-1])
        return replace(
            self,
            params_bytes=self.params_bytes + adapter_bytes,
            saved_bytes=self.saved_bytes + kept_bytes,
            flops_forward=self.flops_forward + flops,
            flops_backward=self.input_backward_flops + 2.0 * flops,
            adapter_bytes=adapter_bytes,
        )


@dataclass(frozen=True)
class ModelProfile:
    """A vision encoder as embedding | blocks | final, to which a linear task head is joined.

    Attributes:
        name: Name as written in scenarios, for instance "galileo-nano".
        source: Where the numbers come from.
        chip_px: Side of the square images that the figures hold for.
        sample_bytes: Raw size of one sample as a satellite stores and would downlink it.
        feature_shape: Shape of one sample's features, which the head reads: (D,) pooled, or (D, h, w) dense.
        embedding, blocks, final: The parts, in order. `final` is the last norm and the pooling.
    """

    name: str
    source: str
    chip_px: int
    sample_bytes: float
    feature_shape: tuple[int, ...]
    embedding: PartProfile
    blocks: tuple[PartProfile, ...]
    final: PartProfile

    @property
    def num_cuts(self) -> int:
        """Cut 0 is after the embedding, cut k after block k."""
        return len(self.blocks) + 1

    @property
    def feature_width(self) -> int:
        """How many values the features of one sample are."""
        return prod(self.feature_shape)

    @property
    def feature_bytes(self) -> float:
        """Features of one sample in fp32."""
        return FP32_BYTES * self.feature_width

    @cached_property
    def params_bytes(self) -> float:
        """All weights of the encoder without the task head."""
        return sum(part.params_bytes for part in (self.embedding, *self.blocks, self.final))


def shipped_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package."""
    folder = resources.files(__package__) / "profiles"
    return tuple(sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")))


def load_profile(name: str) -> ModelProfile:
    """Read a shipped profile.

    Raises:
        InputError: There is no profile of that name, or its file is damaged.
    """
    path = resources.files(__package__) / "profiles" / f"{name}.json"
    if not path.is_file():
        raise InputError(f"no model profile '{name}'; shipped profiles: {', '.join(shipped_profiles())}")
    try:
        return profile_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"model profile '{name}' ({path}) is damaged: {error}; install orbitune again") from error


def profile_from_json(content: dict[str, Any]) -> ModelProfile:
    """Build a profile from its JSON form, in which `blocks` may be {"repeat": n, ...one block...}."""
    blocks = content["blocks"]
    if isinstance(blocks, dict):
        one = {key: value for key, value in blocks.items() if key != "repeat"}
        blocks = [one] * blocks["repeat"]
    fields = content | {
        "feature_shape": tuple(content["feature_shape"]),
        "embedding": PartProfile(**content["embedding"]),
        "blocks": tuple(PartProfile(**block) for block in blocks),
        "final": PartProfile(**content["final"]),
    }
    return ModelProfile(**fields)


def profile_to_json(profile: ModelProfile) -> str:
    """The profile as text that `profile_from_json` reads once parsed."""
    return json.dumps(asdict(profile), indent=2) + "\n"

"""What a model costs, as plain numbers that planning reads without torch.

Every figure is for ONE sample (one image chip) in fp32 unless its name says otherwise. Shipped profiles are JSON
files in `profiles/`; each names the source of its numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

from orbitune.errors import InputError


@dataclass(frozen=True)
class PartProfile:
    """Cost of one indivisible part of a model: the embedding, one encoder block, or the final norm and pooling.

    `activation_bytes` is the size of the part's output, which is what crosses a link when the model is cut after
    it. `saved_bytes` is what autograd keeps of the part for its backward pass. One multiply-add is 2 FLOPs.
    """

    params_bytes: float
    activation_bytes: float
    saved_bytes: float
    flops_forward: float
    flops_backward: float


@dataclass(frozen=True)
class ModelProfile:
    """A vision encoder as embedding | blocks | final, to which a linear task head is joined.

    Attributes:
        name: Name as written in scenarios, for instance "galileo-nano".
        source: Where the numbers come from.
        chip_px: Side of the square images that the figures hold for.
        sample_bytes: Raw size of one sample as a satellite stores and would downlink it.
        feature_width: Length of the pooled feature vector that the head reads.
        embedding, blocks, final: The parts, in order. `final` is the last norm and the pooling.
    """

    name: str
    source: str
    chip_px: int
    sample_bytes: float
    feature_width: int
    embedding: PartProfile
    blocks: tuple[PartProfile, ...]
    final: PartProfile

    @property
    def num_cuts(self) -> int:
        """Cut 0 is after the embedding, cut k after block k."""
        return len(self.blocks) + 1

    @property
    def feature_bytes(self) -> float:
        """One pooled feature vector in fp32."""
        return 4.0 * self.feature_width

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
        "embedding": PartProfile(**content["embedding"]),
        "blocks": tuple(PartProfile(**block) for block in blocks),
        "final": PartProfile(**content["final"]),
    }
    return ModelProfile(**fields)

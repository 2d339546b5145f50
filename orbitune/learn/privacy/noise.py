"""Gaussian noise that a satellite adds to what leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orbitune import seeds

RELEASED_KINDS = ("embedding", "feature_gradient")
"""What a satellite says of its images and of its labels. All else that crosses is worked out from these by others, and
stays as private as they are (post-processing, Dwork and Roth 2014, proposition 2.1)."""


@dataclass(frozen=True, slots=True)
class GaussianNoise:
    """Clip each sample to a norm, then add noise to every value (Abadi et al., arXiv:1607.00133, section 3.1).

    The noise of a release depends on the seed, the kind and the position alone, so a resumed run adds the same. Two
    wires of one run need two seeds: equal noise on two releases would cancel in their difference. A flying satellite
    must draw from a source that nobody else knows; a seed in a scenario is for simulation.

    Attributes:
        multiplier: Standard deviation over the norm.
        clips: Norm to which a sample is clipped, by payload kind; other kinds are left as they are.
        seed: Root of the streams.
    """

    multiplier: float
    clips: Mapping[str, float]
    seed: int

    def __post_init__(self) -> None:
        assert self.multiplier > 0 and all(clip > 0 for clip in self.clips.values())
        assert set(self.clips) <= set(RELEASED_KINDS), self.clips

    def apply(self, kind: str, tensor: Tensor, position: int) -> Tensor:
        """A batch of tensors [n, ...], each clipped and with noise; `position` as in `codec.Noise`."""
        if kind not in self.clips:
            return tensor
        source = torch.Generator().manual_seed(seeds.seed_for(self.seed, "noise", kind, position))
        # Drawn on the CPU, so that every device adds the same.
        noise = torch.randn(tensor.shape, generator=source).to(tensor)
        return clipped(tensor, self.clips[kind]) + noise * (self.multiplier * self.clips[kind])


def noise_of(multiplier: float, clip: float, seed: int, gradient_clip: float | None = None) -> GaussianNoise | None:
    """The noise of a run on everything of `RELEASED_KINDS`; None where the multiplier is 0.

    Args:
        multiplier: Standard deviation over the norm.
        clip: Norm of an embedding.
        seed: Of the run and wire.
        gradient_clip: Norm of a feature gradient; None: that of an embedding.
    """
    if multiplier == 0:
        return None
    clips = {"embedding": clip, "feature_gradient": clip if gradient_clip is None else gradient_clip}
    return GaussianNoise(multiplier, clips, seed)


def clipped(tensor: Tensor, norm: float) -> Tensor:
    """Each tensor of a batch [n, ...] scaled down to the norm where it is longer."""
    rows = tensor.flatten(1)
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    # Rounding may make a scaled row longer by an ulp; the promise must not depend on it.
    scales = torch.where(norms > norm, norm / norms * (1 - 2 * torch.finfo(tensor.dtype).eps), 1.0)
    return (rows * scales.to(tensor.dtype)).view_as(tensor)

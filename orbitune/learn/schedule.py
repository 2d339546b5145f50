"""How the learning rate moves over the optimiser steps of a training."""

from __future__ import annotations

import math

from orbitune.learn.spec import LearnSpec


def rate_factor(spec: LearnSpec, step: int) -> float:
    """What the learning rate is multiplied with at an optimiser step.

    Steps count over the whole run, so a satellite whose optimiser starts afresh each round still follows the run.
    With t = step, W = warmup_steps, T = rounds x local_steps and p = (t - W) / (T - W):

    - t < W: (t + 1) / W, the gradual warm-up of Goyal et al., arXiv:1706.02677, section 2.2;
    - "constant": 1;
    - "linear": 1 - p, as BERT (arXiv:1810.04805, appendix A.2);
    - "cosine": (1 + cos(pi p)) / 2, arXiv:1608.03983, equation 5, over one period and down to 0.

    Args:
        spec: Of the training.
        step: From 0; beyond the last the factor of a falling schedule is 0.
    """
    if step < spec.warmup_steps:
        return (step + 1) / spec.warmup_steps
    if spec.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - spec.warmup_steps) / max(1, spec.num_steps - spec.warmup_steps))
    return 1 - progress if spec.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2

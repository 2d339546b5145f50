"""Labels from the gradients of features: what a server that knows the head can tell.

The head is averaged over satellites, so whoever averages knows it. For a linear head of weights W, features f and
cross-entropy the gradient of one sample is W^T (p - y), p = softmax(W f + b): it names the label (Zhao et al., "iDLG",
arXiv:2001.02610, section 3; with W known the sign rule there becomes an equation for y).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def classes_from_gradients(gradients: Tensor, features: Tensor, head: nn.Linear, clip: float | None = None) -> Tensor:
    """The class [n] under which a gradient is closest to the one that arrived: most likely under Gaussian noise, too.

    Args:
        gradients: Of the loss of each sample, as the server has them [n, D].
        features: What the server sent [n, D].
        head: The head of that step.
        clip: Norm to which the satellite clipped gradients, if it did.
    """
    shares = torch.softmax(head(features), dim=1)  # (n, K)
    change = shares[:, None, :] - torch.eye(shares.shape[1]).to(shares)  # (n, candidate, K)
    candidates = change @ head.weight  # (n, candidate, D)
    if clip is not None:
        norms = torch.linalg.vector_norm(candidates, dim=2, keepdim=True)
        candidates = candidates * (clip / norms.clamp_min(clip))
    distances = torch.linalg.vector_norm(candidates - gradients[:, None], dim=2)
    return torch.as_tensor(distances.argmin(dim=1))


def memberships_from_gradients(gradients: Tensor, head: nn.Linear) -> Tensor:
    """Memberships [n, K] of 0 and 1 for binary cross-entropy: sigmoid(z) - y is negative exactly where y = 1.

    The pseudo-inverse of W gives it where the head has no more classes than features; a positive scale, such as the
    mean over classes or clipping, does not change a sign.
    """
    shares_minus_truth = gradients @ torch.as_tensor(torch.linalg.pinv(head.weight))
    return (shares_minus_truth < 0).to(gradients.dtype)


def feature_gradients(features: Tensor, labels: Tensor, head: nn.Linear) -> Tensor:
    """Gradients [n, D] as a satellite works them out for its own labels: classes [n] or memberships [n, K]."""
    inputs = features.detach().requires_grad_()
    logits = head(inputs)
    if labels.is_floating_point():
        loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(dim=1).sum()
    else:
        loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.autograd.grad(loss, inputs)[0]


def label_accuracy(found: Tensor, labels: Tensor) -> float:
    """Share of right classes, or of right memberships over all classes."""
    return float((found == labels).double().mean())


def majority_accuracy(labels: Tensor) -> float:
    """What always saying the most frequent answer gives: of the classes, or of each class's memberships."""
    if labels.is_floating_point():
        shares = labels.double().mean(dim=0)
        return float(torch.maximum(shares, 1 - shares).mean())
    return float(labels.bincount().max() / len(labels))

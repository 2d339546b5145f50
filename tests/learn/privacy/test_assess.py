"""Labels from gradients, and the whole study of one small model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from orbitune.cost.transfer import CODECS
from orbitune.learn.privacy.accounting import Promise
from orbitune.learn.privacy.assess import Exposure, Target, assess, conclusion
from orbitune.learn.privacy.labels import (
    classes_from_gradients,
    feature_gradients,
    label_accuracy,
    majority_accuracy,
    memberships_from_gradients,
)
from orbitune.learn.privacy.noise import GaussianNoise, clipped

STEPS = 10
"""Of the decoder's network: what is checked here the linear map finds already."""


def head(num_classes: int = 5) -> nn.Linear:
    layer = nn.Linear(12, num_classes)
    source = torch.Generator().manual_seed(2)
    nn.init.normal_(layer.weight, generator=source)
    nn.init.normal_(layer.bias, generator=source)
    return layer.requires_grad_(False)


FEATURES = torch.randn(40, 12, generator=torch.Generator().manual_seed(4))
CLASSES = torch.randint(5, (40,), generator=torch.Generator().manual_seed(6))
MEMBERSHIPS = torch.randint(2, (40, 5), generator=torch.Generator().manual_seed(6)).float()


def test_gradients_are_those_of_the_equation() -> None:
    """W^T (p - y) (iDLG, section 3)."""
    layer = head()
    expected = (torch.softmax(layer(FEATURES), 1) - nn.functional.one_hot(CLASSES, 5)) @ layer.weight
    assert torch.allclose(feature_gradients(FEATURES, CLASSES, layer), expected, atol=1e-6)


def test_gradients_tell_every_label() -> None:
    layer = head()
    gradients = feature_gradients(FEATURES, CLASSES, layer)
    assert torch.equal(classes_from_gradients(gradients, FEATURES, layer), CLASSES)
    assert torch.equal(classes_from_gradients(clipped(gradients, 0.1), FEATURES, layer, clip=0.1), CLASSES)
    assert torch.equal(memberships_from_gradients(feature_gradients(FEATURES, MEMBERSHIPS, layer), layer), MEMBERSHIPS)


def test_noise_hides_labels() -> None:
    layer = head()
    gradients = feature_gradients(FEATURES, CLASSES, layer)
    noisy = gradients + 100 * torch.randn(40, 12, generator=torch.Generator().manual_seed(1))
    assert label_accuracy(classes_from_gradients(noisy, FEATURES, layer), CLASSES) < 0.5


def test_baselines() -> None:
    assert majority_accuracy(torch.tensor([0, 2, 2, 1])) == 0.5
    assert majority_accuracy(torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])) == 0.75


class Tokens(nn.Module):
    """Images [n, 2, 8, 8] to tokens [n, 4, 40], linear."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(2, 40, 4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.patch(images)).flatten(2).mT


class Pool(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)[:, :12]


@pytest.fixture
def target() -> Target:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        pieces = [Tokens(), nn.Sequential(nn.Linear(40, 40), nn.GELU()), Pool()]
    for piece in pieces:
        piece.requires_grad_(False)
    source = torch.Generator().manual_seed(3)
    private, known = torch.randn(40, 2, 8, 8, generator=source), torch.randn(100, 2, 8, 8, generator=source)
    return Target(pieces, head(), private, CLASSES, known, seed=5)


def by_attack(rows: Sequence[Exposure]) -> dict[tuple[str, str], Exposure]:
    return {(row.payload, row.attack): row for row in rows}


def test_a_linear_embedding_gives_images_and_labels_away(target: Target) -> None:
    rows = by_attack(list(assess(target, 0, ["fp32"], None, STEPS)))
    images = [("embedding", "pseudo-inverse"), ("embedding", "decoder"), ("feature", "decoder")]
    assert set(rows) == {*images, ("feature_gradient", "gradient")}
    for attack in ("pseudo-inverse", "decoder"):
        row = rows["embedding", attack]
        assert row.psnr_db is not None and row.ssim is not None and row.baseline_psnr_db is not None
        assert row.psnr_db > 40 > row.baseline_psnr_db and row.ssim > 0.99
    feature = rows["feature", "decoder"]
    assert feature.psnr_db is not None and feature.psnr_db < 20
    gradient = rows["feature_gradient", "gradient"]
    assert gradient.label_accuracy == 1.0 and gradient.baseline_label_accuracy == majority_accuracy(CLASSES)
    assert "100% of the labels" in conclusion(list(rows.values()))


def test_behind_a_block_there_is_no_pseudo_inverse(target: Target) -> None:
    rows = by_attack(list(assess(target, 1, ["fp16"], None, STEPS)))
    assert ("embedding", "pseudo-inverse") not in rows and ("embedding", "decoder") in rows


def test_every_codec_is_assessed_and_rows_are_json(target: Target) -> None:
    rows = list(assess(target, 1, CODECS, None, STEPS))
    assert [row.codec for row in rows] == [codec for codec in CODECS for _ in range(3)]
    for row in rows:
        assert json.loads(json.dumps(row.row(), allow_nan=False)) == row.row()


def test_noise_protects_and_is_stated(target: Target) -> None:
    promise = Promise(1.0, 7)
    noise = GaussianNoise(1.0, {"embedding": 1.0, "feature_gradient": 1.0}, seed=1)
    rows = by_attack(list(assess(target, 0, ["fp32"], (noise, promise), STEPS)))
    for attack in ("pseudo-inverse", "decoder"):
        row = rows["embedding", attack]
        assert row.psnr_db is not None and row.baseline_psnr_db is not None
        assert row.psnr_db < row.baseline_psnr_db + 1
        assert (row.epsilon_release, row.epsilon_run) == (promise.epsilon_release, promise.epsilon_run)
    gradient = rows["feature_gradient", "gradient"]
    assert gradient.label_accuracy is not None and gradient.label_accuracy < 0.7
    assert all(row.noise_multiplier == 1.0 and math.isfinite(row.epsilon_run or 0) for row in rows.values())

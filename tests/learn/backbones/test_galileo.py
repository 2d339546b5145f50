"""Galileo nano: our code against a NumPy forward pass written from its description, and what its weights know."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load
from safetensors.torch import load_file, save_file
from scipy.special import erf, log_softmax

from orbitune.errors import InputError
from orbitune.imagery.imagery import Imagery, Selection, load_imagery
from orbitune.learn.backbones import Backbone, load_backbone, standardise
from orbitune.learn.backbones.galileo import SHIPPED, build_galileo, read_galileo
from orbitune.learn.inputs import prepare
from orbitune.learn.model_spec import ModelSpec

Weights = dict[str, NDArray[np.float64]]
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
GROUPS = {
    "S2_RGB": [2, 1, 0],
    "S2_Red_Edge": [3, 4, 5],
    "S2_NIR_10m": [6],
    "S2_NIR_20m": [7],
    "S2_SWIR": [8, 9],
    "NDVI": [10],
}
SUBSETS = {
    ("red", "green", "blue"): ["S2_RGB"],
    ("B02", "B03", "B04"): ["S2_RGB"],
    ("B04", "B08"): ["S2_NIR_10m", "NDVI"],
    ("B12", "B11", "B8A", "B04", "B03", "B02"): ["S2_RGB", "S2_NIR_20m", "S2_SWIR"],
    BANDS: list(GROUPS),
}


def galileo(weights: str = "pretrained", seed: int = 0, chip_px: int = 32) -> Backbone:
    return load_backbone(ModelSpec("galileo-nano", weights), seed, BANDS, chip_px, dense=False)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ------------------------------------------------------------------------------- the NumPy forward pass, one chip


def numpy_forward(weights: Weights, chip: NDArray[np.float64], month: int) -> NDArray[np.float64]:
    """Features [128] of one chip [11, P, P]."""
    return numpy_tokens(weights, chip, month, list(GROUPS)).mean(axis=0)


def numpy_tokens(weights: Weights, chip: NDArray[np.float64], month: int, groups: list[str]) -> NDArray[np.float64]:
    """Normed tokens [groups x places, 128] of one chip [11, P, P], token by token."""
    tokens = []
    for group, bands in ((group, GROUPS[group]) for group in groups):
        for row in range(chip.shape[1] // 8):
            for column in range(chip.shape[2] // 8):
                patch = chip[bands, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                kernel, bias = weights[f"embedding.patch.{group}.weight"], weights[f"embedding.patch.{group}.bias"]
                angle = 2 * np.pi * month / 12
                code = [
                    weights["embedding.channel"][list(GROUPS).index(group)],
                    np.repeat([0.0, 1.0], 16),
                    np.repeat([np.sin(angle), np.cos(angle)], 16),
                    numpy_sine_cosine(8 * column),
                    numpy_sine_cosine(8 * row),
                ]
                tokens.append((kernel * patch).sum(axis=(1, 2, 3)) + bias + np.concatenate(code))
    x = np.array(tokens)
    for number in range(4):
        block = {key[9:]: value for key, value in weights.items() if key.startswith(f"blocks.{number}.")}
        x = x + numpy_attention(block, numpy_norm(x, block["norm1.weight"], block["norm1.bias"]))
        hidden = numpy_norm(x, block["norm2.weight"], block["norm2.bias"]) @ block["mlp.fc1.weight"].T
        hidden = hidden + block["mlp.fc1.bias"]
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        x = x + hidden @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]
    return numpy_norm(x, weights["final.norm.weight"], weights["final.norm.bias"])


def numpy_sine_cosine(position_px: float) -> NDArray[np.float64]:
    angle = position_px * 10000.0 ** -(np.arange(8) / 8)
    return np.concatenate([np.sin(angle), np.cos(angle)])


def numpy_norm(x: NDArray[np.float64], gain: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * gain + bias


def numpy_attention(block: Weights, x: NDArray[np.float64]) -> NDArray[np.float64]:
    q, k, v = (x @ block[f"attn.{name}.weight"].T + block[f"attn.{name}.bias"] for name in "qkv")
    mixed = np.empty_like(q)
    for head in range(8):
        part = slice(16 * head, 16 * head + 16)
        share = np.exp(log_softmax(q[:, part] @ k[:, part].T / 4, axis=1))
        mixed[:, part] = share @ v[:, part]
    return mixed @ block["attn.proj.weight"].T + block["attn.proj.bias"]


@pytest.mark.parametrize(("chip_px", "month"), [(16, 1), (32, 1), (48, 8)])
@pytest.mark.parametrize("kind", ["pretrained", "random"])
def test_forward_pass_is_the_described_one(chip_px: int, month: int, kind: str) -> None:
    backbone = build_galileo(chip_px, month)
    backbone.load_state_dict(galileo(kind, 5, chip_px).state_dict())
    weights = {key: value.double().numpy() for key, value in backbone.state_dict().items()}
    chips = np.random.default_rng(chip_px).normal(0.4, 0.3, (3, 11, chip_px, chip_px))
    expected = np.stack([numpy_forward(weights, chip, month) for chip in chips])
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-6)):
        # float64 is held back only by the place code, which is kept in fp32
        features = backbone.to(dtype)(torch.from_numpy(chips).to(dtype))
        assert features.dtype == dtype
        assert np.abs(features.detach().numpy() - expected).max() <= tolerance


def test_parts_in_a_row_are_the_whole() -> None:
    backbone = galileo()
    chips = torch.rand(2, 11, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = backbone.embedding(chips)
    assert tokens.shape == (2, 96, 128)
    for block in backbone.blocks:
        tokens = block(tokens)
    assert torch.equal(backbone.final(tokens), backbone(chips))
    assert backbone(chips).shape == (2, *backbone.feature_shape)


@pytest.mark.parametrize("channels", SUBSETS, ids="-".join)
def test_some_band_groups_are_enough(channels: tuple[str, ...]) -> None:
    """Tokens of the groups that the channels fill, pooled and as a map, as in the description."""
    weights = {key: value.astype(np.float64) for key, value in load(SHIPPED.read_bytes()).items()}
    pooled, dense = (load_backbone(ModelSpec(), 0, channels, 24, dense) for dense in (False, True))
    assert pooled.inputs.channels == dense.inputs.channels
    chip = np.random.default_rng(4).normal(0.4, 0.3, (11, 24, 24))
    read = torch.from_numpy(chip[[(*BANDS, "NDVI").index(name) for name in pooled.inputs.channels]]).float()[None]
    tokens = numpy_tokens(weights, chip, ModelSpec().month, SUBSETS[channels])
    assert np.abs(pooled(read)[0].detach().numpy() - tokens.mean(axis=0)).max() < 1e-5
    places = tokens.reshape(-1, 3, 3, 128).mean(axis=0).transpose(2, 0, 1)
    assert dense.feature_shape == places.shape
    assert np.abs(dense(read)[0].detach().numpy() - places).max() < 1e-5


def test_no_band_group_is_too_few() -> None:
    with pytest.raises(InputError, match=r"cannot read images of B01, B04: it needs all bands of at least one group"):
        load_backbone(ModelSpec(), 0, ("B01", "B04"), 32, dense=False)


def test_chips_must_be_whole_patches() -> None:
    with pytest.raises(InputError, match="chips of 20 px"):
        load_backbone(ModelSpec(), 0, BANDS, 20, dense=False)


# ---------------------------------------------------------------------------------------------- what it knows


@pytest.fixture(scope="module")
def imagery() -> Imagery:
    return load_imagery(Selection(), num_satellites=40, seed=0)


def ready(imagery: Imagery, images: NDArray[np.float32], backbone: Backbone) -> torch.Tensor:
    return prepare(torch.from_numpy(images), imagery.channels, imagery.full_scale, backbone.inputs)


def probe_accuracy(imagery: Imagery, backbone: Backbone, num_labels: int) -> float:
    """Test accuracy of logistic regression on frozen features, mean over five draws of the labelled chips."""
    standardise(backbone, ready(imagery, imagery.unlabelled[::8], backbone))
    pool = np.concatenate(imagery.train)[::4]
    (features, labels), (test_features, test_labels) = (read(imagery, backbone, ids) for ids in (pool, imagery.test))
    scores = []
    for draw in range(5):
        chosen = np.random.default_rng(draw).choice(len(pool), num_labels, replace=False)
        head = fit_logistic(features[chosen], labels[chosen])
        scores.append((head(test_features).argmax(1) == test_labels).float().mean().item())
    return float(np.mean(scores))


def read(imagery: Imagery, backbone: Backbone, ids: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels of some images."""
    with torch.no_grad():
        features = torch.cat([backbone(part) for part in ready(imagery, imagery.images[ids], backbone).split(128)])
    return features, torch.from_numpy(imagery.labels[ids])


def fit_logistic(features: torch.Tensor, labels: torch.Tensor) -> torch.nn.Linear:
    head = torch.nn.Linear(features.shape[1], 5)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(head(features), labels) + 1e-2 * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return head


def test_real_weights_know_more_than_random_ones(imagery: Imagery) -> None:
    pretrained, random = (probe_accuracy(imagery, galileo(kind), num_labels=100) for kind in ("pretrained", "random"))
    # 0.57 and 0.46 when written; 0.34 is the share of the most frequent class
    assert pretrained > 0.53 and pretrained > random + 0.06


def test_standardised_features_have_mean_0_and_deviation_1(imagery: Imagery) -> None:
    backbone = galileo()
    images = ready(imagery, imagery.unlabelled[:64], backbone)
    for _ in range(2):  # a second time changes nothing: it starts from the plain features again
        standardise(backbone, images)
        features = backbone(images).detach()
        assert features.mean(dim=0).abs().max() < 1e-3
        assert (features.std(dim=0) - 1).abs().max() < 1e-3


# --------------------------------------------------------------------------------------- random weights, by seed


def test_random_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = galileo("random", 3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = (galileo("random", seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["blocks.0.attn.q.weight"], other["blocks.0.attn.q.weight"])
    assert first["blocks.2.mlp.fc1.weight"].std() == pytest.approx(0.0176, rel=0.03)  # 0.02 truncated at two sigma
    assert first["blocks.2.mlp.fc1.bias"].abs().max() == 0 and (first["final.norm.weight"] == 1).all()


# --------------------------------------------------------------------------------------------- bad weight files


def weights_file(path: Path, content: bytes | None = None) -> Path:
    path.write_bytes(SHIPPED.read_bytes() if content is None else content)
    return path


def refused(path: Path, message: str, advice: str = "reinstall") -> None:
    backbone = build_galileo(32)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        read_galileo(backbone, path)
    assert str(path) in str(caught.value) and advice in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "encoder.safetensors", "cannot be read .*No such file")


@pytest.mark.parametrize("length", [0, 7, 1000, 3_000_000, 3_544_823])
def test_truncated_file(tmp_path: Path, length: int) -> None:
    refused(weights_file(tmp_path / "w", SHIPPED.read_bytes()[:length]), "truncated or not a safetensors file")


def test_header_that_promises_too_much(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    refused(weights_file(tmp_path / "w", struct.pack("<Q", len(header)) + header + bytes(8)), "truncated")


def test_missing_unexpected_and_misshapen_tensors_are_all_named(tmp_path: Path) -> None:
    tensors = load_file(weights_file(tmp_path / "w"))
    del tensors["final.norm.bias"]
    tensors["extra"] = torch.zeros(1)
    tensors["embedding.channel"] = torch.zeros(7, 32)
    save_file(tensors, tmp_path / "w")
    refused(
        tmp_path / "w",
        r"missing final\.norm\.bias; unexpected extra; embedding\.channel is \[7, 32\] .* needed is \[6, 32\]",
    )


def test_broken_numbers_are_named(tmp_path: Path) -> None:
    tensors = load_file(weights_file(tmp_path / "w"))
    tensors["blocks.0.norm1.bias"][3] = float("nan")
    save_file(tensors, tmp_path / "w")
    refused(tmp_path / "w", r"blocks\.0\.norm1\.bias holds values that are not finite")


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    spec = ModelSpec(file=str(weights_file(tmp_path / "mine.safetensors")))
    ours, shipped = load_backbone(spec, 0, BANDS, 16, dense=False), galileo(chip_px=16)
    assert all(torch.equal(value, shipped.state_dict()[key]) for key, value in ours.state_dict().items())


def test_shipped_weights_are_fp32_and_complete() -> None:
    tensors = load(SHIPPED.read_bytes())
    assert sum(tensor.size for tensor in tensors.values()) == 884_416
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())

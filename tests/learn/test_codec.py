"""What crosses the cut: exact or coarse as promised, of the planned size, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from tiny_backbone import HOLDINGS, NUM_TOKENS, WIDTH, spec_of, tiny_samples, tiny_task
from torch import Tensor

from orbitune.cost.transfer import CODEC_BYTES, wire_bytes
from orbitune.learn.codec import PAYLOAD_KINDS, Codec, Wire
from orbitune.learn.rounds import make_learner
from orbitune.learn.spec import LearnSpec

fp32_arrays = arrays(np.float32, array_shapes(max_dims=3), elements=st.floats(width=32, allow_nan=False))


@given(fp32_arrays, st.sampled_from(sorted(CODEC_BYTES)))
def test_length_is_the_planned_length(values: NDArray[np.float32], codec: str) -> None:
    assert len(Codec(codec).encode(torch.from_numpy(values))) == wire_bytes(values.size, codec)


@given(fp32_arrays)
def test_fp32_is_exact(values: NDArray[np.float32]) -> None:
    sent = torch.from_numpy(values)
    assert torch.equal(Codec("fp32").decode(Codec("fp32").encode(sent), sent), sent)


@given(fp32_arrays)
def test_fp16_rounds_to_the_nearest_and_saturates(values: NDArray[np.float32]) -> None:
    """Half a unit in the last place is 2^-11 of a normal number and 2^-25 below (IEEE 754, binary16)."""
    sent = torch.from_numpy(values)
    arrived = Codec("fp16").decode(Codec("fp16").encode(sent), sent).numpy()
    expected = np.clip(values.astype(np.float64), -65504, 65504)
    assert arrived.dtype == np.float32
    assert np.all(np.abs(arrived - expected) <= np.maximum(np.abs(expected) * 2.0**-11, 2.0**-25))


def test_float64_models_send_float64() -> None:
    sent = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    assert torch.equal(Codec("fp32").decode(Codec("fp32").encode(sent), sent), sent)


def test_strided_and_empty_tensors_cross() -> None:
    wire = Wire(Codec("fp32"))
    sent = torch.arange(6.0).view(2, 3).T
    assert torch.equal(wire.cross("feature", sent), sent)
    assert wire.cross("feature", torch.zeros(0, 3)).shape == (0, 3)
    assert wire.sent_bytes["feature"] == 24


# ------------------------------------------------------------------------------ what a training sends


Crossing = tuple[str, Tensor]


@pytest.fixture
def crossings(monkeypatch: pytest.MonkeyPatch) -> list[Crossing]:
    """Everything that crosses while the test runs."""
    seen: list[Crossing] = []
    cross = Wire.cross

    def spy(wire: Wire, kind: str, tensor: Tensor) -> Tensor:
        seen.append((kind, tensor.detach().clone()))
        arrived = cross(wire, kind, tensor)
        assert arrived.grad_fn is None and arrived.data_ptr() != tensor.data_ptr()
        return arrived

    monkeypatch.setattr(Wire, "cross", spy)
    return seen


def expected_kinds(spec: LearnSpec) -> set[str]:
    """Forward always; a gradient only as far as something trains."""
    if spec.trains == "head":
        return {"embedding", "feature"}
    front_trains = spec.trains == "full" or spec.cut > 0
    return set(PAYLOAD_KINDS) - (set() if front_trains else {"embedding_gradient"})


@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize("codec", ["fp32", "fp16"])
@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
def test_only_the_planned_payloads_cross(
    trains: str, server_encoder: str, codec: str, cut: int, crossings: list[Crossing]
) -> None:
    """Kinds, shapes and bytes are those of the plan, and no image or label is among them."""
    spec = spec_of(trains=trains, server_encoder=server_encoder, codec=codec, cut=cut)
    learner = make_learner(spec, *tiny_task(torch.float32))
    learner.run_round(0)
    values = {"embedding": NUM_TOKENS * WIDTH, "feature": WIDTH}
    assert {kind for kind, _ in crossings} == expected_kinds(spec)
    for kind, tensor in crossings:
        assert tensor[0].numel() == values[kind.removesuffix("_gradient")]
        assert tensor.dtype == torch.float32
    samples = spec.local_steps * sum(min(len(ids), spec.batch_size) for ids in HOLDINGS)
    for kind, sent in learner.wire.sent_bytes.items():
        crossed = kind in expected_kinds(spec)
        assert sent == crossed * wire_bytes(samples * values[kind.removesuffix("_gradient")], codec)


@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
def test_the_server_learns_of_images_only_over_the_wire(server_encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wire that delivers only zeros, other images give the very same server weights and features."""
    monkeypatch.setattr(Codec, "decode", lambda codec, payload, like: torch.zeros_like(like))
    backbone, num_classes, images, labels, holdings, tests = tiny_task()
    states = []
    for seen in (images, images.flip(0)):
        spec = spec_of(trains="encoder", server_encoder=server_encoder)
        learner = make_learner(spec, backbone, num_classes, seen, labels, holdings, tests)
        losses = learner.run_round(0)
        states.append((learner.state(), losses))
    (one, one_losses), (other, other_losses) = states
    assert one_losses == other_losses
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
def test_fp16_costs_a_little_and_trains(server_encoder: str) -> None:
    states = {}
    for codec in ("fp32", "fp16"):
        learner = make_learner(spec_of(codec=codec, server_encoder=server_encoder), *tiny_task(torch.float32))
        losses = [learner.run_round(index).loss for index in range(6)]
        assert losses[-1] < 0.9 * losses[0]
        states[codec] = learner.state()
    for name, value in states["fp32"].items():
        if name.startswith("model.") and not name.endswith("key.bias"):  # whose gradient is zero
            distance = (states["fp16"][name] - value).norm() / value.norm()
            assert 0 < distance < 0.02, name


def test_small_gradients_survive_fp16(crossings: list[Crossing]) -> None:
    """Gradients cross before the division by the number of samples: what they become as half numbers stays close."""
    images, _ = tiny_samples(torch.float32)
    assert len(images) > 50
    make_learner(spec_of(codec="fp16"), *tiny_task(torch.float32)).run_round(0)
    gradients = torch.cat([tensor.flatten() for kind, tensor in crossings if kind == "embedding_gradient"])
    lost = (gradients.half() == 0) & (gradients != 0)
    assert lost.float().mean() < 1e-3

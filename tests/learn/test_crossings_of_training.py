"""What a split training sends: the planned payloads at the planned size, and nothing else."""

from __future__ import annotations

import pytest
import torch
from tiny_backbone import HOLDINGS, NUM_TOKENS, WIDTH, spec_of, tiny_samples, tiny_task
from torch import Tensor

from orbitune.cost.transfer import wire_bytes
from orbitune.learn.codec import Codec, Wire
from orbitune.learn.rounds import make_learner
from orbitune.learn.spec import LearnSpec

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
    return {"embedding", "feature", "feature_gradient"} | ({"embedding_gradient"} if front_trains else set())


@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize("codec", ["fp32", "int8", "top50"])
@pytest.mark.parametrize("server_encoder", ["shared", "per_client"])
@pytest.mark.parametrize("trains", ["head", "encoder", "full"])
def test_only_the_planned_payloads_cross(
    trains: str, server_encoder: str, codec: str, cut: int, crossings: list[Crossing]
) -> None:
    """Kinds, shapes and bytes are those of the plan, and no image or label is among them."""
    spec = spec_of(trains=trains, server_encoder=server_encoder, codec=codec, cut=cut)
    learner = make_learner(spec, *tiny_task(torch.float32))
    learner.run_round(0)
    shapes = {"embedding": (NUM_TOKENS, WIDTH), "feature": (WIDTH,)}
    assert {kind for kind, _ in crossings} == expected_kinds(spec)
    for kind, tensor in crossings:
        assert tensor.shape[1:] == shapes[kind.removesuffix("_gradient")]
        assert tensor.dtype == torch.float32
    samples = spec.local_steps * sum(min(len(ids), spec.batch_size) for ids in HOLDINGS)
    for kind, sent in learner.wire.sent_bytes.items():
        crossed = kind in expected_kinds(spec)
        shape = shapes[kind.removesuffix("_gradient")] if crossed else ()
        assert sent == crossed * samples * wire_bytes(shape, codec)


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
        assert losses[0] is not None and losses[-1] is not None and losses[-1] < 0.9 * losses[0]
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

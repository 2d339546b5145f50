"""Noise on the wire: of the promised size, on what leaves satellites, the same again when a run goes on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitune.learn.codec import PAYLOAD_KINDS, Codec, Wire
from orbitune.learn.privacy.noise import RELEASED_KINDS, GaussianNoise, clipped, noise_of

NOISE = GaussianNoise(0.5, {"embedding": 4.0, "feature_gradient": 0.1}, seed=3)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_no_sample_is_longer_than_the_clip(length: float, norm: float) -> None:
    """As computed exactly, so that the promise holds; shorter ones are not touched."""
    values = length * torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(1))
    kept = clipped(values, norm)
    assert kept.double().flatten(1).norm(dim=1).max() <= norm
    short = values.double().flatten(1).norm(dim=1) < norm * (1 - 1e-5)
    assert torch.equal(kept[short], values[short])
    assert torch.allclose(torch.cosine_similarity(kept.flatten(1), values.flatten(1)), torch.ones(5), atol=1e-5)


def test_noise_has_the_stated_deviation_and_mean_zero() -> None:
    sent = torch.zeros(100, 1000)
    for kind, clip in NOISE.clips.items():
        noise = NOISE.apply(kind, sent, 0)
        assert noise.std() == pytest.approx(0.5 * clip, rel=0.01)
        assert abs(noise.mean()) < 0.01 * clip


def test_only_what_satellites_say_of_their_samples_gets_noise() -> None:
    wire = Wire(Codec("fp32"), NOISE)
    sent = torch.full((2, 3, 4), 0.01)
    changed = {kind for kind in PAYLOAD_KINDS if not torch.equal(wire.cross(kind, sent), sent)}
    assert changed == set(RELEASED_KINDS)


def test_each_release_has_noise_of_its_own_and_a_resumed_wire_goes_on() -> None:
    whole, sent = Wire(Codec("int8"), NOISE), torch.ones(4, 6)
    arrived = [whole.cross("embedding", sent) for _ in range(3)]
    assert not torch.equal(arrived[0], arrived[1]) and not torch.equal(arrived[1], arrived[2])
    resumed = Wire(Codec("int8"), NOISE)
    resumed.sent_bytes["embedding"] = whole.sent_bytes["embedding"] * 2 // 3
    assert torch.equal(resumed.cross("embedding", sent), arrived[2])


def test_seeds_and_kinds_draw_apart() -> None:
    sent = torch.zeros(2, 50)
    other = GaussianNoise(0.5, {"embedding": 4.0, "feature_gradient": 4.0}, seed=4)
    assert not torch.equal(NOISE.apply("embedding", sent, 0), other.apply("embedding", sent, 0))
    assert not torch.equal(other.apply("embedding", sent, 0), other.apply("feature_gradient", sent, 0))


def test_the_noise_of_a_run() -> None:
    assert noise_of(0.0, 1.0, 7) is None
    one, two = noise_of(2.0, 3.0, 7), noise_of(2.0, 3.0, 7, gradient_clip=0.5)
    assert one is not None and two is not None
    assert set(one.clips.values()) == {3.0} and two.clips["feature_gradient"] == 0.5

"""A cut moves parts from one side to the other and loses none."""

from __future__ import annotations

import pytest

from orbitune.errors import PlanError
from orbitune.model.partition import Head, Partition, backward_flops, forward_flops, params_bytes, saved_bytes
from orbitune.model.profile import load_profile, shipped_profiles

HEAD = Head(feature_width=128, num_classes=5)


@pytest.mark.parametrize("name", shipped_profiles())
def test_front_and_rest_are_the_whole_at_every_cut(name: str) -> None:
    profile = load_profile(name)
    parts = (profile.embedding, *profile.blocks, profile.final)
    for cut in range(profile.num_cuts):
        split = Partition(profile, HEAD, cut)
        assert split.front + split.rest == parts
        for cost in (forward_flops, backward_flops, params_bytes, saved_bytes):
            assert cost(split.front) + cost(split.rest) == cost(parts)


def test_wire_carries_the_tokens_of_galileo() -> None:
    assert Partition(load_profile("galileo-nano"), HEAD, 0).wire_bytes == 96 * 128 * 4


@pytest.mark.parametrize("cut", [-1, 5])
def test_cut_outside_the_model_is_refused(cut: int) -> None:
    with pytest.raises(PlanError, match=r"has 4 blocks; allowed are 0 .* to 4"):
        Partition(load_profile("galileo-nano"), HEAD, cut)

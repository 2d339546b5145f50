"""Nodes that carry out a planned timeline on real bytes end with the weights that training in one process has."""

from __future__ import annotations

import pytest
import torch
from node_worlds import ONE_PLANE, final_weights, largest_difference, world

PRIVATE_KINDS = {"embedding", "feature", "feature_gradient", "embedding_gradient", "update", "model", "weights"}

TABLE = {
    "head": ("collaborative", "train.trains=head", "train.local_steps=2"),
    "head, features kept": (
        "collaborative", "train.trains=head", "method.cache=features", "method.overlap=stream", "train.local_steps=2",
        "train.accumulate=2",
    ),
    "head, embeddings kept": (
        "collaborative", "train.trains=head", "method.cache=embeddings", "method.overlap=stream",
        "train.local_steps=3",
    ),
    "encoder, a group and a bit": ("collaborative", "train.trains=encoder", "train.batch_size=40"),
    "encoder, blocks on board": ("collaborative", "train.trains=encoder", "model.cut_after_block=1"),
    "encoder, int8, streamed": (
        "collaborative", "train.trains=encoder", "method.codec=int8", "method.overlap=stream",
        "method.inter_orbit=via_ground", "method.deliver_to=satellites",
    ),
    "lora, embeddings kept": (
        "collaborative", "train.trains=lora", "method.cache=embeddings", "method.overlap=stream",
        "train.accumulate=2", *ONE_PLANE,
    ),
    "lora, all on board": (
        "collaborative", "train.trains=lora", "model.cut_after_block=2", "method.preloaded=true",
        "method.deliver_to=satellites",
    ),
    "full": ("collaborative", "train.trains=full", "train.accumulate=2", "train.local_steps=2"),
    "full, streamed": ("collaborative", "train.trains=full", "method.overlap=stream", "train.momentum=0.9"),
    "full, few tokens": ("collaborative", "train.trains=full", "method.codec=top25"),
    "own encoders": (
        "collaborative", "train.trains=encoder", "train.server_encoder=per_client", "train.prox_mu=0.1",
        "train.server_optimizer=adam", "train.local_steps=2",
    ),
    "own encoders, full, streamed": (
        "collaborative", "train.trains=full", "train.server_encoder=per_client", "method.overlap=stream",
        "train.accumulate=2", *ONE_PLANE,
    ),
    "reconstructed": ("reconstructed", "train.trains=encoder", "train.schedule=cosine", "train.local_steps=2"),
    "onboard": ("onboard", "train.trains=lora", "train.accumulate=2", "method.overlap=stream"),
    "onboard, features kept": ("onboard", "train.trains=head", "method.cache=features", "method.codec=int8"),
    "fedavg": ("fedavg", "train.trains=full", "train.prox_mu=0.1", "train.server_optimizer=adam"),
    "fedisl": ("fedisl", "train.trains=encoder", "method.deliver_to=satellites"),
    "fedleo": ("fedleo", "train.trains=lora"),
}  # fmt: skip


LONG = {
    "head", "head, embeddings kept", "encoder, a group and a bit", "encoder, blocks on board", "full",
    "full, few tokens", "full, streamed", "lora, all on board", "reconstructed", "onboard, features kept", "fedleo",
}  # fmt: skip
"""What the other rows, and those that are equal bit for bit, show nearly as well."""

ROWS = [pytest.param(row, marks=[pytest.mark.exhaustive] if row in LONG else []) for row in TABLE]


@pytest.mark.parametrize("row", ROWS)
def test_weights_agree_up_to_the_order_of_additions(row: str) -> None:
    """1e-5 of each tensor's norm, SGD (docs: laws); no image or label is ever on the wire."""
    planned = world(*TABLE[row])
    run = planned.drive()
    found = final_weights(run, [*planned.satellites, planned.server])
    assert largest_difference(found, planned.reference(2)) < 1e-5
    assert set(run.wire) <= PRIVATE_KINDS
    if "method.deliver_to=satellites" in TABLE[row]:
        assert final_weights(run, [0]).keys() == found.keys()


BITS = {
    "shared encoder": ("collaborative", "train.trains=encoder", *ONE_PLANE),
    "everything, each node a process": ("collaborative", "train.trains=full", *ONE_PLANE),
    "adapters, AdamW, bf16": (
        "collaborative", "train.trains=lora", "train.optimizer=adamw", "train.learning_rate=0.001",
        "train.precision=bf16", *ONE_PLANE,
    ),
    "on the ground": ("download", "train.trains=encoder"),
    "on the ground, features kept": ("download", "train.trains=head", "method.cache=features", "train.local_steps=2"),
    "on the ground, streamed": (
        "download", "train.trains=lora", "method.overlap=stream", "train.accumulate=2", "method.deliver_to=satellites",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", BITS)
def test_weights_are_equal_bit_for_bit_where_the_order_of_additions_is_the_same(row: str) -> None:
    """Stage after stage with one plane, where the ring adds up by satellite id as one process does; and centrally."""
    planned = world(*BITS[row])
    run = planned.drive(planned.hosts(apart="each node" in row))
    found, expected = final_weights(run, [*planned.satellites, planned.server]), planned.reference(2)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_same_plan_gives_the_same_bits() -> None:
    planned = world("collaborative", "train.trains=full", "method.overlap=stream", "train.rounds=1", *ONE_PLANE)
    one, other = (final_weights(planned.drive(), [*planned.satellites, planned.server]) for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())

"""Training over any cuts equals plain training of the whole model in one place.

The table: models x cuts and placements x what trains x who is averaged x optimiser x arithmetic. The part of it that is
not marked slow has every model, every way of cutting, and everything that trains.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import plain_training as plain
import pytest
import torch
from tiny_backbone import NUM_BLOCKS, tiny_backbone
from worlds import NUM_STEPS, WORLDS, World, run

from orbitune.learn.rounds import Learner

TRAINS = ("head", "lora", "encoder", "full")
SERVERS = ("shared", "per_client")
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
"""Of a single value in float64; in float32 of a tensor's distance as a share of its norm."""


class Row(NamedTuple):
    """One training of the table; `way` is one of `ways`."""

    model: str
    trains: str
    way: str
    server_encoder: str
    optimizer: str
    dtype: str


def ways(world: World) -> dict[str, dict[str, object]]:
    """Everything on one other node after each cut; the encoder over several nodes; own cuts of single satellites."""
    last = world.num_blocks
    single: dict[str, dict[str, object]] = {f"cut {cut}": {"cut": cut} for cut in range(last + 1)}
    return single | {
        "pipeline": {"cut": 0, "cuts": tuple(range(1, last + 1))},
        "pipeline after 1": {"cut": 1, "cuts": (last,)},
        "own cuts": {"cut": 0, "satellite_cuts": (last, 0, 0, 1)},
        "own cuts, pipeline": {"cut": 0, "cuts": (1, last), "satellite_cuts": (0, 1, 0, last)},
    }


def table() -> list[Row]:
    """Every row, AdamW in float32 apart: that is rounding turned into steps (see `World`)."""
    arithmetic = [("adamw", "float64"), ("sgd", "float64"), ("sgd", "float32")]
    return [
        Row(name, trains, way, server, optimizer, dtype)
        for name, world in WORLDS.items()
        for trains in TRAINS
        for way in ways(world)
        for server in SERVERS
        for optimizer, dtype in arithmetic
    ]


def often(row: Row) -> bool:
    """Whether a row is checked at every change."""
    if row.model in ("galileo", "swin") and row.trains in ("head", "encoder"):
        return False
    if (row.server_encoder, row.optimizer, row.dtype) == ("shared", "adamw", "float64"):
        chosen = {"tiny": ("cut 0", "cut 2"), "vit": ("pipeline",), "module": ("cut 1",)}
        return row.way == "own cuts, pipeline" or row.way in chosen.get(row.model, ())
    if row.way != "own cuts, pipeline" or row.model == "galileo" or row.trains != "full":
        return False
    return (row.model == "tiny") if row.server_encoder == "per_client" else row.dtype == "float32"


def start(row: Row) -> Learner:
    world = WORLDS[row.model]
    changes = {"trains": row.trains, "server_encoder": row.server_encoder, "optimizer": row.optimizer}
    return world.learner(getattr(torch, row.dtype), **changes, **ways(world)[row.way])


@cache
def oracle(row: Row) -> plain.PlainModel:
    """Of any `way`."""
    learner, world = start(row), WORLDS[row.model]
    dtype = getattr(torch, row.dtype)
    training = plain.federated_averaging if learner.spec.averages else plain.central_training
    model = plain.PlainModel(world.backbone(dtype), learner.state(), learner.spec.lora_alpha)
    return training(model, learner.spec, world.samples(dtype), NUM_STEPS)


def difference(row: Row) -> float:
    """The row's distance from its oracle after 20 steps, in the measure of its tolerance."""
    expected = oracle(
        row._replace(way="cut 0", server_encoder=SERVERS[0] if row.trains == "head" else row.server_encoder)
    )
    measure = plain.largest_absolute_difference if row.dtype == "float64" else plain.largest_difference
    return measure(run(start(row)).state(), expected)


@pytest.mark.parametrize("row", [row for row in table() if often(row)], ids="-".join)
def test_table(row: Row) -> None:
    assert difference(row) < TOLERANCE[row.dtype]


@pytest.mark.exhaustive
@pytest.mark.parametrize("row", [row for row in table() if not often(row)], ids="-".join)
def test_rest_of_table(row: Row) -> None:
    assert difference(row) < TOLERANCE[row.dtype]


@pytest.mark.parametrize("trains", TRAINS)
def test_training_moves_every_trained_tensor(trains: str) -> None:
    """Else agreement with the oracle would show nothing."""
    row = Row("tiny", trains, "cut 1", "shared", "sgd", "float64")
    before, after = start(row).state(), run(start(row)).state()
    still = [name for name in before if name.startswith("model.") and torch.equal(before[name], after[name])]
    assert not still


# -------------------------------------------------------------------------------- bit for bit in one grouping


@cache
def in_one_place(model: str, learner: str, trains: str) -> dict[str, torch.Tensor]:
    changes = {"learner": learner, "trains": trains, "optimizer": "adamw"}
    return dict(run(WORLDS[model].learner(torch.float32, **changes), 6).state())


ALL_TRAIN = [(trains, "own cuts, pipeline") for trains in ("lora", "encoder")]
ALL_WAYS = [("full", way) for way in ways(WORLDS["tiny"])]


@pytest.mark.parametrize(("trains", "way"), ALL_WAYS + ALL_TRAIN)
@pytest.mark.parametrize(("server", "whole"), [("shared", "central"), ("per_client", "federated")], ids=SERVERS)
def test_cuts_change_no_bit(trains: str, server: str, whole: str, way: str) -> None:
    """With equal grouping, fp32 training over cuts and in one place agree bit for bit, AdamW included."""
    learner = start(Row("tiny", trains, way, server, "adamw", "float32"))
    same = in_one_place("tiny", whole, trains)
    found = run(learner, 6).state()
    assert all(torch.equal(value, same[name]) for name, value in found.items() if name.startswith("model."))


@pytest.mark.parametrize("trains", TRAINS)
@pytest.mark.parametrize("whole", ["central", "federated"])
def test_the_references_are_what_they_say(whole: str, trains: str) -> None:
    """Central and federated training against the same plain loops."""
    world = WORLDS["tiny"]
    learner = world.learner(torch.float64, learner=whole, trains=trains)
    training = {"central": plain.central_training, "federated": plain.federated_averaging}[whole]
    model = plain.PlainModel(tiny_backbone(), learner.state(), learner.spec.lora_alpha)
    expected = training(model, learner.spec, world.samples(torch.float64), NUM_STEPS)
    assert plain.largest_absolute_difference(run(learner).state(), expected) < 1e-9
    assert not any(learner.wire.sent_bytes.values())


def test_the_tiny_model_has_a_block_for_each_way() -> None:
    assert WORLDS["tiny"].num_blocks == NUM_BLOCKS == 2

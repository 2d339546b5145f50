"""The words of a scenario are those of the layers that act on them."""

from __future__ import annotations

from orbitune.cost.transfer import CODECS
from orbitune.learn.spec import OPTIMIZERS, SERVER_ENCODERS, TRAINS
from orbitune.methods import METHODS
from orbitune.methods.base import OVERLAPS
from orbitune.methods.in_orbit import PLACEMENTS
from orbitune.scenario.keys import keys_of
from orbitune.scenario.learning_keys import Method, Train
from orbitune.strategies import inter_orbit, intra_orbit, satellite_ground


def choices(section: type) -> dict[str, set[str]]:
    return {key.name: set(key.choices) for key in keys_of(section)}


def test_ways_and_methods() -> None:
    words = choices(Method)
    assert words["name"] == set(METHODS)
    assert words["codec"] == set(CODECS)
    assert words["placement"] == {"ground", *PLACEMENTS}
    assert words["intra_orbit"] == {*intra_orbit.WAYS, "none"}
    assert words["satellite_ground"] == set(satellite_ground.WAYS)
    assert words["inter_orbit"] == set(inter_orbit.WAYS)
    assert words["overlap"] == set(OVERLAPS)


def test_training() -> None:
    words = choices(Train)
    assert words["trains"] == set(TRAINS)
    assert words["server_encoder"] == set(SERVER_ENCODERS)
    assert words["optimizer"] == set(OPTIMIZERS)

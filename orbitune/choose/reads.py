"""Which switches each method reads, and which methods learn the same numbers."""

from __future__ import annotations

from collections.abc import Mapping

WAYS = ("overlap", "intra_orbit", "satellite_ground", "inter_orbit")
"""Switches that only say how things travel."""

SWITCHES = ("cut", "placement", "cache", "codec", "update_codec", "trains", "server_encoder", "staleness", *WAYS)
"""All of them, as the collaborative method reads them."""

PLANES = ("cache", "update_codec", "trains", "intra_orbit")
"""Of methods that work inside planes, and over the passes of their own choice."""

READS: Mapping[str, tuple[str, ...]] = {
    "collaborative": SWITCHES,
    "onboard": ("cache", "update_codec", "trains", "staleness", *WAYS),
    "download": ("cache", "trains", "overlap", "intra_orbit", "satellite_ground"),
    "fedavg": ("cache", "update_codec", "trains"),
    "fedisl": PLANES,
    "fedleo": PLANES,
}
"""Methods that can be chosen for, each with the switches that make a difference to it.

`reconstructed` has none that is free, by its definition. With the asynchronous methods who is counted in which average
depends on when things arrive, so every switch changes the numbers and nothing is free either.
"""

LATE = ("collaborative",)
"""Methods that can leave out late planes (`methods.taking_part.staged`); the others wait for everybody."""

FEDERATED = ("onboard", "fedavg", "fedisl", "fedleo")
"""Whole models on board, averaged once a round: the same numbers, whoever carries the weights."""


def reads(method: str, trains: str) -> tuple[str, ...]:
    """The switches that make a difference; copies of an encoder that never trains make none."""
    found = READS.get(method, SWITCHES)
    return tuple(name for name in found if name != "server_encoder" or trains != "head")


def learner(method: str, trains: str, server_encoder: str) -> str:
    """Equal for methods that learn the same numbers from the same samples.

    Split training equals the federated averaging of whole models where each satellite has an encoder of its own, or
    the encoder never trains (tests/learn/test_split_equals_oracle.py).
    """
    if method in FEDERATED:
        return "federated"
    if method == "collaborative":
        return "federated" if trains == "head" or server_encoder == "per_client" else "shared encoder"
    return method

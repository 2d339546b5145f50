"""Keys of the model, the imagery, the training and the method."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.imagery.assign import HOW
from orbitune.imagery.scene import SCENES
from orbitune.model.partition import OPTIMIZER_COPIES, TRAINS
from orbitune.model.profile import shipped_profiles
from orbitune.scenario.keys import key

NO_DATASET = "none"
"""`data.dataset` of a scenario that is planned and not trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The foundation model and where it is cut."""

    name: str = key("profile of the model", choices=shipped_profiles())
    weights: str = key("what training starts from", choices=("pretrained", "random"))
    cut_after_block: int = key("blocks on board; 0 cuts after the embedding", high=1000)


_SCENE = ("dataset", SCENES)
_PLANNED = ("dataset", (NO_DATASET,))


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The imagery the satellites hold."""

    dataset: str = key("shipped scene, or none: plan without training", choices=(*SCENES, NO_DATASET))
    assignment: str | None = key("which satellite holds which chip", choices=HOW, only_if=_SCENE)
    dirichlet_alpha: float | None = key(
        "concentration: 0.1 is one or two classes each", high=1000, above=True, only_if=("assignment", ("dirichlet",))
    )
    samples_per_satellite: int | None = key("images each satellite holds", low=1, high=10**7, only_if=_PLANNED)
    num_classes: int | None = key("classes the head tells apart", low=2, high=10**5, only_if=_PLANNED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """What is trained, and how."""

    trains: str = key("head; encoder and head; or everything", choices=TRAINS)
    server_encoder: str = key(
        "one encoder for all samples, or one copy per satellite, averaged",
        default="shared",
        choices=("shared", "per_client"),
        only_if=("trains", ("encoder", "full")),
    )
    rounds: int = key("global aggregations", low=1, high=100000)
    local_steps: int = key("optimiser steps per round", low=1, high=10000)
    batch_size: int = key("samples of one satellite in one step", low=1, high=65536)
    optimizer: str = key("optimiser", choices=tuple(OPTIMIZER_COPIES))
    learning_rate: float = key("learning rate", high=10, above=True)
    head_rate_factor: float = key(
        "times faster that the head learns than the rest",
        default=1.0,
        high=1000,
        above=True,
        only_if=("trains", ("encoder", "full")),
    )
    momentum: float = key("momentum", default=0.0, high=0.999, only_if=("optimizer", ("sgd",)))
    weight_decay: float = key("weight decay", default=0.0, high=1)
    target_accuracy: float = key("accuracy at which the times of methods are compared", high=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """The scheme and its three communication strategies."""

    name: str = key("scheme", choices=("collaborative", "reconstructed", "onboard", "download"))
    codec: str = key("number format on the links", choices=("fp32", "fp16"))
    intra_orbit: str = key("way around a plane", choices=("none", "relay", "ring", "bidirectional"))
    satellite_ground: str = key(
        "way between satellites and stations", choices=("direct", "gateway", "max_flow", "quickest")
    )
    inter_orbit: str = key(
        "way between planes",
        choices=("via_ground", "chain", "earliest_tree", "mixed_tree", "sharded", "quickest", "exact"),
    )
    overlap: str = key(
        "stages one after the other, or micro-batches that flow through them; changes times, never numbers",
        default="none",
        choices=("none", "stream"),
    )
    slot_s: float = key("time step of the flow network of max_flow", unit="s", low=1, high=3600)
    preloaded: bool = key("whether satellites hold the weights before the start")
    deliver_to: str = key("who holds the trained model at the end", choices=("server", "satellites"))

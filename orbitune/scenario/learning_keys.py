"""Keys of the model, the imagery, the training and the method."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.cost.transfer import CODECS, UPDATE_CODECS
from orbitune.imagery.assign import HOW
from orbitune.imagery.imagery import DATASETS, FOLDER
from orbitune.learn.model_spec import MODEL_NAMES
from orbitune.learn.spec import (
    CACHES,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    SERVER_ENCODERS,
    SERVER_OPTIMIZERS,
    STALENESS_WEIGHTS,
    TRAINS,
)
from orbitune.model.profile import shipped_profiles
from orbitune.scenario.keys import key

NO_DATASET = "none"
"""`data.dataset` of a scenario that is planned and not trained."""


SHIPPED_MODEL = "galileo-nano"
"""The model whose weights come with the package."""

LIVE = tuple(name for name in MODEL_NAMES if name != SHIPPED_MODEL)
"""`model.name` of models that come from elsewhere: their profile is measured, or read from `model.profile`."""

_LIVE = ("name", LIVE)
_ADAPTED = ("trains", ("lora",))
_DEEP = ("trains", ("lora", "encoder", "full"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The foundation model, where it comes from and where it is cut."""

    name: str = key(
        "a model or a profile that comes with the package, a vision model of transformers, timm or torchgeo, or a "
        "module of your own",
        choices=(*shipped_profiles(), *LIVE),
    )
    source: str | None = key(
        "transformers: a folder with config.json, or a hub name; timm, torchgeo: an architecture; module: "
        "package.module:function",
        form="source",
        only_if=_LIVE,
    )
    file: str = key(
        "its weights: a .safetensors file or a folder with one; empty for those that the source brings",
        default="",
        form="path",
        only_if=_LIVE,
    )
    cut_points: tuple[str, ...] = key(
        "children after which a module of your own may be cut, in order",
        default=(),
        form="names",
        only_if=("name", ("module",)),
    )
    image_px: int = key(
        "side that images are resized to; 0 leaves it to the model", default=0, unit="px", high=4096, only_if=_LIVE
    )
    month: int = key(
        "month in which the images were taken; 2 for the shipped Sentinel-2 scene",
        default=2,
        low=1,
        high=12,
        only_if=("name", (SHIPPED_MODEL,)),
    )
    profile: str = key(
        "a profile that `orbitune profile` wrote, so that planning needs no torch; empty measures the model",
        default="",
        form="path",
        only_if=_LIVE,
    )
    weights: str = key("what training starts from", choices=("pretrained", "random"))
    cut_after_block: int = key("blocks on board; 0 cuts after the embedding", high=1000)


_IMAGES = ("dataset", tuple(DATASETS))
_PLANNED = ("dataset", (NO_DATASET,))


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The imagery the satellites hold."""

    dataset: str = key(
        "shipped images, a folder of your own, or none: plan without training", choices=(*DATASETS, NO_DATASET)
    )
    folder: str | None = key("your images and labels", form="path", only_if=("dataset", (FOLDER,)))
    chip_px: int = key(
        "side of the chips that scenes are cut into; 0 for the usual one",
        default=0,
        unit="px",
        high=1024,
        only_if=("dataset", tuple(name for name, found in DATASETS.items() if found.sides_px)),
    )
    assignment: str | None = key("which satellite holds which image", choices=HOW, only_if=_IMAGES)
    dirichlet_alpha: float | None = key(
        "concentration: 0.1 is one or two classes each", high=1000, above=True, only_if=("assignment", ("dirichlet",))
    )
    samples_per_satellite: int | None = key("images each satellite holds", low=1, high=10**7, only_if=_PLANNED)
    num_classes: int | None = key("classes the head tells apart", low=2, high=10**5, only_if=_PLANNED)


LOST_SATELLITES = ("wait", "leave_out")


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """What is trained, and how."""

    trains: str = key("head; head and low-rank adapters; encoder and head; or everything", choices=TRAINS)
    server_encoder: str = key(
        "one encoder for all samples, or one copy per satellite, averaged",
        default="shared",
        choices=SERVER_ENCODERS,
        only_if=_DEEP,
    )
    lora_rank: int = key("rank of the adapters", default=8, low=1, high=1024, only_if=_ADAPTED)
    lora_alpha: float = key("adapters are scaled by lora_alpha / lora_rank", default=16.0, high=10**4, above=True,
                            only_if=_ADAPTED)  # fmt: skip
    rounds: int = key("global aggregations", low=1, high=100000)
    local_steps: int = key("optimiser steps per round", low=1, high=10000)
    batch_size: int = key("samples of one satellite that go through the model at once", low=1, high=65536)
    accumulate: int = key("batches whose gradients are added up in one optimiser step", default=1, low=1, high=4096)
    satellites_per_round: int = key("drawn anew for each round; 0 takes all", default=0, high=100000)
    staleness: int = key("averages that may be formed without a late plane", default=0, high=1000)
    quorum: float = key(
        "share of the planes that an average needs where late ones may be left out",
        default=0.5,
        high=1,
        above=True,
    )
    lost_satellites: str = key(
        "real runs (orbitune launch): when a satellite's process is lost, start it again and repeat the round, or go "
        "on without it until it is back",
        default="wait",
        choices=LOST_SATELLITES,
    )
    optimizer: str = key("optimiser", choices=OPTIMIZERS)
    learning_rate: float = key("highest learning rate", high=10, above=True)
    schedule: str = key(
        "learning rate over the whole training: constant, or falling to zero", default="constant", choices=SCHEDULES
    )
    warmup_steps: int = key("first steps, over which the learning rate rises from zero", default=0, high=10**6)
    head_rate_factor: float = key(
        "times faster that the head learns than the rest", default=1.0, high=1000, above=True, only_if=_DEEP
    )
    momentum: float = key("momentum", default=0.0, high=0.999, only_if=("optimizer", ("sgd",)))
    weight_decay: float = key("weight decay", default=0.0, high=1)
    prox_mu: float = key("FedProx: pull towards the last average, where satellites train apart", default=0.0, high=100)
    server_optimizer: str = key(
        "what is done with the averaged change of weights: added, or given to Adam (FedAdam)",
        default="average",
        choices=SERVER_OPTIMIZERS,
    )
    server_rate: float = key(
        "learning rate of FedAdam", default=0.01, high=10, above=True, only_if=("server_optimizer", ("adam",))
    )
    precision: str = key("arithmetic of the forward pass", default="fp32", choices=PRECISIONS)
    target_accuracy: float = key("accuracy at which the times of methods are compared", high=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """The scheme and its three communication strategies."""

    name: str = key(
        "scheme",
        choices=(
            "collaborative",
            "reconstructed",
            "onboard",
            "download",
            "fedavg",
            "fedisl",
            "fedleo",
            "fedasync",
            "fedbuff",
            "fedspace",
            "sfl_leo",
        ),
    )
    fedleo_sink: str = key(
        "FedLEO: which satellite brings a plane's sum down", default="scheduled", choices=("scheduled", "random")
    )
    fedasync_rate: float = key("FedAsync: weight of a fresh contribution (alpha)", default=0.6, high=1, above=True)
    fedbuff_share: float = key("FedBuff: its buffer, as a share of the satellites", default=0.25, high=1, above=True)
    fedbuff_max_staleness: int = key("FedBuff: models a contribution may miss", default=4, high=1000)
    fedspace_stretch_h: float = key("FedSpace: how far ahead it plans", default=6.0, unit="h", high=240, above=True)
    staleness_weight: str = key(
        "how much less a late contribution counts: FedAsync, FedBuff, FedSpace, SFL-LEO",
        default="polynomial",
        choices=STALENESS_WEIGHTS,
    )
    placement: str = key(
        "where the encoder of collaborative runs: on the ground server, on one satellite of each plane, or spread over "
        "the satellites of each plane",
        default="ground",
        choices=("ground", "compute_satellite", "plane_pipeline"),
    )
    cache: str = key(
        "what is kept of a sample so that it crosses the cut once; changes times and bytes, never numbers",
        default="none",
        choices=CACHES,
    )
    codec: str = key("number format of intermediate results on the links", choices=CODECS)
    update_codec: str = key("number format of what is averaged", default="fp32", choices=UPDATE_CODECS)
    noise_multiplier: float = key(
        "Gaussian noise on what leaves a satellite, in units of noise_clip; 0 adds none", default=0.0, high=1000
    )
    noise_clip: float = key("largest norm of a sample's embedding before noise", default=1.0, high=10**6, above=True)
    noise_gradient_clip: float = key(
        "largest norm of a sample's feature gradient before noise", default=1.0, high=10**6, above=True
    )
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

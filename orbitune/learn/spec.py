"""What is learned and how, as plain values that a scenario can hold without torch."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.cost.transfer import CODECS, UPDATE_CODECS

LEARNERS = ("split", "federated", "central", "auxiliary")
"""Who computes: satellites and server together over a cut, every satellite alone, the server alone, or satellites and
server each by itself, the satellites behind an auxiliary head (`auxiliary`)."""

TRAINS = ("head", "lora", "encoder", "full")
"""The head; head and adapters in the blocks; head, blocks and last norm (the embedding stays frozen); or everything."""

SERVER_ENCODERS = ("shared", "per_client")
"""One encoder that sees the samples of all satellites, or one copy per satellite and round, then averaged."""

OPTIMIZERS = ("sgd", "adamw")

CACHES = ("none", "features", "embeddings")
"""What is kept of a sample after it has crossed once: nothing, its features, or its activation at the cut."""

SCHEDULES = ("constant", "linear", "cosine")
"""How the learning rate goes on after the warm-up, see `schedule.rate_factor`."""

SERVER_OPTIMIZERS = ("average", "adam")
"""What the server does with the mean of the satellites: take it, or take it as a gradient for Adam."""

MERGES = ("mean", "mix", "buffer", "weighted")
"""What the server does with the satellites that are counted in one model: federated averaging; FedAsync's mixing of
weights; FedBuff's step by their changes; the same with weights that add up to one, as FedSpace. See `merge`."""

STALENESS_WEIGHTS = ("constant", "polynomial", "hinge")
"""How a contribution counts less the more models it has missed, see `merge.staleness_factor`; not for "mean"."""

PRECISIONS = ("fp32", "bf16")
"""Of the arithmetic; parameters and optimiser stay in the backbone's own type."""


@dataclass(frozen=True, slots=True)
class LearnSpec:
    """One way to fine-tune.

    Attributes:
        learner: One of `LEARNERS`; `server_encoder` concerns "split" only, `cut` and `codec` also "auxiliary".
        trains: One of `TRAINS`.
        server_encoder: One of `SERVER_ENCODERS`; without meaning for trains = "head", where the encoder never changes.
        cut: How many blocks run on the satellites, after the embedding.
        codec: How tensors are written on the link, one of `cost.transfer.CODECS`.
        local_steps: Optimiser steps per round.
        batch_size: Samples per satellite and batch; a satellite that holds fewer uses all it has.
        optimizer: One of `OPTIMIZERS`.
        learning_rate: At its highest; `schedule` and `warmup_steps` say how it moves.
        head_rate_factor: How many times faster the head learns: it starts from nothing, the rest from trained weights.
        momentum: Of SGD; AdamW does not read it.
        weight_decay: L2 term of SGD, decoupled decay of AdamW; on all trained tensors alike.
        seed: Root of the streams for batches and for the first weights of head and adapters.
        cache: One of `CACHES`; changes what crosses, never the numbers.
        cuts: Further block numbers, rising and above `cut`, at which the encoder passes from one node to the next.
        satellite_cuts: Cut of each satellite by its id; empty where all have `cut`.
        update_codec: One of `cost.transfer.UPDATE_CODECS`, for changes of weights; they never cross for "central".
        lora_rank, lora_alpha: Of the adapters (arXiv:2106.09685, section 4.1); only for trains = "lora".
        accumulate: Batches of `batch_size` per optimiser step.
        schedule: One of `SCHEDULES`, over `rounds` x `local_steps` optimiser steps.
        warmup_steps: Optimiser steps of the run over which the learning rate rises to its highest.
        rounds: Rounds of the whole training, for the schedule; more may be run where it is constant.
        prox_mu: FedProx (arXiv:1812.06127): pull towards the start of the round; only for learners that average.
        server_optimizer: One of `SERVER_OPTIMIZERS`; only for learners that average.
        server_rate: Learning rate of the server's Adam.
        merge: One of `MERGES`; "mean" for all learners but "auxiliary", the others for "federated" and "auxiliary".
        merge_rate: FedAsync's alpha, or the server's learning rate of the others; not for "mean".
        staleness_weight: One of `STALENESS_WEIGHTS`.
        staleness_decay: How fast it falls (a in FedAsync): the exponent of "polynomial", the slope of "hinge".
        staleness_free: Models that may be missed before "hinge" falls (b in FedAsync).
        precision: One of `PRECISIONS`.
        noise_multiplier: Gaussian noise on what leaves a satellite over the cut, in units of `noise_clip`; 0 is none.
        noise_clip: Norm to which each sample's embedding is clipped before noise.
        noise_gradient_clip: The same for each sample's feature gradient.
    """

    learner: str
    trains: str
    server_encoder: str
    cut: int
    codec: str
    local_steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    seed: int
    head_rate_factor: float = 1.0
    cache: str = "none"
    cuts: tuple[int, ...] = ()
    satellite_cuts: tuple[int, ...] = ()
    update_codec: str = "fp32"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    accumulate: int = 1
    schedule: str = "constant"
    warmup_steps: int = 0
    rounds: int = 1
    prox_mu: float = 0.0
    server_optimizer: str = "average"
    server_rate: float = 0.01
    merge: str = "mean"
    merge_rate: float = 1.0
    staleness_weight: str = "polynomial"
    staleness_decay: float = 0.5
    staleness_free: int = 4
    precision: str = "fp32"
    noise_multiplier: float = 0.0
    noise_clip: float = 1.0
    noise_gradient_clip: float = 1.0

    def __post_init__(self) -> None:
        # Scenarios are checked where they are read; what arrives here wrong is a fault of ours.
        assert self.learner in LEARNERS, self.learner
        assert self.trains in TRAINS, self.trains
        assert self.server_encoder in SERVER_ENCODERS, self.server_encoder
        assert self.codec in CODECS, self.codec
        assert self.optimizer in OPTIMIZERS, self.optimizer
        assert self.cache in CACHES, self.cache
        assert self.update_codec in UPDATE_CODECS, self.update_codec
        assert self.schedule in SCHEDULES, self.schedule
        assert self.server_optimizer in SERVER_OPTIMIZERS, self.server_optimizer
        assert self.precision in PRECISIONS, self.precision
        assert self.merge in MERGES and self.staleness_weight in STALENESS_WEIGHTS, (self.merge, self.staleness_weight)
        mergers = ("mean",) if self.learner in ("split", "central") else MERGES[self.learner == "auxiliary" :]
        assert self.merge in mergers, f"{self.merge} for {self.learner}"
        assert self.merge_rate > 0 and self.staleness_decay >= 0 and self.staleness_free >= 0
        assert self.cut >= 0 and self.local_steps >= 1 and self.batch_size >= 1
        assert list(self.cuts) == sorted({*self.cuts}) and all(later > self.cut for later in self.cuts), self.cuts
        assert self.accumulate >= 1 and self.rounds >= 1 and self.warmup_steps >= 0 and self.lora_rank >= 1
        assert self.prox_mu >= 0 and self.server_rate > 0

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.rounds * self.local_steps

    @property
    def averages(self) -> bool:
        """Whether satellites train apart during a round and are averaged at its end."""
        apart = self.server_encoder == "per_client" or self.trains == "head"
        return self.learner == "federated" or (self.learner == "split" and apart)

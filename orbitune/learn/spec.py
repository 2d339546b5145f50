"""What is learned and how, as plain values that a scenario can hold without torch."""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.cost.transfer import CODEC_BYTES

LEARNERS = ("split", "federated", "central")
"""Who computes: satellites and server together over a cut, every satellite alone, or the server alone."""

TRAINS = ("head", "encoder", "full")
"""The head; head, blocks and last norm (the embedding stays frozen); or everything."""

SERVER_ENCODERS = ("shared", "per_client")
"""One encoder that sees the samples of all satellites, or one copy per satellite and round, then averaged."""

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True, slots=True)
class LearnSpec:
    """One way to fine-tune.

    Attributes:
        learner: One of `LEARNERS`; `server_encoder`, `cut` and `codec` concern "split" only.
        trains: One of `TRAINS`.
        server_encoder: One of `SERVER_ENCODERS`; without meaning for trains = "head", where the encoder never changes.
        cut: How many blocks run on the satellites, after the embedding.
        codec: How tensors are written on the link, a key of `CODEC_BYTES`.
        local_steps: Optimiser steps per round.
        batch_size: Samples per satellite and step; a satellite that holds fewer uses all it has.
        optimizer: One of `OPTIMIZERS`.
        learning_rate: Constant over the training.
        head_rate_factor: How many times faster the head learns: it starts from nothing, the rest from trained weights.
        momentum: Of SGD; AdamW does not read it.
        weight_decay: L2 term of SGD, decoupled decay of AdamW; on all trained tensors alike.
        seed: Root of the streams for batches and for the first weights of the head.
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

    def __post_init__(self) -> None:
        # Scenarios are checked where they are read; what arrives here wrong is a fault of ours.
        assert self.learner in LEARNERS, self.learner
        assert self.trains in TRAINS, self.trains
        assert self.server_encoder in SERVER_ENCODERS, self.server_encoder
        assert self.codec in CODEC_BYTES, self.codec
        assert self.optimizer in OPTIMIZERS, self.optimizer
        assert self.cut >= 0 and self.local_steps >= 1 and self.batch_size >= 1

    @property
    def averages(self) -> bool:
        """Whether satellites train apart during a round and are averaged at its end."""
        apart = self.server_encoder == "per_client" or self.trains == "head"
        return self.learner == "federated" or (self.learner == "split" and apart)

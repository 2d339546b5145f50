"""FedAsync: the server mixes every contribution in as soon as it arrives.

Xie, Koyejo and Gupta, "Asynchronous federated optimization", arXiv:1903.03934, algorithm 1: with tau the model that a
worker trained from, x_t = (1 - alpha_t) x_{t-1} + alpha_t x_new, alpha_t = alpha s(t - tau); s constant, polynomial or
hinge (section 5.2; `learn.asynchronous`). Workers train with a proximal term there: `train.prox_mu`. There, a
scheduler triggers workers at random; here the contact plan does, see `asynchronous`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.methods.asynchronous import AsynchronousRounds, Rule
from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.base import Job


@dataclass(frozen=True)
class AtOnce:
    """A model for every arrival."""

    def due_s(self, rounds: AsynchronousRounds, next_s: float) -> float:
        """Now."""
        return rounds.now_s


@dataclass(frozen=True)
class FedAsync(Asynchronous):
    """Every arrival makes a model; staleness has no bound."""

    name: str = "fedasync"
    merge: str = "mix"

    def rule(self, job: Job) -> Rule:
        """For every arrival."""
        return AtOnce()

"""What a real run has trained: judged on the test samples, and held against the same rounds in one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load, save

from orbitune.errors import RunError
from orbitune.imagery.imagery import Selection
from orbitune.learn import session
from orbitune.learn.aggregate import Tensors, copy_of, write_into
from orbitune.learn.learners import AveragingLearner, Evaluation, UnionLearner
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.replay import TakingPart
from orbitune.learn.rounds import deterministic
from orbitune.learn.rounds import train as train_rounds
from orbitune.learn.spec import LearnSpec


class Judge:
    """The whole model in this process, for weights that were trained elsewhere.

    Raises:
        InputError, MissingExtra: As `session.start`.
    """

    def __init__(self, spec: LearnSpec, model: ModelSpec, selection: Selection, num_satellites: int) -> None:
        deterministic(threads=1)
        self._start = session.make_start(model, selection, num_satellites, spec.seed)
        self._spec = spec
        self._learner = self._fresh()

    def _fresh(self) -> UnionLearner | AveragingLearner:
        learner = self._start.learner(self._spec)
        assert isinstance(learner, UnionLearner | AveragingLearner), "nodes refuse all others"
        return learner

    def evaluate(self, parts: Sequence[bytes]) -> Evaluation:
        """Figures of the model with these weights.

        Args:
            parts: What nodes gave as their weights, or as their state after a round, as safetensors; together all that
                trains.

        Raises:
            RunError: Some are missing.
        """
        write_into(self._learner.task.trained, self._joined(parts))
        return self._learner.evaluate()

    def row(self, rounds: int, sim_time_s: float, parts: Sequence[bytes]) -> dict[str, Any]:
        """A point of the learning curve, as training in one process writes it; the untrained model without parts."""
        found = self.evaluate(parts) if parts else self._learner.evaluate()
        return {
            "round": rounds,
            "sim_time_s": sim_time_s,
            "loss": None,
            "accuracy": found.accuracy,
            "balanced_accuracy": found.balanced_accuracy,
            "test_loss": found.loss,
            "client_loss": {},
            "wall_s": 0.0,
            "metrics": found.metrics,
        }

    def joined(self, parts: Sequence[bytes]) -> bytes:
        """All that trained, from several nodes, as one safetensors file."""
        return save({name: value.contiguous() for name, value in sorted(self._joined(parts).items())})

    def largest_difference(self, parts: Sequence[bytes], participation: Sequence[TakingPart]) -> float:
        """Train the same rounds in this process, and compare: the largest over all tensors of |a - b| / |b|.

        Norms are Euclidean, over a tensor; b is what one process trains.
        """
        learner = self._fresh()
        steps = [float(number) for number in range(1, len(participation) + 1)]
        train_rounds(learner, 0.0, steps, 0, lambda record: None, participation)
        ours, theirs = self._joined(parts), copy_of(learner.task.trained)
        return max(_difference(ours[name], theirs[name]) for name in theirs)

    def _joined(self, parts: Sequence[bytes]) -> Tensors:
        found: Tensors = {}
        for part in parts:
            found |= {name.split(".trained.", 1)[-1]: value for name, value in load(part).items()}
        wanted = set(self._learner.task.trained)
        if not wanted <= set(found):
            missing = ", ".join(sorted(wanted - set(found)))
            raise RunError(f"the nodes brought no weights of {missing}; the run cannot be judged")
        return {name: found[name] for name in wanted}


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    gap = torch.linalg.vector_norm(ours.double() - theirs.double())
    size = torch.linalg.vector_norm(theirs.double())
    return float(gap / size) if size > 0 else float(gap)

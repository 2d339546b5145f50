"""What is learned from what: model, samples, who holds them, and how gradients come about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbitune import seeds
from orbitune.errors import InputError, RunError
from orbitune.learn.backbones.seam import Backbone
from orbitune.learn.client import GROUP, Batch
from orbitune.learn.codec import Codec, Wire
from orbitune.learn.features import Account, Kept, check_cache, frozen_of
from orbitune.learn.objectives import Objective, Tally, add, objective_for
from orbitune.learn.privacy.noise import noise_of
from orbitune.learn.spec import LearnSpec
from orbitune.learn.split import (
    Boundaries,
    CutModel,
    NotFinite,
    boundaries_of,
    check_cuts,
    choose_trained,
    count_frozen,
    exchange,
    require_finite,
)

Holdings = tuple[NDArray[np.int64], ...]
"""Sample ids of each satellite, by its id; no sample is held twice."""


@dataclass(frozen=True, eq=False)
class Task:
    """What every learner works on.

    Attributes:
        spec: How to learn.
        trained: The tensors that train, by name; the frozen ones are in `model` beside them.
        model: The whole model.
        objective: Head, loss and figures.
        num_frozen: Pieces of the model that never change; `inputs` are behind them.
        boundaries: Of each satellite, those behind the frozen pieces; empty in one place.
        inputs: What the first piece that changes works on, by sample [M, ...]: images; or what the frozen pieces
            made of them, computed once; features [M, D] where only the head trains.
        labels: By sample [M, ...], in the form the objective needs.
        holdings: Who holds what.
        test_ids: Samples to judge on [T].
        wire: What crossed the cut.
        account: Counts what crossed among the frozen pieces; its `crossed` is part of the state of a training.
    """

    spec: LearnSpec
    trained: dict[str, nn.Parameter]
    model: CutModel
    objective: Objective
    num_frozen: int
    boundaries: tuple[Boundaries, ...]
    inputs: Tensor
    labels: Tensor
    holdings: Holdings
    test_ids: Tensor
    wire: Wire
    account: Account

    def participants(self) -> list[int]:
        """Satellites that hold anything to learn from."""
        return [satellite for satellite, ids in enumerate(self.holdings) if len(ids)]

    def steps(self, round_index: int) -> range:
        """The optimiser steps of a round, counted from the start of the training."""
        first = round_index * self.spec.local_steps
        return range(first, first + self.spec.local_steps)

    def predict(self, inputs: Tensor) -> Tensor:
        """Rows of `inputs` to logits, all in one place."""
        return torch.as_tensor(self.model.head(self.model.run(inputs, self.num_frozen, len(self.model.pieces))))

    def gradients(self, batch: Batch) -> Tensor:
        """Add the gradient of the summed loss of a batch to `.grad`.

        Returns:
            Loss of each sample [n].

        Raises:
            RunError: A value that crosses, a loss or a gradient is not finite. No weight has moved since.
        """
        self.account.count(batch)
        boundaries = self.boundaries[batch.satellite]
        try:
            losses = exchange(
                self.model, self.objective, self.inputs, self.labels, self.num_frozen, boundaries, self.wire, batch
            )
            self._require_finite_gradients()
        except NotFinite as wrong:
            raise self.diverged(batch, str(wrong)) from wrong
        return losses

    def _require_finite_gradients(self) -> None:
        gradients = {name: value.grad for name, value in self.trained.items() if value.grad is not None}
        # One norm over all is one pass; only where that is not finite it is worth looking for the tensor.
        if not torch.nn.utils.get_total_norm(gradients.values()).isfinite():
            for name, gradient in gradients.items():
                require_finite(f"gradient of {name}", gradient)

    def diverged(self, batch: Batch, tensor: str) -> RunError:
        """What to say when a tensor of a batch is not finite."""
        spec = self.spec
        return RunError(
            f"step {batch.step + 1}, satellite {batch.satellite}: {tensor} is not finite in a batch of "
            f"{len(batch.ids)} samples; training diverged with learning_rate = {spec.learning_rate} "
            f"({spec.optimizer}); start again with a lower one"
        )

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """Figures of the whole model on the test samples; see `Objective.figures`. Nothing crosses a link."""
        total: Tally | None = None
        for ids in torch.split(self.test_ids, GROUP):
            tally = self.objective.tally(self.predict(self.inputs[ids]), self.labels[ids])
            total = add(total, tally) if total else tally
        assert total is not None  # `check_samples` saw test samples
        return self.objective.figures(total)


def make_task(
    spec: LearnSpec,
    backbone: Backbone,
    num_classes: int,
    images: Tensor,
    labels: Tensor,
    holdings: Sequence[NDArray[np.int64]],
    test_ids: NDArray[np.int64],
    kept: Kept | None = None,
) -> Task:
    """Join model, head and samples.

    Args:
        spec, backbone, num_classes, images, labels, holdings, test_ids: Those of `rounds.make_learner`; the form of
            the labels says which objective it is, see `objectives.objective_for`.
        kept: Frozen work shared with other tasks on the same backbone, images, holdings and tests; None for none.

    Raises:
        InputError: Samples, cuts or cache cannot be, or a part that trains has layers that do not allow it.
    """
    owned = tuple(np.asarray(ids, dtype=np.int64) for ids in holdings)
    tested = np.asarray(test_ids, dtype=np.int64)
    check_samples(images, labels, owned, tested)
    num_blocks = len(backbone.blocks)
    check_cuts(spec, num_blocks, len(owned))
    objective = objective_for(labels, num_classes)
    model = CutModel(backbone, objective, spec.seed)
    trained = choose_trained(model, spec)
    num_frozen = count_frozen(model)
    check_cache(spec, num_frozen, num_blocks, [satellite for satellite, ids in enumerate(owned) if len(ids)])
    boundaries = tuple(boundaries_of(spec, satellite, num_blocks) for satellite in range(len(owned)))
    tests = torch.from_numpy(tested).to(labels.device)
    frozen = frozen_of(
        model, num_frozen, boundaries, wire_of(spec, "frozen"), images, owned, tests, {} if kept is None else kept
    )
    wire = wire_of(spec, "training")
    return Task(
        spec=spec,
        trained=trained,
        model=model,
        objective=objective,
        num_frozen=num_frozen,
        boundaries=tuple(tuple(one for one in own if one.pieces > num_frozen) for own in boundaries),
        inputs=frozen.outputs,
        labels=labels,
        holdings=owned,
        test_ids=tests,
        wire=wire,
        account=Account(spec.cache, frozen.sample_bytes, wire, len(images)),
    )


def wire_of(spec: LearnSpec, name: str) -> Wire:
    """A fresh wire with the codec and the noise of a training.

    What frozen pieces send goes over a wire of its own, "frozen". A sample's frozen activation gets its noise once and
    is the same at every use, so however often it crosses, it is released once.
    """
    if spec.noise_multiplier == 0:
        return Wire(Codec(spec.codec))
    seed = seeds.seed_for(spec.seed, "wire", name)
    noise = noise_of(spec.noise_multiplier, spec.noise_clip, seed, spec.noise_gradient_clip)
    return Wire(Codec(spec.codec), noise)


def check_samples(images: Tensor, labels: Tensor, holdings: Holdings, test_ids: NDArray[np.int64]) -> None:
    """Refuse samples that nobody could learn from or judge on.

    Raises:
        InputError: Images and labels differ in number, an image is not finite, or nothing is held or tested.
    """
    held = np.concatenate([np.empty(0, np.int64), *holdings])
    if len(images) != len(labels):
        raise InputError(f"{len(images)} images but {len(labels)} labels; each image needs one label")
    if not len(held) or not len(test_ids):
        raise InputError(
            f"the satellites hold {len(held)} samples and {len(test_ids)} are for testing; both must be more than 0"
        )
    finite = images.flatten(1).isfinite().all(dim=1)
    if not finite.all():
        first = int(finite.int().argmin())
        raise InputError(f"image {first} holds values that are not finite; mend it or leave it out")
    assert len(held) == len(np.unique(held)), "a sample is held twice"
    assert not np.isin(test_ids, held).any(), "a test sample is trained on"

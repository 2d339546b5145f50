"""What frozen pieces make of a sample: computed once, and, with a cache, sent once.

Numbers never depend on the cache. A sum of floats depends on how samples are grouped, so an activation computed in
the group in which it is first used would differ in its last bits from one computed at every use. Therefore all that
frozen pieces do is done before the training, for each satellite in the groups of its sorted samples, whatever the
cache is; a cache only says how often the result crosses the links.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbitune.errors import InputError
from orbitune.learn.client import GROUP, Batch
from orbitune.learn.codec import Wire
from orbitune.learn.spec import LearnSpec
from orbitune.learn.split import Boundaries, CutModel, cross, cut_of

SENT_ONCE = {"none": frozenset[str](), "embeddings": {"embedding"}, "features": {"embedding", "activation", "feature"}}
"""Payloads that cross only when a sample is used for the first time. "embeddings": the node after the cut keeps what it
got; "features": the satellite keeps what came back, so nothing has to cross again."""


@dataclass(frozen=True, eq=False)
class Frozen:
    """What the frozen pieces make of every sample.

    Attributes:
        outputs: By sample [M, ...]: as it arrives where the first piece that changes runs, through all boundaries
            before it; exact for test samples; zeros for samples that nobody holds. The images where nothing is frozen.
        sample_bytes: By satellite: bytes that crossed on the way for one sample, by payload kind.
    """

    outputs: Tensor
    sample_bytes: tuple[Mapping[str, int], ...]


Kept = dict[tuple[object, ...], Frozen]
"""What trainings with the same images, weights and holdings share: frozen work by all that it depends on."""


def frozen_of(
    model: CutModel,
    num_frozen: int,
    boundaries: Sequence[Boundaries],
    wire: Wire,
    images: Tensor,
    holdings: Sequence[NDArray[np.int64]],
    tests: Tensor,
    kept: Kept,
) -> Frozen:
    """The work of the first `num_frozen` pieces, from `kept` where it has been done before.

    Args:
        model: The whole model.
        num_frozen: Pieces that never change.
        boundaries: Of each satellite; those among the frozen pieces are crossed here.
        wire: A fresh one, for the crossings among the frozen pieces.
        images: All samples [M, C, H, W].
        holdings: Samples of each satellite; no sample is held twice.
        tests: Samples to judge on [T].
        kept: Frozen work of other trainings from the same start; this one's is added.
    """
    if num_frozen == 0:
        return Frozen(images, tuple({} for _ in holdings))
    early = tuple(tuple(one for one in own if one.pieces <= num_frozen) for own in boundaries)
    crossing = (wire.codec.name, repr(wire.noise)) if any(early) else None
    key = (num_frozen, early, crossing)
    if key not in kept:
        kept[key] = compute_frozen(model, num_frozen, early, wire, images, holdings, tests)
    return kept[key]


def compute_frozen(
    model: CutModel,
    num_frozen: int,
    boundaries: Sequence[Boundaries],
    wire: Wire,
    images: Tensor,
    holdings: Sequence[NDArray[np.int64]],
    tests: Tensor,
) -> Frozen:
    """See `frozen_of`."""
    sample_bytes = []
    shape = arrive(model, num_frozen, (), wire, images[:1]).shape[1:]
    outputs = images.new_zeros(len(images), *shape)
    for own, ids in zip(boundaries, holdings, strict=True):
        before = dict(wire.sent_bytes)
        for group in torch.split(torch.from_numpy(np.sort(ids)).to(images.device), GROUP):
            if len(group):
                outputs[group] = arrive(model, num_frozen, own, wire, images[group])
        sent = {kind: total - before[kind] for kind, total in wire.sent_bytes.items()}
        sample_bytes.append({kind: total // len(ids) for kind, total in sent.items() if total})
    for group in torch.split(tests, GROUP) if len(tests) else ():
        outputs[group] = arrive(model, num_frozen, (), wire, images[group])
    return Frozen(outputs, tuple(sample_bytes))


@torch.no_grad()
def arrive(model: CutModel, num_frozen: int, boundaries: Boundaries, wire: Wire, images: Tensor) -> Tensor:
    """Images [n, C, H, W] through the frozen pieces [n, ...], over the boundaries among them."""
    value, done = images, 0
    for pieces, kind in boundaries:
        value, done = cross(wire, kind, model.run(value, done, pieces)), pieces
    return model.run(value, done, num_frozen)


class Account:
    """Counts what crosses of samples whose frozen work is done already, when they are used.

    Attributes:
        crossed: Which samples have crossed before [M], bool: part of the state of a training.
    """

    def __init__(self, cache: str, sample_bytes: Sequence[Mapping[str, int]], wire: Wire, num_samples: int) -> None:
        self.once = SENT_ONCE[cache]
        self.sample_bytes = sample_bytes
        self.wire = wire
        self.crossed = torch.zeros(num_samples, dtype=torch.bool)

    def count(self, batch: Batch) -> None:
        """Add the bytes of a batch to the wire's: of all its samples, or of those never used before."""
        ids = batch.ids.cpu()
        num_new = int((~self.crossed[ids]).sum())
        for kind, size in self.sample_bytes[batch.satellite].items():
            self.wire.sent_bytes[kind] += size * (num_new if kind in self.once else len(ids))
        self.crossed[ids] = True


def check_cache(spec: LearnSpec, num_frozen: int, num_blocks: int, satellites: Sequence[int]) -> None:
    """Refuse a cache that would change the numbers.

    Args:
        spec: Of the training.
        num_frozen: Pieces from the image on that never change.
        num_blocks: Of the model.
        satellites: Those that hold samples.

    Raises:
        InputError: What would be kept of a sample changes as the training goes on.
    """
    if spec.cache == "features" and num_frozen < num_blocks + 2:
        raise InputError(
            f"cache = 'features' with trains = '{spec.trains}': the encoder changes at every step, so features kept "
            "from an earlier step are no longer those of the sample, and the numbers would change; "
            f"take trains = 'head', or cache = {'embeddings' if num_frozen else 'none'!r}"
        )
    if spec.cache != "embeddings":
        return
    for satellite in satellites:
        own = cut_of(spec, satellite) if spec.learner == "split" else 0
        if num_frozen < own + 1:
            changing = f"some of the {own} blocks on satellite {satellite}" if num_frozen else "the embedding"
            raise InputError(
                f"cache = 'embeddings' with trains = '{spec.trains}': {changing} trains, so what crosses the cut "
                "changes at every step and keeping it would change the numbers; "
                f"take {'cut = 0 with it' if num_frozen else 'trains = head, lora or encoder'}, or cache = 'none'"
            )

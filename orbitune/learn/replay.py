"""Who takes part in a round, from which weights: old averages are kept as long as somebody may start from them.

A plan may let satellites sit rounds out (client sampling) or start from an average that is some rounds old (bounded
staleness). It says so as pairs (satellite, base): base counts the averages in the weights that the satellite holds, so
0 is untrained, and in round r (from 0) base r is fresh.

Where nobody waits for a round, a round may hold several averages, or a satellite twice. Then it is triples (satellite,
base, average), average counting those formed before the one that the contribution goes into; average - base is its
staleness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from orbitune.errors import InputError, RunError
from orbitune.learn.aggregate import Tensors
from orbitune.learn.state import below

TakingPart = Sequence[tuple[int, int] | tuple[int, int, int]]
"""Pairs (satellite, base) of one round, or triples (satellite, base, average)."""


def depth_of(participation: Sequence[TakingPart]) -> int:
    """By how many rounds the weights of a satellite are old at most."""
    return max((_average(one, index) - one[1] for index, row in enumerate(participation) for one in row), default=0)


def _average(one: tuple[int, ...], round_index: int) -> int:
    """The average that a contribution goes into; of a pair, that of its round."""
    return one[2] if len(one) > 2 else round_index


def starts_of(taking_part: TakingPart | None, round_index: int, holders: Sequence[int]) -> dict[int, int]:
    """Base of each satellite that takes part and holds samples, by rising satellite id; None is everybody, fresh.

    Raises:
        InputError: A satellite is named twice, or starts from weights that there are not yet.
    """
    if taking_part is None:
        return dict.fromkeys(holders, round_index)
    bases = {one[0]: one[1] for one in sorted(taking_part)}
    for satellite, base, *others in taking_part:
        if others or len(bases) < len(taking_part) or not 0 <= base <= round_index:
            raise InputError(
                f"round {round_index + 1}: satellite {satellite} with base {base}; each satellite takes part at most "
                f"once, from an average between 0 and {round_index}: plan the rounds again"
            )
    return {satellite: base for satellite, base in bases.items() if satellite in holders}


def averages_of(taking_part: TakingPart | None, formed: int, holders: Sequence[int]) -> list[dict[int, int]]:
    """The averages of one round in order: base of each satellite that takes part and holds samples.

    Args:
        taking_part: Triples; pairs are all of one average, and None is one of everybody, fresh.
        formed: Averages formed in the rounds before.
        holders: Satellites that hold samples.

    Raises:
        InputError: An average is left out, or `starts_of` refuses one.
    """
    if taking_part is None:
        return [starts_of(None, formed, holders)]
    rows: dict[int, list[tuple[int, int]]] = {}
    for one in taking_part:
        rows.setdefault(_average(one, formed), []).append((one[0], one[1]))
    if sorted(rows) != list(range(formed, formed + len(rows))):
        raise InputError(f"averages {sorted(rows)} after {formed}; none may be left out: plan the rounds again")
    return [starts_of(rows[average], average, holders) for average in sorted(rows)]


class Progress:
    """How far a training has come in which satellites go on by themselves.

    Attributes:
        averages: Averages formed so far.
        trainings: Rounds of local steps that each satellite has done.
    """

    def __init__(self, num_satellites: int) -> None:
        self.averages = 0
        self.trainings = [0] * num_satellites

    def state(self) -> Tensors:
        """Both, as tensors."""
        return {"averages": torch.tensor(self.averages), "trainings": torch.tensor(self.trainings)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.averages, self.trainings = int(state["averages"]), state["trainings"].tolist()


class Past:
    """Weights at the start of past rounds.

    Attributes:
        depth: How many rounds back are kept.
        averages: Weights by base.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.averages: dict[int, Tensors] = {}

    def keep(self, base: int, tensors: Tensors) -> None:
        """Remember the weights a round starts from, and forget those that nobody can start from in the next."""
        if self.depth:
            self.averages[base] = tensors
        self.averages = {old: value for old, value in self.averages.items() if base + 1 - old <= self.depth}

    def at(self, base: int) -> Tensors:
        """The weights with `base` averages in them.

        Raises:
            RunError: They are not kept any more.
        """
        if base not in self.averages:
            raise RunError(
                f"a satellite starts from average {base}; kept are {sorted(self.averages)}, at most {self.depth} "
                "rounds back: resume from a checkpoint of the same plan, or train from the start"
            )
        return self.averages[base]

    def state(self) -> Tensors:
        """What is kept, as `BASE.NAME`; never changed in place, so these are no copies."""
        return {f"{base}.{name}": value for base, kept in self.averages.items() for name, value in kept.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        bases = {name.partition(".")[0] for name in state}
        self.averages = {int(base): below(f"{base}.", state) for base in sorted(bases, key=int)}

"""Who takes part in a round, from which weights: old averages are kept as long as somebody may start from them.

A plan may let satellites sit rounds out (client sampling) or start from an average that is some rounds old (bounded
staleness). It says so as pairs (satellite, base): base counts the averages in the weights that the satellite holds, so
0 is untrained, and in round r (from 0) base r is fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from orbitune.errors import InputError, RunError
from orbitune.learn.aggregate import Tensors
from orbitune.learn.state import below

TakingPart = Sequence[tuple[int, int]]
"""Pairs (satellite, base) of one round."""


def depth_of(participation: Sequence[TakingPart]) -> int:
    """By how many rounds the weights of a satellite are old at most."""
    return max((index - base for index, pairs in enumerate(participation) for _, base in pairs), default=0)


def starts_of(taking_part: TakingPart | None, round_index: int, holders: Sequence[int]) -> dict[int, int]:
    """Base of each satellite that takes part and holds samples, by rising satellite id; None is everybody, fresh.

    Raises:
        InputError: A satellite is named twice, or starts from weights that there are not yet.
    """
    if taking_part is None:
        return dict.fromkeys(holders, round_index)
    bases = dict(sorted(taking_part))
    for satellite, base in taking_part:
        if len(bases) < len(taking_part) or not 0 <= base <= round_index:
            raise InputError(
                f"round {round_index + 1}: satellite {satellite} with base {base}; each satellite takes part at most "
                f"once, from an average between 0 and {round_index}: plan the rounds again"
            )
    return {satellite: base for satellite, base in bases.items() if satellite in holders}


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

"""Which satellite holds which samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.seeds import generator

HOW = ("place", "iid", "dirichlet", "time", "satellite")
"""place: each satellite a region; iid: a random share; dirichlet: unequal mixtures of classes; time: each satellite a
stretch of time in which images were taken (who saw it); satellite: as the data say, image by image."""


@dataclass(frozen=True, eq=False)
class Traits:
    """What is known of samples beside their pixels, as far as it is known.

    Attributes:
        count: Number of samples n.
        classes: Gives the one class that stands for each sample [n]: its label, or the most frequent of its labels.
        positions: Where each sample was taken [n, 2]: row and column, or latitude and longitude.
        times_s: When each sample was taken [n], in seconds since 1970.
        satellites: Which satellite took each sample [n], from 0.
    """

    count: int
    classes: Callable[[], NDArray[np.int64]]
    positions: NDArray[np.float64] | NDArray[np.int64] | None = None
    times_s: NDArray[np.float64] | None = None
    satellites: NDArray[np.int64] | None = None

    @property
    def ways(self) -> tuple[str, ...]:
        """Those of `HOW` for which enough is known."""
        needs = {"place": self.positions, "time": self.times_s, "satellite": self.satellites}
        return tuple(how for how in HOW if how not in needs or needs[how] is not None)


def assign(traits: Traits, num_satellites: int, how: str, alpha: float, seed: int) -> tuple[NDArray[np.int64], ...]:
    """Deal all samples out to the satellites; each sample goes to exactly one.

    Every satellite gets at least one, except with "satellite", where one that took no image has none.

    Args:
        traits: What is known of the samples.
        num_satellites: Number of satellites.
        how: One of `HOW`.
        alpha: Concentration of the Dirichlet draw, above 0: 0.1 is one or two classes each, 100 is nearly iid.
        seed: Root seed; only "iid" and "dirichlet" depend on it.

    Returns:
        Sorted sample numbers of each satellite.

    Raises:
        PlanError: There are fewer samples than satellites, alpha is not above 0, or the data do not say what this way
            needs.
    """
    if how not in traits.ways:
        known = f"'{how}' needs what these data do not say" if how in HOW else f"unknown assignment '{how}'"
        raise PlanError(f"{known}; ways to deal out these data: {', '.join(traits.ways)} (data.assignment)")
    if traits.count < num_satellites and how != "satellite":
        raise PlanError(
            f"{traits.count} training samples cannot give each of {num_satellites} satellites one; "
            "use fewer satellites or smaller chips (data.chip_px)"
        )
    return tuple(np.sort(share) for share in _shares(traits, num_satellites, how, alpha, seed))


def _shares(traits: Traits, num_satellites: int, how: str, alpha: float, seed: int) -> list[NDArray[np.int64]]:
    if how == "place":
        assert traits.positions is not None
        return _by_place(np.arange(traits.count), traits.positions, num_satellites)
    if how == "time":
        assert traits.times_s is not None
        return np.array_split(np.argsort(traits.times_s, kind="stable"), num_satellites)
    if how == "satellite":
        assert traits.satellites is not None
        return _by_satellite(traits.satellites, num_satellites)
    if how == "dirichlet":
        return _by_mixture(traits.classes(), num_satellites, alpha, generator(seed, "assign", how))
    return np.array_split(generator(seed, "assign", how).permutation(traits.count), num_satellites)


def _by_satellite(satellites: NDArray[np.int64], num_satellites: int) -> list[NDArray[np.int64]]:
    if satellites.max(initial=-1) >= num_satellites:
        raise PlanError(
            f"the data name satellite {satellites.max()}, but there are {num_satellites}, counted from 0; "
            "use more satellites or another data.assignment"
        )
    return [np.flatnonzero(satellites == satellite) for satellite in range(num_satellites)]


def _by_place(
    samples: NDArray[np.int64], positions: NDArray[np.float64] | NDArray[np.int64], num_satellites: int
) -> list[NDArray[np.int64]]:
    """Halve the satellites and, across the longer side of their region, the samples, until each stands alone.

    A k-d split (Bentley 1975, doi 10.1145/361002.361007): regions are rectangles and hold nearly equal counts.
    """
    if num_satellites == 1:
        return [samples]
    axis = int(np.ptp(positions[samples], axis=0).argmax())
    ordered = samples[np.lexsort((positions[samples, 1 - axis], positions[samples, axis]))]
    first = num_satellites // 2
    border = round(len(samples) * first / num_satellites)
    return _by_place(ordered[:border], positions, first) + _by_place(
        ordered[border:], positions, num_satellites - first
    )


def _by_mixture(
    labels: NDArray[np.int64], num_satellites: int, alpha: float, source: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Split each class over the satellites in Dirichlet(alpha) shares (Hsu et al., arXiv:1909.06335, section 3)."""
    if not alpha > 0:
        raise PlanError(f"data.alpha = {alpha}: the Dirichlet concentration must be above 0")
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = source.permutation(np.flatnonzero(labels == label))
        borders = np.cumsum(source.dirichlet(np.full(num_satellites, alpha)))[:-1] * len(members)
        owner[members] = np.searchsorted(borders, np.arange(len(members)), side="right")
    shares = [np.flatnonzero(owner == satellite) for satellite in range(num_satellites)]
    return _none_empty(shares)


def _none_empty(shares: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Give each empty satellite one sample of whoever holds most."""
    for satellite, share in enumerate(shares):
        if not len(share):
            richest = int(np.argmax([len(other) for other in shares]))
            shares[satellite], shares[richest] = shares[richest][-1:], shares[richest][:-1]
    return shares

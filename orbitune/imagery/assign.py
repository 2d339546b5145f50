"""Which satellite holds which samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import PlanError
from orbitune.seeds import generator

HOW = ("place", "iid", "dirichlet")
"""place: each satellite a region of the scene; iid: a random share; dirichlet: unequal mixtures of classes."""


def assign(
    labels: NDArray[np.int64], positions: NDArray[np.int64], num_satellites: int, how: str, alpha: float, seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Deal all samples out to the satellites; each sample goes to exactly one and every satellite gets at least one.

    Args:
        labels: Class of each sample [n].
        positions: Row and column of each sample [n, 2].
        num_satellites: Number of satellites.
        how: One of `HOW`.
        alpha: Concentration of the Dirichlet draw, above 0: 0.1 is one or two classes each, 100 is nearly iid.
        seed: Root seed; "place" does not depend on it.

    Returns:
        Sorted sample numbers of each satellite.

    Raises:
        PlanError: There are fewer samples than satellites, or alpha is not above 0.
    """
    if len(labels) < num_satellites:
        raise PlanError(
            f"{len(labels)} training samples cannot give each of {num_satellites} satellites one; "
            "use fewer satellites or smaller chips (data.chip_px)"
        )
    if how == "place":
        shares = _by_place(np.arange(len(labels)), positions, num_satellites)
    elif how == "iid":
        shares = np.array_split(generator(seed, "assign", how).permutation(len(labels)), num_satellites)
    elif how == "dirichlet":
        shares = _by_mixture(labels, num_satellites, alpha, generator(seed, "assign", how))
    else:
        raise PlanError(f"unknown assignment '{how}'; allowed: {', '.join(HOW)}")
    return tuple(np.sort(share) for share in shares)


def _by_place(samples: NDArray[np.int64], positions: NDArray[np.int64], num_satellites: int) -> list[NDArray[np.int64]]:
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

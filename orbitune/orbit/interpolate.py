"""Positions between the samples of an ephemeris.

A polynomial of degree seven through eight neighbouring samples. Its error grows with the eighth power of the grid: for
a circle at 550 km the remainder of Lagrange's formula is 0.7 mm at 120 s, where six samples give 0.17 m and the cubic
through two positions and velocities 4.7 m; in the last intervals at either end of the grid it is up to 15 mm.
It takes no velocities, because those of SGP4 are not quite the derivative of its positions (up to 0.02 m/s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.orbit.propagate import Ephemeris

NUM_NODES = 8
NODES = np.arange(NUM_NODES) - (NUM_NODES - 1) / 2.0
TO_COEFFICIENTS = np.linalg.inv(np.vander(NODES, increasing=True))
"""Values at the nodes -3.5 .. 3.5 to coefficients of 1, x, .. x^7."""


@dataclass(frozen=True)
class Arcs:
    """One polynomial per row: `coefficients` [8, 3, N] in powers of (t - centre_s) / step_s, `centre_s` [N]."""

    coefficients: NDArray[np.float64]
    centre_s: NDArray[np.float64]
    step_s: float

    def at(self, time_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position in m and velocity in m/s, both [N, 3], of each row at its own time [N] (Horner's rule)."""
        x = (time_s - self.centre_s) / self.step_s
        position = self.coefficients[-1].copy()
        velocity = np.zeros_like(position)
        for coefficient in self.coefficients[-2::-1]:
            velocity *= x
            velocity += position
            position *= x
            position += coefficient
        velocity /= self.step_s
        return position.T, velocity.T


def cut_arcs(ephemeris: Ephemeris, satellite: NDArray[np.int64], sample: NDArray[np.int64]) -> Arcs:
    """Arcs for rows (satellite, interval from `sample` to `sample` + 1), each centred on its interval where possible.

    The time grid must be even and have eight samples or more (see `time_grid`).
    """
    time_s = ephemeris.time_s
    first = first_node(sample, len(time_s))
    begin = satellite * len(time_s) + first
    nodes = ephemeris.position_m.reshape(-1, 3)[begin + np.arange(NUM_NODES)[:, None]]
    # One product of matrices for all rows, then time last, so that `at` works on long runs of memory.
    mixed = (TO_COEFFICIENTS @ nodes.reshape(NUM_NODES, -1)).reshape(NUM_NODES, -1, 3)
    step_s = grid_step_s(time_s)
    return Arcs(np.ascontiguousarray(mixed.swapaxes(1, 2)), time_s[0] + step_s * (first - NODES[0]), step_s)


def first_node(sample: NDArray[np.int64], num_times: int) -> NDArray[np.int64]:
    """The sample where the arc for the interval from `sample` begins: centred on it except at the ends of the grid."""
    return np.clip(sample - (NUM_NODES // 2 - 1), 0, num_times - NUM_NODES)


def time_grid(horizon_s: float, grid_s: float) -> NDArray[np.float64]:
    """Even times from 0 to the horizon, both included, at most `grid_s` apart and enough for one polynomial."""
    intervals = max(NUM_NODES - 1, int(np.ceil(horizon_s / grid_s)))
    return np.linspace(0.0, horizon_s, intervals + 1)


def grid_step_s(time_s: NDArray[np.float64]) -> float:
    """The step of an even grid."""
    return float(time_s[-1] - time_s[0]) / (len(time_s) - 1)

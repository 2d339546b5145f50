"""Positions between the samples of an ephemeris.

A quintic through six neighbouring samples. On a 60 s grid in low orbit it is within centimetres of SGP4, where the
cubic through two positions and velocities is within 0.3 m. It takes no velocities, because those of SGP4 are not
quite the derivative of its positions (up to 0.02 m/s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.orbit.propagate import Ephemeris

NUM_NODES = 6
_NODES = np.arange(NUM_NODES) - (NUM_NODES - 1) / 2.0
_TO_COEFFICIENTS = np.linalg.inv(np.vander(_NODES, increasing=True))
"""Values at the nodes -2.5 .. 2.5 to coefficients of 1, x, .. x^5."""


@dataclass(frozen=True)
class Arcs:
    """One quintic per row: `coefficients` [6, N, 3] in powers of (t - centre_s) / step_s, `centre_s` [N]."""

    coefficients: NDArray[np.float64]
    centre_s: NDArray[np.float64]
    step_s: float

    def at(self, time_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position in m and velocity in m/s, both [N, 3], of each row at its own time [N] (Horner's rule)."""
        x = ((time_s - self.centre_s) / self.step_s)[:, None]
        position = self.coefficients[-1]
        velocity = np.zeros_like(position)
        for coefficient in self.coefficients[-2::-1]:
            velocity = velocity * x + position
            position = position * x + coefficient
        return position, velocity / self.step_s


def cut_arcs(ephemeris: Ephemeris, satellite: NDArray[np.int64], sample: NDArray[np.int64]) -> Arcs:
    """Arcs for rows (satellite, interval from `sample` to `sample` + 1), each centred on its interval where possible.

    The time grid must be even and have six samples or more (see `time_grid`).
    """
    time_s = ephemeris.time_s
    first = np.clip(sample - (NUM_NODES // 2 - 1), 0, len(time_s) - NUM_NODES)
    nodes = ephemeris.position_m[satellite[:, None], first[:, None] + np.arange(NUM_NODES)]
    coefficients = np.einsum("kj,njc->knc", _TO_COEFFICIENTS, nodes)
    step_s = float(time_s[-1] - time_s[0]) / (len(time_s) - 1)
    return Arcs(coefficients, time_s[0] + step_s * (first - _NODES[0]), step_s)


def time_grid(horizon_s: float, grid_s: float) -> NDArray[np.float64]:
    """Even times from 0 to the horizon, both included, at most `grid_s` apart and enough for one quintic."""
    intervals = max(NUM_NODES - 1, int(np.ceil(horizon_s / grid_s)))
    return np.linspace(0.0, horizon_s, intervals + 1)

"""The rays between satellites, worked out another way than Orbitune does."""

from __future__ import annotations

import numpy as np


def ray_radius(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least distance of segments from a to b [..., 3] from the centre.

    It is the height of a triangle on its base, or one of its sides.
    """
    base = b - a
    foot_inside = ((a * base).sum(axis=-1) < 0.0) & ((b * base).sum(axis=-1) > 0.0)
    height = np.linalg.norm(np.cross(a, b), axis=-1) / np.linalg.norm(base, axis=-1)
    nearer_end = np.minimum(np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1))
    radius: np.ndarray = np.where(foot_inside, height, nearer_end)
    return radius

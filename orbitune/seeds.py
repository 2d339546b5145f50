"""One root seed, and independent streams drawn from it by name.

No part of the program uses a global random generator: it asks for its own stream, so adding a
consumer never changes the numbers of another.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(root: int, *names: str | int) -> int:
    """A 63-bit seed that depends on the root seed and on the names, and on nothing else."""
    text = "/".join(map(str, (root, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(root: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream of that name."""
    return np.random.default_rng(seed_for(root, *names))

"""What a timeline has used up by given moments: bytes over each kind of link, and energy of the satellites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbitune.cost.system import System
from orbitune.links.contacts import KINDS
from orbitune.timeline.activity import Timeline
from orbitune.timeline.battery import loads_of

Floats = NDArray[np.float64]

SCARCE = ("downlink", "uplink", "isl_intra", "isl_inter")
"""The links whose bytes are compared: backhaul is fibre on the ground, as a rule neither scarce nor slow."""


@dataclass(frozen=True)
class Spent:
    """Bytes by kind of contact, every hop counted, and joules of all satellites together."""

    bytes: dict[str, int]
    energy_j: float

    @property
    def scarce_bytes(self) -> int:
        """Bytes over all links but the backhaul."""
        return sum(self.bytes[kind] for kind in SCARCE)


def spent_by(timeline: Timeline, system: System, moments_s: Sequence[float]) -> list[Spent]:
    """What was used up by each of the moments. A send or computation under way counts for the part that is done.

    Energy is what the job adds (computing, sending, receiving), as in `summary.energy_j`. Cost: activities x moments.
    """
    sends = [activity for activity in timeline.activities if activity.kind == "send"]
    start_s = np.array([send.start_s for send in sends])
    end_s = np.array([send.end_s for send in sends])
    size = np.array([send.payload.size if send.payload else 0 for send in sends], dtype=np.float64)
    kind = np.array([KINDS.index(send.link) for send in sends], dtype=np.int64)
    loads = loads_of(timeline, system)
    drawn_j = loads.power_w * (loads.end_s - loads.start_s)
    found = []
    for moment_s in moments_s:
        moved = np.bincount(kind, _done(start_s, end_s, moment_s) * size, minlength=len(KINDS))
        joules = float((_done(loads.start_s, loads.end_s, moment_s) * drawn_j).sum())
        found.append(Spent({name: int(count) for name, count in zip(KINDS, moved.tolist(), strict=True)}, joules))
    return found


def _done(start_s: Floats, end_s: Floats, moment_s: float) -> Floats:
    """Share of each activity that lies before a moment, shape as `start_s`."""
    length_s = end_s - start_s
    shares: Floats = np.clip((moment_s - start_s) / np.where(length_s > 0, length_s, 1.0), 0.0, 1.0)
    return np.where(end_s <= moment_s, 1.0, shares)

"""Simulated time on a host: real time, moved and stretched."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Simulated seconds from the real clock of this host.

    Attributes:
        epoch_s: Real time, by the driver's clock, at which simulated second 0 lies.
        scale: Simulated seconds per real second.
        offset_s: What has to be added to this host's clock to get the driver's.
    """

    epoch_s: float
    scale: float
    offset_s: float = 0.0

    def now_s(self) -> float:
        """The simulated second."""
        return (time.time() + self.offset_s - self.epoch_s) * self.scale

    def real_s(self, simulated_s: float) -> float:
        """How long a stretch of simulated time really takes, in seconds."""
        return simulated_s / self.scale

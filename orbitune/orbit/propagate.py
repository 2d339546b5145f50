"""Where the satellites are: SGP4, turned into the frame that rotates with the Earth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sgp4.api import SGP4_ERRORS, SatrecArray

from orbitune.errors import InputError
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.time import EARTH_ROTATION_RAD_S, SECONDS_PER_DAY, gmst_rad, julian_date


@dataclass(frozen=True)
class Ephemeris:
    """Positions and velocities in the Earth-fixed frame.

    `time_s` [T] counts from the start; `position_m` and `velocity_m_s` are [S, T, 3], x through Greenwich on the
    equator, z through the north pole. The velocity is that seen by somebody who turns with the Earth.
    """

    time_s: NDArray[np.float64]
    position_m: NDArray[np.float64]
    velocity_m_s: NDArray[np.float64]


def propagate(
    constellation: Constellation,
    start_utc: str | datetime,
    time_s: NDArray[np.float64],
    satellites: Sequence[int] | None = None,
) -> Ephemeris:
    """The ephemeris of all satellites, or of some of them in the order given, so that memory can be bounded.

    SGP4 gives TEME; one turn about z by GMST82 gives the Earth-fixed frame, polar motion (under 15 m) left out.
    Reference: Vallado, Crawford, Hujsak and Kelso, AIAA 2006-6753, appendix C. Tested against skyfield.

    Args:
        start_utc: The instant from which `time_s` counts.
        time_s: Times [T] in seconds.
        satellites: Numbers of the satellites wanted; None for all.

    Raises:
        InputError: SGP4 refuses a satellite at one of the times (decayed, or elements too old); all are named.
    """
    chosen = range(len(constellation)) if satellites is None else satellites
    whole, fraction = julian_date(start_utc)
    days = fraction + np.asarray(time_s, dtype=np.float64) / SECONDS_PER_DAY
    records = SatrecArray([constellation.elements[satellite] for satellite in chosen])
    errors, position_km, velocity_km_s = records.sgp4(np.full(days.shape, whole), days)
    if errors.any():
        raise InputError(_refusal(constellation, chosen, errors, time_s))
    angle = gmst_rad(whole, days)
    position_m = _turn(position_km * 1e3, angle)
    velocity_m_s = _turn(velocity_km_s * 1e3, angle)
    # The frame turns by omega: v_fixed = v - omega x r.
    velocity_m_s[..., 0] += EARTH_ROTATION_RAD_S * position_m[..., 1]
    velocity_m_s[..., 1] -= EARTH_ROTATION_RAD_S * position_m[..., 0]
    return Ephemeris(np.asarray(time_s, dtype=np.float64), position_m, velocity_m_s)


def _turn(vector: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vectors [S, T, 3] seen from a frame turned by angle [T] about z."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = np.empty_like(vector)
    turned[..., 0] = cosine * vector[..., 0] + sine * vector[..., 1]
    turned[..., 1] = cosine * vector[..., 1] - sine * vector[..., 0]
    turned[..., 2] = vector[..., 2]
    return turned


def _refusal(
    constellation: Constellation, chosen: Sequence[int], errors: NDArray[np.uint8], time_s: NDArray[np.float64]
) -> str:
    lines = []
    for row in np.flatnonzero(errors.any(axis=1)).tolist():
        first = int(np.flatnonzero(errors[row])[0])
        reason = SGP4_ERRORS[int(errors[row, first])]
        lines.append(f"  {constellation.names[chosen[row]]}: {reason} (first at {time_s[first]:g} s)")
    return (
        f"SGP4 gives no position for {len(lines)} of {len(chosen)} satellites:\n" + "\n".join(lines) + "\n"
        "Remove these satellites from the file, or move the scenario's start to the epoch of the elements."
    )

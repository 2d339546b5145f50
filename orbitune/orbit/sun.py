"""Where the Sun is, seen from the centre of the Earth."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orbitune.orbit.time import JULIAN_DATE_J2000, SECONDS_PER_DAY, gmst_rad, julian_date


def sun_direction(start_utc: str | datetime, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors [..., 3] towards the Sun in the Earth-fixed frame, at seconds [...] after the start.

    The apparent place, light time and aberration included; as seen from the Earth's centre, which for a satellite in
    low orbit is off by 0.003 degrees. Within 0.01 degrees from 1950 to 2050. UTC stands for both time scales that the
    formula and the turn of the Earth ask for: a minute moves the Sun by 0.0007 degrees against the stars.

    Reference: The Astronomical Almanac, section C, 'Low-precision formulas for the Sun's coordinates' (page C5, 2017
    edition, where the accuracy is stated). Compared with Meeus' example, published equinoxes and astropy in the tests.

    Raises:
        InputError: `start_utc` is not a date.
    """
    whole, fraction = julian_date(start_utc)
    part = fraction + np.asarray(time_s, dtype=np.float64) / SECONDS_PER_DAY
    days = whole - JULIAN_DATE_J2000 + part
    anomaly = np.radians((357.528 + 0.9856003 * days) % 360.0)
    longitude = np.radians((280.460 + 0.9856474 * days) % 360.0 + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439 - 4e-7 * days)
    # From the equinox of date to Greenwich it is one turn about z, the same as from TEME.
    x, y = np.cos(longitude), np.cos(obliquity) * np.sin(longitude)
    angle = gmst_rad(whole, part)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine * x + sine * y, cosine * y - sine * x, np.sin(obliquity) * np.sin(longitude)], axis=-1)

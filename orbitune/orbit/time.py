"""Instants and the turning of the Earth.

All times of the program are seconds after the scenario's start, counted in UTC. Only here and in `propagate`
do they become Julian dates. UT1 is taken as UTC, so no Earth-orientation file is needed. |UT1 - UTC| is below 0.9 s by
definition (ITU-R TF.460-6) and was below 0.3 s from 2018 to 2026 (IERS, as in skyfield's table); 0.1 s turns the
Earth by 46 m at the equator. Against skyfield with true UT1, on days in 2022 and 2025, edges moved by up to 0.06 s.
Leap seconds inside a horizon are not counted; there has been none since the end of 2016 (IERS Bulletin C).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError

SECONDS_PER_DAY = 86_400.0
JULIAN_DATE_J2000 = 2_451_545.0
"""Julian date of 2000-01-01 12:00 (the epoch J2000)."""

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_SIDEREAL_EXCESS_S = 8_640_184.812866
"""Linear term of GMST82 beyond one turn per day, seconds per Julian century (Aoki et al. 1982, eq. 13)."""

EARTH_ROTATION_RAD_S = 2.0 * math.pi * (1.0 + _SIDEREAL_EXCESS_S / (36_525.0 * SECONDS_PER_DAY)) / SECONDS_PER_DAY
"""Rate of the linear part of GMST82: 7.2921158e-5 rad/s."""


def parse_utc(text: str | datetime) -> datetime:
    """An aware UTC datetime from ISO 8601 text such as `2026-03-26T12:00:00Z`; no zone means UTC.

    Raises:
        InputError: the text is not an ISO 8601 date and time.
    """
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"start time {text!r} is not an ISO 8601 date and time ({error}). Write it as 2026-03-26T12:00:00Z."
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def julian_date(text: str | datetime) -> tuple[float, float]:
    """Julian date of an instant as (whole, fraction) days; the pair keeps nanoseconds, one float would not."""
    elapsed = parse_utc(text) - _J2000
    seconds = elapsed.seconds + elapsed.microseconds * 1e-6
    return JULIAN_DATE_J2000 + elapsed.days, seconds / SECONDS_PER_DAY


def gmst_rad(whole: float, fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Greenwich mean sidereal time, the angle from TEME to the Earth-fixed frame.

    Args:
        whole: Whole part of the UT1 Julian date (UTC is used for UT1, see the module's text).
        fraction: Rest of the Julian date in days, any shape.

    Returns:
        Angle in radians in [0, 2 pi), same shape as `fraction`.

    Reference: Aoki et al., Astronomy and Astrophysics 105 (1982) 359, eq. 13, the GMST that belongs to TEME
    (Vallado, Crawford, Hujsak and Kelso, AIAA 2006-6753, appendix C). Compared with skyfield in the tests.
    """
    centuries = (whole - JULIAN_DATE_J2000 + fraction) / 36_525.0
    excess_s = 67_310.54841 + (_SIDEREAL_EXCESS_S + (0.093104 - 6.2e-6 * centuries) * centuries) * centuries
    # Whole turns go before the sum: at 10^9 seconds a double has only 10^-7 s left.
    turns = (whole % 1.0 + fraction) % 1.0 + (excess_s / SECONDS_PER_DAY) % 1.0
    angle: NDArray[np.float64] = 2.0 * math.pi * (turns % 1.0)
    return angle

"""The direction of the Sun against printed almanacs, astropy and plain geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orbitune.errors import InputError
from orbitune.orbit.sun import sun_direction
from orbitune.orbit.time import gmst_rad, julian_date

TOLERANCE_DEG = 0.01
"""What the Astronomical Almanac states for its formula."""

# Instants of equinoxes and solstices to the minute (US Naval Observatory, 'Earth's seasons').
SEASONS = [
    ("2020-03-20T03:50Z", 0), ("2020-06-20T21:44Z", 90), ("2020-09-22T13:31Z", 180), ("2020-12-21T10:02Z", 270),
    ("2022-03-20T15:33Z", 0), ("2022-06-21T09:14Z", 90), ("2022-09-23T01:04Z", 180), ("2022-12-21T21:48Z", 270),
    ("2024-03-20T03:06Z", 0), ("2024-06-20T20:51Z", 90), ("2024-09-22T12:44Z", 180), ("2024-12-21T09:20Z", 270),
]  # fmt: skip


def among_the_stars(start_utc: str) -> tuple[float, float]:
    """Right ascension and declination in degrees, the turn of the Earth taken back."""
    x, y, z = sun_direction(start_utc, np.array(0.0)).tolist()
    whole, fraction = julian_date(start_utc)
    right_ascension = math.atan2(y, x) + float(gmst_rad(whole, np.array(fraction)))
    return math.degrees(right_ascension) % 360.0, math.degrees(math.asin(z))


def test_the_example_of_meeus() -> None:
    """1992 October 13.0 TD (Meeus, Astronomical Algorithms, 2nd edition, examples 25.a and 25.b); TD is UTC + 59 s."""
    right_ascension, declination = among_the_stars("1992-10-12T23:59:01Z")
    assert right_ascension == pytest.approx(198.38083, abs=TOLERANCE_DEG)
    assert declination == pytest.approx(-7.78507, abs=TOLERANCE_DEG)


@pytest.mark.parametrize(("moment", "longitude"), SEASONS)
def test_seasons_begin_at_the_published_minute(moment: str, longitude: int) -> None:
    right_ascension, declination = among_the_stars(moment)
    apart = (right_ascension - longitude + 180.0) % 360.0 - 180.0
    assert abs(apart) < TOLERANCE_DEG / math.cos(math.radians(23.44))
    assert declination == pytest.approx({0: 0.0, 90: 23.437, 180: 0.0, 270: -23.437}[longitude], abs=TOLERANCE_DEG)


def test_two_hundred_days_against_astropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the Earth-fixed frame, with its own precession, nutation and Earth orientation."""
    pytest.importorskip("astropy")
    from astropy.coordinates import ITRS, get_sun
    from astropy.time import Time, TimeDelta
    from astropy.utils import iers

    monkeypatch.setattr(iers.conf, "auto_download", False)
    days = np.linspace(0.0, 4.5 * 365.25, 200)  # 2020 to the middle of 2024, at all times of day
    moments = Time("2020-01-01T00:00:00", scale="utc") + TimeDelta(days, format="jd")
    theirs = get_sun(moments).transform_to(ITRS(obstime=moments)).cartesian.xyz.value.T
    theirs /= np.linalg.norm(theirs, axis=1)[:, None]
    ours = sun_direction("2020-01-01T00:00:00Z", days * 86_400.0)
    apart = np.degrees(np.arcsin(np.linalg.norm(np.cross(ours, theirs), axis=1)))
    assert np.all(np.einsum("ij,ij->i", ours, theirs) > 0.0)
    assert apart.max() < TOLERANCE_DEG


def test_it_is_overhead_near_greenwich_at_noon() -> None:
    """The equation of time stays within 17 minutes (Astronomical Almanac), 4.25 degrees of longitude."""
    noon = np.arange(366) * 86_400.0
    direction = sun_direction("2024-01-01T12:00:00Z", noon)
    longitude = np.degrees(np.arctan2(direction[:, 1], direction[:, 0]))
    assert 4.0 < np.abs(longitude).max() < 4.25
    assert abs(longitude.mean()) < 0.1


def test_shape_and_length_follow_the_times() -> None:
    direction = sun_direction("2026-01-01T00:00:00Z", np.zeros((4, 5)))
    assert direction.shape == (4, 5, 3)
    assert np.allclose(np.linalg.norm(direction, axis=-1), 1.0, atol=1e-15)


def test_a_start_that_is_no_date_is_refused() -> None:
    with pytest.raises(InputError, match="ISO 8601"):
        sun_direction("noon", np.zeros(1))

"""Time against skyfield."""

from __future__ import annotations

import numpy as np
import pytest
from skyfield.sgp4lib import theta_GMST1982

from orbitune.errors import InputError
from orbitune.orbit.time import EARTH_ROTATION_RAD_S, gmst_rad, julian_date, parse_utc


def test_julian_date_of_known_instants() -> None:
    assert julian_date("2000-01-01T12:00:00Z") == (2451545.0, 0.0)
    # Meeus, Astronomical Algorithms (1998), example 7.a: 1957 October 4.81 is JD 2436116.31.
    assert sum(julian_date("1957-10-04T19:26:24Z")) == pytest.approx(2436116.31, abs=1e-9)


def test_zones_are_converted_and_a_missing_zone_is_utc() -> None:
    assert parse_utc("2026-03-26T14:00:00+02:00") == parse_utc("2026-03-26T12:00:00Z")
    assert julian_date("2026-03-26T12:00:00") == julian_date("2026-03-26T12:00:00Z")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-02-30"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="ISO 8601"):
        parse_utc(text)


@pytest.mark.parametrize("date", ["1999-12-31T23:59:59Z", "2022-04-23T12:00:00Z", "2026-03-26T00:00:01Z"])
def test_sidereal_time_equals_skyfields(date: str) -> None:
    whole, fraction = julian_date(date)
    days = fraction + np.linspace(0.0, 30.0, 1001)
    theirs, _ = theta_GMST1982(whole, days)
    apart = (gmst_rad(whole, days) - theirs + np.pi) % (2.0 * np.pi) - np.pi
    assert np.abs(apart).max() < 1e-9  # 6 mm at the equator


def test_rate_of_sidereal_time() -> None:
    whole, _ = julian_date("2026-03-26T00:00:00Z")
    angle = gmst_rad(whole, np.array([0.0, 0.01]))
    assert (angle[1] - angle[0]) / 864.0 == pytest.approx(EARTH_ROTATION_RAD_S, rel=1e-10)
    # The mean sidereal day is 86164.09054 s (Explanatory Supplement to the Astronomical Almanac, 1992).
    assert 2.0 * np.pi / EARTH_ROTATION_RAD_S == pytest.approx(86164.09054, abs=1e-4)

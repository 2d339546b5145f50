"""Losses in the air: the table against `itur`, the file, and a rate with weather."""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitune.errors import InputError, MissingExtra, PlanError
from orbitune.links.budget import slant_loss_db
from orbitune.links.motion import Windows
from orbitune.links.pieces import pieces
from orbitune.links.rates import RfRate
from orbitune.links.visibility import ground_passes
from orbitune.links.weather import Attenuation, attenuation_table, read_attenuation, write_attenuation
from orbitune.orbit.geometry import GroundStation

KA_HZ = 26.5e9
ANTENNA_M = 5.0
ELEVATIONS = np.radians([5.0, 10.0, 20.0, 40.0, 90.0])
LOSSES = np.array([[20.0, 12.0, 7.0, 4.0, 3.0], [9.0, 5.0, 2.5, 1.5, 1.0]])


@pytest.fixture
def handmade() -> Attenuation:
    return Attenuation(("wet", "dry"), KA_HZ, 0.999, ELEVATIONS, LOSSES)


@pytest.fixture(scope="module")
def table(stations: list[GroundStation]) -> Attenuation:
    """From itur, once for all tests; Svalbard and Singapore."""
    pytest.importorskip("itur", reason="the extra 'itu' is not installed")
    return attenuation_table([stations[0], stations[4]], KA_HZ, 0.999, ANTENNA_M)


def itur_loss_db(station: GroundStation, elevation_deg: np.ndarray, **options: Any) -> np.ndarray:
    import itur

    place = math.degrees(station.latitude_rad), math.degrees(station.longitude_rad)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The approximated method to compute the gaseous", RuntimeWarning)
        loss = itur.atmospheric_attenuation_slant_path(
            *place, KA_HZ / 1e9, elevation_deg, 0.1, ANTENNA_M, hs=station.altitude_m / 1e3, **options
        )
    return np.asarray(loss.to_value("dB"))


def test_the_table_is_iturs_and_never_below_it(table: Attenuation, stations: list[GroundStation]) -> None:
    elevation_deg = np.append(np.arange(5.0, 90.0, 0.37), 90.0)
    for row, station in enumerate((stations[0], stations[4])):
        exact = itur_loss_db(station, elevation_deg)
        mine = table.loss_db(np.radians(elevation_deg), np.full(len(elevation_deg), row))
        assert np.all(mine >= exact - 0.005)
        # Where rain over the tropics costs more near the zenith, the table holds the greater value lower down too.
        envelope = np.maximum.accumulate(exact[::-1])[::-1]
        assert np.all(mine <= envelope * 1.02 + 0.05)
    assert np.all(table.table_db[1] > table.table_db[0])  # the tropics are wetter than the Arctic


def test_gas_over_the_sine_is_iturs_gas(table: Attenuation, stations: list[GroundStation]) -> None:
    """ITU-R P.676 annex 2 divides the zenith loss by the sine too."""
    only_gas = {"include_rain": False, "include_clouds": False, "include_scintillation": False}
    elevation_deg = np.array([90.0, 60.0, 30.0, 10.0, 5.0])
    exact = itur_loss_db(stations[0], elevation_deg, **only_gas)
    assert np.allclose(slant_loss_db(exact[0], np.radians(elevation_deg)), exact, rtol=1e-6)


@given(st.floats(0.0, math.pi / 2.0), st.floats(0.0, math.pi / 2.0), st.integers(0, 1))
def test_lower_never_costs_less(one: float, two: float, station: int) -> None:
    handmade = Attenuation(("wet", "dry"), KA_HZ, 0.999, ELEVATIONS, LOSSES)
    low, high = handmade.loss_db(np.sort([one, two]), np.full(2, station))
    assert low >= high >= LOSSES[station, -1]


def test_between_the_points_at_them_and_outside(handmade: Attenuation) -> None:
    rows = np.array([0, 0, 0, 1, 0, 0, -1])
    elevation = np.radians([5.0, 15.0, 90.0, 40.0, 4.9, 90.0001, math.nan])
    assert handmade.loss_db(elevation, rows).tolist() == pytest.approx([20.0, 9.5, 3.0, 1.5, math.inf, 3.0, 0.0])


def test_a_table_comes_back_from_its_file(handmade: Attenuation, tmp_path: Path) -> None:
    write_attenuation(handmade, tmp_path / "ka.json")
    back = read_attenuation(tmp_path / "ka.json")
    assert back.station_names == handmade.station_names
    assert (back.frequency_hz, back.availability) == (handmade.frequency_hz, handmade.availability)
    assert np.array_equal(back.elevation_rad, handmade.elevation_rad)
    assert np.array_equal(back.table_db, handmade.table_db)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "other"}', '{"format": "orbitune attenuation 1", "loss_db": {"a": [1]}}',
                '{"format": "orbitune attenuation 1", "frequency_hz": 1, "availability": 1, "elevation_rad": [1, 2], '
                '"loss_db": {"a": [1, 2]}}']
)  # fmt: skip
def test_other_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "no.json").write_text(content)
    with pytest.raises(InputError, match=r"no\.json"):
        read_attenuation(tmp_path / "no.json")
    with pytest.raises(InputError, match=r"missing\.json"):
        read_attenuation(tmp_path / "missing.json")


def test_stations_are_found_by_name(handmade: Attenuation) -> None:
    dry, wet = (GroundStation(name, 0.0, 0.0, 0.0, 0.2) for name in ("dry", "wet"))
    turned = handmade.for_stations([dry, wet, dry][:2])
    assert np.array_equal(turned.table_db, LOSSES[::-1])
    with pytest.raises(PlanError, match="'Mars'"):
        handmade.for_stations([GroundStation("Mars", 0.0, 0.0, 0.0, 0.2)])


@pytest.mark.parametrize(
    "change",
    [
        {"station_names": ("one",)},
        {"station_names": ("same", "same")},
        {"elevation_rad": ELEVATIONS[::-1]},
        {"table_db": LOSSES[:, ::-1]},
        {"table_db": LOSSES - 5.0},
        {"table_db": LOSSES * math.nan},
    ],
)
def test_impossible_tables_are_refused(handmade: Attenuation, change: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="table of losses in the air"):
        replace(handmade, **change)


def test_requests_beyond_the_recommendations_are_refused() -> None:
    good = {"frequency_hz": KA_HZ, "availability": 0.99, "antenna_m": 1.0, "elevations_rad": (0.2, 0.4)}
    for change in ({"frequency_hz": 100e9}, {"availability": 0.5}, {"availability": 1.0}, {"antenna_m": 0.0},
                   {"elevations_rad": (0.01, 1.0)}, {"elevations_rad": (1.0,)}):  # fmt: skip
        with pytest.raises(PlanError, match="losses in the air"):
            attenuation_table([], **{**good, **change})


def test_without_itur_the_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, stations: list[GroundStation]
) -> None:
    monkeypatch.setitem(sys.modules, "itur", None)
    with pytest.raises(MissingExtra, match="itu"):
        attenuation_table(stations, KA_HZ, 0.999, ANTENNA_M)


def test_a_rate_with_weather(handmade: Attenuation, cases: dict[str, Any], stations: list[GroundStation]) -> None:
    """Weather lowers rates, more so where it is wet, and leaves links between satellites alone."""
    clear = RfRate(18.0, 30.0, KA_HZ, 500e6, margin_db=2.0)
    rainy = replace(clear, weather=handmade)
    case, two = cases["delta"], stations[2:4]
    passes = ground_passes(case.constellation, two, case.start_utc, 21_600.0)
    windows = Windows.of_passes(passes)
    volumes = []
    for model in (clear, rainy):
        cut = pieces(windows, case.constellation, two, case.start_utc, model)
        volumes.append(np.bincount(cut.window, cut.rate_bps * (cut.end_s - cut.start_s), minlength=len(windows)))
    assert np.all(volumes[1] < volumes[0])
    share = [volumes[1][windows.other == row].sum() / volumes[0][windows.other == row].sum() for row in (0, 1)]
    assert share[0] < share[1] < 1.0
    pair = np.array([2e6]), np.array([math.nan]), np.array([-1])
    assert rainy.rate_bps(*pair) == clear.rate_bps(*pair)


def test_weather_of_another_frequency_and_gas_counted_twice_are_refused(handmade: Attenuation) -> None:
    with pytest.raises(PlanError, match=r"8\.2e\+09"):
        RfRate(18.0, 30.0, 8.2e9, 500e6, weather=handmade)
    with pytest.raises(PlanError, match="gas_zenith_db"):
        RfRate(18.0, 30.0, KA_HZ, 500e6, weather=handmade, gas_zenith_db=0.1)

"""Rates of links, and windows cut into pieces of constant rate against integration in steps of a tenth of a second."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitune.errors import PlanError
from orbitune.links import motion
from orbitune.links.budget import STANDARDS, ladder, read_modcods
from orbitune.links.isl import windows_of_pairs
from orbitune.links.limits import Limits
from orbitune.links.motion import Windows
from orbitune.links.pieces import Pieces, pieces
from orbitune.links.rates import FixedRate, OpticalRate, RateModel, RfRate
from orbitune.links.visibility import ground_passes
from orbitune.orbit.geometry import GroundStation, elevation_rad, length
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_RADIUS_M

HORIZON_S = 21_600.0
STEP_S = 0.1
X_BAND = RfRate(14.0, 25.0, 8.2e9, 300e6, margin_db=3.0, gas_zenith_db=0.05)
KA_PAIR = RfRate(40.0, 10.0, 26e9, 500e6, margin_db=3.0)
LASER = OpticalRate(1.0, 0.03, 0.4, 1.55e-6, 200.0, 1e12, divergence_rad=1e-4, losses_db=6.0, zenith_loss_db=0.5)
PAIRS = np.array([(0, 1), (0, 2), (0, 12), (3, 60), (5, 40), (8, 62)])


@dataclass(frozen=True)
class Scene:
    """Windows and where their satellites are."""

    windows: Windows
    case: Any
    stations: list[GroundStation]

    def cut(self, rows: list[int] | slice, model: RateModel, loss: float = 0.01) -> tuple[Windows, Pieces]:
        some = self.windows.at(np.arange(len(self.windows))[rows])
        return some, pieces(some, self.case.constellation, self.stations, self.case.start_utc, model, loss)

    def seen(self, windows: Windows, row: int, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Range, elevation and station at times, from SGP4 itself."""
        satellite, other = int(windows.satellite[row]), int(windows.other[row])
        ends = [satellite] if windows.to_station else [satellite, other]
        position = propagate(self.case.constellation, self.case.start_utc, time_s, ends).position_m
        if not windows.to_station:
            nothing = np.full(len(time_s), np.nan)
            return length(position[1] - position[0]), nothing, np.full(len(time_s), -1)
        station = self.stations[other]
        numbers = np.full(len(time_s), other)
        return length(position[0] - station.position_m), elevation_rad(position[0], station), numbers

    def truth(self, windows: Windows, row: int, model: RateModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Middles of short steps, the rate there, and the range."""
        count = math.ceil((windows.end_s[row] - windows.start_s[row]) / STEP_S)
        edges = np.linspace(windows.start_s[row], windows.end_s[row], count + 1)
        middle = 0.5 * (edges[1:] + edges[:-1])
        range_m, elevation, station = self.seen(windows, row, middle)
        return middle, model.rate_bps(range_m, elevation, station), range_m


@pytest.fixture(scope="module")
def passes(cases: dict[str, Any], stations: list[GroundStation]) -> Scene:
    case = cases["delta"]
    found = ground_passes(case.constellation, stations, case.start_utc, HORIZON_S)
    return Scene(Windows.of_passes(found), case, stations)


@pytest.fixture(scope="module")
def links(cases: dict[str, Any], stations: list[GroundStation]) -> Scene:
    case = cases["star"]
    limits = Limits(EARTH_RADIUS_M + 80e3, 6000e3)
    found = windows_of_pairs(case.constellation, PAIRS, limits, case.start_utc, HORIZON_S)
    return Scene(Windows.of_links(found), case, stations)


def check_against_truth(scene: Scene, rows: list[int] | slice, model: RateModel, loss: float = 0.01) -> Pieces:
    windows, cut = scene.cut(rows, model, loss)
    for row in range(len(windows)):
        middle, rate, range_m = scene.truth(windows, row, model)
        mine = np.flatnonzero(cut.window == row)
        start_s, end_s = cut.start_s[mine], cut.end_s[mine]
        assert np.all(end_s > start_s)
        assert np.all(start_s[1:] >= end_s[:-1])
        promised = np.zeros_like(rate)
        for piece in mine:
            inside = (middle >= cut.start_s[piece]) & (middle <= cut.end_s[piece])
            promised[inside] = cut.rate_bps[piece]
            assert range_m[inside].max(initial=0.0) <= cut.max_range_m[piece] + 0.1
        assert np.all(promised <= rate * (1.0 + 1e-12))
        step_s = (windows.end_s[row] - windows.start_s[row]) / len(middle)
        truth, volume = float(rate.sum()) * step_s, float(cut.rate_bps[mine] @ (end_s - start_s))
        # The sum is itself wrong by up to half a step wherever the rate changes.
        unsure = 0.5 * step_s * (float(np.abs(np.diff(rate)).sum()) + rate[0] + rate[-1])
        assert (1.0 - loss) * truth - unsure <= volume <= truth + unsure
    return cut


MODELS = {
    "radio": X_BAND,
    "weak radio": replace(X_BAND, eirp_dbw=-2.0),
    "dvb-s2": replace(X_BAND, standard="dvb-s2"),
    "laser": LASER,
    "capped laser": replace(LASER, max_rate_bps=30e9),
    "stepped laser": replace(LASER, max_rate_bps=100e9, halvings=3),
}


@pytest.mark.parametrize("name", MODELS)
def test_pieces_of_passes_keep_below_the_rate_and_keep_the_volume(passes: Scene, name: str) -> None:
    duration_s = passes.windows.end_s - passes.windows.start_s
    order = np.argsort(duration_s)
    picked = [*order[:5].tolist(), *order[:: len(order) // 12].tolist(), *order[-3:].tolist()]
    cut = check_against_truth(passes, picked, MODELS[name])
    assert len(cut) > len(picked) / 2


@settings(max_examples=25)
@given(
    row=st.integers(0, 10**6),
    eirp_dbw=st.floats(-15.0, 35.0),
    zenith_db=st.floats(0.0, 2.0),
    loss=st.floats(0.002, 0.2),
    roll_off=st.sampled_from([0.05, 0.2, 0.35]),
)
def test_any_radio_link_over_any_pass(
    passes: Scene, row: int, eirp_dbw: float, zenith_db: float, loss: float, roll_off: float
) -> None:
    model = replace(X_BAND, eirp_dbw=eirp_dbw, gas_zenith_db=zenith_db, roll_off=roll_off)
    check_against_truth(passes, [row % len(passes.windows)], model, loss)


@settings(max_examples=10)
@given(row=st.integers(0, 10**6), cap_bps=st.floats(1e8, 1e12), halvings=st.none() | st.integers(0, 6))
def test_any_laser_link_over_any_pass(passes: Scene, row: int, cap_bps: float, halvings: int | None) -> None:
    model = replace(LASER, max_rate_bps=cap_bps, halvings=halvings)
    check_against_truth(passes, [row % len(passes.windows)], model)


@pytest.mark.parametrize(
    "model", [KA_PAIR, OpticalRate(1.0, 0.08, 0.08, 1.55e-6, 200.0, 20e9, losses_db=6.0)], ids=["radio", "laser"]
)
def test_links_between_satellites_open_for_hours(links: Scene, model: RateModel) -> None:
    windows = links.windows
    assert (windows.end_s - windows.start_s).max() == HORIZON_S
    longest = np.argsort(windows.start_s - windows.end_s)
    check_against_truth(links, [*longest[:3].tolist(), *longest[-3:].tolist()], model)


def test_a_ladder_costs_no_more_pieces_than_it_has_steps(passes: Scene) -> None:
    windows, cut = passes.cut(slice(None, None, 40), X_BAND)
    counts = np.bincount(cut.window, minlength=len(windows))
    for row in range(len(windows)):
        rate = passes.truth(windows, row, X_BAND)[1]
        assert counts[row] <= 1 + np.count_nonzero(np.diff(rate))
    wider = passes.cut(slice(None, None, 40), X_BAND, loss=0.05)[1]
    assert len(wider) < 0.7 * len(cut)


def test_a_fixed_rate_is_one_piece_and_needs_no_orbit(passes: Scene) -> None:
    windows = passes.windows
    cut = pieces(windows, None, [], "", FixedRate(5e6))  # type: ignore[arg-type]
    assert np.array_equal(cut.window, np.arange(len(windows)))
    assert np.array_equal(cut.start_s, windows.start_s)
    assert np.array_equal(cut.end_s, windows.end_s)
    assert np.array_equal(cut.max_range_m, windows.max_range_m)
    assert set(cut.rate_bps) == {5e6}


def test_a_link_that_never_closes_has_no_piece_and_one_that_always_does_no_gap(passes: Scene) -> None:
    assert len(passes.cut(slice(0, 50), replace(X_BAND, eirp_dbw=-60.0))[1]) == 0
    windows, cut = passes.cut(slice(0, 50), X_BAND)
    first = np.flatnonzero(np.diff(cut.window, prepend=-1))
    assert np.array_equal(cut.start_s[first], windows.start_s)
    assert np.array_equal(cut.end_s[np.append(first[1:] - 1, len(cut) - 1)], windows.end_s)
    inner = np.diff(cut.window) == 0
    assert np.array_equal(cut.end_s[:-1][inner], cut.start_s[1:][inner])


def test_chunks_change_nothing(passes: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = passes.cut(slice(0, 120), X_BAND)[1]
    monkeypatch.setattr(motion, "ARCS_PER_CHUNK", 50)
    parts = passes.cut(slice(0, 120), X_BAND)[1]
    assert np.array_equal(parts.window, whole.window)
    assert np.array_equal(parts.rate_bps, whole.rate_bps)
    assert np.allclose(parts.start_s, whole.start_s, rtol=0.0, atol=0.5)  # other grids, other halves


def test_no_windows_are_no_pieces(passes: Scene, links: Scene) -> None:
    for scene, model in ((passes, X_BAND), (links, KA_PAIR)):
        assert len(scene.cut([], model)[1]) == 0


@dataclass(frozen=True)
class Backwards:
    """Faster from afar: not a link."""

    def rate_bps(self, range_m: np.ndarray, elevation_rad: np.ndarray, station: np.ndarray) -> np.ndarray:
        return range_m * 1.0


def test_a_model_that_is_no_link_and_a_loss_that_is_none_are_refused(passes: Scene) -> None:
    with pytest.raises(PlanError, match="Backwards"):
        passes.cut(slice(0, 3), Backwards())
    with pytest.raises(PlanError, match="between 0 and 1"):
        passes.cut(slice(0, 3), X_BAND, loss=0.0)


distances = st.floats(200e3, 5000e3)
angles = st.floats(0.0, math.pi / 2.0)


@given(distances, distances, angles, angles, st.floats(-20.0, 60.0), st.floats(0.0, 20.0), st.sampled_from(STANDARDS))
def test_nearer_higher_and_stronger_never_lower_a_radio_rate(
    one_m: float, two_m: float, one_rad: float, two_rad: float, eirp_dbw: float, more_db: float, standard: str
) -> None:
    model = replace(X_BAND, eirp_dbw=eirp_dbw, standard=standard, gas_zenith_db=0.3)
    range_m, elevation = np.sort([one_m, two_m])[::-1], np.sort([one_rad, two_rad])
    station = np.zeros(2, dtype=np.int64)
    far, near = model.rate_bps(range_m, elevation, station)
    assert far <= near
    stronger = replace(model, eirp_dbw=eirp_dbw + more_db).rate_bps(range_m, elevation, station)
    assert np.all(stronger >= (far, near))
    assert np.all(model.rate_bps(range_m, np.full(2, np.nan), station - 1) >= (far, near))


@given(distances, distances, angles, angles, st.floats(0.01, 100.0), st.none() | st.integers(0, 8))
def test_nearer_higher_and_stronger_never_lower_a_laser_rate(
    one_m: float, two_m: float, one_rad: float, two_rad: float, power_w: float, halvings: int | None
) -> None:
    model = replace(LASER, power_w=power_w, max_rate_bps=50e9, halvings=halvings)
    range_m, elevation = np.sort([one_m, two_m])[::-1], np.sort([one_rad, two_rad])
    far, near = model.rate_bps(range_m, elevation, np.zeros(2, dtype=np.int64))
    assert far <= near <= 50e9
    stronger = replace(model, power_w=2.0 * power_w).rate_bps(range_m, elevation, np.zeros(2, dtype=np.int64))
    assert np.all(stronger >= (far, near))


def test_each_step_of_the_ladder_is_taken_at_its_own_signal() -> None:
    """At exactly the Es/N0 of a row its rate is had, a hundredth of a decibel below it is not."""
    needed_db, bits = ladder(read_modcods("dvb-s2x"))
    model = replace(X_BAND, gas_zenith_db=0.0)
    symbols = model.bandwidth_hz / 1.2
    at = np.full(1, 1e6), np.full(1, np.nan), np.full(1, -1)
    es_n0_db = float(model.c_n0_dbhz(*at)[0]) - 10.0 * math.log10(symbols)
    for need, carries, before in zip(needed_db, bits, [0.0, *bits[:-1]], strict=True):
        for extra_db, expected in ((1e-6, carries), (-0.01, before)):
            shifted = replace(model, eirp_dbw=model.eirp_dbw + need - es_n0_db + extra_db)
            assert shifted.rate_bps(*at)[0] == pytest.approx(expected * symbols, rel=1e-12)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (FixedRate(1.0), {"fixed_bps": 0.0}),
        (X_BAND, {"eirp_dbw": math.nan}),
        (X_BAND, {"frequency_hz": -1.0}),
        (X_BAND, {"bandwidth_hz": 0.0}),
        (X_BAND, {"roll_off": 1.5}),
        (X_BAND, {"margin_db": -1.0}),
        (X_BAND, {"standard": "dvb-t"}),
        (LASER, {"power_w": 0.0}),
        (LASER, {"divergence_rad": 1e-6}),
        (LASER, {"losses_db": -0.1}),
        (LASER, {"halvings": -1}),
        (LASER, {"photons_per_bit": math.inf}),
    ],
)
def test_impossible_links_are_refused(model: Any, change: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=next(iter(change))):
        replace(model, **change)

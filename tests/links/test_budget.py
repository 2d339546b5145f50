"""Link budgets against published figures, the frame structure of DVB-S2, and numerical integration."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad

from orbitune.links.budget import (
    BOLTZMANN_DBW_K_HZ,
    LOWEST_COSECANT_RAD,
    c_n0_dbhz,
    diffraction_divergence_rad,
    free_space_loss_db,
    ladder,
    optical_received_w,
    photon_rate_bps,
    read_modcods,
    slant_loss_db,
    symbol_rate_hz,
)

BITS = {"QPSK": 2, "8PSK": 3, "8APSK": 3, "16APSK": 4, "32APSK": 5, "64APSK": 6, "256APSK": 8}
# Corrected errors of the BCH code per rate of DVB-S2, EN 302 307-1 table 5a; 16 bits of the block for each error.
BCH_ERRORS = {"2/3": 10, "5/6": 10, "8/9": 8, "9/10": 8}


def test_every_efficiency_follows_from_the_frame() -> None:
    """Payload over symbols of a frame: slots of 90 symbols and one of header, EN 302 307-1 sections 5.1.6 and 5.5."""
    for row in read_modcods():
        coded = int(64_800 * Fraction(row.code_rate.removesuffix("-L")))
        errors = BCH_ERRORS.get(row.code_rate, 12) if row.standard == "dvb-s2" else 12
        assert row.bch_bits == coded - 16 * errors
        slots = math.ceil(64_800 / BITS[row.modulation] / 90)
        assert row.bits_per_symbol == pytest.approx((row.bch_bits - 80) / (90 * (slots + 1)), abs=6e-7)


def test_every_modcod_stays_below_shannon_and_near_it() -> None:
    """No code beats log2(1 + Es/N0); the ladder follows it within 2.2 dB."""
    for row in read_modcods():
        assert row.bits_per_symbol < math.log2(1.0 + 10.0 ** (row.es_n0_db / 10.0)), row
    es_n0_db, bits = ladder(read_modcods())
    behind_db = es_n0_db - 10.0 * np.log10(2.0**bits - 1.0)
    assert behind_db.min() > 0.5
    assert behind_db.max() < 2.2


def test_the_table_has_what_the_standard_counts() -> None:
    assert len(read_modcods("dvb-s2")) == 28
    assert {row.standard for row in read_modcods("dvb-s2")} == {"dvb-s2"}
    assert len(read_modcods("dvb-s2x")) == 58
    names = [(row.modulation, row.code_rate) for row in read_modcods()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("standard", ["dvb-s2", "dvb-s2x"])
def test_the_ladder_rises_and_leaves_out_nothing_better(standard: str) -> None:
    rows = read_modcods(standard)
    es_n0_db, bits = ladder(rows)
    assert np.all(np.diff(es_n0_db) > 0.0)
    assert np.all(np.diff(bits) > 0.0)
    for row in rows:
        assert bits[np.searchsorted(es_n0_db, row.es_n0_db, side="right") - 1] >= row.bits_per_symbol


def test_free_space_loss_equals_the_form_with_constants() -> None:
    """ITU-R P.525: 32.4 + 20 log f (MHz) + 20 log d (km), to the rounding of its constant 32.4 (32.45)."""
    for frequency_hz, range_m in ((8.2e9, 1e6), (26e9, 2.5e6), (2.2e9, 36e6)):
        handy = 32.45 + 20.0 * math.log10(frequency_hz / 1e6) + 20.0 * math.log10(range_m / 1e3)
        assert free_space_loss_db(np.array([range_m]), frequency_hz)[0] == pytest.approx(handy, abs=0.005)


def test_a_budget_by_hand() -> None:
    """20 dBW, 170.5 dB of loss, 20 dB/K: 20 - 170.5 + 20 + 228.6 = 98.1 dBHz."""
    assert pytest.approx(-228.599, abs=1e-3) == BOLTZMANN_DBW_K_HZ
    loss = free_space_loss_db(np.array([1e6]), 8e9)
    assert loss[0] == pytest.approx(170.51, abs=0.01)
    assert c_n0_dbhz(20.0, loss, 20.0)[0] == pytest.approx(98.09, abs=0.01)
    assert symbol_rate_hz(300e6, 0.2) == pytest.approx(250e6)


@given(st.floats(0.01, 5.0), st.floats(-0.2, math.pi / 2.0), st.floats(-0.2, math.pi / 2.0))
def test_air_costs_more_lower_down(zenith_db: float, one: float, two: float) -> None:
    low, high = slant_loss_db(zenith_db, np.sort([one, two]))
    assert low >= high >= zenith_db * (1.0 - 1e-12)
    assert low <= zenith_db / math.sin(LOWEST_COSECANT_RAD) * (1.0 + 1e-12)
    assert slant_loss_db(zenith_db, np.array([math.nan]))[0] == 0.0


@pytest.mark.parametrize("height_m", [1.66e3, 6e3])
def test_the_cosecant_never_understates_a_layer_of_air(height_m: float) -> None:
    """Path through a spherical shell over the Earth with effective radius 8500 km, in units of its height.

    1.66 km is the least equivalent height of water vapour, 6 km that of oxygen (ITU-R P.676-10, annex 2).
    """
    radius_m, elevation = 8.5e6, np.radians(np.linspace(0.0, 90.0, 181))
    rise = radius_m * np.sin(elevation)
    path = (np.sqrt(rise**2 + 2.0 * radius_m * height_m + height_m**2) - rise) / height_m
    assert np.all(slant_loss_db(1.0, elevation) >= path * (1.0 - 1e-9))


@pytest.mark.parametrize("pointing_rad", [0.0, 4e-6])
def test_a_laser_link_against_integration_over_the_aperture(pointing_rad: float) -> None:
    range_m, power_w, divergence_rad, aperture_m = 8e5, 2.0, 15e-6, 0.5
    beam_m, aside_m = range_m * divergence_rad / 2.0, range_m * pointing_rad

    def intensity(r: float, angle: float) -> float:
        squared = (r * math.cos(angle) - aside_m) ** 2 + (r * math.sin(angle)) ** 2
        return r * 2.0 * power_w / (math.pi * beam_m**2) * math.exp(-2.0 * squared / beam_m**2)

    collected = dblquad(intensity, 0.0, 2.0 * math.pi, 0.0, aperture_m / 2.0)[0]
    mine = optical_received_w(np.array([range_m]), power_w, divergence_rad, aperture_m, pointing_rad)[0]
    assert mine == pytest.approx(collected, rel=2e-3)


def test_a_laser_link_equals_the_range_equation() -> None:
    """P G_t G_r (lambda / 4 pi z)^2 with G_t = 32 / divergence^2 and G_r = (pi D / lambda)^2."""
    z, power_w, divergence_rad, aperture_m, wavelength_m = 4.5e6, 1.0, 20e-6, 0.08, 1.55e-6
    gains = 32.0 / divergence_rad**2 * (math.pi * aperture_m / wavelength_m) ** 2
    expected = power_w * gains * (wavelength_m / (4.0 * math.pi * z)) ** 2
    assert optical_received_w(np.array([z]), power_w, divergence_rad, aperture_m, 0.0)[0] == pytest.approx(expected)
    # Very near, everything is collected, and never more.
    assert optical_received_w(np.array([10.0]), power_w, divergence_rad, aperture_m, 0.0)[0] == power_w


def test_photons_and_diffraction() -> None:
    """A photon of 1550 nm has 1.2816e-19 J; an aperture of 8 cm spreads it over 24.7 microradians."""
    assert photon_rate_bps(np.array([1.2816e-19 * 100.0 * 1e9]), 1550e-9, 100.0)[0] == pytest.approx(1e9, rel=1e-4)
    assert diffraction_divergence_rad(0.08, 1550e-9) == pytest.approx(24.67e-6, rel=1e-3)

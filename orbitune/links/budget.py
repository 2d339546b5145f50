"""Link budgets: what arrives of what is sent, and how many bits per second that carries.

Powers and losses are in decibels and losses are positive. Plain formulas of arrays; `rates` makes rate models of them.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from importlib import resources

import numpy as np

from orbitune.links.crossings import Floats
from orbitune.units import LIGHT_SPEED_M_S

BOLTZMANN_DBW_K_HZ = 10.0 * math.log10(1.380649e-23)
"""Boltzmann's constant in dBW/(K Hz): -228.6; 1.380649e-23 J/K is exact (SI, BIPM 2019)."""

PLANCK_J_S = 6.62607015e-34
"""Planck's constant, exact (SI, BIPM 2019)."""

LOWEST_COSECANT_RAD = math.radians(0.5)
"""Lower down the cosecant law is held at 115 zenith losses. On the Earth's effective radius of 8500 km a level path has
sqrt(2 x 8500 km / h) = 101 through water vapour, h = 1.66 km, its least equivalent height (ITU-R P.676-10, annex 2)."""

STANDARDS = ("dvb-s2", "dvb-s2x")


@dataclass(frozen=True)
class Modcod:
    """One modulation and code: the ideal Es/N0 it needs and the payload bits of a symbol."""

    standard: str
    modulation: str
    code_rate: str
    bch_bits: int
    es_n0_db: float
    bits_per_symbol: float


def read_modcods(standard: str = "dvb-s2x") -> tuple[Modcod, ...]:
    """The rows of `data/dvbs2x/modcods.csv`: those of DVB-S2, or with `dvb-s2x` those of both standards.

    Reference: ETSI EN 302 307-1 V1.4.1, table 13; ETSI EN 302 307-2 V1.1.1, table 20a. See the README there.
    """
    text = (resources.files("orbitune") / "data" / "dvbs2x" / "modcods.csv").read_text(encoding="utf-8")
    rows = (
        Modcod(
            row["standard"], row["modulation"], row["code_rate"], int(row["bch_bits"]),
            float(row["es_n0_db"]), float(row["bits_per_symbol"]),
        )
        for row in csv.DictReader(text.splitlines())
    )  # fmt: skip
    return tuple(row for row in rows if standard == "dvb-s2x" or row.standard == standard)


def ladder(modcods: tuple[Modcod, ...]) -> tuple[Floats, Floats]:
    """Es/N0 in dB and bits per symbol [K], both rising: without the rows that another beats at a lower Es/N0."""
    rows = sorted(modcods, key=lambda row: (row.es_n0_db, -row.bits_per_symbol))
    es_n0_db = np.array([row.es_n0_db for row in rows])
    bits = np.array([row.bits_per_symbol for row in rows])
    best_before = np.concatenate([[0.0], np.maximum.accumulate(bits)[:-1]])
    return es_n0_db[bits > best_before], bits[bits > best_before]


def free_space_loss_db(range_m: Floats, frequency_hz: float) -> Floats:
    """Free-space loss between isotropic antennas, any shape: 20 log10(4 pi d f / c).

    Reference: ITU-R P.525-4, basic transmission loss of a point-to-point link.
    """
    loss: Floats = 20.0 * np.log10(range_m * (4.0 * math.pi * frequency_hz / LIGHT_SPEED_M_S))
    return loss


def slant_loss_db(zenith_db: float, elevation_rad: Floats) -> Floats:
    """Loss in the clear air along a slant path, any shape: the zenith loss over sin(elevation); 0 where it is NaN.

    A flat atmosphere, which ITU-R P.676-10 (annex 2, section 2.2) takes from 5 to 90 degrees. Lower down it overstates
    the loss, the safe side, and below `LOWEST_COSECANT_RAD` the loss stays at its value there.
    """
    if zenith_db == 0.0:
        return np.zeros_like(elevation_rad)
    loss = zenith_db / np.sin(np.maximum(elevation_rad, LOWEST_COSECANT_RAD))
    return np.where(np.isnan(elevation_rad), 0.0, loss)


def c_n0_dbhz(eirp_dbw: float, loss_db: Floats, g_over_t_db_k: float) -> Floats:
    """Carrier over noise density in dB Hz: EIRP - losses + G/T - k.

    Reference: G. Maral and M. Bousquet, Satellite Communications Systems, 5th edition (2009), section 5.6.
    """
    return eirp_dbw - loss_db + g_over_t_db_k - BOLTZMANN_DBW_K_HZ


def symbol_rate_hz(bandwidth_hz: float, roll_off: float) -> float:
    """Symbols per second in an occupied bandwidth: B / (1 + roll-off). Reference: EN 302 307-1, annex A."""
    return bandwidth_hz / (1.0 + roll_off)


def diffraction_divergence_rad(aperture_m: float, wavelength_m: float) -> float:
    """Least full divergence (1/e^2 of the intensity) of a Gaussian beam whose waist is the aperture: 4 lambda/(pi D).

    Reference: B. E. A. Saleh and M. C. Teich, Fundamentals of Photonics, 2nd edition (2007), section 3.1.
    """
    return 4.0 * wavelength_m / (math.pi * aperture_m)


def optical_received_w(
    range_m: Floats, power_w: float, divergence_rad: float, aperture_m: float, pointing_error_rad: float
) -> Floats:
    """Power in W that a far-off aperture takes from a Gaussian beam through vacuum, any shape.

    At range z the beam's radius is w = z x divergence / 2. Its intensity at the angle e off the axis is
    2 P / (pi w^2) x exp(-2 (z e / w)^2), and the aperture collects pi D^2 / 4 of it, never more than P: the same as the
    range equation P G_t G_r (lambda / 4 pi z)^2 with G_t = 32 / divergence^2 and G_r = (pi D / lambda)^2.
    Reference: H. Kaushal and G. Kaddoum, IEEE Comm. Surveys & Tutorials 19 (2017) 57, arXiv:1506.04836, the link
    equation; H. Hemmati (ed.), Deep Space Optical Communications (2006), chapter 2.
    """
    # Exact for an aperture on the axis: the share of a Gaussian beam inside a radius; far off it is 2 (D / 2w)^2.
    share = -np.expm1(-0.5 * (2.0 * aperture_m / (range_m * divergence_rad)) ** 2)
    received: Floats = power_w * share * math.exp(-8.0 * (pointing_error_rad / divergence_rad) ** 2)
    return received


def photon_rate_bps(received_w: Floats, wavelength_m: float, photons_per_bit: float) -> Floats:
    """Bits per second that a receiver of this sensitivity decodes: P lambda / (h c N)."""
    return received_w * (wavelength_m / (PLANCK_J_S * LIGHT_SPEED_M_S * photons_per_bit))

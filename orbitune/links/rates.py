"""Models of the rate that a link carries: fixed, by radio, by laser. `pieces` cuts windows by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from orbitune.errors import PlanError
from orbitune.links import budget
from orbitune.links.crossings import Floats, Ints
from orbitune.links.weather import Attenuation


class RateModel(Protocol):
    """What a link carries. The rate must not rise with range, nor fall with elevation."""

    def rate_bps(self, range_m: Floats, elevation_rad: Floats, station: Ints) -> Floats:
        """Bits per second [N]; `elevation_rad` is NaN and `station` -1 between satellites."""
        ...


@dataclass(frozen=True)
class FixedRate:
    """The same rate always.

    Raises:
        PlanError: it is not more than 0.
    """

    fixed_bps: float

    def __post_init__(self) -> None:
        _require(self, ("fixed_bps",), lambda value: value > 0.0, "more than 0")

    def rate_bps(self, range_m: Floats, elevation_rad: Floats, station: Ints) -> Floats:
        return np.full(np.shape(range_m), self.fixed_bps)


@dataclass(frozen=True)
class RfRate:
    """A radio link with adaptive DVB-S2 or DVB-S2X: the modulation and code that carries most of those that close.

    `bandwidth_hz` is occupied: symbols per second x (1 + `roll_off`). `gas_zenith_db` is the loss in clear air at the
    zenith, spread over elevations by `budget.slant_loss_db`; `weather`, a table of all losses in the air, replaces it.
    `margin_db` is set aside: pointing, polarisation, the modem's distance from the ideal. That rain adds noise at
    a ground antenna (lower G/T) is not in the model: allow for it in the margin.

    Raises:
        PlanError: a number is out of range; the message says which.
    """

    eirp_dbw: float
    g_over_t_db_k: float
    frequency_hz: float
    bandwidth_hz: float
    roll_off: float = 0.2
    margin_db: float = 0.0
    gas_zenith_db: float = 0.0
    standard: str = "dvb-s2x"
    weather: Attenuation | None = None
    _needed_dbhz: Floats = field(init=False, repr=False, compare=False)
    _rates_bps: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require(self, ("eirp_dbw", "g_over_t_db_k"), math.isfinite, "finite")
        _require(self, ("frequency_hz", "bandwidth_hz"), lambda value: 0.0 < value < math.inf, "more than 0")
        _require(self, ("margin_db", "gas_zenith_db"), lambda value: 0.0 <= value < math.inf, "0 or more")
        # EN 302 307-1 has 0.20, 0.25 and 0.35, EN 302 307-2 adds 0.05, 0.10 and 0.15.
        _require(self, ("roll_off",), lambda value: 0.0 <= value <= 1.0, "from 0 to 1 (DVB-S2X: 0.05 to 0.35)")
        if self.standard not in budget.STANDARDS:
            raise PlanError(f"RfRate: standard {self.standard!r} is unknown; allowed: {', '.join(budget.STANDARDS)}.")
        if self.weather is not None:
            self._check_weather(self.weather)
        es_n0_db, bits_per_symbol = budget.ladder(budget.read_modcods(self.standard))
        symbols_hz = budget.symbol_rate_hz(self.bandwidth_hz, self.roll_off)
        object.__setattr__(self, "_needed_dbhz", es_n0_db + 10.0 * math.log10(symbols_hz))
        object.__setattr__(self, "_rates_bps", np.concatenate([[0.0], bits_per_symbol * symbols_hz]))

    def _check_weather(self, weather: Attenuation) -> None:
        if self.gas_zenith_db > 0.0:
            raise PlanError(
                f"RfRate: gas_zenith_db = {self.gas_zenith_db:g} is given beside a weather table, which has the gases "
                "in it already; leave gas_zenith_db at 0."
            )
        if not math.isclose(weather.frequency_hz, self.frequency_hz, rel_tol=1e-6):
            raise PlanError(
                f"RfRate: the weather table is for {weather.frequency_hz:g} Hz, the link is at "
                f"{self.frequency_hz:g} Hz; make a table for the frequency of the link."
            )

    def c_n0_dbhz(self, range_m: Floats, elevation_rad: Floats, station: Ints) -> Floats:
        """Carrier over noise density in dB Hz [N], the margin taken off."""
        loss_db = budget.free_space_loss_db(range_m, self.frequency_hz) + self.margin_db
        if self.weather is not None:
            loss_db = loss_db + self.weather.loss_db(elevation_rad, station)
        else:
            loss_db = loss_db + budget.slant_loss_db(self.gas_zenith_db, elevation_rad)
        return budget.c_n0_dbhz(self.eirp_dbw, loss_db, self.g_over_t_db_k)

    def rate_bps(self, range_m: Floats, elevation_rad: Floats, station: Ints) -> Floats:
        c_n0_dbhz = self.c_n0_dbhz(range_m, elevation_rad, station)
        rate: Floats = self._rates_bps[np.searchsorted(self._needed_dbhz, c_n0_dbhz, side="right")]
        return rate


@dataclass(frozen=True)
class OpticalRate:
    """A laser link whose receiver needs so many photons for a bit, up to the terminal's greatest rate.

    `divergence_rad` is the full angle between the 1/e^2 points; None: as narrow as the aperture allows.
    `losses_db` are optics, coupling and margin; `zenith_loss_db` is the loss of clear air at the zenith, spread over
    elevations by `budget.slant_loss_db`. Clouds are not in the model: cut them out of the plan as outages.

    With `halvings` = n the terminal has the rates max, max/2, .. max/2^n and nothing below, as those do that stretch or
    repeat their slots by powers of two (CCSDS 142.0-B-1, slot widths); such windows are few pieces. With None the rate
    follows the received power: a window is then a hundred pieces or more where the rate is below its maximum.

    Raises:
        PlanError: a number is out of range; the message says which.
    """

    power_w: float
    transmit_aperture_m: float
    receive_aperture_m: float
    wavelength_m: float
    photons_per_bit: float
    max_rate_bps: float
    divergence_rad: float | None = None
    pointing_error_rad: float = 0.0
    losses_db: float = 0.0
    zenith_loss_db: float = 0.0
    halvings: int | None = None

    def __post_init__(self) -> None:
        positive = ("power_w", "transmit_aperture_m", "receive_aperture_m", "wavelength_m", "photons_per_bit")
        _require(self, (*positive, "max_rate_bps"), lambda value: 0.0 < value < math.inf, "more than 0")
        not_negative = ("pointing_error_rad", "losses_db", "zenith_loss_db")
        _require(self, not_negative, lambda value: 0.0 <= value < math.inf, "0 or more")
        least_rad = budget.diffraction_divergence_rad(self.transmit_aperture_m, self.wavelength_m)
        if self.divergence_rad is not None and not least_rad * (1.0 - 1e-9) <= self.divergence_rad < 1.0:
            raise PlanError(
                f"OpticalRate: divergence_rad = {self.divergence_rad:g} must be at least {least_rad:g}, what "
                f"diffraction allows an aperture of {self.transmit_aperture_m:g} m, and below 1."
            )
        if self.halvings is not None:
            _require(self, ("halvings",), lambda value: value >= 0, "0 or more, or None")

    def received_w(self, range_m: Floats, elevation_rad: Floats) -> Floats:
        """Power at the detector in W [N], all losses taken off."""
        divergence_rad = self.divergence_rad
        if divergence_rad is None:
            divergence_rad = budget.diffraction_divergence_rad(self.transmit_aperture_m, self.wavelength_m)
        collected_w = budget.optical_received_w(
            range_m, self.power_w, divergence_rad, self.receive_aperture_m, self.pointing_error_rad
        )
        loss_db = self.losses_db + budget.slant_loss_db(self.zenith_loss_db, elevation_rad)
        received: Floats = collected_w * 10.0 ** (-0.1 * loss_db)
        return received

    def rate_bps(self, range_m: Floats, elevation_rad: Floats, station: Ints) -> Floats:
        received_w = self.received_w(range_m, elevation_rad)
        carried_bps = budget.photon_rate_bps(received_w, self.wavelength_m, self.photons_per_bit)
        if self.halvings is None:
            return np.minimum(carried_bps, self.max_rate_bps)
        levels_bps = self.max_rate_bps * 0.5 ** np.arange(self.halvings, -1, -1)
        rate: Floats = np.concatenate([[0.0], levels_bps])[np.searchsorted(levels_bps, carried_bps, side="right")]
        return rate


def _require(model: object, names: tuple[str, ...], allowed: Callable[[float], bool], words: str) -> None:
    for name in names:
        value = getattr(model, name)
        if not allowed(value):
            raise PlanError(f"{type(model).__name__}: {name} = {value:g} is not allowed; it must be {words}.")

"""Losses in the air by the ITU-R recommendations, tabulated once so that planning needs no `itur`.

`itur` (extra `itu`) takes 555 MB and seconds to start, so a table is made ahead, saved as JSON and read from there.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import InputError, MissingExtra, PlanError
from orbitune.files import write_whole
from orbitune.links.crossings import Floats, Ints
from orbitune.orbit.geometry import GroundStation

LOWEST_ELEVATION_RAD = math.radians(5.0)
"""Down to here ITU-R P.676-12, annex 2 (gases) and P.618-13, section 2.4 (scintillation) claim to hold."""

DEFAULT_ELEVATIONS_RAD = tuple(math.radians(x) for x in (*range(5, 30), *range(30, 60, 2), *range(60, 91, 5)))

AVAILABILITIES = (0.95, 0.99999)
"""ITU-R P.618-13, section 2.2.1.1 gives rain for 0.001 to 5 % of an average year."""

FREQUENCIES_HZ = (1e9, 55e9)
"""ITU-R P.618-13, section 2.2.1.1 holds up to 55 GHz; P.676-12, annex 2 begins at 1 GHz."""

_FORMAT = "orbitune attenuation 1"


@dataclass(frozen=True, eq=False)
class Attenuation:
    """Loss in dB not exceeded for the share `availability` of an average year: gases, clouds, rain, scintillation.

    `table_db` [G, E] holds stations by `elevation_rad` [E], which rises.

    Raises:
        PlanError: the shapes do not fit, or the table is not one of losses.
    """

    station_names: tuple[str, ...]
    frequency_hz: float
    availability: float
    elevation_rad: Floats
    table_db: Floats

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise PlanError(f"table of losses in the air: {problem}")

    def _problem(self) -> str | None:
        if self.table_db.shape != (len(self.station_names), len(self.elevation_rad)) or len(self.elevation_rad) < 2:
            return (
                f"{self.table_db.shape} values for {len(self.station_names)} stations at {len(self.elevation_rad)} "
                "elevations; there must be one for each, and two elevations at least."
            )
        if len(set(self.station_names)) < len(self.station_names):
            return "a station is in it twice; names must differ."
        if not np.all(np.diff(self.elevation_rad) > 0.0):
            return "the elevations must rise."
        if not (np.all(np.isfinite(self.table_db)) and np.all(self.table_db >= 0.0)):
            return "losses must be finite and 0 dB or more."
        if not np.all(np.diff(self.table_db, axis=1) <= 0.0):
            return "losses must not rise with elevation."
        return None

    def loss_db(self, elevation_rad: Floats, station: Ints) -> Floats:
        """Loss [N] at elevations [N] over stations [N], rows of the table.

        Linear in elevation: above the truth where that is convex, as the loss of a slant path is. Below the table
        the loss is infinite: nothing is promised where the recommendations do not hold. Between satellites (elevation
        NaN, station -1) it is 0.
        """
        grid = self.elevation_rad
        left = np.clip(np.searchsorted(grid, elevation_rad, side="right") - 1, 0, len(grid) - 2)
        share = np.minimum((elevation_rad - grid[left]) / (grid[left + 1] - grid[left]), 1.0)
        loss = (1.0 - share) * self.table_db[station, left] + share * self.table_db[station, left + 1]
        loss = np.where(elevation_rad < grid[0] - 1e-9, np.inf, loss)
        return np.where(np.isnan(elevation_rad), 0.0, loss)

    def for_stations(self, stations: Sequence[GroundStation]) -> Attenuation:
        """The table with its rows in the order of these stations, found by name.

        Raises:
            PlanError: a station is not in the table.
        """
        missing = [station.name for station in stations if station.name not in self.station_names]
        if missing:
            raise PlanError(
                f"no losses in the air for {', '.join(map(repr, missing))}; the table has "
                f"{', '.join(map(repr, self.station_names))}. Make the table again with all stations."
            )
        rows = [self.station_names.index(station.name) for station in stations]
        names = tuple(station.name for station in stations)
        return Attenuation(names, self.frequency_hz, self.availability, self.elevation_rad, self.table_db[rows])


def attenuation_table(
    stations: Sequence[GroundStation],
    frequency_hz: float,
    availability: float,
    antenna_m: float,
    elevations_rad: Sequence[float] = DEFAULT_ELEVATIONS_RAD,
) -> Attenuation:
    """Ask `itur` for the losses over each station.

    Reference: ITU-R P.618-13, section 2.5 (how they combine), on P.676-12 (gases), P.837 to P.839 (rain) and P.840
    (clouds), as `itur` 0.4.0 has them. Its loss may rise again near the zenith in tropical rain; the table holds it up.

    Args:
        availability: Share of an average year in which the loss is not exceeded, 0.95 to 0.99999.
        antenna_m: Diameter of the ground antennas; scintillation depends on it.
        elevations_rad: Rising, from 5 degrees to 90 degrees.

    Raises:
        PlanError: a number is out of the range for which the recommendations hold.
        MissingExtra: `itur` is not installed.
    """
    _check_request(frequency_hz, availability, antenna_m, elevations_rad)
    elevation_rad = np.array(elevations_rad, dtype=np.float64)
    between = 0.5 * (elevation_rad[1:] + elevation_rad[:-1])
    asked = np.clip(np.degrees(np.concatenate([elevation_rad, between])), 5.0, 90.0)
    rows = [_ask_itur(station, frequency_hz, availability, antenna_m, asked) for station in stations]
    table_db = [_rounded_up(row[: len(elevation_rad)], row[len(elevation_rad) :]) for row in rows]
    names = tuple(station.name for station in stations)
    shape = (len(stations), len(elevation_rad))
    return Attenuation(names, frequency_hz, availability, elevation_rad, np.array(table_db).reshape(shape))


def write_attenuation(table: Attenuation, path: Path) -> None:
    """Write a table as JSON, whole or not at all; reading it gives the same numbers.

    Raises:
        OSError: the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "frequency_hz": table.frequency_hz,
        "availability": table.availability,
        "elevation_rad": table.elevation_rad.tolist(),
        "loss_db": dict(zip(table.station_names, table.table_db.tolist(), strict=True)),
    }
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())


def read_attenuation(path: Path) -> Attenuation:
    """Read a table that `write_attenuation` wrote.

    Raises:
        InputError: the file is missing or is not such a table.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
        losses = content["loss_db"]
        elevation_rad = np.array(content["elevation_rad"], dtype=np.float64)
        table_db = np.array(list(losses.values()), dtype=np.float64).reshape(len(losses), -1)
        figures = (float(content["frequency_hz"]), float(content["availability"]))
        return Attenuation(tuple(losses), *figures, elevation_rad, table_db)
    except OSError as error:
        raise InputError(f"{path}: the table of losses in the air cannot be read ({error.strerror}).") from error
    except (KeyError, TypeError, ValueError, AttributeError, PlanError) as error:
        raise InputError(
            f"{path}: this is no table of losses in the air ({type(error).__name__}: {error}). Make it again."
        ) from error


def _check_request(frequency_hz: float, availability: float, antenna_m: float, elevations_rad: Sequence[float]) -> None:
    low_hz, high_hz = FREQUENCIES_HZ
    if not low_hz <= frequency_hz <= high_hz:
        raise PlanError(f"losses in the air: frequency {frequency_hz:g} Hz must be from {low_hz:g} to {high_hz:g} Hz.")
    least, most = AVAILABILITIES
    if not least <= availability <= most:
        raise PlanError(f"losses in the air: availability {availability:g} must be from {least:g} to {most:g}.")
    if not 0.0 < antenna_m < math.inf:
        raise PlanError(f"losses in the air: antenna_m = {antenna_m:g} must be more than 0.")
    lowest, highest = min(elevations_rad, default=0.0), max(elevations_rad, default=0.0)
    if len(elevations_rad) < 2 or lowest < LOWEST_ELEVATION_RAD - 1e-9 or highest > math.pi / 2.0 + 1e-9:
        raise PlanError(
            f"losses in the air: elevations from {lowest:g} to {highest:g} rad; give two or more, "
            f"from {LOWEST_ELEVATION_RAD:.4g} (5 degrees) to pi/2 rad."
        )


def _ask_itur(
    station: GroundStation, frequency_hz: float, availability: float, antenna_m: float, elevation_deg: Floats
) -> Floats:
    try:
        import itur  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingExtra(
            "losses in the air by ITU-R need the package itur, which is not installed: pip install 'orbitune[itu]'"
        ) from error
    with warnings.catch_warnings():
        # It takes 90 degrees for less than 5 (np.mod(el, 90) < 5); all elevations asked for here are from 5 to 90.
        warnings.filterwarnings("ignore", "The approximated method to compute the gaseous", RuntimeWarning)
        loss = itur.atmospheric_attenuation_slant_path(
            math.degrees(station.latitude_rad), math.degrees(station.longitude_rad), frequency_hz * 1e-9,
            elevation_deg, 100.0 * (1.0 - availability), antenna_m, hs=max(0.0, station.altitude_m * 1e-3),
        )  # fmt: skip
    return np.asarray(loss.to_value("dB"), dtype=np.float64)


def _rounded_up(at_db: Floats, between_db: Floats) -> Floats:
    """Losses [E] raised to where straight lines pass above those half-way too, and nothing rises with elevation."""
    short = np.maximum(0.0, between_db - 0.5 * (at_db[1:] + at_db[:-1]))
    raised = at_db + np.maximum(np.append(short, 0.0), np.append(0.0, short))
    return np.maximum.accumulate(raised[::-1])[::-1]

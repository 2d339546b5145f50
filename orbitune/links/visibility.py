"""Who sees whom, when: passes of satellites over stations.

Edges come from `crossings`: a grid finds the spans, root refinement on polynomials through the ephemeris places their
edges, and every pass is found, also one shorter than the grid. Work goes in chunks of satellites, so memory
does not grow with the constellation.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from orbitune.errors import MissingExtra, PlanError
from orbitune.links import sky as skies
from orbitune.links.crossings import Floats, Ints, Spans
from orbitune.links.sky import Bounds, Sky, bounds_of, ends_are_farthest, greatest_range_m, sky_over
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.geometry import GroundStation
from orbitune.orbit.interpolate import time_grid
from orbitune.orbit.propagate import Ephemeris, propagate

DEFAULT_GRID_S = 120.0
LONGEST_GRID_S = 120.0
"""Beyond it a low pass may turn twice inside one interval, and positions between the samples lose their millimetres."""

COMPILING_PAYS_SAMPLES = 100_000_000
"""Samples [satellites x times x stations] from which compiled loops save more than the seconds it takes to compile."""

_COMPILED_SAMPLES_PER_TIME = 4
"""Compiled loops keep positions and velocities, not what each station sees."""

SAMPLES_PER_CHUNK = 500_000
"""Samples [rows x times] handled at once: 4 MB per array, about twenty arrays alive."""


_FindSpans = Callable[[Ephemeris, Sky, Bounds], tuple[Spans, Floats]]
"""From an ephemeris and the sky to spans in view, and the greater of the ranges at the ends of each."""


@dataclass(frozen=True)
class Passes:
    """Passes over stations, equal-length columns sorted by (satellite, station, rise_s).

    A pass under way at the start or the end of the horizon is cut there. `max_range_m` is the greatest distance in it.
    """

    satellite: Ints
    station: Ints
    rise_s: Floats
    set_s: Floats
    max_range_m: Floats

    def __len__(self) -> int:
        return len(self.satellite)


def ground_passes(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float = DEFAULT_GRID_S,
    compiled: bool | None = None,
) -> Passes:
    """All passes of all satellites over all stations from the start to the horizon.

    Cost grows linearly in satellites x stations x days, on top of a propagation that is linear in satellites x days and
    half of it at ten stations. Measured by `make bench-contacts` on a server core, one day at 550 km: 1584 satellites
    x 10 stations 0.9 s (0.7 s compiled), 10,000 x 50 17 s (7 s). Memory is bounded by chunks, but for the passes
    found: 40 bytes each.

    Args:
        compiled: Whether to search in loops compiled by numba (the extra `fast`) or in NumPy. The passes are the same,
            their edges within a microsecond. None compiles where numba is installed and the job is large enough.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
        MissingExtra: `compiled` is asked for and numba is not installed.
    """
    time_s = checked_grid(horizon_s, grid_s)
    find_spans, samples_each = _search(compiled, len(constellation), len(time_s), len(stations))
    found = [Passes(no_rows(), no_rows(), *(np.empty(0) for _ in range(3)))]
    for chosen in _chunks(len(constellation), samples_each) if stations else ():
        ephemeris = propagate(constellation, start_utc, time_s, chosen)
        spans, range_m = _spans_and_ranges(ephemeris, sky_over(stations), find_spans)
        satellite, station = np.divmod(spans.row, len(stations))
        found.append(Passes(satellite + chosen[0], station, spans.start_s, spans.end_s, range_m))
    columns = ("satellite", "station", "rise_s", "set_s", "max_range_m")
    return Passes(*(np.concatenate([getattr(part, column) for part in found]) for column in columns))


def _spans_and_ranges(ephemeris: Ephemeris, sky: Sky, find_spans: _FindSpans) -> tuple[Spans, Floats]:
    bounds = bounds_of(ephemeris, sky)
    spans, range_m = find_spans(ephemeris, sky, bounds)
    return spans, range_m if ends_are_farthest(bounds) else greatest_range_m(ephemeris, sky, spans)


def _search(compiled: bool | None, satellites: int, times: int, stations: int) -> tuple[_FindSpans, int]:
    """The search for passes to use, and how many samples each satellite keeps in memory for it."""
    installed = importlib.util.find_spec("numba") is not None
    if compiled and not installed:
        raise MissingExtra(
            "compiled=True needs numba, which is not installed. "
            "Install the extra `fast` (orbitune[fast]), or leave `compiled` out: NumPy finds the same passes."
        )
    if compiled is None:
        compiled = installed and satellites * times * stations >= COMPILING_PAYS_SAMPLES
    if not compiled:
        return skies.find_spans, times * stations
    from orbitune.links import compiled as loops  # importing numba takes a second

    return loops.find_spans, _COMPILED_SAMPLES_PER_TIME * times


def checked_grid(horizon_s: float, grid_s: float) -> Floats:
    """The even times of a search from 0 to the horizon, [T].

    Raises:
        PlanError: horizon or grid is out of range.
    """
    if not 0.0 < horizon_s < math.inf:
        raise PlanError(f"the horizon is {horizon_s:g} s; it must be more than 0 s.")
    if not 0.0 < grid_s <= LONGEST_GRID_S:
        raise PlanError(f"the grid is {grid_s:g} s; it must be more than 0 s and at most {LONGEST_GRID_S:g} s.")
    return time_grid(horizon_s, grid_s)


def _chunks(count: int, samples_each: int) -> Iterator[range]:
    size = max(1, SAMPLES_PER_CHUNK // samples_each)
    return (range(first, min(first + size, count)) for first in range(0, count, size))


def no_rows() -> Ints:
    """A column of numbers without any."""
    return np.empty(0, dtype=np.int64)

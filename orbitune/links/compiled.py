"""The search for passes as compiled loops, for jobs of hundreds of millions of samples.

The same arithmetic as `sky` and `crossings`, one satellite and station at a time, so both find the same passes with
edges within a microsecond. numba (the extra `fast`) compiles it in some seconds and keeps the machine code beside this
file, or under the user's cache folder where the package cannot be written to; where neither can, every process
compiles anew. Without numba the functions run as they stand, in plain Python: right, but too slow outside tests.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from orbitune.links.crossings import BISECTIONS, MAX_ITERATIONS, ROOT_TOLERANCE_S, Floats, Spans
from orbitune.links.sky import Bounds, Sky
from orbitune.orbit.interpolate import TO_COEFFICIENTS, grid_step_s
from orbitune.orbit.propagate import Ephemeris

F = TypeVar("F", bound=Callable[..., Any])

try:
    _numba: Any = importlib.import_module("numba")
except ImportError:
    _numba = None


def _compiled(function: F) -> F:
    made: F = function if _numba is None else _numba.njit(error_model="numpy")(function)
    return made


def _compiled_and_kept(function: F) -> F:
    """Compiled with all it calls; the machine code is kept on disk."""
    if _numba is None:
        return function
    try:
        made: F = _numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba finds no folder that it may write to
        return _compiled(function)
    return made


class Track(NamedTuple):
    """One satellite: positions and velocities [T, 3] in the Earth-fixed frame."""

    position_m: Floats
    velocity_m_s: Floats


class Site(NamedTuple):
    """One station: position [3], vertical [3], height of the centre of the Earth over its horizontal plane, sine of its
    mask, and the height below which an interval of the grid has nothing in view.
    """

    place: Floats
    up: Floats
    centre_m: float
    sine: float
    bar_m: float


class Grid(NamedTuple):
    """Times [T], their step, the most that height and clearance can change in a step, and the rules of `crossings`.

    They are arguments, not globals, because the kept machine code would not notice a change in another file.
    """

    time_s: Floats
    step_s: float
    climb_m: float
    change_m: float
    to_coefficients: Floats
    tolerance_s: float
    iterations: int
    bisections: int


def find_spans(ephemeris: Ephemeris, sky: Sky, bounds: Bounds) -> tuple[Spans, Floats]:
    """When each satellite is above each mask, as `sky.spans_in_view` finds it, and how far away it is at the ends.

    Returns:
        The spans, and for each the greater of the ranges in metres at its start and its end [N].
    """
    step_s = grid_step_s(ephemeris.time_s)
    climb_m = bounds.fastest_m_s * step_s
    change_m = (1.0 + float(np.abs(sky.sine).max())) * climb_m
    rules = (TO_COEFFICIENTS, ROOT_TOLERANCE_S, MAX_ITERATIONS, BISECTIONS)
    grid = Grid(ephemeris.time_s, step_s, climb_m, change_m, *rules)
    centre_m = -np.einsum("ij,ij->i", sky.up, sky.place)
    bar_m = bounds.lowest_m - bounds.slack_m
    found = _search(ephemeris.position_m, ephemeris.velocity_m_s, sky.place, sky.up, centre_m, sky.sine, bar_m, grid)
    return Spans(found[:, 0].astype(np.int64), found[:, 1].copy(), found[:, 2].copy()), found[:, 3].copy()


@_compiled_and_kept
def _search(
    position_m: Floats,
    velocity_m_s: Floats,
    place: Floats,
    up: Floats,
    centre_m: Floats,
    sine: Floats,
    bar_m: Floats,
    grid: Grid,
) -> Floats:
    """All passes of all satellites [S, T, 3] over all stations [G, 3]: row, rise, set, range in rows of [N, 4]."""
    found, count = np.empty((1024, 4)), 0
    edges, arc = np.empty((2 * len(grid.time_s), 2)), np.empty((len(grid.to_coefficients), 3))
    for satellite in range(len(position_m)):
        track = Track(position_m[satellite], velocity_m_s[satellite])
        for station in range(len(place)):
            site = Site(place[station], up[station], centre_m[station], sine[station], bar_m[station])
            number = _follow(track, site, grid, arc, edges)
            if count + number > len(found):
                more = np.empty((2 * len(found) + number, 4))
                more[:count] = found[:count]
                found = more
            for rise in range(0, number, 2):
                if edges[rise + 1, 0] > edges[rise, 0]:
                    found[count, 0] = satellite * len(place) + station
                    found[count, 1] = edges[rise, 0]
                    found[count, 2] = edges[rise + 1, 0]
                    found[count, 3] = max(edges[rise, 1], edges[rise + 1, 1])
                    count += 1
    return found[:count]


@_compiled
def _follow(track: Track, site: Site, grid: Grid, arc: Floats, edges: Floats) -> int:
    """Rises and sets of one satellite over one station by turns, (time, range) in rows of `edges`; how many."""
    number, sample, last = 0, 0, len(grid.time_s) - 1
    while sample < last:
        below = site.bar_m - _height(track, site, sample)
        if below >= grid.climb_m:
            # However fast it climbs, it stays below for that many samples.
            sample += int(below / grid.climb_m)
        elif below >= 0.0 and _height(track, site, sample + 1) <= site.bar_m:
            sample += 1
        else:
            number = _look_into(track, site, grid, sample, arc, edges, number)
            sample += 1
    return number


@_compiled
def _height(track: Track, site: Site, sample: int) -> float:
    """Height of a sample over the station's horizontal plane."""
    position, up = track.position_m, site.up
    dot = position[sample, 0] * up[0] + position[sample, 1] * up[1] + position[sample, 2] * up[2]
    return float(dot + site.centre_m)


@_compiled
def _look_into(track: Track, site: Site, grid: Grid, sample: int, arc: Floats, edges: Floats, number: int) -> int:
    """Add the rises and sets from one sample to the next, and at the ends of the grid; return how many there are."""
    low, high = grid.time_s[sample], grid.time_s[sample + 1]
    before = _clearance(track.position_m[sample], track.velocity_m_s[sample], site)
    after = _clearance(track.position_m[sample + 1], track.velocity_m_s[sample + 1], site)
    above = before[0] > 0.0
    if sample == 0 and above:
        number = _add(edges, number, low, before[2])
    if above != (after[0] > 0.0):
        centre_s = _cut_arc(track, grid, sample, arc)
        secant = low + (high - low) * (before[0] / (before[0] - after[0]))
        number = _add_root(site, grid, arc, centre_s, (low, high, secant), not above, edges, number)
    elif (before[1] > 0.0) != above and (after[1] > 0.0) == above and abs(before[0]) + abs(after[0]) < grid.change_m:
        centre_s = _cut_arc(track, grid, sample, arc)
        turn = _turn(site, grid, arc, centre_s, low, high, above)
        if (_at(site, grid, arc, centre_s, turn)[0] > 0.0) != above:
            bracket = (low, turn, 0.5 * (low + turn))
            number = _add_root(site, grid, arc, centre_s, bracket, not above, edges, number)
            bracket = (turn, high, 0.5 * (turn + high))
            number = _add_root(site, grid, arc, centre_s, bracket, above, edges, number)
    if sample == len(grid.time_s) - 2 and after[0] > 0.0:
        number = _add(edges, number, high, after[2])
    return number


@_compiled
def _add(edges: Floats, number: int, time_s: float, range_m: float) -> int:
    edges[number, 0] = time_s
    edges[number, 1] = range_m
    return number + 1


@_compiled
def _add_root(
    site: Site,
    grid: Grid,
    arc: Floats,
    centre_s: float,
    bracket: tuple[float, float, float],
    rises: bool,
    edges: Floats,
    number: int,
) -> int:
    """Add the root in a bracket (low, high, first guess), as `crossings.roots` finds it."""
    low, high, time_s = bracket
    last_step = high - low
    for _ in range(grid.iterations):
        value, slope, _range = _at(site, grid, arc, centre_s, time_s)
        if (value if rises else -value) <= 0.0:
            low = time_s
        else:
            high = time_s
        newton = time_s - value / slope if slope != 0.0 else math.inf
        good = low <= newton <= high and abs(newton - time_s) <= 0.5 * abs(last_step)
        goal = newton if good else 0.5 * (low + high)
        last_step = goal - time_s
        time_s = goal
        if abs(last_step) < grid.tolerance_s:
            return int(_add(edges, number, time_s, _at(site, grid, arc, centre_s, time_s)[2]))
    raise AssertionError("a root did not converge")


@_compiled
def _turn(site: Site, grid: Grid, arc: Floats, centre_s: float, low: float, high: float, dips: bool) -> float:
    """Where the clearance is least (`dips`) or greatest in a bracket, by bisection on its slope."""
    for _ in range(grid.bisections):
        middle = 0.5 * (low + high)
        slope = _at(site, grid, arc, centre_s, middle)[1]
        if (-slope if dips else slope) > 0.0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@_compiled
def _cut_arc(track: Track, grid: Grid, sample: int, arc: Floats) -> float:
    """Fill `arc` [8, 3] with the polynomial of an interval, as `interpolate.cut_arcs` does; return its centre."""
    nodes = len(grid.to_coefficients)
    first = min(max(sample - (nodes // 2 - 1), 0), len(grid.time_s) - nodes)
    for power in range(nodes):
        for axis in range(3):
            total = 0.0
            for node in range(nodes):
                total += grid.to_coefficients[power, node] * track.position_m[first + node, axis]
            arc[power, axis] = total
    return float(grid.time_s[0] + grid.step_s * (first + 0.5 * (nodes - 1)))


@_compiled
def _at(site: Site, grid: Grid, arc: Floats, centre_s: float, time_s: float) -> tuple[float, float, float]:
    """Clearance, its rate and the range at one time, by Horner's rule."""
    x = (time_s - centre_s) / grid.step_s
    last = len(arc) - 1
    px, py, pz = arc[last, 0], arc[last, 1], arc[last, 2]
    vx, vy, vz = 0.0, 0.0, 0.0
    for power in range(last - 1, -1, -1):
        vx, vy, vz = vx * x + px, vy * x + py, vz * x + pz
        px, py, pz = px * x + arc[power, 0], py * x + arc[power, 1], pz * x + arc[power, 2]
    step_s = grid.step_s
    return _above_mask(px, py, pz, vx / step_s, vy / step_s, vz / step_s, site)


@_compiled
def _clearance(position: Floats, velocity: Floats, site: Site) -> tuple[float, float, float]:
    """Clearance, its rate and the range at a sample."""
    return _above_mask(position[0], position[1], position[2], velocity[0], velocity[1], velocity[2], site)


@_compiled
def _above_mask(
    px: float, py: float, pz: float, vx: float, vy: float, vz: float, site: Site
) -> tuple[float, float, float]:
    """Height over the horizontal plane less sin(mask) x range, its rate, and the range."""
    x, y, z = px - site.place[0], py - site.place[1], pz - site.place[2]
    distance = math.sqrt(x * x + y * y + z * z)
    rate = (x * vx + y * vy + z * vz) / (distance if distance > 0.0 else 1.0)
    height = x * site.up[0] + y * site.up[1] + z * site.up[2]
    climb = vx * site.up[0] + vy * site.up[1] + vz * site.up[2]
    return height - site.sine * distance, climb - site.sine * rate, distance

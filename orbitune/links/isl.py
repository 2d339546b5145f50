"""Links between satellites: who may be paired with whom, and when.

Rings join neighbours of one plane and are limited by the Earth alone. What goes on between planes is a policy:

* `grid`: each satellite and its nearest one in the next plane of its shell, always the same partner.
* `nearest`: terminals are pointed anew every `repoint_s`, at the nearest satellites within the limits.
* `visible`: every pair of satellites of different planes, whenever the limits allow; terminals are not counted.
* `none`: nothing.

Cost: rings and `grid` grow with satellites x days; `nearest` with satellites x choices; `visible` with the number of
pairs in reach, that is with the square of the satellites in a shell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import pairwise

import numpy as np

from orbitune.errors import PlanError
from orbitune.links.crossings import Bools, Floats, Ints
from orbitune.links.limits import Limits
from orbitune.links.partners import Planes, nearest_rows, rows_in_reach
from orbitune.links.stretches import Held, Horizon, Rows, always_kept, spans_kept, stretches
from orbitune.links.visibility import DEFAULT_GRID_S, SAMPLES_PER_CHUNK, checked_grid, no_rows
from orbitune.orbit.constellation import Constellation
from orbitune.orbit.interpolate import NUM_NODES
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_RADIUS_M

POLICIES = ("none", "grid", "nearest", "visible")

_ORBIT_SAMPLES = 48
"""Instants of one orbit over which the distance of neighbouring planes is averaged."""

_COARSE_STEP_S = 180.0
"""Samples of pairs that are likely never to part. At 550 km the bound on what happens between them is below 1 % of what
is to spare; greatest ranges are within 100 m of those of 5 s samples."""

_SAME_EDGE_S = 1e-6
"""Ten times what edges are refined to."""


@dataclass(frozen=True)
class IslSpec:
    """What links between satellites can do.

    Attributes:
        policy: Which links there are between planes, one of `POLICIES`.
        grazing_altitude_m: Rays stay outside a sphere of `EARTH_RADIUS_M` + this; refraction is left out.
        max_range_m: Between planes. Rings are limited by the Earth only, here and below.
        max_range_rate_m_s: Greatest |range rate|, the Doppler limit.
        max_slew_rad_s: Fastest turning of the line of sight that a terminal can follow, at either end, seen from a
            body that points at nadir and so turns with its orbital frame (LVLH).
        polar_cutoff_rad: Links between planes are off while either end is beyond this geocentric latitude.
        cross_seam: Whether `nearest` and `visible` join planes that fly against each other, their orbit normals (mean
            elements at the start) more than 90 degrees apart. `grid` has no link beyond the seam of a star.
        terminals: Inter-plane terminals of a satellite, for `nearest`.
        repoint_s: How often `nearest` chooses partners anew.
        acquisition_s: A link carries data only so long after it is pointed, and again after a break. Links that are
            open at the start of the horizon are taken as up.

    Raises:
        PlanError: a value is out of range.
    """

    policy: str = "grid"
    grazing_altitude_m: float = 80e3
    max_range_m: float = math.inf
    max_range_rate_m_s: float = math.inf
    max_slew_rad_s: float = math.inf
    polar_cutoff_rad: float = 0.5 * math.pi
    cross_seam: bool = False
    terminals: int = 2
    repoint_s: float = 60.0
    acquisition_s: float = 0.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise self._refused("policy", f"one of {', '.join(POLICIES)}")
        for name in ("max_range_m", "max_range_rate_m_s", "max_slew_rad_s"):
            if not getattr(self, name) > 0.0:
                raise self._refused(name, "more than 0; leave it out for no limit")
        for name in ("grazing_altitude_m", "acquisition_s"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise self._refused(name, "0 or more and finite")
        if not 0.0 < self.polar_cutoff_rad <= 0.5 * math.pi:
            raise self._refused("polar_cutoff_rad", "more than 0 and at most pi/2 (never off); is it given in radians?")
        if self.terminals < 1:
            raise self._refused("terminals", "a whole number from 1; for no links between planes set policy to none")
        if not 0.0 < self.repoint_s < math.inf:
            raise self._refused("repoint_s", "more than 0 s and finite; a day or more points once")

    def _refused(self, name: str, allowed: str) -> PlanError:
        return PlanError(f"inter-satellite links: {name} = {getattr(self, name)!r} must be {allowed}.")

    @property
    def ring_limits(self) -> Limits:
        return Limits(EARTH_RADIUS_M + self.grazing_altitude_m)

    @property
    def plane_limits(self) -> Limits:
        return Limits(
            EARTH_RADIUS_M + self.grazing_altitude_m,
            self.max_range_m,
            self.max_range_rate_m_s,
            self.max_slew_rad_s,
            self.polar_cutoff_rad,
        )


@dataclass(frozen=True)
class IslWindows:
    """Windows of links, equal-length columns sorted by (one, two, start_s); satellite `one` < `two`.

    Links work both ways, so each pair comes once. `max_range_m` is the greatest distance while the link is held,
    acquisition included.
    """

    one: Ints
    two: Ints
    start_s: Floats
    end_s: Floats
    max_range_m: Floats

    def __len__(self) -> int:
        return len(self.one)

    def at(self, chosen: Ints | Bools) -> IslWindows:
        """Some of the windows."""
        return IslWindows(*(getattr(self, column.name)[chosen] for column in fields(self)))


def ring_windows(
    constellation: Constellation,
    spec: IslSpec,
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float = DEFAULT_GRID_S,
) -> IslWindows:
    """Windows of neighbours in every ring, from the start to the horizon.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
    """
    pairs = ring_pairs(constellation)
    return _pointed(windows_of_pairs(constellation, pairs, spec.ring_limits, start_utc, horizon_s, grid_s), spec)


def plane_windows(
    constellation: Constellation,
    spec: IslSpec,
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float = DEFAULT_GRID_S,
) -> IslWindows:
    """Windows between planes under the policy, from the start to the horizon.

    `nearest` propagates up to one step of the grid beyond the horizon.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
    """
    grid = _even_grid(constellation, start_utc, horizon_s, grid_s)
    if spec.policy == "grid":
        pairs = plane_pairs(constellation, start_utc)
        return _pointed(windows_of_pairs(constellation, pairs, spec.plane_limits, start_utc, horizon_s, grid_s), spec)
    found: Iterable[IslWindows] = ()
    if spec.policy == "nearest":
        found = _nearest(grid, spec, horizon_s)
    elif spec.policy == "visible":
        found = _visible(grid, spec)
    return _pointed(_finished(found, horizon_s), spec)


def windows_of_pairs(
    constellation: Constellation,
    pairs: Ints,
    limits: Limits,
    start_utc: str | datetime,
    horizon_s: float,
    grid_s: float = DEFAULT_GRID_S,
) -> IslWindows:
    """When pairs of satellites [N, 2] keep the limits, from the start to the horizon; no time is taken off to point.

    Each pair is given once, either way round.

    Raises:
        PlanError: horizon or grid is out of range.
        InputError: SGP4 refuses a satellite.
    """
    grid = _even_grid(constellation, start_utc, horizon_s, grid_s)
    return _finished(_of_pairs(grid, pairs, limits), horizon_s)


def ring_pairs(constellation: Constellation) -> Ints:
    """Neighbours in every ring, [N, 2]; a ring of two has one pair."""
    pairs = [
        pair
        for members, ring in zip(constellation.planes, constellation.has_rings, strict=True)
        if ring
        for pair in [*pairwise(members), *([(members[-1], members[0])] if len(members) > 2 else [])]
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def plane_pairs(constellation: Constellation, start_utc: str | datetime) -> Ints:
    """Each satellite with its nearest in the next plane, [N, 2]: the inter-plane half of the grid.

    Nearest means the smallest angle averaged over one orbit. In a Walker pattern that is the same step along the plane
    for every satellite, so each satellite has at most one link forward and one back.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for plane, following in enumerate(constellation.next_plane):
        if following is not None:
            ahead = constellation.planes[following]
            shift = _nearest_shift(constellation, constellation.planes[plane], ahead, start_utc)
            found.append(np.stack([constellation.planes[plane], np.roll(ahead, -shift)], axis=1))
    return np.concatenate(found)


def _nearest_shift(
    constellation: Constellation, plane: Sequence[int], ahead: Sequence[int], start_utc: str | datetime
) -> int:
    """The step k for which satellite i of `plane` and satellite i + k of `ahead` are nearest, over one orbit."""
    period_s = 2.0 * math.pi / constellation.elements[plane[0]].no_kozai * 60.0
    time_s = np.arange(_ORBIT_SAMPLES) * (period_s / _ORBIT_SAMPLES)
    position = propagate(constellation, start_utc, time_s, [*plane, *ahead]).position_m.reshape(-1, 3 * _ORBIT_SAMPLES)
    product = position[: len(plane)] @ position[len(plane) :].T
    closeness = [np.trace(np.roll(product, -k, axis=1)) for k in range(len(ahead))]
    # Two steps can be equally near; rounding must not choose between them.
    return int(np.argmax(np.round(np.array(closeness) / max(closeness), 6)))


def _even_grid(constellation: Constellation, start_utc: str | datetime, horizon_s: float, grid_s: float) -> Horizon:
    num_steps = len(checked_grid(horizon_s, grid_s)) - 1
    return Horizon(constellation, range(len(constellation)), start_utc, horizon_s / num_steps, num_steps)


def _of_pairs(grid: Horizon, pairs: Ints, limits: Limits) -> Iterator[IslWindows]:
    """Windows of pairs that stay the same for the whole horizon."""
    one, two = np.sort(pairs, axis=1).T
    if len(one) and not limits.need_acceleration and limits.polar_cutoff_rad == 0.5 * math.pi:
        num_steps = max(NUM_NODES - 1, math.ceil(grid.horizon_s / _COARSE_STEP_S))
        coarse = replace(grid, step_s=grid.horizon_s / num_steps, num_steps=num_steps)
        always, range_m = always_kept(coarse, one, two, limits)
        start_s, end_s = np.zeros(len(one)), np.full(len(one), grid.horizon_s)
        yield IslWindows(one, two, start_s, end_s, range_m).at(always)
        one, two = one[~always], two[~always]
    satellites, member = np.unique(np.stack([one, two]), return_inverse=True)
    member = member.reshape(2, -1)
    for stretch in stretches(replace(grid, satellites=satellites.tolist()), limits) if len(one) else ():
        rows = Rows(member[0], member[1], np.zeros(len(one), dtype=np.int64), stretch.steps)
        held = spans_kept(stretch, rows, limits)
        yield IslWindows(one[held.row], two[held.row], held.start_s, held.end_s, held.max_range_m)


def _visible(grid: Horizon, spec: IslSpec) -> Iterator[IslWindows]:
    """Windows of all pairs of different planes, interval by interval of the grid."""
    limits = spec.plane_limits
    between = Planes.of(grid.constellation, grid.start_utc, spec.cross_seam)
    for stretch in stretches(grid, limits):
        for rows in rows_in_reach(stretch, limits, between):
            held = spans_kept(stretch, rows, limits)
            yield _windows(rows, held)


def _nearest(grid: Horizon, spec: IslSpec, horizon_s: float) -> Iterator[IslWindows]:
    """Windows between one choice of partners and the next.

    Where satellites are so many that a part of the horizon is shorter than the time between two choices, that time
    goes in several pieces, and links that reach the end of one are carried on to the next.
    """
    limits, planes = spec.plane_limits, Planes.of(grid.constellation, grid.start_utc, spec.cross_seam)
    grid, steps, pieces = _repointing_grid(grid, spec, horizon_s, limits)
    rows = Rows(no_rows(), no_rows(), no_rows(), steps)
    for stretch in stretches(grid, limits, steps):
        length = min(steps, stretch.steps)
        if stretch.start // steps % pieces == 0:
            rows = nearest_rows(stretch, limits, planes, spec.terminals, length)
        rows = replace(rows, steps=length)
        held = spans_kept(stretch, rows, limits)
        # A link that breaks waits for the next choice, so only spans that begin with their row count.
        held = held.at(held.start_s == stretch.time_of(rows.sample[held.row]))
        yield _windows(rows, held)
        rows = rows.at(held.row[held.end_s == stretch.time_of(rows.sample[held.row] + length)])


def _repointing_grid(grid: Horizon, spec: IslSpec, horizon_s: float, limits: Limits) -> tuple[Horizon, int, int]:
    """A grid on which every choice falls on a sample; steps in a piece, and pieces from one choice to the next."""
    each_s = min(spec.repoint_s, horizon_s)
    steps = math.ceil(each_s * max(1.0 / grid.step_s, (NUM_NODES - 1) / horizon_s))
    longest = max(1, SAMPLES_PER_CHUNK // (len(grid.satellites) * limits.fine(each_s / steps)))
    pieces = math.ceil(steps / longest)
    steps = math.ceil(steps / pieces)
    step_s = each_s / (steps * pieces)
    num_steps = math.ceil((horizon_s - _SAME_EDGE_S) / step_s)
    return replace(grid, step_s=step_s, num_steps=max(num_steps, NUM_NODES - 1)), steps, pieces


def _windows(rows: Rows, held: Held) -> IslWindows:
    one, two = rows.one[held.row], rows.two[held.row]
    return _joined([IslWindows(one, two, held.start_s, held.end_s, held.max_range_m)])


def _finished(parts: Iterable[IslWindows], horizon_s: float) -> IslWindows:
    """The parts as one, cut at the horizon."""
    windows = IslWindows(no_rows(), no_rows(), *(np.empty(0) for _ in range(3)))
    pending: list[IslWindows] = []
    for part in parts:
        pending.append(part)
        # Most parts only carry on windows of the ones before, so joining them now and then bounds the memory.
        if sum(map(len, pending)) > max(SAMPLES_PER_CHUNK, len(windows)):
            windows, pending = _joined([windows, *pending]), []
    windows = _joined([windows, *pending])
    end_s = np.where(windows.end_s > horizon_s - _SAME_EDGE_S, horizon_s, windows.end_s)
    return replace(windows, end_s=end_s).at(end_s > windows.start_s)


def _pointed(windows: IslWindows, spec: IslSpec) -> IslWindows:
    """The windows without the time it takes to point."""
    start_s = windows.start_s + np.where(windows.start_s > 0.0, spec.acquisition_s, 0.0)
    return replace(windows, start_s=start_s).at(windows.end_s > start_s)


def _joined(parts: Sequence[IslWindows]) -> IslWindows:
    """Windows sorted; those of one pair that touch exactly become one."""
    windows = IslWindows(*(np.concatenate([getattr(part, x.name) for part in parts]) for x in fields(IslWindows)))
    if len(windows) == 0:
        return windows
    windows = windows.at(np.lexsort((windows.start_s, windows.two, windows.one)))
    touches = windows.start_s[1:] == windows.end_s[:-1]
    touches &= (np.diff(windows.one) == 0) & (np.diff(windows.two) == 0)
    first = np.flatnonzero(np.concatenate([[True], ~touches]))
    last = np.append(first[1:], len(windows)) - 1
    range_m = np.maximum.reduceat(windows.max_range_m, first)
    return replace(windows.at(first), end_s=windows.end_s[last], max_range_m=range_m)

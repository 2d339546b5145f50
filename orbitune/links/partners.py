"""Who may be linked with whom at a moment: pairs in reach, and the choice of the nearest.

Pairs come from a k-d tree (Bentley, Communications of the ACM 18 (1975) 509; scipy's), so that not all pairs of a large
constellation are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
from scipy.spatial import cKDTree

from orbitune.links.crossings import Bools, Floats, Ints
from orbitune.links.limits import Limits
from orbitune.links.sky import ACCELERATION_LIMIT_M_S2, fastest_m_s
from orbitune.links.stretches import Rows, Stretch
from orbitune.links.visibility import SAMPLES_PER_CHUNK
from orbitune.orbit.constellation import Constellation, element_age_days
from orbitune.orbit.geometry import dot, length
from orbitune.orbit.interpolate import cut_arcs

_SQUARE_ANGLE = 1e-9
"""Planes at 90 degrees to each other, which stars have, do not fly against each other by rounding."""


@dataclass(frozen=True)
class Planes:
    """Number of the plane [S] and mean orbit normal [S, 3] of each satellite, and whether links may cross a seam."""

    number: Ints
    normal: Floats
    cross_seam: bool

    @classmethod
    def of(cls, constellation: Constellation, start_utc: str | datetime, cross_seam: bool) -> Self:
        """Planes at the start, by the secular motion of SGP4's node (Spacetrack Report No. 3, section 6)."""
        number = np.empty(len(constellation), dtype=np.int64)
        for plane, members in enumerate(constellation.planes):
            number[list(members)] = plane
        elements = [(record.inclo, record.nodeo, record.nodedot) for record in constellation.elements]
        tilt, node, drift_rad_min = np.array(elements, dtype=np.float64).reshape(-1, 3).T
        node = node + drift_rad_min * 1440.0 * element_age_days(constellation, start_utc)
        normal = np.stack([np.sin(node) * np.sin(tilt), -np.cos(node) * np.sin(tilt), np.cos(tilt)], axis=1)
        return cls(number, normal, cross_seam)

    def may_link(self, one: Ints, two: Ints) -> Bools:
        differ: Bools = self.number[one] != self.number[two]
        if self.cross_seam:
            return differ
        return differ & (dot(self.normal[one], self.normal[two]) >= -_SQUARE_ANGLE)


def longest_ray_m(stretch: Stretch, limits: Limits) -> float:
    """The greatest distance at which two satellites of a stretch can keep their limits.

    A ray that touches the sphere of radius l leaves at most sqrt(r^2 - l^2) to either side of it. Between samples the
    radius exceeds the greater of its neighbours by at most a h^2 / 8.
    """
    highest = float(length(stretch.motion.position_m).max()) + ACCELERATION_LIMIT_M_S2 * stretch.step_s**2 / 8.0
    chord_m = 2.0 * math.sqrt(max(0.0, highest**2 - limits.lowest_m**2))
    return min(limits.max_range_m, chord_m)


def rows_in_reach(stretch: Stretch, limits: Limits, planes: Planes) -> Iterator[Rows]:
    """All pairs that can keep their limits at some time of an interval, one row for each pair and interval.

    None is missed: from any moment of an interval to its middle passes at most half a step, in which each of the two
    satellites moves by at most fastest x step / 2. So a pair that is in reach at that moment is at most
    reach + fastest x step apart in the middle, where all pairs within that distance are taken.
    """
    reach_m = longest_ray_m(stretch, limits)
    if reach_m <= 0.0:
        return
    size = len(stretch.ephemeris.position_m)
    satellites = np.arange(size)
    together = max(1, SAMPLES_PER_CHUNK // max(1, size**2 // 8))
    for first in range(0, stretch.steps, together):
        sample = np.arange(first, min(first + together, stretch.steps))
        satellite, interval = (x.ravel() for x in np.meshgrid(satellites, sample, indexing="ij"))
        middle_s = stretch.time_of(interval) + 0.5 * stretch.step_s
        position = cut_arcs(stretch.ephemeris, satellite, stretch.first + interval).at(middle_s)[0]
        one, two = _pairs_within(position, interval, reach_m + fastest_m_s(stretch.ephemeris) * stretch.step_s)
        may = planes.may_link(satellite[one], satellite[two])
        one, two = one[may], two[may]
        yield Rows(satellite[one], satellite[two], interval[one], 1)


def nearest_rows(stretch: Stretch, limits: Limits, planes: Planes, terminals: int, steps: int) -> Rows:
    """The pairs chosen at every `steps`-th sample of a stretch, each a row of so many steps.

    Greedy by range: of all pairs that keep the limits at that moment and whose ends both have a terminal left, the
    nearest is linked first. Ranges count in whole metres, those that are equal by the satellites' numbers.
    """
    size = len(stretch.ephemeris.position_m)
    together = max(1, SAMPLES_PER_CHUNK // (size * min(size, 32)))
    choices = np.arange(0, stretch.steps, steps)
    found = [np.empty((3, 0), dtype=np.int64)]
    for first in range(0, len(choices), together):
        some = choices[first : first + together]
        one, two = _choice(stretch, limits, planes, terminals, some)
        found.append(np.stack([one // len(some), two // len(some), some[one % len(some)]]))
    one, two, sample = np.concatenate(found, axis=1)
    return Rows(one, two, sample, steps)


def _choice(stretch: Stretch, limits: Limits, planes: Planes, terminals: int, sample: Ints) -> tuple[Ints, Ints]:
    """The pairs chosen at some samples [K], as numbers satellite x K + place of the sample in the list.

    Pairs are looked for within a small distance first, then among satellites with a terminal left in twice that, and
    so on. As the greedy choice goes by range, it comes out the same wherever the distances lie.
    """
    size, num = len(stretch.ephemeris.position_m), len(sample)
    node = np.arange(size * num)
    motion = stretch.motion.at((node // num, sample[node % num] * stretch.fine))
    free = np.full(size * num, terminals)
    chosen = [np.empty((2, 0), dtype=np.int64)]
    reach_m, done_m = longest_ray_m(stretch, limits), 0.0
    while done_m < reach_m:
        # Eight neighbours each, if satellites lay evenly over a sphere, or at least twice as far as before.
        near_m = max(2.0 * done_m, float(length(motion.position_m).max()) * math.sqrt(32.0 / size))
        near_m = min(float(math.ceil(near_m)), reach_m)
        able = np.flatnonzero(free)
        one, two = (able[k] for k in _pairs_within(motion.position_m[able], able % num, near_m))
        range_m = length(motion.position_m[two] - motion.position_m[one])
        new = np.flatnonzero((range_m > done_m) & planes.may_link(one // num, two // num))
        kept = new[limits.kept(motion.at((one[new],)), motion.at((two[new],)))]
        taken = kept[greedy(one[kept], two[kept], np.floor(range_m[kept]), free)]
        chosen.append(np.stack([one[taken], two[taken]]))
        free -= np.bincount(chosen[-1].ravel(), minlength=len(free))
        done_m = near_m
    one, two = np.concatenate(chosen, axis=1)
    return one, two


def _pairs_within(position: Floats, group: Ints, reach_m: float) -> tuple[Ints, Ints]:
    """All pairs of points [N, 3] of the same group at most `reach_m` apart, the lower number first."""
    # One tree for all groups: a fourth coordinate keeps them out of each other's reach.
    apart = (group * (2.0 * reach_m))[:, None]
    tree = cKDTree(np.concatenate([position, apart], axis=1), compact_nodes=False, balanced_tree=False)
    one, two = tree.query_pairs(reach_m, output_type="ndarray").astype(np.int64).T
    return one, two


def greedy(one: Ints, two: Ints, cost: Floats, free: Ints) -> Ints:
    """Which pairs [M] get a link when they are served by (cost, one, two), each end as long as it has some left.

    Pairs that are among the first `free` of what remains at both ends will be served whatever comes before
    them, so all these are taken at once (Preis, STACS 1999, LNCS 1563, p. 259: locally heaviest edges).

    Args:
        free: How many links each node can have; a node is a number of `one` or `two`.

    Returns:
        Places in the lists of those that are served.
    """
    left = np.lexsort((two, one, cost))
    free = free.copy()
    served = [np.empty(0, dtype=np.int64)]
    while len(left):
        first = np.all(_rank(np.stack([one[left], two[left]])) < free[[one[left], two[left]]], axis=0)
        served.append(left[first])
        free -= np.bincount(np.concatenate([one[left[first]], two[left[first]]]), minlength=len(free))
        left = left[~first]
        left = left[(free[one[left]] > 0) & (free[two[left]] > 0)]
    return np.concatenate(served)


def _rank(ends: Ints) -> Ints:
    """For the two nodes of each pair [2, M], how many pairs before it have that node."""
    flat = ends.T.ravel()
    order = np.argsort(flat, kind="stable")
    begins = np.flatnonzero(np.diff(flat[order], prepend=-1))
    rank = np.empty(len(flat), dtype=np.int64)
    rank[order] = np.arange(len(flat)) - np.repeat(begins, np.diff(begins, append=len(flat)))
    return rank.reshape(-1, 2).T

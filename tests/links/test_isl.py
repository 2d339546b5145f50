"""Policies of links between satellites: who is linked, for how long, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from rays import ray_radius

from orbitune.errors import PlanError
from orbitune.links import isl, partners, stretches
from orbitune.links.isl import IslSpec, IslWindows, plane_pairs, plane_windows, ring_pairs, ring_windows
from orbitune.links.limits import Limits
from orbitune.links.partners import greedy
from orbitune.orbit.constellation import Constellation, WalkerShell, build_walker
from orbitune.orbit.geometry import length
from orbitune.orbit.propagate import propagate
from orbitune.units import EARTH_RADIUS_M

START = "2025-06-01T00:00:00Z"
TWO_HOURS_S = 7200.0
COLUMNS = ("one", "two", "start_s", "end_s", "max_range_m")


def shell(kind: str, size: int, planes: int, altitude_m: float = 550e3, inclination: float = 1.0) -> Constellation:
    return build_walker([WalkerShell(kind, size, planes, min(1, planes - 1), altitude_m, inclination)], START)


def two_shells() -> Constellation:
    shells = [
        WalkerShell("walker-delta", 24, 4, 1, 550e3, math.radians(53.0)),
        WalkerShell("walker-star", 20, 4, 1, 1200e3, math.radians(86.0)),
    ]
    return build_walker(shells, START)


def same(a: IslWindows, b: IslWindows, tolerance: float = 1e-6) -> bool:
    return all(
        getattr(a, column).shape == getattr(b, column).shape
        and np.allclose(getattr(a, column), getattr(b, column), rtol=0.0, atol=tolerance)
        for column in COLUMNS
    )


def assert_alike(a: IslWindows, b: IslWindows) -> None:
    """The same windows, found in two ways."""
    assert same(replace(a, max_range_m=b.max_range_m), b, 1e-3)
    assert np.allclose(a.max_range_m, b.max_range_m, rtol=0.0, atol=500.0)


def assert_in_order(windows: IslWindows) -> None:
    order = np.lexsort((windows.start_s, windows.two, windows.one))
    assert np.array_equal(order, np.arange(len(windows)))
    assert np.all(windows.one < windows.two)
    assert np.all(windows.end_s > windows.start_s)
    again = (np.diff(windows.one) == 0) & (np.diff(windows.two) == 0)
    assert np.all(windows.start_s[1:][again] > windows.end_s[:-1][again])


def orbit_normals(constellation: Constellation) -> np.ndarray:
    states = [record.sgp4(record.jdsatepoch, record.jdsatepochF) for record in constellation.elements]
    normal = np.cross([position for _, position, _ in states], [velocity for _, _, velocity in states])
    return normal / length(normal)[:, None]


def links_at(windows: IslWindows, moment_s: float) -> set[tuple[int, int]]:
    chosen = (windows.start_s <= moment_s) & (windows.end_s > moment_s)
    return set(zip(windows.one[chosen].tolist(), windows.two[chosen].tolist(), strict=True))


def ray_height_m(position: np.ndarray, one: int, two: int) -> np.ndarray:
    return ray_radius(position[one], position[two]) - EARTH_RADIUS_M


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy", "mesh"),
        ("grazing_altitude_m", -1.0),
        ("grazing_altitude_m", math.inf),
        ("max_range_m", 0.0),
        ("max_range_m", math.nan),
        ("max_range_rate_m_s", -5.0),
        ("max_slew_rad_s", 0.0),
        ("polar_cutoff_rad", 70.0),
        ("polar_cutoff_rad", 0.0),
        ("terminals", 0),
        ("repoint_s", 0.0),
        ("repoint_s", math.inf),
        ("acquisition_s", -1.0),
        ("acquisition_s", math.nan),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(PlanError, match=f"{name} = .*must be"):
        IslSpec(**{name: value})


@pytest.mark.parametrize(("horizon_s", "grid_s"), [(0.0, 60.0), (math.inf, 60.0), (3600.0, 0.0), (3600.0, 600.0)])
@pytest.mark.parametrize("windows", [ring_windows, plane_windows])
def test_impossible_grids_are_refused(windows: Any, horizon_s: float, grid_s: float) -> None:
    with pytest.raises(PlanError, match="it must be more than 0 s"):
        windows(shell("walker-delta", 12, 3), IslSpec(), START, horizon_s, grid_s)


@pytest.mark.parametrize("policy", isl.POLICIES)
def test_one_satellite_and_satellites_under_the_ray_have_no_links(policy: str) -> None:
    for constellation, grazing_m in ((shell("walker-delta", 1, 1), 80e3), (shell("walker-delta", 24, 4), 600e3)):
        spec = IslSpec(policy=policy, grazing_altitude_m=grazing_m)
        assert len(ring_windows(constellation, spec, START, 3600.0)) == 0
        assert len(plane_windows(constellation, spec, START, 3600.0)) == 0
    assert len(plane_windows(two_shells(), IslSpec(policy="none"), START, 3600.0)) == 0


def test_limits_that_are_not_set_are_not_computed() -> None:
    limits = IslSpec().plane_limits
    assert len(list(limits.functions(8e3))) == 1
    assert not limits.need_acceleration
    assert limits.fine(120.0) == 1
    every = IslSpec(max_range_m=1e6, max_range_rate_m_s=1e3, max_slew_rad_s=1e-3, polar_cutoff_rad=1.0).plane_limits
    assert len(list(every.functions(8e3))) == 7  # turning and latitude for either end
    assert every.fine(120.0) == 8


# ------------------------------------------------------------------------------------------ rings and grid


@pytest.mark.parametrize("name", ["star", "delta", "sun-synchronous"])
def test_rings_and_grid_are_the_windows_of_their_pairs(cases: dict[str, Any], name: str) -> None:
    """Also those that a bound settles for the whole horizon, without a search."""

    def proves_nothing(_: object, one: np.ndarray, *__: object) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(one), dtype=np.bool_), np.zeros(len(one))

    constellation = cases[name].constellation
    for reach_m in (math.inf, 4000e3):
        spec = IslSpec(max_range_m=reach_m)
        for windows, pairs, limits in (
            (ring_windows, ring_pairs(constellation), Limits(EARTH_RADIUS_M + 80e3)),
            (plane_windows, plane_pairs(constellation, START), Limits(EARTH_RADIUS_M + 80e3, reach_m)),
        ):
            found = windows(constellation, spec, START, TWO_HOURS_S)
            with pytest.MonkeyPatch.context() as searched:
                searched.setattr(isl, "always_kept", proves_nothing)
                expected = isl.windows_of_pairs(constellation, pairs, limits, START, TWO_HOURS_S)
            assert_in_order(found)
            assert_alike(found, expected)


def test_what_the_bound_proves_holds_and_neighbours_of_large_rings_need_no_search(
    cases: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*_: object) -> None:
        raise AssertionError("searched")

    settled = ring_windows(cases["star"].constellation, IslSpec(), START, 86_400.0)
    monkeypatch.setattr(isl, "spans_kept", search)
    unsearched = ring_windows(cases["star"].constellation, IslSpec(), START, 86_400.0)
    assert same(settled, unsearched)
    with pytest.raises(AssertionError, match="searched"):  # eight of a ring at 500 km see each other at 40 km only
        ring_windows(cases["sun-synchronous"].constellation, IslSpec(), START, 86_400.0)


def test_polar_shut_off_is_per_end_and_only_between_planes(cases: dict[str, Any]) -> None:
    constellation = cases["star"].constellation
    spec = IslSpec(polar_cutoff_rad=math.radians(60.0))
    found, free = (plane_windows(constellation, s, START, TWO_HOURS_S) for s in (spec, IslSpec()))
    assert same(
        ring_windows(constellation, spec, START, TWO_HOURS_S),
        ring_windows(constellation, IslSpec(), START, TWO_HOURS_S),
    )
    assert len(found) > len(free)
    seconds = np.arange(0.0, TWO_HOURS_S, 5.0)
    position = propagate(constellation, START, seconds).position_m
    latitude = np.degrees(np.arcsin(position[..., 2] / length(position)))
    for one, two in sorted(set(zip(free.one.tolist(), free.two.tolist(), strict=True))):
        mine = found.at((found.one == one) & (found.two == two))
        opened = np.searchsorted(mine.start_s, seconds, side="right") > np.searchsorted(mine.end_s, seconds)
        highest = np.maximum(np.abs(latitude[one]), np.abs(latitude[two]))
        clear = np.abs(highest - 60.0) > 1e-4
        assert np.array_equal(opened[clear], (highest < 60.0)[clear])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    constellation = two_shells()
    specs = [
        IslSpec(policy="grid", max_range_m=4000e3),
        IslSpec(policy="grid", polar_cutoff_rad=1.0),
        IslSpec(policy="grid", max_range_rate_m_s=1500.0, max_slew_rad_s=1e-3),
        IslSpec(policy="nearest", repoint_s=600.0, max_range_m=4000e3),
        IslSpec(policy="visible", max_range_m=3000e3),
    ]
    whole = [plane_windows(constellation, spec, START, 3000.0, 60.0) for spec in specs]
    # Seven samples of each satellite: less than the time between two choices.
    for module in (isl, partners, stretches):
        monkeypatch.setattr(module, "SAMPLES_PER_CHUNK", len(constellation) * 7)
    for spec, expected in zip(specs, whole, strict=True):
        assert len(expected) > 10
        assert same(plane_windows(constellation, spec, START, 3000.0, 60.0), expected)


# ------------------------------------------------------------------------------------------ the seam


def test_nothing_joins_planes_that_fly_against_each_other_unless_wanted(cases: dict[str, Any]) -> None:
    constellation = cases["star"].constellation
    normal = orbit_normals(constellation)
    for policy in ("nearest", "visible"):
        spec = IslSpec(policy=policy, max_range_m=3000e3)
        kept = plane_windows(constellation, spec, START, TWO_HOURS_S)
        crossing = plane_windows(constellation, replace(spec, cross_seam=True), START, TWO_HOURS_S)
        assert len(kept) > 100
        assert (normal[kept.one] * normal[kept.two]).sum(axis=1).min() > -0.01
        assert (normal[crossing.one] * normal[crossing.two]).sum(axis=1).min() < -0.5
    # Of pairs that may be linked anyway, the seam takes or gives nothing.
    alike = (normal[crossing.one] * normal[crossing.two]).sum(axis=1) > -0.01
    assert same(crossing.at(alike), kept)
    seam = {frozenset(pair) for pair in combinations((0, 5), 2)}
    grid = plane_windows(constellation, IslSpec(policy="grid", cross_seam=True), START, TWO_HOURS_S)
    assert not any(frozenset((one // 11, two // 11)) in seam for one, two in zip(grid.one, grid.two, strict=True))


def test_normals_of_planes_drift_with_their_nodes() -> None:
    """Over 30 days the planes of the lower shell drift 140 degrees; SGP4's own normal swings by 0.1 degree."""
    constellation = two_shells()
    later = "2025-07-01T00:00:00Z"
    states = [record.sgp4(record.jdsatepoch + 30.0, record.jdsatepochF) for record in constellation.elements]
    normal = np.cross([position for _, position, _ in states], [velocity for _, _, velocity in states])
    mean = partners.Planes.of(constellation, later, cross_seam=False).normal
    assert length(mean - normal / length(normal)[:, None]).max() < math.radians(0.1)
    assert length(mean - partners.Planes.of(constellation, START, cross_seam=False).normal).max() > 1.0


# ------------------------------------------------------------------------------------------ visible


@pytest.mark.parametrize("reach_m", [math.inf, 2500e3])
def test_the_tree_misses_no_pair(reach_m: float) -> None:
    """Against the windows of all pairs, of two shells at different altitudes."""
    constellation = two_shells()
    spec = IslSpec(policy="visible", cross_seam=True, max_range_m=reach_m)
    found = plane_windows(constellation, spec, START, TWO_HOURS_S)
    assert_in_order(found)
    plane = np.empty(len(constellation), dtype=int)
    for number, members in enumerate(constellation.planes):
        plane[list(members)] = number
    pairs = np.array([pair for pair in combinations(range(len(constellation)), 2) if plane[pair[0]] != plane[pair[1]]])
    expected = isl.windows_of_pairs(constellation, pairs, spec.plane_limits, START, TWO_HOURS_S)
    assert len(expected) > 300
    assert_alike(found, expected)


def test_numbering_the_satellites_the_other_way_round_changes_nothing() -> None:
    constellation = two_shells()
    last = len(constellation) - 1
    turned = replace(
        constellation,
        names=constellation.names[::-1],
        elements=constellation.elements[::-1],
        planes=tuple(tuple(last - satellite for satellite in members) for members in constellation.planes),
    )
    for policy in ("grid", "visible"):
        spec = IslSpec(policy=policy, polar_cutoff_rad=1.0, max_range_rate_m_s=4000.0, max_slew_rad_s=2e-3)
        a, b = (plane_windows(c, spec, START, 3600.0) for c in (constellation, turned))
        back = IslWindows(last - b.two, last - b.one, b.start_s, b.end_s, b.max_range_m)
        assert len(a) > 10
        assert same(a, back.at(np.lexsort((back.start_s, back.two, back.one))))


def test_no_ray_passes_below_its_sphere_inside_a_window() -> None:
    constellation = two_shells()
    for spec in (IslSpec(policy="visible"), IslSpec(policy="nearest", grazing_altitude_m=300e3)):
        found = plane_windows(constellation, spec, START, 3600.0)
        for row in range(0, len(found), 7):
            time_s = np.linspace(found.start_s[row], found.end_s[row], 60)
            pair = [int(found.one[row]), int(found.two[row])]
            position = propagate(constellation, START, time_s, pair).position_m
            assert ray_height_m(position, 0, 1).min() > spec.grazing_altitude_m - 0.05
            assert length(position[1] - position[0]).max() < found.max_range_m[row] + 1.0


# ------------------------------------------------------------------------------------------ nearest


def brute_choice(constellation: Constellation, spec: IslSpec, moment_s: float) -> set[tuple[int, int]]:
    """All pairs by range in whole metres, one after the other."""
    position = propagate(constellation, START, np.array([moment_s])).position_m
    plane = {member: number for number, members in enumerate(constellation.planes) for member in members}
    normal = orbit_normals(constellation)
    free = dict.fromkeys(range(len(constellation)), spec.terminals)
    apart = {(a, b): length(position[a, 0] - position[b, 0]) for a, b in combinations(free, 2) if plane[a] != plane[b]}
    links = set()
    for _, one, two in sorted((math.floor(distance), *pair) for pair, distance in apart.items()):
        fits = spec.cross_seam or normal[one] @ normal[two] > -0.01
        sees = ray_height_m(position, one, two)[0] > spec.grazing_altitude_m
        if fits and sees and apart[one, two] < spec.max_range_m and free[one] and free[two]:
            links.add((one, two))
            free[one] -= 1
            free[two] -= 1
    return links


@pytest.mark.parametrize("terminals", [1, 2, 3])
@pytest.mark.parametrize(("cross_seam", "reach_m"), [(False, math.inf), (True, 3000e3)])
def test_terminals_point_at_the_nearest(terminals: int, cross_seam: bool, reach_m: float) -> None:
    constellation = two_shells()
    spec = IslSpec("nearest", terminals=terminals, cross_seam=cross_seam, max_range_m=reach_m, repoint_s=300.0)
    found = plane_windows(constellation, spec, START, TWO_HOURS_S)
    assert_in_order(found)
    for moment_s in (0.0, 300.0, 3000.0, 6900.0):
        assert links_at(found, moment_s + 1e-3) == brute_choice(constellation, spec, moment_s)
    used = np.zeros(len(constellation), dtype=int)
    for moment_s in np.arange(1.0, TWO_HOURS_S, 61.0):
        now = links_at(found, moment_s)
        count = np.bincount(np.array(sorted(now)).ravel().astype(int), minlength=len(constellation))
        assert count.max() <= terminals
        used = np.maximum(used, count)
    assert used.max() == terminals


def test_a_link_that_breaks_waits_for_the_next_choice() -> None:
    """Planes meet twice a turn, so an hour is enough for a pair to part and to come back."""
    constellation, horizon_s = two_shells(), 3.0 * 3600.0
    spec = IslSpec("nearest", cross_seam=True, max_range_m=2000e3, repoint_s=3600.0)
    found, seen = (plane_windows(constellation, s, START, horizon_s) for s in (spec, replace(spec, policy="visible")))
    assert len(found) > 20
    assert set(found.start_s.tolist()) == {0.0, 3600.0, 7200.0}
    broken = back = 0
    for row in range(len(found)):
        of_pair = seen.at((seen.one == found.one[row]) & (seen.two == found.two[row]))
        around = (of_pair.start_s < found.start_s[row] + 1e-3) & (of_pair.end_s > found.end_s[row] - 1e-3)
        assert around.sum() == 1
        if found.end_s[row] not in (3600.0, 7200.0, horizon_s):
            assert of_pair.end_s[around][0] == pytest.approx(found.end_s[row], abs=1e-3)
            next_choice_s = 3600.0 * math.ceil(found.end_s[row] / 3600.0)
            back += int(((of_pair.start_s > found.end_s[row]) & (of_pair.start_s < next_choice_s)).any())
            broken += 1
    assert broken > 10
    assert back > 2


@pytest.mark.parametrize("horizon_s", [30.0, 100.0, 1000.0, 1000.5])
@pytest.mark.parametrize("repoint_s", [7.0, 60.0, 100_000.0])
def test_the_horizon_cuts_where_it_is(horizon_s: float, repoint_s: float) -> None:
    spec = IslSpec("nearest", cross_seam=True, repoint_s=repoint_s)
    found = plane_windows(two_shells(), spec, START, horizon_s)
    assert found.start_s.min() == 0.0
    assert found.end_s.max() == horizon_s
    assert links_at(found, horizon_s - 1e-3)


def test_greedy_serves_in_order() -> None:
    random = np.random.default_rng(7)
    for terminals in (1, 2, 3):
        one, two = np.sort([random.integers(0, 12, 60), random.integers(12, 20, 60)], axis=0)
        one, two = np.unique(np.stack([one, two]), axis=1)
        cost = random.integers(0, 15, len(one)).astype(float)
        free = np.full(20, terminals)
        served = set(greedy(one, two, cost, free).tolist())
        assert np.all(free == terminals)
        for place in np.lexsort((two, one, cost)).tolist():
            fits = bool(free[one[place]] and free[two[place]])
            assert fits == (place in served)
            free[[one[place], two[place]]] -= fits


# ------------------------------------------------------------------------------------------ acquisition


@pytest.mark.parametrize("policy", ["grid", "nearest", "visible"])
def test_each_pointing_costs_its_time_except_at_the_start(policy: str) -> None:
    constellation = two_shells()
    spec = IslSpec(policy, polar_cutoff_rad=0.8, repoint_s=120.0)
    at_once, late = (
        plane_windows(constellation, s, START, TWO_HOURS_S) for s in (spec, replace(spec, acquisition_s=50.0))
    )
    start_s = at_once.start_s + np.where(at_once.start_s > 0.0, 50.0, 0.0)
    long_enough = start_s < at_once.end_s
    assert (at_once.start_s == 0.0).any()
    assert (at_once.start_s > 0.0).any()
    assert same(late, replace(at_once, start_s=start_s).at(long_enough), 0.0)


def test_rings_that_part_are_acquired_anew() -> None:
    """Two on a circle at 20,000 km never part; a ring of nine at 550 km touches a ray of 133 km."""
    constellation = shell("walker-delta", 9, 1)
    spec = IslSpec(grazing_altitude_m=133e3)
    found, late = (
        ring_windows(constellation, s, START, TWO_HOURS_S) for s in (spec, replace(spec, acquisition_s=20.0))
    )
    assert (found.start_s > 0.0).any()
    again = np.isin(late.start_s, found.start_s + 20.0)
    assert np.array_equal(~again, late.start_s == 0.0)

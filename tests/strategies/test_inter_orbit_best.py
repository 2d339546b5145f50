"""How good strategy C is: against the exact tree, the lower bound, brute force, and each other."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations
from math import inf
from statistics import median

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategy_worlds import HORIZON_S, Row, both_ways, ring_rows, system
from test_inter_orbit import accept, models, run, worlds

from orbitune.cost.system import System
from orbitune.errors import PlanError
from orbitune.strategies.exact_tree import least_end_s
from orbitune.strategies.hops import Hops
from orbitune.strategies.planes import Task
from orbitune.timeline.activity import Held
from orbitune.timeline.bounds import Need, lower_bound
from orbitune.timeline.simulate import HorizonEnd, Schedule


def end_s(sky: System, held: list[Held], way: str) -> float:
    """When everybody has the total; infinity where the contact plan ends first."""
    try:
        return max(part.since_s for part in run(Schedule(sky), held, way).values())
    except HorizonEnd:
        return inf


def bound_s(sky: System, held: list[Held]) -> float:
    """The independent bound on combining one model per plane that all satellites of the plane hold at second 0."""
    size = dict.fromkeys(range(len(held)), float(held[0].payload.size))
    return lower_bound([Need("combine", "train", 0, "average", size, size, sky.nodes.planes)], sky).time_s


# -- order among the ways ----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(worlds(), st.integers(1, 5000), st.data())
def test_no_way_is_later_than_what_it_tries(sky: System, size: int, data: st.DataObject) -> None:
    """`sharded`, `mixed_tree` and `quickest` try others on the same schedule, so they are never later."""
    held = models(sky, size, [data.draw(st.floats(0, 40)) for _ in sky.nodes.planes])
    ends = {way: end_s(sky, held, way) for way in ("earliest_tree", "exact", "mixed_tree", "via_ground", "sharded")}
    best = end_s(sky, held, "quickest")
    assert ends["sharded"] <= ends["earliest_tree"]
    assert ends["exact"] <= ends["earliest_tree"] + 1e-5
    assert ends["mixed_tree"] <= min(ends["earliest_tree"], ends["via_ground"])
    assert best <= min(ends["sharded"], ends["mixed_tree"])


@settings(max_examples=60)
@given(worlds(), st.integers(1, 5000))
def test_nothing_is_below_its_bounds(sky: System, size: int) -> None:
    held = models(sky, size, [0.0] * len(sky.nodes.planes))
    exact, least = end_s(sky, held, "exact"), least_end_s(Schedule(sky), task(sky, held))
    assert bound_s(sky, held) <= least + 1e-5
    assert least <= exact + 1e-5
    assert bound_s(sky, held) <= end_s(sky, held, "quickest") + 1e-5


def task(sky: System, held: list[Held]) -> Task:
    return Task("exact", sky.nodes.planes, tuple(held), "ring", "direct", 60.0)


def random_sky(seed: int) -> System:
    """3 to 8 planes of 3 to 5, neighbours and some others linked now and then, terminals for two peers."""
    rng = np.random.default_rng(seed)
    planes, rows, count = [], [], 0
    for _ in range(rng.integers(3, 9)):
        ring = range(count, count + int(rng.integers(3, 6)))
        planes.append(ring)
        rows += ring_rows(ring, 64e3, 0.01)
        count += len(ring)
    pairs = {(one, (one + 1) % len(planes)) for one in range(len(planes))}
    pairs |= {(one, two) for one, two in combinations(range(len(planes)), 2) if rng.random() < 0.2}
    for one, two in sorted(pairs):
        for _ in range(2):
            rows += _passes(rng, int(rng.choice(planes[one])), int(rng.choice(planes[two])))
    return system(planes, 0, rows, horizon_s=3000.0, inter=2)


def _passes(rng: np.random.Generator, one: int, two: int) -> list[Row]:
    rows, begin = [], rng.uniform(0, 60)
    while begin < 2500:
        length = rng.uniform(5, 60)
        rows += both_ways(one, two, "isl_inter", begin, begin + length, float(rng.choice([8e3, 24e3])), 0.01)
        begin += length + rng.uniform(5, 120)
    return rows


def test_the_tree_is_within_five_percent_of_exact() -> None:
    """On random instances of up to eight planes, measured against a bound that even `exact` cannot beat."""
    gaps, exact_gaps = [], []
    for seed in range(40):
        sky = random_sky(seed)
        held = models(sky, 8000, [0.0] * len(sky.nodes.planes))
        least = least_end_s(Schedule(sky), task(sky, held))
        gaps.append(end_s(sky, held, "earliest_tree") / least)
        exact_gaps.append(end_s(sky, held, "exact") / least)
    assert min(exact_gaps) >= 1.0 - 1e-6
    assert median(gaps) <= 1.05
    assert median(exact_gaps) <= 1.01


def test_exact_refuses_more_than_eight_planes() -> None:
    rows = [row for one in range(8) for row in both_ways(one, one + 1, "isl_inter", 0.0, HORIZON_S, 8e3, 0.0)]
    sky = system([[s] for s in range(9)], 0, rows)
    with pytest.raises(PlanError, match="up to 8 planes, and there are 9"):
        run(Schedule(sky), models(sky, 10, [0.0] * 9), "exact")


# -- exact against brute force -----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(3, 4))
def test_exact_is_the_best_of_all_trees(seed: int, count: int) -> None:
    """Planes of one, links up for ever: every rooted tree of sums is tried, spreading is a shortest path."""
    rng = np.random.default_rng(seed)
    byte_s = {pair: float(rng.integers(1, 9)) for pair in permutations(range(count), 2) if rng.random() < 0.8}
    rows = [(*pair, "isl_inter", 0.0, HORIZON_S, 8.0 / second, 0.0) for pair, second in byte_s.items()]
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_weighted_edges_from((*pair, second) for pair, second in byte_s.items())
    assume(nx.is_strongly_connected(graph))
    sky = system([[s] for s in range(count)], 0, rows, inter=9)
    held = models(sky, 1, [0.0] * count)
    spread = dict(nx.all_pairs_dijkstra_path_length(graph))
    best = min(collected + max(spread[root].values()) for root in range(count) for collected in _all_trees(graph, root))
    assert end_s(sky, held, "exact") == pytest.approx(best, abs=1e-5)


def _all_trees(graph: nx.DiGraph, root: int) -> list[float]:
    """When the sum is complete at the root, for every way of giving every other node a parent."""
    ends: list[list[tuple[int, ...]]] = [[]]
    others = [node for node in graph if node != root]
    for node in others:
        ends = [[*chosen, (node, parent)] for chosen in ends for parent in graph.successors(node)]
    found = []
    for chosen in ends:
        tree = nx.DiGraph(chosen)
        if root in tree and all(nx.has_path(tree, node, root) for node in others):
            found.append(max(nx.path_weight(graph, nx.shortest_path(tree, node, root), "weight") for node in others))
    return found


# -- hops against networkx ---------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 2000), st.floats(0, 100))
def test_hops_on_a_snapshot_are_shortest_paths(seed: int, size: int, start: float) -> None:
    rng = np.random.default_rng(seed)
    graph, rows = nx.DiGraph(), []
    graph.add_nodes_from(range(6))
    for pair in permutations(range(6), 2):
        if rng.random() < 0.5:
            rate, delay = float(rng.uniform(1e3, 1e5)), float(rng.uniform(0, 0.1))
            rows.append((*pair, "isl_inter", 0.0, HORIZON_S, rate, delay))
            graph.add_edge(*pair, weight=8.0 * size / rate + delay)
    assume(rows)
    sky = system([range(6)], 0, rows)
    hops = Hops(Schedule(sky), range(6), start)
    there, _ = hops.earliest(size, {0: start})
    expected = nx.single_source_dijkstra_path_length(graph, 0)
    assert there.keys() == expected.keys()
    assert all(there[node] - start == pytest.approx(expected[node], abs=1e-6) for node in there)
    leave, _ = hops.latest(size, 0, start + 5000.0)
    back = nx.single_source_dijkstra_path_length(graph.reverse(), 0)
    assert leave.keys() == back.keys()
    assert all(start + 5000.0 - leave[node] == pytest.approx(back[node], abs=1e-6) for node in leave)


@given(worlds(), st.integers(1, 5000), st.floats(0, 200))
def test_a_link_arrives_when_the_schedule_says(sky: System, size: int, start: float) -> None:
    """Both are the same arithmetic on a fresh schedule; who leaves at the latest departure is in time."""
    schedule = Schedule(sky)
    hops = Hops(schedule, range(len(sky.nodes)), 0.0)
    for (one, two), link in hops.links.items():
        arrive = schedule.probe(one, two, size, start)
        assert link.arrival_s(size, start) == pytest.approx(arrive, abs=1e-9) or arrive == inf
        if arrive < inf:
            leave = link.departure_s(size, arrive + 1e-6)
            assert leave >= start - 1e-2  # bytes are whole: a seam may round one up
            assert schedule.probe(one, two, size, max(0.0, leave)) <= arrive + 8.0 * 3 / 8e3 + 1e-5


# -- shards ----------------------------------------------------------------------------------------------------------


def ladder(planes: int, size: int, rate_bps: float) -> System:
    """Planes in a row, every satellite linked to the one beside it; rings ten times as fast."""
    rings = [range(size * plane, size * (plane + 1)) for plane in range(planes)]
    rows = [row for ring in rings for row in ring_rows(ring, 10 * rate_bps, 0.0)]
    for one, two in pairwise(rings):
        for pair in zip(one, two, strict=True):
            rows += both_ways(*pair, "isl_inter", 0.0, HORIZON_S, rate_bps, 0.0)
    return system(rings, 0, rows, inter=2)


def test_shards_use_all_links_of_a_seam() -> None:
    """Six planes of eight: eight links to each neighbour carry what one carries in the tree."""
    sky = ladder(6, 8, 8e3)
    held = models(sky, 80_000, [0.0] * 6)
    schedule = Schedule(sky)
    got = run(schedule, held, "sharded")
    accept(schedule, held, got)
    end = max(part.since_s for part in got.values())
    assert bound_s(sky, held) <= end
    assert end <= 80.0 / 8 * 2.1  # 10 s is one seam with all its links; the rest is filling the pipeline and the rings
    assert end_s(sky, held, "earliest_tree") > 300.0


def test_two_planes_swap_instead_of_going_there_and_back() -> None:
    """One link: both partial sums cross at once, so there is no way back."""
    rows = both_ways(0, 1, "isl_inter", 0.0, HORIZON_S, 8e3, 0.0)
    sky = system([[0], [1]], 0, rows)
    held = models(sky, 1000, [0.0, 0.0])
    assert end_s(sky, held, "earliest_tree") == pytest.approx(2.0)
    assert end_s(sky, held, "sharded") == pytest.approx(1.0)


# -- over the ground -------------------------------------------------------------------------------------------------


def test_a_plane_without_links_goes_over_the_ground() -> None:
    """Two planes are joined by a fast link, the third sees only the station: the mixed tree joins all of them."""
    rows = [row for ring in ([0, 1], [2, 3], [4, 5]) for row in ring_rows(ring, 8e4, 0.0)]
    rows += both_ways(0, 2, "isl_inter", 0.0, HORIZON_S, 8e4, 0.0)
    for satellite, start in ((1, 0.0), (4, 0.0), (2, 500.0), (3, 500.0)):
        rows += [
            (satellite, 6, "downlink", start, HORIZON_S, 8e3, 0.0),
            (6, satellite, "uplink", start, HORIZON_S, 8e3, 0.0),
        ]
    sky = system([[0, 1], [2, 3], [4, 5]], 1, rows, antennas=(2,))
    held = models(sky, 1000, [0.0] * 3)
    with pytest.raises(PlanError, match='use "via_ground"'):
        run(Schedule(sky), held, "earliest_tree")
    schedule = Schedule(sky)
    got = run(schedule, held, "mixed_tree")
    accept(schedule, held, got)
    assert max(part.since_s for part in got.values()) < 3.0
    assert end_s(sky, held, "via_ground") > 500.0
    assert sky.nodes.server in got

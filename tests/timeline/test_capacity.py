"""Capacities against SciPy's linear programs, earliest arrivals against every simple path of networkx."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from small_systems import contact, system_of, systems

from orbitune.cost.system import System
from orbitune.timeline.capacity import ROUNDING, Capacity, Cuts, Reach


def test_capacity_is_piecewise_linear() -> None:
    capacity = Capacity([(10.0, 0.0), (20.0, 100.0), (30.0, 100.0), (40.0, 400.0)])
    assert [capacity.by(t) for t in (0.0, 10.0, 15.0, 25.0, 35.0, 99.0)] == [0.0, 0.0, 50.0, 100.0, 250.0, 400.0]
    assert capacity.sent(0.0, 0.0) == 0.0
    assert capacity.sent(0.0, 50.0) == pytest.approx(15.0)
    assert capacity.sent(15.0, 50.0) == pytest.approx(20.0)
    assert capacity.sent(15.0, 60.0) == pytest.approx(30.0 + 1 / 3)
    assert capacity.sent(22.0, 300.0) == pytest.approx(40.0)
    assert capacity.sent(22.0, 300.1) == inf
    assert capacity.sent(inf, 1.0) == inf
    assert Capacity([]).sent(0.0, 1.0) == inf


@settings(max_examples=60)
@given(system=systems(inter=False), start_s=st.floats(0.0, 500.0), size=st.floats(1.0, 1e5))
def test_sent_is_the_inverse_of_by(system: System, start_s: float, size: float) -> None:
    capacity = Cuts(system).air("downlink", frozenset(system.nodes.satellites)).capacity
    end_s = capacity.sent(start_s, size)
    if end_s == inf:
        assert capacity.by(1e9) - capacity.by(start_s) < size
        return
    assert capacity.by(end_s) - capacity.by(start_s) == pytest.approx(
        size, rel=1e-9, abs=2 * ROUNDING * capacity.by(end_s)
    )
    assert capacity.by(end_s - 1e-3) - capacity.by(start_s) < size
    assert capacity.sent(start_s + 1.0, size) >= end_s  # starting later never ends earlier


UNTIL_S = 250.0


def most_bytes(system: System) -> float:
    """The fluid optimum: shares of time on every downlink between any two changes, by linear programming."""
    links = [c for c in system.contacts if c.kind == "downlink" and c.start_s < UNTIL_S]
    edges = sorted({0.0, UNTIL_S, *(min(t, UNTIL_S) for c in links for t in (c.start_s, c.end_s))})
    shares = [(c, low, high) for low, high in pairwise(edges) for c in links if c.start_s <= low and high <= c.end_s]
    if not shares:
        return 0.0
    rows: dict[tuple[int, float], int] = {}
    limits: list[float] = []
    matrix = np.zeros((2 * len(shares), len(shares)))
    for column, (link, low, high) in enumerate(shares):
        for node in (link.source, link.target):
            if (node, low) not in rows:
                rows[node, low] = len(limits)
                limits.append(system.num_terminals(node, "ground") * (high - low))
            matrix[rows[node, low], column] = 1.0
    gain = [-link.rate_bps / 8 for link, _, _ in shares]
    best = linprog(gain, matrix[: len(limits)], limits, bounds=[(0.0, high - low) for _, low, high in shares])
    return float(-best.fun)


@settings(max_examples=60)
@given(system=systems(inter=False))
def test_no_fluid_schedule_exceeds_the_capacity(system: System) -> None:
    capacity = Cuts(system).air("downlink", frozenset(system.nodes.satellites)).capacity.by(UNTIL_S)
    optimum = most_bytes(system)
    assert optimum <= capacity * (1 + 1e-9) + 1e-6
    if system.nodes.num_stations == 1 or system.nodes.num_satellites == 1:
        assert optimum == pytest.approx(capacity, rel=1e-9)  # a star: nothing is relaxed away


def arrival_along(path: list[int], system: System, start_s: float) -> float:
    for source, target in pairwise(path):
        links = system.contacts.by_link.get((source, target), ())
        start_s = min((max(start_s, c.start_s) + c.delay_s for c in links if c.end_s > start_s), default=inf)
    return start_s


@settings(max_examples=40)
@given(system=systems(), start_s=st.floats(0.0, 1_000.0), data=st.data())
def test_earliest_arrival_is_the_best_of_all_paths(system: System, start_s: float, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(system.nodes.satellites))
    graph = nx.DiGraph(list(system.contacts.by_link))
    arrivals_s = Reach(system).arrivals_s({source: start_s})
    for target in set(system.nodes.satellites) - {source}:
        paths = nx.all_simple_paths(graph, source, target)
        assert arrivals_s[target] == pytest.approx(
            min(arrival_along(path, system, start_s) for path in paths), abs=1e-9
        )
    assert arrivals_s[source] == start_s


def test_news_from_several_nodes_takes_the_first() -> None:
    links = [contact(0, 2, "isl_inter", 0.0, 9.0, 8.0, 5.0), contact(1, 2, "isl_inter", 8.0, 9.0, 8.0, 1.0)]
    reach = Reach(system_of([[0], [1], [2]], 0, links))
    assert reach.arrivals_s({0: 1.0, 1: 1.0}) == [1.0, 1.0, 6.0]
    assert reach.arrivals_s({0: 5.0, 1: 5.0}) == [5.0, 5.0, 9.0]
    assert reach.arrivals_s({0: 9.0, 1: 9.5}) == [9.0, 9.5, inf]

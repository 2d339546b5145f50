from __future__ import annotations

from collections import defaultdict

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategy_worlds import optimum_bytes

from orbitune.strategies.flow import Arc, Network, least_time, max_flow, most_bytes, turns
from orbitune.strategies.open_shop import open_shop

STATION = 100
RATES = st.sampled_from([[80e6], [1e9], [40e6, 80e6, 200e6]])


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Up to 3 cargos over up to 6 satellites (some carry two) and 4 stations, with 1 to 3 terminals and antennas."""
    rates = draw(RATES)
    pairs = draw(st.sets(st.tuples(st.integers(0, 5), st.integers(STATION, STATION + 3)), min_size=1))
    rate = {pair: draw(st.sampled_from(rates)) for pair in sorted(pairs)}
    carries = {satellite: draw(st.sets(st.integers(0, 2), min_size=1, max_size=2)) for satellite in range(6)}
    arcs = tuple(Arc(cargo, *pair, rate[pair]) for pair in sorted(pairs) for cargo in sorted(carries[pair[0]]))
    places = {node: draw(st.integers(1, 3)) for node in (*range(6), *range(STATION, STATION + 4))}
    demand = {cargo: draw(st.integers(1, 3 * 10**9)) for cargo in range(3)}
    return Network(draw(st.floats(0.5, 600)), arcs, {cargo: float(size) for cargo, size in demand.items()}, places)


@given(networks())
def test_most_bytes_is_the_optimum_of_the_linear_program(network: Network) -> None:
    shares_s = most_bytes(network)
    assert min(shares_s) >= 0.0
    assert network.carried_bytes(shares_s) == pytest.approx(optimum_bytes(network), rel=1e-6, abs=200)


@given(networks())
def test_with_one_rate_it_is_the_maximum_flow_of_networkx(network: Network) -> None:
    if not network.one_rate:
        return
    graph = nx.DiGraph()
    for arc in network.arcs:
        length = network.length_s
        graph.add_edge("source", ("cargo", arc.cargo), capacity=arc.seconds(network.demand_bytes[arc.cargo]))
        graph.add_edge(("cargo", arc.cargo), ("in", arc.satellite))
        graph.add_edge(("in", arc.satellite), ("out", arc.satellite), capacity=network.places[arc.satellite] * length)
        graph.add_edge(("out", arc.satellite), arc.station, capacity=length)
        graph.add_edge(arc.station, "sink", capacity=network.places[arc.station] * length)
    value = nx.maximum_flow_value(graph, "source", "sink")
    assert sum(most_bytes(network)) == pytest.approx(value, abs=1e-7)


@given(networks())
def test_least_time_carries_everything_and_not_a_moment_earlier_would_do(network: Network) -> None:
    shares_s, time_s = least_time(network)
    total = network.total_bytes
    assert network.carried_bytes(shares_s) >= total - 200
    longer, shorter = (Network(time_s * f, network.arcs, network.demand_bytes, network.places) for f in (1.001, 0.999))
    assert optimum_bytes(longer) == pytest.approx(total, rel=1e-6, abs=200)
    if total > 1e6:  # below, the solver's tolerance hides the difference
        assert optimum_bytes(shorter) < total * (1 - 1e-6)


@given(networks())
def test_turns_realise_the_shares_and_nobody_is_in_two_places(network: Network) -> None:
    shares_s = most_bytes(network)
    timetable = turns(network, shares_s)
    served = np.zeros(len(network.arcs))
    for turn in timetable:
        assert 0.0 <= turn.start_s <= turn.end_s <= network.length_s
        served[turn.arc] += turn.end_s - turn.start_s
    assert served == pytest.approx(np.array(shares_s), abs=1e-6)
    events = [(turn.start_s, 1, turn.arc) for turn in timetable] + [(turn.end_s, -1, turn.arc) for turn in timetable]
    busy: dict[object, int] = defaultdict(int)
    for _, change, number in sorted(events):
        arc = network.arcs[number]
        for thing, places in ((arc.satellite, None), (arc.station, None), (arc.link, 1)):
            busy[thing] += change
            assert busy[thing] <= (places or network.places[thing])


LINKS = st.dictionaries(st.tuples(st.integers(0, 5), st.integers(10, 14)), st.integers(0, 50), min_size=1)


@given(LINKS, st.data())
def test_open_shop_serves_everyone_and_ends_as_early_as_possible(
    ticks: dict[tuple[int, int], int], data: st.DataObject
) -> None:
    """The end equals the obvious lower bound; every link gets its ticks; places are kept at every tick."""
    nodes = sorted({node for link in ticks for node in link})
    places = {node: data.draw(st.integers(1, 4)) for node in nodes}
    served = open_shop(ticks, places)
    load = {node: sum(amount for link, amount in ticks.items() if node in link) for node in nodes}
    bound = max([*ticks.values(), *(-(-load[node] // places[node]) for node in nodes)])
    assert max((end for _, _, end in served), default=0) == bound
    got: dict[tuple[int, int], int] = defaultdict(int)
    for link, start, end in served:
        got[link] += end - start
    assert {link: amount for link, amount in ticks.items() if amount} == dict(got)
    for tick in range(bound):
        talking = [link for link, start, end in served if start <= tick < end]
        assert len(talking) == len(set(talking))
        for node in nodes:
            assert sum(node in link for link in talking) <= places[node]


EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 10**15)), max_size=30)


@given(EDGES)
def test_max_flow_agrees_with_networkx(edges: list[tuple[int, int, int]]) -> None:
    flows = max_flow(edges, 0, 7)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(8))
    net: dict[int, int] = defaultdict(int)
    for (tail, head, room), flow in zip(edges, flows, strict=True):
        assert 0 <= flow <= room
        net[tail] += flow
        net[head] -= flow
        if tail != head:
            before = graph.edges[tail, head]["capacity"] if graph.has_edge(tail, head) else 0
            graph.add_edge(tail, head, capacity=before + room)
    assert net[0] == nx.maximum_flow_value(graph, 0, 7) == -net[7]
    assert all(net[node] == 0 for node in range(1, 7))

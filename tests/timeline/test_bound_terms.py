"""Each term of the bound where it is tight: a schedule meets it, so one that is a fifth too great is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from method_worlds import small_job, small_system
from small_systems import contact, ring, system_of, systems

from orbitune.cost.system import System
from orbitune.methods import METHODS, Ways, plan
from orbitune.strategies import intra_orbit
from orbitune.timeline import chain
from orbitune.timeline import needs as needs_module
from orbitune.timeline.activity import Held, whole
from orbitune.timeline.bounds import Need, bounds_by_stage, lower_bound
from orbitune.timeline.capacity import Capacity, Reach
from orbitune.timeline.paths import EPOCH_S, Paths
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify

TOO_MUCH = 1.2


def computing(node: int, flops: float, **details: object) -> Need:
    return Need("compute", "train", 0, "compute", {node: flops}, {node: flops}, **details)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Tight:
    """A job, and when the schedule that is best for it is done."""

    needs: list[Need]
    system: System
    best_s: float


def on_board() -> Tight:
    return Tight([computing(0, 5e3)], system_of([[0]], 0, []), 5.0)


def through_one_pass() -> Tight:
    system = system_of([[0]], 1, [contact(0, 1, "downlink", 100.0, 200.0, 8e3)])
    return Tight([Need("down", "train", 0, "down", {0: 3e4}, {0: 3e4}, ((0,),))], system, 130.0)


def around_the_ring() -> Tight:
    """What satellite 2 makes must hop to satellite 0, which is the only one to see a station."""
    links = [*ring([0, 1, 2, 3, 4], 8e9, 1.0), contact(0, 5, "downlink", 0.0, 3e3, 8e9, 1.0)]
    down = Need("down", "train", 0, "down", {0: 1.0}, {0: 1.0}, ((0, 1, 2, 3, 4),))
    return Tight([computing(2, 5e3), down], system_of([[0, 1, 2, 3, 4]], 1, links), 5.0 + 3.0)


def up_and_around_the_ring() -> Tight:
    """What satellite 2 uses lands at satellite 0; the wait for the pass comes first, the hops after it."""
    links = [*ring([0, 1, 2, 3, 4], 8e9, 1.0), contact(5, 0, "uplink", 700.0, 3e3, 8e9, 1.0)]
    up = Need("up", "train", 0, "up", {0: 1.0}, {0: 1.0}, ((0, 1, 2, 3, 4),))
    return Tight([up, computing(2, 5e3)], system_of([[0, 1, 2, 3, 4]], 1, links), 700.0 + 3.0 + 5.0)


def a_tiny_average() -> Tight:
    """Everybody must hear of everybody: two hops around a ring of five."""
    plane = (0, 1, 2, 3, 4)
    trains = Need("compute", "train", 0, "train", dict.fromkeys(plane, 3e3), dict.fromkeys(plane, 3e3))
    combine = Need("combine", "train", 0, "combine", {0: 1.0}, {0: 1.0}, (plane,))
    return Tight([trains, combine], system_of([plane], 0, ring(plane, 8e9, 1.0)), 3.0 + 2.0)


def a_large_exchange() -> Tight:
    """Two satellites send each other a model: what one can take in."""
    trains = Need("compute", "train", 0, "train", {0: 3e3, 1: 3e3}, {0: 3e3, 1: 3e3})
    combine = Need("combine", "train", 0, "combine", {0: 2e3}, {0: 2e3}, ((0, 1),))
    return Tight([trains, combine], system_of([[0, 1]], 0, ring([0, 1], 8e3, 0.0)), 3.0 + 2.0)


def a_large_average() -> Tight:
    """Three satellites, both ways round: 2 (n - 1) / n of a model per member, over two links at once."""
    plane = (0, 1, 2)
    trains = Need("compute", "train", 0, "train", dict.fromkeys(plane, 3e3), dict.fromkeys(plane, 3e3))
    combine = Need("combine", "train", 0, "combine", {0: 6e3}, {0: 6e3}, (plane,))
    return Tight([trains, combine], system_of([plane], 0, ring(plane, 8e3, 0.0)), 3.0 + 4.0)


def test_the_best_average_on_a_ring_of_three_meets_the_bound() -> None:
    tight = a_large_average()
    desk = Schedule(tight.system, stage="all")
    held = {s: Held(whole("update", [s], 0, 6_000), 3.0) for s in range(3)}
    got = intra_orbit.all_reduce(desk, (0, 1, 2), held, "bidirectional")
    end_s = max(part.since_s for part in got.values())
    assert end_s == pytest.approx(tight.best_s, abs=1e-6)
    desk.initial = [(s, part.payload) for s, part in held.items()]
    for satellite, part in got.items():
        desk.promise(satellite, part.payload, end_s)
    desk.span(0.0, end_s)
    verify(desk.timeline("ring", (), 0), tight.system)


def two_planes_at_one_station() -> Tight:
    """Neither a plane alone nor all three together are as slow as the two that only one station sees."""
    passes = [(0, 3), (1, 3), (2, 3), (2, 4)]
    links = [contact(satellite, station, "downlink", 0.0, 3e3, 8e3) for satellite, station in passes]
    size, groups = dict.fromkeys(range(3), 3e4), ((0,), (1,), (2,))
    return Tight([Need("down", "train", 0, "down", size, size, groups)], system_of([[0], [1], [2]], 2, links), 60.0)


def test_planes_that_bind_together_are_named() -> None:
    tight = two_planes_at_one_station()
    assert lower_bound(tight.needs, tight.system).name == "downlink of planes 0 and 1"


CASES = (
    on_board,
    through_one_pass,
    two_planes_at_one_station,
    around_the_ring,
    up_and_around_the_ring,
    a_tiny_average,
    a_large_exchange,
    a_large_average,
)


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
def test_the_bound_is_what_the_best_schedule_takes(case: Callable[[], Tight]) -> None:
    tight = case()
    assert lower_bound(tight.needs, tight.system).time_s == pytest.approx(tight.best_s, abs=1e-3)


# -- planted faults --------------------------------------------------------------------------------------------------


def slower_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource needs a fifth more than its work."""
    made = needs_module.Resource.__init__

    def make(self: needs_module.Resource, name: str, done: Callable[[float, float], float], *delays: float) -> None:
        made(self, name, lambda start_s, size: done(start_s, TOO_MUCH * size), *delays)

    monkeypatch.setattr(needs_module.Resource, "__init__", make)


def less_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Capacity.sent
    monkeypatch.setattr(Capacity, "sent", lambda self, start_s, size: sent(self, start_s, TOO_MUCH * size))


def slower_light(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Paths._graph
    monkeypatch.setattr(Paths, "_graph", lambda self, epoch: graph(self, epoch) * TOO_MUCH)


def slower_news(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(self: Reach, since_s: dict[int, float]) -> list[float]:
        arrivals_s = exact(self, since_s)
        return [time_s + (TOO_MUCH - 1.0) * (time_s - min(since_s.values())) for time_s in arrivals_s]

    exact = Reach.arrivals_s
    monkeypatch.setattr(Reach, "arrivals_s", late)


def more_models(monkeypatch: pytest.MonkeyPatch) -> None:
    together = chain.Chain._together_s
    monkeypatch.setattr(
        chain.Chain,
        "_together_s",
        lambda self, start_s, size, *counts: together(self, start_s, TOO_MUCH * size, *counts),
    )


def larger_models(monkeypatch: pytest.MonkeyPatch) -> None:
    received = chain.Chain._received_s
    monkeypatch.setattr(
        chain.Chain, "_received_s", lambda self, node, news_s, start_s, size, sources: received(
            self, node, news_s, start_s, TOO_MUCH * size, sources)
    )  # fmt: skip


FAULTS = [
    (slower_sums, on_board),
    (slower_sums, through_one_pass),
    (less_capacity, through_one_pass),
    (slower_light, around_the_ring),
    (slower_light, a_tiny_average),
    (slower_news, up_and_around_the_ring),
    (slower_news, a_tiny_average),
    (larger_models, a_large_exchange),
    (more_models, a_large_average),
]


@pytest.mark.parametrize(("fault", "case"), FAULTS, ids=[f"{fault.__name__}-{case.__name__}" for fault, case in FAULTS])
def test_a_term_a_fifth_too_great_is_found_out(
    fault: Callable[[pytest.MonkeyPatch], None], case: Callable[[], Tight], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = case()
    fault(monkeypatch)
    assert lower_bound(tight.needs, tight.system).time_s > tight.best_s + 0.1


# -- paths -----------------------------------------------------------------------------------------------------------


def arrival_along(path: list[int], system: System, start_s: float) -> float:
    for source, target in pairwise(path):
        links = system.contacts.by_link.get((source, target), ())
        start_s = min((max(start_s, c.start_s) + c.delay_s for c in links if c.end_s > start_s), default=inf)
    return start_s


@settings(max_examples=30)
@given(system=systems(), start_s=st.floats(0.0, 1_000.0))
def test_light_is_no_slower_than_any_path(system: System, start_s: float) -> None:
    graph = nx.DiGraph(list(system.contacts.by_link))
    paths, nodes, end_s = Paths(system), system.nodes, (start_s // EPOCH_S + 2) * EPOCH_S
    news_s = paths.arrivals_s(dict.fromkeys(nodes.satellites, start_s))

    def best_s(source: int, target: int) -> float:
        ways = nx.all_simple_paths(graph, source, target) if source in graph and target in graph else []
        return min((arrival_along(way, system, start_s) for way in ways), default=inf)

    for satellite in nodes.satellites:
        pairs = [
            (paths.to_server_s(satellite, start_s), best_s(satellite, nodes.server)),
            (paths.from_server_s(satellite, start_s), best_s(nodes.server, satellite)),
            *(
                (float(news_s[satellite, other]), best_s(satellite, other))
                for other in nodes.satellites
                if other != satellite
            ),
        ]
        for bound_s, exact_s in pairs:
            assert start_s <= bound_s <= min(exact_s, end_s) + 1e-9


# -- whole methods ---------------------------------------------------------------------------------------------------

ways = st.builds(
    Ways,
    st.sampled_from(["relay", "ring", "bidirectional"]),  # alone, satellites 2 and 5 never see a station
    st.just("max_flow"),
    st.sampled_from(["via_ground", "earliest_tree"]),
    st.sampled_from([2.0, 5.0, 30.0]),
)


@settings(max_examples=20)
@given(
    name=st.sampled_from(["collaborative", "onboard", "download"]),
    trains=st.sampled_from(["head", "encoder", "full"]),
    encoder=st.sampled_from(["shared", "per_client"]),
    way=ways,
    preloaded=st.booleans(),
    full_duplex=st.booleans(),
    slow=st.sampled_from([1.0, 50.0]),
)
def test_no_method_beats_the_bound(
    name: str, trains: str, encoder: str, way: Ways, preloaded: bool, full_duplex: bool, slow: float
) -> None:
    system = small_system(full_duplex)
    contacts = replace(system.contacts, delay_s=system.contacts.delay_s * slow)
    job = replace(small_job(replace(system, contacts=contacts), trains, way, rounds=2), server_encoder=encoder,
                  preloaded=preloaded)  # fmt: skip
    timeline = plan(METHODS[name], job)
    verify(timeline, job.system)
    needs = METHODS[name].needs(job, timeline.rounds)
    bound = lower_bound(needs, job.system)
    assert 0.0 < bound.time_s <= timeline.time_s + 1e-6
    ends_s = {(span.phase, span.round, span.stage): span.end_s for span in timeline.spans}
    for place, bound_s in bounds_by_stage(needs, job.system).items():
        if place in ends_s:
            assert bound_s <= ends_s[place] + 1e-6, place


def test_the_name_says_what_fills_the_bound() -> None:
    tight = around_the_ring()
    assert "compute of the satellites" in lower_bound(tight.needs, tight.system).name
    slow = replace(tight.system, contacts=replace(tight.system.contacts, delay_s=tight.system.contacts.delay_s * 10))
    assert "light time and hops" in lower_bound(tight.needs, slow).name

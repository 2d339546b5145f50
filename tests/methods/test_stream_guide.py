"""Shares of the links for micro-batches: they carry what is owed, as early as it can be carried."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitune.cost.system import System
from orbitune.links.contacts import Contact
from orbitune.methods import METHODS, Job, planning
from orbitune.methods.stream_guide import Foresight, Guide
from orbitune.methods.stream_sights import Sight
from orbitune.mission import job_of, prepare
from orbitune.scenario.load import load
from orbitune.timeline.bounds import Need, lower_bound
from orbitune.timeline.simulate import Schedule
from orbitune.timeline.verify import verify
from tests.timeline.small_systems import plan_of

BYTES_PER_S = 1e6


def _job() -> Job:
    """Three planes, two stations; who sees whom is up to the test."""
    sets = ("shell.0.satellites=18", "shell.0.planes=3", "train.trains=head", "method.satellite_ground=quickest")
    return METHODS["collaborative"].prepare(job_of(prepare(load("tiny", ("train.rounds=3", *sets)))))


JOB = _job()


def _seen(passes: list[tuple[int, int, float, float]]) -> System:
    """The system of the job with these passes only: plane, station by number, start and end in s."""
    plan, nodes = JOB.system.contacts, JOB.system.nodes
    rest = [contact for contact in plan if contact.kind not in ("downlink", "uplink")]
    links = [
        Contact(*ends, kind, start_s, end_s, BYTES_PER_S * 8, 0.0, 0.0)
        for plane, station, start_s, end_s in passes
        for ends, kind in (
            ((nodes.planes[plane][0], nodes.stations[station]), "downlink"),
            ((nodes.stations[station], nodes.planes[plane][0]), "uplink"),
        )
    ]
    return replace(JOB.system, contacts=plan_of(plan.nodes, [*rest, *links], plan.horizon_s))


def _guide(system: System, owed: dict[float, dict[int, int]], last_first: bool = False) -> Guide:
    """`owed` by exchange and plane."""
    guide = Guide(replace(JOB, system=system), Schedule(system))
    for exchange, sizes in owed.items():
        for plane, size in sizes.items():
            guide.owe(exchange, system.nodes.planes[plane][0], size)
    guide.share_out(0.0, last_first)
    return guide


def _share(guide: Guide, exchange: float, plane: int, station: int) -> float:
    nodes = guide.job.system.nodes
    return guide._left.get((exchange, (nodes.planes[plane][0], nodes.stations[station])), 0.0)


def test_who_has_one_station_gets_it_from_those_who_have_two() -> None:
    system = _seen([(0, 0, 0.0, 500.0), (1, 0, 0.0, 500.0), (1, 1, 0.0, 500.0), (2, 1, 0.0, 500.0)])
    guide = _guide(system, {1.0: {0: 30_000_000, 1: 10_000_000, 2: 20_000_000}})
    assert guide.until_s == pytest.approx(30.0, abs=0.01)
    assert _share(guide, 1.0, 0, 0) == pytest.approx(30e6, rel=1e-3)
    assert _share(guide, 1.0, 1, 1) == pytest.approx(10e6, rel=1e-3)
    sight = Sight(0.0, 500.0, system.nodes.planes[1][0], system.nodes.stations[0], 1.0 / BYTES_PER_S)
    assert not guide.allows(1.0, sight, 1_000_000)


def test_earlier_exchanges_come_first_until_the_end_is_in_view() -> None:
    """Plane 0 can use station 0 for 41 s only; plane 1 could wait."""
    system = _seen([(0, 0, 0.0, 41.0), (1, 0, 0.0, 500.0), (1, 1, 60.0, 500.0), (0, 1, 200.0, 500.0)])
    owed = {1.0: {0: 20_000_000, 1: 20_000_000}, 3.0: {0: 20_000_000, 1: 20_000_000}}
    forward, backward = _guide(system, owed), _guide(system, owed, last_first=True)
    assert forward.until_s == pytest.approx(219.0, abs=0.01)  # 40 s of it are for the first exchange of both
    assert backward.until_s == pytest.approx(80.0, abs=0.01)  # 40 s of it are for both exchanges of plane 0
    assert _share(forward, 1.0, 1, 0) == pytest.approx(20e6, rel=1e-3)


@settings(max_examples=12)
@given(
    passes=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 60), st.integers(5, 90)), min_size=1, max_size=8
    ),
    sizes=st.lists(st.integers(1_000_000, 20_000_000), min_size=6, max_size=6),
    last_first=st.booleans(),
)
def test_shares_are_what_is_owed_and_no_earlier_than_the_bound(
    passes: list[tuple[int, int, int, int]], sizes: list[int], last_first: bool
) -> None:
    merged = {(plane, station): (start, start + length) for plane, station, start, length in passes}
    always = [(plane, 0, 200.0, 900.0) for plane in range(3)]
    drawn = [(*pair, float(first), float(last)) for pair, (first, last) in merged.items()]
    system = _seen([*drawn, *always])
    owed = {1.0: dict(enumerate(sizes[:3])), 3.0: dict(enumerate(sizes[3:]))}
    guide = _guide(system, owed, last_first)
    for exchange, by_plane in owed.items():
        for plane, size in by_plane.items():
            got = sum(_share(guide, exchange, plane, station) for station in range(2))
            assert got == pytest.approx(size, rel=2e-3)
    total = {plane: float(sum(by_plane[plane] for by_plane in owed.values())) for plane in range(3)}
    pools = tuple(tuple(pool) for pool in JOB.pools)
    bound_s = lower_bound([Need("down", "train", 0, "down", total, total, pools)], system).time_s
    assert guide.until_s >= bound_s - 0.05
    if last_first:  # where all rates are equal, cuts of all sets of groups are as late as the flow
        assert guide.until_s <= bound_s + 0.05


def test_a_guided_round_leaves_a_short_pass_to_who_has_no_other() -> None:
    method, job = METHODS["collaborative"], replace(JOB, rounds=1, preloaded=True)
    down = next(need for need in method.needs(job, 1) if need.kind == "down")
    short_s = 1.5 * down.total[0] / BYTES_PER_S
    system = _seen([(0, 0, 0.0, short_s), (0, 0, 900.0, 2_000.0), (1, 0, 0.0, 2_000.0), (2, 1, 0.0, 2_000.0)])
    ends_s = []
    for guided in (False, True):
        timeline = planning._play(method, replace(job, system=system), Foresight(4, True, 3, guided), None, None)
        assert timeline is not None
        verify(timeline, system)
        ends_s.append(timeline.time_s)
    assert ends_s[1] < short_s + down.total[1] / BYTES_PER_S < 900.0 < ends_s[0]

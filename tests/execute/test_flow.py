"""Planned timelines carried out in virtual time, judged by the planner's own checker."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from execute_worlds import Virtual, plan

from orbitune.cost.system import TERMINAL_OF, System, Terminals
from orbitune.execute.record import compare, executed
from orbitune.timeline.activity import Timeline
from orbitune.timeline.verify import CHECKS

CASES = [
    ("collaborative", ()),
    ("collaborative", ("method.overlap=stream",)),
    ("onboard", ("method.intra_orbit=ring",)),
    ("fedavg", ()),
    ("fedisl", ()),
    ("fedbuff", ()),
]


@pytest.mark.parametrize(("method", "sets"), CASES)
def test_on_time_the_plan_is_what_happens(method: str, sets: tuple[str, ...]) -> None:
    """Every byte read is checked by `Sums`, so sums are right as well."""
    timeline, system = plan(method, *sets)
    world = Virtual(timeline, system)
    rows = world.run()
    assert sorted(row["activity"] for row in rows) == list(range(len(timeline.activities)))
    for row in rows:
        planned = timeline.activities[row["activity"]]
        assert row["start_s"] == pytest.approx(planned.start_s, abs=1e-6)
        assert row["end_s"] == pytest.approx(planned.end_s, abs=1e-6)
        assert row["arrive_s"] == pytest.approx(planned.arrive_s, abs=1e-6)
    assert executed(timeline, rows).time_s == pytest.approx(timeline.time_s, abs=1e-6)
    for host in world.hosts.values():
        assert host.flow.rounds.finished(1e9) == timeline.rounds
        assert host.flow.rounds.done == host.flow.rounds.total and not host.flow.overruns
        for node in set(host.sums.nodes) - set(system.nodes.stations):
            assert host.sums.states[node] == list(range(timeline.rounds))
        assert not len(host.flow.store)  # nothing is kept that nobody needs


@pytest.mark.parametrize(("method", "sets"), CASES[:4])
def test_late_work_and_slow_calls_break_no_rule(method: str, sets: tuple[str, ...]) -> None:
    """Repeated, late and reordered chunks; each computation takes longer than planned; nothing starts early."""
    timeline, system = plan(method, *sets)
    world = Virtual(timeline, system, work_s=0.05, call_s=(0.0, 0.08), repeat=2, look_ahead_s=0.01)
    rows = world.run()
    done = executed(timeline, rows)
    assert len(done.activities) == len(timeline.activities)
    for row in rows:
        planned = timeline.activities[row["activity"]]
        assert row["start_s"] >= planned.start_s - 1e-9 and row["end_s"] >= planned.end_s - 1e-9
    assert any(host.flow.overruns for host in world.hosts.values())
    for host in world.hosts.values():
        for overrun in host.flow.overruns:
            assert overrun.took_s > overrun.planned_s
    _check(done, system)
    stages, rounds = compare(timeline, done)
    assert sum(stage.executed_s for stage in stages) == pytest.approx(done.time_s)
    assert all(one.executed_s >= 0.0 for one in rounds) and done.time_s > timeline.time_s


def _check(done: Timeline, system: System) -> None:
    """The planner's rules, but for those that a late timeline need not keep: stages may overlap, and nobody asks
    whether the receiver has a terminal left."""
    many = Terminals(99, 99, 99, (99,) * system.nodes.num_stations, system.terminals.full_duplex)
    for check in CHECKS:
        if check.__name__ != "_spans":
            check(done, replace(system, terminals=many))
    _check_senders(done, system)


def _check_senders(done: Timeline, system: System) -> None:
    """No node sends over more terminals of a kind than it has."""
    ends_s: dict[tuple[int, str], list[float]] = defaultdict(list)
    for one in done.activities:
        if one.kind == "send" and (terminal := TERMINAL_OF[one.link]):
            busy = [end_s for end_s in ends_s[one.node, terminal] if end_s > one.start_s + 1e-9]
            assert len(busy) < system.num_terminals(one.node, terminal)
            ends_s[one.node, terminal] = [*busy, one.end_s]


def test_a_link_that_is_gone_is_lost() -> None:
    timeline, system = plan("collaborative")
    cut = next(one for one in timeline.activities if one.link == "downlink" and one.round == 1)
    world = Virtual(timeline, system)
    world.host(cut.node).flow.lanes.cut(cut.node, cut.peer, cut.start_s, 0.0)
    rows = world.run()
    assert world.host(cut.node).flow.lanes.lost() == [(cut.node, cut.peer)]
    assert len(rows) < len(timeline.activities)
    assert all(row["start_s"] < cut.start_s for row in rows if _link(timeline, row) == (cut.node, cut.peer))
    assert min(host.flow.rounds.finished(1e9) for host in world.hosts.values()) == 1


def _link(timeline: Timeline, row: dict[str, float]) -> tuple[int, int]:
    activity = timeline.activities[int(row["activity"])]
    return activity.node, activity.peer


def test_a_slow_computer_is_reported() -> None:
    timeline, system = plan("collaborative")
    world = Virtual(timeline, system)
    world.host(3).flow.slow_down(3, 50.0)
    world.run()
    slow = {timeline.activities[one.activity].node for host in world.hosts.values() for one in host.flow.overruns}
    assert slow == {3}
    for overrun in world.host(3).flow.overruns:
        assert overrun.took_s == pytest.approx(50 * overrun.planned_s)


def test_versions_and_rounds_go_on_counting() -> None:
    timeline, system = plan("collaborative")
    world = Virtual(timeline, system, first_round=4, start_s=500.0)
    for host in world.hosts.values():
        host.sums.states = {node: [0, 1, 2, 3] for node in host.sums.states}
        host.sums.rounds_at_delivery = 7
    done = executed(timeline, world.run(), 500.0)
    assert done.time_s == pytest.approx(timeline.time_s, abs=1e-6)
    first = replace(done.activities[0], start_s=0.0, end_s=0.0, arrive_s=0.0)
    assert first == replace(timeline.activities[0], start_s=0.0, end_s=0.0, arrive_s=0.0)

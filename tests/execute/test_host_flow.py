"""Planned timelines carried out in virtual time, judged by the planner's own checker."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from execute_worlds import Virtual, plan

from orbitune.cost.system import TERMINAL_OF, System, Terminals
from orbitune.execute.flow import Flow
from orbitune.execute.gate import Window
from orbitune.execute.program import Program
from orbitune.execute.record import compare, executed
from orbitune.execute.task import Delivery, Due, Message, Task
from orbitune.timeline.activity import Activity, Payload, Timeline
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


class Hands:
    """Notes what a flow asks for."""

    def __init__(self) -> None:
        self.carried: list[tuple[Message, bytes, float]] = []
        self.flow: Flow | None = None

    def carry(self, message: Message, content: bytes) -> None:
        assert self.flow is not None
        self.carried.append((message, content, self.flow.agenda.now_s))

    def work(self, task: Task) -> None: ...

    def finish(self, due: Due) -> None: ...

    def deliver(self, delivery: Delivery) -> None: ...


LINK = 0, 1, "downlink"
PAYLOAD = Payload("update", frozenset({0}), 0, 0, 300_000)


def _one_send(windows: tuple[Window, ...]) -> tuple[Flow, Hands]:
    """A node that sends 300 kB over these contacts, planned for the first second."""
    send = Activity("send", 0, 0.0, 0.3, "train", 0, "bring down", 1, "downlink", 0.31, PAYLOAD)
    part = Timeline("one", (send,), (), ((0, PAYLOAD),), (), (), 1)
    program = Program(
        1, 0, 0.0, (0, 1), (0,), part, (0,), (), (), (1.0,), {LINK: windows}, {(0, "ground"): 1}
    )  # fmt: skip
    hands = Hands()
    hands.flow = flow = Flow(program, [0], [], hands)
    flow.begin(look_ahead_s=0.0, apart_s=0.05)
    return flow, hands


def test_a_send_that_a_contact_cuts_goes_on_in_the_next_without_loss() -> None:
    """At 1 MB/s, 200 ms carry three chunks of 64 KiB; the rest waits for the second 100."""
    flow, hands = _one_send((Window(0.0, 0.2, 8e6, 0.01), Window(100.0, 200.0, 8e6, 0.02)))
    content = bytes(number % 251 for number in range(PAYLOAD.size))
    flow.hold(0, PAYLOAD, content, 0.0)
    flow.agenda.run(1000.0)
    assert b"".join(sent for _, sent, _ in hands.carried) == content
    messages = [message for message, _, _ in hands.carried]
    assert [one.low for one in messages] == [0, *(one.high for one in messages)][:-1]
    for message, _, left_s in hands.carried:
        early = message.high <= 3 * 65536
        begin_s, before = (0.0, 0) if early else (100.0, 3 * 65536)
        assert left_s == pytest.approx(begin_s + (message.high - before) / 1e6)
        assert message.arrive_s == pytest.approx(left_s + (0.01 if early else 0.02))
        flow.arrived(message, message.arrive_s)
    flow.agenda.run(1000.0)
    (done,) = flow.executed
    assert (done.start_s, done.parts) == (0.0, 2) and done.arrive_s == pytest.approx(done.end_s + 0.02)


def test_what_is_late_misses_its_pass_and_waits_for_the_next() -> None:
    flow, hands = _one_send((Window(0.0, 1.0, 8e6, 0.01), Window(100.0, 200.0, 8e6, 0.02)))
    flow.hold(0, PAYLOAD, bytes(PAYLOAD.size), 5.0)
    flow.agenda.run(1000.0)
    assert [left_s > 100.0 for _, _, left_s in hands.carried] == [True] * len(hands.carried)


def test_a_link_without_any_contact_left_is_lost() -> None:
    flow, hands = _one_send((Window(0.0, 1.0, 8e6, 0.01),))
    flow.hold(0, PAYLOAD, bytes(PAYLOAD.size), 5.0)
    flow.agenda.run(1000.0)
    assert flow.lanes.lost() == [(0, 1)] and not hands.carried

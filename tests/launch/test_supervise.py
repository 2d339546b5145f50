"""What a supervisor decides: when the last round is over, who is given a state, who is started again."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orbitune.errors import RunError
from orbitune.launch import faults, members, supervise
from orbitune.launch.faults import Absent, Fault
from orbitune.launch.state import State
from orbitune.mission import Mission, prepare
from orbitune.plans import Planned, plan_method
from orbitune.scenario.load import load
from tests.launch.real_runs import SMALL
from tests.launch.scripted_hosts import FACTORY, STATE, hosts_of, supervised

EVERYBODY = list(range(12))
LATER = EVERYBODY[6:]
"""The satellites of plane-1."""


@pytest.fixture(scope="module")
def mission() -> Mission:
    return prepare(load("tiny", [*SMALL, "train.lost_satellites=leave_out"]))


@pytest.fixture(scope="module")
def planned(mission: Mission) -> Planned:
    return plan_method(mission, "collaborative")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "FACTORY", FACTORY)
    monkeypatch.setattr(supervise, "POLL_S", 0.0)


def after(rounds: int, satellites: list[int] = EVERYBODY) -> State:
    """A run that was stopped after so many rounds."""
    ends_s = [10.0 * number for number in range(1, rounds + 1)]
    return State(satellites=list(satellites), attempt=1, rounds_done=rounds, sim_s=10.0 * rounds,
                 participation=[EVERYBODY] * rounds, round_ends_s=ends_s)  # fmt: skip


def test_without_a_round_left_the_last_is_repeated_with_its_delivery(
    tmp_path: Path, mission: Mission, planned: Planned
) -> None:
    state = after(2)
    with supervised(tmp_path, mission, planned, state) as supervisor:
        supervisor._go_back()
        attempt = supervisor._plan()
        assert attempt is not None and attempt.planned.timeline.rounds == 1
        assert any(one.phase == "deliver" for one in attempt.planned.timeline.activities)
        assert all(host.asked("restore") == [{"round": 1}] for host in hosts_of(supervisor).values())
    assert (state.rounds_done, state.finished) == (1, False)
    assert len(state.participation) == len(state.round_ends_s) == 1


def test_without_anything_to_deliver_the_run_is_finished(tmp_path: Path, mission: Mission, planned: Planned) -> None:
    kept = tuple(one for one in planned.timeline.activities if one.phase != "deliver")
    undelivered = replace(planned, timeline=replace(planned.timeline, activities=kept))
    with supervised(tmp_path, mission, undelivered, state := after(2)) as supervisor:
        supervisor._go_back()
        assert State.load(supervisor.run).finished
    assert state.rounds_done == 2


def test_a_delivery_that_cannot_be_planned_any_more_is_told(tmp_path: Path, mission: Mission, planned: Planned) -> None:
    state = after(2)
    state.gone = [(one.source, one.target) for one in mission.system.contacts]
    with supervised(tmp_path, mission, planned, state) as supervisor:
        supervisor._go_back()
        assert supervisor._plan() is None
    assert (state.rounds_done, state.finished, state.attempt) == (2, True, 1)
    assert state.participation == [EVERYBODY] * 2 and state.round_ends_s == [10.0, 20.0]
    assert "not delivered" in state.events[-1]["what"]


def test_who_is_back_after_the_last_round_changes_nothing(tmp_path: Path, mission: Mission, planned: Planned) -> None:
    state = after(1)
    with supervised(tmp_path, mission, planned, state) as supervisor:
        supervisor.attempts[1] = supervise.Attempt(planned, 0.0, ())
        supervisor._absent._back.append("plane-1")
        for host in hosts_of(supervisor).values():
            host.told |= {"rounds": 2, "done": 5, "total": 5}
        assert not supervisor._watch()
    assert state.finished and state.rounds_done == 2


def test_who_is_back_before_the_last_round_takes_part(tmp_path: Path, mission: Mission, planned: Planned) -> None:
    with supervised(tmp_path, mission, planned, after(0)) as supervisor:
        supervisor.attempts[1] = supervise.Attempt(planned, 0.0, ())
        supervisor._absent._back.append("plane-1")
        for host in hosts_of(supervisor).values():
            host.told |= {"rounds": 1, "done": 3, "total": 5}
        assert supervisor._watch().returned == ["plane-1"]


def test_a_site_that_cannot_be_killed_from_here_is_answered_all_the_same(
    tmp_path: Path, mission: Mission, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = after(1)
    with supervised(tmp_path, mission, planned, state) as supervisor:
        engine = supervisor.members.engine
        end = engine.kill

        def belongs_to_its_owner(host: str) -> None:
            end(host)
            raise RunError(f"{host} belongs to its owner")

        monkeypatch.setattr(engine, "kill", belongs_to_its_owner)
        supervisor._answer(Fault(hosts=["ground"]))
        assert engine.alive("ground")
        supervisor._answer(Fault(hosts=["plane-1"]))
        assert state.satellites == EVERYBODY[:6]
        supervisor._absent.close()


def test_who_was_left_out_is_given_the_state_whatever_it_kept(
    tmp_path: Path, mission: Mission, planned: Planned
) -> None:
    state = after(1, EVERYBODY[:6])
    with supervised(tmp_path, mission, planned, state) as supervisor:
        supervisor._take_back(supervisor._left_out_before())
        supervisor._go_back()
        hosts = hosts_of(supervisor)
        given = [(header, body) for method, header, body in hosts["plane-1"].heard if method == "import"]
        assert given == [({"node": node, "round": 1}, STATE) for node in LATER]
        assert not hosts["plane-0"].asked("import") and not hosts["ground"].asked("import")
        attempt = supervisor._plan()
        assert attempt is not None and attempt.planned.timeline.phase_s("deploy") > 0
    assert state.satellites == EVERYBODY
    assert [event["what"] for event in state.events] == ["plane-1 is back"]


def test_a_run_that_lost_everybody_can_be_resumed(tmp_path: Path, mission: Mission, planned: Planned) -> None:
    state = after(1, [])
    with supervised(tmp_path, mission, planned, state) as supervisor:
        supervisor._take_back(supervisor._left_out_before())
    assert state.satellites == EVERYBODY


def waiting(absent: Absent) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "back-plane-1"]


def test_a_lost_host_is_started_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "BACK_PAUSE_S", 0.01)
    tries: list[str] = []
    said: list[str] = []

    def place_one(host: str) -> None:
        tries.append(host)
        if len(tries) < 4:
            raise RunError("the machine is off")

    run = SimpleNamespace(event=lambda what, **details: said.append(what))
    absent = Absent(run, SimpleNamespace(place_one=place_one))  # type: ignore[arg-type]
    absent.add("plane-1")
    for _ in range(500):
        if absent.back():
            break
        time.sleep(0.01)
    assert absent.back() == ["plane-1"] and len(tries) == 4 and len(said) == 1
    absent.remove("plane-1")
    assert not absent.back() and not absent.out


def test_nobody_is_started_when_the_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def place_one(host: str) -> None:
        raise RunError("the machine is off")

    run = SimpleNamespace(event=lambda what, **details: None)
    absent = Absent(run, SimpleNamespace(place_one=place_one))  # type: ignore[arg-type]
    absent.add("plane-1")
    absent.close()
    for _ in range(500):
        if not waiting(absent):
            break
        time.sleep(0.01)
    assert not waiting(absent) and not absent.back()

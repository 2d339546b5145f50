"""Laws of the lines in which streamed pieces wait for antennas."""

from __future__ import annotations

from dataclasses import replace

from orbitune.methods import METHODS
from orbitune.methods.base import Cut, start_with
from orbitune.methods.stream_rounds import StreamedRounds
from orbitune.mission import job_of, prepare
from orbitune.scenario.load import load
from orbitune.timeline.activity import Activity, Payload
from orbitune.timeline.simulate import Schedule

EVERY_URGENCY = 1 << 30


def _streamed(preset: str, *sets: str) -> tuple[StreamedRounds, Schedule, float]:
    job = replace(METHODS["collaborative"].prepare(job_of(prepare(load(preset, sets)))), overlap="stream")
    schedule = Schedule(job.system)
    start_with(job, schedule)
    start_s = METHODS["collaborative"].deploy(job, schedule, 0.0)
    schedule.phase = "train"
    return StreamedRounds(job, schedule, Cut(2, ahead=True)), schedule, start_s


def test_nobody_is_left_in_line_after_a_round() -> None:
    """A piece done ahead that found no place in its round must not hold up those of the next."""
    rounds, schedule, now_s = _streamed("paper", "train.rounds=3", "time.duration_h=6")
    for index in range(3):
        schedule.round = index
        now_s = rounds.round(index, now_s)
        for station in schedule.system.nodes.stations:
            assert rounds.routes.lines_down.wait_s(station, EVERY_URGENCY) == 0.0
            assert rounds.routes.lines_up.wait_s(station, EVERY_URGENCY) == 0.0


def test_pieces_go_down_from_any_satellite_that_has_them() -> None:
    """Some went on to meet a pass, and went down behind: where they had been before."""
    rounds, schedule, now_s = _streamed("paper", "train.rounds=3", "time.duration_h=6")
    for index in range(3):
        schedule.round = index
        now_s = rounds.round(index, now_s)
    newest: dict[Payload, int] = {}
    behind: list[Activity] = []
    for act in schedule.activities:
        if act.payload is None or act.payload.kind != "embedding":
            continue
        if act.link == "isl_intra":
            newest[act.payload] = act.peer
        elif act.link == "downlink" and newest.get(act.payload, act.node) != act.node:
            behind.append(act)
    assert behind

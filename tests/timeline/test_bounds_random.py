"""Nothing beats its bound: random jobs on random systems, each accepted by the checker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_jobs import Job, choices, sizes
from small_systems import systems

from orbitune.cost.system import System
from orbitune.timeline.bounds import bounds_by_stage, lower_bound
from orbitune.timeline.simulate import HorizonEnd
from orbitune.timeline.verify import verify


def played(system: System, data: st.DataObject) -> Job:
    def shuffled(values: Iterable[int]) -> list[int]:
        return data.draw(st.permutations(list(values)))

    return Job(system, data.draw(choices(system)), data.draw(sizes), shuffled)


@settings(max_examples=80)
@given(system=systems(), data=st.data())
def test_no_schedule_beats_the_bound(system: System, data: st.DataObject) -> None:
    job = played(system, data)
    try:
        timeline = job.play()
    except HorizonEnd:
        assume(False)
    verify(timeline, system)
    bound = lower_bound(job.needs, system)
    assert bound.time_s <= job.end_s + 1e-6, (bound, job.end_s)
    assert max(bounds_by_stage(job.needs, system).values()) <= job.end_s + 1e-6
    assert lower_bound(job.needs[:-1], system).time_s <= bound.time_s * (1 + 1e-9)  # less to do is never slower
    faster = replace(system, satellite=replace(system.satellite, flops_per_s=2e3))
    assert lower_bound(job.needs, faster).time_s <= bound.time_s * (1 + 1e-9)

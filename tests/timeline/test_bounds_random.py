"""Nothing beats its bound: random jobs on random systems, each accepted by the checker."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from random_jobs import Job, Sizes, choices, sizes
from small_systems import systems

from orbitune.cost.system import System
from orbitune.seeds import generator
from orbitune.timeline.bounds import bounds_by_stage, lower_bound
from orbitune.timeline.simulate import HorizonEnd
from orbitune.timeline.verify import verify


@settings(max_examples=100)
@given(system=systems(), choice=st.data(), size=sizes, seed=st.integers(0, 1_000))
def test_no_schedule_beats_the_bound(system: System, choice: st.DataObject, size: Sizes, seed: int) -> None:
    stream = generator(seed, "order")
    job = Job(system, choice.draw(choices(system)), size, lambda values: stream.permutation(list(values)).tolist())
    try:
        timeline = job.play()
    except HorizonEnd:
        return  # the plan is too short for this way of doing it, which says nothing about the bound
    verify(timeline, system)
    bound = lower_bound(job.needs, system)
    assert bound.time_s <= job.end_s + 1e-6, (bound, job.end_s)
    assert max(bounds_by_stage(job.needs, system).values()) <= job.end_s + 1e-6
    assert lower_bound(job.needs[:-1], system).time_s <= bound.time_s * (1 + 1e-9)  # less to do is never slower
    faster = replace(system, satellite=replace(system.satellite, flops_per_s=2e3))
    assert lower_bound(job.needs, faster).time_s <= bound.time_s * (1 + 1e-9)

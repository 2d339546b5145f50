"""Real timelines, made by the methods on a small system: two planes of three satellites, two stations."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from small_systems import contact, ring, system_of

from orbitune.cost.system import Computer, System
from orbitune.links.contacts import Contact
from orbitune.methods import METHODS, Job, Ways, plan
from orbitune.model.partition import Head, Partition
from orbitune.model.profile import load_profile
from orbitune.timeline.activity import Span, Timeline

HORIZON_S = 3_000.0
PLANES = ((0, 1, 2), (3, 4, 5))
MEMORY_BYTES = 1e9


def _windows(one: int, two: int, kinds: tuple[str, str], start_s: float, length_s: float, bps: float) -> list[Contact]:
    """Every 40 s both ways, from `start_s` on."""
    starts = [start_s + 40.0 * number for number in range(int((HORIZON_S - length_s - start_s) // 40.0))]
    return [
        contact(a, b, kind, low, low + length_s, bps, 0.01)
        for low in starts
        for a, b, kind in ((one, two, kinds[0]), (two, one, kinds[1]))
    ]


@functools.cache
def small_system(full_duplex: bool) -> System:
    """Stations 6 and 7 have one antenna each; satellites 0 and 3 see both, 1 and 4 one of them."""
    ground, inter = ("downlink", "uplink"), ("isl_inter", "isl_inter")
    links = [link for plane in PLANES for link in ring(plane, 8e7, 0.014, HORIZON_S)]
    for satellite, station, start_s in (
        (0, 6, 0.0),
        (0, 7, 10.0),
        (1, 6, 15.0),
        (3, 6, 5.0),
        (3, 7, 8.0),
        (4, 7, 25.0),
    ):
        links += _windows(satellite, station, ground, start_s, 12.0, 2e7)
    for one, two in ((1, 4), (1, 5)):
        links += _windows(one, two, inter, 0.0, 30.0, 1e7)
    system = system_of(
        PLANES, 2, links, inter_terminals=1, full_duplex=full_duplex, cable_delay_s=0.001, horizon_s=HORIZON_S
    )
    return replace(system, satellite=Computer(1e9, MEMORY_BYTES, 10.0), server=Computer(1e11, 1e11, 100.0))


def small_job(system: System, trains: str, ways: Ways, rounds: int = 3) -> Job:
    """Two samples a step and two steps a round of galileo-nano."""
    profile = load_profile("galileo-nano")
    return Job(
        system=system,
        partition=Partition(profile, Head(profile.feature_width, 7), 0),
        trains=trains,
        server_encoder="shared",
        rounds=rounds,
        local_steps=2,
        samples=(4,) * 6,
        batch=(2,) * 6,
        optimizer="adamw",
        momentum=0.0,
        codec="fp32",
        ways=ways,
        preloaded=False,
        deliver_to="server",
    )


@dataclass(frozen=True)
class World:
    """A method's timeline and the system that it is judged by."""

    timeline: Timeline
    system: System


CASES = {
    "head": ("collaborative", "head", Ways("bidirectional", "max_flow", "earliest_tree", 5.0), True),
    "encoder": ("collaborative", "encoder", Ways("ring", "max_flow", "via_ground", 5.0), False),
    "full": ("collaborative", "full", Ways("relay", "max_flow", "earliest_tree", 30.0), True),
    "alone": ("onboard", "full", Ways("bidirectional", "max_flow", "earliest_tree", 5.0), False),
    "images": ("download", "full", Ways("ring", "max_flow", "via_ground", 5.0), True),
}
"""Method, what trains, ways, full duplex."""


@functools.cache
def world(case: str) -> World:
    """The timeline of a case as its method made it."""
    method, trains, ways, full_duplex = CASES[case]
    system = small_system(full_duplex)
    return World(plan(METHODS[method], small_job(system, trains, ways)), system)


@functools.cache
def flat(case: str) -> World:
    """The same, all activities in one stage as long as the horizon, so that moving one of them breaks no span."""
    made = world(case)
    activities = tuple(replace(act, phase="train", round=0, stage="all") for act in made.timeline.activities)
    spans = (Span("train", 0, "all", 0.0, HORIZON_S), *(
        Span("train", number, "all", HORIZON_S, HORIZON_S) for number in range(1, made.timeline.rounds)))  # fmt: skip
    return World(replace(made.timeline, activities=activities, spans=spans), made.system)

"""Star FedAvg, FedISL and FedLEO on small systems of any shape: accepted by the checker, and never below the bound."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from small_systems import systems

from orbitune.cost.system import Computer, System
from orbitune.errors import PlanError
from orbitune.methods import Job, Ways, plan
from orbitune.methods.base import Method
from orbitune.methods.fedavg import FedAvg
from orbitune.methods.fedisl import FedISL
from orbitune.methods.fedleo import FedLEO
from orbitune.model.partition import Head, Partition
from orbitune.model.profile import load_profile
from orbitune.timeline.bounds import lower_bound
from orbitune.timeline.verify import verify

METHODS: tuple[Method, ...] = (FedAvg(), FedISL(), FedLEO(), FedLEO(choice="random"))


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Models of which the smallest takes a part of a pass, and the largest many."""
    small = draw(systems(inter=False))
    faster = draw(st.sampled_from([10.0, 1_000.0]))
    contacts = replace(small.contacts, rate_bps=small.contacts.rate_bps * faster)
    computer = Computer(draw(st.sampled_from([1e8, 1e10])), 1e9, 10.0)
    system = replace(small, contacts=contacts, satellite=computer, server=Computer(1e11, 1e11, 100.0))
    return _job(draw, system)


def _job(draw: st.DrawFn, system: System) -> Job:
    profile, count, rounds = load_profile("galileo-nano"), system.nodes.num_satellites, draw(st.integers(1, 3))
    members = st.sets(st.integers(0, count - 1), min_size=1)
    drawn = tuple(tuple(sorted(draw(members))) for _ in range(rounds)) if draw(st.booleans()) else ()
    way = draw(st.sampled_from(["none", "relay", "ring", "bidirectional"]))
    return Job(
        system=system,
        partition=Partition(profile, Head(profile.feature_width, draw(st.sampled_from([2, 200]))), 0),
        trains=draw(st.sampled_from(["head", "head", "full"])),
        server_encoder="shared",
        rounds=rounds,
        local_steps=draw(st.integers(1, 2)),
        samples=tuple(draw(st.integers(1, 3)) for _ in range(count)),
        batch=(1,) * count,
        optimizer="adamw",
        momentum=0.0,
        codec="fp32",
        ways=Ways(way, "max_flow", "via_ground", 10.0),
        preloaded=draw(st.sampled_from([True, True, False])),
        deliver_to=draw(st.sampled_from(["server", "satellites"])),
        taking_part=drawn,
    )


@settings(max_examples=80)
@given(jobs())
def test_accepted_and_never_below_the_bound(job: Job) -> None:
    for method in METHODS:
        own = method.prepare(job)
        try:
            timeline = plan(method, own)
        except PlanError as error:
            assert "lengthen time.duration_h" in str(error)
            continue
        verify(timeline, own.system)
        needs = method.needs(own, timeline.rounds)
        if timeline.stopped:
            needs = [need for need in needs if need.phase != "deliver"]
        assert lower_bound(needs, own.system).time_s <= timeline.time_s + 1e-6

"""Whether two points learn the same numbers, and which switches are to blame if they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from orbitune.choose.reads import LATE
from orbitune.choose.space import FREE, Point, Value
from orbitune.scenario.schema import Scenario

ARRIVE = tuple(name for name in FREE if name != "overlap")
"""Switches that decide when things arrive; where planes may be late, `methods.planning.plan` streams nothing."""


@dataclass(frozen=True)
class Numbers:
    """What of a point decides what is learned: points with equal ones learn the same.

    Attributes:
        where: Where what is compressed is cut off; nothing if it makes no difference.
        noised: Whether something crosses a cut and gets noise there.
        staleness: How many averages a plane may miss; 0 with methods that wait for everybody.
        arrivals: With late planes, what decides who is late.
    """

    learner: str
    trains: str
    codec: str
    update_codec: str
    where: tuple[Value, ...]
    noised: bool
    staleness: int
    arrivals: tuple[Value, ...]


FEEDS: Mapping[str, tuple[str, ...]] = {
    "learner": ("method", "trains", "server_encoder"),
    "trains": ("trains",),
    "codec": ("codec",),
    "update_codec": ("update_codec",),
    "where": ("cut", "placement"),
    "noised": ("method",),
    "staleness": ("staleness",),
    "arrivals": ARRIVE,
}
"""By field of `Numbers`, the switches that set it; where none of them is turned, the method reads it otherwise."""


def numbers_of(point: Point, scenario: Scenario) -> Numbers:
    """What of a point of the scenario decides what is learned."""
    late = point.staleness if point.method in LATE else 0
    return Numbers(
        learner=point.learner,
        trains=point.trains,
        codec=point.codecs[0],
        update_codec=point.codecs[1],
        where=_where(point),
        noised=point.method == "collaborative" and scenario.method.noise_multiplier > 0.0,
        staleness=late,
        arrivals=tuple(getattr(point, name) for name in ARRIVE) if late else (),
    )


def _where(point: Point) -> tuple[Value, ...]:
    """What is compressed: activations at the cut; of updates those of the satellite's part, which always has the head
    (`learn.learners.TaskLearner.travels`)."""
    codec, update_codec = point.codecs
    if codec == "fp32" and (update_codec == "fp32" or point.trains == "head"):
        return ()
    return (point.cut, point.placement) if point.method == "collaborative" else ("whole",)


def changes_numbers(point: Point, scenario: Scenario) -> list[str]:
    """Switches of the answer that change what is learned against the scenario as written; empty if nothing does.

    Where intermediate results or updates are compressed, a cut or placement other than the scenario's counts too; where
    planes may be late, everything does that changes when things arrive. "method" stands for all that another method
    does with the same switches: it may learn otherwise, compress something else, add no noise, or wait for everybody.
    """
    own = Point.of(scenario)
    differing = point.differences(own)
    mine, theirs = asdict(numbers_of(point, scenario)), asdict(numbers_of(own, scenario))
    changed: list[str] = []
    for name, switches in FEEDS.items():
        if mine[name] in (theirs[name], ()):  # nothing: then what it hangs on differs, too
            continue
        turned = [switch for switch in switches if switch in differing]
        changed += turned or (["method"] if theirs[name] != () else [])
    return list(dict.fromkeys(changed))

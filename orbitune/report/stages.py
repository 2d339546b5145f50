"""How stages look: the colour says what a stage mostly does, read off its activities; shades tell them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orbitune.links.contacts import Nodes
from orbitune.report.palette import FAMILIES
from orbitune.timeline.activity import Activity, Timeline

NUM_SHADES = 4
"""Shades of one colour that can still be told apart; further stages repeat them."""


@dataclass(frozen=True)
class Looks:
    """Family and shade of each stage."""

    stages: Mapping[str, tuple[str, int]]

    def of(self, stage: str) -> tuple[str, int]:
        """Family and shade; a stage without activities belongs to `other`."""
        return self.stages.get(stage, ("other", 0))

    def class_of(self, stage: str) -> str:
        """The CSS classes of a stage."""
        family, shade = self.of(stage)
        return f"f-{family} s{shade}"


def family_of(activity: Activity, nodes: Nodes) -> str:
    """What one activity does, in a word of `palette.FAMILIES`."""
    if activity.kind == "send":
        return activity.link if activity.link in FAMILIES else "other"
    return "onboard" if activity.node in nodes.satellites else "server"


@dataclass(frozen=True)
class Use:
    """One stage of one method: its seconds, and how long all nodes together are busy with each family in it."""

    seconds: float
    busy_s: Mapping[str, float]


def uses_of(timeline: Timeline, nodes: Nodes) -> dict[str, Use]:
    """Every stage of a timeline, in order of appearance."""
    seconds = timeline.stage_s()
    busy_s: dict[str, dict[str, float]] = {stage: defaultdict(float) for stage in seconds}
    for activity in timeline.activities:
        if activity.stage in busy_s:
            busy_s[activity.stage][family_of(activity, nodes)] += activity.end_s - activity.start_s
    return {stage: Use(seconds[stage], busy) for stage, busy in busy_s.items()}


def looks_of(timelines: Iterable[Mapping[str, Use]]) -> Looks:
    """Each stage takes the family that is busy longest in it, over all methods; a stage looks alike everywhere.

    The longest stage of a family has its full colour.
    """
    seconds: dict[str, float] = defaultdict(float)
    busy_s: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for uses in timelines:
        for stage, use in uses.items():
            seconds[stage] += use.seconds
            for family, busy in use.busy_s.items():
                busy_s[stage][family] += busy
    used: dict[str, int] = defaultdict(int)
    found: dict[str, tuple[str, int]] = {}
    for stage in sorted(seconds, key=lambda one: -seconds[one]):
        family = max(busy_s[stage], key=lambda name: busy_s[stage][name], default="other")
        found[stage] = (family, used[family] % NUM_SHADES)
        used[family] += 1
    return Looks(found)

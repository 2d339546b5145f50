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


Busy = Mapping[str, Mapping[str, float]]
"""Seconds that all nodes together spend on each family, by stage."""


def busy_of(timeline: Timeline, nodes: Nodes) -> Busy:
    """How long each family is busy in each stage of a timeline; stages in order of appearance."""
    busy_s: dict[str, dict[str, float]] = {stage: defaultdict(float) for stage in timeline.stage_s()}
    for activity in timeline.activities:
        busy_s.setdefault(activity.stage, defaultdict(float))[family_of(activity, nodes)] += (
            activity.end_s - activity.start_s
        )
    return busy_s


def looks_of(timelines: Iterable[Busy]) -> Looks:
    """Each stage takes the family that is busy longest in it, over all methods; a stage looks alike everywhere."""
    total: dict[str, dict[str, float]] = {}
    for busy in timelines:
        for stage, families in busy.items():
            mine = total.setdefault(stage, defaultdict(float))
            for family, seconds in families.items():
                mine[family] += seconds
    used: dict[str, int] = defaultdict(int)
    found: dict[str, tuple[str, int]] = {}
    for stage, families in total.items():
        family = max(families, key=lambda name: families[name]) if families else "other"
        found[stage] = (family, used[family] % NUM_SHADES)
        used[family] += 1
    return Looks(found)

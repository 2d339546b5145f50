"""Checks of where things come from: initial, origin and staleness (rules of `verify`).

*Initial.* A timeline that claims training rounds starts from nothing but raw data at the satellites that took them,
and weights in which nobody's samples are. An excerpt (`rounds = 0`: one strategy alone) may start from anything.

*Origin.* What a computation makes holds samples of those satellites only whose payloads it needs; on board, a
contribution to an average (`update`) is the satellite's own, because sums are merges. Weights that nobody has trained
are never made: they are sent.

*Staleness.* The contribution of a satellite to the average of version v is everything that was computed of its samples
under that version number, up to the `update` itself. Its base is the oldest average (`update`) that any of these
computations needed; untrained weights are the base where none needed one, or where the computation that makes the
`update` needs them instead. (What is frozen may be computed from untrained weights at any time.) Versions count by
rank, the averages of a timeline in order, for local steps may leave numbers out: between the base and v at most
`Timeline.staleness` other averages were formed. A satellite's own contribution is not an average, unless it was alone
in it. Where a model trains on the ground (`model`), features of version v wait for the model formed before v in the
same sense.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from math import inf

from orbitune.cost.system import System
from orbitune.errors import TimelineRejected
from orbitune.timeline.activity import Activity, Payload, Timeline
from orbitune.timeline.rejection import TIME_TOLERANCE_S, describe_payload, node_name, reject

RAW_KINDS = frozenset({"image", "label"})
"""What a satellite has before anything was computed or sent."""

Contribution = tuple[frozenset[int], int]
"""Whose samples, for which version."""


def check_initial(timeline: Timeline, system: System) -> None:
    """Rule `initial`."""
    if not timeline.rounds:
        return
    for node, payload in timeline.initial:
        own = payload.kind in RAW_KINDS and payload.origins == {node}
        if payload.origins and not own:
            name = node_name(node, system.nodes)
            problem = f"{name} starts with {describe_payload(payload)}; only its own images and labels, and untrained"
            raise TimelineRejected("initial", f"{problem} weights, can be there before anything was done")


def check_origin(timeline: Timeline, system: System) -> None:
    """Rule `origin`."""
    satellites = system.nodes.satellites
    for activity in timeline.activities:
        if activity.kind != "compute":
            continue
        used = frozenset[int]().union(*(payload.origins for payload in activity.needs))
        for payload in activity.makes:
            if not payload.origins:
                problem = f"makes {describe_payload(payload)}; what nobody's samples are in cannot be computed"
                reject("origin", activity, system.nodes, problem)
            if not payload.origins <= used:
                problem = f"makes {describe_payload(payload)}, but needs nothing of {sorted(payload.origins - used)}"
                reject("origin", activity, system.nodes, problem)
            if payload.kind == "update" and activity.node in satellites and payload.origins != {activity.node}:
                problem = f"makes {describe_payload(payload)}; a satellite contributes its own, sums are merges"
                reject("origin", activity, system.nodes, problem)


# -- staleness -----------------------------------------------------------------------------------------------------


@dataclass
class _Lineage:
    """What the computations of a timeline say about versions.

    Attributes:
        bases: Averages that the computations of one contribution needed, as (version, origins).
        weighed: Contributions of which some computation needed untrained weights.
        formed: By version, the satellites that contributed to its average.
        model_s: By version, when the ground has finished its model.
    """

    bases: dict[Contribution, set[tuple[int, frozenset[int]]]] = field(default_factory=lambda: defaultdict(set))
    weighed: set[Contribution] = field(default_factory=set)
    formed: dict[int, frozenset[int]] = field(default_factory=dict)
    model_s: dict[int, float] = field(default_factory=dict)

    def read(self, activity: Activity) -> None:
        averages = {(payload.version, payload.origins) for payload in activity.needs if payload.kind == "update"}
        weights = any(payload.kind == "weights" for payload in activity.needs)
        for payload in activity.makes:
            contribution = (payload.origins, payload.version)
            self.bases[contribution] |= averages
            if weights:
                self.weighed.add(contribution)
            if payload.kind == "update":
                self.formed[payload.version] = self.formed.get(payload.version, frozenset()) | payload.origins
            elif payload.kind == "model":
                self.model_s[payload.version] = max(activity.end_s, self.model_s.get(payload.version, 0.0))


def check_staleness(timeline: Timeline, system: System) -> None:
    """Rule `staleness`."""
    if not timeline.rounds:
        return
    computations = [activity for activity in timeline.activities if activity.kind == "compute"]
    lineage = _Lineage()
    for activity in computations:
        lineage.read(activity)
    versions, models = sorted(lineage.formed), sorted(lineage.model_s)
    for activity in computations:
        for payload in activity.makes:
            flaw = ""
            if payload.kind == "update":
                flaw = _flaw_of_update(payload, activity, lineage, versions, timeline.staleness)
            elif payload.kind == "feature":
                flaw = _flaw_of_feature(payload, activity.start_s, lineage, models, timeline.staleness)
            if flaw:
                reject("staleness", activity, system.nodes, flaw)


def _flaw_of_update(payload: Payload, activity: Activity, lineage: _Lineage, versions: list[int], allowed: int) -> str:
    """What is wrong with what a contribution was computed from; empty if nothing."""
    contribution = (payload.origins, payload.version)
    bases = lineage.bases[contribution]
    if not bases and contribution not in lineage.weighed:
        return f"{describe_payload(payload)} is computed from no weights"
    for version, origins in bases:
        if origins == payload.origins and origins != lineage.formed.get(version):
            return f"{describe_payload(payload)} is computed from its own contribution of version {version}, no average"
    kinds = {need.kind for need in activity.needs}
    untrained = not bases or ("weights" in kinds and "update" not in kinds)
    base = -inf if untrained else min(version for version, _ in bases)
    if base >= payload.version:
        return f"{describe_payload(payload)} is computed from version {base}, which comes after it"
    late = bisect_left(versions, payload.version) - bisect_right(versions, base)
    if late > allowed:
        source = "untrained weights" if untrained else f"version {base}"
        return f"{describe_payload(payload)} is computed from {source}, {late} averages late; {allowed} are allowed"
    return ""


def _flaw_of_feature(payload: Payload, start_s: float, lineage: _Lineage, models: list[int], allowed: int) -> str:
    """What is wrong with the moment at which features are computed; empty if nothing."""
    rank = bisect_left(models, payload.version) - 1 - allowed
    ready_s = lineage.model_s[models[rank]] if rank >= 0 else 0.0
    if start_s < ready_s - TIME_TOLERANCE_S:
        return f"{describe_payload(payload)} needs model version {models[rank]}, which is ready at {ready_s:.6f} s"
    return ""

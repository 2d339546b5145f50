"""Who took part in which average, and from which weights: what learning replays of a timeline."""

from __future__ import annotations

from bisect import bisect_right

from orbitune.timeline.activity import Timeline

TakingPart = tuple[tuple[int, int], ...]
"""(satellite, number of averages in the weights it started from) of each contribution, by satellite."""


def participation(timeline: Timeline, num_satellites: int) -> tuple[TakingPart, ...] | None:
    """The contributions to the average that each round of training ends with.

    Args:
        timeline: One that the checker accepted.
        num_satellites: Satellites of the constellation.

    Returns:
        A row for each round; None where in every round everybody took part and started from the round before.
    """
    contributors: dict[int, set[int]] = {}
    bases: dict[tuple[int, int], int] = {}
    for activity in timeline.activities:
        if activity.kind != "compute":
            continue
        needed = [payload.version for payload in activity.needs if payload.kind == "update"]
        for made in activity.makes:
            if made.origins == {activity.node}:
                place = (activity.node, made.version)
                bases[place] = min([*needed, bases.get(place, made.version)])
                if made.kind in UPDATES:
                    contributors.setdefault(made.version, set()).add(activity.node)
    versions = sorted(contributors)
    if len(versions) != timeline.rounds:
        return None  # an average at every step of a round: everybody takes part in each
    rows = tuple(
        tuple((satellite, _rank(bases[satellite, version], version, versions)) for satellite in sorted(who))
        for version, who in sorted(contributors.items())
    )
    fresh = tuple(tuple((satellite, index) for satellite in range(num_satellites)) for index in range(timeline.rounds))
    return None if rows == fresh else rows


def _rank(base: int, version: int, versions: list[int]) -> int:
    """How many averages weights of version `base` have in them; none where no average was needed."""
    return 0 if base == version else bisect_right(versions, base)


UPDATES = ("update", "compressed_update")
"""Kinds of payloads that a satellite contributes to an average."""

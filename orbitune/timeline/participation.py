"""Who took part in which average, and from which weights: what learning replays of a timeline."""

from __future__ import annotations

from bisect import bisect_right

from orbitune.timeline.activity import Timeline

TakingPart = tuple[tuple[int, int], ...]
"""(satellite, number of averages in the weights it started from) of each contribution, by satellite."""


def participation(timeline: Timeline, num_satellites: int) -> tuple[TakingPart, ...] | None:
    """The contributions to the average that each round of training ends with, or to those of each of its steps.

    Args:
        timeline: One that the checker accepted.
        num_satellites: Satellites of the constellation.

    Returns:
        A row for each round; None where in every round everybody took part and started from the round before.
    """
    found = _contributions(timeline) or _images(timeline)
    rounds = sorted({index for index, _ in found.values()})
    lasts = [max(version for (_, version), (index, _) in found.items() if index == one) for one in rounds]
    rows: list[dict[int, int]] = [{} for _ in rounds]
    for (satellite, version), (index, base) in sorted(found.items(), key=lambda one: one[0][1]):
        # A later step of the same round starts from the step before it, which is no other average.
        rows[rounds.index(index)].setdefault(satellite, 0 if base == version else bisect_right(lasts, base))
    part = tuple(tuple(sorted(row.items())) for row in rows)
    fresh = tuple(tuple((satellite, index) for satellite in range(num_satellites)) for index in range(timeline.rounds))
    return None if part == fresh or not part else part


def _contributions(timeline: Timeline) -> dict[tuple[int, int], tuple[int, int]]:
    """By satellite and version of the average: the round, and the version of the average it was worked out from."""
    bases: dict[tuple[int, int], int] = {}
    rounds: dict[tuple[int, int], int] = {}
    for activity in timeline.activities:
        if activity.kind != "compute":
            continue
        needed = [payload.version for payload in activity.needs if payload.kind == "update"]
        for made in activity.makes:
            if made.origins == {activity.node}:
                place = (activity.node, made.version)
                bases[place] = min([*needed, bases.get(place, made.version)])
                if made.kind in UPDATES:
                    rounds[place] = activity.round
    return {place: (index, bases[place]) for place, index in rounds.items()}


def _images(timeline: Timeline) -> dict[tuple[int, int], tuple[int, int]]:
    """The same where one place trains on images that were brought to it."""
    return {
        (satellite, activity.round): (activity.round, activity.round - 1 if activity.round else activity.round)
        for activity in timeline.activities
        if activity.kind == "compute" and activity.phase == "train"
        for payload in activity.needs
        if payload.kind == "image"
        for satellite in payload.origins - {activity.node}
    }


UPDATES = ("update", "compressed_update")
"""Kinds of payloads that a satellite contributes to an average."""

"""Work that was booked before it was known which average would count it: renamed once it is."""

from __future__ import annotations

from dataclasses import replace

from orbitune.timeline.activity import Activity, Payload


def with_version(payload: Payload, old: int, new: int) -> Payload:
    """The payload under the new version, if it had the old one."""
    return replace(payload, version=new) if payload.version == old else payload


def counted_in(activity: Activity, old: int, new: int, index: int, stage: str) -> Activity:
    """The activity in the round and under the version in which its contribution is counted.

    Args:
        old, new: The version that stood in for it, and the one it turned out to be.
        index, stage: Round and stage that the activity belongs to now.
    """
    return replace(
        activity,
        round=index,
        stage=stage,
        payload=None if activity.payload is None else with_version(activity.payload, old, new),
        needs=tuple(with_version(payload, old, new) for payload in activity.needs),
        makes=tuple(with_version(payload, old, new) for payload in activity.makes),
    )

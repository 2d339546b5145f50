"""How the checker refuses: the tolerance it grants, and the words it uses."""

from __future__ import annotations

from typing import NoReturn

from orbitune.errors import TimelineRejected
from orbitune.links.contacts import Nodes
from orbitune.timeline.activity import Activity, Payload

TIME_TOLERANCE_S = 1e-6
"""Two moments closer than this are the same. A double near 10^6 s is good to 1.2e-10 s (IEEE 754, 52 bits), so a
chain of 8,000 rounded additions stays below it; at 1 Gbit/s it is worth 125 bytes."""


def reject(rule: str, activity: Activity, nodes: Nodes, problem: str) -> NoReturn:
    """Refuse a timeline because of one activity."""
    raise TimelineRejected(rule, f"{describe(activity, nodes)}: {problem}")


def describe(activity: Activity, nodes: Nodes) -> str:
    """One activity in words, with its place in the timeline."""
    who = node_name(activity.node, nodes)
    if activity.kind == "send":
        what = describe_payload(activity.payload) if activity.payload is not None else "nothing"
        who = f"{who} to {node_name(activity.peer, nodes)} over {activity.link or 'no link'}, {what}"
    return (
        f"{activity.kind} by {who}, {activity.start_s:.6f} to {activity.end_s:.6f} s "
        f"({activity.phase} round {activity.round}, stage '{activity.stage}')"
    )


def describe_payload(payload: Payload) -> str:
    """A payload in words; long lists of origins are counted instead."""
    members = sorted(payload.origins)
    origins = f"satellites {members}" if len(members) <= 4 else f"{len(members)} satellites"
    return f"{payload.kind} version {payload.version} of {origins}, bytes {payload.start_byte}:{payload.end_byte}"


def node_name(node: int, nodes: Nodes) -> str:
    """The name of a node, or its number where there is no such node."""
    return nodes.name(node) if 0 <= node < len(nodes) else f"unknown node {node}"

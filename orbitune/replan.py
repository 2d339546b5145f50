"""The rest of a mission: planned anew from a moment on, for the satellites and links that are left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from orbitune.cost.system import System
from orbitune.errors import PlanError
from orbitune.links.contacts import ContactPlan, Nodes
from orbitune.mission import Mission

Link = tuple[int, int]
"""Sender and receiver, by the numbers of the whole mission."""


def rest_of(
    mission: Mission,
    satellites: Collection[int],
    gone: Collection[Link],
    start_s: float,
    rounds_done: int,
    preloaded: bool = True,
) -> Mission:
    """The rounds still to come, as a mission of its own.

    Satellites are numbered anew in the order of their ids; its second 0 is `start_s` of the whole mission.

    Args:
        mission: The whole.
        satellites: Who is left.
        gone: Directed links that will not come back.
        start_s: When it begins.
        rounds_done: Rounds that need not be done again.
        preloaded: Whether all that are left hold the weights of the last average; otherwise they are sent to all.

    Raises:
        PlanError: Nobody is left, or the mission has batteries, whose charge at `start_s` is not known.
    """
    left = tuple(sorted(satellites))
    if not left:
        raise PlanError("no satellite is left to go on with; start the members again and resume the run")
    if mission.system.power is not None:
        raise PlanError(
            "satellite.battery_wh is set: the charge at the moment of a fault is not known, so the rest cannot be "
            "planned; resume the run from its last whole round without batteries, or start again"
        )
    scenario, held = mission.scenario, mission.holdings.num_train
    return replace(
        mission,
        scenario=replace(
            scenario,
            train=replace(scenario.train, rounds=scenario.train.rounds - rounds_done),
            method=replace(scenario.method, preloaded=preloaded),
        ),
        system=_left_of(mission.system, left, gone, start_s),
        holdings=replace(mission.holdings, num_train=tuple(held[satellite] for satellite in left)),
        first_round=rounds_done,
        ids=left,
    )


def node_ids(mission: Mission, rest: Mission) -> tuple[int, ...]:
    """For each node of the rest, its number in the whole mission."""
    whole = mission.system.nodes
    return (*rest.satellites, *whole.stations, whole.server)


def _left_of(system: System, left: tuple[int, ...], gone: Collection[Link], start_s: float) -> System:
    nodes = system.nodes
    kept = set(left)
    planes = tuple(tuple(one for one in plane if one in kept) for plane in nodes.planes)
    number = {satellite: place for place, satellite in enumerate(left)}
    fewer = Nodes(
        satellite_names=tuple(nodes.satellite_names[satellite] for satellite in left),
        station_names=nodes.station_names,
        planes=tuple(tuple(number[one] for one in plane) for plane in planes if plane),
    )
    computers = tuple(system.satellites[satellite] for satellite in left) if system.satellites else ()
    contacts = _contacts_left(system.contacts, fewer, (*left, *nodes.stations, nodes.server), gone, start_s)
    return replace(system, contacts=contacts, satellites=computers)


def _contacts_left(
    plan: ContactPlan, nodes: Nodes, ids: tuple[int, ...], gone: Collection[Link], start_s: float
) -> ContactPlan:
    """Contacts among `ids` that end after `start_s`, counted from there."""
    number = np.full(len(plan.nodes), -1, dtype=np.int32)
    number[list(ids)] = np.arange(len(ids))
    keep = (number[plan.source] >= 0) & (number[plan.target] >= 0) & (plan.end_s > start_s)
    for source, target in gone:
        keep &= (plan.source != source) | (plan.target != target)
    begin = np.maximum(plan.start_s[keep] - start_s, 0.0)
    sources, targets = number[plan.source[keep]], number[plan.target[keep]]
    order = np.lexsort((targets, sources, begin))
    return ContactPlan(
        nodes=nodes,
        horizon_s=plan.horizon_s - start_s,
        source=sources[order],
        target=targets[order],
        kind=plan.kind[keep][order],
        start_s=begin[order],
        end_s=(plan.end_s[keep] - start_s)[order],
        rate_bps=plan.rate_bps[keep][order],
        range_m=plan.range_m[keep][order],
        delay_s=plan.delay_s[keep][order],
    )

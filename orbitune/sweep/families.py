"""Which points one worker should do one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from orbitune.errors import ScenarioError
from orbitune.sweep.grid import Point
from orbitune.sweep.request import Request
from orbitune.sweep.sharing import family


def families(request: Request, waiting: Sequence[Point]) -> list[list[Point]]:
    """The points in groups that share most; groups under one sky follow each other, otherwise in the points' order."""
    found: dict[str, dict[str, list[Point]]] = {}
    for point in waiting:
        sky, rest = _family(request, point)
        found.setdefault(sky, {}).setdefault(rest, []).append(point)
    return [points for groups in found.values() for points in groups.values()]


def _family(request: Request, point: Point) -> tuple[str, str]:
    try:
        return family(request.at(point), request.methods)
    except ScenarioError:
        return "", ""  # refused at once, whoever does it

"""Make orbitune/data/world/land.json from the file land-110m.json of the npm package world-atlas.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python scripts/build_world.py package/land-110m.json orbitune/data/world/land.json

The land outline is Natural Earth 1:110m (public domain). A TopoJSON file stores arcs, delta-encoded and quantised;
polygons are lists of arcs, where ~i means arc i backwards (TopoJSON format specification, sections 2.1.2 to 2.1.4).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

DECIMALS = 2
"""0.01 degrees is 1.1 km on the ground, far below a pixel of a world map."""

SOURCE = "Natural Earth 1:110m land, version of npm world-atlas 2.0.2 (land-110m.json)"
LICENCE = "public domain (naturalearthdata.com, terms of use)"

UNIT = "degrees, [longitude, latitude]; what crosses longitude 180 is cut there"

Point = tuple[float, float]


def decoded(arc: Iterable[Iterable[int]], transform: dict[str, list[float]]) -> list[Point]:
    """One arc as (longitude, latitude) in degrees."""
    steps = accumulate(arc, lambda before, step: [a + b for a, b in zip(before, step, strict=True)])
    (kx, ky), (x0, y0) = transform["scale"], transform["translate"]
    return [(x * kx + x0, y * ky + y0) for x, y in steps]


def ring(indices: list[int], arcs: list[list[Point]]) -> list[Point]:
    """The closed ring that a list of arcs makes; each arc starts where the one before ended."""
    points: list[Point] = []
    for index in indices:
        arc = arcs[index] if index >= 0 else arcs[~index][::-1]
        points += arc[1:] if points else arc
    return points


def rounded(points: list[Point]) -> list[Point]:
    """Rounded points, without repetitions that rounding makes and without the closing point."""
    found: list[Point] = []
    for x, y in points:
        point = (round(x, DECIMALS), round(y, DECIMALS))
        if not found or found[-1] != point:
            found.append(point)
    return found[:-1] if len(found) > 1 and found[0] == found[-1] else found


def unwrapped(points: list[Point]) -> list[Point]:
    """The same ring without jumps at the antimeridian; a ring around a pole is closed along the pole's edge."""
    steps = (round((b[0] - a[0] + 180.0) % 360.0 - 180.0, DECIMALS) for a, b in pairwise([*points, points[0]]))
    longitudes = [round(x, DECIMALS) for x in accumulate(steps, initial=points[0][0])]
    ring = [(x, y) for x, (_, y) in zip(longitudes, points, strict=False)]
    if abs(longitudes[-1] - longitudes[0]) > 180.0:
        pole = -90.0 if points[0][1] < 0 else 90.0
        ring += [(longitudes[-1], points[0][1]), (longitudes[-1], pole), (longitudes[0], pole)]
    return ring


def west_of(points: list[Point], edge: float) -> list[Point]:
    """The part of a ring with longitude up to `edge` (Sutherland and Hodgman, Communications of the ACM 17, 1974)."""
    found: list[Point] = []
    for (x0, y0), (x1, y1) in pairwise([points[-1], *points]):
        if (x0 <= edge) != (x1 <= edge):
            found.append((edge, round(y0 + (edge - x0) / (x1 - x0) * (y1 - y0), DECIMALS)))
        if x1 <= edge:
            found.append((x1, y1))
    return found


def on_the_map(points: list[Point]) -> Iterator[list[Point]]:
    """What of a ring lies between longitudes -180 and 180, the part beyond an edge brought in on the other side."""
    for turn in (-360.0, 0.0, 360.0):
        moved = [(round(x + turn, DECIMALS), y) for x, y in points]
        mirrored = [(-x, y) for x, y in west_of(moved, 180.0)]
        inside = [(-x, y) for x, y in west_of(mirrored, 180.0)] if mirrored else []
        if len(inside) > 2 and len({x for x, _ in inside}) > 1:
            yield inside


def land_rings(topology: dict[str, Any]) -> Iterator[list[Point]]:
    """Every ring of the land, outer ones and lakes alike (they are drawn with the even-odd rule)."""
    arcs = [decoded(arc, topology["transform"]) for arc in topology["arcs"]]
    for geometry in topology["objects"]["land"]["geometries"]:
        for polygon in geometry["arcs"]:
            for indices in polygon:
                points = rounded(ring(indices, arcs))
                if len(points) > 2:
                    yield from on_the_map(unwrapped(points))


def main() -> None:
    """Decode, round, write."""
    source, target = map(Path, sys.argv[1:])
    rings = list(land_rings(json.loads(source.read_text())))
    content = {"source": SOURCE, "licence": LICENCE, "unit": UNIT, "rings": rings}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    print(f"{target}: {len(rings)} rings, {sum(map(len, rings))} points, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()

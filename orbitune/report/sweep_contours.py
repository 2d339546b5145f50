"""Lines of equal value over a grid: marching squares (Lorensen and Cline, "Marching cubes", SIGGRAPH 1987, in two
dimensions), straight between the points where the edges of a square are crossed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Line = list[tuple[float, float]]
Edge = tuple[int, int, int]
"""(row, column, 0 for the edge to the next column, 1 for that to the next row)."""

CASES: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((3, 0),), 2: ((0, 1),), 3: ((3, 1),), 4: ((1, 2),), 6: ((0, 2),), 7: ((3, 2),),
    8: ((2, 3),), 9: ((2, 0),), 11: ((2, 1),), 12: ((1, 3),), 13: ((1, 0),), 14: ((0, 3),),
}  # fmt: skip
"""Which edges of a square (0 below, 1 right, 2 above, 3 left) a line joins, by the corners at or above the level (1 is
lower left, 2 lower right, 4 upper right, 8 upper left). Where opposite ones do (5, 10), the mean decides."""


def contour_lines(x: Sequence[float], y: Sequence[float], z: NDArray[np.float64], level: float) -> list[Line]:
    """Where `z` [len(y), len(x)] crosses the level, as lines of points (x, y); a closed one ends where it begins.

    `x` and `y` rise. Squares with a corner that is NaN are left out. Linear in the size of the grid.
    """
    places: dict[Edge, tuple[float, float]] = {}
    pieces: list[tuple[Edge, Edge]] = []
    for row in range(len(y) - 1):
        for column in range(len(x) - 1):
            corners = z[[row, row, row + 1, row + 1], [column, column + 1, column + 1, column]]
            for ends in _crossed(corners, level):
                one, two = (_edge(row, column, side) for side in ends)
                for edge in (one, two):
                    places[edge] = _place(x, y, z, level, edge)
                pieces.append((one, two))
    return [[places[edge] for edge in chain] for chain in _chains(pieces)]


def _crossed(corners: NDArray[np.float64], level: float) -> tuple[tuple[int, int], ...]:
    if np.isnan(corners).any():
        return ()
    case = sum(1 << place for place in range(4) if corners[place] >= level)
    if case in (5, 10):
        middle_above = float(corners.mean()) >= level
        return ((0, 1), (2, 3)) if (case == 5) == middle_above else ((3, 0), (1, 2))
    return CASES.get(case, ())


def _edge(row: int, column: int, side: int) -> Edge:
    return (row + (side == 2), column, 0) if side in (0, 2) else (row, column + (side == 1), 1)


def _place(
    x: Sequence[float], y: Sequence[float], z: NDArray[np.float64], level: float, edge: Edge
) -> tuple[float, float]:
    row, column, way = edge
    other = (row, column + 1) if way == 0 else (row + 1, column)
    share = (level - float(z[row, column])) / float(z[other] - z[row, column])
    across = x[column] + share * (x[other[1]] - x[column])
    return across, y[row] + share * (y[other[0]] - y[row])


def _chains(pieces: Sequence[tuple[Edge, Edge]]) -> Iterator[list[Edge]]:
    """Pieces joined at their common edges; every edge has one piece or two."""
    at: dict[Edge, list[int]] = {}
    for number, ends in enumerate(pieces):
        for edge in ends:
            at.setdefault(edge, []).append(number)
    left = set(range(len(pieces)))
    loose = [edge for edge, numbers in at.items() if len(numbers) == 1]
    for start in [*loose, *at]:  # open lines from an end first, then what is closed
        chain = [start]
        while following := [number for number in at[chain[-1]] if number in left]:
            left.discard(following[0])
            one, two = pieces[following[0]]
            chain.append(two if one == chain[-1] else one)
        if len(chain) > 1:
            yield chain

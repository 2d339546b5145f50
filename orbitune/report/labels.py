"""Places names beside points so that they do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LETTER = 0.62
"""Mean width of a letter over the font size, bold, for the widest of the page's faces (measured on DejaVu Sans)."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Common area in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def outside(self, width: float, height: float) -> float:
        """Area beyond the sheet, roughly."""
        over_x = max(0.0, -self.left) + max(0.0, self.right - width)
        over_y = max(0.0, -self.top) + max(0.0, self.bottom - height)
        return over_x * (self.bottom - self.top) + over_y * (self.right - self.left)


@dataclass(frozen=True)
class Spot:
    """Where a text stands: offset of its anchor from its point in pixels; `anchor` is start, middle or end."""

    dx: float
    dy: float
    anchor: str

    def box(self, x: float, y: float, width: float, font_px: float) -> Box:
        """The rectangle of a text of that width at the point (x, y)."""
        left = x + self.dx - {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] * width
        return Box(left, y + self.dy - 0.6 * font_px, left + width, y + self.dy + 0.6 * font_px)


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    sheet: tuple[float, float],
    font_px: float,
    point_px: float = 4.0,
) -> list[Spot]:
    """A spot for each text beside its point.

    Greedy: crowded points first, each taking the spot that covers least. `sheet` is (width, height) in pixels.
    """
    taken = [Box(x - point_px, y - point_px, x + point_px, y + point_px) for x, y in points]
    found: dict[int, Spot] = {}
    for index in sorted(range(len(points)), key=lambda one: (-_crowd(points, one), one)):
        width = len(texts[index]) * LETTER * font_px
        spots = _spots(font_px, point_px)
        boxes = [spot.box(*points[index], width, font_px) for spot in spots]
        costs = [sum(map(box.overlap, taken)) + 3 * box.outside(*sheet) for box in boxes]
        best = costs.index(min(costs))
        found[index] = spots[best]
        taken.append(boxes[best])
    return [found[index] for index in range(len(points))]


def _crowd(points: Sequence[tuple[float, float]], index: int) -> float:
    x, y = points[index]
    return sum(1.0 / (1.0 + (x - a) ** 2 + (y - b) ** 2) for number, (a, b) in enumerate(points) if number != index)


def _spots(font_px: float, point_px: float) -> list[Spot]:
    """Right, left, above, below, the corners, then further away; earlier ones win where they cost the same."""
    near, far = point_px + 3, 0.75 * font_px + point_px
    rows = (0.0, -far, far, -far - font_px, far + font_px)
    sides = [Spot(near if row == 0 else near / 2, row, "start") for row in rows]
    sides += [Spot(-near if row == 0 else -near / 2, row, "end") for row in rows]
    middle = [Spot(0.0, row, "middle") for row in rows[1:]]
    return sorted([*sides, *middle], key=lambda spot: (abs(spot.dy), spot.anchor != "start"))

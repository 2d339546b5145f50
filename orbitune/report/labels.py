"""Places names beside points so that they do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LETTER = 0.56
"""Mean width of a letter over the font size, for the sans-serif faces of the page (measured on Liberation Sans)."""


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


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    sheet: tuple[float, float],
    font_px: float,
    point_px: float = 4.0,
) -> list[tuple[float, float]]:
    """Offsets (dx, dy) in pixels from each point to the centre of its text.

    Greedy: crowded points first, each taking the place that covers least. `sheet` is (width, height) in pixels.
    """
    taken = [Box(x - point_px, y - point_px, x + point_px, y + point_px) for x, y in points]
    found = [(0.0, 0.0)] * len(points)
    for index in sorted(range(len(points)), key=lambda one: (-_crowd(points, one), one)):
        x, y = points[index]
        half = len(texts[index]) * LETTER * font_px / 2
        choices = _choices(half, font_px, point_px)
        boxes = [_box(x + dx, y + dy, half, font_px) for dx, dy in choices]
        costs = [sum(map(box.overlap, taken)) + 3 * box.outside(*sheet) for box in boxes]
        best = costs.index(min(costs))
        found[index] = choices[best]
        taken.append(boxes[best])
    return found


def _crowd(points: Sequence[tuple[float, float]], index: int) -> float:
    x, y = points[index]
    return sum(1.0 / (1.0 + (x - a) ** 2 + (y - b) ** 2) for number, (a, b) in enumerate(points) if number != index)


def _box(x: float, y: float, half: float, font_px: float) -> Box:
    return Box(x - half, y - 0.6 * font_px, x + half, y + 0.6 * font_px)


def _choices(half: float, font_px: float, point_px: float) -> list[tuple[float, float]]:
    """Right, left, above, below, then the corners, then further away; earlier ones win where they cost the same."""
    near, far = point_px + 2, 0.75 * font_px + point_px
    sides = [(half + near, 0.0), (-half - near, 0.0), (0.0, -far), (0.0, far)]
    corners = [(sign * (half + near / 2), up * far) for up in (-1, 1) for sign in (1, -1)]
    further = [(sign * (half + near), up * (far + font_px)) for up in (-1, 1) for sign in (1, -1)]
    return [*sides, *corners, (0.0, -far - font_px), (0.0, far + font_px), *further]

"""What the page of a sweep shows: axes with places, and times by point and method, as the folder has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbitune.errors import InputError
from orbitune.report import amounts
from orbitune.report.axes import fitted_log_axis, linear_axis
from orbitune.runs import RunFolder

REFERENCE = "onboard"

Grid = NDArray[np.float64]
"""Figures over the varied keys, an axis for each."""

FEW = 9
"""Values of an axis up to which each has its own label."""

MOST_TICKS = 5
"""Labels of an axis with more values than that; these fit on a phone."""

WIDE_LIST = 20.0
"""A list whose largest number is this many times its smallest is drawn on a logarithmic axis."""

MEASURES = {"time_s": "the whole job: deployment, training and delivery", "train_s": "training alone"}
"""Times that can be compared, in words."""


@dataclass(frozen=True)
class Scale:
    """An axis of the grid: places of its values and edges of their cells, from 0 to 1."""

    key: str
    unit: str
    doc: str
    labels: tuple[str, ...]
    places: tuple[float, ...]
    edges: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]
    numeric: bool
    log: bool

    @property
    def title(self) -> str:
        """The key with its unit and kind of scale, for an axis."""
        words = [word for word in (self.unit, "log scale" if self.log else "") if word]
        return f"{self.key} ({', '.join(words)})" if words else self.key

    def words(self, place: int) -> str:
        """One value with its unit."""
        return f"{self.labels[place]}{amounts.SPACE}{self.unit}" if self.unit else self.labels[place]


def scale_of(axis: Mapping[str, Any]) -> Scale:
    """The places of an axis of sweep.json. Values that are no numbers stand side by side."""
    values: list[Any] = axis["values"]
    numeric = all(isinstance(value, int | float) for value in values) and len(values) > 1
    order = sorted(values) if numeric else values
    low, high = (order[0], order[-1]) if numeric else (0, 0)
    log = numeric and low > 0 and (axis["scale"] == "log" or (axis["scale"] == "list" and high / low >= WIDE_LIST))
    coordinates = [math.log(v) if log else float(v) for v in order] if numeric else list(map(float, range(len(order))))
    places, edges = _cells(coordinates)
    labels = tuple(amounts.digits(value) if numeric else str(value) for value in order)
    ticks = tuple(zip(places, labels, strict=True))
    if len(order) > FEW:
        ticks = _ticks(float(low), float(high), log, coordinates) if numeric else ticks[:: math.ceil(len(ticks) / FEW)]
    return Scale(axis["key"], axis["unit"], axis["doc"], labels, places, edges, ticks, numeric, log)


def _cells(coordinates: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Places and edges as shares; a cell reaches half-way to its neighbours."""
    middle = np.array(coordinates)
    if len(middle) == 1:
        return (0.5,), (0.0, 1.0)
    between = (middle[1:] + middle[:-1]) / 2
    edges = np.concatenate([[2 * middle[0] - between[0]], between, [2 * middle[-1] - between[-1]]])
    span = edges[-1] - edges[0]
    return tuple(((middle - edges[0]) / span).tolist()), tuple(((edges - edges[0]) / span).tolist())


def _ticks(low: float, high: float, log: bool, coordinates: Sequence[float]) -> tuple[tuple[float, str], ...]:
    axis = fitted_log_axis(low, high, amounts.digits) if log else linear_axis(low, high, amounts.digits, fit=False)
    places, _ = _cells(coordinates)
    every = math.ceil(len(axis.ticks) / MOST_TICKS)
    span = places[-1] - places[0]
    return tuple((places[0] + axis.share(value) * span, label) for value, label in axis.ticks[::every])


@dataclass(frozen=True)
class Sweep:
    """A finished sweep. `rows` are the lines of points.jsonl by number."""

    folder: RunFolder
    summary: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.summary["methods"])

    @cached_property
    def axes(self) -> tuple[Mapping[str, Any], ...]:
        """The axes with more than one value."""
        return tuple(axis for axis in self.summary["axes"] if len(axis["values"]) > 1)

    @cached_property
    def scales(self) -> tuple[Scale, ...]:
        """Their places."""
        return tuple(map(scale_of, self.axes))

    @property
    def private(self) -> tuple[str, ...]:
        """The methods that leave the images on board."""
        return tuple(name for name in self.methods if self.summary["images_stay"][name])

    def times(self, measure: str, private: bool = False) -> dict[str, Grid]:
        """Seconds of each method, an axis of the array for each of `scales`.

        NaN where it refuses or is cut off, and, if `private`, where images leave the satellites.
        """
        chosen = self.private if private else self.methods
        shape = tuple(len(scale.places) for scale in self.scales)
        found = {name: np.full(shape, np.nan) for name in self.methods}
        for row in self.rows:
            place = self.place(row)
            for result in row["results"]:
                if not result["stopped"] and result["method"] in chosen:
                    found[result["method"]][place] = result[measure]
        return found

    def place(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        """Where a point stands in the arrays."""
        return tuple(index[row["values"][axis["key"]]] for index, axis in zip(self._indices, self.axes, strict=True))

    @cached_property
    def _indices(self) -> tuple[dict[Any, int], ...]:
        return tuple(
            {value: place for place, value in enumerate(sorted(axis["values"]) if scale.numeric else axis["values"])}
            for axis, scale in zip(self.axes, self.scales, strict=True)
        )

    def refusals(self) -> dict[str, dict[str, int]]:
        """For each method why it refuses, and at how many points."""
        found: dict[str, dict[str, int]] = {}
        for row in self.rows:
            for name, why in row["refused"].items():
                reasons = found.setdefault(name, {})
                reasons[why] = reasons.get(why, 0) + 1
        return found


def read_sweep(folder: RunFolder) -> Sweep:
    """Read a folder in which `sweep` has finished.

    Raises:
        InputError: A file is missing or damaged.
    """
    summary = folder.read_json("sweep.json")
    rows = folder.rows("points.jsonl")
    if not {"axes", "methods", "points"} <= summary.keys() or len(rows) != summary["points"]:
        raise InputError(f"{folder.path}: points.jsonl and sweep.json do not belong together; resume the sweep")
    return Sweep(folder, summary, tuple(rows))


def fastest(times: Mapping[str, Grid]) -> NDArray[np.int64]:
    """The place of the fastest method at each point, in the order of `times`; -1 where none has a time."""
    stack = np.stack(list(times.values()))
    known = ~np.isnan(stack).all(axis=0)
    best: NDArray[np.int64] = np.where(known, np.argmin(np.where(np.isnan(stack), np.inf, stack), axis=0), -1)
    return best


def over_reference(times: Mapping[str, Grid], method: str) -> Grid:
    """Time of a method over that of `onboard`; NaN where one of them has none, or `onboard` takes no time."""
    reference = times[REFERENCE]
    ratio: Grid = np.divide(times[method], reference, out=np.full(reference.shape, np.nan), where=reference > 0.0)
    return ratio

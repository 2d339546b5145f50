"""What a sweep found, as a table and as a summary."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from orbitune.links.contacts import KINDS
from orbitune.methods import METHODS
from orbitune.runs import SCHEMA_VERSION
from orbitune.sweep.grid import declaration
from orbitune.sweep.request import Request

Row = dict[str, Any]

FIGURES = (
    "rounds", "time_s", "deploy_s", "train_s", "deliver_s", "bound_s", "ratio_to_onboard_per_pass", "ratio_to_onboard",
    "time_to_target_s", "final_accuracy", "energy_j",
)  # fmt: skip
"""Figures of a results row that are columns of the table."""


def csv_text(request: Request, rows: Sequence[Row]) -> str:
    """A line for each point and method: values of the keys, figures, bytes by kind of link, or why there are none."""
    keys = [axis.key for axis in request.axes]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["point", *keys, "method", *FIGURES, *(f"{kind}_bytes" for kind in KINDS), "limiting", "stopped",
                     "refused"])  # fmt: skip
    for row in rows:
        start = [row["point"], *(row["values"][key] for key in keys)]
        found = {result["method"]: result for result in row["results"]}
        for name in request.methods:
            writer.writerow([*start, name, *_cells(found.get(name)), row["refused"].get(name, "")])
    return file.getvalue()


def _cells(result: Row | None) -> list[object]:
    if result is None:
        return [""] * (len(FIGURES) + len(KINDS) + 2)
    figures = ["" if result[name] is None else result[name] for name in FIGURES]
    return [*figures, *(result["bytes"][kind] for kind in KINDS), result["limiting"], result["stopped"]]


def summary(request: Request, rows: Sequence[Row]) -> Row:
    """The content of sweep.json."""
    fastest = Counter(best for row in rows if (best := fastest_method(row)) is not None)
    refused = Counter(name for row in rows for name in row["refused"])
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitune": request.version,
        "scenario": request.name,
        "trained": request.train,
        "images_stay": {name: "image" in METHODS[name].private for name in request.methods},
        "methods": list(request.methods),
        "axes": [_axis(request, number) for number in range(len(request.axes))],
        "points": len(request),
        "done": len(rows),
        "fastest": {name: fastest.get(name, 0) for name in request.methods},
        "refused": {name: refused.get(name, 0) for name in request.methods},
        "rejected": sum(words.startswith("timeline rejected") for row in rows for words in row["refused"].values()),
        "over_onboard": {name: _range(rows, name) for name in request.methods if name != "onboard"},
    }


def _axis(request: Request, number: int) -> Row:
    axis = request.axes[number]
    declared = declaration(axis.key)
    return {
        "key": axis.key,
        "unit": declared.unit if declared else "",
        "doc": declared.doc if declared else "",
        "scale": axis.scale,
        "values": axis.values(),
    }


def fastest_method(row: Row) -> str | None:
    """The method that ends first at a point, among those that do all rounds; the first named where they are equal."""
    whole = [result for result in row["results"] if not result["stopped"]]
    best: str | None = min(whole, key=lambda result: float(result["time_s"]))["method"] if whole else None
    return best


def _range(rows: Sequence[Row], name: str) -> Row | None:
    """Least and greatest time over `onboard`, for equal passes over the samples."""
    found = [
        float(ratio)
        for row in rows
        for result in row["results"]
        if result["method"] == name and (ratio := result["ratio_to_onboard_per_pass"]) is not None
    ]
    return {"least": min(found), "greatest": max(found), "points": len(found)} if found else None

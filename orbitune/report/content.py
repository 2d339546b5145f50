"""What a run folder holds, as the report needs it. Missing files become empty values, never invented ones."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orbitune.errors import InputError
from orbitune.links.contacts import KINDS, Nodes
from orbitune.runs import RunFolder

RANDOM = "@random"
"""Ending of a method's name when it starts from random weights instead of the foundation model's."""

REFERENCE = "onboard"
"""The method that every ratio refers to."""


@dataclass(frozen=True)
class Result:
    """One row of the results table; None where the run has no such number. Seconds, bytes and joules.

    `images_stay` is what the timeline promises (and the checker holds it to): images and labels never travel.
    """

    method: str
    rounds: int | None = None
    time_s: float | None = None
    deploy_s: float | None = None
    train_s: float | None = None
    deliver_s: float | None = None
    bound_s: float | None = None
    bound: str = ""
    verified: bool = False
    ratio_to_onboard: float | None = None
    ratio_to_onboard_per_pass: float | None = None
    target_accuracy: float | None = None
    time_to_target_s: float | None = None
    final_accuracy: float | None = None
    bytes: Mapping[str, float] = field(default_factory=dict)
    energy_j: float | None = None
    limiting: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)
    stopped: str = ""
    images_stay: bool | None = None

    @property
    def over_bound(self) -> float | None:
        """Time over the lower bound."""
        return self.time_s / self.bound_s if self.time_s is not None and self.bound_s else None

    @property
    def ground_bytes(self) -> float:
        """Bytes between satellites and stations, both ways."""
        return self.bytes.get("downlink", 0.0) + self.bytes.get("uplink", 0.0)


@dataclass(frozen=True)
class Planned:
    """A companion scenario that was planned and not trained."""

    scenario: str
    model: str
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Round:
    """One row of a method's metrics; round 0 is before training."""

    index: int
    time_s: float
    loss: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    client_loss: Mapping[str, float]


@dataclass(frozen=True)
class Content:
    """Everything the report shows, but the timelines, which are read one at a time."""

    run: RunFolder
    scenario: str
    complete: bool
    results: tuple[Result, ...]
    planned: tuple[Planned, ...]
    metrics: Mapping[str, tuple[Round, ...]]
    contacts: Mapping[str, Any]
    nodes: Nodes | None
    assumptions: tuple[str, ...]
    checks: tuple[Mapping[str, str], ...]
    manifest: Mapping[str, Any]
    scenario_text: str

    @property
    def place(self) -> dict[str, int]:
        """Place of each method in the table, which is also the number of its colour."""
        return {result.method: index for index, result in enumerate(self.results)}

    @property
    def reference(self) -> Result | None:
        """The row of onboard training."""
        return next((result for result in self.results if result.method == REFERENCE), None)

    @property
    def target(self) -> float | None:
        """The target accuracy, where there is one."""
        return next((row.target_accuracy for row in self.results if row.target_accuracy is not None), None)


def read_content(run: RunFolder) -> Content:
    """Read a run folder.

    Raises:
        InputError: A file that is there is damaged or has not the fields it must have.
    """
    compare: dict[str, Any] = run.read_json("compare.json") if run.has("compare.json") else {}
    contacts: dict[str, Any] = run.read_json("contacts.json") if run.has("contacts.json") else {}
    text = _text(run, "scenario.toml")
    rows = compare["results"] if "results" in compare else _summaries(run)
    return Content(
        run=run,
        scenario=str(compare.get("scenario") or _name(text) or run.path.name),
        complete="results" in compare,
        results=tuple(_result(row, run) for row in rows),
        planned=tuple(_planned(item, run) for item in compare.get("planned") or ()),
        metrics={name: found for name in run.methods() if (found := _metrics(run, name))},
        contacts=contacts,
        nodes=_nodes(contacts),
        assumptions=tuple(map(str, compare.get("assumptions") or ())),
        checks=(*(compare.get("checks") or ()), *_privacy(run)),
        manifest=run.read_json("manifest.json"),
        scenario_text=text,
    )


def _privacy(run: RunFolder) -> list[dict[str, str]]:
    """What `orbitune privacy --into RUN` found, as one more line of how numbers were checked."""
    if not run.has("privacy.json"):
        return []
    found = run.read_json("privacy.json")
    return [{"number": "privacy, measured", "how": f"{found.get('conclusion', '')} {found.get('promise', '')}".strip()}]


def _summaries(run: RunFolder) -> list[dict[str, Any]]:
    """The rows of methods that finished, for a run that stopped before the comparison was written."""
    names = (f"methods/{method}/summary.json" for method in run.methods())
    return [run.read_json(name) for name in names if run.has(name)]


def _result(row: Mapping[str, Any], run: RunFolder) -> Result:
    if "method" not in row:
        raise InputError(f"{run.path}: a row of the results has no 'method'; write the comparison again")
    known = {key: row[key] for key in Result.__dataclass_fields__ if row.get(key) is not None}
    known["bytes"] = {kind: float(row.get("bytes", {}).get(kind, 0)) for kind in KINDS} if row.get("bytes") else {}
    return Result(**known)


def _planned(item: Mapping[str, Any], run: RunFolder) -> Planned:
    results = tuple(_result(row, run) for row in item.get("results", ()))
    return Planned(str(item.get("scenario", "")), str(item.get("model", "")), results)


def _metrics(run: RunFolder, method: str) -> tuple[Round, ...]:
    name = f"methods/{method}/metrics.jsonl"
    try:
        return tuple(_round(row) for row in run.rows(name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{run.path / name} is damaged: a row lacks or garbles {error}; resume the run") from error


def _round(row: Mapping[str, Any]) -> Round:
    losses = row.get("client_loss") or {}
    return Round(
        int(row["round"]),
        float(row["sim_time_s"]),
        _finite(row.get("loss")),
        _finite(row.get("accuracy")),
        _finite(row.get("balanced_accuracy")),
        {str(satellite): float(loss) for satellite, loss in losses.items() if _finite(loss) is not None},
    )


def _finite(value: float | None) -> float | None:
    """A loss that has run away has no place on an axis."""
    return value if value is not None and math.isfinite(value) else None


def _nodes(contacts: Mapping[str, Any]) -> Nodes | None:
    if not contacts.get("satellites"):
        return None
    return Nodes(
        tuple(map(str, contacts["satellites"])),
        tuple(str(station["name"]) for station in contacts.get("stations", ())),
        tuple(tuple(plane) for plane in contacts.get("planes", ())),
    )


def _name(scenario_text: str) -> str:
    """The scenario's own name, for a run without a comparison."""
    try:
        return str(tomllib.loads(scenario_text).get("name", ""))
    except tomllib.TOMLDecodeError:
        return ""


def _text(run: RunFolder, name: str) -> str:
    """A text for people to read; bytes that are no UTF-8 are shown as such and stop nothing."""
    path = run.path / name
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

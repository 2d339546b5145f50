"""What a run folder holds, as the report needs it. Missing files become empty values, never invented ones."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from orbitune.errors import InputError
from orbitune.links.contacts import KINDS, Nodes
from orbitune.report.learning import RANDOM as RANDOM
from orbitune.report.learning import Round as Round
from orbitune.report.learning import read_rounds, summaries
from orbitune.runs import RunFolder

REFERENCE = "onboard"
"""The method that every ratio refers to."""

Figure = Mapping[str, Any]
"""A figure over seeds, as in `over_seeds` of a results row: `values`, `count` of those known, `mean`, `min`, `max`."""


@dataclass(frozen=True)
class Result:
    """One row of the results table; None where the run has no such number. Seconds, bytes and joules.

    `images_stay` is what the timeline promises (and the checker holds it to): images and labels never travel.
    Over several seeds figures are means, a target counts as reached where every seed reached it, and `over_seeds` has
    the spread by the name of the figure, kinds of link included; what it lacks is of the first seed: rounds, stages,
    what the bound counts and what limits. `over_bound` is time over lower bound, formed for each seed.
    """

    method: str
    rounds: int | None = None
    time_s: float | None = None
    deploy_s: float | None = None
    train_s: float | None = None
    deliver_s: float | None = None
    bound_s: float | None = None
    bound: str = ""
    over_bound: float | None = None
    verified: bool = False
    ratio_to_onboard: float | None = None
    ratio_to_onboard_per_pass: float | None = None
    target_accuracy: float | None = None
    time_to_target_s: float | None = None
    bytes_to_target: float | None = None
    energy_to_target_j: float | None = None
    final_accuracy: float | None = None
    bytes: Mapping[str, float] = field(default_factory=dict)
    sent_bytes: float | None = None
    energy_j: float | None = None
    limiting: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)
    stopped: str = ""
    images_stay: bool | None = None
    over_seeds: Mapping[str, Figure] = field(default_factory=dict)

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
    seeds: tuple[int, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

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
    rows = compare["results"] if "results" in compare else summaries(run)
    seeds = tuple(compare.get("seeds") or ())
    return Content(
        run=run,
        scenario=str(compare.get("scenario") or _name(text) or run.path.name),
        complete="results" in compare,
        results=tuple(_result(row, run) for row in rows),
        planned=tuple(_planned(item, run) for item in compare.get("planned") or ()),
        metrics=read_rounds(run, rows, seeds),
        contacts=contacts,
        nodes=_nodes(contacts),
        assumptions=tuple(map(str, compare.get("assumptions") or ())),
        checks=(*(compare.get("checks") or ()), *_privacy(run)),
        manifest=run.read_json("manifest.json"),
        scenario_text=text,
        seeds=seeds,
        refused=compare.get("refused") or {},
    )


def _privacy(run: RunFolder) -> list[dict[str, str]]:
    """What `orbitune privacy --into RUN` found, as one more line of how numbers were checked."""
    if not run.has("privacy.json"):
        return []
    found = run.read_json("privacy.json")
    return [{"number": "privacy, measured", "how": f"{found.get('conclusion', '')} {found.get('promise', '')}".strip()}]


def _result(row: Mapping[str, Any], run: RunFolder) -> Result:
    if "method" not in row:
        raise InputError(f"{run.path}: a row of the results has no 'method'; write the comparison again")
    known = {key: row[key] for key in Result.__dataclass_fields__ if row.get(key) is not None}
    known["bytes"] = {kind: float(row.get("bytes", {}).get(kind, 0)) for kind in KINDS} if row.get("bytes") else {}
    known["over_bound"] = over(row.get("time_s"), row.get("bound_s"))
    known["over_seeds"] = spreads = _spreads(row.get("over_seeds") or {})
    means = {key: _mean(found) for key, found in spreads.items() if key in Result.__dataclass_fields__}
    means["bytes"] = known["bytes"] | {kind: _mean(spreads[kind]) for kind in KINDS if kind in spreads}
    return Result(**known | means)


def _spreads(over_seeds: Mapping[str, Any]) -> dict[str, Figure]:
    """By the name of the figure, kinds of link among them, and with the time over the bound of each seed."""
    found: dict[str, Figure] = {key: spread for key, spread in over_seeds.items() if key != "bytes"}
    found |= over_seeds.get("bytes", {})
    if "time_s" in found and "bound_s" in found:
        found["over_bound"] = per_seed(over, found["time_s"], found["bound_s"])
    return found


def over(part: float | None, whole: float | None) -> float | None:
    """The ratio of the two; None where one is unknown, or the whole is nothing."""
    return part / whole if part is not None and whole else None


def per_seed(formula: Callable[..., float | None], *figures: Figure) -> Figure:
    """The spread of what a formula makes of each seed's own values: the mean of ratios is no ratio of means.

    Args:
        formula: Takes one value of each figure, which may be None.
    """
    values = [formula(*one) for one in zip(*(figure.get("values", ()) for figure in figures), strict=False)]
    known = [value for value in values if value is not None]
    return {
        "values": values,
        "count": len(known),
        "mean": fmean(known) if known else None,
        "min": min(known, default=None),
        "max": max(known, default=None),
    }


def _mean(figure: Figure) -> float | None:
    """A figure that some seed lacks is none."""
    return figure.get("mean") if figure.get("count") == len(figure.get("values", ())) else None


def _planned(item: Mapping[str, Any], run: RunFolder) -> Planned:
    results = tuple(_result(row, run) for row in item.get("results", ()))
    return Planned(str(item.get("scenario", "")), str(item.get("model", "")), results)


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

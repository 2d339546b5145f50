"""The page of a sweep: which method wins where; one file, no request to anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbitune.report import amounts
from orbitune.report.frame import details, missing, section, table
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.page import html_page, navigation
from orbitune.report.sweep_content import REFERENCE, Grid, Sweep, fastest, over_reference, read_sweep
from orbitune.report.sweep_figures import heat_figure, main_figure
from orbitune.report.verdict import Tile, cards
from orbitune.runs import RunFolder

PAGE_NAME = "sweep.html"

SCRIPTS = ("page.js", "lines.js")

STYLES = ("page.css", "figures.css", "sweep.css")

PARTS = (
    ("job", "Whole job"),
    ("training", "Training alone"),
    ("methods", "Each method"),
    ("numbers", "Numbers"),
    ("refused", "Refusals"),
    ("setting", "Setting"),
)
"""Sections in order, with their names in the navigation."""

MOST_REASONS = 20
"""Reasons of refusal that are listed for a method; points.csv has the reason of each point."""


def write_sweep_page(folder: RunFolder) -> Path:
    """Write sweep.html into the folder of a finished sweep, in place of an earlier one; returns its path.

    Raises:
        InputError: A file of the sweep is missing or damaged.
        RunError: The file cannot be written.
    """
    return folder.write_text(PAGE_NAME, render_sweep(read_sweep(folder)))


def render_sweep(sweep: Sweep) -> str:
    """The whole page as text."""
    version = sweep.summary.get("orbitune", "")
    text = f"Orbitune {version}. All times are simulated. This page makes no request."
    name = str(sweep.summary["scenario"])
    body = [navigation(PARTS), _header(sweep, name), _main(sweep), tag("footer", tag("p", text, class_="wide"))]
    return html_page(f"{name} – Orbitune sweep", body, SCRIPTS, STYLES)


def _main(sweep: Sweep) -> Markup:
    first = "Which method wins where" if len(sweep.scales) in (2, 3) else "Time of each method"
    return tag(
        "main",
        section("job", first, main_figure(sweep, "time_s"), *_private(sweep)),
        section("training", f"{first}, training alone", _why_alone(), main_figure(sweep, "train_s")),
        section("methods", "Each method against onboard", heat_figure(sweep, "time_s")),
        section("numbers", "The sweep in numbers", _numbers(sweep)),
        section("refused", "Where methods have no plan", _refused(sweep)),
        section("setting", "What was varied, and what was not", _setting(sweep)),
        class_="wide",
    )


def _private(sweep: Sweep) -> list[Markup]:
    """The same without methods that give the images away, where there are both kinds."""
    if len(sweep.private) in (0, len(sweep.methods)):
        return []
    others = " and ".join(name for name in sweep.methods if name not in sweep.private)
    words = f"With {others}, images leave the satellites. Where that is out of question:"
    return [tag("h3", "Images stay on board"), tag("p", words), main_figure(sweep, "time_s", private=True)]


def _why_alone() -> Markup:
    return tag(
        "p", "Without bringing weights up before the first round and the model down after the last: what remains of "
        "the comparison where a job has many rounds, or where the weights flew with the satellites.",
    )  # fmt: skip


# -- top ---------------------------------------------------------------------------------------------------------------


def _header(sweep: Sweep, name: str) -> Markup:
    keys = " and ".join(str(axis["key"]) for axis in sweep.axes) or "nothing"
    how = "trained" if sweep.summary.get("trained") else "planned, checked, not trained"
    rounds = {int(result["rounds"]) for row in sweep.rows for result in row["results"]}
    long = f", {amounts.count(max(rounds), 'round')}" if len(rounds) == 1 else ""
    return tag(
        "header",
        tag("p", "Sweep", class_="eyebrow"),
        tag("h1", name),
        tag("p", f"{amounts.count(len(sweep.rows), 'point')} over {keys}; {how}{long}", class_="made"),
        tag("div", tag("p", _lead(sweep), class_="lead"), class_="verdict"),
        cards(_tiles(sweep)),
        class_="wide",
    )


def _shares(sweep: Sweep, measure: str) -> list[tuple[int, str]]:
    """(points at which it is fastest, method), most first."""
    best = fastest(sweep.times(measure))
    found = [(int((best == place).sum()), name) for place, name in enumerate(sweep.methods)]
    return sorted(found, key=lambda one: -one[0])


def _lead(sweep: Sweep) -> list[Child]:
    wins = [(count, name) for count, name in _shares(sweep, "time_s") if count]
    if not wins:
        return ["No method has a plan at any point. "]
    total = len(sweep.rows)
    words: list[Child] = [tag("b", wins[0][1]), f" ends first at {wins[0][0]:,} of {total:,} points"]
    words += [[", ", tag("b", name), f" at {count:,}"] for count, name in wins[1:]]
    alone = [(count, name) for count, name in _shares(sweep, "train_s") if count]
    words += [". Without deployment and delivery "]
    words += [[", " if place else "", tag("b", name), f" is first at {count:,}"] for place, (count, name) in
              enumerate(alone)]  # fmt: skip
    return [*words, "."]


def _tiles(sweep: Sweep) -> list[Tile]:
    times = sweep.times("time_s")
    found: list[Tile] = [("Points", f"{len(sweep.rows):,}", f"{amounts.count(len(sweep.methods), 'method')} at each")]
    if REFERENCE not in times:
        return found
    for name in sweep.methods:
        ratio = over_reference(times, name)
        if name != REFERENCE and not np.isnan(ratio).all():
            low, high = float(np.nanmin(ratio)), float(np.nanmax(ratio))
            below = int((ratio < 1.0).sum())
            note = f"time over onboard; below 1 at {amounts.count(below, 'point')}"
            found.append((name, f"{amounts.digits(low, 2)} to {amounts.times(high, 2)}", note))
    return found


# -- tables ------------------------------------------------------------------------------------------------------------


def _numbers(sweep: Sweep) -> Markup:
    whole, alone = ({name: count for count, name in _shares(sweep, m)} for m in ("time_s", "train_s"))
    times = sweep.times("time_s")
    rows = [[name, f"{whole[name]:,}", f"{alone[name]:,}", *_spread(times[name])] for name in sweep.methods]
    head = ("Method", "Fastest at", "Fastest in training", "Shortest job", "Median job", "Longest job", "No plan at")
    return table(head, rows, f"Over {amounts.count(len(sweep.rows), 'point')}; points.csv has each of them", "numbers")


def _spread(times: Grid) -> list[str]:
    known = times[~np.isnan(times)]
    if not known.size:
        return [amounts.NONE] * 3 + [f"{times.size:,}"]
    figures = (float(known.min()), float(np.median(known)), float(known.max()))
    return [*map(amounts.duration, figures), f"{times.size - known.size:,}"]


def _refused(sweep: Sweep) -> Markup | list[Markup]:
    found = sweep.refusals()
    if not found:
        return missing("refused", "Every method has a plan at every point.")
    return [_reasons(name, reasons) for name, reasons in found.items()]


def _reasons(name: str, reasons: dict[str, int]) -> Markup:
    most = sorted(reasons.items(), key=lambda item: -item[1])
    rows: list[Sequence[Child]] = [[f"{count:,}", why] for why, count in most[:MOST_REASONS]]
    return details(f"{name}: {amounts.count(sum(reasons.values()), 'point')}", table(("Points", "Why"), rows, name))


def _setting(sweep: Sweep) -> list[Child]:
    rows = [
        [tag("code", axis["key"]), axis["unit"] or amounts.NONE, axis["doc"], _values(axis["values"])]
        for axis in sweep.summary["axes"]
    ]
    request = sweep.folder.read_json("request.json")
    return [
        table(("Key", "Unit", "Meaning", "Values"), rows, "Varied keys"),
        details("The resolved scenario of all points", tag("pre", str(request.get("scenario", "")))),
        details("The request", tag("pre", json.dumps(request.get("axes"), indent=1))),
    ]


def _values(values: Sequence[object]) -> str:
    shown = [amounts.digits(value) if isinstance(value, int | float) else str(value) for value in values]
    return ", ".join(shown) if len(shown) <= 8 else f"{shown[0]}, {shown[1]}, … {shown[-1]} ({len(shown)} values)"

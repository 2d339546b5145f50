"""Puts the page together and writes it: one file, no request to anywhere.

The content security policy allows the page's own style and exactly its own two scripts, by their hashes, and nothing
else, so even a browser with a network fetches nothing and runs nothing that a run's files might smuggle in.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from orbitune.report import amounts, bars, curves, execution_view, figures, gantt_view, map_view, tables, verdict
from orbitune.report.content import Content, read_content
from orbitune.report.execution import Execution, read_execution
from orbitune.report.frame import details, missing, section, table
from orbitune.report.gantt import Chart, chart_of
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.palette import theme_css
from orbitune.report.stages import Looks, Use, looks_of, uses_of
from orbitune.runs import RunFolder

REPORT_NAME = "report.html"

SCRIPTS = ("page.js", "lines.js", "gantt.js", "map.js")

STYLES = ("page.css", "figures.css")

PARTS = (
    ("accuracy", "Accuracy"),
    ("methods", "Methods"),
    ("links", "Links"),
    ("time", "Time"),
    ("executed", "Executed"),
    ("round", "One round"),
    ("world", "Map"),
    ("satellites", "Satellites"),
    ("trust", "How we know"),
)
"""Sections in order, with their names in the navigation."""


def write_report(run: RunFolder) -> Path:
    """Write report.html into the run folder, in place of an earlier one; returns its path.

    Raises:
        InputError: A file of the run is damaged.
        RunError: The file cannot be written.
    """
    return run.write_text(REPORT_NAME, render(read_content(run)))


def render(content: Content) -> str:
    """The whole page as text."""
    charts, look, private = _timelines(content)
    execution = read_execution(content.run)
    rows = tuple(replace(row, images_stay=private.get(row.method)) for row in content.results)
    content = replace(content, results=rows)
    body = [_header(content, execution), _main(content, charts, look, execution), _footer(content)]
    return html_page(f"{content.scenario} – Orbitune report", body, SCRIPTS, STYLES)


def html_page(title: str, body: Sequence[Child], scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A page as text: its head with the policy, the body, and scripts and styles of the template folder by name."""
    script = Markup("\n".join(f"{{\n{_asset(name)}}}" for name in scripts))
    early = Markup(_asset("theme.js"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(early, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(theme_css() + "".join(map(_asset, styles)))),
        tag("script", early),
    )
    html = tag("html", head, tag("body", body, tag("div", id="tip", hidden=True), tag("script", script)), lang="en")
    return f"<!doctype html>\n{html}\n"


def _asset(name: str) -> str:
    return resources.files("orbitune.report").joinpath("template", name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _timelines(content: Content) -> tuple[list[Chart], Looks, dict[str, bool]]:
    """Charts, colours and promised privacy of all stored timelines, read one by one: they are large."""
    charts: list[Chart] = []
    uses: list[dict[str, Use]] = []
    private: dict[str, bool] = {}
    names = [*content.place, *(name for name in content.run.methods() if name not in content.place)]
    for method in names:
        if content.nodes is None or not content.run.has(f"methods/{method}/timeline.jsonl.gz"):
            continue
        timeline = content.run.read_timeline(method)
        private[method] = {"image", "label"} <= set(timeline.private)
        uses.append(uses_of(timeline, content.nodes))
        chart = chart_of(timeline, content.nodes)
        charts += [chart] if chart else []
    charts.sort(key=lambda chart: chart.method != verdict.SUBJECT)
    return charts, looks_of(uses), private


# -- top and bottom --------------------------------------------------------------------------------------------------


def _header(content: Content, execution: Execution | None) -> Markup:
    when = str(content.manifest.get("created_utc", "")).replace("T", " ").replace("+00:00", " UTC")
    seeds = content.seeds or [seed for seed in [content.manifest.get("seed")] if seed is not None]
    words = f", {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}" if seeds else ""
    made = f"Run of {when}{words}"
    title = tag("header", tag("p", "Fine-tuning over a constellation", class_="eyebrow"), tag("h1", content.scenario),
                tag("p", made, class_="made"), tag("div", verdict.verdict(content), class_="verdict", id="verdict"),
                verdict.tiles(content), class_="wide")  # fmt: skip
    parts = [part for part in PARTS if execution is not None or part[0] != "executed"]
    return Markup(navigation(parts) + title)


def navigation(parts: Sequence[tuple[str, str]]) -> Markup:
    """The bar on top with the sections (id, words) and the button for the theme."""
    links = [tag("a", words, href=f"#{name}") for name, words in parts]
    button = tag("button", "Dark", type="button", id="theme", aria_label="Switch between light and dark")
    return tag("nav", tag("div", tag("strong", "Orbitune"), tag("div", links, class_="links"), button, class_="wide"),
               aria_label="Sections")  # fmt: skip


def _footer(content: Content) -> Markup:
    version = content.manifest.get("versions", {}).get("orbitune") or ""
    text = f"Orbitune {version}. All times are simulated unless a number says otherwise. This page makes no request."
    return tag("footer", tag("p", text, class_="wide"))


# -- sections --------------------------------------------------------------------------------------------------------


def _main(content: Content, charts: list[Chart], look: Looks, execution: Execution | None) -> Markup:
    executed = execution_view.draw(execution, content.nodes, look) if execution else None
    return tag(
        "main",
        section("accuracy", "Accuracy, and what it costs", curves.accuracy(content)),
        section("methods", "The methods in numbers", _methods(content)),
        section("links", "What crosses each kind of link", bars.link_bytes(content)),
        section("time", "Where the time goes", bars.stages(content, look)),
        section("executed", "Planned against executed", executed) if executed else None,
        section("round", "One round, node by node", gantt_view.draw(charts, content.nodes, look)),
        section("world", "Satellites, stations and contacts", map_view.draw(content)),
        section("satellites", "How evenly the satellites learn", figures.spread(content)),
        section("trust", "How we know", _trust(content)),
        class_="wide",
    )


def _methods(content: Content) -> list[Markup]:
    if not content.results:
        return [missing("methods", "No method of this run was planned to its end, so there are no numbers yet.")]
    companions = tables.planned(content) or [missing("planned", "No companion scenario was planned beside this one.")]
    return [*tables.methods(content), *companions]


def _trust(content: Content) -> list[Child]:
    """Assumptions, checks, and what one needs to run it again."""
    assumptions = [tag("li", text) for text in content.assumptions]
    checks = [[check.get("number", ""), check.get("how", "")] for check in content.checks]
    return [
        tag("h3", "Assumptions"),
        tag("ul", assumptions, class_="prose", id="assumptions")
        if assumptions
        else missing("assumptions", "This run names no assumptions."),
        tag("h3", "How each number was checked"),
        table(("Number", "How"), checks, "Checks", "checks")
        if checks
        else missing("checks", "No checks are recorded."),
        details("Versions and machine", table(("What", "Value"), _versions(content), "Versions and machine")),
        details("The resolved scenario", tag("pre", content.scenario_text or "The run has no scenario.toml.")),
    ]


def _versions(content: Content) -> list[list[Child]]:
    manifest = content.manifest
    rows: list[list[Child]] = [["command", tag("code", " ".join(map(str, manifest.get("command", ()))))]]
    rows += [[key, str(manifest.get(key, amounts.NONE))] for key in ("created_utc", "seed", "schema_version", "python")]
    rows += [[name, version or "not installed"] for name, version in manifest.get("versions", {}).items()]
    return rows + [[key, json.dumps(value).strip('"')] for key, value in manifest.get("machine", {}).items()]

"""The table of methods: one column per method, one row per number, so that it fits a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orbitune.links.contacts import KINDS
from orbitune.report import amounts
from orbitune.report.bars import KIND_WORDS
from orbitune.report.content import REFERENCE, Content, Result
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.palette import method_colour


@dataclass(frozen=True)
class Line:
    """One row: its label, a note, the text of a result, and the number of which the `best` (min or max) is marked."""

    label: str
    text: Callable[[Result], Child]
    note: str = ""
    value: Callable[[Result], float | None] = lambda row: None
    best: Callable[[list[float]], float] | None = None


def _ratio(row: Result, ratio: float | None) -> str:
    return (
        f"{amounts.times(ratio)} (reference)" if row.method == REFERENCE and ratio is not None else amounts.times(ratio)
    )


def _kind(kind: str) -> Line:
    title, between = KIND_WORDS[kind]
    return Line(title, lambda row: amounts.volume(row.bytes.get(kind)), between)


def _checked(row: Result) -> Markup:
    if row.verified:
        return tag("span", "accepted", class_="good")
    return tag("span", "not accepted", class_="bad")


def _privacy(row: Result) -> str:
    if row.images_stay is None:
        return amounts.NONE
    return "stay on board" if row.images_stay else "leave the satellites"


def _rounds(row: Result) -> Child:
    return amounts.NONE if row.rounds is None else f"{row.rounds}{' (stopped early)' if row.stopped else ''}"


TIME = (
    Line("Whole job", lambda row: amounts.duration(row.time_s), "simulated time", lambda row: row.time_s, min),
    Line("Deploy", lambda row: amounts.duration(row.deploy_s), "weights to the satellites"),
    Line("Train", lambda row: amounts.duration(row.train_s), "all rounds"),
    Line("Deliver", lambda row: amounts.duration(row.deliver_s), "result to where it is wanted"),
    Line("Rounds", _rounds),
    Line("Lower bound", lambda row: amounts.duration(row.bound_s), "no schedule can be faster"),
    Line("Time / bound", lambda row: amounts.times(row.over_bound), "1× would be perfect"),
    Line("What the bound counts", lambda row: row.bound or amounts.NONE),
)
REFERENCES = (
    Line("Time to the target", lambda row: amounts.duration(row.time_to_target_s), "same accuracy",
         lambda row: row.time_to_target_s, min),
    Line("Against onboard", lambda row: _ratio(row, row.ratio_to_onboard), "time to the same accuracy"),
    Line("Against onboard", lambda row: _ratio(row, row.ratio_to_onboard_per_pass), "equal passes over the samples"),
)  # fmt: skip
LEARNING = (
    Line("Final accuracy", lambda row: amounts.percent(row.final_accuracy), "held-out samples",
         lambda row: row.final_accuracy, max),
)  # fmt: skip
COST = (
    *map(_kind, KINDS),
    Line("Energy", lambda row: amounts.energy(row.energy_j), "all satellites", lambda row: row.energy_j, min),
)
JUDGEMENT = (
    Line("Images and labels", _privacy, "raw data of the satellites"),
    Line("Limited by", lambda row: row.limiting or amounts.NONE),
    Line("Checker", _checked, "timeline against the contact plan"),
)


def methods(content: Content) -> Markup:
    """Every number of every method."""
    trained = any(row.final_accuracy is not None for row in content.results)
    groups: list[tuple[str, Sequence[Line]]] = [("Time", TIME)]
    groups.append(("Comparison", REFERENCES if trained else REFERENCES[2:]))
    if trained:
        groups.append(("Learning", LEARNING))
    groups += [("Bytes and energy", COST), ("Judgement", JUDGEMENT)]
    target = f", target accuracy {amounts.set_percent(content.target)}" if content.target is not None else ""
    return _table(content.results, groups, f"Methods of scenario {content.scenario}{target}", coloured=True)


def planned(content: Content) -> list[Markup]:
    """The companion scenarios, each with its label."""
    found: list[Markup] = []
    for companion in content.planned:
        groups = [("Time", TIME), ("Comparison", REFERENCES[2:]), ("Bytes and energy", COST), ("Judgement", JUDGEMENT)]
        title = tag("h3", companion.model, tag("span", "planned, not trained", class_="badge"))
        text = (
            f"The same mission with {companion.model} as the model (scenario {companion.scenario}). Its timelines are "
            "planned and checked like the others, but nothing was trained, so there is no accuracy."
        )
        body = _table(companion.results, groups, f"Planned, not trained: {companion.scenario}", coloured=False)
        found.append(tag("div", title, tag("p", text), body, class_="companion"))
    return found


def _table(
    rows: Sequence[Result], groups: Sequence[tuple[str, Sequence[Line]]], caption: str, *, coloured: bool
) -> Markup:
    swatch = [tag("i", class_="swatch", style=f"--c:{method_colour(index)}") for index in range(len(rows))]
    names = [tag("th", swatch[index] if coloured else None, row.method, scope="col") for index, row in enumerate(rows)]
    head = tag("thead", tag("tr", tag("th", tag("span", "Number", class_="unseen"), scope="col"), names))
    bodies = [_group(rows, title, lines) for title, lines in groups]
    inner = tag("table", tag("caption", caption), head, bodies, class_="methods")
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _group(rows: Sequence[Result], title: str, lines: Sequence[Line]) -> Markup:
    heading = tag("tr", tag("th", title, colspan=f"{len(rows) + 1}", scope="rowgroup"), class_="group-row")
    return tag("tbody", heading, [_line(rows, line) for line in lines])


def _line(rows: Sequence[Result], line: Line) -> Markup:
    values = [line.value(row) for row in rows]
    known = [value for value in values if value is not None]
    best = line.best(known) if line.best and len(known) > 1 else None
    cells = [
        tag("td", line.text(row), class_="best" if best is not None and value == best else None)
        for row, value in zip(rows, values, strict=True)
    ]
    label = tag("th", line.label, tag("small", line.note) if line.note else None, scope="row")
    return tag("tr", label, cells)

"""The tables of methods: every number with a column for each method, and, where methods are many, a line for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbitune.links.contacts import KINDS
from orbitune.report import amounts
from orbitune.report.bars import KIND_WORDS
from orbitune.report.content import REFERENCE, Content, Result
from orbitune.report.frame import details
from orbitune.report.markup import Child, Markup, tag
from orbitune.report.palette import method_colour

MANY = 5
"""Above this number of methods an overview has a line for each, and all numbers come in tables of `COLUMNS` methods."""

COLUMNS = 4


@dataclass(frozen=True)
class Line:
    """One number of a result: its label, a note, its text, and of which value the `best` (min or max) is marked.

    `spread` is the name of the figure in `over_seeds`, and `words` how its least and greatest are written; a line that
    is not in there is of the first seed and says so, but for what is `alike` with every seed.
    """

    label: str
    text: Callable[[Result], Child]
    note: str = ""
    value: Callable[[Result], float | None] = lambda row: None
    best: Callable[[list[float]], float] | None = None
    spread: str = ""
    words: Callable[[float | None], str] = amounts.duration
    alike: bool = False


def _ratio(row: Result, ratio: float | None) -> str:
    return (
        f"{amounts.times(ratio)} (reference)" if row.method == REFERENCE and ratio is not None else amounts.times(ratio)
    )


def _kind(kind: str) -> Line:
    title, between = KIND_WORDS[kind]
    return Line(title, lambda row: amounts.volume(row.bytes.get(kind)), between, spread=kind, words=amounts.volume)


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


WHOLE = Line("Whole job", lambda row: amounts.duration(row.time_s), "simulated time", lambda row: row.time_s, min,
             "time_s")  # fmt: skip
PHASES = (
    Line("Deploy", lambda row: amounts.duration(row.deploy_s), "weights to the satellites", spread="deploy_s"),
    Line("Train", lambda row: amounts.duration(row.train_s), "all rounds", spread="train_s"),
    Line("Deliver", lambda row: amounts.duration(row.deliver_s), "result to where it is wanted", spread="deliver_s"),
)
TIME = (
    WHOLE,
    *PHASES,
    Line("Rounds", _rounds),
    Line("Lower bound", lambda row: amounts.duration(row.bound_s), "no schedule can be faster", spread="bound_s"),
    Line("Time / bound", lambda row: amounts.times(row.over_bound), "1× would be perfect", spread="over_bound",
         words=amounts.times),
    Line("What the bound counts", lambda row: row.bound or amounts.NONE),
)  # fmt: skip
TO_TARGET = Line("Time to the target", lambda row: amounts.duration(row.time_to_target_s), "same accuracy",
                 lambda row: row.time_to_target_s, min, "time_to_target_s")  # fmt: skip
PER_PASS = Line("Against onboard", lambda row: _ratio(row, row.ratio_to_onboard_per_pass),
                "equal passes over the samples", spread="ratio_to_onboard_per_pass", words=amounts.times)  # fmt: skip
REFERENCES = (
    TO_TARGET,
    Line("Bytes to the target", lambda row: amounts.volume(row.bytes_to_target), "all links but the backhaul",
         lambda row: row.bytes_to_target, min, "bytes_to_target", amounts.volume),
    Line("Energy to the target", lambda row: amounts.energy(row.energy_to_target_j), "all satellites",
         lambda row: row.energy_to_target_j, min, "energy_to_target_j", amounts.energy),
    Line("Against onboard", lambda row: _ratio(row, row.ratio_to_onboard), "time to the same accuracy",
         spread="ratio_to_onboard", words=amounts.times),
    PER_PASS,
)  # fmt: skip
ACCURACY = Line("Final accuracy", lambda row: amounts.percent(row.final_accuracy), "held-out samples",
                lambda row: row.final_accuracy, max, "final_accuracy", amounts.percent)  # fmt: skip
SENT = Line("Sent", lambda row: amounts.volume(row.sent_bytes), "all links but the backhaul",
            lambda row: row.sent_bytes, min, "sent_bytes", amounts.volume)  # fmt: skip
ENERGY = Line("Energy", lambda row: amounts.energy(row.energy_j), "all satellites", lambda row: row.energy_j, min,
              "energy_j", amounts.energy)  # fmt: skip
COST = (*map(_kind, KINDS), SENT, ENERGY)
JUDGEMENT = (
    Line("Images and labels", _privacy, "raw data of the satellites", alike=True),
    Line("Limited by", lambda row: row.limiting or amounts.NONE),
    Line("Checker", _checked, "timeline against the contact plan", alike=True),
)
OVERVIEW = (WHOLE, *PHASES, ACCURACY, TO_TARGET, SENT, ENERGY)


def methods(content: Content) -> list[Markup]:
    """Every number of every method, and why some have none."""
    rows, target = content.results, content.target
    caption = f"Methods of scenario {content.scenario}"
    caption += f", target accuracy {amounts.set_percent(target)}" if target is not None else ""
    caption += f", means over {len(content.seeds)} seeds" if len(content.seeds) > 1 else ""
    groups = _groups(rows)
    if len(rows) <= MANY:
        return [_table(rows, groups, caption, 0), *_refused(content)]
    parts = [
        _table(rows[first : first + COLUMNS], groups, f"{caption}: {_from_to(rows, first)}", first)
        for first in range(0, len(rows), COLUMNS)
    ]
    return [_overview(rows, caption), *_refused(content), details("All numbers of all methods", parts)]


def _from_to(rows: Sequence[Result], first: int) -> str:
    shown = rows[first : first + COLUMNS]
    return shown[0].method + (f" to {shown[-1].method}" if len(shown) > 1 else "")


def _groups(rows: Sequence[Result]) -> list[tuple[str, Sequence[Line]]]:
    """The lines by subject; those of learning where something was learned."""
    trained = any(row.final_accuracy is not None for row in rows)
    comparison = REFERENCES if trained else (PER_PASS,)
    learning: list[tuple[str, Sequence[Line]]] = [("Learning", (ACCURACY,))] if trained else []
    return [("Time", TIME), ("Comparison", comparison), *learning, ("Bytes and energy", COST), ("Judgement", JUDGEMENT)]


def _refused(content: Content) -> list[Markup]:
    """Methods that cannot work on this scenario, with their reasons."""
    return [
        tag("p", tag("b", name), f" cannot work here: {why}", class_="note refused")
        for name, why in content.refused.items()
    ]


def planned(content: Content) -> list[Markup]:
    """The companion scenarios, each with its label."""
    found: list[Markup] = []
    for companion in content.planned:
        groups = [("Time", TIME), ("Comparison", (PER_PASS,)), ("Bytes and energy", COST), ("Judgement", JUDGEMENT)]
        title = tag("h3", companion.model, tag("span", "planned, not trained", class_="badge"))
        text = (
            f"The same mission with {companion.model} as the model (scenario {companion.scenario}). Its timelines are "
            "planned and checked like the others, but nothing was trained, so there is no accuracy."
        )
        body = _table(companion.results, groups, f"Planned, not trained: {companion.scenario}", None)
        found.append(tag("div", title, tag("p", text), body, class_="companion"))
    return found


# -- one table -------------------------------------------------------------------------------------------------------


def _overview(rows: Sequence[Result], caption: str) -> Markup:
    """A line for each method with the numbers that people compare first."""
    shown = [line for line in OVERVIEW if any(line.value(row) is not None or line in PHASES for row in rows)]
    head = tag("tr", tag("th", "Method", scope="col"), [_heading(line) for line in shown])
    cells = {line: _cells(rows, line) for line in shown}
    body = [
        tag("tr", _name(row, index, "row"), [cells[line][index] for line in shown]) for index, row in enumerate(rows)
    ]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body), class_="overview")
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _heading(line: Line) -> Markup:
    return tag("th", line.label, scope="col", title=line.note or None)


def _name(row: Result, place: int | None, scope: str) -> Markup:
    swatch = None if place is None else tag("i", class_="swatch", style=f"--c:{method_colour(place)}")
    return tag("th", swatch, row.method, scope=scope)


def _table(
    rows: Sequence[Result], groups: Sequence[tuple[str, Sequence[Line]]], caption: str, place: int | None
) -> Markup:
    """A column for each method; `place` is that of the first one among all methods, None without colours."""
    names = [_name(row, None if place is None else place + index, "col") for index, row in enumerate(rows)]
    head = tag("thead", tag("tr", tag("th", tag("span", "Number", class_="unseen"), scope="col"), names))
    bodies = [_group(rows, title, lines) for title, lines in groups]
    inner = tag("table", tag("caption", caption), head, bodies, class_="methods")
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _group(rows: Sequence[Result], title: str, lines: Sequence[Line]) -> Markup:
    heading = tag("tr", tag("th", title, colspan=f"{len(rows) + 1}", scope="rowgroup"), class_="group-row")
    return tag("tbody", heading, [_line(rows, line) for line in lines])


def _line(rows: Sequence[Result], line: Line) -> Markup:
    alone = "first seed" if _of_the_first_seed(rows, line) else ""
    note = ", ".join(filter(None, (line.note, alone)))
    return tag("tr", tag("th", line.label, tag("small", note) if note else None, scope="row"), _cells(rows, line))


def _of_the_first_seed(rows: Sequence[Result], line: Line) -> bool:
    """Whether there are several seeds and this line has no mean over them."""
    return not line.alike and any(row.over_seeds and line.spread not in row.over_seeds for row in rows)


def _cells(rows: Sequence[Result], line: Line) -> list[Markup]:
    """The cells of one number, the best of them marked."""
    values = [line.value(row) for row in rows]
    known = [value for value in values if value is not None]
    best = line.best(known) if line.best and len(known) > 1 else None
    return [
        tag("td", line.text(row), _range(row.over_seeds.get(line.spread), line),
            class_="best" if best is not None and value == best else None)
        for row, value in zip(rows, values, strict=True)
    ]  # fmt: skip


def _range(figure: Mapping[str, Any] | None, line: Line) -> Markup | None:
    """Least and greatest over the seeds, or how many of them have no such number."""
    if not figure or not figure.get("values"):
        return None
    low, high, missed = figure["min"], figure["max"], len(figure["values"]) - figure["count"]
    if missed and figure["count"]:
        return tag("small", f"{missed} of {len(figure['values'])} seeds missed it")
    if low is None or line.words(low) == line.words(high):
        return None
    return tag("small", f"{line.words(low)} to {line.words(high)}")

"""Results as tables for a terminal: a column for each method, or a line for each where there are many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table

from orbitune.cli.console import NOTHING, hours, size
from orbitune.report.content import over, per_seed

Row = Mapping[str, Any]

MOST_COLUMNS = 4
"""Methods that fit side by side on a page 110 wide, spread over seeds included; more are listed one below another."""

MOST_STAGES = 8
"""Stages shown of one method, those that take most of the time; `--json` has all of them."""

HELPS = 0.99
"""A lever that saves less than a hundredth is not worth a line."""

TIME = "simulated time, accepted by the checker"
LEARNING = "accuracy, and what it takes to get there"
COST = "bytes and energy of the whole job"
STOPPED = "stopped early"
LIMITED = "limited by"
FIRST = " (first seed)"
"""Stands behind the label of what has no mean: it is that of the first of several seeds."""

HEADING_WIDTH = 10
"""Letters after which the heading of a column goes on in the next line."""


def results_table(content: Mapping[str, Any]) -> Group:
    """The comparison, who cannot take part, then the companions that were only planned."""
    tables = [*_seed_words(content), *_methods_tables(content["scenario"], content["results"])]
    tables += _refused_words(content.get("refused", {}))
    for companion in content.get("planned", ()):
        tables += _methods_tables(f"{companion['scenario']} (planned only, not trained)", companion["results"])
    return Group(*tables)


def plan_tables(content: Mapping[str, Any]) -> Group:
    """The comparison, then for each method where its time goes and what would help most."""
    tables: list[RenderableType] = [results_table(content)]
    for row in content["results"]:
        if row["where"]:
            tables.append(_where_table(row))
        if "levers" in row:
            tables.append(Padding(f"[bold]{row['method']}, what would help most[/]: {_lever_words(row)}", (0, 1, 1, 1)))
    return Group(*tables)


def _seed_words(content: Mapping[str, Any]) -> list[RenderableType]:
    seeds = content.get("seeds", ())
    text = f"Means over {len(seeds)} seeds; least and greatest in brackets where they differ."
    return [Padding(text, (1, 1, 1, 1))] if len(seeds) > 1 else []


def _refused_words(refused: Mapping[str, str]) -> list[RenderableType]:
    return [Padding(f"[bold]{name}[/] cannot work here: {why}", (0, 1, 1, 1)) for name, why in refused.items()]


def _methods_tables(title: str, rows: Sequence[Row]) -> list[RenderableType]:
    """All figures in one table, or by subject where there are many methods."""
    cells = [_cells(row) for row in rows]
    if len(rows) <= MOST_COLUMNS:
        return [_side_by_side(f"{title}: {TIME}", rows, cells)]
    found = [_listed(f"{title}: {subject}", rows, [groups[subject] for groups in cells]) for subject in cells[0]]
    stopped = [
        Padding(f"[bold]{row['method']}[/] {STOPPED}{_first(row)}: {row['stopped']}", (0, 1, 1, 1))
        for row in rows
        if row["stopped"]
    ]
    return [*(table for table in found if table is not None), *stopped]


def _side_by_side(title: str, rows: Sequence[Row], cells: Sequence[Mapping[str, Mapping[str, str]]]) -> Table:
    table = _table(title)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(row["method"], justify="right")
    for subject, labels in cells[0].items():
        for label in labels:
            line = [groups[subject][label] for groups in cells]
            if set(line) != {NOTHING}:
                table.add_row(label, *line)
    return table


def _listed(title: str, rows: Sequence[Row], cells: Sequence[Mapping[str, str]]) -> Table | None:
    """A line for each method; nothing where no method has any of these figures. Long words stand below the tables."""
    labels = [
        label for label in cells[0] if not label.startswith(STOPPED) and any(found[label] != NOTHING for found in cells)
    ]
    if not labels:
        return None
    table = _table(title)
    table.add_column("", no_wrap=True)
    ranges = any(row.get("over_seeds") for row in rows)  # too wide to stand side by side in one line
    for label in labels:
        words = label.startswith(LIMITED)
        heading = fill(label.strip(), HEADING_WIDTH)
        table.add_column(heading, justify="left" if words else "right", no_wrap=not (words or ranges))
    for row, found in zip(rows, cells, strict=True):
        table.add_row(row["method"], *(found[label].replace(" of the time)", ")") for label in labels))
    return table


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")


def _cells(row: Row) -> dict[str, dict[str, str]]:
    """One method's figures by subject and label; what is unknown is `NOTHING`."""

    def of(key: str, words: Callable[[float], str]) -> str:
        return _figure(row[key], (row.get("over_seeds") or {}).get(key), words)

    first, target = _first(row), f"{row['target_accuracy']:g}"
    time = {
        ("whole job" if "phase" not in row else f"{row['phase']} alone"): of("time_s", hours),
        **({} if "phase" in row else {f"  {phase}": of(f"{phase}_s", hours) for phase in _PHASES}),
        "begins after": hours(row["starts_s"]) if "starts_s" in row else NOTHING,
        "lower bound": of("bound_s", hours),
        "time / bound": _over_bound(row),
        "time / onboard, equal passes": of("ratio_to_onboard_per_pass", _number),
        f"rounds{first}": str(row["rounds"]),
        f"{STOPPED}{first}": row["stopped"] or NOTHING,
    }
    learning = {
        "final accuracy": of("final_accuracy", lambda share: f"{share:.3f}"),
        f"time to accuracy {target}": of("time_to_target_s", hours),
        f"bytes to accuracy {target}": of("bytes_to_target", size),
        f"energy to accuracy {target}": of("energy_to_target_j", _joules),
        "time / onboard, to that accuracy": of("ratio_to_onboard", _number),
    }
    cost = {
        "between space and ground": _sent(row, "downlink", "uplink"),
        "between satellites": _sent(row, "isl_intra", "isl_inter"),
        "all links": of("sent_bytes", size),
        "energy of the satellites": of("energy_j", _joules),
        f"{LIMITED}{first}": row["limiting"],
    }
    return {TIME: time, LEARNING: learning, COST: cost}


_PHASES = ("deploy", "train", "deliver")


def _first(row: Row) -> str:
    return FIRST if row.get("over_seeds") else ""


def _over_bound(row: Row) -> str:
    spread = row.get("over_seeds")
    ratios = per_seed(over, spread["time_s"], spread["bound_s"]) if spread else None
    return _figure(over(row["time_s"], row["bound_s"]), ratios, _number)


def _sent(row: Row, *kinds: str) -> str:
    """Bytes over these kinds of link together."""
    spread = row.get("over_seeds")
    sums = per_seed(lambda *sizes: sum(sizes), *(spread["bytes"][kind] for kind in kinds)) if spread else None
    return _figure(sum(row["bytes"][kind] for kind in kinds), sums, size)


def _figure(value: float | None, spread: Mapping[str, Any] | None, words: Callable[[float], str]) -> str:
    """A figure, or its mean with least and greatest where seeds differ; how many have one where some have none."""
    if spread is None:
        return NOTHING if value is None else words(value)
    if not spread["count"]:
        return NOTHING
    mean, low, high = (words(spread[key]) for key in ("mean", "min", "max"))
    missed = len(spread["values"]) - spread["count"]
    text = mean if low == high else f"{mean} ({low} to {high})"
    return f"{text}, {missed} missed it" if missed else text


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"


def _joules(value: float) -> str:
    return f"{value / 1e3:.3g} kJ"


# -- where the time goes ---------------------------------------------------------------------------------------------


def _where_table(row: Row) -> Table:
    title = f"{row['method']}: where the time goes; bound by {row['binding']}"
    table = Table("stage", "seconds", "share", "busiest resource", "at work", box=box.SIMPLE_HEAD, title=title,
                  title_justify="left", title_style="bold")  # fmt: skip
    for stage in sorted(row["where"], key=lambda stage: -stage["time_s"])[:MOST_STAGES]:
        figures = f"{stage['time_s']:.3g}", f"{stage['share']:.1%}", stage["busiest"], f"{stage['busy']:.0%}"
        table.add_row(stage["stage"], *figures)
    return table


def _lever_words(row: Row) -> str:
    helpful = [f"{lever['change']}: {lever['time'] - 1.0:+.0%}" for lever in row["levers"] if lever["time"] < HELPS]
    return "; ".join(helpful[:3]) or "nothing alone shortens a round by a hundredth"

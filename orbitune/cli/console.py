"""Everything that is printed: tables, progress with both clocks, JSON. The only printer of the program."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from orbitune.links.overview import ShareRow

Row = Mapping[str, Any]

NOTHING = "-"
"""What stands where there is no figure."""


def show(content: Mapping[str, Any], as_json: bool, table: Callable[[Row], RenderableType]) -> None:
    """Print one document: as JSON on standard output, or as a table."""
    if as_json:
        print(json.dumps(content, indent=2))
    else:
        _stdout().print(table(content))


def _stdout() -> Console:
    """The terminal's width, or one that fits a page where nobody watches."""
    return Console(width=None if sys.stdout.isatty() else 110, highlight=False)


# -- tables ------------------------------------------------------------------------------------------------------


def hours(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return NOTHING
    if seconds == float("inf"):
        return "never"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.2f} h"


def size(count: float) -> str:
    """Bytes with a decimal prefix."""
    for unit, scale in (("EB", 1e18), ("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def results_table(content: Mapping[str, Any]) -> Group:
    """The comparison, a column for each method; then the companions that were only planned."""
    tables = [_methods_table(f"{content['scenario']}: simulated time, accepted by the checker", content["results"])]
    for companion in content.get("planned", ()):
        title = f"{companion['scenario']}: planned only, not trained"
        tables.append(_methods_table(title, companion["results"]))
    return Group(*tables)


def _methods_table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(row["method"], justify="right")
    columns = [_result_cells(row) for row in rows]
    for label in columns[0]:
        cells = [column[label] for column in columns]
        if set(cells) != {NOTHING}:
            table.add_row(label, *cells)
    return table


def _result_cells(row: Row) -> dict[str, str]:
    """One method's figures by their labels; what is unknown is `NOTHING`."""
    sent = row["bytes"]
    return {
        "whole job": hours(row["time_s"]),
        **{f"  {phase}": hours(row[f"{phase}_s"]) for phase in ("deploy", "train", "deliver")},
        "lower bound": hours(row["bound_s"]),
        "time / bound": _ratio(row["time_s"] / row["bound_s"] if row["bound_s"] else None),
        "time / onboard, equal passes": _ratio(row["ratio_to_onboard_per_pass"]),
        "rounds": str(row["rounds"]),
        "final accuracy": NOTHING if row["final_accuracy"] is None else f"{row['final_accuracy']:.3f}",
        f"time to accuracy {row['target_accuracy']:g}": hours(row["time_to_target_s"]),
        "time / onboard, to that accuracy": _ratio(row["ratio_to_onboard"]),
        "between space and ground": size(sent["downlink"] + sent["uplink"]),
        "between satellites": size(sent["isl_intra"] + sent["isl_inter"]),
        "energy of the satellites": f"{row['energy_j'] / 1e3:.3g} kJ",
        "limited by": row["limiting"],
        "stopped early": row["stopped"] or NOTHING,
    }


MOST_STAGES = 8
"""Stages shown of one method, those that take most of the time; `--json` has all of them."""

HELPS = 0.99
"""A lever that saves less than a hundredth is not worth a line."""


def plan_tables(content: Mapping[str, Any]) -> Group:
    """The comparison, then for each method where its time goes and what would help most."""
    tables: list[RenderableType] = [results_table(content)]
    for row in content["results"]:
        tables.append(_where_table(row))
        if "levers" in row:
            tables.append(Padding(f"[bold]{row['method']}, what would help most[/]: {_lever_words(row)}", (0, 1, 1, 1)))
    return Group(*tables)


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


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"


def check_table(content: Mapping[str, Any]) -> Table:
    """A scenario in words, then what its contacts amount to."""
    row = content["first_round"]
    words = {f"one round of {row['method']}": f"{hours(row['time_s'])}, limited by: {row['limiting']}"}
    return _pairs(content["settings"] | _contact_words(content["contacts"]) | _left_out_words(content) | words)


MOST_ROWS = 24
"""Planes, satellites or stations shown in a terminal; `--json` and `--out` have all of them."""


def contacts_table(content: Mapping[str, Any], picture: Sequence[ShareRow]) -> Group:
    """Key figures of a contact plan, its stations, and when each plane (or satellite) is in contact."""
    eclipse = content["eclipse"]
    shadow = f"{eclipse['share_mean']:.1%} of the time, mean ({eclipse['share_min']:.1%} to {eclipse['share_max']:.1%})"
    words = _contact_words(content) | {"in eclipse": shadow} | _left_out_words(content)
    rows, title = content["per_satellite"], "satellite"
    if len(rows) != len(picture):
        rows, title = content["per_plane"], "plane"
    return Group(_pairs(words), _stations_table(content["per_station"]), _shares_table(title, rows, picture))


def _contact_words(figures: Mapping[str, Any]) -> dict[str, str]:
    share = f"{figures['contact_share_mean']:.1%} of the time, mean over satellites"
    words = {
        "passes": f"{figures['passes_per_day']:.0f} per day over all satellites and stations",
        "in contact": f"{share} (least {figures['contact_share_min']:.1%})",
        "longest gap": f"{hours(figures['longest_gap_s'])} ({figures['longest_gap_satellite']})",
    }
    for kind, count in figures["contacts"].items():
        words[kind] = f"{count} contacts, {size(figures['volume_per_day_bytes'][kind])} per day"
    return words


def _left_out_words(content: Mapping[str, Any]) -> dict[str, str]:
    left_out = content["left_out"]
    if not left_out:
        return {}
    shown = [*left_out[:MOST_ROWS], *([f"and {len(left_out) - MOST_ROWS} more"] if len(left_out) > MOST_ROWS else [])]
    return {"left out": "\n".join(shown)}


def _stations_table(stations: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("station", "passes a day", "sees a satellite", "longest gap", "down a day", box=box.SIMPLE_HEAD)
    for row in stations[:MOST_ROWS]:
        table.add_row(row["name"], *_figures(row))
    return table


def _shares_table(title: str, rows: Sequence[Mapping[str, Any]], picture: Sequence[ShareRow]) -> Table:
    """A line for each plane or satellite, with its contact share over the horizon as blocks."""
    table = Table(title, "passes a day", "in contact", "longest gap", "down a day", "over the horizon",
                  box=box.SIMPLE_HEAD)  # fmt: skip
    for row, line in zip(rows[:MOST_ROWS], picture[:MOST_ROWS], strict=True):
        table.add_row(str(row["name"]), *_figures(row), "".join(_BLOCKS[round(share * 8)] for share in line.share))
    if len(rows) > MOST_ROWS:
        table.caption = f"{MOST_ROWS} of {len(rows)}; --json and --out have all of them"
    return table


_BLOCKS = " ▁▂▃▄▅▆▇█"


def _figures(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    share, gap = f"{row['contact_share']:.1%}", hours(row["longest_gap_s"])
    return f"{row['passes_per_day']:.0f}", share, gap, size(row["downlink_per_day_bytes"])


def _pairs(pairs: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for label, value in pairs.items():
        table.add_row(label, value)
    return table


# -- progress ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[Lines | Bars]:
    """Bars on a terminal, one line a round elsewhere, both with simulated and wall time; on standard error."""
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        yield Lines(silent=quiet)
        return
    with Bars(console) as bars:
        yield bars


@dataclass
class Lines:
    """Plain lines for logs and pipes."""

    silent: bool = False
    started_s: float = field(default_factory=time.monotonic)

    def _say(self, text: str) -> None:
        if not self.silent:
            print(f"[{time.monotonic() - self.started_s:6.1f} s] {text}", file=sys.stderr, flush=True)

    def planned(self, method: str, round: int, rounds: int, sim_s: float) -> None:
        """Only the last round: planning is quick."""
        if round == rounds:
            self._say(f"plan  {method}: {rounds} rounds, {hours(sim_s)} simulated")

    def checked(self, method: str, activities: int) -> None:
        """The checker's word."""
        self._say(f"check {method}: {activities} activities accepted")

    def trained(self, run: str, row: Mapping[str, Any], rounds: int) -> None:
        """One line a round."""
        self._say(
            f"train {run}: round {row['round']}/{rounds}, {hours(row['sim_time_s'])} simulated, "
            f"accuracy {row['accuracy']:.3f}"
        )


class Bars:
    """Bars for a terminal."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("simulated {task.fields[simulated]}"),
            TextColumn("wall"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def _advance(self, name: str, done: int, total: int, simulated: str, note: str) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total, simulated="", note="")
        self.bars.update(self.tasks[name], completed=done, simulated=simulated, note=note)

    def planned(self, method: str, round: int, rounds: int, sim_s: float) -> None:
        """Move the method's planning bar."""
        self._advance(f"plan  {method}", round, rounds, hours(sim_s), "")

    def checked(self, method: str, activities: int) -> None:
        """Add the checker's word to the planning bar."""
        if (task := self.tasks.get(f"plan  {method}")) is not None:
            self.bars.update(task, note=f"{activities} activities accepted")

    def trained(self, run: str, row: Mapping[str, Any], rounds: int) -> None:
        """Move the training bar."""
        note = f"accuracy {row['accuracy']:.3f}"
        self._advance(f"train {run}", row["round"], rounds, hours(row["sim_time_s"]), note)

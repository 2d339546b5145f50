"""Everything that is printed: tables, progress with both clocks, JSON. The only printer of the program."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
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

SPEAK_EVERY_S = 10.0
"""Where nobody watches a terminal, a line of progress this often."""


@contextlib.contextmanager
def one_line(quiet: bool) -> Iterator[Callable[[str, bool], None]]:
    """A line that is written over on a terminal, and one every ten seconds elsewhere, on standard error.

    Yields what says it: a text, and whether it is the last one, which is never left out.
    """
    tty, spoken_s = sys.stderr.isatty(), -math.inf

    def say(text: str, last: bool) -> None:
        nonlocal spoken_s
        if quiet or not (tty or last or time.monotonic() - spoken_s >= SPEAK_EVERY_S):
            return
        spoken_s = time.monotonic()
        print(f"\r{text:<100}" if tty else text, file=sys.stderr, end="" if tty else "\n", flush=True)

    yield say
    if tty and not quiet:
        print(file=sys.stderr)


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

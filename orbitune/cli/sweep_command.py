"""`orbitune sweep`: any keys of a scenario over lists and ranges, planned or trained at every point."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orbitune.cli.method_names import method_names
from orbitune.errors import InputError, RunError, TimelineRejected

if TYPE_CHECKING:
    from rich.table import Table

    from orbitune.runs import RunFolder
    from orbitune.sweep.request import Request

USUAL_METHODS = "collaborative,onboard,download"


@click.command()
@click.argument("scenario", required=False)
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=SPEC",
    help="A key and its values: a list (1,10,100), a range lo:hi:count, or log:lo:hi:count; repeatable.",
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one scenario key; repeatable.")
@click.option("--methods", default=None, help=f"Methods to compare, separated by commas.  [default: {USUAL_METHODS}]")
@click.option("--train", is_flag=True, help="Train at every point, each method in its own run folder.")
@click.option("--workers", default=0, type=click.IntRange(0), help="Processes; 0 takes all processors (training: one).")
@click.option("--engine", default="local", show_default=True, type=click.Choice(("local", "ray")))
@click.option("--address", default=None, help="A running Ray cluster; without it one is started here, and stopped.")
@click.option("--out", default=None, type=click.Path(path_type=Path), help="A new folder.  [default: one under runs/]")
@click.option("--resume", default=None, type=click.Path(path_type=Path), metavar="FOLDER", help="Go on with a sweep.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (keys: docs/schema.md).")
def sweep(
    scenario: str | None,
    vary: Sequence[str],
    sets: Sequence[str],
    methods: str | None,
    train: bool,
    workers: int,
    engine: str,
    address: str | None,
    out: Path | None,
    resume: Path | None,
    as_json: bool,
) -> None:
    """Plan (or train) every combination of some keys; says which method wins where.

    Writes points.jsonl, points.csv, sweep.json and the page sweep.html into a folder that can be resumed.
    """
    from orbitune.cli import console
    from orbitune.report.sweep_page import write_sweep_page
    from orbitune.sweep.execute import Engine, execute

    chosen = Engine(engine, workers, address)
    folder, request = _folder(_request(scenario, vary, sets, methods, train, resume), out, resume)
    try:
        with console.one_line(as_json) as say:
            speed = Speed()
            content = execute(folder, request, chosen, lambda done, of: say(speed.after(done, of), done == of))
    except KeyboardInterrupt:
        click.echo(f"\nstopped; what is done is kept. Go on with: {_again(folder)}", err=True)
        sys.exit(130)
    except RunError as error:
        raise RunError(f"{error}; what is done is kept. Go on with: {_again(folder)}") from error
    page = write_sweep_page(folder)
    console.show(content | {"folder": str(folder.path)}, as_json, _table)
    if not as_json:
        click.echo(f"table: {folder.path / 'points.csv'}\npage:  {page}")
    if content["rejected"]:
        raise TimelineRejected("sweep", f"{content['rejected']} plans were refused by the checker; see {folder.path}")


def _again(folder: RunFolder) -> str:
    return f"orbitune sweep --resume {folder.path}"


def _request(
    scenario: str | None,
    vary: Sequence[str],
    sets: Sequence[str],
    methods: str | None,
    train: bool,
    resume: Path | None,
) -> Request | None:
    """What is asked on the command line; None where a sweep is resumed as its folder has it."""
    from orbitune.sweep.grid import parse_axes
    from orbitune.sweep.request import request_of

    if resume is not None and scenario is None:
        if vary or sets or methods or train:
            raise InputError(
                "--resume goes on with the sweep's own request; leave --vary, --set, --methods, --train away"
            )
        return None
    if scenario is None:
        raise InputError("no scenario given; give a .toml file or a preset (orbitune new --list)")
    return request_of(scenario, sets, parse_axes(vary), method_names(methods or USUAL_METHODS), train)


def _folder(request: Request | None, out: Path | None, resume: Path | None) -> tuple[RunFolder, Request]:
    from orbitune.sweep.folder import new_folder, open_folder

    if resume is not None:
        if out is not None:
            raise InputError("--resume goes on in its own folder; leave --out away")
        return open_folder(resume, request)
    assert request is not None, "only a resumed sweep comes without"
    return new_folder(request, out), request


def _table(content: Mapping[str, Any]) -> Table:
    """Who wins at how many points, and the range of time over `onboard`."""
    from rich import box
    from rich.table import Table

    axes = ", ".join(f"{axis['key']} ({len(axis['values'])})" for axis in content["axes"])
    title = f"{content['scenario']}: {content['done']} points over {axes}"
    table = Table("method", "fastest at", "refuses", "time / onboard, equal passes", box=box.SIMPLE_HEAD, title=title,
                  title_justify="left", title_style="bold")  # fmt: skip
    for name in content["methods"]:
        ratios = content["over_onboard"].get(name)
        span = f"{ratios['least']:.3g} to {ratios['greatest']:.3g}" if ratios else "-"
        table.add_row(name, str(content["fastest"][name]), str(content["refused"][name]), span)
    return table


# -- progress --------------------------------------------------------------------------------------------------------


class Speed:
    """Points done, how fast, and how long it will take."""

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.before: int | None = None

    def after(self, done: int, total: int) -> str:
        """Called after each point; the first call says how many a resumed sweep had already."""
        self.before = done - 1 if self.before is None else self.before
        rate = (done - self.before) / max(time.monotonic() - self.started_s, 1e-9)
        return f"{done}/{total} points, {rate * 60:.3g} a minute, {_left((total - done) / rate)} left"


def _left(seconds: float) -> str:
    """59 s, 12 min, 3.4 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

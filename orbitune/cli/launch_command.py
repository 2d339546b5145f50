"""`orbitune launch`: the plan carried out by real processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orbitune.errors import InputError, RunError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orbitune.launch.supervise import Watched
    from orbitune.runs import RunFolder


@click.command()
@click.argument("scenario", required=False)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one scenario key; repeatable.")
@click.option(
    "--engine",
    default=None,
    type=click.Choice(("local", "ray", "flare")),
    help="What runs the nodes: threads here, a Ray cluster, or a NVIDIA FLARE federation.  [default: local]",
)
@click.option("--address", default=None, help="A running cluster or federation; without it one is started here.")
@click.option(
    "--time-scale",
    default=0.0,
    type=click.FloatRange(0.0),
    metavar="X",
    help="Simulated seconds per real second.  [default: so that it takes three minutes]",
)
@click.option(
    "--sites",
    default="plane",
    show_default=True,
    type=click.Choice(("plane", "satellite")),
    help="A process for each orbital plane, or for each satellite; the ground has one of its own.",
)
@click.option(
    "--place",
    "places",
    multiple=True,
    metavar="HOST=ADDRESS",
    help="On which machine of a Ray cluster a process runs (plane-0=10.0.0.3); repeatable.",
)
@click.option("--check-weights", is_flag=True, help="Train the same rounds in one process too, and compare weights.")
@click.option("--runs", "root", default="runs", show_default=True, type=click.Path(path_type=Path))
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with an interrupted run folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (keys: docs/schema.md).")
def launch(
    scenario: str | None,
    sets: Sequence[str],
    engine: str | None,
    address: str | None,
    time_scale: float,
    sites: str,
    places: Sequence[str],
    check_weights: bool,
    root: Path,
    resume: Path | None,
    as_json: bool,
) -> None:
    """Carry the scenario's plan out for real: nodes as processes, links that open, close and carry bytes as planned.

    Writes what was executed beside what was planned: launch.json, compare.json and report.html.
    """
    from orbitune.cli import console
    from orbitune.launch.run import execute, requested
    from orbitune.report.page import write_report

    run = _run(scenario, sets, (engine, address, time_scale, sites, _places(places)), root, resume)
    if requested(run).address:  # Ray ends this process, without a word, a minute after its cluster's head was lost
        click.echo(f"run folder: {run.path}; should this end early, go on with: {_go_on(run)}", err=True)
    try:
        with console.one_line(as_json) as say:
            content = execute(run, lambda now: say(_standing(now), now.done == now.total), check_weights)
    except KeyboardInterrupt:
        click.echo(f"\nstopped; nothing is lost. Go on with: {_go_on(run)}", err=True)
        sys.exit(130)
    except RunError as error:
        raise RunError(f"{error}; what is done is kept. Go on with: {_go_on(run)}") from error
    page = write_report(run)
    console.show(content | {"run": str(run.path)}, as_json, _table)
    if not as_json:
        click.echo(f"report: {page}")


def _run(
    scenario: str | None,
    sets: Sequence[str],
    how: tuple[str | None, str | None, float, str, dict[str, str]],
    root: Path,
    resume: Path | None,
) -> RunFolder:
    from orbitune.launch.run import resumed, start
    from orbitune.launch.state import Request
    from orbitune.scenario.load import load

    engine, address, time_scale, sites, places = how
    if resume is not None:
        if scenario is not None or sets or time_scale:
            raise InputError("--resume goes on as the run was started; leave SCENARIO, --set and --time-scale away")
        return resumed(resume, engine, address, places)
    if scenario is None:
        raise InputError("no scenario given; give a .toml file or a preset (orbitune new --list)")
    loaded = load(scenario, sets)
    return start(loaded, Request(loaded.method.name, engine or "local", address or "", time_scale, sites, places), root)


def _go_on(run: RunFolder) -> str:
    return f"orbitune launch --resume {run.path}"


def _places(written: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in written:
        host, equals, address = text.partition("=")
        if not (host and equals and address):
            raise InputError(f"--place {text!r}: write HOST=ADDRESS, such as ground=10.0.0.3")
        found[host] = address
    return found


def _table(content: Mapping[str, Any]) -> RenderableType:
    """Planned against executed, stage by stage."""
    from rich import box
    from rich.table import Table

    title = (
        f"{content['scenario']}, {content['method']}: executed on {content['engine']}, "
        f"{content['time_scale']:.3g} simulated seconds a second"
    )
    table = Table("", "planned", "executed", "ratio", "error", box=box.SIMPLE_HEAD, title=title, title_justify="left",
                  title_style="bold", caption=_caption(content), caption_justify="left")  # fmt: skip
    whole = {"stage": "whole job", "planned_s": content["planned_s"], "executed_s": content["executed_s"],
             "ratio": content["executed_s"] / content["planned_s"], "judged": True}  # fmt: skip
    for row in (whole, *content["stages"]):
        ratio = f"{row['ratio']:.3f}" if row["judged"] else "-"
        error = f"{row['executed_s'] - row['planned_s']:+.3g} s"
        table.add_row(row["stage"], f"{row['planned_s']:.4g} s", f"{row['executed_s']:.4g} s", ratio, error)
    return table


def _caption(content: Mapping[str, Any]) -> str:
    said = [f"{content['wall_s']:.0f} s real time, final accuracy {content['final_accuracy']:.3f}"]
    if content["seen_s"] is not None:
        said.append(f"by the driver's own clock all were done at {content['seen_s']:.4g} s; it looks twice a second")
    said.append(f"one call takes {content['call_overhead_s']:.3g} simulated s; shorter stages have no ratio")
    if content["overruns"]:
        said.append(f"{content['overruns']} computations took longer than planned")
    if content["max_weight_difference"] is not None:
        said.append(f"largest difference of weights to one process: {content['max_weight_difference']:.3g} (relative)")
    return "\n".join([*said, *(f"at {event['sim_s']:.4g} s: {event['what']}" for event in content["events"])])


def _standing(watched: Watched) -> str:
    """Both clocks, rounds, and how much is done."""
    return (
        f"simulated {max(watched.sim_s, 0.0):.4g} of {watched.planned_s:.4g} s, real {watched.wall_s:.0f} s, "
        f"{watched.rounds} rounds, {watched.done}/{watched.total} activities"
    )

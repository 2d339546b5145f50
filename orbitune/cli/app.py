"""The `orbitune` command. Nothing heavy is imported before a command needs it, so `--help` answers at once.

Exit codes: 0 done, 1 refused, 2 usage or scenario wrong, 3 input file wrong, 4 cannot be planned, 5 checker refused
our timeline, 6 run folder trouble, 7 optional part missing, 130 stopped by Ctrl-C (the run can be resumed).
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from orbitune import __version__
from orbitune.cli.choose_command import choose
from orbitune.cli.launch_command import launch
from orbitune.cli.method_names import method_names, seed_numbers
from orbitune.cli.privacy_command import privacy
from orbitune.cli.provision_command import provision_command
from orbitune.cli.sweep_command import sweep
from orbitune.cli.worker_options import worker_options
from orbitune.errors import InputError, MissingExtra, OrbituneError, RunError
from orbitune.files import write_whole
from orbitune.runs import SCHEMA_VERSION

if TYPE_CHECKING:
    from orbitune.experiment import Request
    from orbitune.learn.spread_cluster import Workers
    from orbitune.runs import RunFolder

ALL_METHODS = "collaborative,onboard,download"
PHASES = ("deploy", "train", "deliver")
ASKED = {"scenario": "SCENARIO", "sets": "--set", "methods": "--methods", "seeds": "--seeds",
         "random_start": "--random-start"}  # fmt: skip
"""What a run folder keeps of the command line, by parameter: nothing to be said again when it is resumed."""

_scenario = click.argument("scenario", required=False)
_set = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one scenario key; repeatable.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document (keys: docs/schema.md).")
_runs = click.option(
    "--runs", "root", default="runs", show_default=True, type=click.Path(path_type=Path), help="Where runs are kept."
)
_resume = click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with an interrupted run folder."
)
_methods = click.option(
    "--methods",
    default=ALL_METHODS,
    show_default=True,
    help="Methods to compare, separated by commas; all is every one.",
)


class _Commands(click.Group):
    """Lists the commands in the order people meet them, and turns our errors into one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of definition."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; no traceback for a user's mistake."""
        try:
            return super().invoke(ctx)
        except OrbituneError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            sys.exit(130)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            click.echo(f"error: cannot print: {error.strerror}", err=True)
            sys.exit(RunError.exit_code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="orbitune")
def main() -> None:
    """Plan, simulate and run the fine-tuning of vision foundation models across satellites.

    SCENARIO is a .toml file or the name of a shipped preset (see `orbitune new --list`).
    """


@main.command()
@_runs
@_json
@_resume
def demo(root: Path, as_json: bool, resume: Path | None) -> None:
    """Fine-tune a real model over a real constellation, compare three methods, write a report."""
    from orbitune.cli import console
    from orbitune.cli.result_tables import results_table
    from orbitune.experiment import Request

    request = Request(tuple(ALL_METHODS.split(",")), random_start=True, companions=("demo-spectralgpt",))
    run = _run("demo", (), request, root, resume)
    content = _execute(run, as_json, "demo")
    report_path = _write_report(run)
    console.show(content | {"run": str(run.path)}, as_json, results_table)
    if not as_json:
        click.echo(f"report: {report_path}")


@main.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--preset", default="demo", show_default=True, help="The preset to start from.")
@click.option("--list", "listing", is_flag=True, help="List the shipped presets and stop.")
@_json
def new(folder: Path | None, preset: str, listing: bool, as_json: bool) -> None:
    """Start a scenario of your own: FOLDER/scenario.toml, commented."""
    from orbitune.scenario.sources import preset_names
    from orbitune.scenario.text import new_text

    if listing or folder is None:
        names = preset_names()
        _say({"presets": list(names)}, "\n".join(names), as_json)
        return
    text = new_text(preset)
    path = folder / "scenario.toml"
    if path.exists():
        raise RunError(f"{path} exists already; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    _say({"path": str(path)}, f"wrote {path}\nnext: orbitune check {path}", as_json)


@main.command()
@_scenario
@_set
@_json
def check(scenario: str | None, sets: Sequence[str], as_json: bool) -> None:
    """Read a scenario, say what it means in words, and find what would stop it."""
    from orbitune.cli import console
    from orbitune.links.summary import key_figures
    from orbitune.mission import prepare
    from orbitune.plans import first_round
    from orbitune.scenario.text import describe, fingerprint

    loaded = _load(scenario, sets)
    mission = prepare(loaded)
    said = {
        "schema_version": SCHEMA_VERSION,
        "scenario": loaded.name,
        "fingerprint": fingerprint(loaded),
        "settings": dict(describe(loaded)),
        "samples": sum(mission.holdings.num_train),
        "contacts": key_figures(mission.system.contacts),
        "left_out": list(mission.left_out),
        "first_round": first_round(mission, loaded.method.name),
    }
    console.show(said, as_json, console.check_table)


@main.command()
@_scenario
@_set
@_json
@click.option("--csv", "as_csv", is_flag=True, help="Print every contact as CSV.")
@click.option(
    "--out",
    "outs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the plan; the ending says how: .csv, .json, .ion (NASA/JPL ION), .czml (Cesium), .html; repeatable.",
)
def contacts(scenario: str | None, sets: Sequence[str], as_json: bool, as_csv: bool, outs: Sequence[Path]) -> None:
    """Who can talk to whom, when: passes, gaps, volumes; as a table, a file or a page."""
    from orbitune.cli import console
    from orbitune.cli.contact_files import Sky, refuse_unknown, write
    from orbitune.links.exchange import csv_text
    from orbitune.links.overview import share_by_hour
    from orbitune.links.summary import summary

    refuse_unknown(outs)
    if as_csv and as_json:
        raise click.UsageError("choose --csv or --json, not both")
    sky = Sky.of(_load(scenario, sets))
    for path in outs:
        click.echo(write(path, sky), err=True)
    if as_csv:
        click.echo(csv_text(sky.plan), nl=False)
        return
    said = {
        "schema_version": SCHEMA_VERSION,
        "scenario": sky.scenario.name,
        **summary(sky.plan),
        "eclipse": sky.eclipse_shares(),
        "left_out": list(sky.constellation.left_out),
    }
    console.show(said, as_json, lambda content: console.contacts_table(content, share_by_hour(sky.plan, num=36)))


@main.command()
@_scenario
@_set
@_methods
@click.option("--phase", type=click.Choice(PHASES), help="Only this phase of the job, with a bound of its own.")
@click.option("--quick", is_flag=True, help="Leave out what would help most, which plans one round per lever.")
@_json
def plan(
    scenario: str | None, sets: Sequence[str], methods: str, phase: str | None, quick: bool, as_json: bool
) -> None:
    """Plan methods without training: time, bound, where it goes, what would help. Needs no torch."""
    from orbitune.cli import console
    from orbitune.cli.result_tables import plan_tables
    from orbitune.levers import levers
    from orbitune.mission import prepare
    from orbitune.plans import sorted_out

    loaded = _load(scenario, sets)
    mission = prepare(loaded)
    with console.progress(quiet=as_json) as heard:
        rows, refused = sorted_out(mission, method_names(methods), phase, heard)
    if not (quick or phase):
        for row in rows:
            row["levers"] = [{"change": lever.name, "time": lever.factor} for lever in levers(mission, row["method"])]
    content = {"schema_version": SCHEMA_VERSION, "scenario": loaded.name, "results": rows, "refused": refused}
    console.show(content, as_json, plan_tables)


@main.command()
@_scenario
@_set
@_runs
@_resume
@worker_options
@_json
def train(
    scenario: str | None,
    sets: Sequence[str],
    root: Path,
    resume: Path | None,
    workers: Workers,
    as_json: bool,
) -> None:
    """Train the scenario's own method with real gradients along its timeline."""
    from orbitune.cli import console
    from orbitune.cli.result_tables import results_table

    run = _run(scenario, sets, None, root, resume)
    content = _execute(run, as_json, "train", workers)
    console.show(content | {"run": str(run.path)}, as_json, results_table)


@main.command()
@_scenario
@_set
@_methods
@_runs
@_resume
@click.option(
    "--seeds", metavar="N|LIST", help="Repeat with N seeds, or with these (1,4,9); the table shows mean and range."
)
@click.option("--random-start", is_flag=True, help="Train the collaborative method from random weights, too.")
@worker_options
@_json
def compare(
    scenario: str | None,
    sets: Sequence[str],
    methods: str,
    root: Path,
    resume: Path | None,
    seeds: str | None,
    random_start: bool,
    workers: Workers,
    as_json: bool,
) -> None:
    """Train several methods on the same physics and compare them; writes compare.json and report.html."""
    from orbitune.cli import console
    from orbitune.cli.result_tables import results_table
    from orbitune.experiment import Request

    numbers = seed_numbers(seeds, _load(scenario, sets).seed) if seeds is not None and resume is None else ()
    run = _run(scenario, sets, Request(method_names(methods), random_start=random_start, seeds=numbers), root, resume)
    content = _execute(run, as_json, "compare", workers)
    report_path = _write_report(run)
    console.show(content | {"run": str(run.path)}, as_json, results_table)
    if not as_json:
        click.echo(f"report: {report_path}")


@main.command()
@_scenario
@_set
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
def profile(scenario: str | None, sets: Sequence[str], out: Path | None) -> None:
    """What the scenario's model costs, part by part, as JSON that model.profile reads; measured where it has to be."""
    from orbitune.mission import profile_of
    from orbitune.model.profile import profile_to_json

    text = profile_to_json(profile_of(_load(scenario, sets)))
    if out is None:
        click.echo(text)
        return
    try:
        write_whole(out, text.encode())
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror}") from error
    click.echo(f"wrote {out}", err=True)


@main.command()
@_json
def doctor(as_json: bool) -> None:
    """What is installed, what is missing, what for, and how to get it."""
    from orbitune.cli.doctor_command import doctor

    sys.exit(doctor(as_json))


@main.command()
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@_json
def report(run_path: Path, as_json: bool) -> None:
    """Write report.html of a finished run: one file that needs no network."""
    from orbitune.runs import RunFolder

    path = _write_report(RunFolder.open(run_path))
    _say({"report": str(path)}, f"report: {path}", as_json)


def _say(content: dict[str, str | list[str]], words: str, as_json: bool) -> None:
    """One short answer, for programs or for people."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **content}) if as_json else words)


def _load(scenario: str | None, sets: Sequence[str]) -> Any:
    from orbitune.scenario.load import load
    from orbitune.scenario.sources import preset_names

    if scenario is None:
        raise InputError(f"no scenario given; give a .toml file or a preset: {', '.join(preset_names())}")
    return load(scenario, sets)


def _run(
    scenario: str | None, sets: Sequence[str], request: Request | None, root: Path, resume: Path | None
) -> RunFolder:
    """A fresh run folder, or the one to be resumed."""
    from orbitune.experiment import Request, start
    from orbitune.runs import RunFolder

    _need_torch()
    if resume is not None:
        source = click.get_current_context().get_parameter_source
        again = [said for name, said in ASKED.items() if source(name) is ParameterSource.COMMANDLINE]
        if again:
            raise InputError(f"--resume goes on with the run's own request; leave {', '.join(again)} away")
        return RunFolder.open(resume)
    loaded = _load(scenario, sets)
    return start(loaded, request or Request((loaded.method.name,)), root)


def _execute(run: RunFolder, quiet: bool, command: str, workers: Workers | None = None) -> dict[str, Any]:
    from orbitune.cli import console
    from orbitune.experiment import execute

    try:
        with console.progress(quiet=quiet) as heard:
            return execute(run, heard, workers)
    except KeyboardInterrupt:
        click.echo(f"\nstopped; nothing is lost. Go on with: orbitune {command} --resume {run.path}", err=True)
        sys.exit(130)


def _write_report(run: RunFolder) -> Path:
    from orbitune.report.page import write_report

    return write_report(run)


def _need_torch() -> None:
    """Training needs torch; say so before any work is done."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"training needs {' and '.join(missing)}: install torch==2.13.0 first, then orbitune[train]; "
            "`orbitune plan` works without"
        )


main.add_command(privacy)
main.add_command(choose)
main.add_command(sweep)
main.add_command(launch)
main.add_command(provision_command)

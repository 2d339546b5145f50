"""`orbitune choose`: the partition, cache and ways that serve a scenario best, proven or with the gap that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import click

from orbitune.cli.method_names import ALL, method_names
from orbitune.errors import PlanError

if TYPE_CHECKING:
    from rich.console import Group

    from orbitune.choose.limits import Limits
    from orbitune.choose.measure import Accuracies
    from orbitune.choose.search import Answer, Found
    from orbitune.choose.space import Space
    from orbitune.mission import Mission
    from orbitune.plans import Planned

POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("scenario")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one scenario key; repeatable.")
@click.option(
    "--for",
    "objective",
    type=click.Choice(["time", "bytes", "energy"]),
    default="time",
    show_default=True,
    help="What is to be least: seconds of the whole job, bytes over links (not cables), joules on board.",
)
@click.option("--max-memory", type=POSITIVE, metavar="GB", help="Most that a satellite's computer may use.")
@click.option("--max-energy-j", type=POSITIVE, metavar="J", help="Most that all satellites may spend together.")
@click.option("--private", default="", metavar="KIND,...", help="Payloads that stay on board: embedding@0, update ...")
@click.option(
    "--allow",
    default="",
    metavar="SWITCH,...",
    help="Switches that change numbers: codec, update_codec, trains, server_encoder, staleness.",
)
@click.option(
    "--methods",
    default="collaborative",
    show_default=True,
    metavar="NAME,...",
    help="Among these: collaborative, onboard, download, fedavg, fedisl, fedleo, or all.",
)
@click.option("--keep", default="", metavar="SWITCH,...", help="Switches to be left as the scenario has them.")
@click.option(
    "--measure",
    type=click.IntRange(min=1),
    metavar="ROUNDS",
    help="Train so many rounds of the scenario and of a choice that changes numbers, and compare.",
)
@click.option(
    "--accuracy-loss",
    type=click.FloatRange(min=0, max=1),
    metavar="SHARE",
    help="Most accuracy that such a choice may lose; needs --measure.",
)
@click.option("--budget", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop then, and print the gap.")
@click.option("--quick", is_flag=True, help="Leave out the neighbours, each of which is planned once more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (keys: docs/schema.md).")
def choose(
    scenario: str,
    sets: Sequence[str],
    objective: str,
    max_memory: float | None,
    max_energy_j: float | None,
    private: str,
    allow: str,
    methods: str,
    keep: str,
    measure: int | None,
    accuracy_loss: float | None,
    budget: float | None,
    quick: bool,
    as_json: bool,
) -> None:
    """Search method, partition, cache, overlap and ways for the least time, bytes or energy."""
    from orbitune.choose.explain import words
    from orbitune.choose.limits import Limits, private_of
    from orbitune.choose.space import space_of
    from orbitune.cli import console
    from orbitune.mission import prepare
    from orbitune.scenario.load import load
    from orbitune.units import gigabytes

    if accuracy_loss is not None and measure is None:
        raise click.UsageError("--accuracy-loss is held against a measured accuracy; give --measure ROUNDS, too")
    mission = prepare(load(scenario, sets))
    memory_bytes = inf if max_memory is None else gigabytes(max_memory)
    limits = Limits(memory_bytes, max_energy_j or inf, private_of(_words(private)))
    task = Task(mission, space_of(mission, _words(allow), _words(keep), _methods(methods)), limits, objective)
    budget_s, loss = inf if budget is None else budget, inf if accuracy_loss is None else accuracy_loss
    answer, measured = _search(task, measure, loss, budget_s)
    if answer.best is None:
        raise PlanError(" ".join(words(mission, answer, objective, [], None)))
    console.show(_content(task, answer, answer.best, measured, None if quick else budget_s), as_json, table)


def _words(listed: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in listed.split(",") if word.strip())


def _methods(listed: str) -> tuple[str, ...]:
    """`all` is every method that can be chosen for."""
    from orbitune.choose.reads import READS

    return tuple(READS) if listed.strip() == ALL else method_names(listed)


@dataclass(frozen=True)
class Task:
    """What is searched, for what."""

    mission: Mission
    space: Space
    limits: Limits
    objective: str


def _search(task: Task, rounds: int | None, loss: float, budget_s: float) -> tuple[Answer, list[Accuracies]]:
    from orbitune.choose.measure import search_measured
    from orbitune.choose.search import Search

    if rounds is None:
        return Search(task.mission, task.space, task.limits, task.objective).run(budget_s), []
    return search_measured(task.mission, task.space, task.limits, task.objective, rounds, loss, budget_s)


def _content(
    task: Task, answer: Answer, best: Found, measured: Sequence[Accuracies], budget_s: float | None
) -> dict[str, Any]:
    """The whole answer, for programs and for the table; no neighbours without a budget for them."""
    from orbitune.choose.explain import look, neighbours, to_json, words
    from orbitune.choose.space import Point
    from orbitune.plans import result_row
    from orbitune.runs import SCHEMA_VERSION

    mission, objective, found, written = task.mission, task.objective, [], None
    if budget_s is not None:
        found = list(neighbours(mission, task.space, task.limits, objective, best, budget_s))
        written = look(mission, task.limits, objective, Point.of(mission.scenario))
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": mission.scenario.name,
        **to_json(answer, objective, found, mission),
        "held": list(task.space.held),
        "accuracy": [asdict(one) | {"loss": one.loss} for one in measured],
        "result": result_row(mission, _planned(task, best), ()),
        "words": words(mission, answer, objective, found, written),
    }


def _planned(task: Task, best: Found) -> Planned:
    """The best point as other commands show a method."""
    from orbitune.choose.search import job_at
    from orbitune.plans import Planned
    from orbitune.timeline.bounds import lower_bound

    method, _ = job_at(task.mission, best.point, task.limits)
    bound = lower_bound(method.needs(best.job, best.job.rounds), best.job.system)
    return Planned(method, best.job, best.timeline, bound)


def table(content: Any) -> Group:
    """What to set, then the reasons."""
    from rich import box
    from rich.console import Group
    from rich.table import Table

    shown = Table("switch", "chosen", box=box.SIMPLE_HEAD, title=f"{content['scenario']}: least {content['objective']}",
                  title_justify="left", title_style="bold")  # fmt: skip
    for name, value in (content["chosen"] or {}).items():
        shown.add_row(name, str(value))
    sentences = [*content["words"], *content["held"], *map(_accuracy_words, content["accuracy"])]
    sets = " ".join(f"--set {one}" for one in content["sets"])
    return Group(shown, *sentences, f"To use it: {sets}" if sets else "The scenario is best as it is.")


def _accuracy_words(one: Any) -> str:
    return (
        f"Measured after {one['rounds']} rounds: accuracy {one['chosen']:.3f} with the choice, {one['written']:.3f} "
        f"as written (loss {one['loss']:+.3f})."
    )

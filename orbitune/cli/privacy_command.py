"""`orbitune privacy`: how much of the images and labels can be told from what crosses the cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orbitune.errors import InputError
from orbitune.runs import RunFolder

if TYPE_CHECKING:
    from rich.console import Group

    from orbitune.learn.privacy.assess import Noised
    from orbitune.scenario.schema import Scenario


@click.command()
@click.argument("scenario")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one scenario key; repeatable.")
@click.option("--cuts", default="", metavar="0,2,...", help="Cuts to attack; without it, the scenario's own.")
@click.option("--codecs", default="", metavar="fp32,...", help="Codecs to attack; without it, the scenario's own.")
@click.option(
    "--into", type=click.Path(path_type=Path), metavar="RUN", help="Write privacy.json into a run, for its report."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (keys: docs/schema.md).")
def privacy(scenario: str, sets: Sequence[str], cuts: str, codecs: str, into: Path | None, as_json: bool) -> None:
    """Attack what crosses: images from embeddings and features, labels from gradients."""
    from orbitune.cli import console
    from orbitune.scenario.load import load

    loaded = load(scenario, sets)
    run = RunFolder.open(into) if into else None
    content = study(loaded, _cuts(cuts, loaded), _codecs(codecs, loaded))
    if run is not None:
        run.write_json("privacy.json", content)
    console.show(content, as_json, table)


def _cuts(listed: str, scenario: Scenario) -> tuple[int, ...]:
    """The cuts of a comma-separated list, or the scenario's own.

    Raises:
        InputError: One is not a number.
    """
    words = [word.strip() for word in listed.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise InputError(f"--cuts {listed!r}: a cut is a number of blocks, 0 or more; write for instance --cuts 0,2")
    return tuple(map(int, words)) or (scenario.model.cut_after_block,)


def _codecs(listed: str, scenario: Scenario) -> tuple[str, ...]:
    """The codecs of a comma-separated list, or the scenario's own.

    Raises:
        InputError: One does not exist.
    """
    from orbitune.cost.transfer import CODECS

    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    if unknown := [name for name in names if name not in CODECS]:
        raise InputError(f"--codecs {listed!r}: unknown {', '.join(unknown)}; there are {', '.join(CODECS)}")
    return names or (scenario.method.codec,)


def study(scenario: Scenario, cuts: Sequence[int], codecs: Sequence[str]) -> dict[str, Any]:
    """All attacks on a scenario's model and images, as one document.

    Raises:
        InputError: There are no images, no such cut, or weights or images are missing or damaged.
        PlanError: There are fewer training images than satellites.
        MissingExtra: torch is not installed.
    """
    from orbitune.learn.privacy.accounting import Promise
    from orbitune.learn.privacy.assess import assess, conclusion

    if scenario.data.dataset == "none":
        raise InputError(f"{scenario.name}: data.dataset = 'none' has no images to attack; choose a data set")
    target, held = _target(scenario)
    num_blocks = len(target.pieces) - 2
    if too_deep := [cut for cut in cuts if cut > num_blocks]:
        raise InputError(f"cut {too_deep[0]}: the model has {num_blocks} blocks; a cut lies between 0 and {num_blocks}")
    noised = {cut: noise_at(scenario, cut, held) for cut in cuts}
    rows = [row for cut in cuts for row in assess(target, cut, codecs, noised[cut])]
    promises = [found[1] for found in noised.values() if found] or [Promise(0.0, 1)]
    return {
        "schema_version": _schema_version(),
        "scenario": scenario.name,
        "rows": [row.row() for row in rows],
        "conclusion": conclusion(rows),
        "promise": max(promises, key=lambda promise: promise.epsilon_run).words(),
    }


def _schema_version() -> int:
    from orbitune.runs import SCHEMA_VERSION

    return SCHEMA_VERSION


def _target(scenario: Scenario) -> tuple[Any, tuple[int, ...]]:
    """What is attacked, and how many samples each satellite holds."""
    from orbitune.learn.privacy.study import load_target
    from orbitune.mission import model_spec, selection
    from orbitune.scenario.build import build_constellation

    num_satellites = len(build_constellation(scenario))
    return load_target(model_spec(scenario), selection(scenario), num_satellites, scenario.seed)


def noise_at(scenario: Scenario, cut: int, held: Sequence[int]) -> Noised | None:
    """The noise of the scenario, and what it promises to the sample that is used most often."""
    from orbitune.learn.privacy.accounting import Promise, releases_of_a_sample
    from orbitune.learn.privacy.noise import noise_of

    train, method = scenario.train, scenario.method
    noise = noise_of(method.noise_multiplier, method.noise_clip, scenario.seed, method.noise_gradient_clip)
    if noise is None:
        return None
    batches = train.rounds * train.local_steps * train.accumulate
    front_trains = train.trains == "full" or (train.trains in ("lora", "encoder") and cut > 0)
    releases = [
        releases_of_a_sample(count, train.batch_size, batches, front_trains, train.trains != "head") for count in held
    ]
    return noise, Promise(method.noise_multiplier, max(releases))


def table(content: Any) -> Group:
    """The attacks, a line for each, then what follows from them."""
    from rich import box
    from rich.console import Group
    from rich.table import Table

    shown = Table("cut", "codec", "payload", "attack", "PSNR", "SSIM", "labels", "without attack", "noise", "epsilon",
                  box=box.SIMPLE_HEAD, title=f"{content['scenario']}: what can be told from what crosses",
                  title_justify="left", title_style="bold")  # fmt: skip
    for row in content["rows"]:
        shown.add_row(*_cells(row))
    return Group(shown, f"{content['conclusion']} {content['promise']}")


def _cells(row: Any) -> list[str]:
    """One attack; "without attack" is the mean image or the most frequent label."""
    from orbitune.cli.console import NOTHING

    def figure(key: str, form: str) -> str:
        return NOTHING if row[key] is None else format(row[key], form)

    labels = row["label_accuracy"] is not None
    trivial = "baseline_label_accuracy" if labels else "baseline_psnr_db"
    without = figure(trivial, ".0%" if labels else ".1f") + ("" if labels else f" dB, {figure('baseline_ssim', '.2f')}")
    psnr = figure("psnr_db", ".1f") + (" dB" if row["psnr_db"] is not None else "")
    return [
        str(row["cut"]), row["codec"], row["payload"].replace("_", " "), row["attack"], psnr, figure("ssim", ".2f"),
        figure("label_accuracy", ".0%"), without, f"{row['noise_multiplier']:g}", figure("epsilon_run", ".3g"),
    ]  # fmt: skip

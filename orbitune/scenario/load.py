"""From a file or a preset to a `Scenario`, or to a list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitune.errors import ScenarioError
from orbitune.scenario.check import check
from orbitune.scenario.keys import keys_of
from orbitune.scenario.rules import contradictions, fix_reconstructed
from orbitune.scenario.schema import ARRAYS, SECTIONS, Scenario
from orbitune.scenario.sources import read


def load(path_or_preset: str | Path, sets: Sequence[str] = ()) -> Scenario:
    """Read a scenario, with everything it extends and the changes on top.

    Where a nearer file turns a switch (say `train.optimizer`), inherited keys that belonged to the other position (here
    `train.momentum`) are dropped; written in the same file or nearer, they are a contradiction.

    Args:
        path_or_preset: A TOML file, or the name of a shipped preset.
        sets: Changes such as "train.rounds=5" or "ground_station.Svalbard.antennas=2".

    Raises:
        ScenarioError: With every problem of the scenario at once.
        InputError: The file does not exist or cannot be read.
    """
    written = read(path_or_preset, sets)
    fix_reconstructed(written)
    checked = check(written)
    problems = [*written.problems, *checked.problems, *contradictions(written, checked.values)]
    if problems:
        raise ScenarioError(problems)
    return _build(checked.values, written.counts)


def _build(values: Mapping[str, object], counts: Mapping[str, int]) -> Scenario:
    content: dict[str, Any] = {key.name: values[key.name] for key in keys_of(Scenario)}
    for name, section in SECTIONS.items():
        if name in ARRAYS:
            content[name] = tuple(
                _section(section, f"{name}.{number}", values) for number in range(counts.get(name, 0))
            )
        else:
            content[name] = _section(section, name, values)
    return Scenario(**content)


def _section(section: type, place: str, values: Mapping[str, object]) -> object:
    return section(**{key.name: values[f"{place}.{key.name}"] for key in keys_of(section)})

"""What was learned round by round, and at what cost; over several seeds the mean, with least and greatest accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from orbitune.errors import InputError
from orbitune.runs import RunFolder

RANDOM = "@random"
"""Ending of a method's name when it starts from random weights instead of the foundation model's."""

Curves = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""By method and round: bytes and energy used up by its end, as in `curve` of a results row."""


@dataclass(frozen=True)
class Round:
    """One row of a method's metrics; round 0 is before training. Seconds, bytes and joules since the job began.

    `between` are the least and the greatest accuracy over several seeds; the other figures are means then, but losses,
    which are those of the first seed.
    """

    index: int
    time_s: float
    loss: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    client_loss: Mapping[str, float]
    sent_bytes: float | None = None
    energy_j: float | None = None
    between: tuple[float, float] | None = None


def read_rounds(
    run: RunFolder, rows: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> dict[str, tuple[Round, ...]]:
    """The rounds of each method that was trained, and of its random start.

    Args:
        rows: The results of the first seed, which have the costs of its rounds.
        seeds: All seeds; those after the first are in folders of their own.

    Raises:
        InputError: A file of metrics is damaged.
    """
    first = _read(run, _curves(rows))
    further = [RunFolder(run.path / "seeds" / str(seed)) for seed in seeds[1:]]
    others = [_read(folder, _curves(summaries(folder))) for folder in further]
    return {
        name: _over_seeds([rounds, *(other[name] for other in others if name in other)])
        for name, rounds in first.items()
    }


def summaries(run: RunFolder) -> list[dict[str, Any]]:
    """The rows of methods that finished."""
    names = (f"methods/{method}/summary.json" for method in run.methods())
    return [run.read_json(name) for name in names if run.has(name)]


def _curves(rows: Sequence[Mapping[str, Any]]) -> Curves:
    return {str(row.get("method")): {one["round"]: one for one in row.get("curve") or ()} for row in rows}


def _read(run: RunFolder, costs: Curves) -> dict[str, tuple[Round, ...]]:
    found = {name: _metrics(run, name, costs) for name in run.methods()}
    return {name: rounds for name, rounds in found.items() if rounds}


def _metrics(run: RunFolder, method: str, costs: Curves) -> tuple[Round, ...]:
    name, spent = f"methods/{method}/metrics.jsonl", costs.get(method.removesuffix(RANDOM), {})
    try:
        return tuple(_round(row, spent.get(row["round"], {})) for row in run.rows(name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{run.path / name} is damaged: a row lacks or garbles {error}; resume the run") from error


def _round(row: Mapping[str, Any], spent: Mapping[str, Any]) -> Round:
    losses = row.get("client_loss") or {}
    return Round(
        int(row["round"]),
        float(row["sim_time_s"]),
        _finite(row.get("loss")),
        _finite(row.get("accuracy")),
        _finite(row.get("balanced_accuracy")),
        {str(satellite): float(loss) for satellite, loss in losses.items() if _finite(loss) is not None},
        spent.get("sent_bytes"),
        spent.get("energy_j"),
    )


def _finite(value: float | None) -> float | None:
    """A loss that has run away has no place on an axis."""
    return value if value is not None and math.isfinite(value) else None


def _over_seeds(seeds: Sequence[tuple[Round, ...]]) -> tuple[Round, ...]:
    """Means of the rounds that every seed has done, of seeds that have begun."""
    if len(seeds) == 1:
        return seeds[0]
    return tuple(_mean(rounds) for rounds in zip(*seeds, strict=False))


def _mean(rounds: Sequence[Round]) -> Round:
    values = [one.accuracy for one in rounds if one.accuracy is not None]
    return replace(
        rounds[0],
        time_s=fmean(one.time_s for one in rounds),
        accuracy=_known_mean([one.accuracy for one in rounds]),
        balanced_accuracy=_known_mean([one.balanced_accuracy for one in rounds]),
        sent_bytes=_known_mean([one.sent_bytes for one in rounds]),
        energy_j=_known_mean([one.energy_j for one in rounds]),
        between=(min(values), max(values)) if len(values) == len(rounds) else None,
    )


def _known_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None

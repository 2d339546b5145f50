"""Options of the commands that train: who does the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from orbitune.learn.spread_cluster import Workers

_engine = click.option(
    "--engine",
    default="local",
    show_default=True,
    type=click.Choice(("local", "ray")),
    help="Train in processes here, or spread trainings and satellites over a Ray cluster.",
)
_address = click.option(
    "--address", default=None, help="A running Ray cluster; without it one is started here, and stopped."
)
_workers = click.option(
    "--workers",
    default=0,
    type=click.IntRange(0),
    help="Processes; 0 takes all processors, of a cluster with GPUs one for each GPU.",
)


def worker_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the three options; it gets what they say as `workers`."""

    @wraps(command)
    def with_workers(*args: Any, engine: str, address: str | None, workers: int, **others: Any) -> None:
        command(*args, workers=_chosen(engine, workers, address), **others)

    return _engine(_address(_workers(with_workers)))


def _chosen(engine: str, count: int, address: str | None) -> Workers:
    """Says at once if they cannot be had."""
    from orbitune.learn.spread_cluster import Workers

    chosen = Workers(engine, count, address)
    chosen.check()
    return chosen

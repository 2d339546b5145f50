"""`orbitune doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from orbitune.cli import console
from orbitune.engine.doctor import findings

STYLES = {"ok": "green", "missing": "yellow", "old": "red", "other": "red"}


def doctor(json_output: bool) -> int:
    """Print what was found; returns the exit code, 1 where something is amiss without which nothing works."""
    found = findings()
    console.show({"findings": [asdict(one) for one in found]}, json_output, _table)
    return int(any(one.needed and one.state != "ok" for one in found))


def _table(content: Mapping[str, Any]) -> Table:
    table = Table("", "state", "version", "for", "how to get it", box=box.SIMPLE_HEAD)
    table.columns[0].style = "bold"
    for row in content["findings"]:
        state = f"[{STYLES[row['state']]}]{row['state']}[/]"
        remedy = console.NOTHING if row["state"] == "ok" else row["remedy"].replace("[", r"\[")
        table.add_row(row["name"], state, row["version"] or console.NOTHING, row["purpose"], remedy)
    return table

"""What every benchmark does with its figures: print them as a table, and keep them with where they come from."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OUT = Path(__file__).resolve().parent / "out"
PACKAGES = ("orbitune", "numpy", "scipy", "sgp4", "skyfield", "numba", "brahe", "networkx", "torch", "ray", "nvflare")

WIDEST = 160
"""Characters beyond which a table is printed with a line for each figure instead."""

Row = Mapping[str, str | int | float | bool | None]


def record(name: str, rows: Sequence[Row], seed: int, top: Mapping[str, object] | None = None) -> Path:
    """Print `rows` as a table and write `benchmarks/out/NAME.json`: figures, machine, versions, seed.

    All rows should have the same keys, and each key its unit in its name. `top` holds figures for the top
    of the file. Returns the path of the file.
    """
    wide = table(rows)
    print(wide if len(wide.splitlines()[0]) <= WIDEST else table(_turned(rows)))
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    kept = {
        "name": name,
        "taken_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "machine": machine(),
        "versions": versions(),
        **(top or {}),
        "rows": [dict(row) for row in rows],
    }
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {path.relative_to(OUT.parent.parent)}")
    return path


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, numbers to the right."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    cells = [heads, *([_shown(row.get(head)) for head in heads] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _turned(rows: Sequence[Row]) -> list[Row]:
    """A row for each figure and a column for each row, named by its first figure."""
    name, *heads = dict.fromkeys(key for row in rows for key in row)
    return [{name: head, **{str(row.get(name)): row.get(head) for row in rows}} for head in heads]


def machine() -> dict[str, str | int | None]:
    """Processor, cores and system this ran on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
    }


def versions() -> dict[str, str]:
    """Versions of the packages that shape the figures, where installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's name where Linux tells it; its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)

"""The folder of a sweep: what was asked, a line for every point that is done, and the tables made of them.

FOLDER/
  request.json    the resolved scenario, varied keys, methods, version of Orbitune
  points.jsonl    a line for each point, in the order of finishing; sorted by number when all are done
  points.csv      the same as a table, a line for each point and method
  sweep.json      summary: who is fastest at how many points, refusals
  sweep.html      the report page
  runs/           with --train: a run folder for each point and method
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orbitune import __version__
from orbitune.errors import RunError
from orbitune.runs import SCHEMA_VERSION, RunFolder
from orbitune.sweep.request import Request

REQUEST, POINTS = "request.json", "points.jsonl"


def new_folder(request: Request, out: Path | None) -> RunFolder:
    """Make the folder, `out` or one under runs/ with the time in its name, and note in it what is to be done.

    Raises:
        RunError: There is a sweep in it already, or it cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = out or Path("runs") / f"{stamp}-{request.name}-sweep"
    try:
        path.mkdir(parents=True, exist_ok=out is not None)
    except OSError as error:
        raise RunError(f"cannot make {path}: {error.strerror}; choose another --out folder") from error
    folder = RunFolder(path)
    if any(path.iterdir()):
        raise RunError(f"{path} is not empty; choose another --out folder, or go on with its sweep by --resume {path}")
    folder.write_json(REQUEST, {"schema_version": SCHEMA_VERSION, **request.to_json()})
    return folder


def open_folder(path: Path, wanted: Request | None = None) -> tuple[RunFolder, Request]:
    """An existing sweep and what it was asked.

    Raises:
        RunError: It is no sweep, another version began it, or it was asked something else than `wanted`.
        InputError: Its request is damaged.
    """
    folder = RunFolder(path)
    if not folder.has(REQUEST):
        raise RunError(f"{path} is no folder of a sweep: it has no {REQUEST}")
    request = Request.from_json(folder.read_json(REQUEST))
    if request.version != __version__:
        raise RunError(
            f"{path} was begun by Orbitune {request.version}, this is {__version__}: points would not be "
            "comparable; start a new sweep"
        )
    if wanted is not None and (other := wanted.difference(request)):
        raise RunError(
            f"{path} was asked something else ({other} differs); resume it without SCENARIO, --vary, --set, --methods "
            "and --train, or start a new sweep with --out"
        )
    return folder, request


@contextlib.contextmanager
def at_work(folder: RunFolder) -> Iterator[None]:
    """Keep a second process out; the system lets go when this one dies.

    Raises:
        RunError: Another process works on this sweep.
    """
    try:
        file = (folder.path / "lock").open("a")
    except OSError as error:
        raise RunError(f"cannot write into {folder.path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is at work on {folder.path}; wait for it, or stop it") from None
        yield


def done(folder: RunFolder, request: Request) -> dict[int, dict[str, Any]]:
    """The points that have a complete line, by number; a line cut short by a crash does not count.

    Raises:
        RunError: A line belongs to another sweep.
        InputError: The file cannot be read.
    """
    found: dict[int, dict[str, Any]] = {}
    for row in folder.rows(POINTS):
        number = row.get("point")
        if not isinstance(number, int) or not 0 <= number < len(request) or not {"results", "refused"} <= row.keys():
            raise RunError(f"{folder.path / POINTS} has a line that is not of this sweep: point {number!r}")
        found.setdefault(number, row)
    return found


def tidy(folder: RunFolder, rows: dict[int, dict[str, Any]]) -> None:
    """Leave exactly these lines, by number: the same bytes, whoever worked them out and in what order."""
    lines = (json.dumps(rows[number], separators=(",", ":")) for number in sorted(rows))
    folder.write_text(POINTS, "".join(f"{line}\n" for line in lines))

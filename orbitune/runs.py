"""One folder per run: what was asked, what was planned, what was learned, and enough to go on after a crash.

    runs/<UTC date and time>-<name>/
      scenario.toml            the resolved scenario, every key written out
      manifest.json            versions, seed, command, machine, schema_version
      contacts.json            summary of the contact plan; stations, ground tracks and passes for the map
      events.jsonl             what happened, in order, with both clocks
      compare.json             the results table
      report.html
      methods/<method>/        timeline.jsonl.gz  metrics.jsonl  summary.json  checkpoint.safetensors

Whole files appear at once (orbitune/files.py), so a file that is there is complete; `*.part` is what a process was
writing when it was killed, and nobody reads it. Existing runs are never overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import platform
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from orbitune.errors import InputError, RunError
from orbitune.files import write_whole
from orbitune.timeline.activity import Timeline

SCHEMA_VERSION = 1
"""Version of every file in a run folder and of all --json output; docs/schema.md says what each version means."""

UNREADABLE = (OSError, EOFError, zlib.error, StopIteration, ValueError, KeyError, TypeError, AttributeError)
"""What gzip, JSON and the timeline's own types say of a file that was cut, altered or is something else."""


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a full or forbidden disk into one clear error."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}; free some space or choose another --runs folder"
        ) from error


@dataclass(frozen=True)
class RunFolder:
    """A run folder that exists."""

    path: Path

    @classmethod
    def create(cls, root: Path, name: str, scenario_text: str, seed: int) -> RunFolder:
        """Make a new folder under `root`, never an existing one, and write scenario and manifest into it."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        with _writing(root):
            root.mkdir(parents=True, exist_ok=True)
            for attempt in range(1, 1000):
                path = root / (f"{stamp}-{name}" if attempt == 1 else f"{stamp}-{name}-{attempt}")
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    continue
        run = cls(path)
        run.write_text("scenario.toml", scenario_text)
        run.write_json("manifest.json", _manifest(seed))
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run.

        Raises:
            RunError: It is not a run folder, or a later version of Orbitune wrote it.
        """
        run = cls(path)
        if not (path / "manifest.json").is_file():
            raise RunError(f"{path} is not a run folder: it has no manifest.json")
        version = run.read_json("manifest.json").get("schema_version")
        if version != SCHEMA_VERSION:
            raise RunError(f"{path} has schema_version {version}; this Orbitune reads {SCHEMA_VERSION}")
        return run

    def write_text(self, name: str, text: str) -> Path:
        """Write one whole file; returns its path."""
        return self._write(name, text.encode())

    def write_json(self, name: str, content: object) -> Path:
        """Write one whole JSON file; returns its path."""
        return self.write_text(name, json.dumps(content, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the run; each holds one object.

        Raises:
            InputError: The file is missing or damaged.
        """
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{path} is missing: the run stopped before it was written, or was copied in part; "
                "resume the run, or start a new one"
            ) from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"{path} is damaged: {error}; restore it, or start a new run") from error
        if not isinstance(content, dict):
            raise InputError(f"{path} is damaged: it holds no JSON object; restore it, or start a new run")
        return content

    def has(self, name: str) -> bool:
        """Whether the run has that file."""
        return (self.path / name).is_file()

    def append(self, name: str, row: dict[str, object]) -> None:
        """Add one line to a JSONL file, through to the disk; a line that a crash cut short stays by itself."""
        path = self._place(name)
        with _writing(path), path.open("ab+") as file:
            file.write(b"\n" * _is_cut_short(file) + json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def event(self, what: str, **details: object) -> None:
        """Write down something that happened, with the wall clock."""
        self.append("events.jsonl", {"wall_utc": datetime.now(UTC).isoformat(), "event": what, **details})

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The complete lines of a JSONL file; a line cut short by a crash or damaged does not count.

        Raises:
            InputError: The file cannot be read.
        """
        path = self.path / name
        if not path.is_file():
            return []
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        return [row for line in lines if (row := _row(line)) is not None]

    def keep_rows(self, name: str, rows: Iterable[dict[str, object]]) -> None:
        """Replace a JSONL file by these rows, at once."""
        self.write_text(name, "".join(json.dumps(row) + "\n" for row in rows))

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock file; whoever comes second waits. The system lets go of it when the holder dies."""
        path = self._place(name)
        with _writing(path):
            file = path.open("a")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write_timeline(self, method: str, timeline: Timeline, name: str = "timeline") -> None:
        """Store a timeline of a method, its plan if no name is given; the same timeline gives the same bytes."""
        text = "\n".join(timeline.to_jsonl()) + "\n"
        self._write(f"methods/{method}/{name}.jsonl.gz", gzip.compress(text.encode(), compresslevel=6, mtime=0))

    def read_timeline(self, method: str, name: str = "timeline") -> Timeline:
        """Read a stored timeline.

        Raises:
            InputError: The file is missing or damaged.
        """
        path = self.path / f"methods/{method}/{name}.jsonl.gz"
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                return Timeline.from_jsonl(file)
        except UNREADABLE as error:
            what = str(error) or "it is empty"
            raise InputError(
                f"{path} is missing or damaged ({what}); remove it and resume the run to plan the method again"
            ) from error

    def methods(self) -> tuple[str, ...]:
        """Names of the methods that left something in this run."""
        folder = self.path / "methods"
        return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())) if folder.is_dir() else ()

    def _write(self, name: str, content: bytes) -> Path:
        path = self._place(name)
        with _writing(path):
            write_whole(path, content)
        return path

    def _place(self, name: str) -> Path:
        path = self.path / name
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _is_cut_short(file: BinaryIO) -> bool:
    """Whether a file's last line has no end."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _manifest(seed: int) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["orbitune", *sys.argv[1:]],
        "seed": seed,
        "versions": {name: _version(name) for name in ("orbitune", "numpy", "scipy", "sgp4", "torch")},
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "processors": os.cpu_count()},
        "timezone": time.tzname[0],
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: whoever reads it, also after a power cut, finds the old or the new content.

    It is written beside its place first, under a name with the number of this process, so that two processes may
    replace one file at the same time and neither renames what the other has half written.

    Raises:
        OSError: The file cannot be written; the old one is untouched and nothing is left beside it.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _flush_names(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what writers of this file left beside it when they were killed; nobody may be writing it now."""
    for beside in path.parent.glob(f"{path.name}.*part"):
        beside.unlink(missing_ok=True)


def _flush_names(folder: Path) -> None:
    """A new name is on the disk only once its folder is."""
    names = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(names)
    finally:
        os.close(names)

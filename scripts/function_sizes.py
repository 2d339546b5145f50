"""Prints how long the functions of a source tree are, and fails where one is too long to read.

Usage: python scripts/function_sizes.py [FOLDER ...]     (default: orbitune)

Length is the number of lines of the body without its docstring. Nothing above 80 lines passes and no
module above 400; what is above 40 is listed, so that someone looks at it.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONG_LINES = 40
TOO_LONG_LINES = 80
MODULE_TOO_LONG_LINES = 400

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """The length of one function, and where it stands."""

    lines: int
    place: str
    name: str

    def __str__(self) -> str:
        return f"{self.lines:4d} lines  {self.place}  {self.name}"


def body_lines(function: Function) -> int:
    """Lines of the body, docstring left out; 0 for a body that is only a docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def functions_in(path: Path) -> Iterator[Size]:
    """Every function and method of one file, inner ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield Size(body_lines(node), f"{path}:{node.lineno}", node.name)


def sources(folders: list[str]) -> list[Path]:
    """The Python files below the folders, in a fixed order."""
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))


def long_modules(paths: list[Path]) -> list[str]:
    """Modules above the limit, with their number of lines."""
    counted = ((len(path.read_text(encoding="utf-8").splitlines()), path) for path in paths)
    return [f"{lines:4d} lines  {path}" for lines, path in counted if lines > MODULE_TOO_LONG_LINES]


def main(folders: list[str]) -> int:
    """Print the report; 1 when a limit is broken, else 0."""
    paths = sources(folders)
    sizes = sorted((size for path in paths for size in functions_in(path)), reverse=True)
    if not sizes:
        print(f"no function found below {', '.join(folders)}")
        return 1
    for size in sizes:
        if size.lines > LONG_LINES:
            print(f"{'too long' if size.lines > TOO_LONG_LINES else 'long':9s}{size}")
    modules = long_modules(paths)
    for line in modules:
        print(f"too long {line}")
    median = statistics.median(size.lines for size in sizes)
    print(f"{len(sizes)} functions in {len(paths)} modules: median {median:g} lines, longest {sizes[0].lines}")
    print(f"longest: {sizes[0]}")
    return 1 if modules or sizes[0].lines > TOO_LONG_LINES else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["orbitune"]))

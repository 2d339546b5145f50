"""The house stays readable: short functions, short modules (limits and reasons in CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

from scripts import function_sizes

MEDIAN_LINES = 10
NINE_IN_TEN_LINES = 40


@pytest.fixture(scope="module")
def paths(repository: Path) -> list[Path]:
    return function_sizes.sources([str(repository / "orbitune")])


def test_functions_are_short(paths: list[Path]) -> None:
    sizes = sorted(size for path in paths for size in function_sizes.functions_in(path))
    lines = [size.lines for size in sizes]
    assert lines[-1] <= function_sizes.TOO_LONG_LINES, f"too long: {sizes[-1]}"
    assert statistics.median(lines) <= MEDIAN_LINES
    assert lines[int(0.9 * (len(lines) - 1))] <= NINE_IN_TEN_LINES


def test_modules_are_short(paths: list[Path]) -> None:
    assert function_sizes.long_modules(paths) == []


def length(source: str) -> int:
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    return function_sizes.body_lines(function)


def test_docstring_and_signature_do_not_count() -> None:
    assert length('def f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    b = a\n\n    return b\n') == 3
    assert length('def f():\n    """Only words."""\n') == 0
    assert length("def f(): return 1") == 1


def test_a_long_function_fails_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "    x = 1\n"
    (tmp_path / "at_the_limit.py").write_text("def f():\n" + body * 80)
    assert function_sizes.main([str(tmp_path)]) == 0
    (tmp_path / "above_it.py").write_text("def g():\n" + body * 81)
    assert function_sizes.main([str(tmp_path)]) == 1
    assert "above_it.py:1  g" in capsys.readouterr().out


def test_a_long_module_fails_the_script(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("def f():\n    return 1\n" + "x = 1\n" * 399)
    assert function_sizes.main([str(tmp_path)]) == 1


def test_an_empty_folder_fails_the_script(tmp_path: Path) -> None:
    assert function_sizes.main([str(tmp_path)]) == 1

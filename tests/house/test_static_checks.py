"""Style and types, with the very commands of `make check`, so that what lands has passed them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]],
    ids=["ruff-check", "ruff-format", "mypy-strict"],
)
def test_check(repository: Path, command: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=repository, capture_output=True, text=True, timeout=600
    )
    if result.returncode != 0:
        pytest.fail(f"{' '.join(command)}:\n{result.stdout}{result.stderr}", pytrace=False)


def test_torch_runs_on_one_thread() -> None:
    """Results repeat and test processes do not wait for each other (tests/conftest.py)."""
    torch = pytest.importorskip("torch")
    assert torch.get_num_threads() == 1

"""One sample run and its report for all tests of the report; tests that change a run work on a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sample_run

from orbitune.report import write_report
from orbitune.runs import RunFolder


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A complete run with made-up values, its report written."""
    run = sample_run.write(tmp_path_factory.mktemp("report"))
    write_report(run)
    return run


@pytest.fixture
def copy(sample: RunFolder, tmp_path: Path) -> Callable[[], RunFolder]:
    """Gives copies of the sample run that a test may change."""

    def make() -> RunFolder:
        target = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(sample.path, target, ignore=shutil.ignore_patterns("report.html"))
        return RunFolder.open(target)

    return make

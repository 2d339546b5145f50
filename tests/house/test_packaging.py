"""What a user installs: complete, typed, licensed, and with one pin of torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import orbitune


@pytest.fixture(scope="module")
def configuration(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built by the backend itself: no network, no build environment."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    if result.returncode != 0:
        pytest.fail(f"hatchling: {result.stderr.splitlines()[-1]}", pytrace=False)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def package_files(repository: Path) -> set[str]:
    """Every file of the package that is not a by-product of running it."""
    found = (path for path in (repository / "orbitune").rglob("*") if path.is_file())
    return {str(path.relative_to(repository)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_whole_package(repository: Path, wheel: zipfile.ZipFile) -> None:
    """Code, presets, profiles, weights, imagery and templates: what the repository has, a user has."""
    packed = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert packed == package_files(repository)
    assert "orbitune/py.typed" in packed


def test_the_wheel_carries_licence_and_command(wheel: zipfile.ZipFile) -> None:
    (licence,) = (name for name in wheel.namelist() if name.endswith("/licenses/LICENSE"))
    assert b"Apache License" in wheel.read(licence)
    (entry,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "orbitune = orbitune.cli.app:main" in wheel.read(entry).decode()


def test_one_torch_everywhere(repository: Path, configuration: dict[str, Any]) -> None:
    """The pin that make installs first is the pin of the extra."""
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins == [line for line in configuration["project"]["optional-dependencies"]["train"] if "torch" in line]


def test_one_version_everywhere(repository: Path, configuration: dict[str, Any]) -> None:
    assert orbitune.__version__ == configuration["project"]["version"]
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog


def test_every_requirement_says_why(repository: Path) -> None:
    """A bound without a reason is a bound that nobody dares to move."""
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    section = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    bounds = [line for line in section.splitlines() if line.startswith('    "')]
    assert bounds
    assert [line for line in bounds if "# " not in line] == []


def run_make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """The parts of the repository that make starts from, with no environment yet."""
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(repository / name, tmp_path)
    shutil.copytree(repository / "scripts", tmp_path / "scripts")
    return tmp_path


def fake_python(folder: Path, body: str) -> str:
    path = folder / "fake-python"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return f"PYTHON={path}"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("exit 127", "does not run"),
        ('case "$2" in *version_info\\[*) echo 3.9;; *) exit 1;; esac', "needs Python 3.11 or later, and"),
        ('case "$2" in *version_info\\[*) echo 3.11;; *venv*) exit 1;; esac', "has no venv module"),
    ],
    ids=["missing", "too-old", "no-venv"],
)
def test_make_says_in_one_line_what_python_lacks(checkout: Path, body: str, expected: str) -> None:
    result = run_make(checkout, "demo", fake_python(checkout, body))
    assert result.returncode != 0
    ours = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(ours) == 1
    assert expected in ours[0]
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_lists_its_targets(repository: Path) -> None:
    listed = run_make(repository, "help").stdout
    runs = 'if __name__ == "__main__":'
    names = {path.stem for path in (repository / "benchmarks").glob("*.py") if runs in path.read_text()}
    for target in ("demo", "test", "check", "bench", "clean", *(f"bench-{name}" for name in names)):
        assert f"make {target} " in listed + " " or f"make {target}\n" in listed

"""Imports point one way, every module stands alone, and planning runs without torch."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

FORBIDDEN = {
    "pickle": "a weight file must not be able to run code: safetensors or JSON",
    "dill": "as pickle",
    "random": "no global generator: orbitune.seeds",
    "requests": "Orbitune needs no network",
    "urllib.request": "Orbitune needs no network",
    "http.client": "Orbitune needs no network",
    "skyfield": "an oracle of the tests, so that the code cannot agree with itself",
    "networkx": "an oracle of the tests",
    "playwright": "drives the tests' browser",
}


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the package of that folder first."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def modules(repository: Path) -> list[str]:
    """Dotted names of all modules of the package."""
    paths = sorted((repository / "orbitune").rglob("*.py"))
    names = [".".join(path.relative_to(repository).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


# ------------------------------------------------------------------------------------------- contracts

LINT = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True, no_logo=True))"


def test_import_contracts_hold(repository: Path) -> None:
    result = python(LINT, repository)
    if result.returncode != 0:
        pytest.fail(result.stdout + result.stderr, pytrace=False)
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("orbitune/orbit/wrong.py", "import orbitune.links", "Imports point down only"),
        ("orbitune/model/wrong.py", "import orbitune.imagery", "Imports point down only"),
        ("orbitune/timeline/wrong.py", "import orbitune.strategies", "Imports point down only"),
        ("orbitune/elsewhere.py", "", "Imports point down only"),
        ("orbitune/links/wrong.py", "def f():\n    import torch", "torch lives in learn alone"),
        ("orbitune/learn/wrong.py", "import orbitune.orbit", "Learning never sees orbits"),
        ("orbitune/cost/wrong.py", "import orbitune.learn", "Planning never sees tensors"),
        ("orbitune/report/wrong.py", "import orbitune.learn", "The report reads run folders and runs nothing"),
        ("orbitune/scenario/wrong.py", "import rich.table", "Only the command line speaks to the terminal"),
    ],
)
def test_each_contract_bites(repository: Path, tmp_path: Path, module: str, line: str, contract: str) -> None:
    """A copy of the package with one wrong import breaks exactly the contract that forbids it."""
    shutil.copytree(repository / "orbitune", tmp_path / "orbitune", ignore=only_python)
    shutil.copy(repository / "pyproject.toml", tmp_path)
    (tmp_path / module).write_text(line + "\n")
    result = python(LINT, tmp_path)
    assert result.returncode != 0
    assert contract in result.stdout
    assert f"{contract} KEPT" not in result.stdout


def only_python(folder: str, names: list[str]) -> list[str]:
    """What copytree leaves out: everything but source files and folders."""
    return [name for name in names if not name.endswith(".py") and not (Path(folder) / name).is_dir()]


# ---------------------------------------------------------------------------------- one module at a time

ALONE = """
import importlib, json, sys, traceback

failures = {}
for name in sys.argv[1:]:
    for loaded in [key for key in sys.modules if key.split(".")[0] == "orbitune"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        failures[name] = f"{name}: {error!r} ({where.filename}:{where.lineno})"
print(json.dumps({"failures": failures, "loaded": sorted({key.split(".")[0] for key in sys.modules})}))
"""


def import_each(repository: Path, names: list[str]) -> tuple[dict[str, str], set[str]]:
    """Import each module as the first of the package; what failed, and the top-level packages then loaded."""
    result = python(ALONE, repository, *names)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    return answer["failures"], set(answer["loaded"])


def fail_with(failures: dict[str, str]) -> None:
    """One line for each module that cannot be imported."""
    if failures:
        pytest.fail("\n".join(failures.values()), pytrace=False)


@pytest.mark.parametrize("each", [3, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_modules_import_alone_and_planning_without_torch(repository: Path, each: int) -> None:
    """One in three every day: what they import is imported with them, and a circle has more than one module."""
    names = [name for name in modules(repository) if not name.startswith("orbitune.learn")][::each]
    failures, loaded = import_each(repository, names)
    fail_with(failures)
    assert "orbitune" in loaded
    assert not loaded & {"torch", "safetensors"}


def test_every_learning_module_imports_alone(repository: Path) -> None:
    names = [name for name in modules(repository) if name.startswith("orbitune.learn")]
    failures, _ = import_each(repository, names)
    fail_with(failures)


def test_the_command_line_starts_light(repository: Path) -> None:
    """`--help` answers in under 300 ms only if no number cruncher is loaded for it (SciPy alone takes 0.5 s)."""
    failures, loaded = import_each(repository, ["orbitune.cli.app"])
    fail_with(failures)
    assert not loaded & {"torch", "scipy", "numpy"}


def test_a_module_that_cannot_stand_alone_is_found(tmp_path: Path) -> None:
    package = tmp_path / "orbitune"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("import orbitune.b\nX = 1\n")
    (package / "b.py").write_text("from orbitune.a import X\n")  # works only once `a` is there
    failures, _ = import_each(tmp_path, ["orbitune.a", "orbitune.b"])
    assert set(failures) == {"orbitune.a"}


# ------------------------------------------------------------------------- what may be imported at all


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every absolute import of one file; `from a import b` gives both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def package_imports(repository: Path) -> Iterator[tuple[str, str]]:
    """Place and imported name, over the whole package."""
    for path in sorted((repository / "orbitune").rglob("*.py")):
        for line, name in imported(path):
            yield f"{path.relative_to(repository)}:{line}", name


def test_nothing_forbidden_is_imported(repository: Path) -> None:
    found = [
        f"{place} imports {name}: {reason}"
        for place, name in package_imports(repository)
        for wrong, reason in FORBIDDEN.items()
        if name == wrong or name.startswith(wrong + ".")
    ]
    assert not found, "\n".join(found)


def names_of(requirements: list[str]) -> set[str]:
    """Import names of a list of requirements; the two agree for all that we use."""
    return {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in requirements}


def test_every_import_is_declared(repository: Path) -> None:
    """Core folders import core dependencies only; learn may also use the `train` extra, and one file each other one."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = names_of(project["dependencies"]) | set(sys.stdlib_module_names) | {"orbitune"}
    extras = {
        "orbitune/learn/": "train",
        "orbitune/links/weather.py": "itu",
        "orbitune/links/compiled.py": "fast",
        "orbitune/engine/flare": "flare",
        "orbitune/engine/ray": "ray",
    }
    allowed = {start: core | names_of(project["optional-dependencies"][extra]) for start, extra in extras.items()}
    missing = [
        f"{place}: {name}"
        for place, name in package_imports(repository)
        if name.split(".")[0] not in next((names for start, names in allowed.items() if place.startswith(start)), core)
    ]
    assert not missing, "\n".join(missing)


IMPORTED_AS = {"pillow": "PIL"}
"""Where the name of a requirement and that of its package differ."""


def asked_for_by_name(repository: Path) -> set[str]:
    """Requirements that are imported when they are needed: their import name stands in the code as a text."""
    code = "".join(path.read_text(encoding="utf-8") for path in (repository / "orbitune").rglob("*.py"))
    return {name for name, package in IMPORTED_AS.items() if f'"{package}"' in code or f'"{package}.' in code}


def test_every_dependency_is_used(repository: Path) -> None:
    """A dependency that nothing imports is a wait for every user."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = names_of(project["dependencies"]) | names_of(project["optional-dependencies"]["train"])
    used = {name.split(".")[0] for _, name in package_imports(repository)} | asked_for_by_name(repository)
    assert declared <= used, f"declared but never imported: {', '.join(sorted(declared - used))}"

"""The public surface is a decision: complete, sorted, lazy."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import orbitune


def test_every_public_name_can_be_had() -> None:
    for name in orbitune.__all__:
        assert getattr(orbitune, name) is not None


def test_the_list_is_sorted_and_complete() -> None:
    declared = {
        alias.name
        for node in ast.walk(ast.parse(inspect.getsource(orbitune)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orbitune.")
        for alias in node.names
    }
    assert declared == set(orbitune.__all__)
    assert list(orbitune.__all__) == sorted(orbitune.__all__)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, orbitune; assert not [name for name in sys.modules if name.startswith('orbitune.')]"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0

from __future__ import annotations

import json
import shutil
import socket
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

from orbitune.cli.doctor_command import doctor
from orbitune.engine import doctor as subject
from orbitune.engine.doctor import OPTIONAL, Finding, findings


def found(name: str) -> Finding:
    return next(one for one in findings() if one.name == name)


def test_every_package_has_the_version_that_is_installed() -> None:
    for name, _, _ in OPTIONAL:
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            there = ""
        one = found(name)
        assert one.version == there
        assert (one.state == "missing") == (not there)


def test_every_package_is_in_the_extra_that_is_named(repository: Path) -> None:
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, extra, _ in OPTIONAL:
        assert any(line.lower().startswith(name) for line in project["optional-dependencies"][extra]), name


@pytest.mark.parametrize(
    ("there", "relation", "wanted", "state"),
    [("2.13.0+cpu", "==", "2.13.0", "ok"), ("2.14.0", "==", "2.13.0", "other"), ("1.10", ">=", "1.9", "ok"),
     ("1.9.3", ">=", "1.10", "old"), ("3", ">=", "3.0.0", "ok"), ("2.9.0rc1", ">=", "2.9", "ok")],
)  # fmt: skip
def test_releases_are_compared_as_numbers(there: str, relation: str, wanted: str, state: str) -> None:
    assert subject._judged(there, relation, wanted) == state
    if relation == ">=" and "rc" not in there:
        assert (Version(there) >= Version(wanted)) == (state == "ok")


def test_bounds_are_those_of_our_own_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['ray>=99; extra == "dev"', 'ray>=2.55; extra == "ray"', 'torch==2.13.0; extra == "train"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert subject._wanted("ray", "ray") == (">=", "2.55")
    assert subject._wanted("torch", "train") == ("==", "2.13.0")
    monkeypatch.setattr(metadata, "version", lambda name: "2.54.1")
    assert found("ray").state == "old"


def test_a_machine_without_tools_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert found("network namespaces").state == "missing"

    def refuse(*args: object, **options: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(socket, "create_server", refuse)
    assert found("loopback").state == "missing"


def test_the_command_prints_a_table_and_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(json_output=False) == 0
    shown = capsys.readouterr().out
    assert doctor(json_output=True) == 0
    content = json.loads(capsys.readouterr().out)["findings"]
    assert [row["name"] for row in content] == [one.name for one in findings()]
    for row in content:
        assert row["name"] in shown
        if row["state"] != "ok":
            assert row["remedy"].split("'")[-2 if "'" in row["remedy"] else 0] in shown.replace("\n", " ")


def test_what_is_needed_decides_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "OLDEST_PYTHON", (99, 0))
    assert doctor(json_output=True) == 1

"""What `orbitune launch` says before anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from orbitune.cli.launch_command import launch
from orbitune.launch import run as real_run


def test_with_an_address_it_says_at_once_where_the_run_is_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray ends the process without a word when a cluster's head is lost, so that afterwards is too late."""

    def vanish(*_: object) -> None:
        raise SystemExit(15)

    monkeypatch.setattr(real_run, "execute", vanish)
    asked = ["tiny", "--runs", str(tmp_path)]
    told = CliRunner().invoke(launch, [*asked, "--engine", "ray", "--address", "10.0.0.1:6379"])
    (run,) = tmp_path.iterdir()
    line = f"run folder: {run}; should this end early, go on with: orbitune launch --resume {run}"
    assert (told.exit_code, told.stderr.splitlines(), told.stdout) == (15, [line], "")
    told = CliRunner().invoke(launch, ["--resume", str(run)])
    assert (told.exit_code, told.stderr.splitlines()) == (15, [line])
    told = CliRunner().invoke(launch, ["--resume", str(run), "--engine", "local"])
    assert (told.exit_code, told.stderr) == (15, "")

"""What a real run writes is whole or is an error in words, and one process writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitune.errors import RunError
from orbitune.launch.ledger import Ledger, alone
from orbitune.launch.run import execute, resumed
from orbitune.runs import RunFolder
from tests.launch.real_runs import begin


def test_a_line_that_was_cut_short_stays_by_itself(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "rows.jsonl")
    ledger.add_rows([b'{"a": 1}\n', b"", b'{"a": 2}\n'])
    with (tmp_path / "rows.jsonl").open("ab") as file:
        file.write(b'{"a": 3')
    ledger.add_rows([b'{"a": 4}\n'])
    assert [row["a"] for row in RunFolder(tmp_path).rows("rows.jsonl")] == [1, 2, 4]


def test_states_are_replaced_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "rows.jsonl")
    ledger.keep(3, "server", b"old")
    ledger.keep(3, "server", b"new")
    assert ledger.kept(3, "server") == b"new"
    assert [path.name for path in (tmp_path / "rounds").iterdir()] == ["round-0003-server.safetensors"]
    with pytest.raises(RunError, match="round-0004"):
        ledger.kept(4, "server")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="free some space"):
        Ledger(Path("/dev"), "full").add_rows([b"{}\n"])  # the device that has no room
    (tmp_path / "rounds").write_bytes(b"in the way")
    with pytest.raises(RunError, match="free some space"):
        Ledger(tmp_path, "rows.jsonl").keep(1, "server", b"")


def test_two_processes_do_not_carry_out_one_run(tmp_path: Path) -> None:
    run = begin(tmp_path, "local")
    with alone(run):
        with pytest.raises(RunError, match="another process"):
            resumed(run.path, engine="flare", address=None)
        with pytest.raises(RunError, match="another process"):
            execute(run, lambda watched: None)
    assert resumed(run.path, engine=None, address=None).path == run.path

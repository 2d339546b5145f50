"""A damaged run gives one clear error, or a report without what is unreadable; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitune.errors import InputError
from orbitune.model import profile
from orbitune.report import write_report
from orbitune.runs import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "trial", 'name = "trial"\n', seed=0)


def test_a_row_of_metrics_without_its_round_is_named(run: RunFolder) -> None:
    run.append("methods/onboard/metrics.jsonl", {"sim_time_s": 1.0})
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged: .*'round'"):
        write_report(run)


def test_a_scenario_that_is_no_utf8_is_shown_as_it_is(run: RunFolder) -> None:
    (run.path / "scenario.toml").write_bytes(b'name = "caf\xe9"\n')
    assert "caf\N{REPLACEMENT CHARACTER}" in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["{", "[]", '{"blocks": []}'])
def test_a_damaged_profile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/mine.json").write_text(content)
    monkeypatch.setattr(profile.resources, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match=r"model profile 'mine' .* is damaged"):
        profile.load_profile("mine")

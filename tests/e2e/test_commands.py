"""The commands as people and programs meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROW_KEYS = {
    "method", "rounds", "time_s", "deploy_s", "train_s", "deliver_s", "bound_s", "bound", "verified",
    "ratio_to_onboard", "ratio_to_onboard_per_pass", "target_accuracy", "time_to_target_s", "final_accuracy", "bytes",
    "energy_j", "lowest_charge", "limiting", "binding", "stages", "stopped",
}  # fmt: skip
QUICK = ("--set", "train.rounds=2", "--set", "train.batch_size=1")


def orbitune(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orbitune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=cwd)


def answer(*arguments: str, cwd: Path | None = None) -> dict[str, Any]:
    done = orbitune(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    assert content["schema_version"] == 1
    return content


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("compared")
    return answer("compare", "tiny", *QUICK, "--runs", str(root), "--json")


def test_help_lists_the_commands_in_the_order_people_meet_them() -> None:
    shown = orbitune("--help").stdout
    places = [
        shown.index(f"\n  {name} ")
        for name in ("demo", "new", "check", "contacts", "plan", "train", "compare", "report")
    ]
    assert places == sorted(places)


def test_help_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom orbitune.cli.app import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'numpy', 'scipy', 'rich'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys\nfrom orbitune.cli.app import main\n"
        "try:\n    main(['plan', 'tiny', '--json'])\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_new_scenario_can_be_checked_at_once(tmp_path: Path) -> None:
    path = Path(answer("new", "mine", "--preset", "tiny", "--json", cwd=tmp_path)["path"])
    checked = answer("check", str(path), "--json", cwd=tmp_path)
    assert checked["first_round"]["verified"] is True
    assert orbitune("new", "mine", cwd=tmp_path).returncode == 6  # never written over


def test_contacts_answers_with_the_documented_keys() -> None:
    figures = answer("contacts", "tiny", "--json")
    assert figures["passes_per_day"] > 0
    assert set(figures["contacts"]) == {"downlink", "uplink", "isl_intra", "isl_inter", "backhaul"}


def test_compare_prints_every_documented_key(compared: dict[str, Any]) -> None:
    assert [row["method"] for row in compared["results"]] == ["collaborative", "onboard", "download"]
    for row in compared["results"]:
        assert set(row) == ROW_KEYS
        assert row["verified"] is True
        assert set(row["bytes"]) == {"downlink", "uplink", "isl_intra", "isl_inter", "backhaul"}
        assert row["bound_s"] <= row["time_s"] + 1e-6
        assert 0 <= row["final_accuracy"] <= 1


def test_the_run_folder_keeps_what_was_printed(compared: dict[str, Any]) -> None:
    run = Path(compared["run"])
    kept = json.loads((run / "compare.json").read_text())
    assert kept == {key: value for key, value in compared.items() if key != "run"}
    assert (run / "report.html").stat().st_size > 50_000
    assert (run / "scenario.toml").read_text().startswith("# Scenario tiny, every key written out")


def test_a_saved_scenario_gives_the_same_plan_again(compared: dict[str, Any]) -> None:
    again = answer("plan", str(Path(compared["run"]) / "scenario.toml"), "--json")
    for row, first in zip(again["results"], compared["results"], strict=True):
        assert row["time_s"] == first["time_s"]
        assert row["bytes"] == first["bytes"]


def test_report_can_be_written_again(compared: dict[str, Any]) -> None:
    path = Path(answer("report", compared["run"], "--json")["report"])
    assert path.is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("plan", "tiny", "--set", "train.ruonds=3"), 2, "did you mean train.rounds"),
        (("plan", "nowhere.toml"), 3, "nowhere.toml"),
        (("plan", "tiny", "--methods", "magic"), 3, "collaborative"),
        (("plan", "tiny", "--set", "satellite.memory_gb=0.001"), 4, "memory_gb"),
        (("train", "demo-spectralgpt"), 4, "data.dataset"),
        (("report", "nowhere"), 6, "manifest.json"),
        (("compare", "--resume", "nowhere"), 6, "manifest.json"),
        (("plan",), 3, "preset"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_mistakes_get_one_clear_error_and_an_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = orbitune(*arguments, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_ending_the_pipe_early_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m orbitune new --list | head -1", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr

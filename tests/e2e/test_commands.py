"""The commands as people and programs meet them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROW_KEYS = {
    "method", "rounds", "time_s", "deploy_s", "train_s", "deliver_s", "bound_s", "bound", "verified",
    "ratio_to_onboard", "ratio_to_onboard_per_pass", "target_accuracy", "time_to_target_s", "bytes_to_target",
    "energy_to_target_j", "final_accuracy", "bytes", "sent_bytes", "energy_j", "lowest_charge", "limiting", "binding",
    "stages", "stopped", "curve", "over_seeds",
}  # fmt: skip
QUICK = ("--set", "train.rounds=2", "--set", "train.batch_size=1")
EVERY = ("collaborative", "reconstructed", "onboard", "download", "fedavg", "fedisl", "fedleo", "fedasync", "fedbuff",
         "fedspace", "sfl_leo")  # fmt: skip


def orbitune(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orbitune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=cwd)


def answer(*arguments: str, cwd: Path | None = None) -> dict[str, Any]:
    done = orbitune(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    assert content["schema_version"] == 1
    return content


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, with_pictures: tuple[str, ...]) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("compared")
    return answer("compare", "tiny", *QUICK, *with_pictures, "--runs", str(root), "--json")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory, with_pictures: tuple[str, ...]) -> dict[str, Any]:
    """All methods, one round; where everything trains all of them can work."""
    root = tmp_path_factory.mktemp("every")
    sets = ("--set", "train.rounds=1", "--set", "train.batch_size=1", "--set", "train.trains=full")
    return answer("compare", "tiny", *sets, *with_pictures, "--methods", "all", "--runs", str(root), "--json")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory, with_pictures: tuple[str, ...]) -> dict[str, Any]:
    """Two seeds, and a method that cannot work because nothing trains in front of the cut."""
    root = tmp_path_factory.mktemp("seeded")
    sets = ("--set", "train.trains=head", "--set", "data.assignment=dirichlet", "--set", "data.dirichlet_alpha=0.5")
    arguments = (
        *QUICK,
        *with_pictures,
        *sets,
        "--methods",
        "onboard,sfl_leo",
        "--seeds",
        "3,1",
        "--runs",
        str(root),
        "--json",
    )
    return answer("compare", "tiny", *arguments)


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


def test_the_summary_of_each_method_is_its_row_of_the_results(compared: dict[str, Any]) -> None:
    """Ratios included: null would mean that the target was missed, or that there was no `onboard` to compare with."""
    for row in compared["results"]:
        kept = json.loads((Path(compared["run"]) / "methods" / row["method"] / "summary.json").read_text())
        assert kept == row
        assert kept["ratio_to_onboard_per_pass"] > 0


def test_a_saved_scenario_gives_the_same_plan_again(compared: dict[str, Any]) -> None:
    again = answer("plan", str(Path(compared["run"]) / "scenario.toml"), "--json")
    for row, first in zip(again["results"], compared["results"], strict=True):
        assert row["time_s"] == first["time_s"]
        assert row["bytes"] == first["bytes"]


def test_curves_rise_and_end_where_training_does(compared: dict[str, Any]) -> None:
    for row in compared["results"]:
        curve = row["curve"]
        assert [one["round"] for one in curve] == [0, 1, 2]
        assert curve[0]["time_s"] == row["deploy_s"]
        assert curve[-1]["time_s"] == pytest.approx(row["deploy_s"] + row["train_s"])
        assert curve[-1]["accuracy"] == row["final_accuracy"]
        for key, whole in (("sent_bytes", row["sent_bytes"]), ("energy_j", row["energy_j"])):
            spent = [one[key] for one in curve]
            assert spent == sorted(spent)
            assert spent[-1] <= whole * (1 + 1e-9)
            assert row["deliver_s"] > 0 or spent[-1] == pytest.approx(whole)


# -- every method, several seeds, methods that cannot work -----------------------------------------------------------


@pytest.mark.exhaustive
def test_every_method_can_be_compared(every: dict[str, Any]) -> None:
    assert tuple(row["method"] for row in every["results"]) == EVERY
    assert every["refused"] == {}
    assert all(len(row["curve"]) == 2 and 0 <= row["final_accuracy"] <= 1 for row in every["results"])
    page = (Path(every["run"]) / "report.html").read_text()
    assert all(f"--method-{place}:" in page for place in range(len(EVERY)))
    assert all(f'data-series="{name}"' in page for name in EVERY)


def test_a_method_that_cannot_work_is_named_and_the_others_go_on(seeded: dict[str, Any]) -> None:
    assert [row["method"] for row in seeded["results"]] == ["onboard"]
    assert "nothing trains in front of the cut" in seeded["refused"]["sfl_leo"]
    assert "sfl_leo</b> cannot work here: " in (Path(seeded["run"]) / "report.html").read_text()


def test_seeds_give_mean_and_spread(seeded: dict[str, Any]) -> None:
    assert seeded["seeds"] == [3, 1]
    run = Path(seeded["run"])
    for row in seeded["results"]:
        spread = row["over_seeds"]
        second = json.loads((run / "seeds" / "1" / "methods" / row["method"] / "summary.json").read_text())
        assert spread["final_accuracy"]["values"] == [row["final_accuracy"], second["final_accuracy"]]
        assert spread["time_s"]["values"] == [row["time_s"], second["time_s"]]
        assert spread["bound_s"]["values"] == [row["bound_s"], second["bound_s"]]
        assert spread["ratio_to_onboard_per_pass"]["values"] == [1.0, second["ratio_to_onboard_per_pass"]] == [1.0, 1.0]
        assert spread["bytes"]["uplink"]["mean"] == (row["bytes"]["uplink"] + second["bytes"]["uplink"]) / 2
        for figure in (spread[key] for key in ("final_accuracy", "time_s", "energy_j")):
            assert figure["min"] <= figure["mean"] <= figure["max"]
            assert figure["sd"] == pytest.approx((figure["max"] - figure["min"]) / 2**0.5)
    losses = [(run / place / "methods/onboard/metrics.jsonl").read_text() for place in (".", "seeds/1")]
    assert len(set(losses)) == 2  # other samples, other draws


@pytest.mark.exhaustive
def test_one_seed_of_several_is_what_it_is_alone(seeded: dict[str, Any], tmp_path: Path) -> None:
    sets = ("train.trains=head", "data.assignment=dirichlet", "data.dirichlet_alpha=0.5", "seed=1")
    flags = [part for one in sets for part in ("--set", one)]
    alone = answer("compare", "tiny", *QUICK, *flags, "--methods", "onboard", "--runs", str(tmp_path), "--json")
    found = seeded["results"][0]["over_seeds"]
    for key in ("final_accuracy", "time_s", "energy_j"):
        assert found[key]["values"][1] == alone["results"][0][key]
    assert alone["results"][0]["over_seeds"] is None


@pytest.mark.slow
def test_a_finished_run_over_seeds_is_only_read_again(seeded: dict[str, Any]) -> None:
    run = Path(seeded["run"])
    metrics = list(run.rglob("metrics.jsonl"))
    before = {path: path.read_bytes() for path in metrics}
    again = answer("compare", "--resume", str(run), "--json")
    assert len(metrics) == 2
    assert {path: path.read_bytes() for path in metrics} == before
    assert again["results"] == seeded["results"]


def test_a_run_from_before_seeds_and_curves_still_goes_on(compared: dict[str, Any], tmp_path: Path) -> None:
    """What an earlier version wrote: no seeds in request.json, no curves in the results."""
    run = tmp_path / "run"
    shutil.copytree(compared["run"], run)
    request = json.loads((run / "request.json").read_text())
    del request["seeds"]
    (run / "request.json").write_text(json.dumps(request))
    kept = json.loads((run / "compare.json").read_text())
    for key in ("seeds", "refused"):
        del kept[key]
    for row in kept["results"]:
        for key in ("curve", "over_seeds", "sent_bytes", "bytes_to_target", "energy_to_target_j"):
            del row[key]
    (run / "compare.json").write_text(json.dumps(kept))
    answer("report", str(run), "--json")
    assert "resume it to have them" in (run / "report.html").read_text()
    assert answer("compare", "--resume", str(run), "--json")["results"] == compared["results"]


def test_a_phase_can_be_planned_alone(compared: dict[str, Any], with_pictures: tuple[str, ...]) -> None:
    found = answer("plan", "tiny", *QUICK, *with_pictures, "--phase", "deliver", "--json")
    for row, whole in zip(found["results"], compared["results"], strict=True):
        assert row["phase"] == "deliver"
        assert row["starts_s"] == pytest.approx(whole["deploy_s"] + whole["train_s"])
        assert row["time_s"] == pytest.approx(whole["deliver_s"], abs=1e-6)
        assert row["bound_s"] <= row["time_s"] + 1e-6


def test_tables_name_methods_and_phases() -> None:
    shown = orbitune("plan", "tiny", "--quick", "--methods", "all").stdout
    assert all(f"\n  {name} " in shown for name in EVERY if name != "sfl_leo")
    assert "sfl_leo cannot work here" in shown
    assert "…" not in shown
    assert "deliver alone" in orbitune("plan", "tiny", "--phase", "deliver").stdout


def test_report_can_be_written_again(compared: dict[str, Any]) -> None:
    path = Path(answer("report", compared["run"], "--json")["report"])
    assert path.is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("plan", "tiny", "--set", "train.ruonds=3"), 2, "did you mean train.rounds"),
        (("plan", "nowhere.toml"), 3, "nowhere.toml"),
        (("plan", "tiny", "--methods", "magic"), 3, "collaborative"),
        (("plan", "tiny", "--methods", "sfl_leo"), 4, "nothing trains in front of the cut"),
        (("compare", "tiny", "--methods", "sfl_leo"), 4, "nothing trains in front of the cut"),
        (("compare", "tiny", "--seeds", "0"), 3, "--seeds '0': give how many"),
        (("compare", "tiny", "--seeds", "4,4"), 3, "different seeds"),
        (("compare", "--resume", "nowhere", "--seeds", "2"), 3, "leave --seeds away"),
        (("compare", "--resume", "nowhere", "--random-start"), 3, "leave --random-start away"),
        (("compare", "--resume", "nowhere", "tiny", "--methods", "onboard"), 3, "leave SCENARIO, --methods away"),
        (("train", "demo", "--resume", "nowhere"), 3, "leave SCENARIO away"),
        (("plan", "tiny", "--methods", "onboard", "--set", "satellite.memory_gb=0.001"), 4, "memory_gb"),
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

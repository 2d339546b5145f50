"""Damaged files, full disks, killed processes: one clear error or a clean stop, and what was done is not lost.

What single modules refuse is tested beside them; here the whole program meets it, as a person would.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import orbitune
from orbitune.cli.app import main
from orbitune.learn import checkpoint

QUICK = ("tiny", "--set", "train.rounds=1", "--set", "train.batch_size=1")
CHECKPOINT = "methods/collaborative/checkpoint.safetensors"
METRICS = "methods/collaborative/metrics.jsonl"
TIMELINE = "methods/collaborative/timeline.jsonl.gz"
WAIT_S = 120
DROP_CAPABILITY, OVERRIDE_PERMISSIONS = 24, 1  # PR_CAPBSET_DROP of linux/prctl.h, CAP_DAC_OVERRIDE of capability.h


def start(*arguments: str, root: Path | None = None, setup: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """`orbitune ...` in a process group of its own; with `root`, that copy of the package."""
    environment = os.environ | ({"PYTHONPATH": str(root)} if root else {})
    command = [sys.executable, "-m", "orbitune", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=root,
        env=environment, preexec_fn=setup,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was said on standard error, which never is a traceback."""
    _, errors = process.communicate(timeout=WAIT_S)
    assert "Traceback" not in errors, errors
    return process.returncode, errors


def orbitune_says(*arguments: str, root: Path | None = None) -> tuple[int, str]:
    return end(start(*arguments, root=root))


def refused(answer: tuple[int, str], code: int, *words: str) -> None:
    """One error with that code that says all these words."""
    returned, errors = answer
    assert returned == code, errors
    assert len(re.findall(r"^error: ", errors, re.MULTILINE)) == 1, errors
    for word in words:
        assert word in errors


def wait_until(true: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < until, f"not within {WAIT_S} s"
        time.sleep(0.02)


def only_run(root: Path) -> Path:
    (path,) = root.iterdir()
    return path


def small_files_only() -> None:
    """Larger ones meet the error of a full disk; a checkpoint before training, without optimiser, just fits."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory, with_pictures: tuple[str, ...]) -> tuple[Path, Path]:
    """A finished run, and the same one stopped by a full disk at its last checkpoint."""
    roots = [tmp_path_factory.mktemp("runs") for _ in range(2)]
    command = ("compare", *QUICK, *with_pictures, "--methods", "collaborative", "--runs")
    finished, stopped = start(*command, str(roots[0])), start(*command, str(roots[1]), setup=small_files_only)
    assert end(finished)[0] == 0
    path = only_run(roots[1])
    refused(end(stopped), 6, str(path / CHECKPOINT), "bytes cannot be written", "earlier checkpoint", "resume")
    return only_run(roots[0]), path


@pytest.fixture(scope="module")
def finished(two_runs: tuple[Path, Path]) -> Path:
    return two_runs[0]


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of one's own, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


# -- scenarios ---------------------------------------------------------------------------------------------------------


def polar_stations() -> list[str]:
    """Stations that satellites over the equator never see."""
    places = [f"ground_station.{number}.latitude_deg={latitude}" for number, latitude in enumerate((85, -85, 80))]
    return [word for place in (*places, "shell.0.inclination_deg=0") for word in ("--set", place)]


@pytest.mark.parametrize("command", ["check", "plan"])
def test_stations_that_never_see_a_satellite(command: str) -> None:
    refused(orbitune_says(command, "tiny", *polar_stations()), 4, "no station ever sees", "min_elevation_deg")


STATION = '[[ground_station]]\nname = "Kiruna"\nlatitude_deg = 67.9\nlongitude_deg = 21.0\n'


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b'extends = "tiny"\n[train\nrounds = 3\n', 2, ("line 2", "not valid TOML")),
        (b'name = "\xe9t\xe9"\n', 3, ("UTF-8", "byte 8")),
        (f'extends = "tiny"\n{STATION}{STATION}'.encode(), 2, ("ground_station.1.name = 'Kiruna'", "earlier station")),
        (None, 3, ("cannot be read (Is a directory)",)),
    ],
    ids=["broken", "latin-1", "station twice", "directory"],
)
def test_a_broken_scenario(tmp_path: Path, content: bytes | None, code: int, words: tuple[str, ...]) -> None:
    path = tmp_path / "mine.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    refused(orbitune_says("plan", str(path)), code, str(path), *words)


def test_no_methods_at_all() -> None:
    refused(orbitune_says("plan", "tiny", "--methods", " ,"), 3, "--methods", "none given", "collaborative")


ISS = (
    "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927",  # the example of Wikipedia, "Two-line
    "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537",  # element set"
)


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ((ISS[0], ISS[1].replace("51.6416", "51.6417")), 3, ("line 2", "checksum expected 8, found '7'")),
        ((ISS[0], ISS[1][:40]), 3, ("line 2", "40 columns")),
        (ISS[:1], 3, ("line 1", "line 2 is missing")),
        (None, 2, ("there is no file", "planet_sample.tle")),
    ],
    ids=["checksum", "line cut", "file cut", "missing"],
)
def test_a_broken_tle_file(tmp_path: Path, lines: tuple[str, ...] | None, code: int, words: tuple[str, ...]) -> None:
    if lines is not None:
        (tmp_path / "iss.tle").write_text("\n".join(lines) + "\n")
    scenario = tmp_path / "mine.toml"
    scenario.write_text('extends = "planet-sample"\n[[shell]]\nkind = "elements"\nelements_file = "iss.tle"\n')
    refused(orbitune_says("plan", str(scenario)), code, str(tmp_path / "iss.tle"), *words)


# -- files of the package ----------------------------------------------------------------------------------------------


WEIGHTS = "galileo_nano/encoder.safetensors"
SCENE = "brandenburg/scene.npz"
DATA = Path(orbitune.__file__).parent / "data"


def package_with(root: Path, name: str, content: bytes | None) -> Path:
    """A copy of the package under `root` in which one data file has other content, or is missing; returns that file."""
    shutil.copytree(DATA.parent, root / "orbitune", ignore=shutil.ignore_patterns("__pycache__"))
    path = root / "orbitune" / "data" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    return path


def half(name: str) -> bytes:
    content = (DATA / name).read_bytes()
    return content[: len(content) // 2]


def scene_with_fewer_labels() -> bytes:
    with np.load(DATA / SCENE) as arrays:
        content = dict(arrays)
    file = io.BytesIO()
    np.savez(file, **content | {"label": content["label"][:-128]})
    return file.getvalue()


def test_data_of_the_package_that_is_missing_or_damaged(tmp_path: Path) -> None:
    """Training says which file, and writes nothing that looks like a result. All at once, to be quick."""
    cases = {
        "missing": (WEIGHTS, None, ("No such file", "reinstall")),
        "truncated": (WEIGHTS, half(WEIGHTS), ("truncated", "reinstall")),
        "fewer labels": (SCENE, scene_with_fewer_labels(), ("image has 768 x 1536", "labels have 640 x 1536")),
    }
    running = {}
    for case, (name, content, words) in cases.items():
        path = package_with(tmp_path / case, name, content)
        running[case] = (path, words, start("train", *QUICK, root=tmp_path / case))
    for case, (path, words, process) in running.items():
        refused(end(process), 3, str(path), *words)
        run = only_run(tmp_path / case / "runs")
        assert not (run / CHECKPOINT).exists()
        assert not (run / "compare.json").exists()


def test_a_truncated_scene(tmp_path: Path) -> None:
    path = package_with(tmp_path, SCENE, half(SCENE))
    refused(orbitune_says("plan", *QUICK, root=tmp_path), 3, str(path), "truncated")


# -- disks -------------------------------------------------------------------------------------------------------------


def test_a_file_where_the_runs_should_be(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("mine")
    refused(orbitune_says("train", *QUICK, "--runs", str(tmp_path / "runs")), 6, "cannot write", "another --runs")
    assert (tmp_path / "runs").read_text() == "mine"


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir(mode=0o555)

    def as_others_are() -> None:
        """Nothing is forbidden to root, until that right is dropped."""
        if os.getuid() == 0 and ctypes.CDLL(None).prctl(DROP_CAPABILITY, OVERRIDE_PERMISSIONS, 0, 0, 0):
            raise PermissionError

    try:
        process = start("train", *QUICK, "--runs", str(folder), setup=as_others_are)
    except (subprocess.SubprocessError, AttributeError):
        pytest.skip("root cannot drop its right to write everywhere here")
    refused(end(process), 6, "cannot write", str(folder), "Permission denied")
    assert not list(folder.iterdir())


def test_a_disk_that_is_full_when_a_checkpoint_is_written(two_runs: tuple[Path, Path]) -> None:
    """A process that may write only small files stands for the disk. What the earlier checkpoint says is left."""
    _, stopped = two_runs
    assert checkpoint.rounds_done(stopped / CHECKPOINT) == 0
    assert not list(stopped.rglob("*.part"))
    assert not (stopped / "compare.json").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, the device on which no byte has room")
def test_a_disk_that_is_full_when_an_event_is_written(run: Path) -> None:
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").symlink_to("/dev/full")
    refused(invoke("compare", "--resume", str(run)), 6, str(run / "events.jsonl"), "No space left")


# -- run folders -------------------------------------------------------------------------------------------------------


def invoke(*arguments: str) -> tuple[int, str]:
    """As on the command line, in this process: quicker where nothing is trained."""
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.stderr


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace(path: Path) -> None:
    path.write_text("null\n")


@pytest.mark.parametrize("spoil", [Path.unlink, cut, replace])
@pytest.mark.parametrize("name", ["manifest.json", "request.json", "scenario.toml", "contacts.json", TIMELINE])
def test_a_run_copied_half_is_mended_or_refused(run: Path, name: str, spoil: Callable[[Path], None]) -> None:
    (run / "compare.json").unlink()
    spoil(run / name)
    answer = invoke("compare", "--resume", str(run))
    if spoil is Path.unlink and name in ("contacts.json", TIMELINE):
        assert answer[0] == 0
        assert (run / name).stat().st_size > 1000
    else:
        assert answer[0] in (2, 3, 6)
        refused(answer, answer[0], name)


@pytest.mark.parametrize("spoil", [Path.unlink, cut, replace])
@pytest.mark.parametrize("name", ["manifest.json", "contacts.json", "compare.json", TIMELINE, METRICS])
def test_a_report_is_written_from_whole_files_only(run: Path, name: str, spoil: Callable[[Path], None]) -> None:
    (run / "report.html").unlink()
    spoil(run / name)
    code, errors = invoke("report", str(run))
    if code:
        refused((code, errors), code, name)
    assert (run / "report.html").exists() == (code == 0)


def test_metrics_that_are_lost_are_not_made_up(run: Path) -> None:
    (run / METRICS).write_text((run / METRICS).read_text().splitlines(keepends=True)[-1])
    answer = orbitune_says("compare", "--resume", str(run))
    refused(answer, 3, METRICS, "rounds [1]", f"remove {run / CHECKPOINT}")


def test_a_run_of_another_schema(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    for command in (("compare", "--resume"), ("report",)):
        refused(invoke(*command, str(run)), 6, "schema_version 99", "reads 1")


# -- processes ---------------------------------------------------------------------------------------------------------


def test_two_resume_one_run_at_the_same_time(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Both end well, one after the other, with the weights of a run that never stopped.

    The run stopped between the last row of its metrics and the checkpoint that follows; besides, here, others were
    killed in the middle of writing.
    """
    finished, stopped = two_runs
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    for name in (CHECKPOINT, TIMELINE, "compare.json"):
        (run / f"{name}.12345.part").write_bytes(b"half")
    (run / "events.jsonl").write_text((run / "events.jsonl").read_text()[:-9])
    assert rows_written(run) == rows_written(finished)

    for process in [start("compare", "--resume", str(run)) for _ in range(2)]:
        code, errors = end(process)
        assert code == 0, errors
    assert (run / CHECKPOINT).read_bytes() == (finished / CHECKPOINT).read_bytes()
    assert [json.loads(line)["round"] for line in (run / METRICS).read_text().splitlines()] == [0, 1]
    assert json.loads((run / "compare.json").read_text()) == json.loads((finished / "compare.json").read_text())
    assert (run / "report.html").stat().st_size > 50_000
    assert not list(run.rglob("checkpoint*.part")), "nobody will ever finish it"
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()[1:]]
    assert events.count("finished") == 2


def training_processes(parent: int) -> list[int]:
    """Process ids of the trainings that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            about = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except OSError:
            continue  # ended while we looked
        if int(about[1]) == parent and "spawn_main" in command:
            found.append(int(folder.name))
    return found


def rows_written(run: Path) -> int:
    return (run / METRICS).read_text().count("\n") if (run / METRICS).exists() else 0


LONG = ("tiny", "--set", "train.rounds=20", "--set", "train.batch_size=1")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes")


@needs_proc
def test_a_training_process_that_is_killed(tmp_path: Path) -> None:
    process = start("train", *LONG, "--runs", str(tmp_path))
    wait_until(lambda: any(rows_written(run) > 1 for run in tmp_path.iterdir()))
    (training,) = training_processes(process.pid)
    os.kill(training, signal.SIGKILL)
    refused(end(process), 6, "training collaborative ended with code -9", "want of memory", "can be resumed")
    run = only_run(tmp_path)
    assert 0 <= checkpoint.rounds_done(run / CHECKPOINT) <= rows_written(run) - 1
    assert not (run / "compare.json").exists()


@needs_proc
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_a_training_process_starts(tmp_path: Path, stop: signal.Signals) -> None:
    """Ctrl-C reaches every process of the terminal, here in the middle of an import; SIGTERM the one it is sent to."""
    process = start("train", *LONG, "--runs", str(tmp_path))
    wait_until(lambda: training_processes(process.pid))
    (training,) = training_processes(process.pid)
    wait_until(lambda: "numpy" in Path(f"/proc/{training}/maps").read_text())
    if stop is signal.SIGINT:
        os.killpg(process.pid, stop)
    else:
        os.kill(process.pid, stop)
    code, errors = end(process)
    assert code == 130
    assert f"--resume {only_run(tmp_path)}" in errors
    assert not Path(f"/proc/{training}").exists()

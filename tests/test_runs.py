"""Run folders: nothing overwritten, nothing half-written, clear words when something is wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbitune.errors import InputError, RunError
from orbitune.files import write_whole
from orbitune.runs import SCHEMA_VERSION, RunFolder
from orbitune.timeline.activity import Activity, Payload, Promise, Span, Timeline, whole

GZIP_HEADER_BYTES = 10  # RFC 1952; holds a time and an operating system that nobody checks


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "trial", 'name = "trial"\n', seed=3)


def test_a_second_run_in_the_same_second_gets_its_own_folder(tmp_path: Path) -> None:
    folders = {RunFolder.create(tmp_path, "trial", "", seed=0).path for _ in range(5)}
    assert len(folders) == 5


def test_manifest_says_what_made_the_run(run: RunFolder) -> None:
    manifest = run.read_json("manifest.json")
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert manifest["seed"] == 3
    assert manifest["versions"]["numpy"]


def test_a_crash_while_writing_leaves_the_old_file_whole(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_json("compare.json", {"old": True})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*compare\.json: No space left on device"):
        run.write_json("compare.json", {"new": True})
    assert json.loads((run.path / "compare.json").read_text()) == {"old": True}
    assert not list(run.path.glob("*.part"))


def test_a_row_cut_short_by_a_crash_does_not_count(run: RunFolder) -> None:
    run.append("metrics.jsonl", {"round": 1})
    run.append("metrics.jsonl", {"round": 2})
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert run.rows("metrics.jsonl") == [{"round": 1}]


def test_what_follows_a_row_cut_short_is_not_lost(run: RunFolder) -> None:
    run.append("events.jsonl", {"event": 1})
    path = run.path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    run.append("events.jsonl", {"event": 2})
    run.append("events.jsonl", {"event": 3})
    assert run.rows("events.jsonl") == [{"event": 2}, {"event": 3}]


def test_what_is_no_row_does_not_count(run: RunFolder) -> None:
    (run.path / "metrics.jsonl").write_bytes(b'\xff\xfe\n3\n{"round": 4}\n')
    assert run.rows("metrics.jsonl") == [{"round": 4}]


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no manifest\.json"):
        RunFolder.open(tmp_path)


def test_a_later_schema_is_refused(run: RunFolder) -> None:
    run.write_json("manifest.json", run.read_json("manifest.json") | {"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(RunError, match="schema_version"):
        RunFolder.open(run.path)


def test_a_damaged_file_is_named(run: RunFolder) -> None:
    (run.path / "compare.json").write_text('{"results": [')
    with pytest.raises(InputError, match=r"compare\.json is damaged"):
        run.read_json("compare.json")


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot write"):
        RunFolder.create(tmp_path / "runs", "trial", "", seed=0)


def _timeline() -> Timeline:
    update = whole("update", {0, 1, 2, 7}, 4, 99.5)
    send = Activity("send", 0, 1.0, 2.25, "train", 4, "share", peer=1, link="isl_intra", arrive_s=2.5,
                    payload=update.part(10, 100))  # fmt: skip
    work = Activity("compute", 1, 0.1 + 0.2, 1.0, "train", 4, "embed", needs=(update,), makes=(whole("x", (), 0, 3),),
                    flops=1e9, memory_bytes=12.0)  # fmt: skip
    span = Span("train", 4, "embed", 0.0, 2.5)
    promise = Promise(1, Payload("head", frozenset(range(66)), 1, 0, 5), 2.5)
    return Timeline("trial", (work, send), (span,), ((0, update),), (promise,), ("image",), 5, "stopped because")


def test_a_timeline_survives_the_disk_to_the_last_bit(run: RunFolder) -> None:
    run.write_timeline("trial", _timeline())
    assert run.read_timeline("trial") == _timeline()


def test_equal_timelines_give_equal_files(run: RunFolder) -> None:
    run.write_timeline("a", _timeline())
    run.write_timeline("b", _timeline())
    first, second = (run.path / f"methods/{name}/timeline.jsonl.gz" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_timeline_cut_anywhere_is_refused(run: RunFolder) -> None:
    run.write_timeline("trial", _timeline())
    path = run.path / "methods/trial/timeline.jsonl.gz"
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match="damaged"):
            run.read_timeline("trial")


def test_a_timeline_with_any_byte_of_its_content_altered_is_refused(run: RunFolder) -> None:
    run.write_timeline("trial", _timeline())
    path = run.path / "methods/trial/timeline.jsonl.gz"
    content = path.read_bytes()
    for place in range(GZIP_HEADER_BYTES, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with pytest.raises(InputError, match="damaged"):
            run.read_timeline("trial")


def test_whole_files_appear_at_once(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"12")
    write_whole(tmp_path / "a", b"3")
    assert (tmp_path / "a").read_bytes() == b"3"
    assert os.listdir(tmp_path) == ["a"]


def test_two_processes_may_replace_one_file_at_once(tmp_path: Path) -> None:
    """Whoever reads meanwhile finds one of the two contents, and neither writer fails."""
    code = (
        "import sys, pathlib\nfrom orbitune.files import write_whole\n"
        "for _ in range(50):\n    write_whole(pathlib.Path(sys.argv[1]), sys.argv[2].encode() * 100_000)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "file"), letter]) for letter in "ab"]
    found = set()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "file").exists():
            found.add((tmp_path / "file").read_bytes())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert found <= {b"a" * 100_000, b"b" * 100_000}
    assert os.listdir(tmp_path) == ["file"]
